"""The charts of the trade-off on two axes, and of robust accuracy over radii.

Data are aggregated before they get here: a robustness curve has a hundred points, however many images there are.
"""

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import altair as alt
import numpy as np
from altair.utils.schemapi import debug_mode

from equipoise.audit import robustness_curve
from equipoise.report.axes import Axis, axes_of, first_pair
from equipoise.report.figure import (
    DASHES,
    INK,
    MUTED,
    PAPER,
    SOLID,
    STROKES,
    WARNED,
    Figure,
    chart,
    colour,
    faded,
    finish,
    percents,
    shape,
)
from equipoise.report.labels import PLACES, written
from equipoise.report.numbers import cross
from equipoise.report.pairs import LABEL, pair_up
from equipoise.report.reading import Judged, Reading, Under
from equipoise.report.words import percent, span

__all__ = ["curves", "trade_off", "trade_offs"]

POINTS = 100


def trade_off(reading: Reading) -> list[Figure]:
    """Two axes of the trade-off, robust and standard accuracy where both were measured; none with fewer than two."""
    axes = axes_of(reading)
    if len(axes) < 2:
        return []
    across, up = first_pair(reading, axes)
    figure = _draw(reading, axes[across], axes[up])
    # The page's reader may choose any axis.
    hollow = any(reading.warnings(name, axis.probe) for axis in axes for name in axis.found)
    return [replace(figure, hollow=hollow)]


def trade_offs(reading: Reading) -> list[Figure]:
    """Every pair of axes of the trade-off, the one of `trade_off` first."""
    axes = axes_of(reading)
    if len(axes) < 2:
        return []
    across, up = first_pair(reading, axes)
    others = [(k, i) for i, k in combinations(range(len(axes)), 2) if {i, k} != {across, up}]
    return [_draw(reading, axes[i], axes[k]) for i, k in [(across, up), *others]]


# Altair checks every part of a chart against its schema on the way, which takes ten times as long as the chart itself;
# the test of the page does it once instead.
@debug_mode(False)
def _draw(reading: Reading, across: Axis, up: Axis) -> Figure:
    """One pair of axes."""
    pair = pair_up(reading, across, up)
    names = [judged.name for judged in reading.classifiers]
    shapes = shape(names, ordered=reading.ordered)
    # Triangles and crosses need more room than circles to be told apart.
    size = 90 if reading.ordered else 130
    base = chart("rows").encode(
        x=alt.X("x:Q", **pair.x.encoding),
        y=alt.Y("y:Q", **pair.y.encoding),
    )
    bar: dict[str, Any] = {"color": colour(names), "opacity": faded(0.55)}
    tips = [
        alt.Tooltip("classifier:N", title="Classifier"),
        alt.Tooltip("trained:N", title="Training radius"),
        alt.Tooltip("y_text:N", title=pair.y.title),
        alt.Tooltip("x_text:N", title=pair.x.title),
    ]
    layers: list[alt.Chart] = [
        chart("rungs")
        .mark_line(color=MUTED, strokeWidth=1.25, opacity=0.6)
        .encode(
            x=alt.X("x:Q"),
            y=alt.Y("y:Q"),
            order=alt.Order("radius:Q"),
            detail=alt.Detail("ladder:N"),
        ),
        chart("front")
        .mark_line(color=INK, strokeWidth=1.25, strokeDash=DASHES[1], opacity=0.7)
        .encode(x=alt.X("x:Q"), y=alt.Y("y:Q"), order=alt.Order("order:Q")),
        base.mark_rule(strokeWidth=1.5).encode(x=alt.X("x_low:Q"), x2=alt.X2("x_high:Q"), **bar),
        base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("y_low:Q"), y2=alt.Y2("y_high:Q"), **bar),
        # A label for every place: other axes put labels elsewhere. Below the points, which no rim of a label may hide.
        *written(base, [{"place": place} for place in PLACES], limit=LABEL, shown=_SHOWN),
        base.transform_filter(SOLID)
        .mark_point(
            filled=True, size=size, opacity=1, stroke=PAPER, strokeWidth=1.5, cursor="pointer"
        )
        .encode(color=colour(names), shape=shapes, opacity=faded(1), tooltip=tips),
        base.transform_filter(WARNED)
        .mark_point(filled=False, size=80, fill=PAPER, strokeWidth=2.25, cursor="pointer")
        .encode(
            color=colour(names),
            shape=shapes,
            opacity=faded(1),
            tooltip=[*tips, alt.Tooltip("against:N", title="Warning")],
        ),
    ]
    by_name = {row["classifier"]: row for row in pair.rows}
    rungs = [
        {"ladder": ladder} | {field: by_name[judged.name][field] for field in ("x", "y", "radius")}
        for ladder, rungs in reading.ladders.items()
        for judged in rungs
        if judged.name in by_name
    ]
    data = {"rows": pair.rows, "rungs": rungs, "front": pair.stairs}
    key = [(INK, STROKES[1], "Pareto front of point estimates")] if pair.stairs else []
    key += [(MUTED, STROKES[0], "ladder of training radii")] if rungs else []
    return Figure(
        f"{pair.y.title} against {pair.x.title[0].lower()}{pair.x.title[1:]}",
        pair.words,
        finish(layers, data, height=380),
        tuple(key),
        hollow=any(row["against"] for row in pair.rows),
    )


_SHOWN = alt.OpacityValue(
    0.12,
    condition=[
        {"test": "focus === datum.classifier || focus == null && !datum.crowded", "value": 1},
        {"test": "datum.crowded", "value": 0},
    ],
)


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
        warned = {j.name for j in radii if reading.warnings(j.name, under.spec)}
        trusted = [r for j, r in radii.items() if j.name not in warned] or list(radii.values())
        # Far enough right to see the most robust classifier fall to a few images in a hundred, where it does.
        far = max(float(np.quantile(r, 0.97, method="lower")) for r in trusted)
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
        # Some points of each curve carry its shape, those of no two curves at the same radii.
        for row, k in zip(rows, range(len(rows)), strict=True):
            whose, at = divmod(k, POINTS + 1)
            if not reading.ordered and at % 14 == (5 * whose + 2) % 14:
                row["marked"] = True
        figures.append(_curve_figure(under, rows, names, end, radii, warned=warned))
    return figures


def _curve_figure(
    under: Under,
    rows: list[dict[str, Any]],
    names: list[str],
    end: float,
    radii: dict[Judged, Any],
    *,
    warned: set[str],
) -> Figure:
    share = alt.Y(
        "share:Q",
        title="Robust accuracy, at most",
        scale=alt.Scale(domain=[0, 1]),
        axis=percents(values=[0, 0.25, 0.5, 0.75, 1]),
    )
    base = chart("rows").encode(
        x=alt.X(
            "radius:Q",
            title=f"Radius of the attack ({under.threat.norm})",
            scale=alt.Scale(domain=[0, end], nice=False),
            axis=alt.Axis(grid=False, tickCount=6),
        ),
        color=colour(names),
    )
    kinds = [[5, 4] if name in warned else [1, 0] for name in names]
    dashes = alt.StrokeDash(
        "classifier:N", scale=alt.Scale(domain=names, range=kinds), legend=None
    )
    rule = chart("threat")
    tips = [
        alt.Tooltip("classifier:N", title="Classifier"),
        alt.Tooltip("radius:Q", title="Radius", format=".3~f"),
        alt.Tooltip("share:Q", title="Robust accuracy, at most", format=".1%"),
        alt.Tooltip("low:Q", title="Band from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
    ]
    layers = [
        base.mark_area().encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), opacity=faded(0.1, 0.02)),
        rule.mark_rule(strokeDash=[4, 4], color=MUTED).encode(x=alt.X("radius:Q")),
        rule.mark_text(align="left", dx=5, color=MUTED, fontSize=11).encode(
            x=alt.X("radius:Q"), y=alt.YValue(8), text=alt.Text("text:N")
        ),
        base.mark_line(strokeWidth=2.25).encode(y=share, opacity=faded(1), strokeDash=dashes),
        base.transform_filter("datum.marked")
        .mark_point(filled=True, size=55)
        .encode(y=share, opacity=faded(1), shape=shape(names, ordered=False)),
        # Wide and unseen, so that a tooltip needs no steady hand.
        base.mark_line(strokeWidth=14, opacity=0, cursor="pointer").encode(
            y=share, tooltip=tips[:1]
        ),
        base.mark_point(size=60, opacity=0, filled=True).encode(y=share, tooltip=tips),
    ]
    data = {"rows": rows, "threat": [{"radius": under.threat.radius, "text": str(under.threat)}]}
    here = under.threat.radius
    listed = "; ".join(f"{j.name}: {percent(float((r > here).mean()))}" for j, r in radii.items())
    words = f"Robust accuracy against the radius of the attack. At {under.threat}, {listed}."
    spec = finish(layers, data, height=320)
    said = [
        {
            "classifier": row["classifier"],
            "at": f"{row['radius']:.3g}",
            "text": f"{percent(row['share'])} ({span(row['low'], row['high'])})",
        }
        for row in rows
    ]
    table = cross(said, ["classifier"], first="Radius")
    return Figure(f"Threat {under.title}", words, spec, hollow=bool(warned), numbers=table)
