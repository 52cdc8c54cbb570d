"""Labels of points: where each may stand, and which place covers least."""

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from equipoise.report.figure import INK, PAPER, faded

__all__ = ["PLACES", "place_labels", "written"]

PLACES: dict[str, tuple[Literal["left", "center", "right"], int, int]] = {
    "right above": ("left", 9, -10),
    "right below": ("left", 9, 12),
    "left above": ("right", -9, -10),
    "left below": ("right", -9, 12),
    "above": ("center", 0, -17),
    "below": ("center", 0, 18),
}
"""Where the label of a point may stand: alignment and offsets."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels of the plot."""


def place_labels(
    rows: list[dict[str, Any]],
    x: list[float],
    y: list[float],
    *,
    limit: int,
    size: tuple[int, int] = (400, 280),
    of: tuple[str, str] = ("robust", "standard"),
    field: str = "place",
    lines: Sequence[Sequence[Box]] = (),
    drop: bool = False,
) -> None:
    """Gives every row the place of its label that covers the fewest points and earlier labels, and then lines.

    Arguments:
        rows: points, with the fields of both axes and label.
        x: what the horizontal axis shows, from left to right.
        y: what the vertical axis shows, from the bottom up.
        limit: widest label, in pixels.
        size: of the plot, in pixels; what two charts abreast have when left out.
        of: fields of the horizontal and of the vertical axis.
        field: of the row that takes the place.
        lines: boxes along each line.
        drop: whether a label that covers a point or another label gets the place "" instead.
    """
    across, up = size[0] / (x[1] - x[0]), size[1] / (y[1] - y[0])
    points = [((row[of[0]] - x[0]) * across, (y[1] - row[of[1]]) * up) for row in rows]
    boxes = [(px - 6, py - 6, px + 6, py + 6) for px, py in points]
    for row, (px, py) in zip(rows, points, strict=True):
        width = min(limit, 7.5 * len(row["label"]))
        best: tuple[int, str, Box] | None = None
        for name, (align, dx, dy) in PLACES.items():
            left = px + dx - width * {"left": 0, "center": 0.5, "right": 1}[align]
            box = (left, py + dy - 8, left + width, py + dy + 8)
            clashes = 2 * sum(_meet(box, other) for other in boxes)
            clashes += sum(any(_meet(box, other) for other in line) for line in lines)
            clashes += 4 * (box[0] < 0 or box[2] > size[0] + 10) + 2 * (box[3] > size[1])
            if best is None or clashes < best[0]:
                best = (clashes, name, box)
        if best and (best[0] < 2 or not drop):
            row[field] = best[1]
            boxes.append(best[2])
        else:
            row[field] = ""


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def written(
    base: alt.Chart,
    rows: list[dict[str, Any]],
    *,
    limit: int,
    field: str = "place",
    shown: alt.OpacityValue | None = None,
) -> list[alt.Chart]:
    """The layers of the labels whose places are in `field`; they fade with their points unless told when they show."""
    style: dict[str, Any] = {"fontSize": 12, "fontWeight": 600, "limit": limit}
    layers = []
    for name, (align, dx, dy) in PLACES.items():
        if any(row[field] == name for row in rows):
            label = base.transform_filter(f"datum.{field} === '{name}'").encode(
                text=alt.Text("label:N"), opacity=shown or faded(1)
            )
            style |= {"align": align, "dx": dx, "dy": dy, "baseline": "middle"}
            # A rim of paper keeps a label legible where it crosses a line.
            layers.append(
                label.mark_text(stroke=PAPER, strokeWidth=3, strokeJoin="round", **style)
            )
            layers.append(label.mark_text(color=INK, **style))
    return layers
