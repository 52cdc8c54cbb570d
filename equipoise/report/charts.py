"""The charts of standard and robust accuracy: the trade-off, and robustness curves.

Data are aggregated before they get here: a robustness curve has a hundred points, however many images there are.
"""

import math
from typing import Any

import altair as alt
import numpy as np
from altair.utils.schemapi import debug_mode

from equipoise.audit import robustness_curve
from equipoise.report.figure import (
    MUTED,
    PAPER,
    SOLID,
    WARNED,
    Figure,
    chart,
    colour,
    domain,
    faded,
    finish,
    interval,
    percents,
    scale,
)
from equipoise.report.labels import place_labels, written
from equipoise.report.reading import Judged, Reading, Under
from equipoise.report.words import against, percent

__all__ = ["curves", "trade_off"]

POINTS = 100
LABEL = 130
"""Widest label of a point, in pixels."""


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
    x = domain([*ends, min(1.0, right + (right - left) / 10)])
    y = domain([row[key] for row in everything for key in ("standard_low", "standard_high")])
    names = [j.name for j in reading.classifiers]
    for under in reading.threats:
        if not rows[under.spec]:
            continue
        place_labels(rows[under.spec], x, y, limit=LABEL)
        base = chart("rows").encode(
            x=alt.X(
                "robust:Q",
                title=f"Robust accuracy at {under.title}",
                scale=scale(x),
                axis=percents(),
            ),
            y=alt.Y("standard:Q", title="Standard accuracy", scale=scale(y), axis=percents()),
        )
        data = {"rows": rows[under.spec]}
        bar: dict[str, Any] = {"color": colour(names), "opacity": faded(0.55)}
        layers: list[alt.Chart] = [
            base.mark_rule(strokeWidth=1.5).encode(
                x=alt.X("robust_low:Q"), x2=alt.X2("robust_high:Q"), **bar
            ),
            base.mark_rule(strokeWidth=1.5).encode(
                y=alt.Y("standard_low:Q"), y2=alt.Y2("standard_high:Q"), **bar
            ),
            base.transform_filter(SOLID)
            .mark_point(filled=True, size=90, opacity=1, stroke=PAPER, strokeWidth=1.5)
            .encode(color=colour(names), opacity=faded(1), tooltip=_TRADE_OFF_TIPS),
            base.transform_filter(WARNED)
            .mark_point(filled=False, size=80, fill=PAPER, strokeWidth=2.25)
            .encode(
                color=colour(names),
                opacity=faded(1),
                tooltip=[*_TRADE_OFF_TIPS, alt.Tooltip("against:N", title="Warning")],
            ),
            *written(base, rows[under.spec], limit=LABEL),
        ]
        for ladder, rungs in reading.ladders.items():
            members = {judged.name for judged in rungs}
            data[f"path-{ladder}"] = [
                {"robust": r["robust"], "standard": r["standard"], "radius": r["radius"]}
                for r in rows[under.spec]
                if r["classifier"] in members
            ]
            layers.insert(
                0,
                chart(f"path-{ladder}")
                .mark_line(color=MUTED, strokeWidth=1.25, opacity=0.6)
                .encode(x=alt.X("robust:Q"), y=alt.Y("standard:Q"), order=alt.Order("radius:Q")),
            )
        listed = "; ".join(
            f"{row['classifier']}: standard {row['standard_text']}, robust {row['robust_text']}"
            + (f", though {row['against']}" if row["against"] else "")
            for row in rows[under.spec]
        )
        figures.append(
            Figure(
                f"Threat {under.title}",
                f"Standard against robust accuracy at {under.title}. {listed}.",
                finish(layers, data, height=340),
                hollow=any(row["against"] for row in rows[under.spec]),
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
                    "against": against(reading.warnings(judged.name, under.spec), "it"),
                }
                | {"norm": judged.norm, "radius": judged.radius}
                | interval("standard", standard)
                | interval("robust", robust)
            )
    return rows


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
        # Wide and unseen, so that a tooltip needs no steady hand.
        base.mark_line(strokeWidth=14, opacity=0).encode(y=share, tooltip=tips[:1]),
        base.mark_point(size=60, opacity=0, filled=True).encode(y=share, tooltip=tips),
    ]
    data = {"rows": rows, "threat": [{"radius": under.threat.radius, "text": str(under.threat)}]}
    here = under.threat.radius
    listed = "; ".join(f"{j.name}: {percent(float((r > here).mean()))}" for j, r in radii.items())
    words = f"Robust accuracy against the radius of the attack. At {under.threat}, {listed}."
    spec = finish(layers, data, height=320)
    return Figure(f"Threat {under.title}", words, spec, hollow=bool(warned))
