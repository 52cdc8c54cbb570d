"""What a radius is."""

import math

from equipoise.errors import EquipoiseError

__all__ = ["check_radius"]


def check_radius(eps: float) -> float:
    """The radius as a float.

    Raises:
        EquipoiseError: when it is negative or not finite.
    """
    if not (math.isfinite(eps) and eps >= 0):
        raise EquipoiseError(f"A radius is finite and at least 0, not {eps!r}.")
    return float(eps)
