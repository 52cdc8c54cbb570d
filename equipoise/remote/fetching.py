"""Files of an address on their way here, and what is said when one cannot be read."""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from equipoise.errors import EquipoiseError
from equipoise.files import write_atomically
from equipoise.remote.listing import is_shard, written
from equipoise.remote.opening import open_address, trouble

__all__ = ["AT_ONCE", "fetch", "naming"]

AT_ONCE = 16
"""Files fetched at a time."""

HERE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of this machine's disk."""


def fetch(address: str, name: str, about: Mapping[str, Any], target: Path) -> None:
    """Writes the file called `name` at an address to `target`, atomically and as old as it is there.

    Arguments:
        address: of the folder.
        name: of the file in it.
        about: what the listing says of it.
        target: where to.

    Raises:
        EquipoiseError: when it cannot be read, or this machine's disk is full.
    """

    def write(temporary: Path) -> None:
        system, root = open_address(address)
        try:
            system.get_file(f"{root}/{name}", str(temporary))
            size = temporary.stat().st_size
            if is_shard(name) and size != about["size"]:
                raise OSError(errno.EIO, f"{size} of {about['size']} bytes came")
        except Exception as error:
            if isinstance(error, OSError) and error.errno in HERE:
                raise
            raise trouble("fetch", f"{address}/{name}", error) from error
        when = written(about)
        os.utime(temporary, (when, when))

    write_atomically(target, write)


@contextlib.contextmanager
def naming(address: str, folder: Path) -> Iterator[None]:
    """Errors of the block name the address where they would name `folder`, which stands for it here."""
    try:
        yield
    except EquipoiseError as error:
        error.args = tuple(
            part.replace(str(folder), address) if isinstance(part, str) else part
            for part in error.args
        )
        raise
