"""Adversarial examples far beyond the radius of training: what they look like, and what an independent judge reads."""

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
from equipoise.report.table import Table, among, cell
from equipoise.report.words import percent

__all__ = ["Far", "Seen", "lay_far"]

ON_THE_WAY = 3
"""Images whose way to the adversarial example is shown frame by frame."""

OWN, JUDGE = "of the classifier itself", "of the judge"


@dataclass(frozen=True)
class Seen:
    """One picture: what the classifier reads, what the judge reads, and whether they agree; None without a judge."""

    strip: str
    own: str
    judge: str
    agrees: bool | None


@dataclass(frozen=True)
class Far:
    """One probe: its threat, its judge, the grid with what is seen in each picture, the table and the chart."""

    title: str
    judge: str
    grid: Picked
    seen: list[list[Seen]]
    frames: int
    table: Table
    figures: list[Figure]
    on_the_way: int = ON_THE_WAY


def lay_far(reading: Reading) -> list[Far]:
    """The section, an entry for each probe that has measured something."""
    found = []
    for spec in reading.specs(LargeEps):
        if not reading.run.shards(spec):
            continue
        probe = load_probe(spec)
        assert isinstance(probe, LargeEps)
        grid = pick(reading, spec)
        judge = reading.record["probe_facts"][spec].get("judge", {}).get("name", "")
        found.append(
            Far(
                str(probe.threat),
                judge,
                grid,
                _seen(reading, spec, grid),
                FRAMES,
                _table(reading, spec, bool(judge)),
                _paths(reading, spec, str(probe.threat)),
            )
        )
    return found


def _seen(reading: Reading, spec: str, grid: Picked) -> list[list[Seen]]:
    answers: dict[tuple[str, str], tuple[Any, Any]] = {}
    for name in grid.heads:
        columns = reading.columns(spec, name)
        for key, own, judged in zip(
            columns["id"].tolist(),
            columns["prediction"].tolist(),
            columns["judged"].tolist(),
            strict=True,
        ):
            answers[key, name] = (own, judged)
    return [
        [
            _one(reading, strip, *answers[row.id, name])
            for name, strip in zip(grid.heads, row.pictures, strict=True)
        ]
        for row in grid.rows
    ]


def _one(reading: Reading, strip: str, own: float, judged: float | None) -> Seen:
    known = judged is not None and not np.isnan(judged)
    return Seen(
        strip,
        reading.class_name(int(own)),
        reading.class_name(int(judged)) if known and judged is not None else "",
        bool(own == judged) if known else None,
    )


def _table(reading: Reading, spec: str, judged: bool) -> Table:
    rows, counts = [], []
    heads = ["Answer changed", "Distance"]
    if judged:
        heads += ["Judge reads the new class", "Judge reads it in noise"]
    for one in reading.classifiers:
        columns = reading.columns(spec, one.name)
        if not columns:
            continue
        seed = reading.record["seed"]
        moved = columns["moved"].astype(bool)
        distance = Metric("distance", columns["distance"].astype(float), "mean", unit="distance")
        cells = [
            cell(estimate(Metric("moved", moved, "share"), seed=seed)),
            cell(estimate(distance, seed=seed), share=False, decimals=2),
        ]
        for name in ("agrees", "noise_agrees") if judged else ():
            values = columns[name][moved].astype(bool)
            found = estimate(Metric(name, values, "share"), seed=seed)
            cells.append(cell(found))
        rows.append((one.name, among([len(moved)]), cells))
        counts.append(len(moved))
    return Table(heads, rows, among(counts), [])


def _paths(reading: Reading, spec: str, title: str) -> list[Figure]:
    """Mean confidence in the class that the example ends in, on the straight way there."""
    rows: list[dict[str, Any]] = []
    listed: list[str] = []
    kinds = []
    for judged in reading.classifiers:
        columns = reading.columns(spec, judged.name)
        for column, kind in (("own_path", OWN), ("judge_path", JUDGE)):
            moved = columns["moved"].astype(bool) if columns else []
            paths = [p for p, m in zip(columns.get(column, ()), moved, strict=bool(columns)) if m]
            if not paths or paths[0] is None:
                continue
            kinds.append(kind)
            mean = np.mean(np.array([list(p) for p in paths], dtype=float), axis=0)
            for k, value in enumerate(mean):
                way = round(k / (len(mean) - 1), 4)
                rows.append(
                    {
                        "classifier": judged.name,
                        "kind": kind,
                        "way": way,
                        "at": f"{percent(way)} of the way",
                        "share": round(float(value), 4),
                        "text": percent(float(value)),
                    }
                )
            listed.append(
                f"{judged.name}, {kind}: from {percent(mean[0])} by {percent(mean[len(mean) // 2])} half way to "
                f"{percent(mean[-1])}"
            )
    if not rows:
        return []
    words = f"Mean confidence in the class that the example ends in. {'; '.join(listed)}."
    return [
        by_classifier(
            rows,
            f"Confidence in the new class on the way, {title}",
            words,
            names=[j.name for j in reading.classifiers],
            x=across("way", "Way from the image to the adversarial example", percents()),
            y="Mean confidence",
            kinds=list(dict.fromkeys(kinds)),
        )
    ]
