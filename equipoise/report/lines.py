"""Line charts: shares against any number, one line for each classifier or series, with bands where rows have them."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from equipoise.report.figure import (
    DASHES,
    INK,
    STROKES,
    Figure,
    chart,
    colour,
    faded,
    finish,
    shape,
    share_axis,
)
from equipoise.report.numbers import cross

__all__ = ["by_classifier", "by_series", "radii"]

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
    ordered: bool = False,
) -> Figure:
    """A line for each classifier, or one of each of `kinds`, told apart by dashes.

    Arguments:
        rows: with `classifier`, `share`, `text`, `at` in words, the field of `x`, `kind` where there are `kinds`, and
            `low` and `high` where there is a band.
        title: heading of the chart.
        words: what it shows, numbers included.
        names: of all classifiers, in the page's order.
        x: the horizontal axis.
        y: title of the vertical one.
        kinds: names of the kinds of line, at most four.
        ordered: whether the classifiers form a ladder, so that their points need no shapes.
    """
    shapes = shape(names, ordered=ordered)
    layers = _layers(rows, x, share_axis(y), colour(names), kinds=kinds, shapes=shapes)
    key = tuple((INK, mark, kind) for mark, kind in zip(STROKES, kinds, strict=False))
    numbers = cross(rows, ["classifier", "kind"] if kinds else ["classifier"])
    spec = finish(layers, {"rows": rows}, height=320)
    return Figure(title, words, spec, key, numbers=numbers)


@debug_mode(False)
def by_series(
    rows: list[dict[str, Any]],
    title: str,
    words: str,
    *,
    names: Sequence[str],
    x: alt.X,
    y: alt.Y,
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """A line for each series, coloured along a ladder in the order of `names`, with its band.

    Arguments:
        rows: with `series`, `share`, `low`, `high`, `text`, `at` in words, and the field of `x`.
        title: heading of the chart.
        words: what it shows, numbers included.
        names: of the series, in order.
        x: the horizontal axis.
        y: the vertical one, of the field `share`.
        colours: of the series by name; in order when None.
    """
    hues = [colours[name] if colours else f"var(--s{k})" for k, name in enumerate(names)]
    hue = alt.Color("series:N", scale=alt.Scale(domain=list(names), range=hues), legend=None)
    key = tuple((c, MARK, name) for c, name in zip(hues, names, strict=True))
    layers = _layers(rows, x, y, hue)
    spec = finish(layers, {"rows": rows}, height=320)
    return Figure(title, words, spec, key, numbers=cross(rows, ["series"]))


def radii(written: Mapping[float, str], norm: str) -> alt.X:
    """The axis of radii of training in a norm, each as it was written."""
    listed = ", ".join(f"'{radius:.6f}': '{name}'" for radius, name in written.items())
    return alt.X(
        "radius:Q",
        title=f"Radius of training ({norm})",
        scale=alt.Scale(nice=False),
        axis=alt.Axis(
            values=sorted(written),
            labelExpr=f"({{{listed}}})[format(datum.value, '.6f')]",
            grid=False,
        ),
    )


def _layers(
    rows: list[dict[str, Any]],
    x: alt.X,
    y: alt.Y,
    hue: alt.Color,
    *,
    kinds: Sequence[str] = (),
    shapes: alt.Shape | None = None,
) -> list[alt.Chart]:
    """Lines and points, and bands below them where rows have them."""
    base = chart("rows").encode(x=x, color=hue)
    who = "classifier" if "classifier" in rows[0] else "series"

    def shown(full: float, faint: float = 0.12) -> alt.OpacityValue:
        return faded(full, faint) if who == "classifier" else alt.OpacityValue(full)

    tips = [
        alt.Tooltip(f"{who}:N", title=who.capitalize()),
        *([alt.Tooltip("kind:N", title="Line")] if kinds else []),
        alt.Tooltip("at:N", title="At"),
        alt.Tooltip("text:N", title="Value"),
    ]
    line = base.mark_line(strokeWidth=2.25).encode(y=y, opacity=shown(1))
    if kinds:
        dash = alt.Scale(domain=list(kinds), range=DASHES[: len(kinds)])
        line = line.encode(strokeDash=alt.StrokeDash("kind:N", scale=dash, legend=None))
        # Among dashes points would be noise: they are only there to be pointed at.
        points = base.mark_point(filled=True, size=50, opacity=0).encode(y=y, tooltip=tips)
    else:
        points = base.mark_point(filled=True, size=50).encode(y=y, opacity=shown(1), tooltip=tips)
        if shapes is not None:
            points = points.encode(shape=shapes)
    if all(row.get("low") is None for row in rows):
        return [line, points]
    ends = {"y": alt.Y("low:Q"), "y2": alt.Y2("high:Q")}
    return [base.mark_area().encode(**ends, opacity=shown(0.12, 0.02)), line, points]
