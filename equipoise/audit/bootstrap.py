"""The percentile bootstrap of a mean and of a median over images, without resampling where that can be had.

    mean      of at least 1,000 images, from the distribution of resampled means (`equipoise.audit.inversion`). Of
              fewer, which cost next to nothing, or where single images weigh too much for it, from 2,000 resamples; of
              numbers with few distinct values these draw how often each occurs. Of n numbers k may be infinite: a
              resample has none of these with probability p = (1 - k / n)^n, so that the q-quantile is the
              q / p-quantile of resamples of the finite ones, or infinite where q > p.
    median    the median of a resample is its m-th smallest value, m = (n + 1) / 2. The rank of this value among the
              images is ceil(n U), U being the m-th smallest of n uniform numbers, whose distribution is beta(m,
              n - m + 1): its quantiles give those of the median. Of an even number of images the interval is from the
              lower end of the lower to the upper end of the upper of the two middle values.

References:
    Bootstrap methods: another look at the jackknife (Efron, 1979), https://doi.org/10.1214/aos/1176344552
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from equipoise.audit.intervals import RESAMPLES
from equipoise.audit.inversion import sum_of_means

__all__ = ["mean_ends", "median_ends"]

FEWEST = 1000
"""Images below which a mean is resampled."""

DISTINCT = 64
"""Values below which a resample draws how often each occurs."""


def mean_ends(values: NDArray, tails: Sequence[float], *, seed: int = 0) -> tuple[float, ...]:
    """Quantiles of the resampled mean.

    Arguments:
        values: with shape (N,), N at least 1.
        tails: which quantiles, in (0, 1).
        seed: of the resamples, where there are any.
    """
    n = len(values)
    finite = values[values < np.inf]
    if n < FEWEST or not len(finite) or not np.isfinite(finite).all():
        return _quantiles(_resampled(values, n, seed), tails)
    shares = np.asarray(tails) / (len(finite) / n) ** n
    ends, inside = np.full(len(shares), np.inf), shares < 1
    if finite.min() == finite.max():
        ends[inside] = finite[0]
    elif exact := sum_of_means(finite, [len(finite)], np.ones(1), np.full(1, n)):
        ends[inside] = exact.quantiles(shares[inside])
    else:
        ends[inside] = _quantiles(_resampled(finite, n, seed), shares[inside])
    return tuple(ends.tolist())


def median_ends(values: NDArray, tails: Sequence[float]) -> tuple[float, ...]:
    """Quantiles of the resampled median.

    Arguments:
        values: with shape (N,), N at least 1.
        tails: which quantiles; those up to 1/2 are of the lower of two middle values, the others of the upper.
    """
    n, ordered = len(values), np.sort(values)
    found = []
    for tail in tails:
        middle = (n + 1) // 2 if tail <= 0.5 else n // 2 + 1
        rank = int(np.ceil(n * betaincinv(middle, n - middle + 1, tail)))
        found.append(float(ordered[max(rank, 1) - 1]))
    return tuple(found)


def _resampled(values: NDArray, draws: int, seed: int) -> NDArray:
    """2,000 means of `draws` of the values."""
    rng, n = np.random.default_rng(seed), len(values)
    if n >= FEWEST:
        distinct, counts = np.unique(values, return_counts=True)
        if len(distinct) <= DISTINCT:
            return rng.multinomial(draws, counts / n, RESAMPLES) @ distinct / draws
    # A few resamples at a time, so that memory stays bounded for any number of images.
    chunk = max(1, 1_000_000 // draws)
    return np.concatenate(
        [
            values[rng.integers(0, n, (min(chunk, RESAMPLES - done), draws))].mean(1)
            for done in range(0, RESAMPLES, chunk)
        ]
    )


def _quantiles(found: NDArray, tails: Sequence[float] | NDArray) -> tuple[float, ...]:
    # Distances can be infinite, which linear interpolation between order statistics would turn into NaN.
    return tuple(np.quantile(found, tails, method="nearest").tolist())
