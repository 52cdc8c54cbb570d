"""Statistics with honest intervals.

Images are taken as an independent sample. The 95 % interval of a statistic is the percentile bootstrap over images:

    share    the mean of n zeros and ones with k ones. A resample's sum is binomial(n, k / n), so the bootstrap's
             percentiles are known without resampling. With fewer than ten ones or ten zeros the bootstrap is too
             narrow (it is empty at 0 and 1), and the exact interval of Clopper and Pearson stands in.
    mean     of n numbers: from the distribution of resampled means, or 2,000 resamples (`equipoise.audit.bootstrap`).
    median   likewise, from the distribution of an order statistic.

A curve F(r) = share of images with radius > r gets the band of Dvoretzky, Kiefer and Wolfowitz, which holds at every
radius at once: F(r) +- sqrt(log(2 / 0.05) / (2 n)).

A mean over S trainings and N images, each training judged on all images, varies with both draws. Student's half-width
of the S means over images and that of the N means over trainings are added like the sides of a right angle. What the
two draws share counts twice, so that the interval is wide rather than narrow.

References:
    An introduction to the bootstrap (Efron and Tibshirani, 1993), chapter 13
    The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality (Massart, 1990),
    https://doi.org/10.1214/aop/1176990746
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrik, stdtrit

from equipoise.audit.bootstrap import mean_ends, median_ends
from equipoise.audit.groups import estimate_contrast, estimate_sensitivity, estimate_worst
from equipoise.audit.intervals import (
    LEVEL,
    Estimate,
    highest_share,
    lowest_share,
    nothing,
)
from equipoise.probes import Contrast, Metric, Quoted, Sensitivity, WorstGroup

__all__ = [
    "Curve",
    "Statistic",
    "across_trainings",
    "estimate",
    "robustness_curve",
]


@dataclass(frozen=True)
class Statistic:
    """One metric of one probe for one classifier: a row of the summary."""

    classifier: str
    probe: str
    name: str
    value: float
    low: float
    high: float
    n: int
    method: str
    unit: str
    better: str


@dataclass(frozen=True)
class Curve:
    """Robust accuracy at each of `radii`, with a band that holds at all of them at once."""

    radii: NDArray
    value: NDArray
    low: NDArray
    high: NDArray


def estimate(metric: Quoted, *, seed: int = 0) -> Estimate:
    """The metric with its interval; NaN throughout when there are no images. Those of several groups of images are
    computed by `equipoise.audit.groups`."""
    if isinstance(metric, Contrast):
        return estimate_contrast(metric)
    if isinstance(metric, WorstGroup):
        return estimate_worst(metric)
    if isinstance(metric, Sensitivity):
        return estimate_sensitivity(metric, seed=seed)
    return _of_all(metric, seed)


def _of_all(metric: Metric, seed: int) -> Estimate:
    values = np.asarray(metric.values)
    n = len(values)
    if n == 0:
        return nothing()
    # Shares that are all 0, or all 1, leave a bootstrap nothing to vary, but not everything certain.
    constant = metric.unit == "share" and values[0] in (0, 1) and bool((values == values[0]).all())
    if metric.kind == "share" or (metric.kind == "mean" and constant):
        return _share(int(values.astype(bool).sum()), n)
    values, tails = values.astype(np.float64), ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    if metric.kind == "median":
        low, high = median_ends(values, tails)
        return Estimate(float(np.median(values)), low, high, n, "bootstrap")
    low, high = mean_ends(values, tails, seed=seed)
    return Estimate(float(values.mean()), low, high, n, "bootstrap")


def _share(ones: int, n: int) -> Estimate:
    tail = (1 - LEVEL) / 2
    if min(ones, n - ones) < 10:
        low, high = lowest_share(ones, n, tail), highest_share(ones, n, tail)
        return Estimate(ones / n, low, high, n, "Clopper-Pearson")
    low, high = (_binomial_quantile(q, n, ones / n) / n for q in (tail, 1 - tail))
    return Estimate(ones / n, low, high, n, "bootstrap")


def across_trainings(values: NDArray) -> Estimate:
    """The mean of `values` with shape (S, N), S trainings each judged on the same N images.

    With fewer than two trainings or images there is no interval.
    """
    values = np.asarray(values, dtype=float)
    trainings, images = values.shape
    mean = float(values.mean()) if values.size else math.nan
    if min(trainings, images) < 2:
        return Estimate(mean, math.nan, math.nan, images, "none")
    half = math.hypot(
        *(
            float(stdtrit(len(means) - 1, (1 + LEVEL) / 2) * means.std(ddof=1) / len(means) ** 0.5)
            for means in (values.mean(1), values.mean(0))
        )
    )
    if half == 0:
        return Estimate(mean, math.nan, math.nan, images, "none")
    return Estimate(mean, mean - half, mean + half, images, "Student over trainings and images")


def _binomial_quantile(q: float, n: int, p: float) -> float:
    """The smallest k for which a binomial(n, p) is at most k with probability q or more."""
    k = math.ceil(bdtrik(q, n, p))
    return k - 1 if bdtr(k - 1, n, p) >= q else k


def robustness_curve(radius: NDArray, points: NDArray) -> Curve:
    """Robust accuracy at each of `points` from the smallest radius of every image."""
    n = len(radius)
    value = 1 - np.searchsorted(np.sort(radius), points, side="right") / n
    half = math.sqrt(math.log(2 / (1 - LEVEL)) / (2 * n))
    return Curve(points, value, np.clip(value - half, 0, 1), np.clip(value + half, 0, 1))
