"""Theory: the papers' models in closed form. NumPy and SciPy only, no images, no networks."""

from equipoise.theory.dichotomy import CollapseWarning, Dichotomy

__all__ = ["CollapseWarning", "Dichotomy"]
