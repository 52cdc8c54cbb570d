"""What a sampling method is: from originals and noise to counterfactuals, by calls of a denoiser."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equipoise.counterfactuals.neighbourhoods import Neighbourhood
from equipoise.diffusion import Guided

__all__ = ["Method", "Noise"]

Noise = Callable[[int], Tensor]
"""noise(n): n fresh draws of standard normal noise for every image, from its own stream, with shape (n, B, C, H, W)."""


@dataclass(frozen=True)
class Method(ABC):
    """A new method names itself and overrides `draw` and `evaluations`.

    Arguments:
        steps: noise levels it passes through.
        churn: noise that it adds and takes away again at each step, where it can; see `equipoise.diffusion.heun`.
    """

    steps: int
    churn: float = 0.0

    name: ClassVar[str]
    neighbourhoods: ClassVar[tuple[type[Neighbourhood], ...]]
    """Those it can sample."""

    churns: ClassVar[bool] = False
    """Whether `churn` means anything to it."""

    @abstractmethod
    def draw(
        self, denoise: Guided, neighbourhood: Neighbourhood, x0: Tensor, noise: Noise
    ) -> Tensor:
        """One counterfactual of each original, in network units.

        Arguments:
            denoise: D(x, sigma) with the target labels filled in.
            neighbourhood: how near to stay.
            x0: the originals in network units, with shape (B, C, H, W).
            noise: a stream for each.
        """

    @abstractmethod
    def evaluations(self) -> int:
        """How often `draw` calls `denoise`."""
