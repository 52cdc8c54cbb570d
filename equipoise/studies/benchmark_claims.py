"""Claim (iv) of arXiv 2209.07592 on a benchmark: adversarially trained classifiers rely on backgrounds more than
standard ones.

Each adversarially trained classifier is compared with the standard one of the same network, on the same images:

    B1  the background gap is larger
    B2  the relative sensitivity to the object is lower
    B3  less of the input gradient, and of Grad-CAM, is on the object (ours)
    B4  accuracy on the worst group is lower, and majorities lead minorities by more
    B5  more accuracy is lost from the source to the target, by each rule of scoring

and where a ladder has four rungs or more, the same is asked of all of them at once: does the measure go with the radius
of training (ours)? The paper says which benchmarks it used; which of their measures decide here is our choice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equipoise.audit import Claim, Estimate, Run, judge
from equipoise.audit.changes import change, trend
from equipoise.probes import Quoted, load_probe
from equipoise.probes.saliency import NAMES
from equipoise.report.reading import Judged, Reading
from equipoise.report.words import percent
from equipoise.studies.words import said

__all__ = ["weigh_benchmark", "without_standard"]

RUNGS = 4
"""Of a ladder, below which nothing is said of it as a whole."""

CONTROLS = ("random-noise",)
"""Objectives with a radius that are no adversarial training."""

OF_MAPS = {name: column for column, name in NAMES.items()}
"""Metrics that a classifier may lack on some images, and their columns."""

ACCURACIES = (
    "standard accuracy",
    "accuracy on original",
    "average accuracy, groups as common as in training",
)
"""What says how accurate a classifier is; the first that was measured is taken."""


@dataclass(frozen=True)
class _Question:
    """What is claimed of one metric.

    Attributes:
        metric: its name.
        sign: 1 where adversarial training is claimed to raise it, -1 where to lower it.
        text: the statement.
        called: the metric in the sentences of a claim.
    """

    id: str
    metric: str
    sign: int
    text: str
    called: str
    source: str = "measure"

    @property
    def statistic(self) -> str:
        if self.sign > 0:
            return f"{self.called} less that of standard training"
        return f"{self.called} of standard training less this one's"

    @property
    def along(self) -> str:
        """The statement about a ladder."""
        goes = "higher" if self.sign > 0 else "lower"
        return f"The larger the radius of training, the {goes} the {self.called}."


def _questions() -> Iterator[_Question]:
    who = "Adversarially trained classifiers"
    yield _Question(
        "B1",
        "background gap",
        1,
        f"{who} lean on backgrounds more than standard ones.",
        "background gap",
    )
    for noise in ("Gaussian noise", "L2 noise"):
        yield _Question(
            "B2",
            f"relative sensitivity to the object, {noise}",
            -1,
            f"{who} are less sensitive to {noise} on the object, relative to noise on the background.",
            f"relative sensitivity to {noise} on the object",
        )
    for map_ in ("the input gradient", "Grad-CAM"):
        yield _Question(
            "B3",
            f"share of {map_} on the object",
            -1,
            f"Of adversarially trained classifiers, less of {map_} is on the object.",
            f"share of {map_} on the object",
            "ours",
        )
    yield _Question(
        "B4",
        "worst-group accuracy",
        -1,
        f"{who} are less accurate on their worst group.",
        "accuracy on the worst group",
    )
    yield _Question(
        "B4",
        "majority less minority groups",
        1,
        "Of adversarially trained classifiers, majorities lead minorities by more.",
        "lead of majorities over minorities",
    )
    for rule in ("", " (strict)", " (among)", " (pooled)"):
        yield _Question(
            "B5",
            f"drop{rule}",
            1,
            f"{who} lose more accuracy from the source to the target{rule}.",
            f"drop{rule}",
        )


def weigh_benchmark(run: Run) -> list[Claim]:
    """All claims that the run's probes and classifiers allow, in the order of the list above."""
    reading = Reading(run)
    standard = _standards(reading)
    pairs = [(standard[j.network], j) for j in _adversarial(reading) if j.network in standard]
    ladders = {
        name: rungs
        for name, rungs in reading.ladders.items()
        if len({j.radius for j in rungs}) >= RUNGS and rungs[-1].objective not in CONTROLS
    }
    measured = {(s.name, s.probe) for s in run.summary() if s.n}
    claims = []
    for question in _questions():
        for spec in (probe for probe in run.probes if (question.metric, probe) in measured):
            claims += [_compared(reading, question, spec, *pair) for pair in pairs]
            claims += [_ordered(reading, question, spec, *item) for item in ladders.items()]
    return [claim for claim in claims if claim]


def without_standard(run: Run) -> list[str]:
    """The networks that have adversarially trained classifiers in the run and no standard one to compare them with;
    the empty name where all classifiers are of one network."""
    reading = Reading(run)
    known = _standards(reading)
    lacking = {j.network or "" for j in _adversarial(reading) if j.network not in known}
    return sorted(lacking)


def _adversarial(reading: Reading) -> list[Judged]:
    return [j for j in reading.classifiers if j.radius and j.objective not in CONTROLS]


def _standards(reading: Reading) -> dict[str | None, Judged]:
    """The first standard classifier of each network."""
    return {j.network: j for j in reversed(reading.classifiers) if j.radius == 0}


def _compared(
    reading: Reading, question: _Question, spec: str, standard: Judged, judged: Judged
) -> Claim | None:
    found = _metrics(reading, question, spec, [standard, judged])
    if found is None:
        return None
    before, after = found if question.sign > 0 else reversed(found)
    both = [_measured(reading, question, spec, j) for j in (judged, standard)]
    return judge(
        question.id,
        question.text,
        question.statistic,
        change(before, after, seed=reading.record["seed"]),
        classifier=judged.name,
        control=f"{_capital(question.called)}: {both[0]}, {standard.name} {both[1]}. "
        f"{_accuracies(reading, question, judged, standard)}".rstrip(),
        source=question.source,
    )


def _ordered(
    reading: Reading, question: _Question, spec: str, ladder: str, rungs: Sequence[Judged]
) -> Claim | None:
    found = _metrics(reading, question, spec, rungs)
    if found is None:
        return None
    one = trend([j.radius or 0.0 for j in rungs], found, seed=reading.record["seed"])
    if question.sign < 0:
        one = Estimate(0 - one.value, 0 - one.high, 0 - one.low, one.n, one.method)
    listed = "; ".join(f"{j.trained}: {_measured(reading, question, spec, j)}" for j in rungs)
    return judge(
        question.id,
        question.along,
        f"{'minus the ' * (question.sign < 0)}rank correlation of radius and {question.called}",
        one,
        classifier=ladder,
        control=f"By radius: {listed}. One training at each: the interval is over images alone.",
        source="ours",
    )


def _metrics(
    reading: Reading, question: _Question, spec: str, judged: Sequence[Judged]
) -> list[Quoted] | None:
    """The metric of each, of the images that all have it for; None where one has it for none."""
    facts: dict[str, Any] = reading.record["probe_facts"].get(spec, {})
    probe = load_probe(spec).recalled(facts)
    columns = [reading.columns(spec, j.name) for j in judged]
    if question.metric in OF_MAPS:
        key = OF_MAPS[question.metric]
        known = ~np.any([np.isnan(np.asarray(one[key], dtype=float)) for one in columns], axis=0)
        columns = [{name: values[known] for name, values in one.items()} for one in columns]
    found = [
        metric
        for one in columns
        for metric in probe.metrics(one)
        if metric.name == question.metric
    ]
    return found if len(found) == len(judged) else None


def _measured(reading: Reading, question: _Question, spec: str, judged: Judged) -> str:
    found = reading.statistic(judged.name, spec, question.metric)
    if found is None:
        return "not measured"
    return said(Estimate(found.value, found.low, found.high, found.n, found.method))


def _accuracies(reading: Reading, question: _Question, judged: Judged, standard: Judged) -> str:
    """How accurate both are, which what is claimed of them depends on."""
    known = {(s.classifier, s.name): s.value for s in reading.run.summary() if s.n}
    names = ACCURACIES
    if question.metric.startswith("drop"):
        names = (question.metric.replace("drop", "accuracy on the source"),)
    for name in names:
        both = [known.get((j.name, name)) for j in (judged, standard)]
        if None not in both:
            shown = " and ".join(percent(value) for value in both if value is not None)
            return f"{_capital(name)}: {shown}."
    return ""


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
