"""How classifiers are fitted: one objective a file, one loop for all."""

from equipoise.training.adversarial import Adversarial
from equipoise.training.fitting import fit
from equipoise.training.ladder import rung_name, train_ladder
from equipoise.training.objective import Objective
from equipoise.training.recipe import Recipe
from equipoise.training.standard import Standard

__all__ = ["train_ladder", "rung_name", "fit", "Recipe", "Objective", "Standard", "Adversarial"]
