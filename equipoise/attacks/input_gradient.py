"""Gradients with respect to images, of whatever classifier: those that are not there, or are no numbers, count as 0.

A classifier whose graph does not lead to its images has no gradient, and entries that are NaN or infinite would carry
an image out of the box. What was counted as 0 is said in a note.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["finite", "gradient_of", "input_gradient"]


def input_gradient(
    net: Callable[[Tensor], Tensor],
    images: Tensor,
    loss: Callable[[Tensor], Tensor],
    notes: list[str],
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, loss and the loss's gradient at `images`: one forward and one backward pass for each image.

    Arguments:
        net: from images to logits with shape (B, K).
        images: with shape (B, C, H, W).
        loss: from logits to one number per image.
        notes: gets a sentence for whatever counted as 0.

    Returns:
        logits with shape (B, K), losses with shape (B,), and gradients with the shape of `images`; without graphs.
    """
    with torch.enable_grad():
        pixels = images.detach().requires_grad_(True)
        logits = net(pixels).float()
        value = loss(logits)
        gradient = gradient_of(value, pixels, notes)
    return logits.detach(), value.detach(), finite(gradient, notes)


def gradient_of(value: Tensor, pixels: Tensor, notes: list[str], *, keep: bool = False) -> Tensor:
    """The gradient of a sum of values, 0 where no graph leads to the pixels; `keep` the graph for more."""
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(
            value.sum(), pixels, retain_graph=keep, allow_unused=True
        )
        if gradient is not None:
            return gradient
    notes.append("the classifier has no gradient to its images: all of it counted as 0")
    return torch.zeros_like(pixels)


def finite(gradient: Tensor, notes: list[str]) -> Tensor:
    """The gradient with zeros for what is NaN or infinite."""
    # One number that is not finite makes the sum so too; only a sum that overflows needs the longer look.
    if gradient.sum().isfinite() or gradient.isfinite().all():
        return gradient
    notes.append("some gradients were NaN or infinite and counted as 0: attacks are weaker there")
    return gradient.nan_to_num(0.0, 0.0, 0.0)
