"""The sets of the study of counterfactuals, and who is needed to make them: a denoiser and oracles."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from equipoise.classifiers import Classifier
from equipoise.counterfactuals import (
    CounterfactualSet,
    DiffusionClassifier,
    Sampler,
    make_set,
    measure_quality,
    parse_neighbourhood,
)
from equipoise.diffusion import Denoiser
from equipoise.images import Images, Subset
from equipoise.norms import L2
from equipoise.studies.counterfactual_settings import Settings
from equipoise.training import (
    DenoiserRecipe,
    Recipe,
    shuffled_rows,
    suited_recipe,
    train_ladder,
)

__all__ = ["Making", "denoiser_recipe", "fitted", "train_oracles"]

ORACLE_SEEDS = (101, 102, 103)


def fitted(train: Images, recipe: Recipe) -> Images:
    """The images that classifiers of `recipe` are fitted on: without those held out for choosing a checkpoint."""
    rows = shuffled_rows(train, recipe.limit, recipe.seed)
    return Subset(train, sorted(rows[math.ceil(recipe.held_out * len(rows)) :]))


def denoiser_recipe(train: Images, asked: Settings) -> DenoiserRecipe:
    """What suits the size of the images, with the number of steps that was asked for."""
    recipe = replace(suited_recipe(train.shape), seed=asked.seed)
    return recipe if asked.denoiser_steps is None else replace(recipe, steps=asked.denoiser_steps)


def train_oracles(
    train: Images, recipe: Recipe, out: Path, accelerator: str, count: int = 3
) -> list[Classifier]:
    """An ensemble of standard classifiers from other seeds, which judge counterfactuals and nothing else."""
    oracles = []
    for seed in ORACLE_SEEDS[:count]:
        other = replace(recipe, seed=seed)
        (oracle,) = train_ladder(train, [L2(0)], other, out / str(seed), accelerator=accelerator)
        oracle.name = f"oracle-{seed}"
        oracles.append(oracle)
    return oracles


@dataclass(frozen=True)
class Making:
    """What all sets share: settings, who makes and who judges them, the training images, and the folder of all sets."""

    asked: Settings
    denoiser: Denoiser
    oracles: list[Classifier]
    train: Images
    out: Path

    def draw(
        self,
        name: str,
        images: Images,
        neighbourhood: str,
        *,
        guidance: float | None = None,
        method: str | None = None,
        steps: int = 18,
    ) -> CounterfactualSet:
        """A set, with the study's guidance unless another is given."""
        asked = self.asked
        return make_set(
            images,
            Sampler(
                self.denoiser,
                parse_neighbourhood(neighbourhood, self.denoiser.scale),
                guidance=asked.guidance if guidance is None else guidance,
                method=method,
                steps=steps,
            ),
            self.out / name,
            oracles=self.oracles,
            per_class=asked.per_class,
            seed=asked.seed,
            device=asked.device,
        )

    def arm(
        self,
        name: str,
        images: Images,
        neighbourhood: str,
        *,
        method: str | None = None,
        steps: int = 18,
    ) -> CounterfactualSet:
        """A set with its quality measured."""
        made = self.draw(name, images, neighbourhood, method=method, steps=steps)
        measure_quality(made, images, self.train, classify=DiffusionClassifier(self.denoiser))
        return made
