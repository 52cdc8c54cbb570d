"""The charts, as Vega-Lite: trade-off, ladder, robustness curves.

Colours are CSS variables of the page (`var(--c0)` and so on), so that one chart serves the light scheme, the dark one
and print. Every chart reads the parameter `focus`, the name of the classifier that the reader singled out; the page
sets it. Data are aggregated before they get here: a robustness curve has a hundred points,
however many images there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import numpy as np
from altair.utils.schemapi import debug_mode

from equipoise.audit import Statistic, robustness_curve
from equipoise.norms import format_radius
from equipoise.report.reading import Judged, Reading, Under
from equipoise.report.words import percent, span

__all__ = ["Figure", "along_ladder", "curves", "trade_off"]

POINTS = 100
SHAPES, MARKS = ("circle", "square", "triangle-up", "diamond"), ("●", "■", "▲", "◆")
LABEL = 130
"""Widest label of a point, in pixels."""
PLACES: dict[str, tuple[Literal["left", "right"], int, int]] = {
    "right above": ("left", 9, -10),
    "right below": ("left", 9, 12),
    "left above": ("right", -9, -10),
    "left below": ("right", -9, 12),
}
"""Where the label of a point may stand: alignment and offsets."""
INK, MUTED, LINE, PAPER = "var(--ink)", "var(--muted)", "var(--line)", "var(--paper)"


@dataclass(frozen=True)
class Figure:
    """A chart for the page.

    Attributes:
        title: heading of the chart.
        alt: what it shows, in words, for those who do not see it.
        spec: Vega-Lite.
        key: colour, mark and name of each series, where the page has to explain them.
    """

    title: str
    alt: str
    spec: dict[str, Any]
    key: tuple[tuple[str, str, str], ...] = ()


# Altair checks every part of a chart against its schema on the way, which takes ten times as long as the chart itself;
# the test of the page does it once instead.
@debug_mode(False)
def trade_off(reading: Reading) -> list[Figure]:
    """Standard against robust accuracy, one chart a threat; rungs of a ladder are joined in order."""
    figures = []
    rows = {under.spec: _trade_off_rows(reading, under) for under in reading.threats}
    everything = [row for part in rows.values() for row in part]
    if not everything:
        return []
    right, left = (pick(row["robust"] for row in everything) for pick in (max, min))
    # A tenth more on the right leaves room for the labels.
    ends = [row[key] for row in everything for key in ("robust_low", "robust_high")]
    x = _domain([*ends, min(1.0, right + (right - left) / 10)])
    y = _domain([row[key] for row in everything for key in ("standard_low", "standard_high")])
    names = [j.name for j in reading.classifiers]
    for under in reading.threats:
        if not rows[under.spec]:
            continue
        _place_labels(rows[under.spec], x, y)
        base = _chart("rows").encode(
            x=alt.X(
                "robust:Q",
                title=f"Robust accuracy at {under.title}",
                scale=_scale(x),
                axis=_percents(),
            ),
            y=alt.Y("standard:Q", title="Standard accuracy", scale=_scale(y), axis=_percents()),
        )
        data = {"rows": rows[under.spec]}
        bar: dict[str, Any] = {"color": _colour(names), "opacity": _faded(0.55)}
        layers: list[alt.Chart] = [
            base.mark_rule(strokeWidth=1.5).encode(
                x=alt.X("robust_low:Q"), x2=alt.X2("robust_high:Q"), **bar
            ),
            base.mark_rule(strokeWidth=1.5).encode(
                y=alt.Y("standard_low:Q"), y2=alt.Y2("standard_high:Q"), **bar
            ),
            base.mark_point(filled=True, size=90, opacity=1, stroke=PAPER, strokeWidth=1.5).encode(
                color=_colour(names), opacity=_faded(1), tooltip=_TRADE_OFF_TIPS
            ),
            *(
                base.transform_filter(f"datum.place === '{name}'")
                .mark_text(
                    align=align,
                    dx=dx,
                    dy=dy,
                    fontSize=12,
                    fontWeight=600,
                    limit=LABEL,
                    baseline="middle",
                )
                .encode(text=alt.Text("label:N"), color=alt.ColorValue(INK), opacity=_faded(1))
                for name, (align, dx, dy) in PLACES.items()
                if any(row["place"] == name for row in rows[under.spec])
            ),
        ]
        for norm in reading.ladders:
            data[f"path-{norm}"] = [
                {"robust": r["robust"], "standard": r["standard"], "radius": r["radius"]}
                for r in rows[under.spec]
                if r["radius"] == 0 or (r["norm"] == norm and r["radius"] is not None)
            ]
            layers.insert(
                0,
                _chart(f"path-{norm}")
                .mark_line(color=MUTED, strokeWidth=1.25, opacity=0.6)
                .encode(x=alt.X("robust:Q"), y=alt.Y("standard:Q"), order=alt.Order("radius:Q")),
            )
        listed = "; ".join(
            f"{row['classifier']}: standard {row['standard_text']}, robust {row['robust_text']}"
            for row in rows[under.spec]
        )
        figures.append(
            Figure(
                f"Threat {under.title}",
                f"Standard against robust accuracy at {under.title}. {listed}.",
                _finish(layers, data, height=340),
            )
        )
    return figures


_TRADE_OFF_TIPS = [
    alt.Tooltip("classifier:N", title="Classifier"),
    alt.Tooltip("trained:N", title="Training radius"),
    alt.Tooltip("standard_text:N", title="Standard accuracy"),
    alt.Tooltip("robust_text:N", title="Robust accuracy, at most"),
]


def _trade_off_rows(reading: Reading, under: Under) -> list[dict[str, Any]]:
    rows = []
    for judged in reading.classifiers:
        standard = reading.standard_accuracy(judged.name)
        robust = reading.robust_accuracy(judged.name, under)
        if standard and robust:
            label = judged.trained if reading.ordered else judged.name
            rows.append(
                {
                    "classifier": judged.name,
                    "label": label,
                    "trained": judged.trained or "not stated",
                }
                | {"norm": judged.norm, "radius": judged.radius}
                | _interval("standard", standard)
                | _interval("robust", robust)
            )
    return rows


def _place_labels(rows: list[dict[str, Any]], x: list[float], y: list[float]) -> None:
    """Gives every row the `place` of its label that covers the fewest points and earlier labels.

    Positions are in pixels of a plot of the width that two charts abreast have.
    """
    across, up = 400 / (x[1] - x[0]), 280 / (y[1] - y[0])
    points = [((row["robust"] - x[0]) * across, (y[1] - row["standard"]) * up) for row in rows]
    taken = [(px - 6, py - 6, px + 6, py + 6) for px, py in points]
    for row, (px, py) in zip(rows, points, strict=True):
        width = min(LABEL, 7.5 * len(row["label"]))
        best: tuple[int, str, tuple[float, float, float, float]] | None = None
        for name, (align, dx, dy) in PLACES.items():
            left = px + dx - (width if align == "right" else 0)
            box = (left, py + dy - 8, left + width, py + dy + 8)
            clashes = sum(
                box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken
            )
            clashes += 2 * (box[0] < 0 or box[2] > 410) + (box[3] > 280)
            if best is None or clashes < best[0]:
                best = (clashes, name, box)
        if best:
            row["place"] = best[1]
            taken.append(best[2])


@debug_mode(False)
def along_ladder(reading: Reading) -> list[Figure]:
    """Standard and robust accuracy against the radius of training, one chart for each norm of training."""
    figures = []
    for norm, rungs in reading.ladders.items():
        series = ["standard accuracy", *(f"robust at {under.title}" for under in reading.threats)]
        rows: list[dict[str, Any]] = []
        for judged in rungs:
            found = [
                reading.standard_accuracy(judged.name),
                *(reading.robust_accuracy(judged.name, under) for under in reading.threats),
            ]
            rows += [
                {
                    "series": name,
                    "classifier": judged.name,
                    "radius": judged.radius,
                    "trained": judged.trained,
                }
                | _interval("share", statistic)
                for name, statistic in zip(series, found, strict=True)
                if statistic
            ]
        if not rows:
            continue
        radii = sorted({row["radius"] for row in rows})
        # Ticks stand at the rungs and read as people write radii (8/255), which no number format does.
        written = ", ".join(f"'{r:.6f}': '{format_radius(r)}'" for r in radii)
        y = _domain([row[key] for row in rows for key in ("share_low", "share_high")])
        places = [k for k, name in enumerate(series) if any(row["series"] == name for row in rows)]
        present = [series[k] for k in places]
        colours = alt.Scale(domain=present, range=[f"var(--s{k})" for k in places])
        shapes = alt.Scale(domain=present, range=[SHAPES[k % len(SHAPES)] for k in places])
        base = _chart("rows").encode(
            x=alt.X(
                "radius:Q",
                title=f"Radius of training ({norm})",
                axis=alt.Axis(
                    values=radii,
                    labelExpr=f"({{{written}}})[format(datum.value, '.6f')]",
                    grid=False,
                ),
                scale=alt.Scale(domain=[radii[0], radii[-1]], nice=False),
            ),
            y=alt.Y("share:Q", title="Share of images", scale=_scale(y), axis=_percents()),
            color=alt.Color("series:N", scale=colours, legend=None),
        )
        tips = [
            alt.Tooltip("series:N", title="What"),
            alt.Tooltip("classifier:N", title="Classifier"),
            alt.Tooltip("share_text:N", title="Value"),
        ]
        layers = [
            base.mark_area(opacity=0.13).encode(y=alt.Y("share_low:Q"), y2=alt.Y2("share_high:Q")),
            base.mark_line(strokeWidth=2.5),
            base.mark_point(filled=True, size=80, opacity=1).encode(
                shape=alt.Shape("series:N", scale=shapes, legend=None), tooltip=tips
            ),
        ]
        key = tuple((f"var(--s{k})", MARKS[k % len(MARKS)], series[k]) for k in places)
        listed = "; ".join(
            f"{r['series']} at radius {r['trained']}: {r['share_text']}" for r in rows
        )
        words = f"Accuracy along the ladder. {listed}."
        spec = _finish(layers, {"rows": rows}, height=340)
        figures.append(Figure(f"Trained against {norm}", words, spec, key))
    return figures


@debug_mode(False)
def curves(reading: Reading) -> list[Figure]:
    """Robust accuracy against the radius of the attack, one chart a threat, with simultaneous bands."""
    figures = []
    names = [j.name for j in reading.classifiers]
    for under in reading.threats:
        found = {j: reading.columns(under.spec, j.name).get("radius") for j in reading.classifiers}
        radii = {
            j: np.nan_to_num(np.asarray(r, dtype=float), nan=math.inf)
            for j, r in found.items()
            if r is not None and len(r)
        }
        if not radii:
            continue
        # Far enough right to see the most robust classifier fall to a few images in a hundred, where it does.
        far = max(float(np.quantile(r, 0.97, method="lower")) for r in radii.values())
        finite = max(
            (float(r[np.isfinite(r)].max(initial=0.0)) for r in radii.values()), default=0.0
        )
        end = min(far if math.isfinite(far) else finite, 6 * under.threat.radius or math.inf)
        end = max(end, 1.5 * under.threat.radius, 1e-6)
        at = np.linspace(0, end, POINTS + 1)
        rows = []
        for judged, r in radii.items():
            curve = robustness_curve(r, at)
            rows += [
                {
                    "classifier": judged.name,
                    "radius": float(f"{x:.4g}"),
                    "share": round(float(v), 4),
                    "low": round(float(low), 4),
                    "high": round(float(high), 4),
                }
                for x, v, low, high in zip(
                    curve.radii, curve.value, curve.low, curve.high, strict=True
                )
            ]
        figures.append(_curve_figure(under, rows, names, end, radii))
    return figures


def _curve_figure(
    under: Under,
    rows: list[dict[str, Any]],
    names: list[str],
    end: float,
    radii: dict[Judged, Any],
) -> Figure:
    share = alt.Y(
        "share:Q",
        title="Robust accuracy, at most",
        scale=alt.Scale(domain=[0, 1]),
        axis=_percents(values=[0, 0.25, 0.5, 0.75, 1]),
    )
    base = _chart("rows").encode(
        x=alt.X(
            "radius:Q",
            title=f"Radius of the attack ({under.threat.norm})",
            scale=alt.Scale(domain=[0, end], nice=False),
            axis=alt.Axis(grid=False, tickCount=6),
        ),
        color=_colour(names),
    )
    rule = _chart("threat")
    tips = [
        alt.Tooltip("classifier:N", title="Classifier"),
        alt.Tooltip("radius:Q", title="Radius", format=".3~f"),
        alt.Tooltip("share:Q", title="Robust accuracy, at most", format=".1%"),
        alt.Tooltip("low:Q", title="Band from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
    ]
    layers = [
        base.mark_area().encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), opacity=_faded(0.1, 0.02)),
        rule.mark_rule(strokeDash=[4, 4], color=MUTED).encode(x=alt.X("radius:Q")),
        rule.mark_text(align="left", dx=5, color=MUTED, fontSize=11).encode(
            x=alt.X("radius:Q"), y=alt.YValue(8), text=alt.Text("text:N")
        ),
        base.mark_line(strokeWidth=2.25).encode(y=share, opacity=_faded(1)),
        # Wide and unseen, so that a tooltip needs no steady hand.
        base.mark_line(strokeWidth=14, opacity=0).encode(y=share, tooltip=tips[:1]),
        base.mark_point(size=60, opacity=0, filled=True).encode(y=share, tooltip=tips),
    ]
    data = {"rows": rows, "threat": [{"radius": under.threat.radius, "text": str(under.threat)}]}
    here = under.threat.radius
    listed = "; ".join(f"{j.name}: {percent(float((r > here).mean()))}" for j, r in radii.items())
    words = f"Robust accuracy against the radius of the attack. At {under.threat}, {listed}."
    return Figure(f"Threat {under.title}", words, _finish(layers, data, height=320))


def _interval(name: str, statistic: Statistic) -> dict[str, Any]:
    return {
        name: round(statistic.value, 5),
        f"{name}_low": round(statistic.low, 5),
        f"{name}_high": round(statistic.high, 5),
        f"{name}_text": f"{percent(statistic.value)} ({span(statistic.low, statistic.high)})",
    }


def _domain(values: Sequence[float]) -> list[float]:
    """An axis around the values: to multiples of 5 %, at least 15 points wide, inside [0, 1]."""
    low = math.floor(min(values) * 20 + 1e-9) / 20
    high = math.ceil(max(values) * 20 - 1e-9) / 20
    high = min(1.0, max(high, low + 0.15))
    return [max(0.0, min(low, high - 0.15)), high]


def _scale(domain: list[float]) -> alt.Scale:
    return alt.Scale(domain=domain, nice=False, zero=False)


def _percents(values: Sequence[float] | None = None) -> alt.Axis:
    """An axis of shares, with ticks at `values` or about five."""
    if values:
        return alt.Axis(format=".0%", values=list(values))
    return alt.Axis(format=".0%", tickCount=5)


def _colour(names: Sequence[str]) -> alt.Color:
    scale = alt.Scale(domain=list(names), range=[f"var(--c{i})" for i in range(len(names))])
    return alt.Color("classifier:N", scale=scale, legend=None)


def _faded(full: float, faint: float = 0.12) -> alt.OpacityValue:
    """`full`, but `faint` for all other classifiers while the reader has singled one out."""
    test = "focus == null || datum.classifier === focus"
    return alt.OpacityValue(faint, condition={"test": test, "value": full})


def _chart(name: str) -> alt.Chart:
    """A chart of the data called `name`, which `_finish` puts beside the layers, once."""
    return alt.Chart(alt.NamedData(name=name))


def _finish(layers: Sequence[alt.Chart], data: dict[str, Any], *, height: int) -> dict[str, Any]:
    """The Vega-Lite JSON of the layers, in the page's look."""
    axis = {
        "domainColor": LINE,
        "tickColor": LINE,
        "gridColor": LINE,
        "labelColor": MUTED,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 500,
        "titlePadding": 10,
        "labelPadding": 6,
        "tickSize": 4,
    }
    spec = alt.layer(*layers).to_dict(validate=False)
    spec["width"], spec["height"] = "container", height
    spec["datasets"] = data
    spec.pop("$schema", None)
    spec["params"] = [{"name": "focus", "value": None}]
    spec["background"] = "transparent"
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["config"] = {"axis": axis, "view": {"stroke": None}, "font": "system-ui, sans-serif"}
    return spec
