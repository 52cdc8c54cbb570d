"""Many small trainings at once: a process for each processor core, one thread in each.

A small network leaves most of a machine idle, and a study trains hundreds of them. Which process trains what changes no
result. On a GPU they go one after the other, in this process.
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from equipoise.devices import choose_device
from equipoise.errors import EquipoiseError
from equipoise.images import Images, load_images
from equipoise.norms import Threat
from equipoise.progress import Progress
from equipoise.training.ladder import rung_name, train_ladder
from equipoise.training.recipe import Recipe

__all__ = ["Training", "train_many"]

MOST = 8
"""Processes at once: each takes half a gigabyte."""


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
    workers = min(os.cpu_count() or 1, MOST, len(left)) if accelerator == "cpu" else 1
    with Progress(title, total=len(trainings), done=len(trainings) - len(left)) as progress:
        if workers <= 1:
            for training in left:
                _train(training, accelerator)
                progress.advance(training.folder.name)
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            workers, context, initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            running = {pool.submit(_train, training, accelerator): training for training in left}
            for done in as_completed(running):
                done.result()
                progress.advance(running[done].folder.name)
            pool.shutdown()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise EquipoiseError(
                    "A process that trained has died: out of memory, or killed. Repeat the call to go on. A script of "
                    "yours has to call it below `if __name__ == '__main__':`."
                ) from error
            raise


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
