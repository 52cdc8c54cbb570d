"""The study of arXiv 2209.07592: what does adversarial training do to robustness against natural shifts?

    theory          regression with core and spurious features, solved exactly
    correlations    digits on photographs whose backgrounds agree with the label more or less often: standard and
                    adversarial training at each correlation (`correlations`)
    ladder          the classifiers of the highest correlation and the first seed: trade-off, groups, noise on objects
                    and backgrounds, where they look

Every claim of the paper is tested on what was measured (`reliance_claims`). The paper judges twenty ImageNet networks
on five benchmarks; `spurious_models` does that with whatever networks and benchmarks are at hand. Images, networks,
radii and correlations of the embedded study are our choice, and so are the settings of the theory.
"""

import math
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Estimate, Run, audit, write_claims, write_exhibits
from equipoise.audit.intervals import LEVEL, highest_share, lowest_share
from equipoise.audit.statistics import across_trainings
from equipoise.errors import EquipoiseError
from equipoise.images import load_images
from equipoise.norms import Threat, format_radius, parse_threat
from equipoise.probes import Adversarial, Groups, Regions, Saliency, Standard
from equipoise.report import report
from equipoise.report.figure import DASHES
from equipoise.studies.correlations import GONE, Correlations, photos, train_correlations
from equipoise.studies.reliance_claims import drop, gap, known, sensitivity, weigh_reliance
from equipoise.studies.sample_sizes import STANDARD, Arm
from equipoise.theory import PairedDesign
from equipoise.training import Recipe

__all__ = ["SpuriousSettings", "spurious"]

PHOTOS = Recipe(net="mlp", rate=2e-3)
"""The recipe of the embedded classifiers."""

MODEL = PairedDesign()

EXAMINED = 32
"""Digits of the ladder that are attacked twice as long, to see how far its robust accuracy can be trusted."""


@dataclass(frozen=True, kw_only=True)
class SpuriousSettings:
    """What the study is made with; the defaults are for two CPU cores.

    Arguments:
        correlations: of backgrounds and labels in training, rising from 0.5, where there is none.
        radii: of L2 training, rising, in units of images in [0, 1].
        linf_radii: of Linf training.
        radius: L2 radius that robust accuracy is measured at.
        linf_radius: Linf radius likewise.
        seeds: how many trainings of each kind.
        recipe: of every classifier; its epochs, limit, seed and held-out share are the study's.
        steps: of the optimiser in every training.
        attack_steps: of projected gradient ascent in each of them.
        attacked: at most so many test digits for attacks, noise and gradients, a random sample.
        design: of the theory.
        seed: of everything random; trainings have this one and the next ones.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """

    correlations: tuple[float, ...] = (0.5, 0.8, 0.95)
    radii: tuple[str, ...] = ("1", "2", "4")
    linf_radii: tuple[str, ...] = ("8/255", "16/255", "32/255")
    radius: str = "2"
    linf_radius: str = "16/255"
    seeds: int = 3
    recipe: Recipe = PHOTOS
    steps: int = 300
    attack_steps: int = 4
    attacked: int = 80
    design: PairedDesign = MODEL
    seed: int = 0
    device: str = "auto"

    def arms(self) -> list[Arm]:
        """All ways of training but the standard one.

        Raises:
            EquipoiseError: for radii that do not rise from above 0.
        """
        found = []
        for name, norm, radii in (
            ("radii", "l2", self.radii),
            ("linf_radii", "linf", self.linf_radii),
        ):
            threats = [parse_threat(f"{norm}:{radius}") for radius in radii]
            sizes = [0.0, *(threat.radius for threat in threats)]
            if not radii or not all(a < b for a, b in pairwise(sizes)):
                raise EquipoiseError(
                    f"The study needs {name} that rise from above 0, not {' '.join(radii) or 'none'}."
                )
            found += [Arm("pgd", threat) for threat in threats]
        return found

    def threats(self) -> dict[str, Threat]:
        """What robust accuracy is measured at, by norm.

        Raises:
            EquipoiseError: for a radius that is not positive.
        """
        found = {
            "l2": parse_threat(f"l2:{self.radius}"),
            "linf": parse_threat(f"linf:{self.linf_radius}"),
        }
        for norm, threat in found.items():
            if threat.radius <= 0:
                raise EquipoiseError(
                    f"The study needs an {norm} radius above 0 to attack with, not {threat.radius:g}."
                )
        return found

    def check(self) -> None:
        """Refuses what cannot be studied, before anything is trained.

        Raises:
            EquipoiseError: for settings out of range.
        """
        rhos = self.correlations
        if (
            len(rhos) < 2
            or rhos[0] != GONE
            or rhos[-1] > 1
            or not all(a < b for a, b in pairwise(rhos))
        ):
            raise EquipoiseError(
                f"The study needs two or more correlations that rise from {GONE} to at most 1, not "
                f"{' '.join(f'{rho:g}' for rho in rhos) or 'none'}."
            )
        if len(self.design.scales) > len(DASHES):
            raise EquipoiseError(
                f"The study draws at most {len(DASHES)} scales of its model, not {len(self.design.scales)}."
            )
        for name, least in (("seeds", 2), ("steps", 1), ("attack_steps", 1), ("attacked", 20)):
            if getattr(self, name) < least:
                raise EquipoiseError(
                    f"The study needs {name} of at least {least}, not {getattr(self, name)}."
                )


def spurious(
    out: Path = Path("runs/spurious"), settings: SpuriousSettings | None = None
) -> tuple[Run, Path]:
    """Runs the study into `out`, or what of it is missing.

    Returns:
        the run with its claims and exhibits, and the page ``out/report.html``.
    """
    asked = settings or SpuriousSettings()
    asked.check()
    arms, threats = asked.arms(), asked.threats()
    found = train_correlations(
        out / "correlations",
        arms=arms,
        rhos=asked.correlations,
        seeds=tuple(range(asked.seed, asked.seed + asked.seeds)),
        recipe=asked.recipe,
        steps=asked.steps,
        attack_steps=asked.attack_steps,
        threats=threats,
        attacked=asked.attacked,
        seed=asked.seed,
        device=asked.device,
    )
    top = asked.correlations[-1]
    attacks = [Adversarial(threat) for threat in threats.values()]
    run = audit(
        [found.classifier(top, arm, asked.seed) for arm in (STANDARD, *arms)],
        load_images(photos(top)).subset(asked.attacked, asked.seed),
        [
            Standard(),
            *attacks,
            Groups(photos(top)),
            Regions("gaussian"),
            Regions("l2"),
            Saliency(),
        ],
        out / "audit",
        seed=asked.seed,
        examined=EXAMINED,
        device=asked.device,
    )
    write_exhibits(
        run.folder, "spurious", {"design": [asdict(asked.design)], "correlations": _rows(found)}
    )
    write_claims(run.folder, "spurious", weigh_reliance(asked.design, found))
    page = out / "report.html"
    report(run, page)
    return run, page


def _rows(found: Correlations) -> list[dict[str, Any]]:
    """A row for each correlation, norm and arm, standard training in every norm; `rung` counts its arms from there."""
    rows = []
    for norm, threat in found.threats.items():
        rungs = [found.standard, *(arm for arm in found.arms if str(arm.threat.norm) == norm)]
        for rho in found.rhos:
            for rung, arm in enumerate(rungs):
                rows.append(
                    {
                        "norm": norm,
                        "threat": str(threat),
                        "rung": rung,
                        "radius": arm.threat.radius,
                        "trained": format_radius(arm.threat.radius),
                        "correlation": rho,
                        "seeds": len(found.seeds),
                        "steps": found.steps,
                        "loss": found.loss(rho, arm),
                    }
                    | _measured(found, rho, arm, norm)
                )
    return rows


def _measured(found: Correlations, rho: float, arm: Arm, norm: str) -> dict[str, float]:
    shares = np.array([found.noisy(rho, arm)])
    estimates: dict[str, Estimate] = {
        "accuracy": _share(found.right(rho, arm, "own")),
        "gap": across_trainings(gap(found, rho, arm)),
        "gone": across_trainings(drop(found, rho, arm, "gone")),
        "reversed": across_trainings(drop(found, rho, arm, "reversed")),
        "robust": _share(found.robust(rho, arm, "own", norm)),
        "robust_gone": _share(found.robust(rho, arm, "gone", norm)),
        "sensitivity": sensitivity(shares, found.labels(rho)),
        "inside": _share(*known(found.inside(rho, arm))),
    }
    rows: dict[str, float] = {}
    for name, one in estimates.items():
        rows |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return rows


def _share(right: NDArray) -> Estimate:
    """A share over trainings and digits, inside [0, 1]; where all answers are alike, the digits alone bound it."""
    found = across_trainings(right)
    if right.size and math.isnan(found.low) and found.value in (0, 1):
        digits = right.shape[1]
        ones, tail = found.value * digits, (1 - LEVEL) / 2
        low, high = lowest_share(ones, digits, tail), highest_share(ones, digits, tail)
        return Estimate(found.value, low, high, digits, "Clopper-Pearson")
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
