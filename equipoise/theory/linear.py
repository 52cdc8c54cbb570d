"""Linear rules whose robustness is known exactly, also on inputs in a box.

Notation. x has shape (N, n), y is -1 or +1, and a rule answers sign(w . x + b). Its margin on an input is
y (w . x + b); a margin of 0 is wrong. An l_inf adversary of radius eps moves every input by up to eps, and leaves it
inside the box [low, high] where there is one. Inputs do not share the cost of w, so each moves on its own: input i by
-eps, or as far as low allows, where y w_i > 0, and by eps, or as far as high allows, where y w_i < 0. Without a box the
worst margin is y (w . x + b) - eps ||w||_1, which makes the loss of adversarial training convex.

References:
    Robustness may be at odds with accuracy (Tsipras et al., 2019), https://arxiv.org/abs/1805.12152
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.errors import EquipoiseError
from equipoise.theory.logistic import minimise
from equipoise.theory.radius import check_radius

__all__ = ["LinearRule", "fit_linear", "label_correlations", "top_inputs"]


@dataclass(frozen=True, eq=False)
class LinearRule:
    """The rule sign(w . x + b).

    Arguments:
        weights: w, with shape (n,).
        bias: b.
    """

    weights: NDArray
    bias: float = 0.0

    def margins(
        self,
        x: ArrayLike,
        y: ArrayLike,
        eps: float = 0.0,
        *,
        box: tuple[float, float] | None = None,
    ) -> NDArray:
        """The least margin of each input against an l_inf adversary of radius `eps`, with shape (N,).

        Arguments:
            x: inputs with shape (N, n), inside the box where there is one.
            y: labels -1 or +1 with shape (N,).
            eps: radius of the adversary.
            box: lowest and highest value that an input may have, (0, 1) for images; None for no limit.

        Raises:
            EquipoiseError: for shapes that do not fit, labels other than -1 and +1, a negative radius or inputs
                outside the box.
        """
        x, y = _examples(x, y, len(self.weights))
        return y * ((x + self._worst(x, y, eps, box)) @ self.weights + self.bias)

    def worst_shift(
        self, x: ArrayLike, y: ArrayLike, eps: float, *, box: tuple[float, float] | None = None
    ) -> NDArray:
        """The change of each input that gives it its least margin, with shape (N, n); 0 where a weight is 0.

        Arguments and errors are those of `margins`.
        """
        x, y = _examples(x, y, len(self.weights))
        return self._worst(x, y, eps, box)

    def accuracy(
        self,
        x: ArrayLike,
        y: ArrayLike,
        eps: float = 0.0,
        *,
        box: tuple[float, float] | None = None,
    ) -> float:
        """The share of inputs whose least margin is positive; arguments and errors are those of `margins`."""
        return float((self.margins(x, y, eps, box=box) > 0).mean())

    def _worst(
        self, x: NDArray, y: NDArray, eps: float, box: tuple[float, float] | None
    ) -> NDArray:
        shift = -check_radius(eps) * y[:, None] * np.sign(self.weights)
        if box is None:
            return shift
        low, high = box
        if not (low <= x.min() and x.max() <= high):
            raise EquipoiseError(
                f"Inputs lie between {x.min():g} and {x.max():g}, outside the box from {low:g} to {high:g}: scale "
                "them, or give another box."
            )
        return np.clip(shift, low - x, high - x)


def fit_linear(x: ArrayLike, y: ArrayLike, eps: float = 0.0, *, decay: float = 1e-3) -> LinearRule:
    """The logistic rule of standard training, or of adversarial training where `eps` is positive.

    It is the exact minimum of mean softplus(-(y (w . x + b) - eps ||w||_1)) + decay / 2 ||w||_2^2: weights of inputs
    that do not pay are 0. The adversary of training knows no box; inside one the loss is an upper bound.

    Arguments:
        x: inputs with shape (N, n).
        y: labels -1 or +1 with shape (N,), some of each.
        eps: radius of the adversary in training.
        decay: weight decay; the default is our choice. The bias has none.

    Raises:
        EquipoiseError: for shapes that do not fit, labels other than -1 and +1, only one label, a negative radius or a
            decay that is not positive.
    """
    x, y = _examples(x, y)
    if not (y.min() < 0 < y.max()):
        raise EquipoiseError(f"fit_linear needs inputs of both labels, not only of {y[0]:+g}.")
    if not (math.isfinite(decay) and decay > 0):
        raise EquipoiseError(
            f"fit_linear needs a positive weight decay, not {decay!r}: without one, inputs that a rule can separate "
            "have no best rule."
        )
    return LinearRule(*minimise(x, y, check_radius(eps), decay))


def label_correlations(x: ArrayLike, y: ArrayLike) -> NDArray:
    """|corr(x_i, y)| of each input, with shape (n,); 0 for an input that never changes.

    Raises:
        EquipoiseError: for shapes that do not fit or labels other than -1 and +1.
    """
    inputs, labels = _examples(x, y)
    changes = (
        np.ptp(inputs, axis=0) > 0
    )  # the mean of equal numbers may differ from them by rounding
    inputs, labels = inputs - inputs.mean(0), labels - labels.mean()
    spread = np.sqrt((inputs**2).sum(0) * (labels**2).sum())
    none = np.zeros(len(spread))
    return np.divide(np.abs(labels @ inputs), spread, out=none, where=changes & (spread > 0))


def top_inputs(
    x: ArrayLike, y: ArrayLike, k: int, eps: float = 0.0, *, decay: float = 1e-3
) -> LinearRule:
    """The rule that is fitted to the k inputs best correlated with the label; the weights of all others are 0.

    Of inputs that correlate equally the first ones are kept. Arguments are those of `fit_linear`.

    Raises:
        EquipoiseError: for what `fit_linear` refuses, or a k that is not in 1 to n.
    """
    x, y = _examples(x, y)
    if not 1 <= k <= x.shape[1]:
        raise EquipoiseError(f"top_inputs keeps between 1 and all {x.shape[1]} inputs, not {k!r}.")
    kept = np.argsort(-label_correlations(x, y), kind="stable")[:k]
    rule = fit_linear(x[:, kept], y, eps, decay=decay)
    weights = np.zeros(x.shape[1])
    weights[kept] = rule.weights
    return LinearRule(weights, rule.bias)


def _examples(x: ArrayLike, y: ArrayLike, n: int | None = None) -> tuple[NDArray, NDArray]:
    """Inputs and labels as floats."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.shape != x.shape[:1] or not x.size or (n or x.shape[1]) != x.shape[1]:
        raise EquipoiseError(
            f"A linear rule needs inputs with shape (N, {n or 'n'}) and labels with shape (N,), not {x.shape} and "
            f"{y.shape}."
        )
    if not np.isfinite(x).all():
        raise EquipoiseError(
            "A linear rule needs finite inputs: some are infinite or not a number."
        )
    if not (np.abs(y) == 1).all():
        other = y[np.abs(y) != 1][0]
        raise EquipoiseError(f"A linear rule needs labels -1 and +1, not {other:g}.")
    return x, y
