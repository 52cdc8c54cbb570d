"""How classifiers and denoisers are fitted: one objective a file, one loop for all classifiers. Also the feature sets
that say what a classifier learned from."""

from equipoise.training.adversarial import Adversarial
from equipoise.training.denoising import DenoiserRecipe, fit_denoiser, suited_recipe
from equipoise.training.engine import shuffled_rows
from equipoise.training.fitting import fit
from equipoise.training.half_and_half import HalfAndHalf
from equipoise.training.ladder import rung_name, train_ladder
from equipoise.training.linear_probing import fit_head, transfer
from equipoise.training.many import Training, train_many
from equipoise.training.matching import match_features
from equipoise.training.nearest import remember
from equipoise.training.objective import Objective
from equipoise.training.pgd import PGD
from equipoise.training.random_noise import RandomNoise
from equipoise.training.recipe import Recipe
from equipoise.training.relabelling import relabel
from equipoise.training.standard import Standard
from equipoise.training.trades import TRADES

__all__ = [
    "train_ladder",
    "rung_name",
    "train_many",
    "Training",
    "fit",
    "remember",
    "Recipe",
    "Objective",
    "Standard",
    "Adversarial",
    "PGD",
    "TRADES",
    "HalfAndHalf",
    "RandomNoise",
    "fit_denoiser",
    "DenoiserRecipe",
    "suited_recipe",
    "shuffled_rows",
    "match_features",
    "relabel",
    "fit_head",
    "transfer",
]
