"""Verbs that make classifiers of others: convert, transfer."""

from pathlib import Path

from equipoise.cli.app import app, say
from equipoise.errors import EquipoiseError

__all__ = ["convert", "transfer"]


@app.command
def convert(checkpoint: str, *, out: Path) -> None:
    """Convert checkpoints of the robust ImageNet ResNets into folders that local:DIR opens, without running them.

    A checkpoint goes into OUT, those of a folder each into OUT/NAME. What was converted before is kept.

    Parameters
    ----------
    checkpoint
        robust-imagenet:FILE.ckpt, or robust-imagenet:FOLDER with several.
    out
        Folder of the classifier, or of all.
    """
    kind, _, target = checkpoint.partition(":")
    if kind != "robust-imagenet" or not target:
        raise EquipoiseError(
            f"Cannot convert {checkpoint!r}: checkpoints are named as robust-imagenet:FILE.ckpt, or as "
            "robust-imagenet:FOLDER for all in it."
        )
    from equipoise.classifiers import convert_robust_imagenet

    for folder in convert_robust_imagenet(Path(target).expanduser(), out):
        say(f"Classifier: local:{folder}")


@app.command
def transfer(
    classifier: str,
    *,
    data: str,
    out: Path,
    split: str = "train",
    limit: int | None = None,
    decay: list[float] | None = None,
    seed: int = 0,
    batch: int = 128,
    device: str = "auto",
) -> None:
    """Fit a new linear head to a classifier's features of other images (fixed-feature transfer, linear probing).

    The classifier's other layers stay as they are. OUT opens as local:OUT and keeps the classifier's place on a ladder.
    Repeating a command changes nothing.

    Parameters
    ----------
    classifier
        Whose features: local:DIR, robust-imagenet:FILE.ckpt, ...
    data
        Images to fit to, of any classes.
    out
        Folder of the new classifier.
    split
        Which part of the images.
    limit
        At most so many, a random sample.
    decay
        Strength of the L2 penalty; several times to let held-out images choose. Six from 1 to 1e-5 when left out.
    seed
        Of the sample and of the choice of held-out images.
    batch
        Images in a network call; changes speed and memory, no result.
    device
        auto, cpu, cuda or cuda:1.
    """
    from equipoise.classifiers import load_classifier
    from equipoise.images import load_images
    from equipoise.training import transfer as fit
    from equipoise.training.linear_probing import DECAYS

    images = load_images(data, split).subset(limit, seed)
    fitted = fit(
        load_classifier(classifier),
        images,
        out,
        decays=decay or DECAYS,
        seed=seed,
        batch=batch,
        device=device,
    )
    chosen = fitted.facts["selected"]
    held = chosen.get("held_out_accuracy")
    accuracy = "" if held is None else f", accuracy on held-out images {held:.1%}"
    say(
        f"Classifier: local:{out}, fitted to {len(images)} images with decay {chosen['decay']:g}{accuracy}"
    )
