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
    return _draw(rows, title, words, x, y, [0.0, 1.0], colour(names), "classifier", kinds, ())


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
    return _draw(rows, title, words, x, y, domain, hue, "series", (), key)


@debug_mode(False)
def _draw(
    rows: list[dict[str, Any]],
    title: str,
    words: str,
    x: alt.X,
    y: str,
    domain: list[float],
    hue: alt.Color,
    who: str,
    kinds: Sequence[str],
    key: tuple[tuple[str, str, str], ...],
) -> Figure:
    base = chart("rows").encode(x=x, color=hue)
    share = alt.Y("share:Q", title=y, scale=scale(domain), axis=percents())
    tips = [
        alt.Tooltip(f"{who}:N", title=who.capitalize()),
        *([alt.Tooltip("kind:N", title="Line")] if kinds else []),
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
        key = tuple(("var(--ink)", STROKES[k], name) for k, name in enumerate(kinds))
    layers = [line, points]
    if any(row.get("low") is not None for row in rows):
        band = base.mark_area(opacity=0.13).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
        layers.insert(0, band)
    return Figure(title, words, finish(layers, {"rows": rows}, height=320), key)
