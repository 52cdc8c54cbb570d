"""Every chart of a run's page, which the page shows and exports write: by the section it stands in, and by name.

A chart's name is its section's with its place there: ``trade_off-0``, ``curves-1``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from equipoise.report.charts import curves, trade_off
from equipoise.report.counterfactual import by_proximity, on_the_ladder, on_the_way
from equipoise.report.distances import distances
from equipoise.report.drawing import SHAPES
from equipoise.report.far import Far, lay_far
from equipoise.report.figure import Figure
from equipoise.report.groups import Grouped, lay_groups
from equipoise.report.ladder import along_ladder
from equipoise.report.odds import Study, lay_study
from equipoise.report.reading import Reading
from equipoise.report.regions import Noisy, lay_regions
from equipoise.report.settings import over_settings
from equipoise.report.spurious import Spurious, lay_spurious
from equipoise.report.use import inputs_used

__all__ = ["Charted", "chart_all", "complete", "named"]

HEADINGS = {
    "trade_off": "The trade-off",
    "ladder": "Along the ladder",
    "curves": "Robustness curves",
    "distances": "How far counterfactuals lie",
    "settings": "Other widths and guidances",
    "ladder-of": "Counterfactuals along the ladder",
    "far": "Confidence in the new class on the way",
    "theory": "Theory beside measurement",
    "sizes": "Standard accuracy and the number of training images",
    "gains": "What it adds to standard training",
    "radius": "Standard accuracy at the largest size",
    "reliance": "In the model",
    "gap": "Leaning on backgrounds",
    "sensitivity": "Sensitivity to noise on the object",
    "inside": "Share of the input gradient on the digit",
    "gone": "Accuracy lost where the correlation is gone",
    "reversed": "Accuracy lost where the correlation is reversed",
    "kept": "Robust accuracy where the correlation is kept",
    "lost": "Robust accuracy where the correlation is gone",
}
"""What stands above charts whose titles need it."""


@dataclass(frozen=True)
class Charted:
    """The charts, and the sections that were laid out to get some of them.

    Attributes:
        figures: the charts of each section, in its order.
        far: images far beyond training.
        study: the study odds.
        spurious: the study spurious.
        regions: noise on objects and backgrounds.
        grouped: groups of images.
    """

    figures: dict[str, list[Figure]]
    far: list[Far]
    study: Study
    spurious: Spurious
    regions: list[Noisy]
    grouped: list[Grouped]


def chart_all(reading: Reading) -> Charted:
    """Draws every chart that the run has something to show in."""
    figures = {
        "trade_off": trade_off(reading),
        "ladder": along_ladder(reading),
        "curves": curves(reading),
        "distances": distances(reading),
    }
    for k, drawn in enumerate(reading.counterfactuals):
        figures[f"ladder-of-{k}"] = on_the_ladder(reading, drawn)
        figures[f"way-of-{k}"] = by_proximity(reading, drawn) + on_the_way(reading, drawn)
    far, study, spurious = lay_far(reading), lay_study(reading), lay_spurious(reading)
    for k, part in enumerate(far):
        figures[f"far-{k}"] = part.figures
    figures["settings"] = over_settings(reading)
    figures["use"] = inputs_used(reading)
    regions, grouped = lay_regions(reading), lay_groups(reading)
    figures["regions"] = [figure for part in regions for figure in part.figures]
    for k, part in enumerate(grouped):
        figures[f"groups-{k}"] = part.figures
    figures |= study.figures | spurious.figures
    return Charted(figures, far, study, spurious, regions, grouped)


def named(figures: Mapping[str, Sequence[Figure]]) -> dict[str, Figure]:
    """The charts by name."""
    return {
        f"{section}-{k}": f for section, listed in figures.items() for k, f in enumerate(listed)
    }


def complete(reading: Reading, figures: Mapping[str, Sequence[Figure]]) -> dict[str, Figure]:
    """The charts by name, each with what it needs to stand alone: its section's heading and a key of classifiers."""
    return {name: _alone(reading, name, figure) for name, figure in named(figures).items()}


def _alone(reading: Reading, name: str, figure: Figure) -> Figure:
    heading = HEADINGS.get(re.sub(r"(-\d+)+$", "", name), "")
    used = set(re.findall(r"var\((--c\d+)\)", json.dumps(figure.spec)))
    names = [judged.name for judged in reading.classifiers] if used else []
    marks = _marks(figure) or ["●"] * len(names)
    key = tuple((f"var(--c{k})", marks[k], name) for k, name in enumerate(names))
    title = f"{heading} · {figure.title}" if heading else figure.title
    return replace(figure, title=title, key=key + figure.key)


def _marks(figure: Figure) -> list[str]:
    """How a key writes the shape of each classifier; none where they have no shapes of their own."""
    written = {shape: mark for mark, shape in SHAPES.items()}
    shapes = (layer.get("encoding", {}).get("shape", {}) for layer in figure.spec["layer"])
    found = next((shape["scale"]["range"] for shape in shapes if "scale" in shape), ())
    return [written[shape] for shape in found]
