"""The difference between two classifiers on the same images, with its interval.

Of n images, classifier b gets `gained` right that a gets wrong, and a gets `lost` right that b gets wrong. The
difference of their accuracies is (gained - lost) / n; what both get right or both get wrong cancels, which is why the
paired interval is so much narrower than the two intervals side by side suggest.

The interval is the percentile bootstrap over images. A resample of images draws (gained, lost) from a multinomial
distribution, so 10,000 resamples cost nothing. With fewer than ten images on which the two disagree the bootstrap is
too narrow (it is empty where they never disagree); the exact intervals of Clopper and Pearson for the two shares, each
at half the error, then bound the difference from both sides.

Whoever picks one comparison among m for its result passes choices=m: the error is divided by m (Bonferroni), so that
the interval holds for all m at once.

References:
    An introduction to the bootstrap (Efron and Tibshirani, 1993), chapter 13
    The use of confidence or fiducial limits illustrated in the case of the binomial (Clopper and Pearson, 1934),
    https://doi.org/10.1093/biomet/26.4.404
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.audit.statistics import LEVEL, highest_share, lowest_share

__all__ = ["Difference", "paired_difference"]

RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """`after` minus `before`, two shares of the same `n` images, with its 95 % interval.

    Attributes:
        choices: the interval holds for that many comparisons at once.
    """

    before: float
    after: float
    value: float
    low: float
    high: float
    n: int
    method: str
    choices: int = 1

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(
    before: NDArray[np.bool_], after: NDArray[np.bool_], *, choices: int = 1, seed: int = 0
) -> Difference:
    """The share of ones in `after` minus that in `before`.

    Arguments:
        before: per image, with shape (n,), n at least 1.
        after: the same images in the same order.
        choices: from how many comparisons this one was picked.
        seed: of the resampling.
    """
    before, after = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    n = len(before)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    error = (1 - LEVEL) / choices
    if gained + lost < 10:
        low = lowest_share(gained, n, error / 4) - highest_share(lost, n, error / 4)
        high = highest_share(gained, n, error / 4) - lowest_share(lost, n, error / 4)
        method = "Clopper-Pearson"
    else:
        draws = np.random.default_rng(seed).multinomial(
            n, [gained / n, lost / n, (n - gained - lost) / n], RESAMPLES * choices
        )
        tails = [error / 2, 1 - error / 2]
        low, high = np.quantile((draws[:, 0] - draws[:, 1]) / n, tails, method="nearest")
        method = "bootstrap"
    return Difference(
        before=float(before.mean()),
        after=float(after.mean()),
        value=(gained - lost) / n,
        low=float(low),
        high=float(high),
        n=n,
        method=method,
        choices=choices,
    )
