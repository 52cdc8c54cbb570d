"""The summary as a table: a row a classifier, a column a metric, each value with its interval."""

import math
from collections import Counter
from dataclasses import dataclass

from equipoise.audit import Estimate, Statistic
from equipoise.probes import (
    Backgrounds,
    Counterfactual,
    Gradients,
    Groups,
    LargeEps,
    Regions,
    Saliency,
    Shift,
)
from equipoise.report.reading import Reading
from equipoise.report.words import count, number, percent
from equipoise.store import fetch_rows

__all__ = ["Cell", "Table", "among", "cell", "group_sizes", "tabulate"]

ELSEWHERE = (Counterfactual, Gradients, LargeEps, Regions, Backgrounds, Groups, Shift, Saliency)
"""Probes with tables of their own."""


@dataclass(frozen=True)
class Cell:
    """A value, its interval, whether it is the highest of its column, whether its interval is exact, and whether checks
    speak against it."""

    value: str
    interval: str
    best: bool
    exact: bool
    warned: bool = False


@dataclass(frozen=True)
class Table:
    """Heads of the columns, and rows of (classifier, images, cells); a cell without a measurement is None."""

    heads: list[str]
    rows: list[tuple[str, str, list[Cell | None]]]
    images: str
    methods: list[str]

    @property
    def warned(self) -> bool:
        """Whether checks speak against some value."""
        return any(cell.warned for _, _, cells in self.rows for cell in cells if cell)


def tabulate(reading: Reading) -> Table:
    """The table of what has no table of its own."""
    elsewhere = {s for kind in ELSEWHERE for s in reading.specs(kind)}
    summary = [s for s in reading.run.summary() if s.probe not in elsewhere]
    columns = list(dict.fromkeys((s.probe, s.name) for s in summary))
    by_key = {(s.classifier, s.probe, s.name): s for s in summary}
    names = [name for _, name in columns]
    heads = [
        _capital(name if names.count(name) == 1 else f"{name} ({probe})")
        for probe, name in columns
    ]
    highest = {
        (probe, name): max(
            (
                s.value
                for s in summary
                if (s.probe, s.name) == (probe, name)
                and math.isfinite(s.value)
                and not reading.warnings(s.classifier, probe)
            ),
            default=math.nan,
        )
        for probe, name in columns
        if any(s.better == "high" for s in summary if (s.probe, s.name) == (probe, name))
    }
    # One number of decimals in a column, so that they stand under one another.
    decimals = {
        (probe, name): 3 if highest.get((probe, name), 1) >= 0.25 else 4 for probe, name in columns
    }
    differ = {
        (probe, name): len({s.value for s in summary if (s.probe, s.name) == (probe, name)}) > 1
        for probe, name in columns
    }
    rows = []
    for judged in reading.classifiers:
        found = [by_key.get((judged.name, *column)) for column in columns]
        cells = [
            s
            and cell(
                s,
                share=s.unit == "share",
                best=differ[c] and s.value == highest.get(c),
                decimals=decimals[c],
                warned=bool(reading.warnings(s.classifier, s.probe)),
            )
            for s, c in zip(found, columns, strict=True)
        ]
        rows.append((judged.name, among([s.n for s in found if s]), cells))
    methods = {s.method for s in summary} - {"none"}
    return Table(heads, rows, among([s.n for s in summary]), sorted(methods, reverse=True))


def group_sizes(reading: Reading) -> list[tuple[str, str]]:
    """How many images each group has; nothing when the images have no groups."""
    if not reading.run.shards("images"):
        return []
    groups = [group for (group,) in fetch_rows(reading.run.images().select('"group"'))]
    if all(group is None for group in groups):
        return []
    sizes = Counter("no group" if group is None else str(group) for group in groups)
    return [(name, count(sizes[name])) for name in sorted(sizes)]


def cell(
    found: Statistic | Estimate,
    *,
    share: bool = True,
    best: bool = False,
    decimals: int = 3,
    warned: bool = False,
) -> Cell:
    """A share in per cent, or another number with `decimals`; what is `warned` of is never the best."""
    value = percent(found.value) if share else number(found.value, decimals)
    if not math.isfinite(found.low):
        interval = ""
    elif share:
        interval = f"{100 * found.low:.1f}–{100 * found.high:.1f}"
    else:
        to = "–" if found.low >= 0 else " to "
        interval = f"{number(found.low, decimals)}{to}{number(found.high, decimals)}"
    return Cell(value, interval, best and not warned, found.method == "Clopper-Pearson", warned)


def among(numbers: list[int]) -> str:
    """How many images, where that differs: ``112 to 120``."""
    if not numbers:
        return "0"
    low, high = min(numbers), max(numbers)
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
