"""The seal of a shard: by what is in the file itself it is known which shard it is, and that no byte has changed.

The footer of a Parquet file keeps pairs of texts. Two of a shard's are ``shard``, its own file name, which carries its
identity, and ``checksum``: the SHA-256, in hexadecimal, of the file with zeros in place of these 64 digits, as packets
of the Internet Protocol keep theirs. It is found without knowing Parquet, by any program that can search bytes.

A seal finds accidents: a cut, a flipped bit, a file of another run. Whoever forges a shard can forge its seal.
"""

import hashlib
import os
import stat
import struct
from pathlib import Path
from typing import IO

__all__ = ["BLANK", "CHECKSUM", "GONE", "SHARD", "damage", "is_named", "kept", "seal"]

SHARD, CHECKSUM = "shard", "checksum"
"""Keys of the pairs."""

BLANK = "0" * 64
"""What a shard is written with in place of its checksum."""

GONE = "it is gone"
"""What is wrong with a shard that is not there."""

_BLOCK = 1 << 20


def kept(path: Path, key: str) -> bytes | None:
    """The text that a Parquet file keeps under `key`; None where it keeps none, or is no whole Parquet file."""
    try:
        # A pipe would be waited for without end.
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        # A run can have ten thousand of them: no buffers for three short reads.
        with path.open("rb", buffering=0) as file:
            _, footer = _footer(file)
    except OSError:
        return None
    start, end = _place(footer, key)
    return footer[start:end] if start else None


def is_named(path: Path) -> bool:
    """Whether `path` is a Parquet file from its first to its last bytes that says it is the shard of this name."""
    return kept(path, SHARD) == path.name.encode()


def seal(path: Path) -> None:
    """Puts the checksum of a file into the place that `BLANK` has kept for it."""
    with path.open("rb+") as file:
        start, footer = _footer(file)
        place = start + _place(footer, CHECKSUM)[0]
        digits = _digest(file, place)
        file.seek(place)
        file.write(digits.encode())


def damage(path: Path) -> str | None:
    """What is wrong with a shard, as a clause about it: it is gone, cut short, another one, changed. None for a sound
    one. The whole file is read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "it is no regular file"
        with path.open("rb") as file:
            return _difference(file, path.name)
    except FileNotFoundError:
        return GONE
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"


def _difference(file: IO[bytes], name: str) -> str | None:
    """How a file differs from the shard of a name that was once sealed."""
    start, footer = _footer(file)
    (first, last), (digits, end) = (_place(footer, key) for key in (SHARD, CHECKSUM))
    if not footer:
        return "it is cut short or no Parquet file"
    if not first or end - digits != len(BLANK):
        return "it is no shard"
    if footer[first:last] != name.encode():
        return f"it is another shard, {footer[first:last].decode(errors='replace')!r}"
    if _digest(file, start + digits).encode() != footer[digits:end]:
        return "its content has changed"
    return None


def _footer(file: IO[bytes]) -> tuple[int, bytes]:
    """Where the footer of a Parquet file begins, and the footer; empty where it is not one from its first to its last
    bytes."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size < 12 or file.read(4) != b"PAR1":
        return 0, b""
    file.seek(size - 8)
    length, mark = struct.unpack("<I4s", file.read(8))
    if mark != b"PAR1" or length + 12 > size:
        return 0, b""
    start = size - 8 - length
    file.seek(start)
    return start, file.read(length)


def _place(footer: bytes, key: str) -> tuple[int, int]:
    """Where the text under `key` begins and ends in a footer; (0, 0) where there is none.

    Thrift's compact protocol marks both fields of a pair as strings, and a string follows its length, seven bits a
    byte, the lowest first. The last such pair counts: what columns hold, their least and largest texts among it, comes
    before.
    """
    pair = b"\x18" + bytes([len(key)]) + key.encode() + b"\x18"
    start = footer.rfind(pair) + len(pair)
    if start < len(pair):
        return 0, 0
    length = shift = 0
    for byte in footer[start : start + 5]:
        length |= (byte & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if byte < 0x80:
            return (start, start + length) if start + length <= len(footer) else (0, 0)
    return 0, 0


def _digest(file: IO[bytes], place: int) -> str:
    """The checksum of a file whose own stands at `place`."""
    found = hashlib.sha256()
    file.seek(0)
    while file.tell() < place:
        part = file.read(min(_BLOCK, place - file.tell()))
        if not part:  # it becomes shorter while it is read
            break
        found.update(part)
    found.update(BLANK.encode())
    file.seek(place + len(BLANK))
    found.update(file.read())
    return found.hexdigest()
