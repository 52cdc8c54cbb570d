"""Writing files so that a kill, a crash or a full disk leaves the old file or the new one, never half of one."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from equipoise.errors import EquipoiseError

__all__ = [
    "NotJSONError",
    "checksum",
    "read_json",
    "remove_leftovers",
    "unbroken",
    "write_atomically",
    "write_json",
]

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_OLD = 3600.0
"""Seconds after which nobody is writing a temporary file any more."""


class NotJSONError(EquipoiseError):
    """A file that should be JSON and is not, such as one that was cut short."""


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Lets a Ctrl-C or SIGTERM inside the block take effect at its end: DuckDB makes another exception of one, or loses
    it."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handled = {number: before for number, before in handlers.items() if callable(before)}
    if threading.current_thread() is not threading.main_thread() or not handled:
        yield
        return
    came: list[int] = []
    for number in handled:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, before in handled.items():
            signal.signal(number, before)
    for number in came[:1]:
        handled[signal.Signals(number)](number, None)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary name beside `path`, syncs what it wrote, and renames it to `path`.

    Raises:
        EquipoiseError: when the disk is full or the folder cannot be written; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unbroken():
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    except OSError as error:
        raise EquipoiseError(
            f"Cannot write {path}: {error.strerror or error}. Free some space or choose another folder, then "
            "repeat the command: what was finished is kept."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed writers left in `folder` and below it more than an hour ago: what is
    newer may belong to another process that is still writing."""
    with contextlib.suppress(OSError):
        for path in folder.rglob(".*.tmp"):
            if _TEMPORARY.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    if time.time() - path.lstat().st_mtime > _OLD:
                        path.unlink()


def _sync_folder(folder: Path) -> None:
    # A rename is durable once its folder is synced; systems that cannot open a folder sync it themselves.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        NotJSONError: when it is not JSON.
        EquipoiseError: when it is missing or cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EquipoiseError(f"Cannot read {path}: there is no such file.") from None
    except OSError as error:
        raise EquipoiseError(f"Cannot read {path}: {error.strerror or error}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJSONError(f"Cannot read {path}: it is not JSON ({error}).") from None


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
