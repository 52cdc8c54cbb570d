"""A comparison in sentences that the numbers generate.

Of one pair every headline metric is told, with its own interval. Of several pairs those are named that differ most, so
that the numbers themselves pick them; their intervals are those that hold at once for all differences.
"""

from collections.abc import Sequence

from equipoise.comparing import Comparison
from equipoise.comparing.compared import Change
from equipoise.comparing.naming import is_headline
from equipoise.comparing.quantities import amount, span
from equipoise.report.words import against, apart, count

__all__ = ["tell_comparison"]

MOST = 3
"""Names in a list."""


def tell_comparison(comparison: Comparison, column: tuple[str, str] | None) -> list[str]:
    """The sentences, the most important first.

    Arguments:
        comparison: what was compared.
        column: metric and protocol that contenders are ranked by, where they are.
    """
    headline = [c for c in comparison.changes if is_headline(c.metric)] or comparison.changes
    if len(comparison.pairs) == 1:
        return [_one(comparison, change) for change in headline[:6]]
    first = [_best(comparison, column)] if column else []
    metrics = list(dict.fromkeys((c.metric, c.protocol) for c in headline))
    return first + [
        _several(comparison, [c for c in headline if (c.metric, c.protocol) == metric])
        for metric in metrics[:5]
    ]


def _one(comparison: Comparison, change: Change) -> str:
    before, after = apart(change.before), apart(change.after)
    levels = f"{amount(change.now, change.unit)} against {amount(change.was, change.unit)}"
    images, though = f"on the same {count(change.n)} images", _though(comparison, change)
    if not change.shown:
        points = " points" if change.unit == "share" else ""
        interval = span(change.low, change.high, change.unit, change=True)
        corrected = ""
        if change.low > 0 or change.high < 0:
            corrected = f" once corrected for {len(comparison.changes)} differences"
        return (
            f"No difference in {_told(change.metric)} between {after} and {before} is shown{corrected} ({levels}, 95% "
            f"interval of the difference {interval}{points}) {images}{though}."
        )
    low, high = sorted((abs(change.low), abs(change.high)))
    return (
        f"{after} {_differs(change, before)} ({levels}, 95% interval of the difference "
        f"{span(low, high, change.unit)}) {images}{though}."
    )


def _differs(change: Change, before: str) -> str:
    """``is 3.1 points more accurate than B``."""
    size, more = amount(abs(change.value), change.unit).removesuffix("%"), change.value > 0
    known, _, threat = change.metric.partition(" at ")
    if change.metric == "standard accuracy":
        return f"is {size} points {'more' if more else 'less'} accurate than {before}"
    if known == "robust accuracy" and " " not in threat:
        return f"is {size} points {'more' if more else 'less'} robust than {before} at {threat}"
    points = " points" if change.unit == "share" else ""
    return f"is {size}{points} {'above' if more else 'below'} {before} in {_told(change.metric)}"


def _though(comparison: Comparison, change: Change) -> str:
    found = [
        against(range(s.warnings), f"the number of {apart(s.who)}")
        for s in comparison.standings
        if s.warnings
        and (s.metric, s.protocol) == (change.metric, change.protocol)
        and s.who in (change.before, change.after)
    ]
    return f", though {' and '.join(found)}" if found else ""


def _best(comparison: Comparison, column: tuple[str, str]) -> str:
    ranked = [s for s in comparison.standings if (s.metric, s.protocol) == column and s.rank]
    best = next(s for s in ranked if s.rank == 1)
    tied = [apart(s.who) for s in ranked if s.tied and s.who != best.who]
    end = (
        f"; {_listed(tied)} {'is' if len(tied) == 1 else 'are'} not shown to differ from it"
        if tied
        else ""
    )
    whom = f"Of {len(ranked)} classifiers, " if len(ranked) > 1 else ""
    return (
        f"{whom}{apart(best.who)} has the highest {_told(best.metric)}: {amount(best.value, best.unit)} (95% interval "
        f"{span(best.low, best.high, best.unit)}) on {count(best.n)} images{end}."
    )


def _several(comparison: Comparison, changes: Sequence[Change]) -> str:
    """What became of one metric in several pairs."""
    shown = sorted((c for c in changes if c.shown), key=lambda c: -abs(c.value))
    names = {(c.before, c.after): _after(comparison, c) for c in changes}
    metric = _told(changes[0].metric)
    parts = []
    for c in shown[:MOST]:
        size = amount(abs(c.value), c.unit).removesuffix("%") + (
            " points" if c.unit == "share" else ""
        )
        low, high = (c.lowest, c.highest) if c.value > 0 else (-c.highest, -c.lowest)
        interval = span(low, high, c.unit)
        parts.append(
            f"{size} {'higher' if c.value > 0 else 'lower'} for {names[c.before, c.after]} ({interval})"
        )
    if len(shown) > MOST:
        parts.append(f"different for {len(shown) - MOST} more")
    unshown = [names[c.before, c.after] for c in changes if not c.shown]
    where = _where(comparison, changes)
    said = f"{where}, {metric} is {_joined(parts)}" if parts else ""
    if not unshown:
        return f"{said}."
    if not said:
        return f"{where}, no difference in {metric} is shown for {_listed(unshown)}."
    return f"{said}; no difference is shown for {_listed(unshown)}."


def _where(comparison: Comparison, changes: Sequence[Change]) -> str:
    if len({c.before for c in changes}) == 1:
        return f"Against {apart(changes[0].before)}"
    return f"From {apart(comparison.runs[0])} to {apart(comparison.runs[1])}"


def _after(comparison: Comparison, change: Change) -> str:
    """The contender after; by the classifier's own name where pairs are of namesakes."""
    if len({before for before, _ in comparison.pairs}) == 1:
        return apart(change.after)
    return apart(next(c.classifier for c in comparison.contenders if c.name == change.after))


def _told(metric: str) -> str:
    return apart(metric)


def _listed(names: Sequence[str]) -> str:
    if len(names) > MOST:
        return f"{len(names)} classifiers"
    return _joined(names)


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
