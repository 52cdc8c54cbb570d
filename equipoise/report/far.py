"""Adversarial examples far beyond the radius of training: what they look like, and what independent judges read.

Probes of one threat and one number of steps end in the same examples, whichever judge each of them asks: together they
are one entry of the section.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equipoise.audit.statistics import estimate
from equipoise.probes import LargeEps, Metric, load_probe
from equipoise.probes.large_eps import FRAMES
from equipoise.report.figure import Figure, across, percents
from equipoise.report.lines import by_classifier
from equipoise.report.reading import Reading
from equipoise.report.rows import Picked, pick
from equipoise.report.table import Cell, Table, among, cell
from equipoise.report.words import percent
from equipoise.store import lists

__all__ = ["Far", "Seen", "lay_far"]

ON_THE_WAY = 3
"""Images whose way to the adversarial example is shown frame by frame."""


@dataclass(frozen=True)
class Judge:
    """A judge by name, and the spec of the probe that asks it."""

    name: str
    spec: str


@dataclass(frozen=True)
class Seen:
    """One picture: what the classifier reads, what the first judge reads, and whether they agree; None without one."""

    strip: str
    own: str
    judge: str
    agrees: bool | None


@dataclass(frozen=True)
class Far:
    """The examples at one threat.

    Attributes:
        title: the threat.
        judge: name of the first judge, whose answers stand below the pictures; empty without one.
        grid: the pictures, each a strip of frames on the way there.
        seen: what is read in each of them.
        frames: in a strip.
        table: shares of images.
        figures: confidence on the way, of the classifier itself and of each judge.
        right: how many images each judge reads rightly as they are.
        on_the_way: rows whose strips are shown whole.
    """

    title: str
    judge: str
    grid: Picked
    seen: list[list[Seen]]
    frames: int
    table: Table
    figures: list[Figure]
    right: list[tuple[str, Cell]]
    on_the_way: int = ON_THE_WAY


def lay_far(reading: Reading) -> list[Far]:
    """The section, an entry for each threat that something was measured at."""
    groups: dict[tuple[str, int], list[Judge]] = {}
    for spec in reading.specs(LargeEps):
        probe = load_probe(spec)
        if isinstance(probe, LargeEps) and reading.run.shards(spec):
            name = reading.record["probe_facts"][spec].get("judge", {}).get("name", "")
            groups.setdefault((str(probe.threat), probe.steps), []).append(Judge(name, spec))
    found = []
    for (title, _), asked in groups.items():
        judges = [judge for judge in asked if judge.name]
        first = (judges or asked)[0]
        grid = pick(reading, first.spec)
        found.append(
            Far(
                title,
                first.name,
                grid,
                _seen(reading, first.spec, grid),
                FRAMES,
                _table(reading, first, judges),
                _paths(reading, first, judges),
                [(judge.name, _right(reading, judge)) for judge in judges],
            )
        )
    return found


def _seen(reading: Reading, spec: str, grid: Picked) -> list[list[Seen]]:
    answers: dict[tuple[str, str], tuple[float, float | None]] = {}
    for name in grid.heads:
        columns = reading.columns(spec, name)
        listed = (columns[field].tolist() for field in ("id", "prediction", "judged"))
        answers |= {(key, name): (own, judged) for key, own, judged in zip(*listed, strict=True)}
    return [
        [
            _one(reading, name, strip, *answers[row.id, name])
            for name, strip in zip(grid.heads, row.pictures, strict=True)
        ]
        for row in grid.rows
    ]


def _one(reading: Reading, classifier: str, strip: str, own: float, judged: float | None) -> Seen:
    said = reading.class_name(int(own), classifier)
    if judged is None or np.isnan(judged):
        return Seen(strip, said, "", None)
    return Seen(strip, said, reading.class_name(int(judged), classifier), own == judged)


def _table(reading: Reading, first: Judge, judges: Sequence[Judge]) -> Table:
    heads = ["Answer changed", "Distance"]
    for judge in judges:
        heads += [f"Read so by {judge.name}", f"Noise read so by {judge.name}"]
    seed, rows, counts = reading.record["seed"], [], []
    for one in reading.classifiers:
        columns = reading.columns(first.spec, one.name)
        if not columns:
            continue
        distance = Metric("distance", columns["distance"].astype(float), "mean", unit="distance")
        cells: list[Cell | None] = [
            _share(reading, columns["moved"].astype(bool)),
            cell(estimate(distance, seed=seed), share=False, decimals=2),
        ]
        for judge in judges:
            columns = reading.columns(judge.spec, one.name)
            for name in ("agrees", "noise_agrees"):
                moved = columns["moved"].astype(bool) if columns else None
                cells.append(
                    None if moved is None else _share(reading, columns[name][moved].astype(bool))
                )
        rows.append((one.name, among([len(columns["moved"])] if columns else []), cells))
        counts.append(len(columns["moved"]) if columns else 0)
    return Table(heads, rows, among(counts), [])


def _right(reading: Reading, judge: Judge) -> Cell:
    """How many of the images as they are a judge reads rightly."""
    columns = next(c for j in reading.classifiers if (c := reading.columns(judge.spec, j.name)))
    return _share(reading, columns["judge_before"].astype(bool))


def _share(reading: Reading, values: np.ndarray) -> Cell:
    return cell(estimate(Metric("share", values, "share"), seed=reading.record["seed"]))


def _paths(reading: Reading, first: Judge, judges: Sequence[Judge]) -> list[Figure]:
    """Mean confidence in the class that the example ends in on the straight way there, of whoever is asked."""
    asked = [("The classifier itself", first.spec, "own_path")]
    asked += [(judge.name, judge.spec, "judge_path") for judge in judges]
    figures = []
    for title, spec, column in asked:
        rows: list[dict[str, Any]] = []
        listed = []
        for one in reading.classifiers:
            columns = reading.columns(spec, one.name)
            if not columns or not columns["moved"].any():
                continue
            mean = lists(columns[column][columns["moved"].astype(bool)])[1].mean(0)
            rows += [
                {
                    "classifier": one.name,
                    "way": round(k / (len(mean) - 1), 4),
                    "at": f"{k / (len(mean) - 1):.0%} of the way",
                    "share": round(float(value), 4),
                    "text": percent(float(value)),
                }
                for k, value in enumerate(mean)
            ]
            half = percent(mean[len(mean) // 2])
            listed.append(
                f"{one.name}: from {percent(mean[0])} by {half} half way to {percent(mean[-1])}"
            )
        if rows:
            figures.append(
                by_classifier(
                    rows,
                    title,
                    f"{title}: mean confidence in the class that the example ends in. {'; '.join(listed)}.",
                    names=[j.name for j in reading.classifiers],
                    ordered=reading.ordered,
                    x=across("way", "Way to the adversarial example", percents()),
                    y="Mean confidence",
                )
            )
    return figures
