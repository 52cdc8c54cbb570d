"""What two classifiers tell apart on the same images, counted: exact tests, and intervals without resampling.

Of n images, the second classifier gets `gained` right that the first gets wrong, and `lost` the other way round. Where
the two are equally accurate, a gain is as likely as a loss, so that

    p = min(1, 2 P(X <= min(gained, lost))),    X ~ binomial(gained + lost, 1/2),

is McNemar's exact test. A bootstrap resample of the images has D = binomial(n, (gained + lost) / n) images that differ,
and of these binomial(D, gained / (gained + lost)) gains: the distribution of (gains - losses) / n is known, and with it
the percentile interval of the bootstrap, at any error. With fewer than ten images that differ, or fewer
than ten that are not gains, or not losses, the exact bounds of Clopper and Pearson stand in.

References:
    Note on the sampling error of the difference between correlated proportions or percentages (McNemar, 1947),
    https://doi.org/10.1007/BF02295996
"""

import numpy as np
from scipy.special import bdtr

from equipoise.audit.intervals import highest_share, lowest_share

__all__ = ["FEWEST", "gain_interval", "mcnemar", "too_few"]

FEWEST = 10
"""Images of either kind below which the bootstrap would be too narrow."""

FAR = 12
"""Standard deviations beyond which a binomial number does not matter at any error used here."""


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided p-value of the exact test that gains and losses are equally likely; 1 without any."""
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def gain_interval(gained: int, lost: int, n: int, error: float) -> tuple[float, float]:
    """The interval of (gained - lost) / n that misses with probability `error`, half of it on either side.

    Swapping gains and losses turns the interval round, exactly.

    Arguments:
        gained, lost: numbers of images, together at most n.
        n: at least 1.
        error: between 0 and 1.
    """
    if too_few(gained, lost, n):
        bounds = [
            (lowest_share(k, n, error / 4), highest_share(k, n, error / 4)) for k in (gained, lost)
        ]
        (least_gain, most_gain), (least_loss, most_loss) = bounds
        return least_gain - most_loss, most_gain - least_loss
    return -_highest(lost, gained, n, error / 2) / n, _highest(gained, lost, n, error / 2) / n


def too_few(gained: int, lost: int, n: int) -> bool:
    """Whether the bounds of Clopper and Pearson stand in."""
    return gained + lost < FEWEST or max(gained, lost) > n - FEWEST


def _highest(gained: int, lost: int, n: int, tail: float) -> int:
    """The least k for which gains - losses is at most k in a share 1 - `tail` of all resamples."""
    differ = gained + lost
    share, gain = differ / n, gained / differ
    half = FAR * np.sqrt(n * share * (1 - share)) + 1
    counts = np.arange(max(0, int(differ - half)), min(n, int(differ + half)) + 1)
    weights = np.diff(
        bdtr(counts, n, share), prepend=float(bdtr(counts[0] - 1, n, share)) if counts[0] else 0.0
    )

    def at_most(k: int) -> float:
        # Of D images that differ, gains - losses <= k where gains <= (D + k) / 2.
        gains = np.minimum((counts + k) // 2, counts)
        known = np.where(gains >= 0, bdtr(np.maximum(gains, 0), counts, gain), 0.0)
        return float(weights @ known)

    low, high = -n - 1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if at_most(middle) >= 1 - tail else (middle, high)
    return high
