"""What a counterfactual set is and how good, in sentences and tables; and what each classifier answers about it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from equipoise.audit import Estimate
from equipoise.audit.statistics import estimate
from equipoise.probes import Metric
from equipoise.report.counterfactual import clean_accuracy
from equipoise.report.reading import Drawn, Reading
from equipoise.report.strips import Grid, lay
from equipoise.report.table import Cell, Table, among, cell
from equipoise.report.words import count, number, percent, span

__all__ = ["AGREEMENT", "SPREAD", "Shown", "answers", "show"]

AGREEMENT = "read as its label by the oracles"
NEAREST = "median distance to the nearest reference image"
SPREAD = "spread between seeds"
SHARES = (
    AGREEMENT,
    "read as its label by the denoiser",
    "share of changed pixels",
    "high-frequency share",
)
"""What of the quality reads in per cent."""

SPLITS = ("test", "same", "originals")


@dataclass(frozen=True)
class Shown:
    """One set as the page shows it.

    Attributes:
        title: its settings.
        paragraphs: what it is.
        grid: some originals with their counterfactuals.
        table: what each classifier answers.
        quality: rows of name and cells for other classes, own class and originals, each with its number of images.
        rounding: mean distance that storing 8 bits adds, where it was measured.
    """

    title: str
    paragraphs: list[str]
    grid: Grid | None
    table: Table
    quality: list[tuple[str, list[tuple[Cell, str] | None]]]
    rounding: str


def show(reading: Reading, drawn: Drawn) -> Shown:
    """Everything about one set that is neither chart nor finding."""
    rounding = drawn.quality("rounding", "all")
    return Shown(
        drawn.title,
        [text for text in (_what(drawn), _how_good(reading, drawn)) if text],
        lay(reading, drawn),
        answers(reading, drawn),
        _quality(drawn),
        number(rounding["value"]) if rounding else "",
    )


def _what(drawn: Drawn) -> str:
    """What was drawn, and how."""
    made, counts = drawn.settings, drawn.facts["counts"]
    kind, _, width = made["neighbourhood"].partition(":")
    others = "class" if made["targets"] == 1 else "classes"
    best = f", the best of {made['best_of']} draws by {made['by']}" if made["best_of"] > 1 else ""
    guided = "without guidance"
    if made["guidance"] != 1:
        guided = f"with guidance {made['guidance']:g}"
        low, high = (float(end) for end in made["interval"])
        if low > 0:
            guided += f" at noise levels above {low:.3g}"
        if math.isfinite(high):
            guided += f"{' and' if low > 0 else ' at noise levels'} up to {high:.3g}"
    churn = f" with churn {made['churn']:g}" if made["churn"] else ""
    return (
        f"{count(counts['test'])} counterfactuals of {count(drawn.facts['data']['images'])} images, "
        f"{made['per_class']} for each of {made['targets']} other {others}{best}. They were drawn from a "
        f"{kind.capitalize()} neighbourhood of each image, whose standard deviation is {float(width):.3g} in network "
        f"units on [−1, 1], hence {float(width) / 2:.3g} between images in [0, 1]; by the method “{drawn.method}”"
        f"{churn}, {guided}, in {count(drawn.facts['evaluations'])} denoiser evaluations each."
    )


def _how_good(reading: Reading, drawn: Drawn) -> str:
    """What the oracles see, and how far the counterfactuals lie."""
    sentences = []
    oracles = len(drawn.facts["oracles"])
    if found := drawn.quality(AGREEMENT):
        eyes = "An oracle reads" if oracles == 1 else f"Together, {oracles} oracles read"
        sentences.append(
            f"{eyes} {percent(found['value'])} of them as their class (95% interval "
            f"{span(found['low'], found['high'])})."
        )
    elif oracles == 0:
        sentences.append("No oracle has looked at them.")
    everywhere = (reading.answers(drawn, j.name, "proximity") for j in reading.classifiers)
    far = next((found.answers for found in everywhere if found), None)
    if far is not None:
        nearest = drawn.quality(NEAREST, "originals")
        beside = (
            f", while the nearest real image is at a median {number(nearest['value'])}"
            if nearest
            else ""
        )
        sentences.append(
            f"An image’s counterfactuals are at a median L2 distance of {number(float(np.median(far)))} from "
            f"it{beside}."
        )
    return " ".join(sentences)


_SHARES = {
    "Accuracy on counterfactuals": "accuracy on counterfactuals",
    "Accuracy on accepted ones": "accuracy on accepted counterfactuals",
    "Read as the original’s class": "source label kept",
    "Accuracy on own-class ones": "same-class accuracy",
    "Accuracy on noise": "noise accuracy",
}
"""Heads of columns, and the metrics in them."""

_NUMBERS = {
    "Response to counter\u00adfactuals": "response",
    "Response to noise": "noise_response",
    "Gradient alignment": "alignment",
}
"""Heads of columns, and the per-image numbers whose means are in them."""


def answers(reading: Reading, drawn: Drawn) -> Table:
    """What each classifier answers about a set, with intervals."""
    rows, measured = [], []
    for judged in reading.classifiers:
        shares = [
            clean_accuracy(reading, drawn, judged.name),
            *(reading.statistic(judged.name, drawn.spec, name) for name in _SHARES.values()),
        ]
        numbers = [_mean(reading, drawn, judged.name, column) for column in _NUMBERS.values()]
        cells = [s and cell(s) for s in shares]
        cells += [m and cell(m, share=False, decimals=2) for m in numbers]
        known = [s for s in shares if s]
        rows.append((judged.name, among([s.n for s in known]), cells))
        measured += known
    heads = ["Accuracy on originals", *_SHARES, *_NUMBERS]
    methods = {s.method for s in measured} - {"none"}
    return Table(heads, rows, among([s.n for s in measured]), sorted(methods, reverse=True))


def _mean(reading: Reading, drawn: Drawn, classifier: str, column: str) -> Estimate | None:
    values = reading.answers(drawn, classifier, column).answers
    seed = reading.record["seed"]
    return estimate(Metric(column, values, "mean"), seed=seed) if len(values) else None


def _quality(drawn: Drawn) -> list[tuple[str, list[tuple[Cell, str] | None]]]:
    """The findings by name, those of the whole set left out."""
    names = dict.fromkeys(f["name"] for f in drawn.facts["quality"] or () if f["split"] in SPLITS)
    rows = []
    for name in names:
        cells = []
        for split in SPLITS:
            found = drawn.quality(name, split)
            cells.append(found and (_found(name, found), count(found["n"])))
        rows.append((name[0].upper() + name[1:], cells))
    return rows


def _found(name: str, found: dict[str, Any]) -> Cell:
    value, low, high = (
        math.nan if found[key] is None else found[key] for key in ("value", "low", "high")
    )
    return cell(Estimate(value, low, high, found["n"], "bootstrap"), share=name in SHARES)
