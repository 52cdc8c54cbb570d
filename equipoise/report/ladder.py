"""Shares of images against the radius of training: one chart for each ladder, that is norm and objective."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from equipoise.audit import Estimate, Statistic
from equipoise.norms import format_radius
from equipoise.report.figure import (
    PAPER,
    SOLID,
    WARNED,
    Figure,
    chart,
    domain,
    finish,
    interval,
    percents,
    scale,
)
from equipoise.report.reading import Judged, Reading
from equipoise.report.words import against

__all__ = ["Series", "along_ladder", "over_radii"]

SHAPES, MARKS = ("circle", "square", "triangle-up", "diamond"), ("●", "■", "▲", "◆")


@dataclass(frozen=True)
class Series:
    """One line: its name, the number of its colour, and a share for each rung, None where nothing was measured.

    Attributes:
        against: in words, what speaks against each share; nothing at all where nothing can.
    """

    name: str
    colour: int
    shares: Sequence[Statistic | Estimate | None]
    against: Sequence[str] = ()


def along_ladder(reading: Reading) -> list[Figure]:
    """Standard and robust accuracy against the radius of training."""
    figures = []
    for name, rungs in reading.ladders.items():
        standard = [reading.standard_accuracy(judged.name) for judged in rungs]
        series = [Series("standard accuracy", 0, standard)]
        for k, under in enumerate(reading.threats, start=1):
            robust = [reading.robust_accuracy(judged.name, under) for judged in rungs]
            doubts = [against(reading.warnings(judged.name, under.spec), "it") for judged in rungs]
            series.append(Series(f"robust at {under.title}", k, robust, doubts))
        title = f"Trained against {name}"
        figures += over_radii(name, rungs, series, title, "Accuracy along the ladder.")
    return figures


@debug_mode(False)
def over_radii(
    name: str,
    rungs: Sequence[Judged],
    series: Sequence[Series],
    title: str,
    words: str,
    *,
    mean: bool = False,
) -> list[Figure]:
    """The chart of some series along the rungs of a ladder; none when nothing was measured.

    Arguments:
        name: of the ladder.
        rungs: of the ladder, lowest first.
        series: the lines.
        title: heading of the chart.
        words: what it shows, before the numbers are listed.
        mean: whether the shares are means over images of what is a share already; the axis then goes from 0 to 1, so
            that several charts compare.
    """
    rows: list[dict[str, Any]] = [
        {
            "series": line.name,
            "classifier": judged.name,
            "radius": judged.radius,
            "trained": judged.trained,
            "against": line.against[position] if line.against else "",
        }
        | interval("share", share)
        for position, judged in enumerate(rungs)
        for line in series
        if (share := line.shares[position])
    ]
    if not rows:
        return []
    radii = sorted({row["radius"] for row in rows})
    # Ticks stand at the rungs and read as people write radii (8/255), which no number format does.
    written = ", ".join(f"'{r:.6f}': '{format_radius(r)}'" for r in radii)
    ends = [row[key] for row in rows for key in ("share_low", "share_high")]
    y = [0.0, 1.0] if mean else domain(ends)
    title_of_y = "Share, mean over images" if mean else "Share of images"
    measured = {row["series"] for row in rows}
    present = [(k, line) for k, line in enumerate(series) if line.name in measured]
    names = [line.name for _, line in present]
    colours = alt.Scale(domain=names, range=[f"var(--s{line.colour})" for _, line in present])
    shapes = alt.Scale(domain=names, range=[SHAPES[k % len(SHAPES)] for k, _ in present])
    base = chart("rows").encode(
        x=alt.X(
            "radius:Q",
            title=f"Radius of training ({name})",
            axis=alt.Axis(
                values=radii,
                labelExpr=f"({{{written}}})[format(datum.value, '.6f')]",
                grid=False,
            ),
            scale=alt.Scale(domain=[radii[0], radii[-1]], nice=False),
        ),
        y=alt.Y("share:Q", title=title_of_y, scale=scale(y), axis=percents()),
        color=alt.Color("series:N", scale=colours, legend=None),
    )
    tips = [
        alt.Tooltip("series:N", title="What"),
        alt.Tooltip("classifier:N", title="Classifier"),
        alt.Tooltip("share_text:N", title="Value"),
    ]
    shape = alt.Shape("series:N", scale=shapes, legend=None)
    layers = [
        base.mark_area(opacity=0.13).encode(y=alt.Y("share_low:Q"), y2=alt.Y2("share_high:Q")),
        base.mark_line(strokeWidth=2.5),
        base.transform_filter(SOLID)
        .mark_point(filled=True, size=80, opacity=1)
        .encode(shape=shape, tooltip=tips),
        base.transform_filter(WARNED)
        .mark_point(filled=False, size=70, fill=PAPER, strokeWidth=2.25, opacity=1)
        .encode(shape=shape, tooltip=[*tips, alt.Tooltip("against:N", title="Warning")]),
    ]
    key = tuple(
        (f"var(--s{line.colour})", MARKS[k % len(MARKS)], line.name) for k, line in present
    )
    listed = "; ".join(
        f"{r['series']} at radius {r['trained']}: {r['share_text']}"
        + (f", though {r['against']}" if r["against"] else "")
        for r in rows
    )
    spec = finish(layers, {"rows": rows}, height=340)
    hollow = any(row["against"] for row in rows)
    return [Figure(title, f"{words} {listed}.", spec, key, hollow=hollow)]
