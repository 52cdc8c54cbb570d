"""Does what was found depend on the width of the neighbourhood and on the guidance?

Exact counterfactuals of some of the originals are drawn again at each other width, with the usual guidance, and at each
other guidance, at the usual width; every rung is asked about them. The usual setting stands beside them on the same
originals. Of each setting:

    accepted      share that the oracles read as their class
    proximity     mean L2 distance to the original
    accuracy      share that a rung reads as their class; same, noise: its accuracy on own-class ones, and on noise
    gap           accuracy of the standard rung minus that of this one (H3)
    correlation   rank correlation of proximity and confidence in the true class (H1)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Estimate, audit
from equipoise.audit.association import difference, spearman
from equipoise.audit.statistics import estimate
from equipoise.classifiers import Classifier
from equipoise.images import Images
from equipoise.probes import Metric
from equipoise.studies.counterfactual_evidence import Ladder, known
from equipoise.studies.counterfactual_sets import Making

__all__ = ["Setting", "measure_others", "setting_rows"]


@dataclass(frozen=True)
class Setting:
    """One setting, and what every rung answers.

    Attributes:
        width: as it was asked for.
        sigma: the same in network units.
        guidance: of the sampler.
        answers: the columns of the counterfactual probe by rung, the standard one first.
    """

    width: str
    sigma: float
    guidance: float
    answers: Mapping[str, Mapping[str, NDArray]]

    def __str__(self) -> str:
        return f"width {self.width}, guidance {self.guidance:g}"

    def mean(self, rung: str, column: str) -> Estimate:
        """Of a column, over images that have counterfactuals."""
        return estimate(Metric(column, known(self.answers[rung][column]), "mean"))

    @cached_property
    def accepted(self) -> Estimate:
        """The share that the oracles accept."""
        columns = next(iter(self.answers.values()))
        shares = columns["accepted"] / np.maximum(columns["counterfactuals"], 1)
        return estimate(Metric("accepted", shares, "mean"))

    @cached_property
    def gaps(self) -> dict[str, Estimate]:
        """Of every robust rung."""
        first, *robust = self.answers
        has = ~np.isnan(self.answers[first]["accuracy"])
        standard, *others = (self.answers[rung]["accuracy"][has] for rung in (first, *robust))
        return {
            rung: difference(standard, mine) for rung, mine in zip(robust, others, strict=True)
        }

    @cached_property
    def correlations(self) -> dict[str, Estimate]:
        """Of every rung."""
        found = {}
        for rung, columns in self.answers.items():
            has = ~np.isnan(columns["proximity"])
            found[rung] = spearman(columns["proximity"][has], columns["confidence"][has])
        return found


def measure_others(
    making: Making, rungs: Sequence[Classifier], images: Images, usual: Ladder, out: Path
) -> list[Setting]:
    """The usual setting and all others, on a sample of the originals; none where there are no others.

    Arguments:
        making: of the sets.
        rungs: all of the ladder, the standard one first.
        images: the originals.
        usual: the ladder's answers about them, with the arm "exact".
        out: folder of the audit.
    """
    asked, others = making.asked, making.asked.others()
    if not others:
        return []
    some = images.subset(asked.other_originals, asked.seed)
    sets = {
        name: making.draw(name, some, f"gaussian:{width}", guidance=guidance)
        for name, (width, guidance) in others.items()
    }
    probes = {name: f"counterfactual:{made.folder}" for name, made in sets.items()}
    run = audit(
        rungs, some, probes.values(), out, seed=asked.seed, pictures=0, device=asked.device
    )
    again = Ladder(run, usual.rungs, usual.threats, probes)
    ids = [example.id for example in some]
    found = [_setting(usual, "exact", asked.width, asked.guidance, ids)]
    return found + [
        _setting(again, name, width, guidance, ids) for name, (width, guidance) in others.items()
    ]


def _setting(ladder: Ladder, arm: str, width: str, guidance: float, ids: Sequence[str]) -> Setting:
    answers = {}
    for rung in ladder.rungs:
        columns = ladder.of(arm, rung)
        rows = np.isin(columns["id"].astype(str), ids)
        answers[rung] = {name: values[rows] for name, values in columns.items()}
    settings = ladder.run.record["probe_facts"][ladder.probes[arm]]["settings"]
    sigma = float(settings["neighbourhood"].partition(":")[2])
    return Setting(width, sigma, guidance, answers)


def setting_rows(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """A row for each setting and rung, the usual setting first."""
    rows = []
    for setting in settings:
        for rung in setting.answers:
            row: dict[str, Any] = {
                "width": setting.width,
                "sigma": setting.sigma,
                "guidance": setting.guidance,
                "classifier": rung,
                "images": setting.mean(rung, "proximity").n,
            }
            quoted = {
                "accepted": setting.accepted,
                "correlation": setting.correlations[rung],
                "gap": setting.gaps.get(rung),
            } | {
                name: setting.mean(rung, column)
                for name, column in (
                    ("proximity", "proximity"),
                    ("accuracy", "accuracy"),
                    ("same", "same_accuracy"),
                    ("noise", "noise_accuracy"),
                )
            }
            for name, of in quoted.items():
                values = (None,) * 3 if of is None else (of.value, of.low, of.high)
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
            rows.append(row)
    return rows
