"""Threats: a norm and a radius, and everything that follows from them.

Notation. A perturbation delta has shape (B, C, H, W), is added to an image x in [0, 1], and is judged image by image:
the threat allows ||delta||_p <= radius. The dual exponent q satisfies 1/p + 1/q = 1, and ||g||_q is the most that a
gradient g can gain per unit of radius: max over ||delta||_p <= 1 of <g, delta>.

    p     dual q   steepest unit step for g                 projection
    1     inf      all on one coordinate of largest |g|     soft threshold found by sorting
    2     2        g / ||g||_2                              rescaling
    inf   1        sign(g)                                  clamping

Radii may differ per image wherever a tensor of shape (B,) is accepted.

References:
    Efficient projections onto the l1-ball for learning in high dimensions (Duchi et al., 2008),
    https://doi.org/10.1145/1390156.1390176
    Mind the box: l1-APGD for sparse adversarial attacks on image classifiers (Croce and Hein, 2021),
    https://arxiv.org/abs/2103.01208
    A probabilistic approach to the geometry of the l_p^n-ball (Barthe et al., 2005),
    https://arxiv.org/abs/math/0503650
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import torch
from torch import Generator, Tensor

from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.specs import parse_number

__all__ = ["L1", "L2", "Linf", "Norm", "Threat", "format_radius", "parse_threat"]


class Norm(StrEnum):
    """An l_p norm of each image of a batch: ``Norm.L2(delta)`` has shape (B,)."""

    L1 = "l1"
    L2 = "l2"
    LINF = "linf"

    @property
    def order(self) -> float:
        """The exponent p: 1, 2 or inf."""
        return float(self.removeprefix("l"))

    @property
    def dual(self) -> "Norm":
        """The norm with exponent q, 1/p + 1/q = 1."""
        return {Norm.L1: Norm.LINF, Norm.L2: Norm.L2, Norm.LINF: Norm.L1}[self]

    def __call__(self, delta: Tensor) -> Tensor:
        """||delta||_p of each image: from shape (B, ...) to (B,)."""
        return torch.linalg.vector_norm(delta.flatten(1), ord=self.order, dim=1)


def _column(value: Tensor | float, like: Tensor) -> Tensor:
    """`value`, one number or one per image, shaped to broadcast against `like` (B, ...)."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.reshape(-1, *[1] * (like.dim() - 1)) if value.dim() else value


def format_radius(radius: float) -> str:
    """A radius as people write it: ``0.5`` where that is exact, ``8/255`` where it is a whole number of grey levels."""
    short, levels = f"{radius:g}", round(radius * 255)
    if float(short) == radius:
        return short
    return f"{levels}/255" if levels / 255 == radius else repr(radius)


@dataclass(frozen=True)
class Threat(ABC):
    """Every change of an image whose norm is at most `radius`, in units of images in [0, 1].

    Raises:
        EquipoiseError: when the radius is negative or not finite.
    """

    radius: float
    norm: ClassVar[Norm]

    def __post_init__(self) -> None:
        number = isinstance(self.radius, int | float) and not isinstance(self.radius, bool)
        if not (number and math.isfinite(self.radius) and self.radius >= 0):
            raise EquipoiseError(
                f"Cannot build {type(self).__name__}({self.radius!r}): a radius is finite and at least 0, in units of "
                "images in [0, 1] (write 8/255, not 8)."
            )

    def __str__(self) -> str:
        """The threat as the command line takes it: ``l2:0.5``, ``linf:8/255``."""
        return f"{self.norm}:{format_radius(self.radius)}"

    @property
    def dual(self) -> Norm:
        """The dual norm, that of gradients."""
        return self.norm.dual

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """||a - b||_p of each pair of images: shapes (B, C, H, W) to (B,)."""
        return self.norm(a - b)

    @abstractmethod
    def project(self, delta: Tensor, radius: Tensor | float | None = None) -> Tensor:
        """The point of the ball nearest to `delta` in the Euclidean distance.

        Arguments:
            delta: with shape (B, ...).
            radius: one for all or one per image with shape (B,); the threat's own when None.
        """

    @abstractmethod
    def nearest(
        self, images: Tensor, delta: Tensor, radius: Tensor | float | None = None
    ) -> Tensor:
        """The allowed image, in the ball around `images` and in [0, 1], nearest to `images + delta` in the Euclidean
        distance. Projecting first on the ball and then on [0, 1] would give away a part of the radius.

        Arguments:
            images: in [0, 1], with shape (B, C, H, W).
            delta: same shape.
            radius: one for all or one per image with shape (B,); the threat's own when None.
        """

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """argmax of <gradient, v> over ||v||_p <= 1, image by image; zero where the gradient is."""

    @abstractmethod
    def _unit(self, shape: Sequence[int], generators: Sequence[Generator]) -> Tensor:
        """Points of that shape drawn uniformly from the unit ball, one from each generator.

        Powers, logarithms and sums are taken point by point: over a batch their last bit depends on its size.
        """

    def random(
        self,
        like: Tensor,
        generators: Sequence[Generator],
        radius: Tensor | float | None = None,
    ) -> Tensor:
        """Points drawn uniformly from the ball, one per image, each from its own CPU generator.

        Arguments:
            like: gives shape (B, C, H, W), dtype and device.
            generators: B generators.
            radius: one for all or one per image; the threat's own when None.
        """
        if not generators:
            return torch.zeros_like(like)
        scale = _column(self.radius if radius is None else radius, like)
        return self._unit(like.shape[1:], generators).to(like) * scale

    def ascend(self, images: Tensor, gradient: Tensor, size: Tensor | float) -> Tensor:
        """`images` moved by `size` in the direction of steepest ascent; the box is left to the caller.

        Arguments:
            images: current iterates in [0, 1], with shape (B, C, H, W).
            gradient: of the quantity to increase, same shape.
            size: length of the step in the threat's norm, one or per image.
        """
        return torch.addcmul(images, self.steepest(gradient), _column(size, images))


@dataclass(frozen=True)
class Linf(Threat):
    """No pixel changes by more than `radius`."""

    norm: ClassVar[Norm] = Norm.LINF

    def project(self, delta: Tensor, radius: Tensor | float | None = None) -> Tensor:
        if radius is None:
            return delta.clamp(-self.radius, self.radius)
        bound = _column(radius, delta)
        return torch.minimum(torch.maximum(delta, -bound), bound)

    def nearest(
        self, images: Tensor, delta: Tensor, radius: Tensor | float | None = None
    ) -> Tensor:
        return (images + self.project(delta, radius)).clamp_(0, 1)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def _unit(self, shape: Sequence[int], generators: Sequence[Generator]) -> Tensor:
        return torch.stack([torch.rand(*shape, generator=g) for g in generators]) * 2 - 1


@dataclass(frozen=True)
class L2(Threat):
    """The Euclidean length of the change is at most `radius`."""

    norm: ClassVar[Norm] = Norm.L2

    def project(self, delta: Tensor, radius: Tensor | float | None = None) -> Tensor:
        bound = _column(self.radius if radius is None else radius, delta)
        length = _column(self.norm(delta), delta).clamp(min=torch.finfo(delta.dtype).tiny)
        return delta * (bound / length).clamp(max=1)

    def nearest(
        self, images: Tensor, delta: Tensor, radius: Tensor | float | None = None
    ) -> Tensor:
        """images + s delta cut off at 0 and 1, s in [0, 1] being the largest that stays in the ball.

        The squared length of what is left after cutting off is concave in s^2, so that secants through points inside
        the ball meet its radius inside too, and nearer each time.
        """
        tiny = torch.finfo(delta.dtype).tiny
        change, up, down = delta.flatten(1), 1 - images.flatten(1), -images.flatten(1)
        bound = torch.as_tensor(
            self.radius if radius is None else radius, dtype=delta.dtype, device=delta.device
        ).expand(len(change))
        share = (bound / self.norm(delta).clamp(min=tiny)).clamp(max=1)
        safe, length_safe = torch.zeros_like(share), torch.zeros_like(share)
        done = torch.zeros_like(share, dtype=torch.bool)
        for _ in range(12):
            length = self.norm(torch.clamp(share[:, None] * change, down, up))
            # Rounding can make a secant too flat, which then meets the radius outside.
            over = length > bound * (1 + 1e-6)
            share = torch.where(over, safe, share)
            done = done | over | (share >= 1) | (length >= bound * (1 - 1e-6))
            if done.all():
                break
            now = share.square()
            slope = (length.square() - length_safe.square()) / (now - safe.square()).clamp(
                min=tiny
            )
            larger = now + (bound.square() - length.square()) / slope.clamp(min=tiny)
            safe, length_safe = torch.where(done, safe, share), length
            share = torch.where(done, share, larger.sqrt().clamp(max=1))
        share = torch.where(done, share, safe)
        moved = torch.clamp(share[:, None] * change, down, up)
        return images.add(moved.reshape(images.shape)).clamp_(0, 1)

    def steepest(self, gradient: Tensor) -> Tensor:
        # Dividing by the largest entry first keeps tiny gradients from underflowing when squared.
        tiny = torch.finfo(gradient.dtype).tiny
        scaled = gradient / _column(Norm.LINF(gradient), gradient).clamp(min=tiny)
        return scaled.mul_(1 / _column(self.norm(scaled), gradient).clamp(min=tiny))

    def _unit(self, shape: Sequence[int], generators: Sequence[Generator]) -> Tensor:
        power = 1 / math.prod(shape)
        draws = [
            (torch.randn(*shape, generator=g), torch.rand((), generator=g) ** power)
            for g in generators
        ]
        direction, share = (torch.stack(part) for part in zip(*draws, strict=True))
        length = _column(self.norm(direction), direction)
        return direction / length * _column(share, direction)


@dataclass(frozen=True)
class L1(Threat):
    """The absolute changes of all pixels and channels add up to at most `radius`."""

    norm: ClassVar[Norm] = Norm.L1

    def project(self, delta: Tensor, radius: Tensor | float | None = None) -> Tensor:
        # Sums of many sizes lose digits that their difference from the radius needs, hence double precision.
        bound = torch.as_tensor(
            self.radius if radius is None else radius, dtype=torch.float64, device=delta.device
        ).expand(len(delta))
        size = delta.flatten(1).abs().double()
        # The projection is a soft threshold t with sum(max(size - t, 0)) = bound. With sizes in descending order, t
        # is (sum of the k largest - bound) / k for the largest k that leaves the k-th size above t.
        ordered = size.sort(dim=1, descending=True).values
        count = torch.arange(1, size.shape[1] + 1, device=delta.device, dtype=size.dtype)
        candidates = (ordered.cumsum(1) - bound[:, None]) / count
        kept = (ordered > candidates).sum(1, keepdim=True).clamp(min=1)
        threshold = candidates.gather(1, kept - 1).clamp(min=0)
        shrunk = (size - threshold).clamp(min=0).to(delta.dtype) * delta.flatten(1).sign()
        # What the norm itself calls inside stays as it is, to the last bit.
        inside = (self.norm(delta) <= bound)[:, None]
        return torch.where(inside, delta.flatten(1), shrunk).reshape(delta.shape)

    def nearest(
        self, images: Tensor, delta: Tensor, radius: Tensor | float | None = None
    ) -> Tensor:
        """Changes are |delta| - t, cut off at 0 and at the edge of [0, 1], with the smallest t >= 0 in the ball."""
        x, change = images.flatten(1).double(), delta.flatten(1).double()
        bound = torch.as_tensor(
            self.radius if radius is None else radius, dtype=torch.float64, device=delta.device
        ).expand(len(delta))[:, None]
        size = change.abs()
        room = torch.where(change > 0, 1 - x, x).clamp(min=0)
        # The sum of changes falls with t along straight lines, which meet where a change leaves its edge or ends.
        knots, order = torch.cat([size - room, size], 1).sort(dim=1)
        bends = torch.cat([-torch.ones_like(size), torch.ones_like(size)], 1)
        slopes = bends.gather(1, order).cumsum(1)
        falls = torch.nn.functional.pad((slopes[:, :-1] * knots.diff(dim=1)).cumsum(1), (1, 0))
        sums = room.sum(1, keepdim=True) + falls
        before = ((sums > bound).sum(1, keepdim=True) - 1).clamp(0, knots.shape[1] - 2)
        over, slope = (part.gather(1, before) for part in (sums - bound, slopes))
        t = (knots.gather(1, before) + over / -slope.clamp(max=-1)).clamp(min=0)
        moved = torch.minimum((size - t).clamp(min=0), room)
        return (x + change.sign() * moved).to(images.dtype).clamp_(0, 1).reshape(images.shape)

    def steepest(self, gradient: Tensor) -> Tensor:
        flat = gradient.flatten(1)
        best = flat.abs().argmax(1, keepdim=True)
        value = flat.gather(1, best).sign()
        return torch.zeros_like(flat).scatter_(1, best, value).reshape(gradient.shape)

    def _unit(self, shape: Sequence[int], generators: Sequence[Generator]) -> Tensor:
        n = math.prod(shape)
        draws = []
        for g in generators:
            spacing = -torch.log1p(-torch.rand(n + 1, generator=g, dtype=torch.float64))
            draws.append((spacing[:n], spacing.sum(), torch.randint(0, 2, (n,), generator=g)))
        # n + 1 exponentials divided by their sum are uniform on the simplex; dropping one fills the ball.
        spacings, sums, coins = (torch.stack(part) for part in zip(*draws, strict=True))
        return ((coins * 2 - 1) * spacings / sums[:, None]).reshape(-1, *shape).float()

    def ascend(self, images: Tensor, gradient: Tensor, size: Tensor | float) -> Tensor:
        """The steepest step inside the box: pixels move to their edge of [0, 1] in order of |gradient| until the
        budget is spent. A step on one pixel alone would leave the box and waste most of its length."""
        flat, slope = images.flatten(1), gradient.flatten(1)
        room = torch.where(slope > 0, 1 - flat, flat).masked_fill(slope == 0, 0).clamp(min=0)
        order = slope.abs().argsort(dim=1, descending=True)
        sorted_room = room.gather(1, order)
        budget = _column(size, flat).expand(len(flat), 1)
        left = (budget - (sorted_room.cumsum(1) - sorted_room)).clamp(min=0)
        move = torch.zeros_like(flat).scatter_(1, order, torch.minimum(sorted_room, left))
        return (flat + slope.sign() * move).reshape(images.shape)


def parse_threat(text: str) -> Threat:
    """Reads ``linf:8/255``, ``l2:0.5`` or ``l1:12``.

    Raises:
        EquipoiseError: for an unknown norm or a radius that is no number.
    """
    name, _, radius = text.partition(":")
    kinds: dict[str, type[Threat]] = {"l1": L1, "l2": L2, "linf": Linf}
    if name.lower() not in kinds:
        raise EquipoiseError(
            f"Unknown norm {name!r} in the threat {text!r}. {did_you_mean(name, kinds)}"
        )
    size = parse_number(radius, f"the radius of the threat {text!r}")
    if name.lower() == "linf" and size > 1:
        raise EquipoiseError(
            f"The threat {text!r} allows any image at all: radii are in units of images in [0, 1], so write linf:8/255 "
            "for eight grey levels."
        )
    return kinds[name.lower()](size)
