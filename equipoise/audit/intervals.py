"""What every interval here is made of: a value with its ends, and the bounds of a share.

With k of n images answered one way, a share's bounds are

    Clopper and Pearson's    the shares at which k or more, or k or fewer, of n have a given small probability; exact,
                             never too narrow. k need not be whole.
    Wilson's                 the shares from which k / n is no more than 1.96 of their own standard deviations away.

References:
    The use of confidence or fiducial limits illustrated in the case of the binomial (Clopper and Pearson, 1934)
    Probable inference, the law of succession, and statistical inference (Wilson, 1927)
"""

import math
from dataclasses import dataclass

from scipy.special import betaincinv, ndtri

__all__ = ["LEVEL", "RESAMPLES", "Estimate", "highest_share", "lowest_share", "nothing", "wilson"]

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, from `n` images by `method`."""

    value: float
    low: float
    high: float
    n: int
    method: str


def nothing() -> Estimate:
    """Of no images: NaN throughout."""
    return Estimate(math.nan, math.nan, math.nan, 0, "none")


def lowest_share(ones: float, n: float, tail: float) -> float:
    """Clopper and Pearson's lower bound: the share at which `ones` or more of `n` have probability `tail`."""
    return float(betaincinv(ones, n - ones + 1, tail)) if ones > 0 else 0.0


def highest_share(ones: float, n: float, tail: float) -> float:
    """Clopper and Pearson's upper bound: the share at which `ones` or fewer of `n` have probability `tail`."""
    return float(betaincinv(ones + 1, n - ones, 1 - tail)) if ones < n else 1.0


def wilson(ones: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a share."""
    z = float(ndtri((1 + LEVEL) / 2))
    centre = (ones + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(ones * (n - ones) / n + z**2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)
