"""Half natural, half adversarial: a fair coin for each image and step says on which of the two it is trained.

min over weights of E[(-log f_y(x) - log f_y(x')) / 2], x' as in PGD training. Only images whose coin says so are
attacked, so that a step takes little more than half of the passes of PGD training.

References:
    Robustness may be at odds with accuracy (Tsipras et al., 2019), figure 7, https://arxiv.org/abs/1805.12152
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from equipoise.training.adversarial import Adversarial

__all__ = ["HalfAndHalf"]


@dataclass(frozen=True, kw_only=True)
class HalfAndHalf(Adversarial):
    """Natural and adversarial images in turn, by chance."""

    name: ClassVar[str] = "half-and-half"

    def loss(
        self,
        net: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        bare: nn.Module,
        progress: float,
        noise: Sequence[Generator],
    ) -> Tensor:
        heads = [row for row, g in enumerate(noise) if torch.rand((), generator=g) < 0.5]
        rows = torch.tensor(heads, dtype=torch.int64, device=images.device)
        mine = [noise[row] for row in heads]
        worst = self.worst(bare, images[rows], labels[rows], progress=progress, noise=mine)
        mixed = images.index_copy(0, rows, worst)
        return F.cross_entropy(net(mixed), labels, reduction="none")
