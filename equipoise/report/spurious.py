"""What the study of spurious features measured beside its ladder: the model's charts, and trainings at several
correlations of backgrounds and labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from equipoise.report.figure import Figure, domain, percents, scale
from equipoise.report.lines import by_series, radii
from equipoise.report.points import Rows, grouped, sentence, signed, written
from equipoise.report.reading import Reading
from equipoise.report.reliance import against_radius, against_scale, against_shift
from equipoise.report.words import number
from equipoise.theory import PairedDesign

__all__ = ["Spurious", "lay_spurious"]


@dataclass(frozen=True)
class Spurious:
    """What the page needs of the exhibits: all empty where there are none.

    Attributes:
        figures: charts by the place where they stand.
        design: of the model whose charts these are.
        seeds: how many trainings each point stands for.
        steps: of each of them.
        sentence: for the summary.
    """

    figures: dict[str, list[Figure]]
    design: PairedDesign | None
    seeds: int
    steps: int
    sentence: str


def lay_spurious(reading: Reading) -> Spurious:
    """The study's part of the page."""
    rows = reading.exhibits.get("correlations", [])
    designs = reading.exhibits.get("design", [])
    design = None
    if designs:
        settings: dict[str, Any] = designs[0] | {"scales": tuple(designs[0]["scales"])}
        design = PairedDesign(**settings)
    return Spurious(
        {
            "reliance": []
            if design is None
            else [against_radius(design), against_scale(design), against_shift(design)],
            "gap": _over_radius(rows, "gap", "Background gap, points"),
            "sensitivity": _over_radius(rows, "sensitivity", "Relative sensitivity"),
            "gone": _over_radius(rows, "gone", "Accuracy lost, points"),
            "reversed": _over_radius(rows, "reversed", "Accuracy lost, points"),
            "inside": _over_radius(rows, "inside", "Share of the gradient on the digit"),
            "kept": _over_correlation(rows, "robust"),
            "lost": _over_correlation(rows, "robust_gone"),
        },
        design,
        rows[0]["seeds"] if rows else 0,
        rows[0]["steps"] if rows else 0,
        _in_short(rows),
    )


def _over_radius(rows: Rows, field: str, title: str) -> list[Figure]:
    """A number against the radius of training, one chart for each norm, one line for each correlation."""
    if not rows:
        return []
    points = field not in ("sensitivity", "inside")
    axis = alt.Y(
        "share:Q",
        title=title,
        scale=scale(_around(_ends(rows, field))),
        axis=alt.Axis(labelExpr="format(100 * datum.value, '+d')", tickCount=5)
        if points
        else alt.Axis(tickCount=5),
    )
    figures = []
    for norm, mine in grouped(rows, "norm").items():
        drawn = [
            {
                "series": _series(row),
                "radius": row["radius"],
                "at": f"radius {row['trained']}",
                **_value(row, field, points=points),
            }
            for row in mine
        ]
        figures.append(
            by_series(
                drawn,
                f"Trained against {norm}",
                sentence(f"{title}, training against {norm}, by radius.", drawn),
                names=list(dict.fromkeys(row["series"] for row in drawn)),
                x=radii({row["radius"]: row["trained"] for row in mine}, norm),
                y=axis,
            )
        )
    return figures


def _over_correlation(rows: Rows, field: str) -> list[Figure]:
    """Robust accuracy where the correlation is kept, or gone, against that of training: a line for each radius."""
    if not rows:
        return []
    y = domain(_ends(rows, field))
    axis = alt.Y("share:Q", title="Robust accuracy", scale=scale(y), axis=percents())
    figures = []
    for mine in grouped(rows, "norm").values():
        drawn = [
            {
                "series": f"radius {row['trained']}",
                "correlation": row["correlation"],
                "at": f"correlation {row['correlation']:g}",
                "share": row[field],
                "low": row[f"{field}_low"],
                "high": row[f"{field}_high"],
                "text": written(row[field], row[f"{field}_low"], row[f"{field}_high"]),
            }
            for row in sorted(mine, key=lambda row: (row["rung"], row["correlation"]))
        ]
        colours = {f"radius {row['trained']}": f"var(--s{row['rung']})" for row in mine}
        figures.append(
            by_series(
                drawn,
                f"Attacked at {mine[0]['threat']}",
                sentence(f"Robust accuracy at {mine[0]['threat']}, by correlation.", drawn),
                names=list(dict.fromkeys(row["series"] for row in drawn)),
                colours=colours,
                x=alt.X(
                    "correlation:Q",
                    title="Correlation in training",
                    scale=alt.Scale(nice=False, zero=False),
                    axis=alt.Axis(
                        values=sorted({row["correlation"] for row in mine}),
                        labelExpr="format(datum.value, '~g')",  # a format alone rounds to the step of ticks
                        grid=False,
                    ),
                ),
                y=axis,
            )
        )
    return figures


def _ends(rows: Rows, field: str) -> list[float]:
    """All that an axis has to hold."""
    found = [row[name] for row in rows for name in (field, f"{field}_low", f"{field}_high")]
    return [end for end in found if end is not None]


def _series(row: dict[str, Any]) -> str:
    return f"correlation {row['correlation']:g}"


def _value(row: dict[str, Any], field: str, *, points: bool) -> dict[str, Any]:
    value, low, high = (row[name] for name in (field, f"{field}_low", f"{field}_high"))
    ends = "" if low is None else f" ({number(low, 2)} to {number(high, 2)})"
    text = signed(value, low, high) if points else number(value, 2) + ends
    return {"share": value, "low": low, "high": high, "text": text}


def _around(ends: Sequence[float]) -> list[float]:
    """An axis around the values and 0, to multiples of 0.05."""
    return [
        min(math.floor(min(ends) * 20) / 20, -0.05),
        max(math.ceil(max(ends) * 20) / 20, 0.05),
    ]


def _in_short(rows: Rows) -> str:
    """What the largest radius of the first norm does to the background gap at the highest correlation."""
    if not rows:
        return ""
    top = max(row["correlation"] for row in rows)
    mine = [row for row in rows if row["norm"] == rows[0]["norm"] and row["correlation"] == top]
    first, last = (pick(mine, key=lambda row: row["rung"]) for pick in (min, max))
    gaps = [signed(row["gap"], row["gap_low"], row["gap_high"]) for row in (first, last)]
    return (
        f"Where backgrounds agree with labels {100 * top:g}% of the time, the background gap is {gaps[0]} after "
        f"standard training and {gaps[1]} after adversarial training at {last['norm']} radius {last['trained']} (95% "
        f"intervals over {last['seeds']} trainings and the test images)."
    )
