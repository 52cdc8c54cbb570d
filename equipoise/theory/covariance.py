"""What a covariance is."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.errors import EquipoiseError

__all__ = ["check_covariance", "check_definite"]

ROUNDING = 1e-9
"""How much two halves of a symmetric matrix may differ, as a share of the scales of their features."""

SINGULAR = 1e-10
"""Smallest eigenvalue of a matrix of correlations that still counts as positive."""


def check_covariance(given: ArrayLike, what: str) -> NDArray:
    """A copy as floats, symmetric to the last bit; its eigenvalues may be 0.

    Arguments:
        given: with shape (m, m).
        what: that needs it, for the error message.

    Raises:
        EquipoiseError: for another shape, or a matrix that is not finite, not symmetric or not positive semidefinite.
    """
    try:
        matrix = np.array(given, float)
    except (TypeError, ValueError):
        raise EquipoiseError(
            f"{what} needs a covariance of numbers with shape (m, m), not {given!r}."
        ) from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise EquipoiseError(f"{what} needs a covariance with shape (m, m), not {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise EquipoiseError(
            f"{what} needs a finite covariance: some of it is infinite or not a number."
        )
    apart, scale = np.abs(matrix - matrix.T), np.sqrt(np.abs(np.diag(matrix)))
    if (apart > ROUNDING * np.outer(scale, scale)).any():
        i, j = np.unravel_index(int(apart.argmax()), apart.shape)
        raise EquipoiseError(
            f"{what} needs a symmetric covariance: it has {matrix[i, j]:g} in row {i}, column {j}, but "
            f"{matrix[j, i]:g} the other way round."
        )
    matrix = (matrix + matrix.T) / 2
    values = np.linalg.eigvalsh(matrix)
    if values[0] < -ROUNDING * abs(values[-1]):
        raise EquipoiseError(
            f"{what} needs a covariance without negative eigenvalues, not one with {values[0]:g}: no features have "
            "such correlations."
        )
    return matrix


def check_definite(matrix: NDArray, what: str) -> None:
    """Whether no feature is a sum of others, whatever their units.

    Raises:
        EquipoiseError: when one is, but for rounding, or does not vary.
    """
    scale = np.sqrt(np.diag(matrix))
    if not scale.all() or np.linalg.eigvalsh(matrix / np.outer(scale, scale))[0] < SINGULAR:
        raise EquipoiseError(
            f"{what} needs a positive definite covariance: one of its {len(matrix)} features does not vary, or is a "
            "sum of others. Leave it out."
        )
