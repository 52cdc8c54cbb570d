"""Thresholds that measurements must hold, for continuous integration.

    under    the metric of every classifier is at least the limit
    drop     the metric falls by no more than the limit from before to after, in every pair

A threshold is judged on the point estimate. Judged with confidence, it is judged on the lower end of the 95 % interval,
by itself: of the metric, or of the change. What was not measured, or cannot be compared, does not hold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from equipoise.comparing.compared import Change, Standing
from equipoise.comparing.naming import find_metrics
from equipoise.errors import EquipoiseError
from equipoise.specs import parse_number

__all__ = ["Threshold", "Verdict", "judge_thresholds", "parse_threshold"]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What must hold.

    Attributes:
        metric: a short name or a whole one, see `equipoise.comparing.naming`.
        limit: in the units of the metric; shares lie between 0 and 1.
        drop: whether the limit is of the fall from before to after, instead of the value.
        confident: whether the interval's lower end must hold it, instead of the point estimate.

    Raises:
        EquipoiseError: for a limit that is not finite, or a fall below 0.
    """

    metric: str
    limit: float
    drop: bool = False
    confident: bool = False

    def __post_init__(self) -> None:
        if not math.isfinite(self.limit) or (self.drop and self.limit < 0):
            least = ", at least 0" if self.drop else ""
            raise EquipoiseError(
                f"Cannot use the threshold {self.metric}={self.limit}: its limit is a finite number{least}."
            )

    def __str__(self) -> str:
        return f"{self.metric} {'drops by at most' if self.drop else 'is at least'} {self.limit:g}"


@dataclass(frozen=True)
class Verdict:
    """A threshold, judged for a contender.

    Attributes:
        who: name of the contender; that after the change where a fall was judged.
        value, low, high: what was judged: a metric, or its change from before to after; NaN where there is none.
        holds: whether it does.
        reason: why nothing could be judged; empty where it could.
        warnings: how many checks speak against the number.
    """

    threshold: Threshold
    who: str
    metric: str
    value: float
    low: float
    high: float
    holds: bool
    unit: str = "share"
    reason: str = ""
    warnings: int = 0


def parse_threshold(text: str, *, drop: bool = False, confident: bool = False) -> Threshold:
    """The threshold that ``METRIC=NUMBER`` names.

    Raises:
        EquipoiseError: when `text` is none.
    """
    metric, equals, limit = text.rpartition("=")
    if not equals or not metric.strip():
        raise EquipoiseError(
            f"Cannot read the threshold {text!r}: write METRIC=NUMBER, as in robust=0.45."
        )
    found = parse_number(limit, f"the limit of the threshold {text!r}")
    return Threshold(metric=metric.strip(), limit=found, drop=drop, confident=confident)


def judge_thresholds(
    thresholds: Sequence[Threshold],
    standings: Sequence[Standing],
    changes: Sequence[Change],
    judged: Sequence[str],
    pairs: Sequence[tuple[str, str]],
) -> tuple[Verdict, ...]:
    """Every threshold for everyone it is about.

    Arguments:
        thresholds: what must hold.
        standings: of all contenders.
        changes: of all pairs.
        judged: names of the contenders whose metrics are judged.
        pairs: names before and after.

    Raises:
        EquipoiseError: for a metric that nobody was measured by, a limit beyond it, or a fall without a pair.
    """
    verdicts: list[Verdict] = []
    for threshold in thresholds:
        if threshold.drop and not pairs:
            raise EquipoiseError(
                f"Cannot judge the threshold {str(threshold)!r}: there is one classifier, and nothing to fall from. "
                "Give the run before as well: equipoise compare BEFORE AFTER."
            )
        for metric in find_metrics(threshold.metric, [s.metric for s in standings]):
            own = [s for s in standings if s.metric == metric]
            if own[0].unit == "share" and threshold.limit > 1:
                raise EquipoiseError(
                    f"Cannot judge the threshold {threshold.metric}={threshold.limit:g}: {metric} lies between 0 and "
                    f"1. Did you mean {threshold.limit / 100:g}?"
                )
            if threshold.drop:
                for pair in pairs:
                    here = [c for c in changes if (c.before, c.after, c.metric) == (*pair, metric)]
                    verdicts += _fallen(threshold, metric, own[0].unit, pair, here)
            else:
                verdicts += [
                    verdict
                    for who in judged
                    for verdict in _under(threshold, metric, who, [s for s in own if s.who == who])
                ]
    return tuple(verdicts)


def _under(threshold: Threshold, metric: str, who: str, own: Sequence[Standing]) -> list[Verdict]:
    if not own:
        return [_nothing(threshold, who, metric, "share", "not measured")]
    return [
        Verdict(
            threshold,
            who,
            metric,
            s.value,
            s.low,
            s.high,
            (s.low if threshold.confident else s.value) >= threshold.limit,
            s.unit,
            warnings=s.warnings,
        )
        for s in own
    ]


def _fallen(
    threshold: Threshold, metric: str, unit: str, pair: tuple[str, str], found: Sequence[Change]
) -> list[Verdict]:
    if not found:
        return [_nothing(threshold, pair[1], metric, unit, f"not compared with {pair[0]}")]
    return [
        Verdict(
            threshold,
            change.after,
            metric,
            change.value,
            change.low,
            change.high,
            # Shares of images are no round numbers in binary: 0.96 - 0.95 exceeds 0.01.
            round((change.low if threshold.confident else change.value) + threshold.limit, 9) >= 0,
            unit,
        )
        for change in found
    ]


def _nothing(threshold: Threshold, who: str, metric: str, unit: str, reason: str) -> Verdict:
    return Verdict(threshold, who, metric, math.nan, math.nan, math.nan, False, unit, reason)
