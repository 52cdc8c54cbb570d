"""Columns of numbers inside a page, a few bits for each: 50,000 images and 10 classifiers make half a million rows.

A column is written as unsigned integers of 8 or 16 bits, little-endian; of 16 bits all low bytes stand before all high
ones, which compress better apart. The bytes are compressed by zlib and written in base64; the page undoes it with the
browser's DecompressionStream, which needs no network. Real numbers are rounded to 16-bit floating point.
"""

import base64
import json
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MISSING", "halves", "pack", "pack_texts"]

MISSING = 65535
"""Stands in columns of 16-bit integers where there is none; among `halves` it reads as NaN."""

FRACTION = 10
"""Bits of the fraction in 16-bit floating point."""


def pack(column: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    """A column as base64 text, the same for the same values."""
    flat = np.ascontiguousarray(column).ravel()
    if flat.dtype == np.uint16:
        flat = flat.astype("<u2").view(np.uint8).reshape(-1, 2).T
    return _compressed(flat.tobytes())


def pack_texts(texts: Sequence[str]) -> str:
    """Texts, whatever is in them, as a compressed JSON list."""
    return _compressed(json.dumps(texts, separators=(",", ":")).encode("ascii"))


def halves(values: ArrayLike, fraction: int = FRACTION) -> NDArray[np.uint16]:
    """The bits of 16-bit floating point; finite numbers stay finite, and NaN is `MISSING`.

    Arguments:
        values: real numbers, rounded by at most one part in 2^(fraction + 1) between 2^-14 and 65,000.
        fraction: how many bits of the fraction may be other than 0, 1 to 10; fewer compress better.
    """
    exact = np.asarray(values, dtype=float)
    dropped = FRACTION - fraction
    largest = float(np.uint16(0x7C00 - (1 << dropped)).view(np.float16))
    near = np.where(np.isfinite(exact), exact.clip(-largest, largest), exact)
    # Rounded once: what is rounded to 16 bits first can round the wrong way after.
    share, power = np.frexp(near)
    rounded = np.ldexp(np.rint(np.ldexp(share, fraction + 1)), power - fraction - 1)
    bits = rounded.astype(np.float16).view(np.uint16)
    return np.where(np.isnan(exact), MISSING, bits).astype(np.uint16)


def _compressed(content: bytes) -> str:
    # Numbers that look like noise have no repeats to look for: Huffman's code alone is smaller.
    attempts = []
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY):
        compressor = zlib.compressobj(6, strategy=strategy)
        attempts.append(compressor.compress(content) + compressor.flush())
    return base64.b64encode(min(attempts, key=len)).decode("ascii")
