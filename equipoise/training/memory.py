"""Training images, decoded once and held in memory: 8-bit where that loses nothing, else float32.

Training visits every image many times in random order, which a streaming source cannot serve; at the sizes the small
networks are for, a hundred thousand images fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from equipoise.images import Images

__all__ = ["Memory", "augment", "hold"]


@dataclass(frozen=True)
class Memory:
    """Images with shape (N, C, H, W), uint8 or float32, and labels with shape (N,)."""

    pixels: Tensor
    labels: Tensor

    def images(self, rows: Tensor, device: torch.device) -> Tensor:
        """The images of `rows` as float32 in [0, 1]."""
        pixels = self.pixels[rows].to(device)
        return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def hold(images: Images, rows: list[int]) -> Memory:
    """Decodes the images of `rows`."""
    parts, labels, shape = [], [], images.shape
    for start in range(0, len(rows), 256):
        batch = images.batch(rows[start : start + 256], shape=shape)
        levels = (batch.images * 255).round()
        exact = bool((levels / 255 == batch.images).all())
        parts.append(levels.to(torch.uint8) if exact else batch.images)
        labels.append(batch.labels)
    if len({part.dtype for part in parts}) > 1:
        parts = [part.float() / 255 if part.dtype == torch.uint8 else part for part in parts]
    return Memory(torch.cat(parts), torch.cat(labels))


def augment(images: Tensor, *, shift: int, flip: bool, noise: Sequence[Generator]) -> Tensor:
    """Shifts each image by up to `shift` pixels both ways and mirrors half of them: shape (B, C, H, W) is kept."""
    if not noise:
        return images
    if flip:
        mirrored = torch.stack([torch.rand((), generator=g) < 0.5 for g in noise])
        images = torch.where(
            mirrored[:, None, None, None].to(images.device), images.flip(3), images
        )
    if shift:
        batch, channels, height, width = images.shape
        offsets = torch.stack([torch.randint(0, 2 * shift + 1, (2,), generator=g) for g in noise])
        down, right = offsets.to(images.device).unbind(1)
        rows = down[:, None] + torch.arange(height, device=images.device)
        columns = right[:, None] + torch.arange(width, device=images.device)
        padded = F.pad(images, [shift] * 4)
        index = (rows[:, :, None] * (width + 2 * shift) + columns[:, None, :]).reshape(
            batch, 1, -1
        )
        images = padded.flatten(2).gather(2, index.expand(-1, channels, -1)).view_as(images)
    return images
