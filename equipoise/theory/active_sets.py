"""Quadratic problems with a kink or bounds on every coordinate, solved exactly by active sets.

    Lasso       minimise d' A d / 2 + mu ||theta - d||_1; the state of a coordinate is the sign of theta_i - d_i;
    Bounded     minimise x' A x / 2 - a' x with low <= x <= high; the state is -1 on `low`, +1 on `high`, 0 between.

While no state changes, some coordinates are free, the rest are held, and the minimum is one linear solve away. The
search goes there, or as far as the first free coordinate that would leave its side, which is held from then on. At a
minimum it frees the held coordinate whose slope is most wrong. The objective falls, so that no states come twice.

Unknowns are what may be tiny, so that slopes A d are right to their last digits however small they are. Cholesky's
factors do not mind features of very different scales.

References:
    Solving least squares problems (Lawson, Hanson, 1974), chapter 23
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from equipoise.errors import EquipoiseError

__all__ = ["Bounded", "Lasso", "Point", "solve"]

ROUNDS = 200
"""Linear solves for each coordinate, before rounding is to blame."""

ROUNDING = 1e-13
"""Of slopes, as a share of the terms they are made of."""


class Point(NamedTuple):
    """Values, their slopes A x - a, and the states of their coordinates, each with shape (m,)."""

    values: NDArray
    slopes: NDArray
    states: NDArray


class _Rules(NamedTuple):
    """Which coordinates are free, the values of the others, a of the free ones, and between what those stay."""

    free: NDArray
    held: NDArray
    pull: NDArray
    floor: NDArray
    ceiling: NDArray


class _Problem(ABC):
    matrix: NDArray

    @abstractmethod
    def _rules(self, states: NDArray) -> _Rules: ...

    @abstractmethod
    def _slopes(self, values: NDArray) -> tuple[NDArray, NDArray]:
        """Slopes, and what they may be off by."""

    @abstractmethod
    def _wrong(self, slopes: NDArray, states: NDArray) -> tuple[NDArray, NDArray]:
        """How wrong each held coordinate is, and its state once it is free."""

    @abstractmethod
    def _stopped(self, side: int) -> int:
        """The state of a coordinate that has come to its floor, -1, or its ceiling, +1."""

    def minimise(self, values: NDArray, states: NDArray) -> Point:
        """The minimum; the search begins at `values`, those that free coordinates may have, and `states`.

        Raises:
            EquipoiseError: when rounding hides it, as with a matrix that is nearly singular.
        """
        states, freed = states.copy(), -1
        barred = np.zeros(
            len(states), bool
        )  # freed just now, only to be stopped at once: rounding
        for _ in range(ROUNDS * len(states)):
            free, held, pull, floor, ceiling = self._rules(states)
            values = np.where(free, np.clip(values, floor, ceiling), held)
            to = np.where(free, 0.0, held)
            to[free] = solve(self.matrix[np.ix_(free, free)], (pull - self.matrix @ to)[free])
            side = free * ((to > ceiling).astype(int) - (to < floor))
            if side.any():
                out = side != 0
                edge = np.where(side > 0, ceiling, floor)[out]
                shares = np.full(len(states), np.inf)
                shares[out] = (edge - values[out]) / (to - values)[out]
                first = int(shares.argmin())
                values += shares[first] * (to - values)
                states[first] = self._stopped(int(side[first]))
                if first == freed and not shares[first]:
                    barred[first] = True
                else:
                    barred[:] = False
                freed = -1
                continue
            if freed >= 0:
                barred[:] = False
            values = to
            slopes, rounding = self._slopes(values)
            wrong, once_free = self._wrong(slopes, states)
            wrong = np.where(free | barred, 0.0, wrong - rounding)
            freed = int(wrong.argmax())
            if wrong[freed] <= 0:
                return Point(values, slopes, states)
            states[freed] = once_free[freed]
        raise EquipoiseError(
            f"Found no minimum in {len(states)} features: rounding hides it. Leave out features that are nearly sums "
            "of others."
        )


@dataclass(frozen=True, eq=False)
class Lasso(_Problem):
    """minimise d' A d / 2 + mu ||theta - d||_1."""

    matrix: NDArray
    theta: NDArray
    mu: float

    def _rules(self, states: NDArray) -> _Rules:
        floor = np.where(states < 0, self.theta, -np.inf)
        ceiling = np.where(states > 0, self.theta, np.inf)
        return _Rules(states != 0, self.theta, self.mu * states, floor, ceiling)

    def _slopes(self, values: NDArray) -> tuple[NDArray, NDArray]:
        return self.matrix @ values, ROUNDING * (np.abs(self.matrix) @ np.abs(values))

    def _wrong(self, slopes: NDArray, states: NDArray) -> tuple[NDArray, NDArray]:
        return np.abs(slopes) - self.mu, np.sign(slopes)

    def _stopped(self, side: int) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Bounded(_Problem):
    """minimise x' A x / 2 - a' x with low <= x <= high."""

    matrix: NDArray
    pull: NDArray
    low: NDArray
    high: NDArray

    def _rules(self, states: NDArray) -> _Rules:
        held = np.where(states < 0, self.low, np.where(states > 0, self.high, 0.0))
        return _Rules(states == 0, held, self.pull, self.low, self.high)

    def _slopes(self, values: NDArray) -> tuple[NDArray, NDArray]:
        terms = np.abs(self.pull) + np.abs(self.matrix) @ np.abs(values)
        return self.matrix @ values - self.pull, ROUNDING * terms

    def _wrong(self, slopes: NDArray, states: NDArray) -> tuple[NDArray, NDArray]:
        return states * slopes, 0 * states

    def _stopped(self, side: int) -> int:
        return side


def solve(matrix: NDArray, right: NDArray) -> NDArray:
    """A^-1 b for a positive definite A, which may be empty."""
    if not len(matrix):
        return right
    return cho_solve(cho_factor(matrix, check_finite=False), right, check_finite=False)
