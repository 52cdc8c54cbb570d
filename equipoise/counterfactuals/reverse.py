"""The reverse-time stochastic differential equation, begun at the original: an independent check of the exact method.

Clean images and their views through noise of level w form a pair, in which the clean image given the view x0 has
exactly the law pi ~ p(x | c) N(x0; x, w^2 I). Reversing the noising process from the single point x0 at level w,
without adding noise first, therefore samples pi. It is as cheap as the exact method only when pi has one mode: between
modes it must take tiny steps (docs/counterfactuals.md). Levels are spaced with rho = 3, which puts more of them near w
than 7 does.
"""

from torch import Tensor

from equipoise.counterfactuals.method import Method, Noise
from equipoise.counterfactuals.neighbourhoods import Gaussian, Neighbourhood
from equipoise.diffusion import Guided, levels, reverse

__all__ = ["Reverse"]


class Reverse(Method):
    """Runs noising backwards from the original."""

    name = "reverse"
    neighbourhoods = (Gaussian,)

    def draw(
        self, denoise: Guided, neighbourhood: Neighbourhood, x0: Tensor, noise: Noise
    ) -> Tensor:
        sigmas = levels(neighbourhood.sigma, neighbourhood.sigma / 100, self.steps, rho=3)
        return reverse(denoise, x0, sigmas, noise(self.steps - 1))

    def evaluations(self) -> int:
        return self.steps
