"""Columns of numbers inside a page, a few bits for each: 50,000 images and 10 classifiers make half a million rows.

A column is written as unsigned integers of 8 or 16 bits, little-endian; of 16 bits all low bytes stand before all high
ones, which compress better apart. The bytes are compressed by gzip and written in base64; the page undoes it with the
browser's DecompressionStream, which needs no network. Real numbers are rounded to 16-bit floating point, that is by at
most one part in 2,000.
"""

import base64
import gzip
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MISSING", "halves", "pack", "pack_texts"]

MISSING = 65535
"""Stands in columns of 16-bit integers where there is none; among `halves` it reads as NaN."""

LARGEST = 65504.0
"""The largest finite number of 16-bit floating point."""


def pack(column: NDArray[np.uint8] | NDArray[np.uint16]) -> str:
    """A column as base64 text, the same for the same values."""
    flat = np.ascontiguousarray(column).ravel()
    if flat.dtype == np.uint16:
        flat = flat.astype("<u2").view(np.uint8).reshape(-1, 2).T
    return _compressed(flat.tobytes())


def pack_texts(texts: Sequence[str]) -> str:
    """Texts, whatever is in them, as a compressed JSON list."""
    return _compressed(json.dumps(texts, separators=(",", ":")).encode("ascii"))


def halves(values: ArrayLike) -> NDArray[np.uint16]:
    """The bits of 16-bit floating point; finite numbers stay finite, and NaN is `MISSING`."""
    exact = np.asarray(values, dtype=float)
    near = np.where(np.isfinite(exact), exact.clip(-LARGEST, LARGEST), exact)
    bits = near.astype(np.float16).view(np.uint16)
    return np.where(np.isnan(exact), np.uint16(MISSING), bits)


def _compressed(content: bytes) -> str:
    # Without a time in it, so that the same run gives the same page.
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")
