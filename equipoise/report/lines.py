"""Line charts: shares against any number, one line for each classifier or series, with bands where rows have them."""

from collections.abc import Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from equipoise.report.figure import (
    DASHES,
    STROKES,
    Figure,
    chart,
    colour,
    faded,
    finish,
    percents,
    scale,
)

__all__ = ["by_classifier", "by_series"]

MARK = "●"


@debug_mode(False)
def by_classifier(
    rows: list[dict[str, Any]],
    title: str,
    words: str,
    *,
    names: Sequence[str],
    x: alt.X,
    y: str,
    kinds: Sequence[str] = (),
) -> Figure:
    """A line for each classifier, or for each of `kinds` of each, told apart by dashes.

    Arguments:
        rows: with `classifier`, `share`, `text`, the field of `x`, and `kind` where there are kinds.
        title: heading of the chart.
        words: what it shows, numbers included.
        names: of all classifiers, in the page's order.
        x: the horizontal axis.
        y: title of the vertical one.
        kinds: of lines, at most four.
    """
    layers = _layers(rows, x, y, [0.0, 1.0], colour(names), kinds=kinds)
    key = tuple(("var(--ink)", STROKES[k], name) for k, name in enumerate(kinds))
    return Figure(title, words, finish(layers, {"rows": rows}, height=320), key)


@debug_mode(False)
def by_series(
    rows: list[dict[str, Any]],
    title: str,
    words: str,
    *,
    names: Sequence[str],
    x: alt.X,
    y: str,
    domain: list[float],
) -> Figure:
    """A line for each series, coloured along a ladder in the order of `names`, with its band.

    Arguments:
        rows: with `series`, `share`, `low`, `high`, `text` and the field of `x`.
        title: heading of the chart.
        words: what it shows, numbers included.
        names: of the series, in order.
        x: the horizontal axis.
        y: title of the vertical one.
        domain: of the vertical axis.
    """
    colours = [f"var(--s{k})" for k in range(len(names))]
    hue = alt.Color("series:N", scale=alt.Scale(domain=list(names), range=colours), legend=None)
    key = tuple((c, MARK, name) for c, name in zip(colours, names, strict=True))
    layers = _layers(rows, x, y, domain, hue)
    return Figure(title, words, finish(layers, {"rows": rows}, height=320), key)


def _layers(
    rows: list[dict[str, Any]],
    x: alt.X,
    y: str,
    domain: list[float],
    hue: alt.Color,
    *,
    kinds: Sequence[str] = (),
) -> list[alt.Chart]:
    """Lines and points, and bands below them where rows have them."""
    base = chart("rows").encode(x=x, color=hue)
    share = alt.Y("share:Q", title=y, scale=scale(domain), axis=percents())
    who = "classifier" if "classifier" in rows[0] else "series"
    tips = [
        alt.Tooltip(f"{who}:N", title="Line"),
        *([alt.Tooltip("kind:N", title="Confidence")] if kinds else []),
        alt.Tooltip("at:N", title="At"),
        alt.Tooltip("text:N", title="Value"),
    ]
    shown = faded(1) if who == "classifier" else alt.OpacityValue(1)
    line = base.mark_line(strokeWidth=2.25).encode(y=share, opacity=shown)
    points = base.mark_point(filled=True, size=55).encode(y=share, opacity=shown, tooltip=tips)
    if kinds:
        dashes = alt.Scale(domain=list(kinds), range=DASHES[: len(kinds)])
        line = line.encode(strokeDash=alt.StrokeDash("kind:N", scale=dashes, legend=None))
        points = points.encode(detail=alt.Detail("kind:N"))
    if all(row.get("low") is None for row in rows):
        return [line, points]
    band = base.mark_area(opacity=0.13).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
    return [band, line, points]
