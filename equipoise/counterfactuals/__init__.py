"""Counterfactuals: what an image would look like if it were of another class, drawn with a denoiser."""

from equipoise.counterfactuals.added import Added
from equipoise.counterfactuals.collection import SPLITS, CounterfactualSet, Rows
from equipoise.counterfactuals.exact import Exact, merge
from equipoise.counterfactuals.frechet import Normal, fit_normal, frechet, frechet_distance
from equipoise.counterfactuals.grid import draw_grid
from equipoise.counterfactuals.making import check_fit, make_set
from equipoise.counterfactuals.method import Method, Noise
from equipoise.counterfactuals.metropolis import Metropolis
from equipoise.counterfactuals.neighbourhoods import (
    Gaussian,
    Laplace,
    Neighbourhood,
    parse_neighbourhood,
)
from equipoise.counterfactuals.oracle import DiffusionClassifier, Opinion, ask
from equipoise.counterfactuals.particles import Particles
from equipoise.counterfactuals.posterior import Posterior, posterior
from equipoise.counterfactuals.quality import (
    Finding,
    high_frequencies,
    measure_quality,
    nearest_distances,
)
from equipoise.counterfactuals.reverse import Reverse
from equipoise.counterfactuals.sampler import Sampler
from equipoise.counterfactuals.tilted import Tilted

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
    "Tilted",
    "Metropolis",
    "Particles",
    "Added",
    "posterior",
    "Posterior",
    "make_set",
    "check_fit",
    "CounterfactualSet",
    "SPLITS",
    "Rows",
    "ask",
    "Opinion",
    "DiffusionClassifier",
    "measure_quality",
    "Finding",
    "frechet_distance",
    "frechet",
    "fit_normal",
    "Normal",
    "nearest_distances",
    "draw_grid",
    "high_frequencies",
]
