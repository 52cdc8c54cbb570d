"""Reliance on spurious features as charts: against the radius, against their scale, and what it costs.

Symbols are those of `equipoise.theory.regression`. Norms of the adversary are told apart by colour and by a name at the
end of each line, scales by dashes. Lines are exact; each is computed on a mesh that holds its kinks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
from altair.utils.schemapi import debug_mode

from equipoise.errors import EquipoiseError
from equipoise.report.figure import (
    DASHES,
    INK,
    MUTED,
    PAPER,
    STROKES,
    Figure,
    chart,
    finish,
    percents,
    scale,
)
from equipoise.report.words import MINUS, percent
from equipoise.theory import NORMS, PairedDesign

__all__ = ["COLOURS", "against_radius", "against_scale", "against_shift", "called"]

COLOURS = {None: "var(--s0)", 1: "var(--s1)", 2: "var(--s8)", math.inf: "var(--s2)"}
"""Of standard training and of each norm of the adversary."""

HEIGHT, APART = 300, 15
"""Height of a plot, and of a name at the end of a line, in pixels."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class _Axis:
    """Title, first and last value, and ticks."""

    title: str
    ends: list[float]
    ticks: alt.Axis


def called(p: float | None) -> str:
    """What a training is called."""
    return {None: "standard", math.inf: "l∞"}.get(p, f"l{p}")


@debug_mode(False)
def against_radius(design: PairedDesign) -> Figure:
    """The share of the weights that is spurious against the radius of training, up to where the weights are 0.

    Raises:
        EquipoiseError: for more scales than there are dashes.
    """
    _check(design)
    rows: Rows = []
    for p in NORMS:
        for size in design.scales:
            model = design.model(size)
            end = model.collapse_radius(p)
            mesh = np.append(np.linspace(0, end * (1 - 1e-6), 80), model.unchanged_radius(p))
            for eps in np.sort(mesh).tolist():
                share = model.reliance(model.minimiser(p, eps)).share
                rows.append(_row(p, size, (eps, f"radius {eps:.3g}"), (share, percent(share))))
    furthest = 1.06 * max(row["x"] for row in rows)
    mark = {"x": design.eps, "words": f"ε = {design.eps:.3g}"}
    ends = "; ".join(f"{row['who']} ends at {row['text']}, at {row['at']}" for row in _last(rows))
    return _lines(
        rows,
        "Reliance against radius",
        f"The share of the weights on spurious features against the radius of training. {ends}.",
        x=_Axis("Radius ε of training", [0, furthest], alt.Axis(grid=False, tickCount=8)),
        y=_shares(rows),
        kinds=[f"scale {size:g}" for size in design.scales],
        marks=[mark] if design.eps <= furthest else [],
    )


@debug_mode(False)
def against_scale(design: PairedDesign) -> Figure:
    """The same share at the design's radius against the scale of spurious features: where l_inf sets in."""
    top = max(2.5, 1.2 * max(design.scales), min(1.5 * design.onset, 4.0))
    mesh = np.append(np.linspace(0.05, top, 100), design.onset if design.onset < top else [])
    rows: Rows = []
    for p in NORMS:
        for size in np.sort(mesh).tolist():
            model = design.model(size)
            w = model.minimiser(p, design.eps)
            if w.any():
                share = model.reliance(w).share
                rows.append(_row(p, None, (size, f"scale {size:.3g}"), (share, percent(share))))
    onset = {"x": design.onset, "words": f"1 / |ρ| = {design.onset:.4g}"}
    words = (
        f"l∞ relies on spurious features above scale {design.onset:.4g}."
        if math.isfinite(design.onset)
        else "Without correlation nothing relies on them."
    )
    title = "Scale of spurious features; that of core ones is 1"
    return _lines(
        rows,
        "Onset against scale",
        f"The share of the weights on spurious features at ε = {design.eps:.3g} against their scale. {words}",
        x=_Axis(title, [0, 1.04 * top], alt.Axis(grid=False, tickCount=8)),
        y=_shares(rows),
        marks=[onset] if design.onset < top else [],
    )


@debug_mode(False)
def against_shift(design: PairedDesign) -> Figure:
    """The standard mean squared error against the correlation at test time, from that of training to its reverse.

    Raises:
        EquipoiseError: for more scales than there are dashes.
    """
    _check(design)
    first = design.rho or 0.5
    mesh = np.linspace(first, -first, 9).tolist()
    rows: Rows = []
    for p in (None, *NORMS):
        for size in design.scales if p else design.scales[:1]:
            w = design.model(size).minimiser(p or 2, design.eps if p else 0.0)
            for rho in mesh:
                error = design.error(w, size, rho)
                at = (rho, f"correlation {_number(rho)}")
                rows.append(_row(p, size, at, (error, f"{error:.4f}")))
    highest = 1.05 * max(row["y"] for row in rows) or 1.0
    ends = "; ".join(f"{row['who']}: {row['text']}" for row in _last(rows))
    title = f"Correlation at test time; in training it was {_number(design.rho)}"
    ticks = alt.Axis(grid=False, values=mesh[::2], labelExpr="format(datum.value, '~g')")
    return _lines(
        rows,
        "Error against shift",
        f"Standard mean squared error against the correlation at test time. Where it is reversed, {ends}.",
        x=_Axis(title, [first, -1.24 * first], ticks),
        y=_Axis("Mean squared error", [0, highest], alt.Axis(tickCount=5)),
        kinds=[f"scale {size:g}" for size in design.scales],
    )


def _check(design: PairedDesign) -> None:
    if len(design.scales) > len(DASHES):
        raise EquipoiseError(
            f"A chart tells {len(DASHES)} scales apart, not {len(design.scales)}: give fewer."
        )


def _row(
    p: float | None, size: float | None, x: tuple[float, str], y: tuple[float, str]
) -> dict[str, Any]:
    """A point, with both its places in words."""
    return {
        "series": called(p),
        "kind": "" if size is None else f"scale {size:g}",
        "who": called(p) if p is None or size is None else f"{called(p)} at scale {size:g}",
        "x": round(x[0], 6),
        "at": x[1],
        "y": round(y[0], 6),
        "text": y[1],
    }


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", MINUS)


def _shares(rows: Rows) -> _Axis:
    highest = max((row["y"] for row in rows), default=1.0)
    top = min(1.0, max(0.2, math.ceil(12 * highest) / 10))
    return _Axis("Share of weights that is spurious", [0, top], percents())


def _last(rows: Rows) -> Rows:
    """The last row of each line."""
    return list({row["who"]: row for row in rows}.values())


def _lines(
    rows: Rows,
    title: str,
    words: str,
    *,
    x: _Axis,
    y: _Axis,
    kinds: Sequence[str] = (),
    marks: Sequence[dict[str, Any]] = (),
) -> Figure:
    """Lines with their names at their ends, told apart by dashes where there are `kinds`; dotted lines at `marks`."""
    drawn = {row["series"] for row in rows}
    colours = {called(p): colour for p, colour in COLOURS.items() if called(p) in drawn}
    domain = alt.Scale(domain=list(colours), range=list(colours.values()))
    hue = alt.Color("series:N", scale=domain, legend=None)
    across = alt.X("x:Q", title=x.title, scale=scale(x.ends), axis=x.ticks)
    up = {"title": y.title, "scale": scale(y.ends), "axis": y.ticks}
    base = chart("rows").encode(x=across, y=alt.Y("y:Q", **up), color=hue)
    tips = [alt.Tooltip("who:N", title="Training"), alt.Tooltip("at:N", title="At")]
    tips.append(alt.Tooltip("text:N", title="Value"))
    if kinds:
        dash = alt.Scale(domain=list(kinds), range=DASHES[: len(kinds)])
        base = base.encode(strokeDash=alt.StrokeDash("kind:N", scale=dash, legend=None))
    named = chart("names").encode(x=across, y=alt.Y("label:Q", **up), text="series:N", color=hue)
    name: dict[str, Any] = {"align": "left", "dx": 7, "fontSize": 12, "fontWeight": 600}
    layers = [
        base.mark_line(strokeWidth=2.25),
        base.mark_point(filled=True, size=60, opacity=0).encode(tooltip=tips),
        named.mark_text(stroke=PAPER, strokeWidth=4, strokeJoin="round", **name),
        named.mark_text(**name),
    ]
    data: dict[str, Any] = {"rows": rows, "names": _named(_last(rows), x, y)}
    if marks:
        data["marks"] = list(marks)
        placed = chart("marks").encode(x=across)
        word: dict[str, Any] = {"align": "left", "dx": 6, "dy": 8, "fontSize": 12}
        above = placed.encode(y=alt.YValue(0), text="words:N")
        layers = [
            placed.mark_rule(color=MUTED, strokeDash=[2, 4]),
            *layers,
            above.mark_text(stroke=PAPER, strokeWidth=4, **word),
            above.mark_text(color=MUTED, **word),
        ]
    key = [(colour, "●", name) for name, colour in colours.items()]
    key += [(INK, stroke, kind) for stroke, kind in zip(STROKES, kinds, strict=False)]
    return Figure(title, words, finish(layers, data, height=HEIGHT), tuple(key))


def _named(ends: Rows, x: _Axis, y: _Axis) -> Rows:
    """Ends of lines with the height of their names, which move up where they would meet another."""
    wide, step = abs(x.ends[1] - x.ends[0]), APART * (y.ends[1] - y.ends[0]) / HEIGHT
    named: Rows = []
    for row in sorted(ends, key=lambda row: row["y"]):
        near = [other for other in named if abs(other["x"] - row["x"]) < 0.05 * wide]
        if any((one["series"], one["y"]) == (row["series"], row["y"]) for one in near):
            continue
        low = max((other["label"] + step for other in near), default=row["y"])
        named.append(row | {"label": max(row["y"], low)})
    return named
