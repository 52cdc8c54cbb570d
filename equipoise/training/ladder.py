"""A ladder: the same network trained on the same images for one radius after another, each rung a classifier."""

from collections.abc import Sequence
from pathlib import Path

from equipoise.classifiers import Classifier
from equipoise.images import Images
from equipoise.norms import Threat
from equipoise.training.adversarial import Adversarial
from equipoise.training.fitting import fit
from equipoise.training.objective import Objective
from equipoise.training.recipe import Recipe
from equipoise.training.standard import Standard

__all__ = ["rung_name", "train_ladder"]


def rung_name(threat: Threat) -> str:
    """The name of a rung's folder: ``l2-0.5``, ``linf-8_255``."""
    return str(threat).replace(":", "-").replace("/", "_")


def train_ladder(
    images: Images,
    threats: Sequence[Threat],
    recipe: Recipe,
    out: str | Path,
    *,
    steps: int = 7,
    accelerator: str = "auto",
) -> list[Classifier]:
    """Trains one classifier per threat into ``out/NORM-RADIUS``; finished rungs are loaded, an interrupted one goes on.

    Radius 0 is standard training, every other radius adversarial training within it.

    Arguments:
        images: to train on.
        threats: one per rung.
        recipe: shared by all rungs.
        out: folder of the ladder.
        steps: of projected gradient descent in each step of adversarial training.
        accelerator: "auto", "cpu" or "cuda".

    Raises:
        EquipoiseError: when a rung's folder holds a classifier trained otherwise.
    """
    folder = Path(out).expanduser()
    rungs = []
    for threat in dict.fromkeys(threats):
        objective: Objective = (
            Adversarial(threat=threat, steps=steps) if threat.radius else Standard()
        )
        rungs.append(
            fit(images, objective, recipe, folder / rung_name(threat), accelerator=accelerator)
        )
    return rungs
