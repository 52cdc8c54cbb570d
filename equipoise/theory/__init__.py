"""Theory: the papers' models in closed form. NumPy and SciPy only, no images, no networks."""

from equipoise.theory.dichotomy import CollapseWarning, Dichotomy
from equipoise.theory.linear import LinearRule, fit_linear, label_correlations, top_inputs
from equipoise.theory.pairs import NORMS, PairedDesign, Regression
from equipoise.theory.regression import CoreSpurious, Reliance
from equipoise.theory.rules import Rule, fitted_rules, known_rules, machines

__all__ = [
    "CollapseWarning",
    "Dichotomy",
    "Rule",
    "known_rules",
    "machines",
    "fitted_rules",
    "LinearRule",
    "fit_linear",
    "label_correlations",
    "top_inputs",
    "CoreSpurious",
    "NORMS",
    "PairedDesign",
    "Regression",
    "Reliance",
]
