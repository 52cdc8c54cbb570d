"""The dichotomy as a chart: rules as dots between the most accurate one and the most robust one.

Symbols are those of `equipoise.theory.dichotomy`. Up is standard accuracy, right is robust accuracy, as in the chart of
the trade-off. Grey is where no rule is: at eps = 2 eta < 1 all that lies beyond the exact frontier; at other radii what
is more accurate than the Bayes rule, more robust than any rule can be, or, from eps = 2 eta on, beyond the bound of
Theorem 2.1.
"""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
from altair.utils.schemapi import debug_mode

from equipoise.errors import EquipoiseError
from equipoise.report.figure import INK, LINE, MUTED, PAPER, Figure, chart, finish, percents, scale
from equipoise.report.frontier import beyond, bound, curve, is_exact
from equipoise.report.labels import place_labels, written
from equipoise.report.words import percent
from equipoise.theory import Dichotomy, Rule

__all__ = ["KINDS", "frontier_figure"]

KINDS = {
    "known": ("var(--s0)", "●", "circle", 130, "known in closed form"),
    "machine": (
        "var(--s1)",
        "◆",
        "diamond",
        95,
        "support vector machine (SVM), trained on the model",
    ),
    "fitted": ("var(--s8)", "■", "square", 45, "logistic rule, fitted to samples"),
}
"""Colour, mark in the key, shape, size and meaning of each kind; the largest below, so that all of them are seen."""

WIDE, NARROW = (960, 330), (280, 330)
"""Sizes of the plot on wide and on narrow screens, in pixels."""

LABEL = 210
"""Widest label of a point, in pixels."""


@debug_mode(False)
def frontier_figure(model: Dichotomy, rules: Sequence[Rule], eps: float | None = None) -> Figure:
    """The frontier, the bound of Theorem 2.1, and rules as dots.

    Arguments:
        model: whose frontier and bound are drawn.
        rules: the dots, judged at `eps`; machines are joined in their order. A rule that answers nothing is left out.
        eps: radius of the adversary; 2 eta when None.

    Raises:
        EquipoiseError: for a negative radius, or weak features without a signal.
    """
    if model.eta == 0:
        raise EquipoiseError(
            "There is no frontier at eta=0: weak features tell nothing, and one rule is best in everything. Give an "
            "eta above 0."
        )
    eps = 2 * model.eta if eps is None else eps
    shown = [rule for rule in rules if rule.standard > 0]
    low = min([model.p, *(rule.standard for rule in shown)])
    y = [max(0.0, low - 0.2 * (1 - low)), 1.0]
    path, line = curve(model, eps), bound(model, eps)
    machines = [_at(rule) | {"order": k} for k, rule in enumerate(shown) if rule.kind == "machine"]
    labels = _labels(shown, y, [path or line, machines])
    data = {
        "beyond": beyond(model, eps, y[0]),
        "bound": line,
        "frontier": path,
        "machines": machines,
        "rules": [_row(rule) for rule in shown],
        "labels": labels,
    }
    places = {
        "x": alt.X(
            "robust:Q",
            title=f"Robust accuracy at ε\u00a0=\u00a0{eps:g}",
            scale=scale([0, 1]),
            axis=percents([0, 0.25, 0.5, 0.75, 1]),
        ),
        "y": alt.Y(
            "standard:Q",
            title="Standard accuracy",
            scale=scale(y),
            axis=alt.Axis(format="~%", tickCount=5),
        ),
    }
    drawn = {name: chart(name).encode(**places) for name, rows in data.items() if rows}
    kinds = [kind for kind in KINDS if any(rule.kind == kind for rule in shown)]
    joined: dict[str, Any] = {"strokeWidth": 1.25, "opacity": 0.6, "color": KINDS["machine"][0]}
    order = alt.Order("order:Q")
    layers = [
        drawn["beyond"].mark_area(color=LINE, opacity=0.55, clip=True).encode(y2=alt.Y2("top:Q"))
    ]
    key = [(KINDS[kind][0], KINDS[kind][1], KINDS[kind][4]) for kind in kinds]
    if path:
        name = "exact frontier" if is_exact(model, eps) else "rules of the frontier at 2η"
        key.append((INK, "━━", name))
        layers.append(drawn["frontier"].mark_line(color=INK, strokeWidth=2.25).encode(order=order))
    if line:
        key.append((MUTED, "━ ━", "bound of Theorem 2.1"))
        layers.append(drawn["bound"].mark_line(color=MUTED, strokeDash=[6, 4], clip=True))
    layers.append(
        drawn["beyond"]
        .transform_filter("datum.words")
        .mark_text(align="right", dx=-10, dy=18, color=MUTED, fontSize=12)
        .encode(y=alt.Y("top:Q"), text=alt.Text("words:N"))
    )
    if "machine" in kinds:
        layers.append(drawn["machines"].mark_line(**joined).encode(order=order))
    if shown:
        layers += written(drawn["labels"], labels, limit=LABEL, shown=_while("width >= 700"))
        layers += written(
            drawn["labels"], labels, limit=LABEL, field="narrow", shown=_while("width < 700")
        )
        layers += [_points(drawn["rules"], kind) for kind in kinds]
    listed = "; ".join(
        f"{rule.name}: standard {percent(rule.standard)}, robust {percent(rule.robust)}"
        for rule in shown
    )
    return Figure(
        "The frontier of standard and robust accuracy",
        f"Standard against robust accuracy at ε = {eps:g} of rules in the dichotomy model. {listed}.",
        finish(layers, {name: data[name] for name in drawn}, height=400),
        tuple(key),
    )


def _while(test: str) -> alt.OpacityValue:
    return alt.OpacityValue(0, condition={"test": test, "value": 1})


def _points(base: alt.Chart, kind: str) -> alt.Chart:
    colour, _, shape, size, _ = KINDS[kind]
    return (
        base.transform_filter(f"datum.kind === '{kind}'")
        .mark_point(
            filled=True,
            shape=shape,
            size=size,
            color=colour,
            opacity=1,
            stroke=PAPER,
            strokeWidth=1,
        )
        .encode(
            tooltip=[
                alt.Tooltip("rule:N", title="Rule"),
                alt.Tooltip("standard_text:N", title="Standard accuracy"),
                alt.Tooltip("robust_text:N", title="Robust accuracy"),
            ]
        )
    )


def _at(rule: Rule) -> dict[str, Any]:
    return {"standard": round(rule.standard, 6), "robust": round(rule.robust, 6)}


def _row(rule: Rule) -> dict[str, Any]:
    said = {"standard_text": percent(rule.standard), "robust_text": percent(rule.robust)}
    return _at(rule) | {"rule": rule.name, "kind": rule.kind} | said


def _labels(
    rules: Sequence[Rule], y: list[float], lines: list[list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """A label for each point, placed beside the `lines` of wide and of narrow plots; rules that coincide share one."""
    across, up = WIDE[0], WIDE[1] / (y[1] - y[0])
    groups: list[list[Rule]] = []
    for rule in rules:
        for group in groups:
            away = group[0].robust - rule.robust, group[0].standard - rule.standard
            if math.hypot(away[0] * across, away[1] * up) < 4:
                group.append(rule)
                break
        else:
            groups.append([rule])
    rows = []
    for group in groups:
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        rows.append(_at(group[0]) | {"label": group[0].name + more})
    for field, size in (("place", WIDE), ("narrow", NARROW)):
        along = [_boxes(line, y, size) for line in lines]
        place_labels(rows, [0, 1], y, limit=LABEL, size=size, field=field, lines=along, drop=True)
    return rows


def _boxes(
    line: list[dict[str, Any]], y: list[float], size: tuple[int, int]
) -> list[tuple[float, float, float, float]]:
    """Small boxes along a line, in pixels of the plot, every few pixels."""
    if not line:
        return []
    robust = np.array([row["robust"] for row in line]) * size[0]
    standard = (y[1] - np.array([row["standard"] for row in line])) * size[1] / (y[1] - y[0])
    along = np.append(0, np.cumsum(np.hypot(np.diff(robust), np.diff(standard))))
    at = np.arange(0, along[-1] + 8, 8)
    across, down = np.interp(at, along, robust), np.interp(at, along, standard)
    return [(u - 2, v - 2, u + 2, v + 2) for u, v in zip(across, down, strict=True)]
