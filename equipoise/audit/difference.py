"""The difference between two classifiers on the same images, with its interval.

Of n images, classifier b gets `gained` right that a gets wrong, and a gets `lost` right that b gets wrong. The
difference of their accuracies is (gained - lost) / n; what both get right or both get wrong cancels, which is why the
paired interval is so much narrower than the two intervals side by side suggest.

Where an image has several answers (its counterfactuals), each classifier's is the share in [0, 1] that it gets right,
and the difference is the mean over images.

The interval is the percentile bootstrap over images: of yes and no without resampling (`equipoise.audit.gains`), of
shares by resamples, each of which draws how often each change occurs from a multinomial distribution, so that 10,000
cost nothing. With fewer than ten images on which the two disagree the bootstrap is too narrow (it is empty where they
never disagree); the exact intervals of Clopper and Pearson for the two shares of images, each at half the error, then
bound the difference from both sides. An image whose answers are shares may gain or lose next to nothing, so that its
least possible change is 0.

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

from equipoise.audit.gains import FEWEST, gain_interval, too_few
from equipoise.audit.intervals import LEVEL, highest_share

__all__ = ["Difference", "paired_difference"]

RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """`after` minus `before`, two means over the same `n` images, with its 95 % interval.

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
    before: NDArray, after: NDArray, *, choices: int = 1, seed: int = 0
) -> Difference:
    """The mean of `after` minus that of `before`.

    Arguments:
        before: per image, whether it is right or the share that is, with shape (n,), n at least 1.
        after: the same images in the same order.
        choices: from how many comparisons this one was picked.
        seed: of the resampling.
    """
    before, after = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    n = len(before)
    # Shares come in single precision.
    change = np.round(after - before, 6)
    gained, lost = int((change > 0).sum()), int((change < 0).sum())
    error = (1 - LEVEL) / choices
    method = "bootstrap"
    if np.isin(change, (-1, 0, 1)).all():
        low, high = gain_interval(gained, lost, n, error)
        method = "Clopper-Pearson" if too_few(gained, lost, n) else method
    elif gained + lost < FEWEST:
        low, high = (-highest_share(lost, n, error / 4), highest_share(gained, n, error / 4))
        method = "Clopper-Pearson"
    else:
        sizes, counts = np.unique(change, return_counts=True)
        largest_first = np.lexsort((-sizes, -np.abs(sizes)))
        sizes, counts = sizes[largest_first], counts[largest_first]
        draws = np.random.default_rng(seed).multinomial(n, counts / n, RESAMPLES * choices)
        tails = [error / 2, 1 - error / 2]
        low, high = np.quantile(draws @ sizes / n, tails, method="nearest")
    return Difference(
        before=float(before.mean()),
        after=float(after.mean()),
        value=float(change.mean()),
        low=float(low),
        high=float(high),
        n=n,
        method=method,
        choices=choices,
    )
