"""Adding up scores, as the first author's published code does: kept to compare with, not to use.

    D_sum(x, s) = D(x, s, c) + s^2 (score of q diffused to s at x)

and Heun's method from level 80 down to 0.002. The sum of two diffused scores is not the score of the diffused product:
both terms contract the noise, so that without churn all seeds end in practically one image, over-smooth and too near to
its original. Churn, the noise that stochastic samplers add, repairs part of it; 50 steps without churn are the
published setting.

References:
    https://github.com/ericyeats/semantic-aware-AT, branch score
    Reduce, reuse, recycle (Du et al., 2023), arXiv 2302.11552, on why such sums are not what they seem
"""

import torch
from torch import Tensor

from equipoise.counterfactuals.method import Method, Noise
from equipoise.counterfactuals.neighbourhoods import Gaussian, Laplace, Neighbourhood
from equipoise.diffusion import Guided, heun, levels

__all__ = ["Added"]


class Added(Method):
    """Follows the sum of the diffused scores."""

    name = "sum"
    neighbourhoods = (Gaussian, Laplace)
    churns = True

    def draw(
        self, denoise: Guided, neighbourhood: Neighbourhood, x0: Tensor, noise: Noise
    ) -> Tensor:
        def added(x: Tensor, sigma: float) -> Tensor:
            pull = neighbourhood.score(x - x0, sigma)
            return torch.add(denoise(x, sigma), pull, alpha=sigma**2)

        sigmas = levels(80.0, 0.002, self.steps)
        x = torch.add(x0, noise(1)[0], alpha=sigmas[0])
        draws = noise(self.steps) if self.churn else ()
        return heun(added, x, sigmas, self.churn, draws)

    def evaluations(self) -> int:
        return 2 * self.steps - 1
