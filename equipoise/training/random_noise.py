"""Training on random images within a threat: the control that tells the worst change from any change of that size.

min over weights of E[-log f_y(x + delta)], delta uniformly random in the threat's ball, x + delta cut off at 0 and 1.
It is PGD training without its steps, and costs what standard training costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Generator, Tensor, nn
from torch.nn import functional as F

from equipoise.norms import Threat
from equipoise.training.objective import Objective

__all__ = ["RandomNoise"]


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Objective):
    """One random point near each image. The radius is the threat's from the first step: noise of any size trains.

    Arguments:
        threat: whose ball the points are drawn from, and what the checkpoint is chosen under.
    """

    name: ClassVar[str] = "random-noise"

    threat: Threat

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
        noisy = (images + self.threat.random(images, noise)).clamp(0, 1)
        return F.cross_entropy(net(noisy), labels, reduction="none")

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "threat": str(self.threat)}
