"""Many small trainings at once, in a process each: a study trains hundreds of them.

On a GPU they go one after the other, in this process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from equipoise.devices import choose_device
from equipoise.images import Images, load_images
from equipoise.norms import Threat
from equipoise.processes import spread
from equipoise.progress import Progress
from equipoise.training.ladder import rung_name, train_ladder
from equipoise.training.recipe import Recipe

__all__ = ["Training", "train_many"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """One rung: what `train_ladder` takes, with the images by their spec."""

    data: str
    threat: Threat
    objective: str
    recipe: Recipe
    out: Path
    steps: int

    @property
    def folder(self) -> Path:
        """Where the classifier goes."""
        return self.out / rung_name(self.threat, self.objective)


def train_many(trainings: Sequence[Training], title: str, *, device: str = "auto") -> None:
    """Trains all that are not finished yet; each resumes by itself when the call is repeated.

    Arguments:
        trainings: with different folders.
        title: of the progress shown.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        EquipoiseError: for what a training refuses, or when a process dies.
    """
    accelerator = choose_device(device).type
    left = [t for t in trainings if not (t.folder / "classifier.json").exists()]
    for training in trainings:
        if training not in left:
            _train(training, accelerator)  # only looks whether it is this very training
    train = partial(_train, accelerator=accelerator)
    with Progress(title, total=len(trainings), done=len(trainings) - len(left)) as progress:
        if accelerator != "cpu":
            for training in left:
                train(training)
                progress.advance(training.folder.name)
            return
        for training in spread(train, left):
            progress.advance(training.folder.name)


def _train(training: Training, accelerator: str) -> None:
    train_ladder(
        _images(training.data),
        [training.threat],
        training.recipe,
        training.out,
        objective=training.objective,
        steps=training.steps,
        accelerator=accelerator,
        shown=False,
    )


@lru_cache(maxsize=1)
def _images(data: str) -> Images:
    return load_images(data, "train")
