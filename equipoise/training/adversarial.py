"""Adversarial training: what its objectives share, a search for bad images within a threat.

Notation. f(x) are the probabilities that the network gives the classes of an image x of class y, and x' is an image
near x: ||x' - x||_p <= r, with values in [0, 1]. The search for x' is projected gradient ascent on some function of x',
`steps` steps of length 2.5 r / steps from some start. The radius r grows over training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from equipoise.errors import EquipoiseError
from equipoise.norms import Threat
from equipoise.training.objective import Objective

__all__ = ["Adversarial"]


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """A new objective overrides `loss`, which calls `worst`; with a search of its own, `ascended` and `start` too.

    Arguments:
        threat: what the adversary may change.
        steps: of projected gradient ascent in each training step.
        ramp: the share of training over which the radius grows from 0 to the threat's, linearly; large radii do not
            train at all without it.

    Raises:
        EquipoiseError: without a step, or with a ramp outside [0, 1].
    """

    threat: Threat
    steps: int = 7
    ramp: float = 0.3

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.ramp <= 1:
            raise EquipoiseError(
                f"Cannot train adversarially with steps={self.steps} and ramp={self.ramp}: steps are at least 1, the "
                "ramp is a share between 0 and 1."
            )

    def worst(
        self,
        net: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        progress: float,
        noise: Sequence[Generator],
    ) -> Tensor:
        """Where the search ends: images with shape (B, C, H, W), inside [0, 1] and the threat that `progress` allows.

        Arguments are those of `loss`, with the network unwrapped.
        """
        share = min(1.0, progress / self.ramp) if self.ramp else 1.0
        threat = replace(self.threat, radius=self.threat.radius * share)
        size = 2.5 * threat.radius / self.steps
        ascended = self.ascended(net, images, labels)
        x = self.start(images, threat, noise)
        for _ in range(self.steps):
            x = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(ascended(x), x)
            x = threat.ascend(x.detach(), gradient, size)
            x = (images + threat.project(x - images)).clamp(0, 1)
        return x.detach()

    def ascended(
        self, net: nn.Module, images: Tensor, labels: Tensor
    ) -> Callable[[Tensor], Tensor]:
        """What the search increases, summed over images: of x', with shape (B, C, H, W). Here -log f_y(x')."""
        return lambda x: F.cross_entropy(net(x), labels, reduction="sum")

    def start(self, images: Tensor, threat: Threat, noise: Sequence[Generator]) -> Tensor:
        """Where the search begins: here at a uniformly random point of the threat, cut off at 0 and 1."""
        return (images + threat.random(images, noise)).clamp(0, 1)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "threat": str(self.threat)}
