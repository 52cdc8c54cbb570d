"""The charts of what a classifier answers on counterfactuals, and on the way to them.

Notation as in the probe: x0 is an image of class y, x_c its counterfactual of class c, proximity the mean L2 distance
to its counterfactuals. Proximity is a fact about the image and its set, the same for every classifier.
"""

from typing import Any

import numpy as np

from equipoise.audit import Estimate, Statistic
from equipoise.audit.statistics import estimate
from equipoise.probes import Metric
from equipoise.report.by_image import paired
from equipoise.report.figure import Figure, across, percents
from equipoise.report.ladder import Series, over_radii
from equipoise.report.lines import by_classifier
from equipoise.report.reading import Drawn, Judged, Reading
from equipoise.report.words import count, number, percent, span
from equipoise.store import lists

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
            distance = float(columns["proximity"][part].mean())
            rows.append(
                {
                    "classifier": judged.name,
                    "distance": round(distance, 4),
                    "at": f"distance {number(distance)}, {count(found.n)} images",
                    "share": round(found.value, 4),
                    "low": round(found.low, 4),
                    "high": round(found.high, 4),
                    "text": f"{percent(found.value)} ({span(found.low, found.high)})",
                }
            )
    if not rows:
        return []
    listed = []
    for judged in reading.classifiers:
        mine = [row for row in rows if row["classifier"] == judged.name]
        if mine:
            ends = [f"{percent(r['share'])} at distance {number(r['distance'])}" for r in mine]
            listed.append(f"{judged.name}: {ends[0]}, {ends[-1]}")
    return [
        by_classifier(
            rows,
            "Confidence in the true class",
            f"Confidence in the true class against proximity. {'; '.join(listed)}.",
            names=[judged.name for judged in reading.classifiers],
            ordered=reading.ordered,
            x=across("distance", "Mean L2 distance to counterfactuals"),
            y="Confidence in the true class",
        )
    ]


def on_the_way(reading: Reading, drawn: Drawn) -> list[Figure]:
    """Mean confidence in the true and in the counterfactual's class on the straight way from x0 to x_c."""
    names = {"source_path": "in the true class", "target_path": "in the counterfactual’s"}
    rows: list[dict[str, Any]] = []
    listed = []
    for judged in reading.classifiers:
        columns = reading.columns(drawn.spec, judged.name)
        ends = []
        for column, name in names.items():
            paths = lists(columns[column])[1] if columns else ()
            if not len(paths):
                continue
            mean = np.mean(paths, axis=0)
            rows += [
                {
                    "classifier": judged.name,
                    "kind": name,
                    "way": round(k / (len(mean) - 1), 4),
                    "at": f"{k / (len(mean) - 1):.0%} of the way",
                    "share": round(float(value), 4),
                    "text": percent(float(value)),
                }
                for k, value in enumerate(mean)
            ]
            ends.append(f"{name} from {percent(mean[0])} to {percent(mean[-1])}")
        if ends:
            listed.append(f"{judged.name}: {', '.join(ends)}")
    if not rows:
        return []
    return [
        by_classifier(
            rows,
            "Confidence on the way there",
            f"Mean confidence on the way to a counterfactual. {'; '.join(listed)}.",
            names=[judged.name for judged in reading.classifiers],
            x=across("way", "Way from the image to its counterfactual", percents()),
            y="Mean confidence",
            kinds=list(names.values()),
        )
    ]
