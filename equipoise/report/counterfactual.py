"""The charts of what a classifier answers on counterfactuals, and on the way to them.

Notation as in the probe: x0 is an image of class y, x_c its counterfactual of class c, proximity the mean L2 distance
to its counterfactuals. Proximity is a fact about the image and its set, the same for every classifier.
"""

from typing import Any

import altair as alt
import numpy as np
from altair.utils.schemapi import debug_mode

from equipoise.audit import Estimate, Statistic
from equipoise.audit.statistics import estimate
from equipoise.probes import Metric
from equipoise.report.figure import (
    DASHES,
    STROKES,
    Figure,
    across,
    chart,
    colour,
    faded,
    finish,
    percents,
    share_axis,
)
from equipoise.report.ladder import Series, over_radii
from equipoise.report.reading import Drawn, Judged, Reading, paired
from equipoise.report.words import number, percent

__all__ = ["by_proximity", "clean_accuracy", "on_the_ladder", "on_the_way"]

BINS, FEWEST = 10, 20
"""Of proximity, and the images that each has at least."""


def clean_accuracy(reading: Reading, drawn: Drawn, classifier: str) -> Estimate | None:
    """Standard accuracy on the images that have counterfactuals; None where it was not measured."""
    right, asked = paired(
        reading.right(classifier), reading.answers(drawn, classifier, "accuracy")
    )
    seed = reading.record["seed"]
    return estimate(Metric("clean accuracy", right, "share"), seed=seed) if len(asked) else None


def on_the_ladder(reading: Reading, drawn: Drawn) -> list[Figure]:
    """What becomes of the answers with the radius of training: on counterfactuals, and on their controls."""
    figures = []
    for ladder, rungs in reading.ladders.items():

        def found(name: str, rungs: tuple[Judged, ...] = rungs) -> list[Statistic | None]:
            return [reading.statistic(judged.name, drawn.spec, name) for judged in rungs]

        answers = [
            Series(
                "read as their class, accepted", 2, found("accuracy on accepted counterfactuals")
            ),
            Series("read as their class, all", 8, found("accuracy on counterfactuals")),
            Series("read as the original’s class", 1, found("source label kept")),
        ]
        clean = [clean_accuracy(reading, drawn, judged.name) for judged in rungs]
        controls = [
            Series("originals", 0, clean),
            Series("own-class counterfactuals", 3, found("same-class accuracy")),
            Series("noise of the same length", 4, found("noise accuracy")),
        ]
        where = f", trained against {ladder}" if len(reading.ladders) > 1 else ""
        for title, series, words in (
            (f"Counterfactuals{where}", answers, "Answers on counterfactuals along the ladder."),
            (
                f"Controls, share correct{where}",
                controls,
                "Accuracy on controls along the ladder.",
            ),
        ):
            figures += over_radii(ladder, rungs, series, title, words, mean=True)
    return figures


@debug_mode(False)
def by_proximity(reading: Reading, drawn: Drawn) -> list[Figure]:
    """Confidence in the true class against proximity, averaged over images of about the same proximity."""
    rows = []
    for judged in reading.classifiers:
        columns = reading.columns(drawn.spec, judged.name)
        if not columns:
            continue
        order = np.argsort(columns["proximity"], kind="stable")
        order = order[: int((~np.isnan(columns["proximity"])).sum())]
        bins = min(BINS, len(order) // FEWEST)
        for part in np.array_split(order, bins) if bins > 1 else ():
            metric = Metric("confidence", columns["confidence"][part], "mean")
            found = estimate(metric, seed=reading.record["seed"])
            rows.append(
                {
                    "classifier": judged.name,
                    "distance": round(float(columns["proximity"][part].mean()), 4),
                    "share": round(found.value, 4),
                    "low": round(found.low, 4),
                    "high": round(found.high, 4),
                    "images": found.n,
                }
            )
    if not rows:
        return []
    base = _by_classifier(reading, "distance", "Mean L2 distance to counterfactuals")
    share = share_axis("Confidence in the true class")
    tips = [
        alt.Tooltip("classifier:N", title="Classifier"),
        alt.Tooltip("distance:Q", title="Distance", format=".3~f"),
        alt.Tooltip("share:Q", title="Confidence", format=".1%"),
        alt.Tooltip("low:Q", title="Interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("images:Q", title="Images"),
    ]
    layers = [
        base.mark_area().encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), opacity=faded(0.12, 0.02)),
        base.mark_line(strokeWidth=2.25).encode(y=share, opacity=faded(1)),
        base.mark_point(filled=True, size=50).encode(y=share, opacity=faded(1), tooltip=tips),
    ]
    listed = []
    for judged in reading.classifiers:
        mine = [row for row in rows if row["classifier"] == judged.name]
        if mine:
            ends = [f"{percent(r['share'])} at distance {number(r['distance'])}" for r in mine]
            listed.append(f"{judged.name}: {ends[0]}, {ends[-1]}")
    words = f"Confidence in the true class against proximity. {'; '.join(listed)}."
    return [
        Figure("Confidence in the true class", words, finish(layers, {"rows": rows}, height=320))
    ]


@debug_mode(False)
def on_the_way(reading: Reading, drawn: Drawn) -> list[Figure]:
    """Mean confidence in the true and in the counterfactual's class on the straight way from x0 to x_c."""
    names = {"source_path": "in the true class", "target_path": "in the counterfactual’s"}
    rows: list[dict[str, Any]] = []
    listed = []
    for judged in reading.classifiers:
        columns = reading.columns(drawn.spec, judged.name)
        ends = []
        for column, name in names.items():
            paths = [path for path in columns.get(column, ()) if path is not None]
            if not paths:
                continue
            mean = np.mean(np.array(paths, dtype=float), axis=0)
            rows += [
                {
                    "classifier": judged.name,
                    "class": name,
                    "way": round(k / (len(mean) - 1), 4),
                    "share": round(float(value), 4),
                }
                for k, value in enumerate(mean)
            ]
            ends.append(f"{name} from {percent(mean[0])} to {percent(mean[-1])}")
        if ends:
            listed.append(f"{judged.name}: {', '.join(ends)}")
    if not rows:
        return []
    base = _by_classifier(reading, "way", "Way from the image to its counterfactual", percents())
    share = share_axis("Mean confidence")
    dash = alt.Scale(domain=list(names.values()), range=[DASHES[0], DASHES[1]])
    tips = [
        alt.Tooltip("classifier:N", title="Classifier"),
        alt.Tooltip("class:N", title="Confidence"),
        alt.Tooltip("way:Q", title="Way", format=".0%"),
        alt.Tooltip("share:Q", title="Mean", format=".1%"),
    ]
    line = base.mark_line(strokeWidth=2.25).encode(
        y=share,
        strokeDash=alt.StrokeDash("class:N", scale=dash, legend=None),
        opacity=faded(1),
    )
    dots = base.mark_point(filled=True, size=60, opacity=0).encode(
        y=share, detail=alt.Detail("class:N"), tooltip=tips
    )
    words = f"Mean confidence on the way to a counterfactual. {'; '.join(listed)}."
    key = tuple(
        ("var(--ink)", mark, name) for mark, name in zip(STROKES, names.values(), strict=False)
    )
    spec = finish([line, dots], {"rows": rows}, height=320)
    return [Figure("Confidence on the way there", words, spec, key)]


def _by_classifier(
    reading: Reading, field: str, title: str, axis: alt.Axis | None = None
) -> alt.Chart:
    names = [judged.name for judged in reading.classifiers]
    return chart("rows").encode(x=across(field, title, axis), color=colour(names))
