"""What several runs asked alike: the questions, each a probe under one protocol, and what every contender answered.

Metrics leave out images for which a column has no value. Two contenders are then paired on the images for which the
same columns have values for both, so that a metric of both is of the same images in the same order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.audit.plan import IMAGES
from equipoise.audit.resampling import answers
from equipoise.audit.run import Run
from equipoise.comparing.compared import Refusal
from equipoise.comparing.contenders import Contender
from equipoise.comparing.matching import Pool, pool, rows_of
from equipoise.comparing.multiple import Paired, compare_metrics
from equipoise.comparing.protocol import Protocol, grouped, read_protocol
from equipoise.probes import Probe, Quoted, load_probe

__all__ = ["Measured", "Question", "codes", "measure", "pair", "questions", "unmatched"]


@dataclass(frozen=True)
class Question:
    """A probe as it was asked under one protocol, of images that are the same in all `specs`' runs.

    Attributes:
        digest: of the protocol and the images.
        specs: the probe's spec in each run that asked so, by the run's place.
    """

    protocol: Protocol
    digest: str
    pool: Pool
    specs: Mapping[int, str]


@dataclass(frozen=True)
class Measured:
    """A contender's columns on the images of a question, and the metrics made of them, by name."""

    probe: Probe
    columns: Mapping[str, NDArray]
    metrics: Mapping[str, Quoted]


def questions(runs: Sequence[Run], pools: Sequence[Pool]) -> Iterator[Question]:
    """Every question, in the order in which it was first asked."""
    for own in pools:
        found: dict[str, tuple[Protocol, dict[int, str]]] = {}
        for k in own.runs:
            for spec in runs[k].probes:
                protocol = read_protocol(runs[k], spec)
                key = protocol.digest(own.digest(k, grouped=grouped(spec)))
                found.setdefault(key, (protocol, {}))[1].setdefault(k, spec)
        for key, (protocol, specs) in found.items():
            yield Question(protocol, key, own, specs)


def codes(run: Run) -> dict[str, str]:
    """The digest of the protocol and the images of each of the run's probes; nothing before an image was looked at."""
    if not run.shards(IMAGES):
        return {}
    pools, _ = pool([run], [""], 0)
    return {q.specs[0]: q.digest for q in questions([run], pools)}


def measure(
    runs: Sequence[Run], question: Question, contenders: Sequence[Contender]
) -> dict[Contender, Measured]:
    """What was measured of each contender, on the images that all of them have answers for."""
    columns = {
        c: runs[c.run].columns(question.specs[c.run], c.classifier)
        for c in contenders
        if c.run in question.specs
    }
    columns = {c: found for c, found in columns.items() if found}
    answered = [set(found["id"].tolist()) for found in columns.values()]
    ids = [key for key in question.pool.ids if all(key in known for known in answered)]
    found = {}
    for c, own in columns.items():
        spec = question.specs[c.run]
        probe = load_probe(spec).recalled(runs[c.run].record["probe_facts"].get(spec, {}))
        found[c] = _made(probe, rows_of(ids, own))
    return found


def pair(before: Measured, after: Measured, metric: str, seed: int) -> Paired | None:
    """A metric of two contenders, compared; None where one has no such metric on the images that are paired.

    Raises:
        EquipoiseError: for a median, or groups that weigh otherwise.
    """
    before, after = _same_rows(before, after)
    if metric not in before.metrics or metric not in after.metrics:
        return None
    return compare_metrics(before.metrics[metric], after.metrics[metric], seed=seed)


def unmatched(
    runs: Sequence[Run], names: Sequence[str], asked: Sequence[Question], first: int
) -> list[Refusal]:
    """Probes of the run in place `first` and of each other one that nothing in the other answers to, and why."""
    refusals = []
    for k in asked[0].pool.runs if asked else ():
        if k == first:
            continue
        both = [q for q in asked if first in q.specs and k in q.specs]
        ours, theirs = (
            [
                read_protocol(runs[i], s)
                for s in runs[i].probes
                if s not in {q.specs[i] for q in both}
            ]
            for i in (first, k)
        )
        for protocol in ours:
            alike = [p for p in theirs if p.settings["probe"] == protocol.settings["probe"]]
            if not alike:
                refusals.append(Refusal(protocol.probe, f"asked in {names[first]} alone"))
                continue
            nearest = min(alike, key=lambda p: len(protocol.differing(p)))
            theirs.remove(nearest)
            refusals.append(
                Refusal(protocol.probe, _why(protocol, nearest, names[first], names[k]))
            )
        refusals += [Refusal(p.probe, f"asked in {names[k]} alone") for p in theirs]
    return refusals


def _why(ours: Protocol, theirs: Protocol, us: str, them: str) -> str:
    """The settings that differ."""
    found = [
        f"{name} is {_said(ours, name)} in {us} and {_said(theirs, name)} in {them}"
        for name in ours.differing(theirs)
    ]
    return "; ".join(found) or f"the images have other groups in {us} than in {them}"


def _said(protocol: Protocol, name: str) -> str:
    return repr(protocol.settings[name]) if name in protocol.settings else "not set"


def _made(probe: Probe, columns: Mapping[str, NDArray]) -> Measured:
    metrics = probe.metrics(columns) if len(columns["id"]) else ()
    return Measured(probe, columns, {metric.name: metric for metric in metrics})


def _same_rows(before: Measured, after: Measured) -> tuple[Measured, Measured]:
    if _whole(before) and _whole(after):
        return before, after
    keep = np.ones(len(before.columns["id"]), dtype=bool)
    for name in before.columns.keys() & after.columns.keys():
        gone = [_missing(own.columns[name]) for own in (before, after)]
        # A column that a classifier lacks altogether tells nothing of single images.
        if not (gone[0].all() or gone[1].all()):
            keep &= gone[0] == gone[1]
    cut = [
        _made(own.probe, {name: column[keep] for name, column in own.columns.items()})
        for own in (before, after)
    ]
    return cut[0], cut[1]


def _whole(measured: Measured) -> bool:
    """Whether every metric is of all images."""
    n = len(measured.columns["id"])
    return all(len(answers(metric)) == n for metric in measured.metrics.values())


def _missing(column: NDArray) -> NDArray[np.bool_]:
    if column.dtype.kind == "f":
        # Of a list for each image, such as answers along a way, none is there or all are.
        return np.asarray(np.isnan(column.reshape(len(column), -1)).all(axis=1))
    if column.dtype.kind == "O":
        return np.array([value is None for value in column], dtype=bool)
    return np.zeros(len(column), dtype=bool)
