"""Denoisers: what a clean image was, given a noisy one; and the solvers that turn noise into images with them."""

from equipoise.diffusion.denoiser import (
    UNCONDITIONAL,
    Denoiser,
    from_network_units,
    to_network_units,
)
from equipoise.diffusion.guidance import Guided, guide
from equipoise.diffusion.mixture import MixtureDenoiser
from equipoise.diffusion.solvers import heun, levels, multistep, reverse

__all__ = [
    "Denoiser",
    "UNCONDITIONAL",
    "to_network_units",
    "from_network_units",
    "MixtureDenoiser",
    "guide",
    "Guided",
    "levels",
    "multistep",
    "reverse",
    "heun",
]
