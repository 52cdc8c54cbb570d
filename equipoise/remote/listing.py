"""What lies at an address, as far as a run is read from it. Names there are a stranger's: none may leave the folder."""

import contextlib
import datetime
import hashlib
import re
import time
from collections.abc import Mapping
from typing import Any

from equipoise.errors import EquipoiseError
from equipoise.remote.opening import open_address, trouble

__all__ = ["digest", "is_of_a_run", "is_shard", "list_all", "list_run", "mark", "written"]

SHARD = r"(audit/)?shards/([\w.-]+/)*[\w.-]+\.parquet"
OF_A_RUN = rf"{SHARD}|(audit/)?[\w-]+\.(json|sqlite)"
"""A study keeps its run in ``audit``. Pages and weights beside it stay where they are."""


def list_run(address: str) -> dict[str, dict[str, Any]]:
    """What is said of each file of the run at an address; raises what `list_all` does."""
    return {name: about for name, about in list_all(address).items() if is_of_a_run(name)}


def list_all(address: str) -> dict[str, dict[str, Any]]:
    """What is said of each file at an address and below it.

    Raises:
        EquipoiseError: when the address cannot be listed, or there are names that would lie outside the folder.
    """
    system, root = open_address(address)
    try:
        system.invalidate_cache()
        found = system.find(root, detail=True)
    except Exception as error:
        raise trouble("list", address, error) from error
    files = {}
    for full, about in dict(found).items():
        name = full.removeprefix(root).removeprefix("/")
        if _is_outside(name) or not full.startswith(root):
            raise EquipoiseError(
                f"Cannot read {address}: it has a file called {name!r}, which would lie outside the folder. "
                "No audit writes that: use another address."
            )
        if not name and about["size"]:
            raise EquipoiseError(
                f"Cannot read {address}: it is a file. Give the address of a folder."
            )
        if name:
            files[name] = about
    return files


def is_shard(name: str) -> bool:
    """Whether a file of that name never changes."""
    return re.fullmatch(SHARD, name, re.ASCII) is not None


def is_of_a_run(name: str) -> bool:
    """Whether a run is read from a file of that name."""
    return re.fullmatch(OF_A_RUN, name, re.ASCII) is not None


def mark(about: Mapping[str, Any]) -> str:
    """A digest of what a listing says of a file."""
    return digest(sorted((key, str(value)) for key, value in about.items()))


def written(about: Mapping[str, Any]) -> float:
    """When a file was written, in seconds since the epoch; now where the listing does not say."""
    for key in ("LastModified", "mtime", "updated", "last_modified", "created"):
        value = about.get(key)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = datetime.datetime.fromisoformat(value)
        if isinstance(value, datetime.datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return time.time()


def digest(value: object) -> str:
    """A short hexadecimal digest."""
    # That of `equipoise.streams` comes with torch, which `equipoise --help` has no time for.
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _is_outside(name: str) -> bool:
    """Whether a path below a folder leads elsewhere, on this system or another."""
    return bool(re.search(r"[\\\x00]", name)) or name.startswith("/") or ".." in name.split("/")
