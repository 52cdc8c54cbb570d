"""Where rules of the dichotomy can be and where none is, as rows of a chart.

Symbols are those of `equipoise.theory.dichotomy`. Rows have the fields robust and standard, both in [0, 1].
"""

import math
from typing import Any

import numpy as np

from equipoise.theory import Dichotomy

__all__ = ["beyond", "bound", "curve", "is_bounded", "is_exact"]

POINTS = 200


def is_exact(model: Dichotomy, eps: float) -> bool:
    """Whether `model.frontier` is the whole frontier at `eps`."""
    return math.isclose(eps, 2 * model.eta) and eps < 1


def is_bounded(model: Dichotomy, eps: float) -> bool:
    """Whether the bound of Theorem 2.1 holds at `eps`."""
    return eps >= 2 * model.eta or math.isclose(eps, 2 * model.eta)


def curve(model: Dichotomy, eps: float) -> list[dict[str, float]]:
    """Rules from the Bayes rule's threshold to infinity; none from eps = 1 on, where sign(x_1) is lost as well."""
    if eps >= 1:
        return []
    # Accuracies change while threshold / (2 m) is within some units of m.
    start = model.log_odds / (2 * model.m)
    halves = np.append(np.linspace(start, max(start, model.m) + 6, POINTS), math.inf)
    found = [model.frontier(2 * model.m * half, eps) for half in halves]
    return [
        {"standard": round(standard, 6), "robust": round(robust, 6), "order": k}
        for k, (standard, robust) in enumerate(found)
    ]


def bound(model: Dichotomy, eps: float) -> list[dict[str, float]]:
    """Both ends of the line on which robust accuracy is p / (1 - p) delta, where it is a bound."""
    if not is_bounded(model, eps):
        return []
    end = 1 - (1 - model.p) / model.p
    return [{"robust": 0.0, "standard": 1.0}, {"robust": 1.0, "standard": round(end, 6)}]


def beyond(model: Dichotomy, eps: float, low: float) -> list[dict[str, Any]]:
    """The lower edge of where no rule is, from left to right, and its upper one."""
    highest = model.accuracy(model.bayes())
    farthest = model.best_robust_accuracy(eps)
    if is_exact(model, eps):
        edge = [(row["robust"], row["standard"]) for row in curve(model, eps)]
    elif is_bounded(model, eps):
        odds = model.p / (1 - model.p)
        edge = [(min(odds * (1 - highest), farthest), highest)]
        edge.append((farthest, min(highest, 1 - farthest / odds)))
    else:
        edge = [(farthest, highest)]
    edge = [(0.0, highest), *edge, (farthest, low), (1.0, low)]
    rows = [
        {"robust": round(robust, 6), "standard": round(standard, 6), "top": 1.0}
        for robust, standard in edge
    ]
    return [*rows[:-1], rows[-1] | {"words": "no rule gets here"}]
