"""The nearest known image as a classifier: nothing is learnt, so it shares no weights and no gradients with networks.

z_k = -D min over known images x_i of class k of ||x - x_i||_2^2 / s^2, for images of D pixels and channels and s^2 the
mean squared distance of a known image to the nearest other one of its class that is no copy (1 where there is none).
The softmax is then that of Gaussians around the nearest images, two draws of which are as far apart as neighbours are.

References:
    Nearest neighbor pattern classification (Cover and Hart, 1967), https://doi.org/10.1109/TIT.1967.1053964
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["NearestImages"]

FAR = 1e6
"""Squared distance to a class without a known image."""


class NearestImages(nn.Module):
    """Classifies as the nearest of its images does.

    Arguments:
        shape: (C, H, W) of the images.
        classes: number of logits K.
        count: number of known images; `know` fills them in.
    """

    pixels: Tensor
    labels: Tensor
    spread: Tensor

    def __init__(self, *, shape: Sequence[int], classes: int, count: int = 1) -> None:
        super().__init__()
        self.settings = {"shape": list(shape), "classes": classes, "count": count}
        self.classes = classes
        self.register_buffer("pixels", torch.zeros(count, int(torch.Size(shape).numel())))
        self.register_buffer("labels", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("spread", torch.ones(()))

    def know(self, images: Tensor, labels: Tensor) -> None:
        """Takes images with shape (count, C, H, W) and labels with shape (count,) as the known ones."""
        self.pixels, self.labels = images.flatten(1).clone(), labels.clone()
        apart = torch.cdist(self.pixels, self.pixels).square()
        other = (self.labels[:, None] != self.labels) | torch.eye(len(labels), dtype=torch.bool)
        nearest = apart.masked_fill(other, torch.inf).amin(1)
        paired = nearest.isfinite() & (nearest > 0)
        self.spread = nearest[paired].mean() if paired.any() else torch.ones(())

    def forward(self, images: Tensor) -> Tensor:
        """Logits with shape (B, K) of images with shape (B, C, H, W)."""
        flat = images.flatten(1)
        apart = torch.cdist(flat, self.pixels.to(flat.dtype)).square()
        nearest = torch.full((len(flat), self.classes), FAR, dtype=flat.dtype, device=flat.device)
        nearest = nearest.scatter_reduce(1, self.labels.expand(len(flat), -1), apart, "amin")
        return -nearest * flat.shape[1] / self.spread
