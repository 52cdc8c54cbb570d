"""The sampler: counterfactuals of images for target classes, reproducible image by image.

Every image has its own stream of noise, named by (seed, id, draw), so that its counterfactuals do not depend on the
batch it is in, and all target classes of one draw share their noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.classifiers import check_range
from equipoise.counterfactuals.added import Added
from equipoise.counterfactuals.exact import Exact
from equipoise.counterfactuals.method import Method, Noise
from equipoise.counterfactuals.metropolis import Metropolis
from equipoise.counterfactuals.neighbourhoods import Gaussian, Neighbourhood
from equipoise.counterfactuals.particles import Particles
from equipoise.counterfactuals.reverse import Reverse
from equipoise.counterfactuals.tilted import Tilted
from equipoise.diffusion import Denoiser, from_network_units, guide, to_network_units
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.streams import content_ids, stream

__all__ = ["METHODS", "Sampler"]

METHODS: dict[str, type[Method]] = {
    kind.name: kind for kind in (Exact, Reverse, Particles, Tilted, Metropolis, Added)
}


@dataclass(frozen=True)
class Sampler:
    """Draws counterfactuals x of an original x0 for a class c,

        pi(x) ~ p(x | c) q(x | x0),

    p being the denoiser's density and q the neighbourhood.

    Arguments:
        denoiser: of any kind.
        neighbourhood: `Gaussian` or `Laplace`, its width in network units.
        guidance: 1 samples pi; larger values push further towards the class (a paper's w is guidance - 1).
        steps: noise levels that the method passes through.
        method: the neighbourhood's best when None; else one of

            ============  =============  =============================================================
            "exact"       Gaussian       samples pi itself, `steps` + 1 evaluations
            "reverse"     Gaussian       the same by another way, a check
            "particles"   Laplace        samples pi, up to its number of particles, about 2 `steps`^2
            "tilted"      Laplace        right within modes, approximate between them, about 2 `steps`
            "metropolis"  Laplace        corrects the tilted method within modes, about `steps`^2 / 2
            "sum"         either         as published, to compare with, 2 `steps` - 1
            ============  =============  =============================================================
        churn: of the method "sum".
        interval: noise levels between which guidance acts, in network units. When None, above a fifth of the
            neighbourhood's width, below which it changes nothing that could be measured (docs/counterfactuals.md); at
            all levels for the method "sum".

    Raises:
        EquipoiseError: for an unknown method, one that cannot sample the neighbourhood, steps below 2, a guidance that
            the denoiser cannot serve.
    """

    denoiser: Denoiser
    neighbourhood: Neighbourhood
    guidance: float = 1.0
    steps: int = 18
    method: str | None = None
    churn: float = 0.0
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        kind = self.kind
        if not isinstance(self.neighbourhood, kind.neighbourhoods):
            able = [
                n for n, k in METHODS.items() if isinstance(self.neighbourhood, k.neighbourhoods)
            ]
            raise EquipoiseError(
                f"The method {kind.name!r} cannot sample the neighbourhood {self.neighbourhood}. Use "
                f"{' or '.join(able)}."
            )
        if not isinstance(self.steps, int) or self.steps < 2:
            raise EquipoiseError(f"A sampler needs at least 2 steps, not {self.steps}.")
        if not 0 <= self.churn < math.inf or (self.churn and not kind.churns):
            raise EquipoiseError(
                f"The method {kind.name!r} cannot use churn={self.churn:g}. Leave it at 0."
            )
        if not math.isfinite(self.guidance) or self.guidance < 0:
            raise EquipoiseError(
                f"A sampler needs a guidance of 0 or more, not {self.guidance}; 1 is none."
            )
        low, high = self.acting
        if not 0 <= low < high:
            raise EquipoiseError(
                f"Guidance cannot act between the noise levels {low:g} and {high:g}: give a lower and a higher one."
            )
        if self.guidance != 1 and not self.denoiser.unconditional:
            raise EquipoiseError(
                f"Guidance {self.guidance:g} needs a denoiser that also works without labels, which "
                f"{self.denoiser.name!r} does not. Use guidance 1, or give it unconditional weights as well."
            )

    @property
    def kind(self) -> type[Method]:
        """The method that is used."""
        name = self.method or (
            "exact" if isinstance(self.neighbourhood, Gaussian) else "particles"
        )
        if name not in METHODS:
            raise EquipoiseError(
                f"Unknown sampling method {name!r}. {did_you_mean(name, METHODS)}"
            )
        return METHODS[name]

    @property
    def acting(self) -> tuple[float, float]:
        """Noise levels between which guidance acts."""
        if self.interval is not None:
            return self.interval
        return (0.0 if self.kind is Added else 0.2 * self.neighbourhood.sigma, math.inf)

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations for each counterfactual; with guidance each is two network passes inside `acting`."""
        return self.kind(self.steps, self.churn).evaluations()

    def __call__(
        self,
        images: Tensor,
        targets: Tensor,
        *,
        seed: int = 0,
        ids: Sequence[str] | None = None,
        draws: Sequence[int] | int = 0,
    ) -> Tensor:
        """One counterfactual of each image, in [0, 1], with the shape of `images`.

        Arguments:
            images: originals in [0, 1], with shape (B, C, H, W).
            targets: the class that each should change to, with shape (B,).
            seed: of the streams.
            ids: B names of the originals; a digest of each one's pixels when None.
            draws: number of each counterfactual among those of its image and class; others give other
                counterfactuals.

        Raises:
            EquipoiseError: for images outside [0, 1] or of another shape than the denoiser's, targets that it does not
                know.
        """
        x0 = to_network_units(check_range(images.float(), "Making counterfactuals"))
        return from_network_units(self.draw(x0, targets, seed=seed, ids=ids, draws=draws))

    @torch.no_grad()
    def draw(
        self,
        x0: Tensor,
        targets: Tensor,
        *,
        seed: int = 0,
        ids: Sequence[str] | None = None,
        draws: Sequence[int] | int = 0,
    ) -> Tensor:
        """Like calling the sampler, but from network units to network units, and nothing is clipped."""
        if tuple(x0.shape[1:]) != self.denoiser.shape:
            raise EquipoiseError(
                f"Cannot make counterfactuals of images of shape {tuple(x0.shape[1:])} with a denoiser for "
                f"{self.denoiser.shape}. Resize the images (?size={self.denoiser.shape[1]})."
            )
        targets = torch.as_tensor(targets)
        if targets.is_floating_point() or (len(targets) and int(targets.min()) < 0):
            raise EquipoiseError(
                "Cannot make counterfactuals for these targets: give the denoiser's classes, whole numbers from 0."
            )
        if len(targets) != len(x0):
            raise EquipoiseError(
                f"Cannot make counterfactuals of {len(x0)} images for {len(targets)} targets."
            )
        if not len(x0):
            return x0
        names = content_ids(x0) if ids is None else ids
        numbers = [draws] * len(x0) if isinstance(draws, int) else draws
        streams = [
            stream(seed, name, number, "counterfactual")
            for name, number in zip(names, numbers, strict=True)
        ]
        denoise = guide(self.denoiser, targets.long().to(x0.device), self.guidance, self.acting)
        method = self.kind(self.steps, self.churn)
        return method.draw(denoise, self.neighbourhood, x0, _noise(streams, x0))


def _noise(streams: Sequence[torch.Generator], like: Tensor) -> Noise:
    def noise(count: int) -> Tensor:
        shape = (count, *like.shape[1:])
        drawn = [torch.randn(shape, generator=g, dtype=like.dtype) for g in streams]
        return torch.stack(drawn, dim=1).to(like.device)

    return noise
