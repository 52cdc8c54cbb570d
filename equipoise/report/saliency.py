"""Where a classifier looks: maps side by side, and how much of them falls on the object."""

from dataclasses import dataclass

from equipoise.probes import Saliency
from equipoise.probes.saliency import NAMES
from equipoise.report.reading import Reading
from equipoise.report.rows import Picked, pick
from equipoise.report.table import Cell, Table, among, cell

__all__ = ["Looks", "lay_saliency"]

COLUMNS = {
    "Gradient on the object": "gradient_inside",
    "Grad-CAM on the object": "cam_inside",
    "Object’s share of the image": "area",
    "Average precision, gradient": "gradient_precision",
    "Average precision, Grad-CAM": "cam_precision",
    "Overlap, Grad-CAM": "cam_overlap",
    "Contrast, Grad-CAM": "cam_contrast",
}
"""Heads, and the columns whose means stand below them."""


@dataclass(frozen=True)
class Looks:
    """The grid of maps, the table below it, and whether any classifier has Grad-CAM."""

    grid: Picked
    table: Table
    cam: bool


def lay_saliency(reading: Reading) -> Looks | None:
    """The section; None when there is no such probe, or nothing was measured."""
    spec = next(iter(reading.specs(Saliency)), None)
    if spec is None or not reading.run.shards(spec):
        return None
    table = _table(reading, spec)
    if not table.heads:
        return None
    return Looks(pick(reading, spec), table, any("Grad-CAM" in head for head in table.heads))


def _table(reading: Reading, spec: str) -> Table:
    found = {
        (judged.name, head): statistic
        for judged in reading.classifiers
        for head, column in COLUMNS.items()
        if (statistic := reading.statistic(judged.name, spec, NAMES[column]))
    }
    heads = [head for head in COLUMNS if any(head == other for _, other in found)]
    rows = []
    for judged in reading.classifiers:
        mine = [found.get((judged.name, head)) for head in heads]
        # A network may have no such map, which repeating the audit would not change.
        none = Cell("–", "", best=False, exact=False) if any(mine) else None
        cells = [cell(s, share=s.unit == "share", decimals=2) if s else none for s in mine]
        rows.append((judged.name, among([s.n for s in mine if s]), cells))
    return Table(
        heads,
        rows,
        among([s.n for s in found.values()]),
        sorted({s.method for s in found.values()}),
    )
