"""Standard training: cross-entropy on the images as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn
from torch.nn import functional as F

from equipoise.training.objective import Objective

__all__ = ["Standard"]


@dataclass(frozen=True, kw_only=True)
class Standard(Objective):
    """min over weights of E[-log p(y | x)]."""

    name: ClassVar[str] = "standard"

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
        return F.cross_entropy(net(images), labels, reduction="none")
