"""The numbers of a chart as a small table, for those who do not see it or want to copy them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Numbers", "cross"]

MOST = 11
"""Rows of a table; of a longer chart, some at even steps, the ends among them."""


@dataclass(frozen=True)
class Numbers:
    """A table: what its rows are, the heads of the other columns, and rows of a name and a text for each column."""

    first: str
    heads: list[str]
    rows: list[tuple[str, list[str]]]


def cross(
    rows: Sequence[Mapping[str, Any]], series: Sequence[str], *, first: str = "At"
) -> Numbers:
    """A row for each of the places that a chart has points at, a column for each of its series.

    Arguments:
        rows: of the chart, each with its place `at` and its `text` in words.
        series: fields that tell its series apart.
        first: what the places are.
    """
    places = list(dict.fromkeys(row["at"] for row in rows))
    heads = list(dict.fromkeys(_named(row, series) for row in rows))
    texts = {(row["at"], _named(row, series)): row["text"] for row in rows}
    if len(places) > MOST:
        last = len(places) - 1
        places = [places[round(k * last / (MOST - 1))] for k in range(MOST)]
    table = [(place, [texts.get((place, head), "") for head in heads]) for place in places]
    return Numbers(first, heads, table)


def _named(row: Mapping[str, Any], series: Sequence[str]) -> str:
    return ", ".join(row[field] for field in series)
