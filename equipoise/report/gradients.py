"""Input gradients of every classifier side by side, and what was measured of them."""

from dataclasses import dataclass

import numpy as np

from equipoise.audit.statistics import estimate
from equipoise.probes import Gradients, Metric
from equipoise.report.reading import Reading
from equipoise.report.rows import Picked, pick
from equipoise.report.table import Table, among, cell

__all__ = ["Maps", "lay_maps"]

COLUMNS = {
    "Sparsity": "sparsity",
    "Share inside the mask": "inside",
    "Share of the image inside the mask": "area",
    "Alignment with counter\u00adfactuals": "alignment",
    "Alignment with noise": "noise_alignment",
}
"""Heads of columns, and the per-image numbers whose means are in them."""


@dataclass(frozen=True)
class Maps:
    """The grid of maps, the table below it, and whether pictures have colour."""

    grid: Picked
    table: Table
    coloured: bool


def lay_maps(reading: Reading) -> Maps | None:
    """The section of the first gradient probe; None when there is none, or nothing was measured."""
    spec = next(iter(reading.specs(Gradients)), None)
    if spec is None or not reading.run.shards(spec):
        return None
    return Maps(pick(reading, spec), _table(reading, spec), reading.record["data"]["shape"][0] > 1)


def _table(reading: Reading, spec: str) -> Table:
    found = {}
    for judged in reading.classifiers:
        columns = reading.columns(spec, judged.name)
        for head, name in COLUMNS.items():
            values = np.asarray(columns.get(name, ()), dtype=float)
            values = values[~np.isnan(values)]
            if len(values):
                metric = Metric(name, values, "mean", unit="number")
                found[judged.name, head] = estimate(metric, seed=reading.record["seed"])
    heads = [head for head in COLUMNS if any((j.name, head) in found for j in reading.classifiers)]
    rows = []
    for judged in reading.classifiers:
        mine = [found.get((judged.name, head)) for head in heads]
        counts = [m.n for m in mine if m]
        rows.append(
            (judged.name, among(counts), [m and cell(m, share=False, decimals=2) for m in mine])
        )
    return Table(heads, rows, among([m.n for m in found.values()]), [])
