"""Adversarial training of linear rules, solved exactly.

Notation is that of `equipoise.theory.linear`: inputs x with shape (N, n), labels y of -1 and +1, and

    J(w, b) = mean softplus(-(y (w . x + b) - eps ||w||_1)) + decay / 2 ||w||_2^2,

which is convex. With q = sigmoid(eps ||w||_1 - y (w . x + b)), g = decay w - mean q y x and the price c = eps mean q,
(w, b) is the minimum where mean q y = 0, g_i = -c sign(w_i) for weights other than 0, and |g_i| <= c for the others:
inputs whose use does not pay get exactly 0.

J is smooth in w = u - v with u, v >= 0, where L-BFGS-B comes near the minimum; Newton's steps on the weights that are
not 0 then end at it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

__all__ = ["minimise"]


def minimise(x: NDArray, y: NDArray, eps: float, decay: float) -> tuple[NDArray, float]:
    """The weights and the bias at the minimum of J, for a positive decay and labels of both kinds."""
    objective = _Objective(x, y, eps, decay)
    return objective.polish(*objective.search())


@dataclass(frozen=True, eq=False)
class _Objective:
    """J, and two searches for its minimum."""

    x: NDArray
    y: NDArray
    eps: float
    decay: float

    def value(self, w: NDArray, b: float) -> float:
        return self._value(w, b, float(np.abs(w).sum()))

    def _value(self, w: NDArray, b: float, length: float) -> float:
        margins = self.y * (self.x @ w + b) - self.eps * length
        return float(np.logaddexp(0, -margins).mean() + self.decay / 2 * (w @ w))

    def _slopes(self, w: NDArray, b: float, length: float) -> tuple[NDArray, NDArray, float]:
        """q of each input, g, and the price c."""
        q = expit(self.eps * length - self.y * (self.x @ w + b))
        return q, self.decay * w - (q * self.y) @ self.x / len(q), self.eps * float(q.mean())

    def search(self) -> tuple[NDArray, float]:
        """L-BFGS-B in (u, v, b)."""
        # A sixth of a second that most commands do not need.
        from scipy.optimize import minimize  # noqa: PLC0415

        n = self.x.shape[1]

        def split(point: NDArray) -> tuple[NDArray, float, float]:
            return point[:n] - point[n:-1], float(point[-1]), float(point[:-1].sum())

        def objective(point: NDArray) -> tuple[float, NDArray]:
            w, b, length = split(point)
            q, g, price = self._slopes(w, b, length)
            slope = np.concatenate([g + price, price - g, [-(q @ self.y) / len(q)]])
            return self._value(w, b, length), slope

        found = minimize(
            objective,
            np.zeros(2 * n + 1),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] * (2 * n) + [(None, None)],
            options={"ftol": 1e-9, "gtol": 1e-9, "maxiter": 2000, "maxfun": 4000},
        )
        return split(found.x)[:2]

    def polish(self, w: NDArray, b: float) -> tuple[NDArray, float]:
        """Newton's steps on the weights that are not 0; where none lowers J, the 0 that is most wrong joins them."""
        signs = np.sign(w)
        for _ in range(100 + 10 * len(w)):
            moved = self._newton(w, b, signs)
            if moved is not None:
                w, b = moved
                signs = np.sign(w)
                continue
            _, g, price = self._slopes(w, b, float(np.abs(w).sum()))
            excess = np.where(w == 0, np.abs(g) - price, 0.0)
            wrongest = int(excess.argmax())
            if excess[wrongest] <= 0 or signs[wrongest]:
                break
            signs[wrongest] = -np.sign(g[wrongest])
        return w, b

    def _newton(self, w: NDArray, b: float, signs: NDArray) -> tuple[NDArray, float] | None:
        """A step on the weights with a sign, which it keeps or takes to 0, and the bias; None when none lowers J."""
        free = signs != 0
        q, g, price = self._slopes(w, b, float(np.abs(w).sum()))
        # How each margin changes with the free weights, and with the bias.
        rates = self.y[:, None] * self.x[:, free] - self.eps * signs[free]
        root = np.sqrt(q * (1 - q) / len(q))
        slope, last = -(g + price * signs)[free], float(q @ self.y) / len(q)
        step = np.zeros(len(w) + 1)
        step[np.append(free, True)] = _solve(
            root[:, None] * rates, root * self.y, self.decay, slope, last
        )
        towards = step[:-1] * signs < 0
        first = float((-w[towards] / step[:-1][towards]).min(initial=1.0))
        before, reach = self.value(w, b), np.abs(self.x).max(0) + self.eps
        # Beyond the first weight that reaches 0 the step is no more than a guess, but the longest.
        for share in (1.0, *(first * 0.5 ** np.arange(40))):
            to = w + share * step[:-1]
            # Rounding leaves weights just short of 0 that reach it together with the first one.
            to[(to * signs * reach <= 1e-11) | ~free] = 0.0
            if self.value(to, b + share * step[-1]) < before:
                return to, float(b + share * step[-1])
        return None


def _solve(rates: NDArray, z: NDArray, decay: float, right: NDArray, last: float) -> NDArray:
    """Solves [R'R + decay I, R'z; z'R, z'z] (s, t) = (right, last) for R = `rates`.

    With more weights than inputs, for v = R s + z t first, of which s = (right - R'v) / decay.
    """
    inputs, weights = rates.shape
    if weights <= inputs:
        across = rates.T @ z
        matrix = np.block(
            [
                [rates.T @ rates + decay * np.eye(weights), across[:, None]],
                [across[None], np.full((1, 1), z @ z)],
            ]
        )
        return np.linalg.solve(matrix, np.append(right, last))
    matrix = np.block(
        [
            [rates @ rates.T + decay * np.eye(inputs), -decay * z[:, None]],
            [z[None], np.zeros((1, 1))],
        ]
    )
    found = np.linalg.solve(matrix, np.append(rates @ right, last))
    return np.append((right - rates.T @ found[:-1]) / decay, found[-1])
