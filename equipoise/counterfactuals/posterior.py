"""The exact law of counterfactuals when the data is a Gaussian mixture: what samplers are tested against.

With data of label c drawn from sum_k w_k N(m_k, diag v_k), the target pi(x) ~ p(x | c) q(x | x0) is a mixture over the
same components with new weights, whose pixels are independent within a component. For a Gaussian neighbourhood of
width s

    x ~ N(V (m / v + x0 / s^2), V),   V = 1 / (1 / v + 1 / s^2),         w'_k ~ w_k N(x0; m_k, diag(v_k) + s^2 I),

and for a Laplace one, b = s / sqrt(2), a = m - x0, A, B = erfcx((sqrt(v) / b -+ a / sqrt(v)) / sqrt(2)), pixel by pixel

    x > x0 with probability A / (A + B), then normal N(m - v / b, v) cut off at x0; else N(m + v / b, v) below x0,
    w'_k ~ w_k prod_j exp(-a^2 / 2 v) (A + B) / 4 b.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.counterfactuals.neighbourhoods import (
    Gaussian,
    Laplace,
    Neighbourhood,
    log_erfcx,
)
from equipoise.diffusion import MixtureDenoiser

__all__ = ["Posterior", "posterior"]


@dataclass(frozen=True)
class Posterior:
    """Counterfactuals of one original for one class.

    Attributes:
        weights: of the components, with shape (K,).
        means: of each component, with shape (K, C, H, W).
        variances: of each pixel of each component, like `means`.
        mixture: the components as they were before the original was seen.
        neighbourhood: around `x0`.
        x0: the original in network units, with shape (C, H, W).
    """

    weights: Tensor
    means: Tensor
    variances: Tensor
    mixture: MixtureDenoiser
    neighbourhood: Neighbourhood
    x0: Tensor

    @property
    def mean(self) -> Tensor:
        """E x, with shape (C, H, W)."""
        return torch.einsum("k,kchw->chw", self.weights, self.means)

    @property
    def covariance(self) -> Tensor:
        """Of all pixels, with shape (d, d)."""
        centred = (self.means - self.mean).flatten(1)
        within = torch.einsum("k,kd->d", self.weights, self.variances.flatten(1))
        return within.diag() + torch.einsum("k,ki,kj->ij", self.weights, centred, centred)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` independent draws, with shape (count, C, H, W)."""
        k = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        means, stds = self.mixture.means[k], self.mixture.stds[k]
        if isinstance(self.neighbourhood, Gaussian):
            noise = torch.randn(means.shape, dtype=torch.float64, generator=generator)
            return self.means[k] + self.variances[k].sqrt() * noise
        b = self.neighbourhood.sigma / math.sqrt(2)
        lower, upper = _sides(self.x0, means, stds, b)
        uniform = torch.rand(means.shape, dtype=torch.float64, generator=generator)
        above = uniform < torch.sigmoid(upper - lower)
        side = torch.where(above, 1.0, -1.0)
        # The distance to x0 on the chosen side is normal around `centre`, cut off at 0.
        centre = (side * (means - self.x0) - stds**2 / b) / stds
        share = torch.rand(means.shape, dtype=torch.float64, generator=generator)
        return self.x0 + side * stds * positive_normal(centre, share)

    def responsibilities(self, x: Tensor) -> Tensor:
        """The probability of each component given a draw, with shape (B, K)."""
        label = torch.zeros(len(x), dtype=torch.int64)
        own = self.weights > 0
        mixture = MixtureDenoiser(
            self.mixture.means[own],
            self.mixture.stds[own],
            self.mixture.weights[own],
            torch.zeros(int(own.sum()), dtype=torch.int64),
        )
        # q(x | x0) is the same for every component.
        found = x.new_zeros(len(x), len(self.weights), dtype=torch.float64)
        found[:, own] = mixture.responsibilities(x, 0.0, label)
        return found


def posterior(
    mixture: MixtureDenoiser, neighbourhood: Neighbourhood, x0: Tensor, label: int
) -> Posterior:
    """The exact law of the counterfactuals of `x0` for the class `label`.

    Arguments:
        mixture: of the data.
        neighbourhood: `Gaussian` or `Laplace`.
        x0: the original in network units, with shape (C, H, W).
        label: the target class, -1 for any.
    """
    x0 = x0.double()
    means, stds = mixture.means, mixture.stds
    allowed = (
        mixture.labels == label
        if label >= 0
        else torch.ones_like(mixture.labels, dtype=torch.bool)
    )
    prior = mixture.weights.log().masked_fill(~allowed, -torch.inf)
    a = means - x0
    if isinstance(neighbourhood, Gaussian):
        width = neighbourhood.sigma
        variances = 1 / (1 / stds**2 + 1 / width**2)
        centres = variances * (means / stds**2 + x0 / width**2)
        total = stds**2 + width**2
        evidence = -(a**2 / total + total.log()) / 2
    elif isinstance(neighbourhood, Laplace):
        lower, upper = _sides(x0, means, stds, neighbourhood.b)
        evidence = torch.logaddexp(lower, upper)
        above = torch.sigmoid(upper - lower)
        moments = [
            _truncated((side * a - stds**2 / neighbourhood.b) / stds) for side in (1.0, -1.0)
        ]
        (m_up, v_up), (m_down, v_down) = moments
        m_up, m_down = stds * m_up, -stds * m_down
        centre = above * m_up + (1 - above) * m_down
        variances = (
            above * (stds**2 * v_up + m_up**2)
            + (1 - above) * (stds**2 * v_down + m_down**2)
            - centre**2
        )
        centres = x0 + centre
    else:
        raise TypeError(f"no closed form for {neighbourhood}")
    weights = (prior + evidence.flatten(1).sum(1)).softmax(0)
    return Posterior(weights, centres, variances, mixture, neighbourhood, x0)


def _sides(x0: Tensor, means: Tensor, stds: Tensor, b: float) -> tuple[Tensor, Tensor]:
    """The log weights of a pixel below and above x0, up to a common constant."""
    a = (means - x0) / stds
    lower, upper = (log_erfcx((stds / b + side * a) / math.sqrt(2)) for side in (1, -1))
    return lower - a**2 / 2, upper - a**2 / 2


def _truncated(centre: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of a normal variable around `centre` with variance 1, given that it is positive."""
    # The hazard phi(c) / Phi(c) = sqrt(2 / pi) / erfcx(-c / sqrt(2)).
    hazard = math.sqrt(2 / math.pi) * (-log_erfcx(-centre / math.sqrt(2))).exp()
    mean = centre + hazard
    return mean, 1 - hazard * mean


def positive_normal(centre: Tensor, share: Tensor) -> Tensor:
    """The quantile `share` of a normal variable around `centre` with variance 1, given that it is positive."""
    # The upper tail beyond x is `share` of that beyond 0; so far out that it underflows, the tail is exponential.
    log_tail = torch.special.log_ndtr(centre) + share.log()
    near = centre - torch.special.ndtri(log_tail.exp())
    return torch.where(centre > -30, near, share.log() / centre)
