"""Does a denoiser with rounded weights say the same? Its answers at several noise levels, and samples under a judge.

At a level s, D and D' the two denoisers, x images and n noise,

    error       root mean square of D(x + s n, s) - x: what the denoiser misses anyway
    difference  root mean square of D'(x + s n, s) - D(x + s n, s)

over pixels, images, and labels both given and withheld. Rounding counts as harmless where the difference is at most a
fiftieth of the error at every level: the mean squared error then changes by about 4 parts in 100 at the most, were all
of it in one direction, and by 4 in 10,000 where it is in none.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.diffusion import UNCONDITIONAL, Denoiser, to_network_units
from equipoise.errors import EquipoiseError
from equipoise.images import Images
from equipoise.quality import draw_samples
from equipoise.streams import stream

__all__ = ["LEVELS", "TOLERANCE", "Level", "Outputs", "compare_outputs"]

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 80.0)
TOLERANCE = 0.02
SAMPLES = 200


@dataclass(frozen=True)
class Level:
    """Error and difference at the noise level `sigma`, all in network units."""

    sigma: float
    error: float
    difference: float


@dataclass(frozen=True)
class Outputs:
    """What was compared.

    Attributes:
        images: how many were denoised.
        levels: the noise levels.
        samples: drawn with each denoiser from the same noise; 0 without a judge.
        read: how many samples of either the judge reads as the class asked for.
        alike: of how many it reads the same class in both.
    """

    images: int
    levels: tuple[Level, ...]
    samples: int = 0
    read: tuple[int, int] = (0, 0)
    alike: int = 0

    @property
    def largest(self) -> float:
        """The largest difference as a share of the error."""
        return max(level.difference / max(level.error, 1e-12) for level in self.levels)

    @property
    def same(self) -> bool:
        """Whether it is within the tolerance."""
        return self.largest <= TOLERANCE


@torch.no_grad()
def compare_outputs(
    first: Denoiser,
    second: Denoiser,
    images: Images,
    judge: Classifier | None = None,
    *,
    count: int = 64,
    seed: int = 0,
) -> Outputs:
    """Asks both, where they are.

    Arguments:
        first: as it was trained.
        second: with rounded weights.
        images: of which a random sample is denoised.
        judge: what reads the samples.
        count: images in the sample.
        seed: of the sample and of all noise.

    Raises:
        EquipoiseError: for images that are not the denoiser's.
    """
    if images.shape != first.shape or len(images.classes) != len(first.classes):
        raise EquipoiseError(
            f"Cannot compare denoisers of images of shape {first.shape} and {len(first.classes)} classes on "
            f"{images.spec!r}. Give images such as they were trained on."
        )
    sample = images.subset(count, seed)
    batch = sample.batch(range(len(sample)), skip_broken=True, shape=first.shape)
    x = to_network_units(batch.images).to(first.device)
    labels = batch.labels.to(first.device)
    if first.unconditional:
        x = torch.cat([x, x])
        labels = torch.cat([labels, torch.full_like(labels, UNCONDITIONAL)])
    levels = []
    for sigma in LEVELS:
        noise = torch.randn(x.shape, generator=stream(seed, "pack", sigma)).to(x)
        one, other = (d(x + sigma * noise, sigma, labels) for d in (first, second))
        levels.append(Level(sigma, _size(one - x), _size(other - one)))
    if judge is None:
        return Outputs(len(batch.ids), tuple(levels))
    asked = torch.arange(SAMPLES) % len(first.classes)
    drawn = [draw_samples(d, asked, seed=seed) for d in (first, second)]
    one, other = (judge.logits(part.to(judge.mean.device)).argmax(1).cpu() for part in drawn)
    read = int((one == asked).sum()), int((other == asked).sum())
    return Outputs(len(batch.ids), tuple(levels), SAMPLES, read, int((one == other).sum()))


def _size(difference: Tensor) -> float:
    return math.sqrt(difference.double().square().mean().item())
