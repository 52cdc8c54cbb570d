"""A forest plot: paired differences with their intervals, around the line of no difference.

The name of each pair stands above its row instead of beside it, so that none is too long for a narrow screen. A thick
line is the 95 % interval by itself, a thin one that which holds at once with all others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from equipoise.comparing.compared import Change
from equipoise.comparing.quantities import amount, signed, span
from equipoise.report.figure import INK, MUTED, PAPER, Figure, chart, finish
from equipoise.report.words import apart

__all__ = ["forest"]

NAME, STEP = 24, 22
"""Heights of a name and of a row, in pixels."""


@debug_mode(False)
def forest(metric: str, changes: Sequence[Change], names: Mapping[tuple[str, str], str]) -> Figure:
    """The chart of one metric.

    Arguments:
        metric: heading of the chart.
        changes: of that metric, from the top down.
        names: what to call each pair of before and after.
    """
    rows: list[dict[str, Any]] = []
    for k, c in enumerate(changes):
        scale = 100 if c.unit == "share" else 1
        ends = {"low": c.low, "high": c.high, "lowest": c.lowest, "highest": c.highest}
        rows.append(
            {
                "label": names[c.before, c.after],
                "head": k * (NAME + STEP) + NAME / 2,
                "down": k * (NAME + STEP) + NAME + STEP / 2,
                "shown": c.shown,
                "value": round(scale * c.value, 4),
                "was": amount(c.was, c.unit),
                "now": amount(c.now, c.unit),
                "change": signed(c.value, c.unit),
                "own": span(c.low, c.high, c.unit, change=True),
                "once": span(c.lowest, c.highest, c.unit, change=True),
            }
            | {name: round(scale * end, 4) for name, end in ends.items()}
        )
    height = len(rows) * (NAME + STEP)
    title = "Change in points" if changes[0].unit == "share" else "Change"
    widest = max(abs(row[end]) for row in rows for end in ("lowest", "highest", "value")) or 1
    across = alt.X(
        "value:Q",
        title=title,
        scale=alt.Scale(domain=[-1.05 * widest, 1.05 * widest], nice=False, zero=False),
        axis=alt.Axis(
            tickCount=5, format="+~f", labelExpr="datum.value === 0 ? '0' : datum.label"
        ),
    )
    down = alt.Y(
        "down:Q",
        scale=alt.Scale(domain=[0, height], reverse=True, nice=False, zero=False),
        axis=None,
    )
    tips = {"label": "Difference of", "was": "Before", "now": "After", "change": "Change"}
    tips |= {"own": "95% interval", "once": "All at once"}
    base = chart("rows").encode(
        x=across,
        y=down,
        tooltip=[alt.Tooltip(f"{key}:N", title=name) for key, name in tips.items()],
    )
    text: dict[str, Any] = {"align": "left", "baseline": "middle", "fontSize": 13}
    text |= {"fontWeight": 550, "limit": alt.ExprRef("width")}
    head = chart("rows").encode(x=alt.value(0), y=alt.Y("head:Q"), text=alt.Text("label:N"))
    mark: dict[str, Any] = {"opacity": 1, "size": 80, "strokeWidth": 1.5}
    layers: list[alt.Chart] = [
        chart("zero").mark_rule(color=MUTED, strokeWidth=1.5).encode(x=alt.X("at:Q")),
        base.mark_rule(strokeWidth=1.5, color=INK).encode(
            x=alt.X("lowest:Q"), x2=alt.X2("highest:Q")
        ),
        base.mark_rule(strokeWidth=5, color=INK).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q")),
        base.transform_filter("datum.shown").mark_point(
            filled=True, fill=INK, stroke=PAPER, **mark
        ),
        base.transform_filter("!datum.shown").mark_point(
            filled=True, fill=PAPER, stroke=INK, **mark
        ),
        head.mark_text(stroke=PAPER, strokeWidth=3, strokeJoin="round", **text),
        head.mark_text(color=INK, **text),
    ]
    listed = "; ".join(
        f"{apart(row['label'])}: {row['change']} ({row['own']}), {'' if row['shown'] else 'not '}shown to differ"
        for row in rows
    )
    spec = finish(layers, {"rows": rows, "zero": [{"at": 0}]}, height=height)
    return Figure(_capital(metric), f"{_capital(metric)}, paired differences. {listed}.", spec)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
