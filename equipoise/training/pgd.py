"""Training on the worst images that projected gradient descent finds (PGD): cross-entropy there, and nowhere else.

min over weights of E[max over x' of -log f_y(x')], the inner maximum approximated by a few steps from a random start.

References:
    Towards deep learning models resistant to adversarial attacks (Madry et al., 2018), https://arxiv.org/abs/1706.06083
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn
from torch.nn import functional as F

from equipoise.training.adversarial import Adversarial

__all__ = ["PGD"]


@dataclass(frozen=True, kw_only=True)
class PGD(Adversarial):
    """Madry et al.'s objective."""

    name: ClassVar[str] = "pgd"

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
        worst = self.worst(bare, images, labels, progress=progress, noise=noise)
        return F.cross_entropy(net(worst), labels, reduction="none")
