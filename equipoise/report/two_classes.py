"""A linear rule of two classes under an exact attack: its accuracies, the inputs it is given, and its weights."""

from dataclasses import dataclass
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from equipoise.report.figure import Figure, chart, finish, percents, scale
from equipoise.report.lines import by_series
from equipoise.report.points import as_estimate, sentence, written
from equipoise.report.reading import Reading
from equipoise.report.table import Cell, cell
from equipoise.report.words import count, number, percent

__all__ = ["Linear", "kept", "linear", "weights"]


@dataclass(frozen=True)
class Linear:
    """The experiment with two classes: its sentence, and a row for each radius of training."""

    sentence: str
    heads: list[str]
    rows: list[tuple[str, list[Cell | str]]]


def linear(reading: Reading) -> Linear | None:
    """The table of the linear experiment; None when there is none."""
    rows = reading.exhibits.get("two-classes", [])
    if not rows:
        return None
    first = rows[0]
    return Linear(
        f"Class {first['first']} against class {first['second']}, {count(first['images'])} test images, "
        f"{count(first['inputs'])} inputs. The adversary moves every input by up to {first['attacked']} inside [0, 1], "
        "and its best move is known exactly.",
        [
            "Standard accuracy",
            f"Robust at {first['attacked']}",
            "without the box",
            "Inputs used",
            "Weakest correlation used",
            "‖w‖₁",
        ],
        [
            (
                row["trained"],
                [
                    cell(as_estimate(row, "standard")),
                    cell(as_estimate(row, "robust")),
                    percent(row["robust_unboxed"]),
                    count(row["used"]),
                    number(row["weakest"] if row["weakest"] is not None else float("nan"), 3),
                    number(row["length"], 1),
                ],
            )
            for row in rows
        ],
    )


def kept(reading: Reading) -> list[Figure]:
    """Standard and robust accuracy of standard training against the number of inputs it is given."""
    rows = reading.exhibits.get("two-classes-kept", [])
    if not rows:
        return []
    drawn = [
        {
            "series": name,
            "kept": row["kept"],
            "at": f"{count(row['kept'])} inputs, correlations from {row['weakest']:.2f}",
            "share": row[key],
            "low": row[f"{key}_low"],
            "high": row[f"{key}_high"],
            "text": written(row[key], row[f"{key}_low"], row[f"{key}_high"]),
        }
        for key, name in (("standard", "standard accuracy"), ("robust", "robust accuracy"))
        for row in rows
    ]
    x = alt.X(
        "kept:Q",
        title="Inputs given, best correlated with the label first",
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(values=[row["kept"] for row in rows], format="d", grid=False),
    )
    return [
        by_series(
            drawn,
            "Standard training on the best inputs",
            sentence("Standard and robust accuracy of standard training by inputs given.", drawn),
            names=["standard accuracy", "robust accuracy"],
            x=x,
            y=alt.Y(
                "share:Q",
                title="Share of test images",
                scale=scale([0.0, 1.0]),
                axis=percents([0, 0.25, 0.5, 0.75, 1]),
            ),
        )
    ]


@debug_mode(False)
def weights(reading: Reading) -> list[Figure]:
    """Each input's weight against its correlation with the label, of standard and of robust training."""
    rows = reading.exhibits.get("two-classes-weights", [])
    if not rows:
        return []
    names = [f"radius {trained}" for trained in dict.fromkeys(row["trained"] for row in rows)]
    drawn: list[dict[str, Any]] = [row | {"series": f"radius {row['trained']}"} for row in rows]
    colours = ["var(--s0)", "var(--s1)"]
    base = chart("rows").encode(
        x=alt.X(
            "correlation:Q",
            title="|Correlation| of the input with the label",
            scale=scale([0.0, 1.0]),
            axis=alt.Axis(tickCount=5, grid=False),
        ),
        y=alt.Y(
            "weight:Q",
            title="|Weight|, largest is 1",
            scale=scale([0.0, 1.0]),
            axis=alt.Axis(tickCount=5),
        ),
        color=alt.Color(
            "series:N", scale=alt.Scale(domain=names, range=colours[: len(names)]), legend=None
        ),
    )
    tips = [
        alt.Tooltip("series:N", title="Trained for"),
        alt.Tooltip("correlation:Q", title="Correlation", format=".2f"),
        alt.Tooltip("weight:Q", title="Weight", format=".3f"),
    ]
    points = base.mark_point(filled=True, size=45, opacity=0.75).encode(tooltip=tips)
    listed = "; ".join(
        f"{name}: {sum(r['weight'] > 0.01 for r in drawn if r['series'] == name)} of "
        f"{sum(r['series'] == name for r in drawn)} inputs shown have more than a hundredth of the largest weight"
        for name in names
    )
    key = tuple((c, "●", name) for c, name in zip(colours, names, strict=False))
    spec = finish([points], {"rows": drawn}, height=320)
    return [
        Figure("Weight and correlation of each input", f"Weights of inputs. {listed}.", spec, key)
    ]
