r"""The bootstrap distribution of a mean without resampling.

A resample draws d of n values v_j with replacement, and its mean is a sum of d independent draws of v_j / d. Hence its
characteristic function is known, and so is that of a sum over strata g of w_g times the mean of d_g draws from v_j, j
in g:

    phi(t) = prod_g [(1 / n_g) sum_{j in g} exp(i t w_g v_j / d_g)]^d_g.

With s the standard deviation of the sum, Gil-Pelaez' formula on Davies' grid t_k = (k + 1/2) 2 pi / (12 s) gives

    P(sum <= x) = 1/2 - sum_{k >= 0} Im(phi(t_k) exp(-i t_k x)) / (pi (k + 1/2)),

but for the probability of a sum more than 8 s off, where x is within 4 s. Where no single draw moves the sum by more
than s / 5, |phi| falls like exp(-t^2 s^2 / 2), and 13 terms leave out less than 1e-9. What is smoothed away is that
sums take distinct values: they lie no further apart than such a draw moves the sum, so that a quantile is off by s / 10
at most, and mostly by far less; the standard error of a 2.5 % quantile of 2,000 resamples is s / 17.

References:
    Note on the inversion theorem (Gil-Pelaez, 1951), https://doi.org/10.1093/biomet/38.3-4.481
    Numerical inversion of a characteristic function (Davies, 1973), https://doi.org/10.1093/biomet/60.2.415
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Sum", "sum_of_means"]

TERMS, WIDTH, REACH = 13, 12.0, 6.0
"""Terms of the series; the grid's and the quantiles' range in standard deviations of the sum."""

LARGEST = 0.2
"""Standard deviations of the sum that a single draw may move it by."""

_GRID = (np.arange(TERMS) + 0.5) * 2 * np.pi / WIDTH


@dataclass(frozen=True)
class Sum:
    """The distribution of a resampled sum.

    Attributes:
        mean: of the sum.
        spread: its standard deviation.
        terms: phi(t_k) / (pi (k + 1/2)) of the sum less its mean, for each k.
    """

    mean: float
    spread: float
    terms: NDArray

    def below(self, x: float) -> float:
        """P(sum <= x)."""
        return float(self._below((np.atleast_1d(x) - self.mean) / self.spread)[0])

    def quantiles(self, shares: ArrayLike) -> NDArray:
        """The x with P(sum <= x) = q for each of `shares`, in (0, 1)."""
        wanted = np.asarray(shares, dtype=np.float64)
        low, high = np.full(len(wanted), -REACH), np.full(len(wanted), REACH)
        for _ in range(50):
            middle = (low + high) / 2
            short = self._below(middle) < wanted
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        return self.mean + self.spread * (low + high) / 2

    def _below(self, x: NDArray) -> NDArray:
        return 0.5 - np.imag(np.exp(-1j * np.outer(x, _GRID)) @ self.terms)


def sum_of_means(
    values: NDArray, sizes: NDArray | Sequence[int], weights: NDArray, draws: NDArray
) -> Sum | None:
    """The distribution of sum_g w_g times the mean of d_g draws; None where a single draw moves it by too much.

    Arguments:
        values: finite, with shape (N,), stratum after stratum.
        sizes: of the strata, with shape (G,), each at least 1.
        weights: w_g, with shape (G,).
        draws: d_g, with shape (G,).
    """
    sizes = np.asarray(sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    means = np.add.reduceat(values, starts) / sizes
    steps = (values - np.repeat(means, sizes)) * np.repeat(weights / draws, sizes)
    spread = float(np.sqrt((draws * np.add.reduceat(steps**2, starts) / sizes).sum()))
    if not np.abs(steps).max() <= LARGEST * spread:
        return None
    turn = np.exp(1j * _GRID[0] / spread * steps)
    further, phi = turn**2, np.empty(TERMS, dtype=complex)
    for k in range(TERMS):
        # Strata without a value at some t have phi = 0 there.
        with np.errstate(divide="ignore"):
            phi[k] = np.exp((draws * np.log(np.add.reduceat(turn, starts) / sizes)).sum())
        turn *= further
    return Sum(float(weights @ means), spread, phi / (np.pi * (np.arange(TERMS) + 0.5)))
