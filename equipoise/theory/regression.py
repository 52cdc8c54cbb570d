"""Linear regression in which adversarial training decides whether to rely on spurious features, solved exactly.

Notation. Features x are Gaussian with mean 0 and covariance Sigma, and y = theta . x + noise, which is Gaussian with
standard deviation sigma. Some features are core; the others are spurious: theta is 0 on them, but they correlate with
core features. The adversary moves x by up to eps in the norm p in {1, 2, inf}; q is the dual of p, and with
c = sqrt(2 / pi) and s^2 = (w - theta)' Sigma (w - theta) + sigma^2

    risk of w = E max_{||delta||_p <= eps} (y - w . (x + delta))^2 = s^2 + 2 eps c s ||w||_q + eps^2 ||w||_q^2.

Standard training, eps = 0, finds w = theta, which relies on nothing spurious whatever Sigma is. Adversarial training
finds Sigma (theta - w) = mu g for a subgradient g of ||w||_q and a price mu > 0. So the best weights w_C of core
features alone, with their g_C, stay the best of all exactly where v = Sigma_SC Sigma_CC^-1 g_C, the pull on spurious
features, is

    v = 0 for p = 1 and p = 2,    |v_j| <= 1 for every spurious j for p = inf.

Where each core feature correlates only with a spurious twin, of scale a times its own and with correlation rho, the
latter says |rho| a <= 1. The paper's theorems were not at hand: setting and statements are our derivation.

References:
    Explicit tradeoffs between adversarial and natural distributional robustness (Moayeri, Banihashem, Feizi, 2022),
    https://arxiv.org/abs/2209.07592
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.errors import EquipoiseError
from equipoise.theory.active_sets import solve
from equipoise.theory.covariance import check_covariance, check_definite
from equipoise.theory.least_squares import DUAL, LeastSquares
from equipoise.theory.radius import check_radius

__all__ = ["CoreSpurious", "Reliance"]

ROUNDING = 1e-9
"""What the pull on a spurious feature may be off by, as a share of what it is made of."""


@dataclass(frozen=True)
class Reliance:
    """How much weights rely on spurious features.

    Attributes:
        norm: ||w_S||_2.
        share: ||w_S||_2 / ||w||_2, in [0, 1]; 0 for weights of 0.
        std: standard deviation of w_S . x_S, in units of y, which does not depend on the units of features.
    """

    norm: float
    share: float
    std: float


@dataclass(frozen=True, eq=False)
class CoreSpurious:
    """The model; features and weights are in the order of the covariance.

    Arguments:
        covariance: Sigma with shape (m, m), positive definite.
        theta: with shape (m,), 0 on spurious features, not 0 everywhere.
        noise: sigma, at least 0.
        core: which features are core, counted from 0: some of them, not all.

    Raises:
        EquipoiseError: for shapes, numbers or indices that do not fit.
    """

    covariance: NDArray
    theta: NDArray
    noise: float
    core: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        covariance = check_covariance(self.covariance, "CoreSpurious")
        check_definite(covariance, "CoreSpurious")
        m = len(covariance)
        try:
            theta = np.array(self.theta, float)
        except (TypeError, ValueError):
            theta = np.empty(0)
        if theta.shape != (m,) or not np.isfinite(theta).all():
            raise EquipoiseError(
                f"CoreSpurious needs finite theta with shape ({m},), one weight a feature, not {self.theta!r}."
            )
        if not (isinstance(self.noise, Real) and math.isfinite(self.noise) and self.noise >= 0):
            raise EquipoiseError(
                f"CoreSpurious needs a finite noise of at least 0, not {self.noise!r}."
            )
        core = _indices(self.core, m)
        outside = [j for j in range(m) if j not in core and theta[j]]
        if outside:
            raise EquipoiseError(
                f"CoreSpurious needs theta of 0 on spurious features, not {theta[outside[0]]:g} on feature "
                f"{outside[0]}: the label depends on core features only. Make it 0, or the feature a core one."
            )
        if not theta.any():
            raise EquipoiseError(
                "CoreSpurious needs a theta other than 0: without one there is nothing to learn."
            )
        for array in (covariance, theta):
            array.flags.writeable = False
        for name, value in (("covariance", covariance), ("theta", theta), ("core", core)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "noise", float(self.noise))

    @classmethod
    def paired(
        cls, pairs: int = 1, *, rho: float = 0.8, scale: float = 1.0, noise: float = 0.5
    ) -> "CoreSpurious":
        """Core features with variance 1 and a spurious twin each: Sigma = [[I, rho a I], [rho a I, a^2 I]].

        theta is 1 / sqrt(pairs) on each core feature, so that its norm ||theta||_2 is 1.

        Arguments:
            pairs: how many; the core features come first.
            rho: correlation of twins, above -1 and below 1.
            scale: a, the standard deviation of spurious features, where that of core features is 1.
            noise: sigma.

        Raises:
            EquipoiseError: for numbers out of range.
        """
        given = f"paired(pairs={pairs!r}, rho={rho!r}, scale={scale!r}, noise={noise!r})"
        if isinstance(pairs, bool) or not isinstance(pairs, Integral) or pairs < 1:
            raise EquipoiseError(f"Cannot build {given}: pairs is a whole number of at least 1.")
        if not -1 < rho < 1:
            raise EquipoiseError(f"Cannot build {given}: rho is above -1 and below 1.")
        if not (math.isfinite(scale) and scale > 0):
            raise EquipoiseError(f"Cannot build {given}: scale is finite and above 0.")
        two = np.array([[1.0, rho * scale], [rho * scale, scale**2]])
        theta = np.repeat([1 / math.sqrt(pairs), 0.0], int(pairs))
        return cls(np.kron(two, np.eye(int(pairs))), theta, noise, range(int(pairs)))

    @property
    def spurious(self) -> tuple[int, ...]:
        """The features that are not core."""
        return tuple(j for j in range(len(self.theta)) if j not in self.core)

    def sample(self, n: int, seed: int = 0) -> tuple[NDArray, NDArray]:
        """n draws: features with shape (n, m) and labels with shape (n,).

        Raises:
            EquipoiseError: for a negative seed.
        """
        if seed < 0:
            raise EquipoiseError(f"sample needs a seed of at least 0, not {seed!r}.")
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, len(self.theta))) @ np.linalg.cholesky(self.covariance).T
        return x, x @ self.theta + self.noise * rng.standard_normal(n)

    def risk(self, w: ArrayLike, p: float, eps: float) -> float:
        """The mean squared error of weights w with shape (m,) against the adversary, standard at eps = 0.

        Raises:
            EquipoiseError: for weights of another shape, another norm or a negative radius.
        """
        return self._problem().value(self._weights(w, "risk"), _norm(p, "risk"), check_radius(eps))

    def mse(self, w: ArrayLike, covariance: ArrayLike | None = None) -> float:
        """The standard mean squared error of weights w, also where features have another covariance than in training.

        A changed correlation Sigma' that leaves core features as they are changes it by
        2 (w_C - theta_C)' (Sigma' - Sigma)_CS w_S + w_S' (Sigma' - Sigma)_SS w_S: by nothing where w_S = 0.

        Arguments:
            w: with shape (m,).
            covariance: Sigma' with shape (m, m), which may be singular; that of the model when None.

        Raises:
            EquipoiseError: for weights of another shape or a matrix that is no covariance of these features.
        """
        w = self._weights(w, "mse")
        if covariance is None:
            return self._problem().error(w)
        shifted = check_covariance(covariance, "mse")
        if shifted.shape != self.covariance.shape:
            raise EquipoiseError(
                f"mse needs a covariance of the model's {len(w)} features, not one with shape {shifted.shape}."
            )
        return LeastSquares(shifted, self.theta, self.noise).error(w)

    def minimiser(self, p: float, eps: float) -> NDArray:
        """The weights of lowest risk, with shape (m,): what adversarial training finds with endless samples.

        It is exact but for rounding, about 1e-10 of the largest weight where no feature is nearly a sum of others. For
        p = inf weights that do not pay are 0.

        Arguments:
            p: norm of the adversary: 1, 2 or math.inf.
            eps: its radius; 0 for standard training.

        Raises:
            EquipoiseError: for another norm or a negative radius.
        """
        return self._problem().minimise(_norm(p, "minimiser"), check_radius(eps))

    def core_minimiser(self, p: float, eps: float) -> NDArray:
        """The weights of lowest risk among those that are 0 on spurious features, with shape (m,).

        Arguments and errors are those of `minimiser`.
        """
        w = np.zeros(len(self.theta))
        w[list(self.core)] = self._core().minimise(_norm(p, "core_minimiser"), check_radius(eps))
        return w

    def collapse_radius(self, p: float) -> float:
        """||Sigma theta||_p / (c sqrt(theta' Sigma theta + sigma^2)): from this radius on the minimiser is 0.

        Raises:
            EquipoiseError: for another norm.
        """
        return self._problem().collapse_radius(_norm(p, "collapse_radius"))

    def unchanged_radius(self, p: float) -> float:
        """Up to this radius the minimiser is theta: 0 with noise, else c / sqrt(min_g g' Sigma^-1 g), where g are the
        subgradients of ||theta||_q.

        Raises:
            EquipoiseError: for another norm.
        """
        return self._problem().unchanged_radius(_norm(p, "unchanged_radius"))

    def relies_on_spurious(self, p: float, eps: float) -> bool:
        """Whether the minimiser has spurious weights other than 0.

        It is decided by what is known of the minimiser, not by the size of its weights, which may be tiny: none up to
        `unchanged_radius`, none from `collapse_radius` on, and between them by the pull on spurious features, which
        only needs the best weights of core features. Equality is meant up to rounding, 1e-9.

        Raises:
            EquipoiseError: for another norm or a negative radius.
        """
        p, eps = _norm(p, "relies_on_spurious"), check_radius(eps)
        if eps <= self.unchanged_radius(p) or eps >= self.collapse_radius(p):
            return False
        alone = self._core()
        if eps <= alone.unchanged_radius(p) or eps >= alone.collapse_radius(p):
            return (
                True  # The minimiser is neither theta nor 0, which core features alone would keep.
            )
        _, g = alone.on_path(p, eps)
        core, spurious = list(self.core), list(self.spurious)
        each = solve(alone.covariance, self.covariance[np.ix_(core, spurious)]) * g[:, None]
        pull = np.abs(each.sum(0))
        if p == math.inf:
            return bool((pull > 1 + ROUNDING).any())
        return bool((pull > ROUNDING * np.abs(each).sum(0)).any())

    def reliance(self, w: ArrayLike) -> Reliance:
        """How much weights w with shape (m,) rely on spurious features.

        Raises:
            EquipoiseError: for weights of another shape.
        """
        w, at = self._weights(w, "reliance"), list(self.spurious)
        norm, whole = float(np.linalg.norm(w[at])), float(np.linalg.norm(w))
        variance = float(w[at] @ self.covariance[np.ix_(at, at)] @ w[at])
        return Reliance(norm, norm / whole if whole else 0.0, math.sqrt(max(0.0, variance)))

    def _problem(self) -> LeastSquares:
        return LeastSquares(self.covariance, self.theta, self.noise)

    def _core(self) -> LeastSquares:
        """The same without spurious features."""
        at = list(self.core)
        return LeastSquares(self.covariance[np.ix_(at, at)], self.theta[at], self.noise)

    def _weights(self, w: ArrayLike, what: str) -> NDArray:
        w = np.asarray(w, float)
        if w.shape != self.theta.shape or not np.isfinite(w).all():
            raise EquipoiseError(
                f"{what} needs finite weights with shape {self.theta.shape}, one a feature, not {w!r}."
            )
        return w


def _norm(p: float, what: str) -> float:
    if p not in DUAL:
        raise EquipoiseError(f"{what} knows the norms 1, 2 and math.inf, not {p!r}.")
    return p


def _indices(core: Sequence[int], m: int) -> tuple[int, ...]:
    """The core features in order."""
    given: list[Any] = [core] if isinstance(core, int | np.integer) else list(core)
    wrong = [
        j
        for j in given
        if isinstance(j, bool) or not isinstance(j, int | np.integer) or not 0 <= j < m
    ]
    if wrong:
        raise EquipoiseError(
            f"CoreSpurious knows the features 0 to {m - 1}, not the core feature {wrong[0]!r}."
        )
    if not 0 < len(set(given)) < m:
        raise EquipoiseError(
            f"CoreSpurious needs core and spurious features: {len(set(given))} of {m} are called core. Name some, not "
            "all."
        )
    return tuple(sorted({int(j) for j in given}))
