"""The default for Laplace neighbourhoods: annealed importance sampling from Gaussian laws of several widths.

Each counterfactual is picked from P particles, as many from each of three laws that the exact method can draw from,

    f_j(x) / Z_j,    f_j(x) = p(x | c) N(x0; x, w_j^2),    w_j = 1, 2.5 and 6 sigma:

the narrow one knows the modes near x0, the wide ones those farther away, which the long tails of the Laplace q keep.
The unknown Z_j solve, over all particles x (the multistate Bennett acceptance ratio),

    Z_j = sum over x of f_j(x) / sum over l of (P / 3) f_l(x) / Z_l,

which makes them draws of the mixture of the three laws. In many pixels no particle of one law is likely in another, and
any Z_j solve this; so the search starts from those of thermodynamic integration by the trapezium rule,

    d log Z_j / d log w_j = E |x - x0|_2^2 / w_j^2 - d        (x from law j, N with its constant).

Each particle then passes through

    pi_t(x) ~ p(x | c) N(x0; x, w_1^2)^(1 - t) q(x | x0)^t,        t = 1 / T, 2 / T, ..., 1,

making at each t a Metropolis move of `split` in three evaluations, which serves pi_t as it serves pi: the Gaussian
merges with the denoiser at width w_1 / sqrt(1 - t), and q^t is a Laplace density of scale b / t. Its weight is the
product of the ratios of densities on its way, p cancels, and one is picked by weight. That one makes the moves of
`Tilted`, which settle it in images of many pixels, and then those of `Metropolis`, which settle it exactly in few.

P is twice the number of steps, each start takes 4 in 9 of it, and T is 2 in 9: 954 evaluations for 18 steps. More steps
bring the weights of modes nearer to those of pi, as long as some particles start in each mode that matters. `Tilted`
alone takes a twenty-fifth of the evaluations, and leaves the weights of modes as its flow finds them.

References:
    Annealed importance sampling (Neal, 2001), arXiv physics/9803008
    Statistically optimal analysis of samples from multiple equilibrium states (Shirts and Chodera, 2008),
        arXiv 0801.1426
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

__all__ = ["Particles", "log_normalisers"]

WIDTHS = (1.0, 2.5, 6.0)
"""w_j / sigma, tried on mixtures in 1 to 3,072 pixels (docs/counterfactuals.md)."""


class Particles(Method):
    """Draws many, weighs them on the way from the Gaussian laws to the Laplace one, and picks one."""

    name = "particles"
    neighbourhoods = (Laplace,)

    def draw(
        self, denoise: Guided, neighbourhood: Neighbourhood, x0: Tensor, noise: Noise
    ) -> Tensor:
        assert isinstance(neighbourhood, Laplace)
        each, rungs, rho = self._each(), self._rungs(), neighbourhood.b / 2
        laws = [Gaussian(width * neighbourhood.sigma) for width in WIDTHS]
        count = each * len(laws)

        def chunks(x: Tensor, sigma: float) -> Tensor:
            # `denoise` has the labels of one batch.
            return torch.cat([denoise(part, sigma) for part in x.split(len(x0))])

        def noises(number: int, rows: int = count) -> Tensor:
            drawn = noise(number * rows)
            return drawn.view(number, -1, *drawn.shape[2:])

        exact, some = Exact(self._start()), x0.repeat(each, 1, 1, 1)
        x = torch.cat([exact.draw(chunks, law, some, lambda n: noises(n, each)) for law in laws])
        every = x0.repeat(count, 1, 1, 1)
        y = (x - every).double()
        logs = torch.stack([law.log_density(y) for law in laws]).view(len(laws), count, -1)
        widths = y.new_tensor([law.sigma for law in laws])
        squares = (y**2).flatten(1).sum(1).view(len(laws), each, -1).mean(1)
        slopes = squares / widths[:, None] ** 2 - x0[0].numel()
        start = torch.cumulative_trapezoid(slopes, widths.log(), dim=0)
        start = torch.cat([torch.zeros_like(start[:1]), start])
        weight = logs[0] - (logs - log_normalisers(logs, start)[:, None]).logsumexp(0)
        for rung in range(1, rungs + 1):
            t, y = rung / rungs, (x - every).double()
            gain = neighbourhood.log_density(y) - laws[0].log_density(y)
            weight = weight + gain.view(count, -1) / rungs
            mixed, rest = chunks, Laplace(neighbourhood.sigma / t)
            if rung < rungs:
                mixed = merge(chunks, every, laws[0].sigma / math.sqrt(1 - t))
            proposed = split_move(mixed, rest, x, every, rho=rho, noise=noises)
            x = accepted(rest, x, proposed, every, rho=rho, noise=noises)
        place = torch.special.ndtr(noise(1)[0].double().flatten(1)[:, :1])
        shares = weight.softmax(0).cumsum(0).T.contiguous()
        picked = torch.searchsorted(shares, place)[:, 0].clamp(max=count - 1)
        x = x.view(count, -1, *x0.shape[1:])[picked, torch.arange(len(x0), device=x.device)]
        for method in (Tilted(self.steps), Metropolis(self.steps)):
            x = method.moves(denoise, neighbourhood, x, x0, noise)
        return x

    def _each(self) -> int:
        return max(1, 2 * self.steps // 3)

    def _start(self) -> int:
        return max(2, 4 * self.steps // 9)

    def _rungs(self) -> int:
        return max(1, 2 * self.steps // 9)

    def evaluations(self) -> int:
        each = Exact(self._start()).evaluations() + GLANCE * self._rungs()
        after = (Tilted(self.steps), Metropolis(self.steps))
        return len(WIDTHS) * self._each() * each + sum(m.move_evaluations() for m in after)


def log_normalisers(logs: Tensor, start: Tensor) -> Tensor:
    """log Z_j of J laws, up to a common constant, from as many draws of each by the multistate Bennett ratio.

    Arguments:
        logs: log f_j(x) without what the laws share, with shape (J, N, B): N draws, N / J of each law, for B problems.
        start: of the 100 rounds of iteration, which hardly leave it where laws do not overlap, with shape (J, B).

    Returns:
        log Z_j with shape (J, B), the first of them 0.
    """
    found = start
    for _ in range(100):
        found = (logs - (logs - found[:, None]).logsumexp(0)).logsumexp(1)
        found = found - found[:1]
    return found
