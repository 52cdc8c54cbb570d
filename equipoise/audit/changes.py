"""How much a metric differs between two classifiers on the same images, and how it goes along a ladder.

Notation. `before` and `after` are one metric of two classifiers; the change is after - before. p_g and q_g are shares
of right answers in group g, d_g = q_g - p_g with the paired interval [l_g, u_g] of `equipoise.audit.difference`.

    mean          of paired differences, as `equipoise.audit.association.difference` has it
    contrast      sum_g w_g d_g, from the paired intervals of the groups by square-and-add (Zou and Donner): below by
                  sqrt(sum_g (w_g d_g - m_g)^2), m_g being w_g l_g where w_g > 0 and w_g u_g where w_g < 0
    worst group   min_g q_g - min_g p_g, what is left by two intervals of 97.5 % each. It is at most d_g of the group
                  that is worst before, and at least d_g of the one that is worst after: hence from the least l_g of the
                  groups that may be worst after to the largest u_g of those that may be worst before. A group may be
                  worst unless its lower bound of Clopper and Pearson lies above the least of all upper bounds. And by
                  square-and-add of the intervals of both worst groups, as if the classifiers had seen different images,
                  which is narrower where many groups may be worst. The bootstrap misses too often where groups tie
    sensitivity   the percentile bootstrap of both at once, images drawn within classes; where fewer than ten images are
                  answered differently, or either interval is not the bootstrap's, square-and-add of the two intervals
                  as if the classifiers had seen different images: wide

    trend         Spearman's rank correlation of the radii of training and the metric, 0 where the metric never
                  changes; the percentile bootstrap over images, the same resamples for all rungs. It knows how much
                  the images leave open and nothing of other trainings. No interval where all answers agree on all but
                  nine images.

References:
    Construction of confidence limits about effect measures (Zou and Donner, 2008), https://doi.org/10.1002/sim.3095
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from equipoise.audit.association import difference
from equipoise.audit.difference import paired_difference
from equipoise.audit.groups import WIDE, estimate_sensitivity
from equipoise.audit.intervals import LEVEL, Estimate, highest_share, lowest_share, nothing
from equipoise.audit.resampling import answers, resample
from equipoise.audit.statistics import estimate
from equipoise.errors import EquipoiseError
from equipoise.probes import Contrast, Metric, Quoted, Sensitivity, WorstGroup

__all__ = ["change", "trend"]

FEWEST = 10
"""Images with different answers below which a bootstrap would be too narrow."""

TAILS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]


def change(before: Quoted, after: Quoted, *, seed: int = 0) -> Estimate:
    """The change of a metric with its 95 % interval.

    Arguments:
        before: a metric of one classifier.
        after: the same of another one, of the same images in the same order.
        seed: of resamples.

    Raises:
        EquipoiseError: for two metrics, a median, or different images.
    """
    _check([before, after])
    if isinstance(before, Contrast) and isinstance(after, Contrast):
        return _contrast(before, after, seed)
    if isinstance(before, WorstGroup) and isinstance(after, WorstGroup):
        return _worst(before, after, seed)
    if isinstance(before, Sensitivity) and isinstance(after, Sensitivity):
        return _sensitivity(before, after, seed)
    return difference(answers(after)[:, 0], answers(before)[:, 0], seed=seed)


def trend(radii: Sequence[float], metrics: Sequence[Quoted], *, seed: int = 0) -> Estimate:
    """Rank correlation of radius and metric along a ladder, with its 95 % interval.

    Arguments:
        radii: of training, one for each rung.
        metrics: one metric of every rung, of the same images in the same order.
        seed: of resamples.

    Raises:
        EquipoiseError: for fewer than three rungs, different metrics or images, or a median.
    """
    if len(radii) < 3 or len(metrics) != len(radii):
        raise EquipoiseError(
            f"Cannot correlate {len(metrics)} metrics with {len(radii)} radii: give as many, three or more."
        )
    _check(metrics)
    values = [[estimate(metric, seed=seed).value for metric in metrics]]
    value, n = float(_ranked(radii, np.array(values))[0]), len(answers(metrics[0]))
    if _differing(metrics) < FEWEST:
        return Estimate(value, math.nan, math.nan, n, "none")
    low, high = np.quantile(_ranked(radii, resample(metrics, seed=seed)), TAILS)
    return Estimate(value, float(low), float(high), n, "bootstrap over images")


def _check(metrics: Sequence[Quoted]) -> None:
    first = metrics[0]
    if isinstance(first, Metric) and first.kind == "median":
        raise EquipoiseError(f"Cannot compare {first.name!r}: it is a median. Take a mean.")
    for other in metrics[1:]:
        if type(other) is not type(first) or other.name != first.name:
            raise EquipoiseError(
                f"Cannot compare {first.name!r} with {other.name!r}: take one metric."
            )
        if not _alike(first, other):
            raise EquipoiseError(
                f"Cannot compare {first.name!r} of two classifiers: it is of other images, or of other groups. Take "
                "the images that both have answers for."
            )


def _alike(first: Quoted, other: Quoted) -> bool:
    """Whether both metrics can be of the same images in the same order."""
    if len(answers(first)) != len(answers(other)):
        return False
    if isinstance(first, Contrast) and isinstance(other, Contrast):
        return np.array_equal(first.groups, other.groups) and first.weights == other.weights
    if isinstance(first, WorstGroup) and isinstance(other, WorstGroup):
        return np.array_equal(first.groups, other.groups)
    if isinstance(first, Sensitivity) and isinstance(other, Sensitivity):
        return np.array_equal(first.classes, other.classes)
    return True


def _differing(metrics: Sequence[Quoted]) -> int:
    """On how many images the classifiers do not all answer alike."""
    first, *others = map(answers, metrics)
    return int(np.any([other != first for other in others], axis=(0, 2)).sum())


def _contrast(before: Contrast, after: Contrast, seed: int) -> Estimate:
    if not before.weights:
        return nothing()
    value, below, above, n = 0.0, 0.0, 0.0, 0
    for group, weight in before.weights.items():
        rows = before.groups == group
        if not rows.any():
            return nothing()
        found = paired_difference(before.correct[rows], after.correct[rows], seed=seed)
        ends = sorted((weight * found.low, weight * found.high))
        value, n = value + weight * found.value, n + found.n
        below += (weight * found.value - ends[0]) ** 2
        above += (ends[1] - weight * found.value) ** 2
    method = "square and add, from paired intervals of the groups"
    return Estimate(value, value - math.sqrt(below), value + math.sqrt(above), n, method)


def _worst(before: WorstGroup, after: WorstGroup, seed: int) -> Estimate:
    names = sorted(set(before.groups.tolist()))
    if not names or not set(before.expected) <= set(names):
        return nothing()
    rows = {name: before.groups == name for name in names}
    one, other = (_Worst.of(metric, rows) for metric in (before, after))
    value = other.share - one.share
    found = {
        name: paired_difference(before.correct[r], after.correct[r], choices=4, seed=seed)
        for name, r in rows.items()
    }
    low, high = min(found[g].low for g in other.names), max(found[g].high for g in one.names)
    apart = (
        value - math.hypot(other.share - other.low, one.high - one.share),
        value + math.hypot(other.high - other.share, one.share - one.low),
    )
    method = "paired intervals of the groups that may be worst"
    return Estimate(value, max(low, apart[0]), min(high, apart[1]), len(before.correct), method)


@dataclass(frozen=True)
class _Worst:
    """The accuracy of a classifier's worst group with its interval at 97.5 %, and the groups that may be it."""

    share: float
    low: float
    high: float
    names: Sequence[str]

    @classmethod
    def of(cls, metric: WorstGroup, rows: Mapping[str, NDArray]) -> Self:
        counts = {g: (int(metric.correct[r].sum()), int(r.sum())) for g, r in rows.items()}
        tail = TAILS[0] / 2

        def lows(tail: float) -> dict[str, float]:
            return {g: lowest_share(*found, tail) for g, found in counts.items()}

        def least_high(tail: float) -> float:
            return min(highest_share(*found, tail / len(rows)) for found in counts.values())

        return cls(
            min(ones / n for ones, n in counts.values()),
            min(lows(tail).values()),
            least_high(tail),
            [g for g, low in lows(tail / 4).items() if low <= least_high(tail / 4)],
        )


def _sensitivity(before: Sensitivity, after: Sensitivity, seed: int) -> Estimate:
    one, other = (estimate_sensitivity(metric, seed=seed) for metric in (before, after))
    value = other.value - one.value
    if _differing([before, after]) < FEWEST or WIDE in (one.method, other.method):
        low = value - math.hypot(other.value - other.low, one.high - one.value)
        high = value + math.hypot(other.high - other.value, one.value - one.low)
        return Estimate(value, low, high, one.n, "square and add, from both intervals")
    drawn = resample([before, after], seed=seed)
    low, high = np.quantile(drawn[:, 1] - drawn[:, 0], TAILS)
    return Estimate(value, float(low), float(high), one.n, "bootstrap within classes")


def _ranked(radii: Sequence[float], values: NDArray) -> NDArray:
    """Spearman's correlation of the radii with each row of `values`, 0 for a row that is constant."""
    from scipy.stats import rankdata  # noqa: PLC0415  half a second that only studies need

    ranks = rankdata(values, axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    wanted = rankdata(radii)
    wanted -= wanted.mean()
    lengths = np.sqrt(np.square(ranks).sum(1) * np.square(wanted).sum())
    return np.divide(ranks @ wanted, lengths, out=np.zeros(len(ranks)), where=lengths > 0)
