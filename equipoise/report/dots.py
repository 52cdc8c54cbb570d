"""A dot plot of shares: a block a group, and in it a row a classifier with its interval.

The name of each group stands above its block instead of beside it, so that no name is too long for a narrow screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from equipoise.audit import Statistic
from equipoise.report.figure import (
    INK,
    MUTED,
    PAPER,
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

__all__ = ["Dot", "dots"]

NAME, STEP, GAP = 22, 15, 16
"""Heights of a name, of a row and between blocks, in pixels."""


@dataclass(frozen=True)
class Dot:
    """A group: its name, and what was found of it for each classifier.

    Attributes:
        images: how many it has.
        training: how many it has in training, where that is known.
        worst: whether this is the classifier's worst group.
    """

    name: str
    images: str
    training: str
    found: Sequence[Statistic | None]
    worst: Sequence[bool]


@debug_mode(False)
def dots(title: str, groups: Sequence[Dot], *, names: Sequence[str]) -> list[Figure]:
    """The chart of some groups; none when nothing was measured.

    Arguments:
        title: heading of the chart.
        groups: from the top down.
        names: of all classifiers, in the page's order.
    """
    rows: list[dict[str, Any]] = []
    heads, down = [], 0.0
    for group in groups:
        heads.append({"label": f"{group.name}, n = {group.images}", "down": down + NAME / 2})
        down += NAME
        for found, worst in zip(group.found, group.worst, strict=True):
            if found is None:
                continue
            rows.append(
                {
                    "classifier": found.classifier,
                    "group": group.name,
                    "images": group.images,
                    "training": group.training or "not known",
                    "worst": worst,
                    "down": down + STEP / 2,
                }
                | interval("share", found)
            )
            down += STEP
        down += GAP
    if not rows:
        return []
    base = chart("rows").encode(
        x=alt.X(
            "share:Q",
            title="Accuracy",
            scale=scale(domain([row[end] for row in rows for end in ("share_low", "share_high")])),
            axis=percents(),
        ),
        y=alt.Y(
            "down:Q",
            scale=alt.Scale(domain=[0, down], reverse=True, nice=False, zero=False),
            axis=None,
        ),
    )
    tips = [
        alt.Tooltip("group:N", title="Group"),
        alt.Tooltip("images:N", title="Images"),
        alt.Tooltip("training:N", title="In training"),
        alt.Tooltip("classifier:N", title="Classifier"),
        alt.Tooltip("share_text:N", title="Accuracy"),
    ]
    point = base.encode(color=colour(names), opacity=faded(1), tooltip=tips)
    style = {"filled": True, "opacity": 1, "stroke": PAPER, "strokeWidth": 1}
    head = chart("heads").encode(x=alt.value(0), y=alt.Y("down:Q"), text=alt.Text("label:N"))
    text: dict[str, Any] = {"align": "left", "baseline": "middle", "fontSize": 13}
    text |= {"fontWeight": 600, "limit": alt.ExprRef("width")}
    layers: list[alt.Chart] = [
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("share_low:Q"),
            x2=alt.X2("share_high:Q"),
            color=colour(names),
            opacity=faded(0.55),
        ),
        point.transform_filter("!datum.worst").mark_point(size=70, **style),
        point.transform_filter("datum.worst").mark_point(shape="diamond", size=170, **style),
        # A rim of paper keeps names legible where they cross a line.
        head.mark_text(stroke=PAPER, strokeWidth=3, strokeJoin="round", **text),
        head.mark_text(color=INK, **text),
    ]
    key = ((MUTED, "◆", "worst group of a classifier"),) if any(r["worst"] for r in rows) else ()
    listed = "; ".join(
        f"{row['classifier']} on {row['group']}: {row['share_text']}"
        + (", its worst group" if row["worst"] else "")
        for row in rows
    )
    words = f"{title}: accuracy of every group. {listed}."
    return [
        Figure(
            title, words, finish(layers, {"rows": rows, "heads": heads}, height=round(down)), key
        )
    ]
