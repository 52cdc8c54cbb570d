"""Rules of the dichotomy side by side: what is known in closed form, what training finds, what samples give.

Symbols are those of `equipoise.theory.dichotomy`. Every accuracy here is exact, also that of a rule fitted to samples:
the model knows it from the weights.

References:
    Robustness may be at odds with accuracy (Tsipras et al., 2019), https://arxiv.org/abs/1805.12152
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from numpy.typing import NDArray

from equipoise.errors import EquipoiseError
from equipoise.theory.dichotomy import Dichotomy
from equipoise.theory.linear import fit_linear
from equipoise.theory.radius import check_radius

__all__ = ["Kind", "Rule", "fitted_rules", "known_rules", "machines"]

Kind = Literal["known", "machine", "fitted"]

DECAY = 0.1
"""Weight decay of a machine that no decay gives unit norm."""

MOST = 10_000_000
"""Numbers in the samples of one rule: 80 MB."""


@dataclass(frozen=True)
class Rule:
    """What a rule is called, its accuracies, and where it comes from.

    Attributes:
        name: of the rule; ``at`` gives the radius of its training.
        standard: its accuracy on inputs as they are, in [0, 1]; 0 for weights of 0, which answer nothing.
        robust: its accuracy against the adversary, in [0, 1].
        kind: known in closed form, a machine trained on the model itself, or fitted to samples.
    """

    name: str
    standard: float
    robust: float
    kind: Kind


def known_rules(model: Dichotomy, eps: float) -> list[Rule]:
    """The uniform rule, the Bayes rule, the sign of the robust feature, and the best linear rule at `eps`.

    Raises:
        EquipoiseError: for a negative radius.
    """
    weights = {
        "uniform": model.uniform(),
        "Bayes": model.bayes(),
        "robust feature": model.robust_feature(),
        f"best linear at {eps:g}": model.best_linear(eps),
    }
    return [Rule(name, *_judge(model, eps, w), "known") for name, w in weights.items()]


def machines(
    model: Dichotomy, eps: float, eps_train: Sequence[float], decay: float | None = None
) -> list[Rule]:
    """Support vector machines trained at the radii `eps_train`, where 0 is standard training.

    Arguments:
        model: what they are trained on, as a whole.
        eps: radius of the adversary that judges them.
        eps_train: radii of training.
        decay: weight decay; None for the one at which weights have unit norm, or 0.1 where there is none.

    Raises:
        EquipoiseError: for a negative radius or a decay that is not positive.

    Warns:
        CollapseWarning: where the minimiser is 0.
    """
    rules = []
    for radius in map(check_radius, eps_train):
        name = f"SVM at {radius:g}" if radius else "SVM"
        rules.append(Rule(name, *_judge(model, eps, _machine(model, radius, decay)), "machine"))
    return rules


def _machine(model: Dichotomy, radius: float, decay: float | None) -> NDArray:
    if decay is None:
        try:
            return model.svm(None, radius)
        except EquipoiseError:  # no decay gives unit norm
            decay = DECAY
    return model.svm(decay, radius)


def fitted_rules(
    model: Dichotomy, eps: float, samples: Sequence[int], eps_train: Sequence[float], seed: int = 0
) -> list[Rule]:
    """Logistic rules of `fit_linear`, fitted to so many `samples` of the model at each radius of training.

    Raises:
        EquipoiseError: for a negative radius, fewer samples than it takes to see both labels, or more than 10 million
            numbers in them.
    """
    for n in samples:
        if n < 2:
            raise EquipoiseError(f"A rule is fitted to at least 2 samples, not {n!r}.")
        if n * (model.d + 1) > MOST:
            raise EquipoiseError(
                f"A rule is fitted to at most {MOST // (model.d + 1):,} samples of {model.d + 1:,} features, not "
                f"{n:,}: that is {MOST:,} numbers. Give fewer."
            )
    rules = []
    for n in samples:
        x, y = model.sample(n, seed)
        for radius in eps_train:
            fitted = fit_linear(x, y, radius)
            name = f"{n:,} samples" + (f" at {radius:g}" if radius else "")
            rules.append(Rule(name, *_judge(model, eps, fitted.weights, fitted.bias), "fitted"))
    return rules


def _judge(
    model: Dichotomy, eps: float, weights: NDArray, bias: float = 0.0
) -> tuple[float, float]:
    """Standard and robust accuracy."""
    return model.accuracy(weights, 0.0, bias), model.accuracy(weights, eps, bias)
