"""Patches of two places: the photographs china.jpg and flower.jpg that come with scikit-learn.

They are halved, each pixel the mean of 2 x 2 rounded down, to 320 x 213, and cut into bands 40 pixels wide. The even
bands, counted from 0, are for training and the odd ones for the test. A patch of 32 x 32 lies within one band, so that
patches of different splits share no pixel, although both splits see sky, roof, trees, petals and leaves. The halving
and the bands are ours.

The photographs are by danielbuechele and vultilion on Flickr, under CC BY 2.0, as scikit-learn states.
"""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["PLACES", "SIDE", "corners", "patches", "photographs"]

PLACES = ("china", "flower")
SIDE, BAND = 32, 40


@cache
def photographs() -> NDArray:
    """Both places, uint8 with shape (2, 3, 213, 320)."""
    from sklearn.datasets import load_sample_image  # noqa: PLC0415  slow, and only needed here

    whole = np.stack([load_sample_image(f"{place}.jpg") for place in PLACES])[:, :426]
    quarters = whole.reshape(len(PLACES), 213, 2, 320, 2, 3).sum((2, 4), dtype=np.int64)
    return (quarters // 4).astype(np.uint8).transpose(0, 3, 1, 2)


def corners(draws: NDArray, *, test: bool) -> tuple[NDArray, NDArray]:
    """Row and column of the upper left pixel of n patches.

    Arguments:
        draws: uniform on [0, 1), with shape (n, 3): they choose the band, the column within it and the row.
        test: whether the patches are for the test.
    """
    _, _, height, width = photographs().shape
    chances = (width // BAND // 2, BAND - SIDE + 1, height - SIDE + 1)
    band, column, row = (draws * chances).astype(np.int64).T
    return row, BAND * (2 * band + test) + column


def patches(places: NDArray, rows: NDArray, columns: NDArray) -> NDArray:
    """Patches, uint8 with shape (n, 3, 32, 32), of n `places` (0 or 1) with these upper left pixels."""
    windows = sliding_window_view(photographs(), (SIDE, SIDE), axis=(2, 3))
    return windows[places, :, rows, columns]
