"""Objectives: what training minimises, one file each.

An objective gives one loss per image, so that the loop can average over images and over processes alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Generator, Tensor, nn

__all__ = ["Objective"]


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """A new objective overrides `loss` and names itself."""

    name: ClassVar[str]

    @abstractmethod
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
        """One loss per image, with shape (B,).

        Arguments:
            net: from images in [0, 1] to logits, as the training engine wrapped it; call it for the loss.
            bare: the same network unwrapped, for searches whose gradients are not those of the weights.
            images: with shape (B, C, H, W).
            labels: with shape (B,).
            progress: the share of training that is done, in [0, 1].
            noise: B CPU generators, one per image, for anything random.
        """

    def settings(self) -> dict[str, Any]:
        """The objective as JSON: two with equal settings train alike."""
        return {"name": self.name, **asdict(self)}
