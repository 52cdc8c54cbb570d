"""The loss that makes a network a denoiser.

For a clean image x0 of size s (see `equipoise.diffusion.preconditioned`), with n standard normal,

    ln sigma ~ N(mean, std^2),    x = x0 + sigma n,    loss = w(sigma) |D(x, sigma, label) - x0|^2 / pixels,

w(sigma) = (sigma^2 + s^2) / (sigma s)^2 = 1 / c_out^2. It is computed as the distance between what F gives and what it
should, which is the same and does not lose digits when sigma is small:

    loss = |F(c_in x, c_noise, label) - (x0 - c_skip x) / c_out|^2 / pixels.

Now and then the label is withheld, which teaches the unconditional denoiser that guidance needs.

References:
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), arXiv 2206.00364
    Classifier-free diffusion guidance (Ho and Salimans, 2022), arXiv 2207.12598
"""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from equipoise.diffusion.denoiser import UNCONDITIONAL
from equipoise.diffusion.preconditioned import coefficients

__all__ = ["denoising_loss"]


def denoising_loss(
    net: Callable[[Tensor, Tensor, Tensor], Tensor],
    x0: Tensor,
    label: Tensor,
    *,
    sigma_data: float,
    noise: Sequence[Generator],
    mean: float = -1.2,
    std: float = 1.2,
    withheld: float = 0.15,
) -> Tensor:
    """One loss per image, with shape (B,); about 1 before training.

    Arguments:
        net: F(c_in x, c_noise, label).
        x0: clean images in network units, with shape (B, C, H, W), B >= 1.
        label: int64 with shape (B,).
        sigma_data: s, the root mean square of the training images' pixels in network units.
        noise: B CPU generators, one per image.
        mean: of ln sigma.
        std: of ln sigma.
        withheld: the probability with which an image's label is replaced by -1.
    """
    pixels = x0[0].numel()
    drawn = torch.stack([torch.randn(pixels + 1, generator=g) for g in noise]).to(x0)
    without = torch.stack([torch.rand((), generator=g) for g in noise]) < withheld
    sigma = (mean + std * drawn[:, 0]).exp()
    x = torch.addcmul(x0, sigma[:, None, None, None], drawn[:, 1:].view_as(x0))
    c = coefficients(sigma, sigma_data)
    wanted = (x0 - c.skip * x) / c.out
    given = net(c.input * x, c.noise, label.masked_fill(without.to(label.device), UNCONDITIONAL))
    return (given.float() - wanted).square().flatten(1).mean(1)
