"""Preconditioning: a network F of unit scale made into a denoiser, whatever the noise.

With s the size of the data about zero, s^2 = E |x0|^2 per pixel in network units,

    D(x, sigma, label) = c_skip x + c_out F(c_in x, c_noise, label),

    c_skip = s^2 / (sigma^2 + s^2),          c_in = 1 / sqrt(sigma^2 + s^2),
    c_out = sigma s / sqrt(sigma^2 + s^2),   c_noise = ln(sigma) / 4,

so that what F is given and what it has to give keep unit variance at every sigma.

References:
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), arXiv 2206.00364
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from equipoise.diffusion.denoiser import Denoiser
from equipoise.errors import EquipoiseError
from equipoise.padding import call_padded

__all__ = ["Coefficients", "Preconditioned", "coefficients"]


class Coefficients(NamedTuple):
    """c_skip, c_out and c_in with shape (B, 1, 1, 1), c_noise with shape (B,)."""

    skip: Tensor
    out: Tensor
    input: Tensor
    noise: Tensor


def coefficients(sigma: Tensor, sigma_data: float) -> Coefficients:
    """The coefficients at noise levels `sigma` with shape (B,), for data of the size `sigma_data`."""
    wide = sigma[:, None, None, None]
    scale = (wide * wide + sigma_data**2).rsqrt()
    return Coefficients(
        skip=(scale * sigma_data) ** 2,
        out=wide * scale * sigma_data,
        input=scale,
        noise=sigma.log() / 4,
    )


class Preconditioned(Denoiser):
    """The network is put into eval mode and its parameters are frozen, in place.

    What it says of an image is the same, bit for bit, in every batch.

    Arguments:
        net: F, which maps images with shape (B, C, H, W), c_noise with shape (B,) and int64 labels with shape (B,), -1
            for none, to images.
        sigma_data: s, the root mean square of the training images' pixels in network units, > 0.
        shape: (C, H, W) of its images.
        classes: names of its labels 0..K-1.
        scale: the L2 size of its data in network units.
        unconditional: whether it knows the label -1.
        name: for records and pages.
        facts: anything else a page should know, as JSON.

    Raises:
        EquipoiseError: when `sigma_data` is not positive.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        sigma_data: float,
        shape: Sequence[int],
        classes: Sequence[str],
        scale: float,
        unconditional: bool = True,
        name: str = "denoiser",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        if not sigma_data > 0:
            raise EquipoiseError(
                f"Cannot precondition a network with sigma_data={sigma_data}: give the root mean square of the "
                "training images' pixels in [-1, 1]."
            )
        super().__init__(
            shape=shape,
            classes=classes,
            scale=scale,
            unconditional=unconditional,
            name=name,
            facts=facts,
        )
        self.net = net
        self.sigma_data = float(sigma_data)
        self.eval().requires_grad_(False)

    def denoise(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        return call_padded(self._denoise, x, sigma, label)

    def _denoise(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        c = coefficients(sigma, self.sigma_data)
        return torch.addcmul(c.skip * x, c.out, self.net(c.input * x, c.noise, label))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, sigma_data={self.sigma_data!r}"
