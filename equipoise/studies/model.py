"""The paper's model: rules that are known in closed form beside rules fitted to samples of it.

Two settings with p = 0.95 and d = 100 weak features: one of mean 2 / sqrt(d), in which some accuracy and some
robustness go together, and that of mean 4 / sqrt(d), which theorem 2.2 is about. Radii are twice the mean. Rules are
fitted by logistic regression, standard and adversarial, which the paper says behaves like its support vector machine;
their accuracies are exact, since the model knows those of any linear rule.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from equipoise.theory import Dichotomy, Rule, fitted_rules, known_rules, machines

__all__ = ["ModelRules", "fit_rules"]

MIXED = Dichotomy(p=0.95, eta=0.2, d=100)
THEOREM = Dichotomy(p=0.95, eta=0.4, d=100)
SAMPLES = (300, 3000, 10_000)


@dataclass(frozen=True)
class ModelRules:
    """Rules in both settings.

    Attributes:
        mixed: all rules of the setting that the page shows, judged at twice its mean.
        machines: of the theorem's setting, the support vector machines without an adversary and against that of
            training at twice the mean, both trained on the model itself.
        fitted: likewise, logistic rules fitted to samples.
        samples: how many.
    """

    mixed: Sequence[Rule]
    machines: tuple[Rule, Rule]
    fitted: tuple[Rule, Rule]
    samples: int
    p: float = THEOREM.p

    def slack(self) -> float:
        """What theorem 2.1 allows minus robust accuracy, the least over fitted rules and machines."""
        fitted = [rule for rule in self.mixed if rule.kind != "known"]
        return min(
            MIXED.bound(1 - rule.standard) - rule.robust
            for rule in (*fitted, *self.machines, *self.fitted)
        )

    def exhibits(self) -> dict[str, list[dict[str, Any]]]:
        """The setting that the page shows, and its rules."""
        return {
            "model": [asdict(MIXED)],
            "rules": [
                asdict(rule) | {"allowed": MIXED.bound(1 - rule.standard)} for rule in self.mixed
            ],
        }


def fit_rules(seed: int = 0) -> ModelRules:
    """Fits the rules to samples with this seed."""
    eps = 2 * MIXED.eta
    # Between the second and the third the machine turns from the weak features to the robust one.
    radii = [0.0, eps / 8, 3 * eps / 16, eps]
    mixed = [
        *known_rules(MIXED, eps),
        *machines(MIXED, eps, radii),
        *fitted_rules(MIXED, eps, SAMPLES, [0.0, eps], seed),
    ]
    far = 2 * THEOREM.eta
    standard, robust = fitted_rules(THEOREM, far, SAMPLES[-1:], [0.0, far], seed)
    first, second = machines(THEOREM, far, [0.0, far])
    return ModelRules(mixed, (first, second), (standard, robust), SAMPLES[-1])
