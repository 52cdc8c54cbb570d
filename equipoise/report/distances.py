"""How far counterfactuals lie: distributions of distances over images, the same for every classifier."""

from typing import Any

import altair as alt
import numpy as np
from altair.utils.schemapi import debug_mode
from numpy.typing import NDArray

from equipoise.audit import robustness_curve
from equipoise.report.figure import DASHES, STROKES, Figure, across, chart, finish, share_axis
from equipoise.report.numbers import cross
from equipoise.report.reading import Reading
from equipoise.report.words import number, percent, span

__all__ = ["distances"]

POINTS = 101

DISTANCES = {
    "proximity": "Other classes, on average",
    "proximity_min": "Nearest other class",
    "same_distance": "Own class, the control",
}
"""What is measured of each image, by column."""

LINES = (8, 1, 2, 3)
"""Colours of the sets, or of the distances of one set."""


def distances(reading: Reading) -> list[Figure]:
    """Distributions of the distances from an image to its counterfactuals: of one set, or of several compared."""
    found: dict[str, dict[str, NDArray]] = {}
    for drawn in reading.counterfactuals:
        columns = next(
            (c for j in reading.classifiers if (c := reading.columns(drawn.spec, j.name))), {}
        )
        for column in DISTANCES if columns else ():
            values = columns[column].astype(float)
            if len(values := values[~np.isnan(values)]):
                found.setdefault(column, {})[drawn.title] = values
    if not found:
        return []
    everything = np.concatenate([values for of in found.values() for values in of.values()])
    at = np.linspace(0.8 * everything.min(), 1.02 * everything.max(), POINTS)
    if len(reading.counterfactuals) == 1:
        lines = {DISTANCES[column]: next(iter(of.values())) for column, of in found.items()}
        return [_distribution("Distances", lines, at)]
    return [_distribution(DISTANCES[column], of, at) for column, of in found.items()]


@debug_mode(False)
def _distribution(title: str, lines: dict[str, NDArray], at: NDArray) -> Figure:
    """The share of images with a distance of at most each of `at`, with a band that holds at all of them at once."""
    rows: list[dict[str, Any]] = []
    for name, values in lines.items():
        above = robustness_curve(values, at)
        rows += [
            {"line": name, "distance": round(float(x), 4)}
            | {"share": round(float(v), 4), "low": round(float(b), 4), "high": round(float(t), 4)}
            for x, v, b, t in zip(at, 1 - above.value, 1 - above.high, 1 - above.low, strict=True)
        ]
    names = list(lines)
    places = [k % len(LINES) for k in range(len(names))]
    colours = alt.Scale(domain=names, range=[f"var(--s{LINES[k]})" for k in places])
    dashes = alt.Scale(domain=names, range=[DASHES[k] for k in places])
    share = share_axis("Share of images within")
    base = chart("rows").encode(
        x=across("distance", "L2 distance"),
        color=alt.Color("line:N", scale=colours, legend=None),
    )
    tips = [
        alt.Tooltip("line:N", title="Of"),
        alt.Tooltip("distance:Q", title="Distance", format=".3~f"),
        alt.Tooltip("share:Q", title="Images within", format=".1%"),
    ]
    layers = [
        base.mark_area(opacity=0.1).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        base.mark_line(strokeWidth=2.25).encode(
            y=share, strokeDash=alt.StrokeDash("line:N", scale=dashes, legend=None)
        ),
        base.mark_point(filled=True, size=60, opacity=0).encode(y=share, tooltip=tips),
    ]
    key = tuple(
        (f"var(--s{LINES[k]})", STROKES[k], name) for k, name in zip(places, names, strict=True)
    )
    medians = (f"{name}: median {number(float(np.median(v)))}" for name, v in lines.items())
    words = f"{title}: distribution of L2 distances over images. {'; '.join(medians)}."
    said = [
        {
            "line": row["line"],
            "at": f"{row['distance']:.3g}",
            "text": f"{percent(row['share'])} ({span(row['low'], row['high'])})",
        }
        for row in rows
    ]
    table = cross(said, ["line"], first="L2 distance")
    spec = finish(layers, {"rows": rows}, height=280)
    return Figure(title, words, spec, key, numbers=table)
