"""The correction of the tilted method between the modes of pi: sequential Monte Carlo from a Gaussian law.

Each counterfactual is picked from P particles. They start as draws of p(x | c) N(x0; x, w^2) by the exact method, w
being 1.25 times the sigma of the Laplace q, which has longer tails, and pass through

    pi_t(x) ~ p(x | c) N(x0; x, w^2)^(1 - t) q(x | x0)^t,        t = 1 / T, 2 / T, ..., 1.

From one to the next they are weighted by (q / N)^(1 / T) and resampled systematically, then make a Metropolis move of
`split` in three evaluations, which serves pi_t as it serves pi: the Gaussian merges with the denoiser at width
w / sqrt(1 - t), and q^t is a Laplace density of scale b / t. The one that is picked makes the moves of `Metropolis`.

P is the number of steps, T a third of it, and the start takes two thirds: 729 evaluations for 18 steps. More steps
bring the weights of modes nearer to those of pi, as long as some particles start in each mode that matters: modes
that are a hundred times lighter in the Gaussian law than in pi need hundreds of particles.
"""

import math

import torch
from torch import Tensor

from equipoise.counterfactuals.exact import Exact, merge
from equipoise.counterfactuals.method import Method, Noise
from equipoise.counterfactuals.metropolis import Metropolis
from equipoise.counterfactuals.neighbourhoods import Gaussian, Laplace, Neighbourhood
from equipoise.counterfactuals.split import GLANCE, accepted, split_move
from equipoise.counterfactuals.tilted import Tilted
from equipoise.diffusion import Guided

__all__ = ["Particles"]

WIDTH = 1.25
"""w / sigma: a narrower start misses far modes, a wider one the near ones when there are many pixels."""


class Particles(Method):
    """Draws many, weighs them on the way from the Gaussian to the Laplace law, and picks one."""

    name = "particles"
    neighbourhoods = (Laplace,)

    def draw(
        self, denoise: Guided, neighbourhood: Neighbourhood, x0: Tensor, noise: Noise
    ) -> Tensor:
        assert isinstance(neighbourhood, Laplace)
        count, rungs, rho = self.steps, self._rungs(), neighbourhood.b / 2
        gaussian = Gaussian(WIDTH * neighbourhood.sigma)
        every = x0.repeat(count, 1, 1, 1)

        def chunks(x: Tensor, sigma: float) -> Tensor:
            # `denoise` has the labels of one batch.
            return torch.cat([denoise(part, sigma) for part in x.chunk(count)])

        def noises(number: int) -> Tensor:
            drawn = noise(number * count)
            return drawn.view(number, -1, *drawn.shape[2:])

        x = Exact(self._start()).draw(chunks, gaussian, every, noises)
        for rung in range(1, rungs + 1):
            t, y = rung / rungs, (x - every).double()
            gain = neighbourhood.log_density(y) - gaussian.log_density(y)
            shares = (gain.view(count, -1) / rungs).softmax(0)
            places = (torch.arange(count, device=x.device)[:, None] + _uniform(noise)) / count
            kept = torch.searchsorted(shares.cumsum(0).T.contiguous(), places.T.contiguous()).T
            x = _particles(x, kept.clamp(max=count - 1), count)
            mixed, rest = chunks, Laplace(neighbourhood.sigma / t)
            if rung < rungs:
                mixed = merge(chunks, every, gaussian.sigma / math.sqrt(1 - t))
            proposed = split_move(mixed, rest, x, every, rho=rho, noise=noises)
            x = accepted(rest, x, proposed, every, rho=rho, noise=noises)
        x = _particles(x, (_uniform(noise) * count).long()[None], count)
        return Metropolis(self.steps).moves(denoise, neighbourhood, x, x0, noise)

    def _start(self) -> int:
        return max(2, 2 * self.steps // 3)

    def _rungs(self) -> int:
        return max(1, self.steps // 3)

    def evaluations(self) -> int:
        each = Exact(self._start()).evaluations() + GLANCE * self._rungs()
        moves = Metropolis(self.steps).evaluations() - Tilted(self.steps).evaluations()
        return self.steps * each + moves


def _uniform(noise: Noise) -> Tensor:
    """A number in (0, 1) for each image."""
    return torch.special.ndtr(noise(1)[0].double().flatten(1)[:, 0]).clamp(max=1 - 1e-9)


def _particles(x: Tensor, kept: Tensor, count: int) -> Tensor:
    """Rows of `x`, `count` particles of B images one after the other, with the numbers `kept` of shape (n, B)."""
    images = torch.arange(kept.shape[1], device=x.device)
    return x.view(count, -1, *x.shape[1:])[kept, images].flatten(0, 1)
