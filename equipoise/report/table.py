"""The summary as a table: a row a classifier, a column a metric, each value with its interval."""

import math
from dataclasses import dataclass

from equipoise.audit import Statistic
from equipoise.report.reading import Reading
from equipoise.report.words import count, number, percent

__all__ = ["Cell", "Table", "group_sizes", "tabulate"]


@dataclass(frozen=True)
class Cell:
    """A value, its interval, whether it is the highest of its column and whether its interval is exact."""

    value: str
    interval: str
    best: bool
    exact: bool


@dataclass(frozen=True)
class Table:
    """Heads of the columns, and rows of (classifier, images, cells); a cell without a measurement is None."""

    heads: list[str]
    rows: list[tuple[str, str, list[Cell | None]]]
    images: str
    methods: list[str]


def tabulate(reading: Reading) -> Table:
    """The table of a run."""
    summary = reading.run.summary()
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
                if (s.probe, s.name) == (probe, name) and not math.isnan(s.value)
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
            s and _cell(s, differ[c] and s.value == highest.get(c), decimals[c])
            for s, c in zip(found, columns, strict=True)
        ]
        rows.append((judged.name, _range([s.n for s in found if s]), cells))
    methods = {s.method for s in summary} - {"none"}
    return Table(heads, rows, _range([s.n for s in summary]), sorted(methods, reverse=True))


def group_sizes(reading: Reading) -> list[tuple[str, str]]:
    """How many images each group has; nothing when the images have no groups."""
    if not reading.run.shards("images"):
        return []
    groups = [group for (group,) in reading.run.images().select('"group"').fetchall()]
    if all(group is None for group in groups):
        return []
    names = ["no group" if group is None else str(group) for group in groups]
    return [(name, count(names.count(name))) for name in sorted(set(names))]


def _cell(statistic: Statistic, best: bool, decimals: int) -> Cell:
    plain = statistic.unit == "distance"
    value = number(statistic.value, decimals) if plain else percent(statistic.value)
    if math.isnan(statistic.low):
        interval = ""
    elif plain:
        interval = f"{number(statistic.low, decimals)}–{number(statistic.high, decimals)}"
    else:
        interval = f"{100 * statistic.low:.1f}–{100 * statistic.high:.1f}"
    return Cell(value, interval, best, statistic.method == "Clopper-Pearson")


def _range(numbers: list[int]) -> str:
    if not numbers:
        return "0"
    low, high = min(numbers), max(numbers)
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
