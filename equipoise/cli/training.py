"""Verbs that fit something: train, denoise."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from equipoise.cli.app import app, say
from equipoise.cli.tracking import logging_to

__all__ = ["denoise", "train"]


@app.command
def train(
    *,
    data: str = "digits",
    split: str = "train",
    objective: Literal["standard", "pgd", "trades", "half-and-half", "random-noise"] = "pgd",
    norm: Literal["l2", "linf", "l1"] = "l2",
    radii: Annotated[list[str], Parameter(consume_multiple=True)] = ["0", "0.5", "1"],  # noqa: B006
    out: Path = Path("runs/ladder"),
    net: Literal["mlp", "residual"] = "residual",
    widths: Annotated[list[int], Parameter(consume_multiple=True)] = [],  # noqa: B006
    blocks: int = 1,
    epochs: int = 30,
    batch: int = 128,
    rate: float = 4e-3,
    decay: float = 5e-4,
    average: float = 0.99,
    shift: int = 0,
    flip: bool = False,
    held_out: float = 0.15,
    judgements: int = 50,
    limit: int = 0,
    steps: int = 7,
    seed: int = 0,
    precision: Literal["float32", "bf16"] = "float32",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    log: list[str] | None = None,
) -> None:
    """Train a ladder: one classifier for each radius, into OUT/NORM-RADIUS or OUT/OBJECTIVE-NORM-RADIUS.

    Finished rungs are kept and an interrupted one goes on when the command is repeated. Under torchrun every process
    takes its share of each batch.

    Parameters
    ----------
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also with
        ?classes=restricted-imagenet or restricted-imagenet-11-dogs.
    split
        Which part of the images to train on.
    objective
        What rungs above radius 0 minimise: pgd (the loss on attacked images), trades (the loss on images as they are,
        and what attacks change in the answer), half-and-half (pgd for half of the images), random-noise (the loss on
        images with noise of that size); standard goes with --radii 0 alone.
    norm
        Of the adversary.
    radii
        One rung each, in units of images in [0, 1]; 8/255 may be written so. 0 is standard training.
    out
        Folder of the ladder.
    net
        mlp, or residual for images of 8x8 to 64x64 pixels.
    widths
        Of the network's layers or stages; the network's own when left out.
    blocks
        Residual blocks in each stage.
    epochs
        Passes over the training images.
    batch
        Images in each step.
    rate
        Peak learning rate.
    decay
        Weight decay.
    average
        Decay of the moving average of the weights, per step.
    shift
        Random shifts by up to so many pixels.
    flip
        Mirror images at random.
    held_out
        Share of the images kept for choosing the checkpoint.
    judgements
        How many times the held-out images are asked, at most.
    limit
        Train on at most so many images, a random sample; 0 for all.
    steps
        Of projected gradient ascent in each step of adversarial training; random-noise takes none.
    seed
        Of everything random.
    precision
        bf16 for mixed precision, where the device has instructions for it; about twice as fast.
    device
        auto, cpu or cuda.
    log
        Whom to tell what OUT/RUNG/metrics.jsonl says, several times if you like: tensorboard[:FOLDER],
        wandb[:PROJECT] or mlflow[:URI].
    """
    from equipoise.images import load_images
    from equipoise.norms import parse_threat
    from equipoise.training import Recipe, train_ladder

    with logging_to(log) as loggers:
        rungs = train_ladder(
            load_images(data, split),
            [parse_threat(f"{norm}:{radius}") for radius in radii],
            Recipe(
                net=net,
                widths=tuple(widths),
                blocks=blocks,
                epochs=epochs,
                batch=batch,
                rate=rate,
                decay=decay,
                average=average,
                shift=shift,
                flip=flip,
                held_out=held_out,
                judgements=judgements,
                limit=limit,
                seed=seed,
                precision=precision,
            ),
            out,
            objective=objective,
            steps=steps,
            accelerator=device,
            loggers=loggers,
        )
    if os.environ.get("RANK", "0") != "0":
        return
    table = Table(
        Column("rung", no_wrap=True), "chosen epoch", "held-out accuracy", "under attack"
    )
    for rung in rungs:
        chosen = rung.facts["selected"]
        table.add_row(
            f"local:{escape(str(out / rung.name))}",
            str(chosen["epoch"]),
            f"{chosen['held_out_accuracy']:.1%}" if "score" in chosen else "none held out",
            f"{chosen['score']:.1%}" if "score" in chosen else "",
        )
    Console().print(table)


@app.command
def denoise(
    *,
    data: str = "digits",
    split: str = "train",
    out: Path = Path("runs/denoiser"),
    width: int | None = None,
    multipliers: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    blocks: int | None = None,
    attention: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    dropout: float | None = None,
    patch: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    warm_up: int | None = None,
    decay: float | None = None,
    mean: float | None = None,
    std: float | None = None,
    withheld: float | None = None,
    average: float | None = None,
    flip: Annotated[bool | None, Parameter(negative="--no-flip")] = None,
    limit: int | None = None,
    seed: int | None = None,
    precision: Literal["float32", "bf16"] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    log: list[str] | None = None,
) -> None:
    """Train a denoiser, from which counterfactual images are made, into OUT.

    What is left out follows from the size of the images: 8x8 digits take under a minute on two CPU cores, 28x28 grey
    images some minutes; photographs want a GPU, or a small --width and few --steps. OUT/samples shows what the network
    can do so far, a row for each class. Repeating a command goes on where it stopped. Under torchrun every process
    takes its share of each batch.

    Parameters
    ----------
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also with
        ?classes=restricted-imagenet or restricted-imagenet-11-dogs.
    split
        Which part of the images to train on.
    out
        Folder of the denoiser.
    width
        Channels of the network at its first level.
    multipliers
        Of the width, one for each level: 1 2 2.
    blocks
        In each level, on the way down and again on the way up.
    attention
        Sizes of feature maps at which the network attends, besides the middle: 16.
    dropout
        Share of activations dropped in training.
    patch
        Side of the squares of pixels that the network sees as one.
    steps
        Of the optimiser.
    batch
        Images in each step.
    rate
        Peak learning rate.
    warm_up
        Steps over which it rises.
    decay
        Share of the steps over which it falls to 0.
    mean
        Of the logarithm of the noise level, for images in [-1, 1].
    std
        Of the same.
    withheld
        Share of the images that are shown without their label, which guidance needs.
    average
        Relative width of the average of the weights over time.
    flip
        Mirror images at random.
    limit
        Train on at most so many images, a random sample; 0 for all.
    seed
        Of everything random.
    precision
        bf16 for mixed precision, where the device has instructions for it.
    device
        auto, cpu or cuda.
    log
        Whom to tell what OUT/metrics.jsonl says, several times if you like: tensorboard[:FOLDER], wandb[:PROJECT] or
        mlflow[:URI].
    """
    given = {
        "width": width,
        "multipliers": multipliers and tuple(multipliers),
        "blocks": blocks,
        "attention": None if attention is None else tuple(attention),
        "dropout": dropout,
        "patch": patch,
        "steps": steps,
        "batch": batch,
        "rate": rate,
        "warm_up": warm_up,
        "decay": decay,
        "mean": mean,
        "std": std,
        "withheld": withheld,
        "average": average,
        "flip": flip,
        "limit": limit,
        "seed": seed,
        "precision": precision,
    }
    from dataclasses import replace

    from equipoise.images import load_images
    from equipoise.training import fit_denoiser, suited_recipe

    images = load_images(data, split)
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    recipe = replace(suited_recipe(images.shape), **changes)
    with logging_to(log) as loggers:
        denoiser = fit_denoiser(images, recipe, out, accelerator=device, loggers=loggers)
    if os.environ.get("RANK", "0") != "0":
        return
    say(f"Denoiser: local:{out}, loss {denoiser.facts['loss']:.3f}")
    say(f"Samples: {out / 'samples' / f'step-{recipe.steps:06d}.png'}")
