"""Counterfactuals: what an image would look like if it were of another class, drawn with a denoiser."""

from equipoise.counterfactuals.added import Added
from equipoise.counterfactuals.exact import Exact, merge
from equipoise.counterfactuals.method import Method, Noise
from equipoise.counterfactuals.neighbourhoods import (
    Gaussian,
    Laplace,
    Neighbourhood,
    parse_neighbourhood,
)
from equipoise.counterfactuals.posterior import Posterior, posterior
from equipoise.counterfactuals.reverse import Reverse
from equipoise.counterfactuals.sampler import Sampler

__all__ = [
    "Sampler",
    "Gaussian",
    "Laplace",
    "Neighbourhood",
    "parse_neighbourhood",
    "Method",
    "Noise",
    "Exact",
    "merge",
    "Reverse",
    "Added",
    "posterior",
    "Posterior",
]
