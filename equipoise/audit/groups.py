"""Intervals of statistics that combine groups of images, at 95 %.

A share p_g of n_g images has Wilson's interval [l_g, u_g].

    contrast      sum_g w_g p_g: the square-and-add intervals of Zou and Donner, from those of the shares: below by
                  sqrt(sum_g (w_g p_g - m_g)^2), m_g being w_g l_g where w_g > 0 and w_g u_g where w_g < 0; above
                  likewise. For a difference of two shares this is Newcombe's.
    worst group   from the least of the groups' lower bounds of Clopper and Pearson at tail 0.025 to the least of their
                  upper ones at tail 0.025 / G, for G groups. The interval holds at 95 % or more, though the worst group
                  was picked by looking: above, all groups' bounds must hold; below, only that of the worst.
    sensitivity   (b - a) / (2 min(m, 1 - m)): the percentile bootstrap over the images of each class. It rises with b
                  and falls with a; where fewer than ten images' worth of right or wrong answers are left for either, or
                  a class has one image, the ends come from Clopper and Pearson's bounds of a and b at tail 0.0125, with
                  1 / sum_i w_i^2 images, w_i being the weight of image i: wide, and all of [-1, 1] where every answer
                  is right. Of at least 1,000 images nothing is resampled: it is at most s where

                      (1 - s) b - (1 + s) a <= 0  for m <= 1/2,    (1 + s) b - (1 - s) a <= 2 s  for m >= 1/2,

                  and unless both happen, m being within six standard deviations of 1/2, the probability of either is
                  that of a sum of means (`equipoise.audit.inversion`). Otherwise, 2,000 resamples.

What has no image has no interval and no value.

References:
    Interval estimation for the difference between independent proportions (Newcombe, 1998)
    Construction of confidence limits about effect measures (Zou and Donner, 2008), https://doi.org/10.1002/sim.3095
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from equipoise.audit.intervals import (
    LEVEL,
    Estimate,
    highest_share,
    lowest_share,
    nothing,
    wilson,
)
from equipoise.audit.inversion import Sum, sum_of_means
from equipoise.audit.resampling import resample
from equipoise.probes import Contrast, Sensitivity, WorstGroup, relative_sensitivity

__all__ = ["WIDE", "estimate_contrast", "estimate_sensitivity", "estimate_worst"]

FEWEST = 10
"""Images' worth of right and of wrong answers below which a bootstrap would be too narrow."""

PLENTY = 1000
"""Images of which nothing need be resampled."""

CLEAR = 6.0
"""Standard deviations that the two cases of a sensitivity are apart."""

NEAR, STEPS = 1e-6, 20
"""Error of an end in standard deviations, and steps to reach it."""

WIDE = "Clopper-Pearson of both"
"""The method that then stands in."""


def estimate_contrast(metric: Contrast) -> Estimate:
    """The contrast with its interval; without one where a group that takes part has no image."""
    counts = _counts(metric.correct, metric.groups)
    if not metric.weights or not set(metric.weights) <= set(counts):
        return nothing()
    value, below, above, n = 0.0, 0.0, 0.0, 0
    for group, weight in metric.weights.items():
        ones, images = counts[group]
        share, (low, high) = ones / images, wilson(ones, images)
        ends = sorted((weight * low, weight * high))
        value, n = value + weight * share, n + images
        below += (weight * share - ends[0]) ** 2
        above += (ends[1] - weight * share) ** 2
    low, high = value - math.sqrt(below), value + math.sqrt(above)
    if metric.unit == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    return Estimate(value, low, high, n, "square and add, from Wilson's")


def estimate_worst(metric: WorstGroup) -> Estimate:
    """The least share of all groups with its interval; without one where an expected group has no image."""
    known = _counts(metric.correct, metric.groups)
    if not known or not set(metric.expected) <= set(known):
        return nothing()
    counts = known.values()
    tail = (1 - LEVEL) / 2
    return Estimate(
        min(ones / n for ones, n in counts),
        min(lowest_share(ones, n, tail) for ones, n in counts),
        min(highest_share(ones, n, tail / len(counts)) for ones, n in counts),
        sum(n for _, n in counts),
        "Clopper-Pearson of every group",
    )


def estimate_sensitivity(metric: Sensitivity, *, seed: int = 0) -> Estimate:
    """The sensitivity with its interval."""
    pairs = np.stack([metric.first, metric.second], 1).astype(np.float64)
    if not len(pairs):
        return nothing()
    _, place, sizes = np.unique(metric.classes, return_inverse=True, return_counts=True)
    weights = 1 / (len(sizes) * sizes[place])
    a, b = weights @ pairs
    value = float(relative_sensitivity(a, b))
    images = 1 / float(np.square(weights).sum())
    if min(a, b, 1 - a, 1 - b) * images < FEWEST or sizes.min() < 2:
        tail = (1 - LEVEL) / 4
        lows, highs = (
            [bound(share * images, images, tail) for share in (a, b)]
            for bound in (lowest_share, highest_share)
        )
        low, high = relative_sensitivity([highs[0], lows[0]], [lows[1], highs[1]])
        return Estimate(value, float(low), float(high), len(pairs), WIDE)
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    ends = None
    if len(pairs) >= PLENTY:
        ends = _sensitivity_ends(pairs[np.argsort(place, kind="stable")], sizes, value, tails)
    low, high = ends or np.quantile(resample([metric], seed=seed), tails)
    return Estimate(value, float(low), float(high), len(pairs), "bootstrap within classes")


def _sensitivity_ends(
    pairs: NDArray, sizes: NDArray, value: float, tails: Sequence[float]
) -> list[float] | None:
    """Quantiles of the resampled sensitivity; None where no sum of means tells them.

    Arguments:
        pairs: both answers, class after class, with shape (N, 2).
        sizes: of the classes.
        value: the sensitivity.
        tails: which quantiles.
    """
    share = np.full(len(sizes), 1 / len(sizes))

    def resampled(first: float, second: float) -> Sum | None:
        return sum_of_means(pairs @ np.array([first, second]), sizes, share, sizes - 1)

    both = resampled(1.0, 1.0)
    if both is None or abs(both.mean - 1) < CLEAR * both.spread:
        return None
    few = both.mean < 1
    room, ends = min(both.mean, 2 - both.mean), []
    for score in ndtri(tails):
        end, missing = value, np.inf
        # As a normal score the probability is nearly linear in s: each step leaves a few per cent of what was missing.
        for _ in range(STEPS):
            found = resampled(-1 - end, 1 - end) if few else resampled(end - 1, 1 + end)
            if found is None:
                return None
            missing = score - ndtri(found.below(0.0 if few else 2 * end))
            if not abs(missing) > NEAR:
                break
            end += missing * found.spread / room
        if not abs(missing) <= NEAR:
            return None
        ends.append(float(end))
    return ends


def _counts(correct: NDArray, groups: NDArray) -> dict[str, tuple[int, int]]:
    """Right answers and images of each group."""
    right = np.asarray(correct, dtype=bool)
    found = np.asarray(groups, dtype=object)
    return {
        group: (int(right[found == group].sum()), int((found == group).sum()))
        for group in sorted(set(found.tolist()))
    }
