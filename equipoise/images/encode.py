"""From a tensor in [0, 1] back to what an image file keeps of it."""

from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from equipoise.errors import EquipoiseError

__all__ = ["eight_bit", "encode_png"]


def eight_bit(images: Tensor) -> Tensor:
    """Images as 8 bits a channel keep them: each value in [0, 1] becomes the nearest k/255."""
    return (images * 255).round() / 255


def encode_png(image: Tensor) -> bytes:
    """An 8-bit PNG of `image`; values are clamped to [0, 1] and rounded to the nearest k/255.

    Arguments:
        image: with shape (C, H, W), C = 1 or 3, on any device.

    Raises:
        EquipoiseError: for another shape, or NaN.
    """
    if image.dim() != 3 or image.shape[0] not in (1, 3) or not image.numel():
        raise EquipoiseError(
            f"Cannot encode a tensor with shape {tuple(image.shape)} as PNG: give one image with "
            "shape (1 or 3, H, W)."
        )
    if image.isnan().any():
        raise EquipoiseError(
            "Cannot encode an image with NaN pixels as PNG: find where they come from."
        )
    pixels = image.detach().to("cpu", torch.float32).clamp(0, 1).mul(255).round().to(torch.uint8)
    rows = pixels.movedim(0, -1).contiguous().numpy()
    file = BytesIO()
    Image.fromarray(rows[..., 0] if image.shape[0] == 1 else rows).save(file, "PNG")
    return file.getvalue()
