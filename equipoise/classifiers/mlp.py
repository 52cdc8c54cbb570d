"""A multilayer perceptron: fast enough on small images that a whole ladder trains in a minute on a CPU."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Arguments:
        shape: (C, H, W) of the images.
        classes: number of logits K.
        widths: of the hidden layers.
    """

    def __init__(
        self, *, shape: Sequence[int], classes: int, widths: Sequence[int] = (256, 256)
    ) -> None:
        super().__init__()
        self.settings = {"shape": list(shape), "classes": classes, "widths": list(widths)}
        sizes = [int(torch.Size(shape).numel()), *widths]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits with shape (B, K) of images with shape (B, C, H, W)."""
        return self.layers(images)
