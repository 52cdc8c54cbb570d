"""The model in which accuracy and robustness are at odds, in closed form.

Notation. y is -1 or +1 with equal chances. x_1 = y with probability p and -y otherwise: a robust feature. x_2, ...,
x_{d+1} are Gaussian with mean eta y and variance 1, independent given y: weak features, which together tell y nearly
for sure and which an l_inf adversary of radius eps >= 2 eta can make tell the opposite. Phi is the normal distribution
function, m = eta sqrt(d), L = ln(p / (1 - p)), and mu = (eta - eps) sqrt(d).

For a linear rule sign(w . x + b) with A = sum_{i >= 2} w_i, B^2 = sum_{i >= 2} w_i^2 and, for each y, the offset
c = eta A + y b - eps ||w||_1, averaged over y = +-1,

    accuracy at eps = p Phi((w_1 + c) / B) + (1 - p) Phi((-w_1 + c) / B).

A point counts as right where its margin is positive, not where it is 0. No classifier with standard accuracy 1 - delta
has robust accuracy above p / (1 - p) delta at any eps >= 2 eta.

References:
    Robustness may be at odds with accuracy (Tsipras et al., 2019), https://arxiv.org/abs/1805.12152
"""

import math
import warnings
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from equipoise.errors import EquipoiseError
from equipoise.theory.radius import check_radius

__all__ = ["CollapseWarning", "Dichotomy"]


class CollapseWarning(UserWarning):
    """Adversarial training has no minimiser but 0."""


@dataclass(frozen=True)
class Dichotomy:
    """The model; weights have shape (d + 1,), and w[0] is that of the robust feature.

    Arguments:
        p: probability that the robust feature is right, at least 1/2 and below 1.
        eta: mean of each weak feature in the direction of y, at least 0.
        d: how many weak features.

    Raises:
        EquipoiseError: for numbers out of range.
    """

    p: float = 0.95
    eta: float = 0.2
    d: int = 100

    def __post_init__(self) -> None:
        given = f"Dichotomy(p={self.p!r}, eta={self.eta!r}, d={self.d!r})"
        if not 0.5 <= self.p < 1:
            raise EquipoiseError(f"Cannot build {given}: p is at least 0.5 and below 1.")
        if not (math.isfinite(self.eta) and self.eta >= 0):
            raise EquipoiseError(f"Cannot build {given}: eta is finite and at least 0.")
        if isinstance(self.d, bool) or not isinstance(self.d, Integral) or self.d < 1:
            raise EquipoiseError(f"Cannot build {given}: d is a whole number of at least 1.")

    @property
    def log_odds(self) -> float:
        """L = ln(p / (1 - p))."""
        return math.log(self.p / (1 - self.p))

    @property
    def m(self) -> float:
        """eta sqrt(d), the mean of the pooled weak features in units of their standard deviation."""
        return self.eta * math.sqrt(self.d)

    def sample(self, n: int, seed: int = 0) -> tuple[NDArray, NDArray]:
        """n draws: features with shape (n, d + 1) and labels +-1 with shape (n,).

        Raises:
            EquipoiseError: for a negative seed.
        """
        if seed < 0:
            raise EquipoiseError(f"sample needs a seed of at least 0, not {seed!r}.")
        rng = np.random.default_rng(seed)
        y = rng.choice([-1, 1], n)
        robust = np.where(rng.random(n) < self.p, y, -y)
        weak = self.eta * y[:, None] + rng.standard_normal((n, self.d))
        return np.column_stack([robust, weak]), y

    def accuracy(self, w: ArrayLike, eps: float = 0.0, bias: float = 0.0) -> float:
        """Exact accuracy of sign(w . x + bias) against an l_inf adversary of radius `eps`, standard at 0.

        Raises:
            EquipoiseError: for weights of another shape, or a negative radius.
        """
        w, eps = np.asarray(w, float), check_radius(eps)
        if w.shape != (self.d + 1,):
            raise EquipoiseError(
                f"accuracy needs weights with shape ({self.d + 1},): the robust feature's first, then "
                f"{self.d} weak ones. It was given {w.shape}."
            )
        weak = w[1:]
        spread, cost = float(np.linalg.norm(weak)), eps * float(np.abs(w).sum())
        found = 0.0
        for y in (-1, 1):
            mean = self.eta * float(weak.sum()) + y * bias - cost
            found += self.p * _positive(w[0] + mean, spread)
            found += (1 - self.p) * _positive(-w[0] + mean, spread)
        return found / 2

    def robust_feature(self) -> NDArray:
        """The weights of sign(x_1), right with probability p against every eps below 1."""
        return self._weights(1.0, 0.0)

    def uniform(self) -> NDArray:
        """The average of the weak features: accuracy Phi(m), and Phi(mu) against eps."""
        return self._weights(0.0, 1 / self.d)

    def bayes(self) -> NDArray:
        """The rule of highest standard accuracy among all, which is linear: L for x_1 and 2 eta for the others."""
        return self._weights(self.log_odds, 2 * self.eta)

    def _weights(self, first: float, each: float) -> NDArray:
        return np.concatenate([[first], np.full(self.d, each)])

    def bound(self, delta: float) -> float:
        """p / (1 - p) delta, capped at 1: no classifier of standard accuracy 1 - delta or more is more robust than that
        at eps >= 2 eta.

        Raises:
            EquipoiseError: for a delta outside [0, 1].
        """
        if not 0 <= delta <= 1:
            raise EquipoiseError(f"bound needs a delta in [0, 1], not {delta!r}.")
        return min(1.0, self.p / (1 - self.p) * delta)

    def frontier(self, threshold: float, eps: float | None = None) -> tuple[float, float]:
        """Standard and robust accuracy of sign(2 eta sum_i x_i + threshold sign(x_1)), i from 2.

        With eps = 2 eta < 1, taken when None, no classifier is better in both: thresholds from L, the Bayes rule, to
        inf, the robust feature alone, run along the whole frontier.

        Raises:
            EquipoiseError: for a negative threshold, a negative radius or weak features without a signal.
        """
        eps = 2 * self.eta if eps is None else check_radius(eps)
        if not (threshold >= 0 and self.eta > 0):
            raise EquipoiseError(
                f"frontier needs a threshold of at least 0 and eta above 0, not {threshold!r} and {self.eta!r}."
            )
        return self._two_features(threshold, 0.0), self._two_features(threshold, eps)

    def _two_features(self, threshold: float, eps: float) -> float:
        """Accuracy of the frontier's rule: the adversary changes sign(x_1) only from eps = 1 on."""
        mean, half = (self.eta - eps) * math.sqrt(self.d), threshold / (2 * self.m)
        agreeing = half if eps < 1 else -half if eps > 1 else 0.0
        if math.isinf(half):
            return self.p if eps < 1 else (self.p * float(ndtr(mean)) if eps == 1 else 0.0)
        return float(self.p * ndtr(mean + agreeing) + (1 - self.p) * ndtr(mean - half))

    def best_robust_accuracy(self, eps: float) -> float:
        """The highest accuracy that any classifier at all has against `eps`."""
        eps = check_radius(eps)
        mu = (self.eta - eps) * math.sqrt(self.d)
        if mu <= 0:
            return self.p if eps < 1 else 0.5
        if eps >= 1:
            return float(ndtr(mu))
        shift = self.log_odds / (2 * mu)
        return float(self.p * ndtr(mu + shift) + (1 - self.p) * ndtr(mu - shift))

    def best_linear(self, eps: float) -> NDArray:
        """Weights of the linear rule without bias that is most accurate against `eps`.

        Weak weights are equal. With a = w_1 / B and R = ln(p (1 - eps) / ((1 - p) (1 + eps))), the smaller root of
        2 eps a^2 - 2 mu a + R = 0 is best, unless the robust feature alone, or none of it, is better.
        """
        eps = check_radius(eps)
        mu = (self.eta - eps) * math.sqrt(self.d)
        candidates = [self.uniform(), self.robust_feature()]
        if eps < 1:
            ratio = math.log(self.p * (1 - eps) / ((1 - self.p) * (1 + eps)))
            square = mu**2 - 2 * eps * ratio
            if mu > 0 and ratio > 0 and square >= 0:
                a = ratio / (mu + math.sqrt(square))
                candidates.append(self._weights(a, 1 / math.sqrt(self.d)))
        return max(candidates, key=lambda w: self.accuracy(w, eps))

    def svm(self, lam: float | None = None, eps_train: float = 0.0) -> NDArray:
        """Weights of the soft-margin support vector machine, adversarially trained where `eps_train` is positive.

        They minimise E max(0, 1 - y w . x + eps_train ||w||_1) + lam / 2 ||w||_2^2 over the model itself. Weak weights
        are equal, v / sqrt(d), which leaves a convex problem in w_1 and v.

        Arguments:
            lam: weight decay; None for the one at which the weights have unit norm.
            eps_train: radius of the adversary inside the expectation.

        Raises:
            EquipoiseError: for a weight decay that is not positive, or when no weight decay gives unit norm.

        Warns:
            CollapseWarning: when the minimiser is 0, as from eps_train = 2 p - 1 on where weak weights do not pay.
        """
        eps = check_radius(eps_train)
        if lam is None:
            lam = self._unit_decay(eps)
        if not (math.isfinite(lam) and lam > 0):
            raise EquipoiseError(f"svm needs a positive weight decay, not {lam!r}.")
        first, pooled = self._minimise(lam, eps)
        if first == pooled == 0:
            warnings.warn(
                f"Adversarial training at {eps:g} has the minimiser 0: from 2 p - 1 = {2 * self.p - 1:g} on, what "
                "the robust feature gains is less than what its weight costs. Its rule answers nothing; Theorem 2.2 of "
                "arXiv 1805.12152 needs a smaller radius of training.",
                CollapseWarning,
                stacklevel=2,
            )
        return self._weights(first, pooled / math.sqrt(self.d))

    def objective(self, first: float, pooled: float, lam: float, eps: float) -> float:
        """What `svm` minimises, at w_1 = `first` and v = `pooled`, neither negative."""
        return self._objective(np.array([first, pooled]), lam, eps)[0]

    def _objective(self, x: NDArray, lam: float, eps: float) -> tuple[float, NDArray, NDArray]:
        """Value, gradient and Hessian in (w_1, v)."""
        value, gradient, hessian = lam / 2 * float(x @ x), lam * x, lam * np.eye(2)
        slope_v = (self.eta - eps) * math.sqrt(self.d)
        for weight, slope in ((self.p, 1 - eps), (1 - self.p, -1 - eps)):
            mean = slope * x[0] + slope_v * x[1]
            h, (h_mean, h_std), curve = _hinge(mean, x[1])
            jacobian = np.array([[slope, slope_v], [0.0, 1.0]])
            value += weight * h
            gradient = gradient + weight * jacobian.T @ np.array([h_mean, h_std])
            hessian = hessian + weight * jacobian.T @ curve @ jacobian
        return value, gradient, hessian

    def _minimise(self, lam: float, eps: float) -> tuple[float, float]:
        """The minimiser (w_1, v), neither negative."""
        # A sixth of a second that most commands do not need.
        from scipy.optimize import minimize  # noqa: PLC0415

        gain = 2 * self.p - 1 - eps
        # Without weak weights: the hinge has a kink at 1 / (1 - eps).
        alone = max(0.0, min(1 / (1 - eps), gain / lam)) if eps < 1 else 0.0
        start = np.array([max(alone, 0.1), 0.5])
        rough = minimize(
            lambda x: self._objective(x, lam, eps)[:2],
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None), (1e-9, None)],
            options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 1000},
        ).x
        found = self._polish(rough, lam, eps)
        candidates = [(alone, 0.0), (float(found[0]), float(found[1]))]
        return min(candidates, key=lambda c: self.objective(*c, lam, eps))

    def _polish(self, x: NDArray, lam: float, eps: float) -> NDArray:
        """Newton's steps, on the coordinates that are not held at 0."""
        for _ in range(50):
            _, gradient, hessian = self._objective(x, lam, eps)
            free = (x > 1e-9) | (gradient < 0)
            step = np.zeros(2)
            step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
            x = np.maximum(x - step, [0.0, 1e-9])
            if np.abs(step).max() < 1e-13:
                break
        return x

    def _unit_decay(self, eps: float) -> float:
        """The weight decay at which the minimiser has unit norm, which falls as the decay grows."""

        def excess(log_decay: float) -> float:
            return math.hypot(*self._minimise(math.exp(log_decay), eps)) - 1

        low, high = -30.0, 5.0
        if not excess(low) > 0 > excess(high):
            raise EquipoiseError(
                f"svm finds no weight decay that gives weights of unit norm at eps_train={eps:g}: give lam."
            )
        from scipy.optimize import root_scalar  # noqa: PLC0415

        return math.exp(root_scalar(excess, bracket=(low, high), xtol=1e-14).root)


def _positive(mean: float, spread: float) -> float:
    """P(N(mean, spread^2) > 0), also without spread."""
    return float(ndtr(mean / spread)) if spread > 0 else float(mean > 0)


def _hinge(mean: float, std: float) -> tuple[float, tuple[float, float], NDArray]:
    """H = E max(0, 1 - M) for M normal, with its gradient and Hessian in mean and standard deviation:

    H = (1 - mean) Phi(t) + std phi(t),  t = (1 - mean) / std,  grad = (-Phi(t), phi(t)).
    """
    if std == 0:
        return max(0.0, 1 - mean), (-float(mean < 1), 0.0), np.zeros((2, 2))
    t = (1 - mean) / std
    density = math.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    below = float(ndtr(t))
    curve = density / std * np.array([[1.0, t], [t, t**2]])
    return (1 - mean) * below + std * density, (-below, density), curve
