"""Theory: the papers' models in closed form. NumPy and SciPy only, no images, no networks."""

from equipoise.theory.dichotomy import CollapseWarning, Dichotomy
from equipoise.theory.linear import LinearRule, fit_linear, label_correlations, top_inputs

__all__ = [
    "CollapseWarning",
    "Dichotomy",
    "LinearRule",
    "fit_linear",
    "label_correlations",
    "top_inputs",
]
