"""Standard accuracy against the number of training images, for several radii of training.

Notation. An arm is an objective and a threat; standard training is the arm of radius 0, which all others are compared
with. Every arm is trained on the first n images of one shuffle of the training set for each size n and seed, for the
same number of steps of at most one batch whatever n, and its last weights are taken: with few images there is nothing
to choose a checkpoint by. All arms of one size and seed see the same images in the same order from the same first
weights. All classifiers are judged on the same test images; a(arm, n) has shape (seeds, images).

References:
    Robustness may be at odds with accuracy (Tsipras et al., 2019), figures 1, 6 and 7, https://arxiv.org/abs/1805.12152
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Estimate, Run, audit
from equipoise.audit.statistics import across_trainings
from equipoise.classifiers import Classifier, load_classifier
from equipoise.images import Images
from equipoise.norms import L2, Threat, format_radius
from equipoise.training import Recipe, Training, rung_name, train_many

__all__ = ["Arm", "SampleSizes", "train_sizes"]


@dataclass(frozen=True)
class Arm:
    """An objective by its name, and the threat it trains against."""

    objective: str
    threat: Threat

    @property
    def name(self) -> str:
        """As the folder of such a rung."""
        return rung_name(self.threat, self.objective)

    @property
    def family(self) -> str:
        """What arms that differ only in radius share: ``l2``, ``l2, half-and-half``."""
        norm = str(self.threat.norm)
        return norm if self.objective == "pgd" else f"{norm}, {self.objective}"


STANDARD = Arm("pgd", L2(0))


@dataclass(frozen=True)
class SampleSizes:
    """What the trainings gave.

    Attributes:
        run: the audit of all classifiers with the standard probe.
        arms: without standard training, in order.
        sizes: numbers of training images, rising.
        seeds: of the trainings.
        steps: of the optimiser in each.
        folders: of the classifiers, by name.
        losses: of the last epoch, by name.
    """

    run: Run
    arms: Sequence[Arm]
    sizes: Sequence[int]
    seeds: Sequence[int]
    steps: int
    folders: Mapping[str, Path]
    losses: Mapping[str, float]

    @property
    def standard(self) -> Arm:
        """The arm that all others are compared with."""
        return STANDARD

    @cached_property
    def _right(self) -> dict[tuple[str, int], NDArray]:
        return {
            (arm.name, size): np.stack(
                [
                    self.run.columns("standard", _name(arm, size, seed))["correct"]
                    for seed in self.seeds
                ]
            ).astype(float)
            for arm in (STANDARD, *self.arms)
            for size in self.sizes
        }

    def largest(self, arm: Arm, seed: int) -> Classifier:
        """A classifier of the largest size, by the name of its rung."""
        return load_classifier(f"local:{self.folders[_name(arm, self.sizes[-1], seed)]}")

    def loss(self, arm: Arm, size: int) -> float:
        """What the objective still was in the last epoch, on average over seeds."""
        return float(np.mean([self.losses[_name(arm, size, seed)] for seed in self.seeds]))

    def right(self, arm: Arm, size: int) -> NDArray:
        """Which test images each training gets right, with shape (seeds, images)."""
        return self._right[arm.name, size]

    def accuracy(self, arm: Arm, size: int) -> Estimate:
        """Standard accuracy, over trainings and images."""
        found = across_trainings(self.right(arm, size))
        return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))

    def gain(self, arm: Arm, size: int) -> Estimate:
        """By how much the arm is more accurate than standard training on as many images, seed by seed."""
        return across_trainings(self.right(arm, size) - self.right(STANDARD, size))

    def change(self, arm: Arm) -> Estimate:
        """The gain at the smallest size minus that at the largest."""
        few, many = (
            self.right(arm, size) - self.right(STANDARD, size)
            for size in (self.sizes[0], self.sizes[-1])
        )
        return across_trainings(few - many)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each arm and size, standard training in every family; `rung` counts its arms from there."""
        families = dict.fromkeys(arm.family for arm in self.arms)
        return [
            {
                "family": family,
                "rung": rung,
                "radius": arm.threat.radius,
                "trained": format_radius(arm.threat.radius),
                "size": size,
                "value": found.value,
                "low": found.low,
                "high": found.high,
                "gain": gain.value,
                "gain_low": gain.low,
                "gain_high": gain.high,
                "loss": self.loss(arm, size),
                "steps": self.steps,
                "seeds": len(self.seeds),
                "images": found.n,
            }
            for family in families
            for rung, arm in enumerate(
                (STANDARD, *(arm for arm in self.arms if arm.family == family))
            )
            for size in self.sizes
            for found, gain in [(self.accuracy(arm, size), self.gain(arm, size))]
        ]


def train_sizes(
    data: str,
    test: Images,
    out: Path,
    *,
    arms: Sequence[Arm],
    sizes: Sequence[int],
    seeds: Sequence[int],
    recipe: Recipe,
    steps: int,
    attack_steps: int,
    device: str,
) -> SampleSizes:
    """Trains every arm at every size with every seed into ``out/SIZE/SEED``, and audits them all on `test`.

    Arguments:
        data: spec of the images to train on.
        test: images to judge on.
        out: folder.
        arms: without standard training, which is always trained too.
        sizes: numbers of training images, none above those there are.
        seeds: of the shuffles and of the trainings.
        recipe: shared by all; its epochs, limit and seed are set here, and no image is held out.
        steps: of the optimiser in every training, about.
        attack_steps: of projected gradient ascent in each of them.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """
    trainings = {
        _name(arm, size, seed): Training(
            data=data,
            threat=arm.threat,
            objective=arm.objective,
            recipe=fixed(recipe, size, steps, seed),
            out=out / str(size) / str(seed),
            steps=attack_steps,
        )
        for size in sizes
        for seed in seeds
        for arm in (STANDARD, *arms)
    }
    train_many(list(trainings.values()), "Training at several sizes", device=device)
    trained = {name: load_classifier(f"local:{t.folder}") for name, t in trainings.items()}
    for name, classifier in trained.items():
        classifier.name = name
    run = audit(trained.values(), test, ["standard"], out / "audit", pictures=0, device=device)
    folders = {name: training.folder for name, training in trainings.items()}
    losses = {name: float(c.facts["selected"]["loss"]) for name, c in trained.items()}
    return SampleSizes(run, arms, sizes, seeds, steps, folders, losses)


def fixed(recipe: Recipe, size: int, steps: int, seed: int) -> Recipe:
    """The recipe for so many images and about so many steps; the last weights are taken."""
    epochs = math.ceil(steps / math.ceil(size / recipe.batch))
    return replace(recipe, limit=size, seed=seed, epochs=epochs, held_out=0.0)


def _name(arm: Arm, size: int, seed: int) -> str:
    return f"{arm.name} on {size}, seed {seed}"
