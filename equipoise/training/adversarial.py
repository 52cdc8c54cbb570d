"""Adversarial training: cross-entropy on the worst images that projected gradient descent finds within the threat.

min over weights of E[max over ||delta||_p <= r of -log p(y | x + delta)], the inner maximum approximated by a few steps
from a random start.

References:
    Towards deep learning models resistant to adversarial attacks (Madry et al., 2018), https://arxiv.org/abs/1706.06083
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from equipoise.errors import EquipoiseError
from equipoise.norms import Threat
from equipoise.training.objective import Objective

__all__ = ["Adversarial"]


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """Madry et al.'s objective.

    Arguments:
        threat: what the adversary may change.
        steps: of projected gradient descent in each training step.
        ramp: the share of training over which the radius grows from 0 to the threat's, linearly; large radii do not
            train at all without it.
    """

    name: ClassVar[str] = "adversarial"

    threat: Threat
    steps: int = 7
    ramp: float = 0.3

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.ramp <= 1:
            raise EquipoiseError(
                f"Cannot train adversarially with steps={self.steps} and ramp={self.ramp}: steps are at least 1, the "
                "ramp is a share between 0 and 1."
            )

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
        share = min(1.0, progress / self.ramp) if self.ramp else 1.0
        threat = replace(self.threat, radius=self.threat.radius * share)
        worst = self.worst(bare, images, labels, threat, noise)
        return F.cross_entropy(net(worst), labels, reduction="none")

    def worst(
        self,
        net: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: Threat,
        noise: Sequence[Generator],
    ) -> Tensor:
        """Where projected gradient descent ends: images with shape (B, C, H, W) inside the threat and [0, 1]."""
        size = 2.5 * threat.radius / self.steps
        x = (images + threat.random(images, noise)).clamp(0, 1)
        for _ in range(self.steps):
            x = x.detach().requires_grad_(True)
            loss = F.cross_entropy(net(x), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)
            x = threat.ascend(x.detach(), gradient, size)
            x = (images + threat.project(x - images)).clamp(0, 1)
        return x.detach()

    def settings(self) -> dict[str, object]:
        return {
            "name": self.name,
            "threat": str(self.threat),
            "steps": self.steps,
            "ramp": self.ramp,
        }
