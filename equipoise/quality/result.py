"""What was found of a denoiser (`equipoise.quality.denoiser` says what each number is), and the picture of it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from equipoise.audit import Estimate
from equipoise.images import encode_png

__all__ = ["DenoiserQuality", "Pair", "picture"]


@dataclass(frozen=True)
class Pair:
    """A sample or a held-out image beside the training image nearest to it.

    Attributes:
        row: of the training image.
        distance: L2, between the two.
        second: to the second nearest training image.
    """

    row: int
    distance: float
    second: float


@dataclass(frozen=True)
class DenoiserQuality:
    """What was found, with 95 % intervals.

    Attributes:
        distance: of the samples from held-out images in the judge's features.
        floor: of other held-out images from the same ones.
        excess: the one less the other.
        read: share of samples that the judge reads as the class asked for.
        read_held_out: share of held-out images that it reads as their class.
        by_class: `read` of each class, in the order of the classes.
        nearer: how samples and held-out images compare in their distance to training images, in pixels.
        nearer_features: the same in the judge's features.
        copied: share of samples that are copies of a training image.
        copied_held_out: the same of held-out images, which are none.
        pairs: the samples nearest to a training image, the nearest first.
        pairs_held_out: the same of held-out images.
        picture: PNG of them: samples over their nearest training images, held-out images over theirs.
    """

    distance: Estimate
    floor: Estimate
    excess: Estimate
    read: Estimate
    read_held_out: Estimate
    by_class: tuple[Estimate, ...]
    nearer: Estimate
    nearer_features: Estimate
    copied: Estimate
    copied_held_out: Estimate
    pairs: tuple[Pair, ...] = field(repr=False)
    pairs_held_out: tuple[Pair, ...] = field(repr=False)
    picture: bytes = field(repr=False)


def picture(images: Tensor, known: Tensor, columns: int) -> bytes:
    """A PNG of images over their neighbours, some 64 pixels each, with a wider gap between two such rows.

    Arguments:
        images: with shape (N, C, H, W).
        known: what stands below each, with the same shape.
        columns: images in a row.
    """
    factor = max(1, 64 // max(images.shape[2:]))
    rows = []
    for above, below in zip(images.split(columns), known.split(columns), strict=True):
        for k, part in enumerate((above, below)):
            large = part.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
            framed = functional.pad(large, [3, 3, 3 if k else 12, 3], value=1.0)
            line = torch.cat(list(framed), 2)
            missing = columns * framed.shape[3] - line.shape[2]
            rows.append(functional.pad(line, [0, missing], value=1.0))
    return encode_png(torch.cat(rows, 1)[:, 9:])
