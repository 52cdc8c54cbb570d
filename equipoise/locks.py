"""One command at a time works in a folder.

The lock is the operating system's, on the file `NAME` in the folder: it goes when its holder ends, however it ends. The
file says who holds it, for the message that the next one gets; between two commands it is not there, or means nothing.
"""

import contextlib
import datetime
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from equipoise.errors import EquipoiseError

__all__ = ["NAME", "exclusive"]

NAME = ".equipoise.lock"


@contextlib.contextmanager
def exclusive(folder: Path, work: str, named: object = None) -> Iterator[None]:
    """Keeps others out of `folder` for the length of the block.

    Where the file system has no locks, a line on standard error says so, and the block goes on without one.

    Arguments:
        folder: made if it is not there.
        work: what is done there, as in "audit into", for the message.
        named: what the message calls the folder where another is at work there; the folder when None.

    Raises:
        EquipoiseError: when another process, or another thread, works there; when the folder cannot be written.
    """
    # Only commands that write need it.
    from filelock import FileLock, Timeout  # noqa: PLC0415

    path = folder / NAME
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise EquipoiseError(
            f"Cannot {work} {folder}: the folder cannot be written ({error.strerror or error}). Make it writable or "
            "choose another one."
        ) from error
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise EquipoiseError(
            f"Cannot {work} {named or folder}: {_holder(path)} is at work there. Wait until it is done or end "
            "it, then repeat the command; or choose another folder."
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        print(
            f"equipoise: {folder} cannot be locked ({reason}), as on some network file systems: let no other command "
            "work in it meanwhile.",
            file=sys.stderr,
        )
    try:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                path.write_text(json.dumps(_me()), encoding="utf-8")
        yield
    finally:
        # While it is still locked: who opened it before finds it gone and opens the next one.
        with contextlib.suppress(OSError):
            path.unlink()
            for place in made:  # as long as nothing was written
                place.rmdir()
        lock.release()


def _me() -> dict[str, object]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": now}


def _holder(path: Path) -> str:
    """Who holds a lock, as its file says."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']}, since {said['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
