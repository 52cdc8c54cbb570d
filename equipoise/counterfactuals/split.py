"""Moves within pi(x) ~ p(x | c) q(x | x0) for a Laplace q: through a noisy copy z of x, pixel by pixel and back.

With y = x - x0 and a short length rho, let z have the density

    q~ = a delta + (1 - a) q,   1 - a = exp(-rho^2 / 2 b^2),        q_rho = q~ convolved with N(0, rho^2),

delta being the point mass at x0. The share a gives q_rho exactly the tails of q, and its variance up to a term in
(rho / b)^4; only the kink at x0 is rounded. One move draws

    z | x ~ q~(z) N(z; x, rho^2),    pixels independent: x0 itself, or a normal variable cut off at x0,
    x | z ~ p(x | c) N(z; x, rho^2), which a denoiser can do at isotropic noise: `glance`, or the exact method around z,

and leaves p q_rho as it is, reversibly. Accepting x' with probability min(1, [q / q_rho](x') / [q / q_rho](x)) makes
it pi itself. All pixels weigh in: the change of log (q / q_rho) grows with their number, and rho has to shrink.

References:
    Split-and-augmented Gibbs sampler (Vono et al., 2019), arXiv 1804.05809
    Principled probabilistic imaging using diffusion models as plug-and-play priors (Wu et al., 2024), arXiv 2405.18782
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from equipoise.counterfactuals.exact import merge
from equipoise.counterfactuals.method import Noise
from equipoise.counterfactuals.neighbourhoods import Laplace, log_erfcx
from equipoise.counterfactuals.posterior import positive_normal
from equipoise.diffusion import Guided, multistep

__all__ = ["GLANCE", "Inner", "accepted", "glance", "split_move"]

Inner = Callable[[Guided, Tensor, float, Noise], Tensor]
"""inner(denoise, z, rho, noise): a draw of p(x | c) N(z; x, rho^2) for each z."""

GLANCE = 3
"""Evaluations of `glance`."""


def glance(denoise: Guided, z: Tensor, rho: float, noise: Noise) -> Tensor:
    """A draw of p(x | c) N(z; x, rho^2) in three evaluations: two steps along the flow of the merged denoiser.

    The numbers are tuned on Gaussian data: chains of moves keep standard deviations from rho / 10 up within 3 %,
    however large. Smaller ones shrink, to half at rho / 30, and shorter moves have to put them right. The flow
    would be exact from infinitely far; a wider start makes up for the short way.
    """
    x = torch.add(denoise(z, rho), noise(1)[0], alpha=1.65 * rho)
    return multistep(merge(denoise, z, rho), x, [0.9 * rho, 0.1 * rho, 0.0])


def split_move(
    denoise: Guided,
    neighbourhood: Laplace,
    x: Tensor,
    x0: Tensor,
    *,
    rho: float,
    noise: Noise,
    inner: Inner = glance,
) -> Tensor:
    """x' given x, reversible with respect to p q_rho as far as `inner` is exact."""
    y = (x - x0).double()
    place, within = torch.special.ndtr(noise(2).double())
    shares = _log_shares(y, rho, neighbourhood.b).softmax(0)
    side = torch.where(place < shares[0] + shares[1], 1.0, -1.0)
    # The distance of z to x0 on the chosen side is normal around `centre` in units of rho, cut off at 0.
    centre = side * y / rho - rho / neighbourhood.b
    z = torch.where(place < shares[0], 0.0, side * rho * positive_normal(centre, within))
    return inner(denoise, x0 + z.to(x.dtype), rho, noise)


def accepted(
    neighbourhood: Laplace, x: Tensor, proposed: Tensor, x0: Tensor, *, rho: float, noise: Noise
) -> Tensor:
    """`proposed` by `split_move` where Metropolis accepts it, else `x`."""
    gain = _log_excess(neighbourhood, proposed - x0, rho) - _log_excess(neighbourhood, x - x0, rho)
    uniform = torch.special.ndtr(noise(1)[0].double().flatten(1)[:, 0])
    return torch.where((uniform.log() < gain)[:, None, None, None], proposed, x)


def _log_shares(y: Tensor, rho: float, b: float) -> Tensor:
    """log of the three parts of q_rho at y, z being at x0, above or below, times 2 b and pixel by pixel."""
    spike = math.log(-math.expm1(-((rho / b) ** 2) / 2) * math.sqrt(2 / math.pi) * b / rho)
    slab = -((rho / b) ** 2) / 2 - math.log(2)
    above, below = (log_erfcx((rho / b + s * y / rho) / math.sqrt(2)) for s in (-1, 1))
    return (
        torch.stack([torch.full_like(y, spike), slab + above, slab + below]) - (y / rho) ** 2 / 2
    )


def _log_excess(neighbourhood: Laplace, y: Tensor, rho: float) -> Tensor:
    """log (q / q_rho) up to a constant, with shape (B,)."""
    y = y.double()
    smooth = _log_shares(y, rho, neighbourhood.b).logsumexp(0)
    return -(y.abs() / neighbourhood.b + smooth).flatten(1).sum(1)
