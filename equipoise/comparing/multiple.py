"""One paired difference among many: its p-value, and what is left of it when m differences are looked at at once.

    p-value       where both classifiers answer yes or no, McNemar's exact test (`equipoise.audit.gains`). Of any
                  other metric the least error at which its interval leaves out 0, taking the interval's halves b below
                  and a above as multiples of the normal quantile: p = 2 Phi(-1.96 |d| / h), h = b for d > 0 and a for
                  d < 0.
    at once       an interval at error 0.05 / m instead of 0.05 (Bonferroni), so that all m hold together with a
                  probability of at least 95 %. Of yes and no it is computed at that error; of any other metric the
                  halves b and a are multiplied by z(1 - 0.05 / 2m) / 1.96.
    Holm          p_(1) <= ... <= p_(m); the adjusted p_(k) is the largest of (m - j + 1) p_(j) over j <= k, at most 1.
                  The chance that any adjusted p-value of no difference is below 0.05 is at most 5 %, whatever goes
                  together with what. It calls shown whatever Bonferroni does, and more.

References:
    A simple sequentially rejective multiple test procedure (Holm, 1979), https://www.jstor.org/stable/4615733
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from equipoise.audit.changes import change
from equipoise.audit.gains import gain_interval, mcnemar
from equipoise.audit.intervals import LEVEL
from equipoise.audit.resampling import answers
from equipoise.audit.statistics import estimate
from equipoise.probes import Metric, Quoted

__all__ = ["Paired", "compare_metrics", "holm"]

ERROR = 1 - LEVEL


@dataclass(frozen=True)
class Paired:
    """The change of a metric on the same images.

    Attributes:
        was, now: the metric of either.
        value: now - was.
        low, high: its 95 % interval.
        p: two-sided p-value of no change; NaN without an interval.
        n: images.
        method: of the interval.
        counts: images gained and lost, where answers are yes or no.
    """

    was: float
    now: float
    value: float
    low: float
    high: float
    p: float
    n: int
    method: str
    counts: tuple[int, int] | None = None

    def at_once(self, choices: int) -> tuple[float, float]:
        """The interval that holds together with those of `choices` differences in all."""
        if self.counts:
            return gain_interval(*self.counts, self.n, ERROR / choices)
        wider = float(ndtri(1 - ERROR / 2 / choices) / ndtri(1 - ERROR / 2))
        return (
            self.value - wider * (self.value - self.low),
            self.value + wider * (self.high - self.value),
        )


def compare_metrics(before: Quoted, after: Quoted, *, seed: int = 0) -> Paired:
    """A metric of two classifiers, compared. Exchanged, they give the same with the other sign.

    Arguments:
        before: a metric of one classifier.
        after: the same of another one, of the same images in the same order.
        seed: of resamples.

    Raises:
        EquipoiseError: for two metrics, a median, or different images or groups.
    """
    was, now = _value(before), _value(after)
    if isinstance(before, Metric) and isinstance(after, Metric):
        counts = _counts(before, after)
        if counts:
            n = len(before.values)
            low, high = gain_interval(*counts, n, ERROR)
            value = (counts[0] - counts[1]) / n
            p, method = mcnemar(*counts), "exact bootstrap"
            return Paired(was, now, value, low, high, p, n, method, counts)
    if not all(np.isfinite(answers(metric)).all() for metric in (before, after)):
        # Nothing is known of the mean of distances without a bound.
        return Paired(
            was, now, math.nan, math.nan, math.nan, math.nan, len(answers(before)), "none"
        )
    # Resamples are drawn for the two in one order, so that exchanging them changes nothing but the sign.
    turned = answers(after).tobytes() < answers(before).tobytes()
    found = change(after, before, seed=seed) if turned else change(before, after, seed=seed)
    value, low, high = found.value, found.low, found.high
    if turned:
        value, low, high = -value, -high, -low
    p = _p_value(value, low, high)
    return Paired(was, now, value, low, high, p, found.n, found.method)


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """Holm's adjusted p-values, in the order of `p`; NaN, of what could not be tested, stays NaN and counts."""
    own = np.asarray(p, dtype=np.float64)
    order = np.argsort(own)
    scaled = own[order] * np.arange(len(own), 0, -1)
    adjusted = np.empty(len(own))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted


def _counts(before: Metric, after: Metric) -> tuple[int, int] | None:
    """Images gained and lost, where both answer yes or no; None otherwise, and where they cannot be paired."""
    one, other = (np.asarray(metric.values, dtype=np.float64) for metric in (before, after))
    whole = before.kind == after.kind != "median" and np.isin(np.r_[one, other], (0, 1)).all()
    if before.name != after.name or len(one) != len(other) or not len(one) or not whole:
        return None
    return int((other > one).sum()), int((other < one).sum())


def _value(metric: Quoted) -> float:
    if isinstance(metric, Metric) and len(metric.values):
        return float(answers(metric).mean())
    return estimate(metric).value


def _p_value(value: float, low: float, high: float) -> float:
    if not math.isfinite(value + low + high):
        return math.nan
    half = value - low if value > 0 else high - value
    if half == 0:
        return float(value == 0)
    return float(2 * ndtr(ndtri(ERROR / 2) * abs(value) / half))
