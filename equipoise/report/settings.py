"""What the study of counterfactuals found at other widths and guidances: charts over either, and a table of each.

Rows of the exhibit are one for each setting and classifier, those of the usual setting first; all settings stand on the
same originals.
"""

import math
from dataclasses import dataclass
from typing import Any

import altair as alt

from equipoise.audit import Estimate
from equipoise.report.figure import Figure, across, percents, scale
from equipoise.report.lines import by_series
from equipoise.report.points import Rows, sentence, written
from equipoise.report.reading import Reading
from equipoise.report.table import Cell, cell
from equipoise.report.words import count, number

__all__ = ["Settings", "lay_settings", "over_settings"]

ACCEPTED = "accepted by the oracles"

ANSWERS = (
    ("accuracy", "Read as their class", True),
    ("correlation", "Rank correlation of proximity and confidence in the true class (H1)", False),
    ("gap", "Standard classifier’s accuracy on them minus this one’s, as a share (H3)", False),
    ("same", "Own-class counterfactuals read as their class, a control", True),
    ("noise", "Noise of the same length read as the original’s class, a control", True),
)
"""Columns of the exhibit with a table of their own: title, and whether they are shares in [0, 1]."""


@dataclass(frozen=True)
class Settings:
    """The section.

    Attributes:
        images: how many originals each setting has.
        heads: of the columns, the classifiers.
        sets: of each setting its name, the share that is accepted, and the proximity.
        tables: title, and rows of a setting's name and a cell for each classifier.
    """

    images: str
    heads: list[str]
    sets: list[tuple[str, Cell, Cell]]
    tables: list[tuple[str, list[tuple[str, list[Cell | None]]]]]


def lay_settings(reading: Reading) -> Settings | None:
    """The tables; None where no other setting was asked for."""
    rows = reading.exhibits.get("settings", [])
    if not rows:
        return None
    by = {(_named(row), row["classifier"]): row for row in rows}
    settings = list(dict.fromkeys(name for name, _ in by))
    heads = list(dict.fromkeys(name for _, name in by))
    first = {name: by[name, heads[0]] for name in settings}
    return Settings(
        count(rows[0]["images"]),
        heads,
        [
            (name, cell(_found(row, "accepted")), cell(_found(row, "proximity"), share=False))
            for name, row in first.items()
        ],
        [
            (
                title,
                [
                    (name, [_cell(by[name, head], column, share=share) for head in heads])
                    for name in settings
                ],
            )
            for column, title, share in ANSWERS
        ],
    )


def over_settings(reading: Reading) -> list[Figure]:
    """What the oracles and every classifier read, and H1's correlation, over the widths and over the guidances."""
    rows = reading.exhibits.get("settings", [])
    figures = []
    for field, title, other in (
        ("sigma", "Width in network units", "guidance"),
        ("guidance", "Guidance", "sigma"),
    ):
        mine = [row for row in rows if row[other] == rows[0][other]]
        if len({row[field] for row in mine}) > 1:
            figures += _over(reading, mine, field, title)
    return figures


def _over(reading: Reading, rows: Rows, field: str, title: str) -> list[Figure]:
    colours = {judged.name: f"var(--c{k})" for k, judged in enumerate(reading.classifiers)}
    names = list(dict.fromkeys(row["classifier"] for row in rows))
    hues = {name: colours.get(name, "var(--muted)") for name in names}
    x = across(field, title, alt.Axis(values=sorted({row[field] for row in rows}), format=".2~f"))
    seen = [
        _point(row, ACCEPTED, "accepted", field) for row in rows if row["classifier"] == names[0]
    ]
    seen += [_point(row, row["classifier"], "accuracy", field) for row in rows]
    together = [_point(row, row["classifier"], "correlation", field) for row in rows]
    together = [point for point in together if point["share"] is not None]
    over = f"over the {'widths' if field == 'sigma' else 'guidances'}"
    figures = [
        by_series(
            sorted(seen, key=lambda point: point[field]),
            f"Read as their class, {over}",
            sentence(f"Share of counterfactuals read as their class, {over}.", seen),
            names=[ACCEPTED, *names],
            colours={ACCEPTED: "var(--ink)"} | hues,
            x=x,
            y=alt.Y(
                "share:Q",
                title="Share of counterfactuals",
                scale=scale([0.0, 1.0]),
                axis=percents([0, 0.25, 0.5, 0.75, 1]),
            ),
        )
    ]
    if together:
        ends = [0.0, 0.2, *(point["share"] for point in together)]
        low, high = math.floor(5 * min(ends)) / 5, math.ceil(5 * max(ends)) / 5
        figures.append(
            by_series(
                sorted(together, key=lambda point: point[field]),
                f"Proximity and confidence, {over}",
                sentence(f"Rank correlation of proximity and confidence, {over}.", together),
                names=names,
                colours=hues,
                x=x,
                y=alt.Y(
                    "share:Q",
                    title="Rank correlation",
                    scale=scale([low, high]),
                    axis=alt.Axis(tickCount=5),
                ),
            )
        )
    return figures


def _point(row: dict[str, Any], series: str, column: str, field: str) -> dict[str, Any]:
    """Without a band, which would hide others where many lines are: intervals are in the tables."""
    value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    text = "not known"
    if value is not None and column == "correlation":
        text = f"{number(value, 2)} ({number(low, 2)} to {number(high, 2)})"
    elif value is not None:
        text = written(value, low, high)
    place = "width" if field == "sigma" else field
    at = f"{place} {row[place] if place == 'width' else format(row[field], 'g')}"
    return {"series": series, "share": value, "text": text, "at": at, field: row[field]}


def _named(row: dict[str, Any]) -> str:
    # No line may break between a word and its number.
    return f"width\u00a0{row['width']}, guidance\u00a0{row['guidance']:g}"


def _cell(row: dict[str, Any], column: str, *, share: bool) -> Cell | None:
    found = _found(row, column)
    return cell(found, share=share, decimals=2) if math.isfinite(found.value) else None


def _found(row: dict[str, Any], column: str) -> Estimate:
    ends = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    value, low, high = (math.nan if end is None else end for end in ends)
    return Estimate(value, low, high, row["images"], "")
