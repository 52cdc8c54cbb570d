"""The distance of Fréchet between normal laws fitted to two sets of features.

With means m, m' and covariances S, S', |m - m'|^2 + tr(S + S' - 2 (S S')^1/2): the squared Wasserstein-2 distance of
the two laws. Fitted to N features each it is too large by about c / N, so that only distances of equal numbers compare.

References:
    The distance between two random vectors with given dispersion matrices (Olkin and Pukelsheim, 1982)
    GANs trained by a two time-scale update rule converge to a local Nash equilibrium (Heusel et al., 2017), arXiv
    1706.08500
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Normal", "fit_normal", "frechet", "frechet_distance"]


@dataclass(frozen=True, eq=False)
class Normal:
    """A normal law: its mean, with shape (F,), and its covariance, with shape (F, F), in double precision."""

    mean: Tensor
    covariance: Tensor

    @cached_property
    def root(self) -> Tensor:
        """The symmetric square root of the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return vectors * values.clamp(min=0).sqrt() @ vectors.T


def fit_normal(features: Tensor) -> Normal:
    """The law with the mean and the unbiased covariance of features with shape (N, F), N > 1."""
    features = features.double()
    return Normal(features.mean(0), torch.cov(features.T).reshape(features.shape[1], -1))


def frechet(a: Normal, b: Normal) -> float:
    """Between two normal laws, never negative."""
    apart = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()
    # tr (S S')^1/2 is the sum of the singular values of S^1/2 S'^1/2, which stays real whatever the rounding.
    return (apart - 2 * torch.linalg.svdvals(a.root @ b.root).sum()).clamp(min=0).item()


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Between the normal laws fitted to two sets of features with shapes (N, F) and (M, F)."""
    return frechet(fit_normal(a), fit_normal(b))
