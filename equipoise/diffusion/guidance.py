"""Guidance: pushing a conditional denoiser further towards its label.

    D_g(x, sigma, c) = D(x, sigma, -1) + g (D(x, sigma, c) - D(x, sigma, -1)),

so that g = 1 is plain conditional denoising; a paper's w is often g - 1. Limited to an interval of noise levels,
guidance is 1 outside it.

References:
    Classifier-free diffusion guidance (Ho and Salimans, 2022), arXiv 2207.12598
    Applying guidance in a limited interval improves sample and distribution quality in diffusion models
    (Kynkaanniemi et al., 2024), arXiv 2404.07724
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from equipoise.diffusion.denoiser import UNCONDITIONAL, Denoiser

__all__ = ["Guided", "guide"]

Guided = Callable[[Tensor, float], Tensor]
"""D(x, sigma) with labels and guidance filled in."""

JOINED_PIXELS = 2**14
"""Up to so many pixels, both halves share one call on a CPU: it fills the small matrices. Beyond, they leave the cache
(benchmarks/counterfactuals.py); a GPU always gains."""

JOINED_ROWS = 8
"""Nor do so few rows cost more when doubled: networks are called with sixteen at least."""


def guide(
    denoiser: Denoiser,
    label: Tensor,
    guidance: float = 1.0,
    interval: tuple[float, float] = (0.0, math.inf),
) -> Guided:
    """The denoiser as a function of images and one noise level for all.

    Arguments:
        denoiser: which knows the label -1, unless `guidance` is 1.
        label: int64 with shape (B,).
        guidance: g; at 1 no unconditional call is made.
        interval: noise levels sigma, low < sigma <= high, at which guidance acts, in network units.
    """
    nothing = torch.full_like(label, UNCONDITIONAL)
    both = torch.cat([label, nothing])
    # Checked once: what follows is called at every step.
    denoiser.check_labels(label if guidance == 1 else both)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        sigmas = x.new_full((2 * len(x),), sigma)
        level = sigmas[: len(x)]
        if guidance == 1 or not interval[0] < sigma <= interval[1]:
            return denoiser.denoise(x, level, label)
        if x.is_cuda or len(x) <= JOINED_ROWS or x[:, 0].numel() <= JOINED_PIXELS:
            conditional, without = denoiser.denoise(torch.cat([x, x]), sigmas, both).chunk(2)
        else:
            conditional = denoiser.denoise(x, level, label)
            without = denoiser.denoise(x, level, nothing)
        return torch.lerp(without, conditional, guidance)

    return denoise
