"""Noise on the object against noise on the background: accuracies over levels, sensitivities and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import altair as alt
import numpy as np

from equipoise.audit.statistics import estimate
from equipoise.probes import Metric, Regions, load_probe
from equipoise.probes.regions import LEVELS
from equipoise.report.by_image import ByImage, paired
from equipoise.report.figure import Figure, across
from equipoise.report.lines import by_classifier
from equipoise.report.reading import Reading
from equipoise.report.rows import Picked, arrange, shared
from equipoise.report.table import Table, among, cell
from equipoise.report.words import count, percent, span
from equipoise.store import lists

__all__ = ["NOISES", "SENSITIVITY", "Noisy", "lay_regions"]

NOISES = {"gaussian": "Gaussian noise", "l2": "L2 noise"}
"""Kinds of noise as metrics call them."""

SENSITIVITY = "relative sensitivity to the object, {}"

AXES = {
    "gaussian": "Standard deviation of the noise",
    "l2": "Length of the noise, on inputs of 3 × 224 × 224",
}

SIDES = {"background": "noise on the background", "object": "noise on the object"}
"""Columns, and the names of their lines: the first is solid."""

PICTURED = 6
"""Images in the grid."""


@dataclass(frozen=True)
class Noisy:
    """What one kind of noise does.

    Attributes:
        title: its kind.
        what: levels and draws, in words.
        level: that of the pictures, in words.
        figures: accuracy over the levels.
        table: the two accuracies and the sensitivities.
        grid: pictures of noise on the object and on the background, side by side.
        left_out: how many images have no mask, no object or no background.
    """

    title: str
    what: str
    level: str
    figures: list[Figure]
    table: Table
    grid: Picked
    left_out: int


def lay_regions(reading: Reading) -> list[Noisy]:
    """The section, an entry for each probe of it that something was measured with."""
    specs = [spec for spec in reading.specs(Regions) if reading.run.shards(spec)]
    probes = [probe for spec in specs if isinstance(probe := load_probe(spec), Regions)]
    kinds = [probe.noise for probe in probes]
    found = []
    for spec, probe in zip(specs, probes, strict=True):
        noise = NOISES[probe.noise]
        title = noise if kinds.count(probe.noise) == 1 else f"{noise} ({spec})"
        figures = _over_levels(reading, spec, probe, title)
        if not figures:
            continue
        levels = probe.levels or LEVELS[probe.noise]
        draws = "one draw" if probe.trials == 1 else f"{count(probe.trials)} draws"
        found.append(
            Noisy(
                title,
                f"{_levels(probe, levels)}, {draws} of each image",
                _level(probe, levels[len(levels) // 2]),
                figures,
                _table(reading, spec, noise),
                # The noise is the same for all classifiers.
                arrange(reading, spec, shared(reading, spec), most=PICTURED),
                max(
                    int((~lists(columns["object"])[0]).sum())
                    for judged in reading.classifiers
                    if (columns := reading.columns(spec, judged.name))
                ),
            )
        )
    return found


def _level(probe: Regions, level: float) -> str:
    return f"{'standard deviation' if probe.noise == 'gaussian' else 'length'} {level:.3g}"


def _levels(probe: Regions, levels: Sequence[float]) -> str:
    if len(levels) == 1:
        return f"the one level of {_level(probe, levels[0])}"
    what = "standard deviations" if probe.noise == "gaussian" else "lengths"
    return f"{len(levels)} {what} from {min(levels):.3g} to {max(levels):.3g}"


def _over_levels(reading: Reading, spec: str, probe: Regions, title: str) -> list[Figure]:
    """Accuracy against the level, one line a side; from the images as they are where these were asked about."""
    rows: list[dict[str, Any]] = []
    listed = []
    for judged in reading.classifiers:
        columns = reading.columns(spec, judged.name)
        if not columns:
            continue
        asked, steps = lists(columns["levels"])
        if not asked.any():
            continue
        clean, _ = paired(
            reading.right(judged.name), ByImage(columns["id"], np.where(asked, 1.0, np.nan))
        )
        ends = []
        for side, kind in SIDES.items():
            _, values = lists(columns[side])
            shares = list(zip(steps[0].tolist(), values.T, strict=True))
            if len(clean) == len(values):
                shares.insert(0, (0.0, clean))
            mine = [
                {
                    "classifier": judged.name,
                    "kind": kind,
                    "level": round(level, 5),
                    "at": _level(probe, level) if level else "no noise",
                }
                | _share(reading, some)
                for level, some in sorted(shares, key=itemgetter(0))
            ]
            ends.append(f"{kind} from {percent(mine[0]['share'])} to {percent(mine[-1]['share'])}")
            rows += mine
        listed.append(f"{judged.name}: {', '.join(ends)}")
    if not rows:
        return []
    return [
        by_classifier(
            rows,
            title,
            f"Accuracy against the level of {NOISES[probe.noise]}. {'; '.join(listed)}.",
            names=[judged.name for judged in reading.classifiers],
            x=across("level", AXES[probe.noise], alt.Axis(tickCount=4)),
            y="Accuracy",
            kinds=list(SIDES.values()),
        )
    ]


def _share(reading: Reading, values: np.ndarray) -> dict[str, Any]:
    kind = "share" if np.isin(values, (0, 1)).all() else "mean"
    found = estimate(Metric("accuracy", values, kind), seed=reading.record["seed"])
    text = f"{percent(found.value)} ({span(found.low, found.high)})"
    return {"share": round(found.value, 4), "text": text}


def _table(reading: Reading, spec: str, noise: str) -> Table:
    heads = {
        "Accuracy, noise on the object": f"accuracy with {noise} on the object",
        "Accuracy, noise on the background": f"accuracy with {noise} on the background",
        "Relative sensitivity to the object": SENSITIVITY.format(noise),
        "Sensitivity of single images": f"sensitivity of single images, {noise}",
    }
    rows, measured = [], []
    for judged in reading.classifiers:
        mine = [reading.statistic(judged.name, spec, name) for name in heads.values()]
        counts = [s.n for s in mine if s]
        cells = [s and cell(s, share=s.unit == "share", decimals=2) for s in mine]
        rows.append((judged.name, among(counts), cells))
        measured += counts
    return Table(list(heads), rows, among(measured), [])
