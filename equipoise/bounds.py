"""What a file or a text of somebody else's may ask of the reader: how many bytes, how deep, and which place.

A few bytes can ask for more than a machine has: brackets nested a million deep, a number of a million digits, a path
that leads out of its folder. Here such a file is refused before it is read, or before anything is done with it. The
bounds are far above what honest files hold; SECURITY.md lists them.
"""

import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

from equipoise.errors import EquipoiseError

__all__ = [
    "DEEPEST",
    "LARGEST_JSON",
    "is_within",
    "measure",
    "parse_json",
    "parse_path",
    "read_bounded",
    "size_of",
]

LARGEST_JSON = 2**26
"""Bytes of a JSON file: a run.json of 400,000 shards."""

DEEPEST = 64
"""Levels of lists and objects within each other."""

LONGEST_NAME = 255
"""Bytes of a part of a path, the most that usual file systems take."""


def size_of(path: Path) -> int:
    """Bytes of a regular file.

    Raises:
        EquipoiseError: for anything else: a pipe or a device would be read without end.
        OSError: when there is none.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise EquipoiseError(f"Cannot read {path}: it is no regular file. Give the file itself.")
    return found.st_size


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a regular file.

    Raises:
        EquipoiseError: for anything else, or for more than `most` bytes.
        OSError: when it cannot be read.
    """
    size = size_of(path)
    if size > most:
        raise EquipoiseError(
            f"Cannot read {path}: its {size} bytes are more than the {most} that such a file may have. Give another "
            "file."
        )
    with path.open("rb") as file:
        # One byte more would show that it has grown since.
        content = file.read(most + 1)
    if len(content) > most:
        raise EquipoiseError(f"Cannot read {path}: it grows while it is read. Repeat the command.")
    return content


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, with finite numbers only; of a name given twice the last one counts.

    Raises:
        ValueError: for anything else, and for more than `DEEPEST` levels.
    """
    try:
        found = json.loads(text, parse_constant=_not_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep") from None
    measure(found)
    return found


def measure(value: Any, most: float = math.inf, deepest: int = DEEPEST) -> int:
    """How many values stand within `value`, each as often as it is met.

    Raises:
        ValueError: for more than `most` of them, or more than `deepest` levels.
    """
    count, left = 0, [_below(value)]
    while left:
        for item in left[-1]:
            count += 1
            if count > most:
                raise ValueError(f"it holds more than {most:.0f} values")
            if isinstance(item, dict | list):
                left.append(_below(item))
                if len(left) > deepest:
                    raise ValueError(f"it is nested more than {deepest} levels deep")
                break
        else:
            left.pop()
    return count


def _below(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value if isinstance(value, list) else ())


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"it has the number {text[:40]}, which is not finite")


def parse_path(text: str, what: str) -> Path:
    """The path that a person wrote, with their home for ``~``.

    Arguments:
        text: as it was written.
        what: what names the path, for the message, such as a spec.

    Raises:
        EquipoiseError: for a name that no file can have, and for the home of nobody.
    """
    if not _is_possible(text):
        raise EquipoiseError(
            f"Cannot use the path of {what[:100]!r}: no file can have such a name. Write another path."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise EquipoiseError(
            f"Cannot use the path of {what!r}: there is no user of that name. Write the whole path, or ./ before it."
        ) from None


def _is_possible(text: str) -> bool:
    """Whether a file can be called so."""
    try:
        parts = [os.fsencode(part) for part in text.split("/")]
    except UnicodeEncodeError:
        return False
    return "\0" not in text and all(len(part) <= LONGEST_NAME for part in parts)


def is_within(name: Any) -> bool:
    """Whether `name` is a path, with forward slashes, that stays in the folder it is relative to, on every system."""
    if not isinstance(name, str) or not name or not _is_possible(name):
        return False
    windows = PureWindowsPath(name)
    return not (windows.anchor or ".." in windows.parts or PurePosixPath(name).is_absolute())
