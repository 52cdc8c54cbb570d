"""Classifiers trained where the background agrees with the label more or less often, and what becomes of them when it
agrees less.

Notation. In digits-on-photos the background of a digit is the home of its class with probability rho, the correlation.
An arm is an objective and a threat, as in `sample_sizes`; standard training is the arm of radius 0. Every arm is
trained at every rho with every seed. Arms of one rho and seed see the same images in the same order from the same first
weights. All are judged on the same test digits, five times over:

    own           at the correlation of their training
    gone          at 1/2, where backgrounds say nothing
    reversed      at 1 - rho
    mixed-same    on the background of another image of the class, as ImageNet-9 calls it
    mixed-rand    on that of an image of a random class

Arrays have a row for each seed and a column for each digit, so that differences are taken digit by digit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Run, audit
from equipoise.classifiers import Classifier, load_classifier
from equipoise.devices import choose_device
from equipoise.images import Images, Joined, load_images
from equipoise.norms import Threat
from equipoise.probes import Adversarial, Probe, Regions, Saliency, Standard
from equipoise.processes import spread
from equipoise.progress import Progress
from equipoise.studies.sample_sizes import STANDARD, Arm, fixed
from equipoise.training import Recipe, Training, train_many

__all__ = ["GONE", "Correlations", "photos", "train_correlations"]

GONE = 0.5
"""The correlation of backgrounds that say nothing."""

VARIANTS = ("mixed-same", "mixed-rand")
RIGHT, NOISE = "standard", "noise"
"""Names of audits, beside the norms of attacks."""

REGIONS = Regions("gaussian")
LOOKS = Saliency()


def photos(correlation: float, variant: str = "original") -> str:
    """The spec of digits on photos at this correlation."""
    return f"digits-on-photos?correlation={correlation:g}&variant={variant}"


@dataclass(frozen=True)
class Correlations:
    """What the trainings gave.

    Attributes:
        arms: without standard training, in order.
        rhos: correlations of training, rising.
        seeds: of the trainings.
        steps: of the optimiser in each.
        threats: what robust accuracy is measured at, by the norm of the arms.
        runs: by name and rho: "standard", all classifiers on all parts; "noise", all of them on some of their digits
            with the probes of regions and saliency; and by a norm, its classifiers under attack, own and gone.
        folders: of the classifiers.
        losses: of the last epoch.
    """

    arms: Sequence[Arm]
    rhos: Sequence[float]
    seeds: Sequence[int]
    steps: int
    threats: Mapping[str, Threat]
    runs: Mapping[tuple[str, float], Run]
    folders: Mapping[tuple[float, str, int], Path]
    losses: Mapping[tuple[float, str, int], float]

    @property
    def standard(self) -> Arm:
        """The arm that all others are compared with."""
        return STANDARD

    def classifier(self, rho: float, arm: Arm, seed: int) -> Classifier:
        """By the name of its rung."""
        return load_classifier(f"local:{self.folders[rho, arm.name, seed]}")

    def loss(self, rho: float, arm: Arm) -> float:
        """What the objective still was in the last epoch, on average over seeds."""
        return float(np.mean([self.losses[rho, arm.name, seed] for seed in self.seeds]))

    def right(self, rho: float, arm: Arm, part: str) -> NDArray:
        """Which digits each training gets right, with shape (seeds, digits)."""
        return self._stack(self.runs[RIGHT, rho], str(Standard()), arm, "correct", part)

    def robust(self, rho: float, arm: Arm, part: str, norm: str) -> NDArray:
        """Which digits each training gets right under every attack, for the parts own and gone."""
        part = "own" if rho == GONE else part
        spec = str(Adversarial(self.threats[norm]))
        return 1 - self._stack(self.runs[norm, rho], spec, arm, "success", part)

    def noisy(self, rho: float, arm: Arm) -> NDArray:
        """The shares of right answers with noise on the object and on the background, over its levels: with shape
        (seeds, digits, 2)."""
        columns = [
            self.runs[NOISE, rho].columns(str(REGIONS), _name(arm.name, s)) for s in self.seeds
        ]
        return np.array(
            [
                [[np.mean(value) for value in found[side]] for side in ("object", "background")]
                for found in columns
            ]
        ).transpose(0, 2, 1)

    def inside(self, rho: float, arm: Arm) -> NDArray:
        """The share of the input gradient on the object, with shape (seeds, digits)."""
        return self._stack(self.runs[NOISE, rho], str(LOOKS), arm, "gradient_inside", None)

    def labels(self, rho: float) -> NDArray:
        """Of the digits in `noisy`."""
        return self.runs[NOISE, rho].columns(str(REGIONS), _name(STANDARD.name, self.seeds[0]))[
            "label"
        ]

    def _stack(self, run: Run, probe: str, arm: Arm, column: str, part: str | None) -> NDArray:
        rows = []
        for seed in self.seeds:
            found = run.columns(probe, _name(arm.name, seed))
            kept = slice(None) if part is None else found["group"] == part
            rows.append(found[column][kept].astype(float))
        return np.stack(rows)


def train_correlations(
    out: Path,
    *,
    arms: Sequence[Arm],
    rhos: Sequence[float],
    seeds: Sequence[int],
    recipe: Recipe,
    steps: int,
    attack_steps: int,
    threats: Mapping[str, Threat],
    attacked: int,
    seed: int,
    device: str,
) -> Correlations:
    """Trains every arm at every correlation with every seed into ``out/RHO/SEED``, and audits them all.

    Arguments:
        out: folder.
        arms: without standard training, which is always trained too.
        rhos: correlations of training.
        seeds: of the trainings.
        recipe: shared by all; its epochs, limit and seed are set here, and no image is held out.
        steps: of the optimiser in every training, about.
        attack_steps: of projected gradient ascent in each of them.
        threats: what robust accuracy is measured at, by the norm of the arms.
        attacked: at most so many test digits for attacks, noise and gradients.
        seed: of the audits.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """
    size = len(load_images(photos(rhos[0]), "train"))
    trainings = {
        (rho, arm.name, one): Training(
            data=photos(rho),
            threat=arm.threat,
            objective=arm.objective,
            recipe=fixed(recipe, size, steps, one),
            out=out / f"{rho:g}" / str(one),
            steps=attack_steps,
        )
        for rho in rhos
        for one in seeds
        for arm in (STANDARD, *arms)
    }
    train_many(list(trainings.values()), "Training at several correlations", device=device)
    measured = [
        _Measurement(
            name=name,
            rho=rho,
            arms=[
                arm.name for arm in (STANDARD, *arms) if name in (RIGHT, NOISE) or _in(arm, name)
            ],
            seeds=seeds,
            threat=threats.get(name),
            attacked=attacked,
            out=out,
            seed=seed,
            device=device,
        )
        for name in (*threats, RIGHT, NOISE)  # the longest first
        for rho in rhos
    ]
    with Progress("Measuring at several correlations", total=len(measured)) as progress:
        if choose_device(device).type == "cpu":
            for one in spread(_measure, measured):
                progress.advance(one.folder.name)
        else:
            for one in measured:
                _measure(one)
                progress.advance(one.folder.name)
    runs = {(one.name, one.rho): Run(one.folder) for one in measured}
    folders = {key: training.folder for key, training in trainings.items()}
    losses = {
        key: float(load_classifier(f"local:{folder}").facts["selected"]["loss"])
        for key, folder in folders.items()
    }
    return Correlations(arms, rhos, seeds, steps, threats, runs, folders, losses)


@dataclass(frozen=True, kw_only=True)
class _Measurement:
    """One audit: of all classifiers of some arms that were trained at one correlation."""

    name: str
    rho: float
    arms: Sequence[str]
    seeds: Sequence[int]
    threat: Threat | None
    attacked: int
    out: Path
    seed: int
    device: str

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.out / f"{self.rho:g}" / self.name

    def asked(self) -> tuple[Images, list[Probe]]:
        """The images and the probes."""
        own, gone, reverse = (load_images(photos(rho)) for rho in (self.rho, GONE, 1 - self.rho))
        if self.name == RIGHT:
            mixed = {variant: load_images(photos(self.rho, variant)) for variant in VARIANTS}
            return Joined({"own": own, "gone": gone, "reversed": reverse, **mixed}), [Standard()]
        some, others = (images.subset(self.attacked, self.seed) for images in (own, gone))
        if self.threat is None:
            return some, [REGIONS, LOOKS]
        # Where backgrounds never said anything, nothing can be gone.
        parts = {"own": some} if self.rho == GONE else {"own": some, "gone": others}
        return Joined(parts), [Adversarial(self.threat)]


def _measure(one: _Measurement) -> None:
    data, probes = one.asked()
    classifiers = []
    for arm in one.arms:
        for seed in one.seeds:
            classifier = load_classifier(f"local:{one.out / f'{one.rho:g}' / str(seed) / arm}")
            classifier.name = _name(arm, seed)
            classifiers.append(classifier)
    audit(
        classifiers,
        data,
        probes,
        one.folder,
        seed=one.seed,
        pictures=0,
        examined=0,  # the ladder's audit says how far the attack can be trusted
        device=one.device,
        shown=False,
    )


def _in(arm: Arm, norm: str) -> bool:
    return not arm.threat.radius or str(arm.threat.norm) == norm


def _name(arm: str, seed: int) -> str:
    return f"{arm}, seed {seed}"
