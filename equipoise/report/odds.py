"""What the study of accuracy against robustness measured beside its ladder: exhibits as charts and tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from equipoise.audit import Estimate
from equipoise.report.charts import trade_off
from equipoise.report.dichotomy import frontier_figure
from equipoise.report.figure import (
    Figure,
    chart,
    domain,
    finish,
    percents,
    scale,
)
from equipoise.report.lines import by_series
from equipoise.report.reading import Reading
from equipoise.report.table import Cell, cell
from equipoise.report.words import MINUS, count, number, percent
from equipoise.theory import Dichotomy, Rule

__all__ = ["Linear", "Study", "lay_study"]

Rows = Sequence[dict[str, Any]]


def _theory(reading: Reading, model: Dichotomy, rules: Rows) -> list[Figure]:
    """The model's frontier with its rules, and the measured trade-off beside it."""
    known = [Rule(row["name"], row["standard"], row["robust"], row["kind"]) for row in rules]
    return [
        replace(frontier_figure(model, known), title="In the model"),
        *(replace(figure, title="Measured") for figure in trade_off(reading)[:1]),
    ]


def _said(model: Dichotomy, reading: Reading) -> str:
    """What the two charts show."""
    beside = (
        f" Right: the classifiers of this run, attacked at {reading.threats[0].title}."
        if reading.threats
        else ""
    )
    return (
        f"Left: the paper’s model. One feature is right with probability {model.p:g} and withstands the adversary; "
        f"{model.d} weak ones, of mean {model.eta:g}, tell the label together nearly for sure; an adversary who moves "
        f"each by {2 * model.eta:g} turns them round. Grey is where no rule can be.{beside}"
    )


def over_sizes(reading: Reading) -> list[Figure]:
    """Standard accuracy against the number of training images, one chart for each way of training."""
    rows = reading.exhibits.get("sizes", [])
    if not rows:
        return []
    y = domain([row[end] for row in rows for end in ("low", "high") if row[end] is not None])
    axis = alt.Y("share:Q", title="Standard accuracy", scale=scale(y), axis=percents())
    return [
        _over_sizes(family, mine, "value", axis, f"Trained against {family}")
        for family, mine in _by(rows, "family").items()
    ]


def gains(reading: Reading) -> list[Figure]:
    """How much each way of training adds to standard accuracy, against the number of training images."""
    rows = [row for row in reading.exhibits.get("sizes", []) if row["radius"]]
    if not rows:
        return []
    ends = [row[end] for row in rows for end in ("gain_low", "gain_high") if row[end] is not None]
    low, high = (
        step(end * 20) / 20 for step, end in ((math.floor, min(ends)), (math.ceil, max(ends)))
    )
    axis = alt.Y(
        "share:Q",
        title="Gain in standard accuracy",
        scale=scale([min(low, -0.05), max(high, 0.05)]),
        axis=alt.Axis(format="+.0%", tickCount=5),
    )
    return [
        _over_sizes(family, mine, "gain", axis, f"Gain from training against {family}")
        for family, mine in _by(rows, "family").items()
    ]


def _over_sizes(family: str, rows: Rows, field: str, y: alt.Y, title: str) -> Figure:
    """One family's lines over the sizes, of the accuracy itself or of the gain."""
    drawn = [
        _point(row, f"radius {row['trained']}", field)
        | {"size": row["size"], "at": f"{count(row['size'])} images"}
        for row in rows
    ]
    trained = {row["trained"]: f"radius {row['trained']}" for row in rows}
    colours = {f"radius {row['trained']}": f"var(--s{row['rung']})" for row in rows}
    x = alt.X(
        "size:Q",
        title="Training images",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(values=sorted({row["size"] for row in rows}), format=",d", grid=False),
    )
    words = _words(f"{title}, by number of training images.", drawn)
    return by_series(drawn, title, words, names=list(trained.values()), colours=colours, x=x, y=y)


def over_radius(reading: Reading) -> list[Figure]:
    """Standard accuracy against the radius of training at the largest size, one chart for each norm."""
    rows = reading.exhibits.get("sizes", [])
    if not rows:
        return []
    largest = [row for row in rows if row["size"] == max(r["size"] for r in rows)]
    y = domain([row[end] for row in largest for end in ("low", "high") if row[end] is not None])
    axis = alt.Y("share:Q", title="Standard accuracy", scale=scale(y), axis=percents())
    figures = []
    norms: dict[str, list[dict[str, Any]]] = {}
    for row in largest:
        norms.setdefault(row["family"].partition(",")[0], []).append(row)
    for norm, mine in norms.items():
        drawn = [
            _point(row, row["family"].partition(", ")[2] or "adversarial images alone", "value")
            | {"radius": row["radius"], "at": f"radius {row['trained']}"}
            for row in mine
        ]
        written = {row["radius"]: row["trained"] for row in mine}
        listed = ", ".join(f"'{r:.6f}': '{name}'" for r, name in written.items())
        figures.append(
            by_series(
                drawn,
                f"Trained against {norm}",
                _words(f"Standard accuracy of training against {norm}, by radius.", drawn),
                names=list(dict.fromkeys(row["series"] for row in drawn)),
                x=alt.X(
                    "radius:Q",
                    title=f"Radius of training ({norm})",
                    scale=alt.Scale(nice=False),
                    axis=alt.Axis(
                        values=sorted(written),
                        labelExpr=f"({{{listed}}})[format(datum.value, '.6f')]",
                        grid=False,
                    ),
                ),
                y=axis,
            )
        )
    return figures


@dataclass(frozen=True)
class Study:
    """What the page needs of the exhibits: all empty where there are none.

    Attributes:
        figures: charts by the place where they stand.
        theory: what the charts of theory and measurement show.
        rules: of the paper's model, each with its standard and robust accuracy and what the bound allows.
        seeds: how many trainings each point of the size curves stands for.
        linear: the experiment with two classes.
        learnt: what was learnt from each feature set.
        attacked: the threat that these were attacked with.
    """

    figures: dict[str, list[Figure]]
    theory: str
    rules: list[tuple[str, str, str, str]]
    seeds: int
    linear: "Linear | None"
    learnt: list[tuple[str, str, list[Cell]]]
    attacked: str


def lay_study(reading: Reading) -> Study:
    """The study's part of the page."""
    sizes, features = (reading.exhibits.get(name, []) for name in ("sizes", "features"))
    model = Dichotomy(**reading.exhibits["model"][0]) if "model" in reading.exhibits else None
    rules = reading.exhibits.get("rules", [])
    return Study(
        {
            "theory": _theory(reading, model, rules) if model else [],
            "sizes": over_sizes(reading),
            "gains": gains(reading),
            "radius": over_radius(reading),
            "linear": [*kept(reading), *weights(reading)],
        },
        _said(model, reading) if model else "",
        [
            (
                row["name"],
                percent(row["standard"]),
                percent(row["robust"]),
                percent(row["allowed"]),
            )
            for row in rules
        ],
        sizes[0]["seeds"] if sizes else 0,
        linear(reading),
        learnt(reading),
        features[0]["attacked"] if features else "",
    )


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
                    cell(_estimate(row, "standard")),
                    cell(_estimate(row, "robust")),
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
            "text": _text(row[key], row[f"{key}_low"], row[f"{key}_high"]),
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
            _words("Standard and robust accuracy of standard training by inputs given.", drawn),
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


def learnt(reading: Reading) -> list[tuple[str, str, list[Cell]]]:
    """What was learnt from each feature set: its name, what it is, and accuracies on real test images."""
    return [
        (
            row["set"],
            row["what"],
            [cell(_estimate(row, "standard")), cell(_estimate(row, "robust"))],
        )
        for row in reading.exhibits.get("features", [])
    ]


def _point(row: dict[str, Any], series: str, field: str) -> dict[str, Any]:
    """A value with its interval, as lines draw them."""
    ends = ("low", "high") if field == "value" else (f"{field}_low", f"{field}_high")
    low, high = (row[end] for end in ends)
    text = _text if field == "value" else _signed
    return {
        "series": series,
        "share": row[field],
        "low": low,
        "high": high,
        "text": text(row[field], low, high),
    }


def _signed(value: float, low: float | None, high: float | None) -> str:
    """A difference in percentage points."""
    written = f"{100 * value:+.1f} points"
    if low is not None and high is not None:
        written += f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return written.replace("-", MINUS)


def _text(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return percent(value)
    return f"{percent(value)} ({100 * low:.1f} to {percent(high)})"


def _words(start: str, drawn: Rows) -> str:
    listed = "; ".join(f"{row['series']} at {row['at']}: {row['text']}" for row in drawn)
    return f"{start} {listed}."


def _by(rows: Rows, field: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[field], []).append(row)
    return found


def _estimate(row: dict[str, Any], name: str) -> Estimate:
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], 0, "")
