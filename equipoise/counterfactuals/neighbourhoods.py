"""Neighbourhoods: how near a counterfactual has to stay to its original, as a density q(x | x0).

Notation, for all of this room. Images are in network units, x = 2 image - 1, and so are x0, the original, every noise
level, and the widths of neighbourhoods: 0.2 here is 0.1 between images in [0, 1]. `sigma` is the standard deviation of
q in every pixel, y = x - x0, d the number of pixels and channels.

    Gaussian    q ~ exp(-|y|_2^2 / (2 sigma^2))
    Laplace     q ~ exp(-|y|_1 / b),  b = sigma / sqrt(2)

The second is the "Boltzmann" variant of the paper in its pixel-wise form, which is our reading: whether the paper's
distance is the L1 norm is not known.

A neighbourhood owns its score after diffusion, that of q convolved with N(0, s^2) at noise level s:

    Gaussian    -y / (sigma^2 + s^2)
    Laplace     (B - A) / ((A + B) b),   A, B = erfcx((s / b -+ y / s) / sqrt(2))

References:
    Do counterfactual examples complicate adversarial training? (Yeats et al., 2024), arXiv 2404.10588
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.specs import parse_number

__all__ = ["Gaussian", "Laplace", "Neighbourhood", "parse_neighbourhood"]


@dataclass(frozen=True)
class Neighbourhood(ABC):
    """A density around the original, independent and alike in all pixels.

    Arguments:
        sigma: standard deviation in each pixel and channel, in network units, > 0.

    Raises:
        EquipoiseError: for a sigma that is not positive and finite.
    """

    sigma: float

    name: ClassVar[str]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise EquipoiseError(
                f"A {self.name} neighbourhood needs a positive width sigma, not {self.sigma}."
            )

    def __str__(self) -> str:
        return f"{self.name}:{self.sigma:g}"

    @classmethod
    def relative(cls, share: float, scale: float) -> Self:
        """The neighbourhood whose sigma is `share` of the data's own L2 size `scale` (see `Denoiser.scale`).

        The width at which images begin to change class grows with the L2 size of the data, hence with resolution; a
        share carries over.

        Raises:
            EquipoiseError: when `scale` is not known.
        """
        if math.isnan(scale):
            raise EquipoiseError(
                f"Cannot make a {cls.name} neighbourhood relative to the size of the data: the denoiser does not know "
                "it. Give an absolute width, as in gaussian:0.2."
            )
        return cls(share * scale)

    @abstractmethod
    def score(self, y: Tensor, sigma: float) -> Tensor:
        """The score of the neighbourhood diffused to the noise level `sigma` >= 0, with the shape and dtype of `y`."""

    @abstractmethod
    def log_density(self, y: Tensor) -> Tensor:
        """log q with its constant, summed over all dimensions but the first, with shape (B,)."""


@dataclass(frozen=True)
class Gaussian(Neighbourhood):
    """q ~ exp(-|x - x0|_2^2 / (2 sigma^2)): many small changes."""

    name: ClassVar[str] = "gaussian"

    def score(self, y: Tensor, sigma: float) -> Tensor:
        return y * (-1 / (self.sigma**2 + sigma**2))

    def log_density(self, y: Tensor) -> Tensor:
        constant = math.log(self.sigma) + math.log(2 * math.pi) / 2
        return -(y**2 / (2 * self.sigma**2) + constant).flatten(1).sum(1)


@dataclass(frozen=True)
class Laplace(Neighbourhood):
    """q ~ exp(-sqrt(2) |x - x0|_1 / sigma): few larger changes, the rest as it was."""

    name: ClassVar[str] = "laplace"

    @property
    def b(self) -> float:
        """The scale sigma / sqrt(2)."""
        return self.sigma / math.sqrt(2)

    def score(self, y: Tensor, sigma: float) -> Tensor:
        if sigma == 0:
            return y.sign() * (-1 / self.b)
        # (B - A) / (A + B) = tanh((log B - log A) / 2): no overflow where A or B alone would have one.
        wide, far = sigma / self.b, y.double() / sigma
        lower, upper = (log_erfcx((wide + sign * far) / math.sqrt(2)) for sign in (-1, 1))
        return torch.tanh((upper - lower) / 2).div_(self.b).to(y.dtype)

    def log_density(self, y: Tensor) -> Tensor:
        return -(y.abs() / self.b + math.log(2 * self.b)).flatten(1).sum(1)


def log_erfcx(z: Tensor) -> Tensor:
    """log(exp(z^2) erfc(z)) for any z."""
    right = torch.special.erfcx(z.clamp(min=0)).log()
    left = z.clamp(max=0)
    return torch.where(z < 0, left**2 + torch.special.erfc(left).log(), right)


def parse_neighbourhood(text: str, scale: float = math.nan) -> Neighbourhood:
    """Reads ``gaussian:0.2``, ``laplace:0.2``, or ``gaussian:4%``: 4 % of the data's L2 size `scale`.

    Raises:
        EquipoiseError: for another word, a width that is no positive number, a share where `scale` is not known.
    """
    kinds = {kind.name: kind for kind in (Gaussian, Laplace)}
    name, colon, width = text.partition(":")
    if name not in kinds:
        raise EquipoiseError(
            f"Cannot read the neighbourhood {text!r}. {did_you_mean(name, kinds)}"
        )
    if not colon:
        raise EquipoiseError(f"The neighbourhood {text!r} needs a width: write {name}:0.2.")
    if width.endswith("%"):
        share = parse_number(width[:-1], f"the width of {text!r}") / 100
        return kinds[name].relative(share, scale)
    return kinds[name](parse_number(width, f"the width of {text!r}"))
