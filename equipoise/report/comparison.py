"""The page of a comparison: a leaderboard, the differences behind it, and what could not be compared.

Like the page of a run it is one HTML file that needs nothing else, and a function of the runs alone. Contenders are
ranked within one protocol; its digest stands at the head of every column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from equipoise.comparing import Comparison
from equipoise.comparing.compared import Change, Standing
from equipoise.comparing.naming import is_headline
from equipoise.comparing.quantities import amount, chance, signed, span
from equipoise.comparing.thresholds import Threshold, Verdict
from equipoise.errors import EquipoiseError
from equipoise.files import write_atomically
from equipoise.report.figure import Figure
from equipoise.report.forest import forest
from equipoise.report.making import cite
from equipoise.report.offline import fill
from equipoise.report.told import tell_comparison

__all__ = ["write_comparison"]

CHARTS = 6
"""Metrics that get a chart; the table has all of them."""


@dataclass(frozen=True)
class Head:
    """A column of the leaderboard: the metric and its protocol, and whether contenders are ranked by it."""

    metric: str
    protocol: str
    ranking: bool


@dataclass(frozen=True)
class Place:
    """A row of the leaderboard.

    Attributes:
        colour: the contender's place among all, which picks its colour.
        rank: by the ranking column; empty where it has none.
        cells: a standing, or None, with its value and interval in words.
    """

    name: str
    colour: int
    rank: str
    cells: Sequence[tuple[Standing | None, str, str]]


@dataclass(frozen=True)
class Told:
    """A change in words, a row of the table of all differences."""

    change: Change
    was: str
    now: str
    value: str
    own: str
    once: str
    p: str


def write_comparison(
    comparison: Comparison,
    out: str | Path,
    thresholds: Sequence[Threshold] = (),
    *,
    rank: str | None = None,
    command: str = "",
) -> Path:
    """Writes the page, one HTML file that opens anywhere, without a network.

    Arguments:
        comparison: what `equipoise.compare` found.
        out: the file to write, replaced atomically.
        thresholds: what has to hold; the page says whether it does.
        rank: the metric that contenders are ranked by; robust accuracy, or the first metric, when None.
        command: how the user asked, for the record.

    Returns:
        the file.

    Raises:
        EquipoiseError: for a metric that nobody can be ranked by, or when the file cannot be written.
    """
    column = _column(comparison, rank)
    heads, places = _board(comparison, column)
    figures, told = _charts(comparison), [_told(change) for change in comparison.changes]
    page = fill(
        "comparison.html",
        {"charts": {f"compared-{k}": figure.spec for k, figure in enumerate(figures)}},
        classifiers=len(comparison.contenders),
        version=version("equipoise"),
        title=_title(comparison),
        comparison=comparison,
        sentences=tell_comparison(comparison, column),
        verdicts=[_verdict(verdict) for verdict in comparison.judge(thresholds)],
        confident=any(threshold.confident for threshold in thresholds),
        heads=heads,
        places=places,
        figures=figures,
        told=told,
        protocols=_protocols(comparison),
        shown=sum(change.shown for change in comparison.changes),
        command=command,
        references=cite("holm1979", "mcnemar1947", "efron1993", "clopper1934"),
    )
    out = Path(out).expanduser()
    content = page.encode("utf-8", "replace")
    write_atomically(out, lambda temporary: temporary.write_bytes(content))
    return out


def _title(comparison: Comparison) -> str:
    if len(comparison.contenders) == 1:
        return comparison.contenders[0].name
    if len(comparison.contenders) > 2 or not comparison.pairs:
        return f"{len(comparison.contenders)} classifiers compared"
    before, after = comparison.pairs[0]
    return f"\u2068{after}\u2069 against \u2068{before}\u2069"


def _column(comparison: Comparison, rank: str | None) -> tuple[str, str] | None:
    try:
        return comparison.ranked(rank)
    except EquipoiseError:
        if rank is not None:
            raise
        return None


def _board(
    comparison: Comparison, column: tuple[str, str] | None
) -> tuple[list[Head], list[Place]]:
    columns = comparison.columns()
    columns = [c for c in columns if is_headline(c[0]) or c == column] or columns
    found = {(s.who, s.metric, s.protocol): s for s in comparison.standings}
    rows = []
    for k, contender in enumerate(comparison.contenders):
        own = [found.get((contender.name, *c)) for c in columns]
        ranking = found.get((contender.name, *column)) if column else None
        rank = ranking.rank if ranking else None
        cells = [(s, *_words(s)) for s in own]
        rows.append((rank, Place(contender.name, k, "" if rank is None else str(rank), cells)))
    rows.sort(key=lambda row: (row[0] is None, row[0] or 0))
    return [Head(*c, ranking=c == column) for c in columns], [place for _, place in rows]


def _words(standing: Standing | None) -> tuple[str, str]:
    if standing is None:
        return "", ""
    s = standing
    return amount(s.value, s.unit), span(s.low, s.high, s.unit)


def _charts(comparison: Comparison) -> list[Figure]:
    by_metric: dict[tuple[str, str], list[Change]] = {}
    for change in comparison.changes:
        by_metric.setdefault((change.metric, change.protocol), []).append(change)
    first = {key: found for key, found in by_metric.items() if is_headline(key[0])} or by_metric
    names = _pair_names(comparison)
    return [forest(metric, found, names) for (metric, _), found in [*first.items()][:CHARTS]]


def _pair_names(comparison: Comparison) -> dict[tuple[str, str], str]:
    """What charts call a pair: what is after, where all have the same before; a namesake by its name alone."""
    if len({before for before, _ in comparison.pairs}) == 1:
        return {(before, after): after for before, after in comparison.pairs}
    own = {c.name: c.classifier for c in comparison.contenders}
    return {(before, after): own[after] for before, after in comparison.pairs}


def _told(change: Change) -> Told:
    c = change
    return Told(
        change=c,
        was=amount(c.was, c.unit),
        now=amount(c.now, c.unit),
        value=signed(c.value, c.unit),
        own=span(c.low, c.high, c.unit, change=True),
        once=span(c.lowest, c.highest, c.unit, change=True),
        p=chance(c.adjusted),
    )


def _verdict(verdict: Verdict) -> tuple[Verdict, str, str]:
    v = verdict
    write = signed if v.threshold.drop else amount
    interval = span(v.low, v.high, v.unit, change=v.threshold.drop)
    return v, v.reason or write(v.value, v.unit), "" if v.reason else interval


def _protocols(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Digest, spec of the probe and settings of every protocol that something was measured under."""
    used = {standing.protocol for standing in comparison.standings}
    listed = []
    for key, protocol in comparison.protocols.items():
        settings = {n: v for n, v in protocol.settings.items() if n not in ("probe", "classes")}
        said = ", ".join(f"{name} {value}" for name, value in settings.items())
        if key in used:
            listed.append(
                (key, protocol.probe, f"{said}, {len(protocol.settings['classes'])} classes")
            )
    return listed
