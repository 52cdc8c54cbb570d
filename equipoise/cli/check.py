"""The verb that looks over what exists, before hours are spent on it: a classifier, or a denoiser."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from equipoise.cli.app import app, plain_table, say
from equipoise.errors import EquipoiseError

if TYPE_CHECKING:
    from equipoise.audit import Estimate
    from equipoise.quality import Kept

__all__ = ["check"]


@app.command
def check(
    model: str,
    *,
    data: str,
    split: str = "test",
    judge: str | None = None,
    train_split: str = "train",
    samples: int = 1000,
    guidance: float = 1.0,
    steps: int = 36,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Look a classifier over before an hour is spent on it; exits with 1 when something is wrong.

    With --judge it is a denoiser that is looked over: samples of it beside real images that it was not trained on, by
    their Fréchet distance, by what the judge reads in them, and by how near they lie to training images. The numbers
    go into OUT/quality.json and the nearest pairs into OUT/samples/nearest.png; asking the same again reads them.

    Parameters
    ----------
    model
        What to look over: a classifier (local:DIR, package.module:function, timm:NAME, ...), or with --judge a
        denoiser (local:DIR, edm:FILE.pkl, diffusers:FOLDER).
    data
        Images with labels: digits, folder:PATH or parquet:PATH.
    split
        Which part of the images; of a denoiser's, one that neither it nor the judge was trained on.
    judge
        A classifier of the denoiser's classes, best one that is used for nothing else.
    train_split
        Which part of the images the denoiser was trained on.
    samples
        How many to draw of the denoiser.
    guidance
        Of the samples: 1 for what the denoiser learnt.
    steps
        Of the sampler.
    seed
        Of the samples, and of the choice of held-out images.
    out
        Folder of what is found. [default: the denoiser's own]
    device
        auto, cpu, cuda or cuda:1.
    """
    if judge is None:
        _preflight(model, data, split, device)
        return
    kind, _, target = model.partition(":")
    if out is None and kind != "local":
        raise EquipoiseError(
            f"Looking over {model!r} needs a folder for what is found: --out DIR."
        )
    from equipoise.classifiers import load_classifier
    from equipoise.diffusion import load_denoiser
    from equipoise.images import load_images
    from equipoise.quality import assess

    found = assess(
        load_denoiser(model),
        load_classifier(judge),
        load_images(data, train_split),
        load_images(data, split),
        out or Path(target).expanduser(),
        count=samples,
        seed=seed,
        guidance=guidance,
        steps=steps,
        device=device,
    )
    _print_quality(found)
    say(f"Nearest pairs: {(out or Path(target)) / 'samples' / 'nearest.png'}")


def _preflight(classifier: str, data: str, split: str, device: str) -> None:
    from equipoise.audit import check as run_check
    from equipoise.images import load_images

    checks = run_check(classifier, load_images(data, split), device=device)
    colours = {"pass": "green", "warn": "yellow", "fail": "red"}
    table = Table("check", "", "finding", "remedy")
    for item in checks:
        status = f"[{colours[item.status]}]{item.status}[/]"
        table.add_row(item.name, status, escape(item.finding), escape(item.remedy))
    Console().print(table)
    if any(item.status == "fail" for item in checks):
        sys.exit(1)


def _print_quality(kept: "Kept") -> None:
    found, judge = kept.quality, kept.about["judge"]
    caption = (
        f"{found.read.n} samples, 95% intervals. Fréchet distances are of {found.distance.n} images each, in the "
        f"features of {judge}: not those of Inception, and not to be compared with published FIDs. Nearer: how often a "
        "sample lies nearer to its nearest training image than a held-out image to its own; 50% is no sign of copying."
    )
    table = plain_table("of", caption)
    for head in ("samples", "held-out images"):
        table.add_column(head)
    rows = (
        ("read as their class", found.read, found.read_held_out, True),
        ("Fréchet distance", found.distance, found.floor, False),
        ("… the one less the other", found.excess, None, False),
        ("copies of a training image", found.copied, found.copied_held_out, True),
        ("nearer to training, pixels", found.nearer, None, True),
        ("nearer to training, features", found.nearer_features, None, True),
    )
    for name, first, second, share in rows:
        table.add_row(name, _told(first, share), "" if second is None else _told(second, share))
    Console().print(table)


def _told(found: "Estimate", share: bool) -> str:
    style = ".1%" if share else ".3f"
    return f"{found.value:{style}} ({found.low:{style}} to {found.high:{style}})"
