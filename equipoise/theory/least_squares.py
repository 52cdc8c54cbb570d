"""Adversarial training of linear regression, solved exactly.

Notation. Features have covariance Sigma, the label is theta . x plus noise of standard deviation sigma, all Gaussian.
The adversary's norm is p in {1, 2, inf}, its dual is q with 1/p + 1/q = 1, and c = sqrt(2 / pi). With
s^2 = (w - theta)' Sigma (w - theta) + sigma^2 and N = ||w||_q, adversarial training minimises

    J(w) = E max_{||delta||_p <= eps} (y - w . (x + delta))^2 = s^2 + 2 eps c s N + eps^2 N^2.

J is strictly convex, and w is its minimum where, for a subgradient g of ||w||_q,

    Sigma (theta - w) = mu g,   mu = eps s (c s + eps N) / (s + eps c N).

So the minimum lies on the path of least squares with the penalty mu ||w||_q, at the only mu that is its own formula:
the ridge for p = 2, the lasso for p = inf, and for p = 1 least squares inside the cube of side 2 ||w||_inf. Every point
of a path is exact, and c eps sigma <= mu <= ||Sigma theta||_p. It is known by d = theta - w, which may be small.

w = 0 from eps = ||Sigma theta||_p / (c s_0) on, s_0^2 = theta' Sigma theta + sigma^2. Without noise w = theta up to
eps = c / sqrt(min_g g' Sigma^-1 g), g among the subgradients of ||theta||_q.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.theory.active_sets import Bounded, Lasso, Point, solve

__all__ = ["DUAL", "LeastSquares"]

DUAL = {1: math.inf, 2: 2, math.inf: 1}
"""q of each p."""

FOLDED = math.sqrt(2 / math.pi)
"""c, the mean of |z| for a standard normal z."""

NEAR = 1e-30
"""How near to theta a path is searched, as a share of its length."""


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """One problem: covariance with shape (m, m), theta with shape (m,), and the standard deviation of the noise."""

    covariance: NDArray
    theta: NDArray
    noise: float

    def error(self, w: NDArray) -> float:
        """s^2."""
        return self._square(self.theta - w)

    def _square(self, d: NDArray) -> float:
        return max(0.0, float(d @ self.covariance @ d)) + self.noise**2

    def value(self, w: NDArray, p: float, eps: float) -> float:
        """J."""
        square, size = self.error(w), float(np.linalg.norm(w, DUAL[p]))
        return square + 2 * eps * FOLDED * math.sqrt(square) * size + (eps * size) ** 2

    def collapse_radius(self, p: float) -> float:
        """From it on w = 0."""
        pull = float(np.linalg.norm(self.covariance @ self.theta, p))
        return pull / (FOLDED * math.sqrt(self.error(np.zeros(len(self.theta)))))

    def unchanged_radius(self, p: float) -> float:
        """Up to it w = theta: 0 with noise."""
        if self.noise:
            return 0.0
        theta, inverse = self.theta, solve(self.covariance, np.eye(len(self.theta)))
        g = np.sign(theta)
        if p == 2:
            g = theta / np.linalg.norm(theta)
        elif p == 1:
            # Any mean of the signs of the largest: on a simplex, which is the positive cone at one height.
            largest = np.abs(theta) == np.abs(theta).max()
            among = (inverse * np.outer(g, g))[np.ix_(largest, largest)]
            none = np.zeros(len(among))
            shares = Bounded(among, none + 1, none, none + np.inf).minimise(none, none - 1).values
            g = np.where(largest, g, 0.0)
            g[largest] *= shares / shares.sum()
        elif not theta.all():
            zero = theta == 0
            ones = np.ones(int(zero.sum()))
            within = inverse[np.ix_(zero, zero)]
            rest = Bounded(within, -(inverse @ g)[zero], -ones, ones)
            g[zero] = rest.minimise(0 * ones, 0 * ones).values
        return FOLDED / math.sqrt(g @ inverse @ g)

    def minimise(self, p: float, eps: float) -> NDArray:
        """The minimum w of J."""
        if eps <= self.unchanged_radius(p):
            return self.theta.copy()
        if eps >= self.collapse_radius(p):
            return np.zeros(len(self.theta))
        return self.on_path(p, eps)[0]

    def on_path(self, p: float, eps: float) -> tuple[NDArray, NDArray]:
        """The minimum w and its subgradient g, where w is neither theta nor 0."""
        return {1: self._cube, 2: self._ridge, math.inf: self._lasso}[p](eps)

    def _price(self, d: NDArray, p: float, eps: float) -> float:
        """The formula of mu."""
        s, size = math.sqrt(self._square(d)), float(np.linalg.norm(self.theta - d, DUAL[p]))
        return eps * s * (FOLDED * s + eps * size) / (s + eps * FOLDED * size) if s else 0.0

    def _ridge(self, eps: float) -> tuple[NDArray, NDArray]:
        """w = (Sigma + lam I)^-1 Sigma theta with lam ||w||_2 = mu."""
        variances, unit = np.diag(self.covariance), np.eye(len(self.theta))
        both = np.column_stack([self.theta, self.covariance @ self.theta])

        def point(log_lam: float) -> tuple[NDArray, NDArray]:
            lam = math.exp(log_lam)
            d, w = solve(self.covariance + lam * unit, both).T
            return lam * d, w

        def excess(log_lam: float) -> float:
            d, w = point(log_lam)
            return math.exp(log_lam) * float(np.linalg.norm(w)) - self._price(d, 2, eps)

        ends = math.log(NEAR * variances.min()), math.log(variances.sum()) + 40
        _, w = point(_crossing(excess, *ends))
        return w, w / np.linalg.norm(w)

    def _lasso(self, eps: float) -> tuple[NDArray, NDArray]:
        high = float(np.abs(self.covariance @ self.theta).max())
        last = Point(self.theta, self.theta, np.zeros(len(self.theta)))

        def point(mu: float) -> Point:
            nonlocal last
            problem = Lasso(self.covariance, self.theta, mu)
            last = problem.minimise(last.values, last.states)
            return last

        def excess(mu: float) -> float:
            return mu - self._price(point(mu).values, math.inf, eps)

        mu = _descend(excess, high)
        d, slopes, signs = point(mu)
        return np.where(signs, self.theta - d, 0.0), np.where(signs, signs, slopes / mu)

    def _cube(self, eps: float) -> tuple[NDArray, NDArray]:
        """w nearest to theta with ||w||_inf = t, by u = 1 - t / ||theta||_inf; slopes inside the cube are 0."""
        theta, high = self.theta, float(np.abs(self.theta).max())
        last = Point(theta, theta, -np.sign(self.covariance @ theta))

        def point(u: float) -> tuple[NDArray, NDArray]:
            nonlocal last
            low, top = (theta - high) + high * u, (theta + high) - high * u
            problem = Bounded(self.covariance, 0 * theta, low, top)
            last = problem.minimise(last.values, last.states)
            return last.values, np.where(last.states, last.slopes, 0.0)

        def excess(u: float) -> float:
            d, slopes = point(u)
            return float(np.abs(slopes).sum()) - self._price(d, 1, eps)

        d, slopes = point(_descend(excess, 1.0))
        return theta - d, slopes / np.abs(slopes).sum()


def _descend(excess: Callable[[float], float], high: float) -> float:
    """`_crossing` below `high`, from there in halves, so that each point of a path is near the last one."""
    top, least = high, NEAR * high
    while top > least and excess(top / 2) > 0:
        top /= 2
    return _crossing(excess, top / 2, top)


def _crossing(excess: Callable[[float], float], low: float, high: float) -> float:
    """Where `excess` rises through 0, or the end beyond which it would."""
    if excess(low) >= 0:
        return low
    if excess(high) <= 0:
        return high
    # A sixth of a second that most commands do not need.
    from scipy.optimize import brentq  # noqa: PLC0415

    return float(brentq(excess, low, high, xtol=1e-300, rtol=8.9e-16, maxiter=1000))  # pyright: ignore
