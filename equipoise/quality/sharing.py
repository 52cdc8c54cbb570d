"""Which samples are asked for, and which held-out images they are compared with: as many of each class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.diffusion import Denoiser
from equipoise.errors import EquipoiseError
from equipoise.images import Images
from equipoise.streams import stream

__all__ = ["Shared", "share_out"]


@dataclass(frozen=True, eq=False)
class Shared:
    """Classes take turns in both, 0, 1, ..., K - 1, 0, ...

    Attributes:
        asked: the classes of the samples.
        images: held-out images in [0, 1], 2 * `half` of them.
        labels: their classes.
        half: as many of each class in the first half as in the second, and among the first `half` samples.
        classes: K.
    """

    asked: Tensor
    images: Tensor
    labels: Tensor
    half: int
    classes: int


def share_out(
    denoiser: Denoiser,
    judge: Classifier,
    train: Images,
    held_out: Images,
    *,
    count: int,
    seed: int,
) -> Shared:
    """The classes to ask for and a random choice of the held-out images.

    Raises:
        EquipoiseError: for images or classes that are not the denoiser's, too few of a class, too few samples.
    """
    classes = len(denoiser.classes)
    for images in (train, held_out):
        if images.shape != denoiser.shape or len(images.classes) != classes:
            raise EquipoiseError(
                f"Cannot judge a denoiser of {classes} classes of images of shape {denoiser.shape} by "
                f"{images.spec!r}, which has {len(images.classes)} of shape {images.shape}. Give images such as it was "
                "trained on."
            )
    known = (denoiser.classes, train.classes, held_out.classes, judge.classes)
    named = {names for names in known if names and not all(name.isdecimal() for name in names)}
    if len(named) > 1 or (judge.classes is not None and len(judge.classes) != classes):
        raise EquipoiseError(
            f"Cannot judge the denoiser {denoiser.name!r} by the classifier {judge.name!r} and the images "
            f"{held_out.spec!r}: their classes are not the same. Give those it was trained on, in the same order."
        )
    if count < 2 * classes:
        raise EquipoiseError(
            f"Cannot judge a denoiser of {classes} classes by {count} samples: give {2 * classes} or more."
        )
    labels = torch.tensor(held_out.all_labels())
    order = torch.randperm(len(labels), generator=stream(seed, "held out"))
    by_class = [order[labels[order] == c] for c in range(classes)]
    fewest = min(map(len, by_class))
    each = min(count // classes, fewest // 2)
    if each < 2:
        raise EquipoiseError(
            f"Cannot judge a denoiser by {held_out.spec!r}: a class has {fewest} images, and four of each are needed. "
            "Give more held-out images."
        )
    rows = torch.stack([rows[: 2 * each] for rows in by_class], 1).flatten()
    batch = held_out.batch(rows.tolist(), shape=denoiser.shape)
    return Shared(
        torch.arange(count // classes * classes) % classes,
        batch.images,
        batch.labels,
        each * classes,
        classes,
    )
