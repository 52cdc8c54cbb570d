"""Quadratic problems with a kink or a bound on every coordinate, solved exactly by principal pivoting.

Each coordinate has a state of -1, 0 or +1. Given all states the rest is linear, and its solution says which states are
wrong. Changing all wrong states at once is fast but may go round in circles; when it no longer gets better, only the
last one changes, which ends for every positive definite matrix A:

    lasso       minimise w' A w / 2 - a' w + mu ||w||_1, where the state is the sign of w_i;
    bounds      minimise x' A x / 2 - a' x with low <= x <= high, where the state is -1 on `low` and +1 on `high`.

References:
    A block principal pivoting algorithm for large-scale strictly monotone linear complementarity problems (Judice,
    Pires, 1994), Computers & Operations Research 21
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import EquipoiseError

__all__ = ["bounded", "lasso"]

PATIENCE = 10
"""Rounds in which the number of wrong states may stay as it is."""

ROUNDS = 100_000

ROUNDING = 1e-13
"""Of slopes, as a share of the terms they are made of."""


def lasso(
    matrix: NDArray, pull: NDArray, mu: float, states: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """The solution, the slopes a - A w at it, and its states; `states` are where the search begins.

    Raises:
        EquipoiseError: when no states are right, as with a matrix that is singular but for rounding.
    """

    def propose(states: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        used = states != 0
        w = np.zeros(len(pull))
        w[used] = np.linalg.solve(matrix[np.ix_(used, used)], (pull - mu * states)[used])
        slopes = pull - matrix @ w
        wanted = np.where(used & (w * states < 0), 0, states)
        missed = ~used & (np.abs(slopes) > mu + ROUNDING * (np.abs(pull) + np.abs(matrix @ w)))
        return w, slopes, np.where(missed, np.sign(slopes), wanted)

    return _settle(propose, states)


def bounded(
    matrix: NDArray, pull: NDArray, low: NDArray, high: NDArray, states: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """The solution, the slopes a - A x at it, and its states; `states` are where the search begins.

    Raises:
        EquipoiseError: when no states are right, as with a matrix that is singular but for rounding.
    """

    def propose(states: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        free = states == 0
        x = np.where(states < 0, low, np.where(states > 0, high, 0.0))
        x[free] = np.linalg.solve(matrix[np.ix_(free, free)], (pull - matrix @ x)[free])
        slopes = pull - matrix @ x
        wanted = np.where(free & (x > high), 1, np.where(free & (x < low), -1, states))
        inward = -states * slopes > ROUNDING * (np.abs(pull) + np.abs(matrix @ x))
        return x, slopes, np.where(inward, 0, wanted)

    return _settle(propose, states)


def _settle(
    propose: Callable[[NDArray], tuple[NDArray, NDArray, NDArray]], states: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    fewest, patience = len(states) + 1, PATIENCE
    for _ in range(ROUNDS):
        point, slopes, wanted = propose(states)
        wrong = np.flatnonzero(wanted != states)
        if not wrong.size:
            return point, slopes, states
        if wrong.size < fewest:
            fewest, patience = wrong.size, PATIENCE
        elif patience:
            patience -= 1
        else:
            wrong = wrong[-1:]
        states = states.copy()
        states[wrong] = wanted[wrong]
    raise EquipoiseError(
        f"Found no minimum after {ROUNDS} rounds of pivoting: rounding hides it. Give features that are less alike."
    )
