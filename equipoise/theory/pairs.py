"""Trainings of the paired design side by side: what each relies on, and what that costs.

Symbols are those of `equipoise.theory.regression`: pairs of a core feature with variance 1 and a spurious twin of scale
a, with correlation rho. Every number is exact.

References:
    Explicit tradeoffs between adversarial and natural distributional robustness (Moayeri, Banihashem, Feizi, 2022),
    https://arxiv.org/abs/2209.07592
"""

import math
from dataclasses import dataclass

import numpy as np

from equipoise.errors import EquipoiseError
from equipoise.theory.radius import check_radius
from equipoise.theory.regression import CoreSpurious, Reliance

__all__ = ["NORMS", "PairedDesign", "Regression"]

NORMS = (1, 2, math.inf)
"""Norms of the adversary."""

MOST = 50


@dataclass(frozen=True)
class Regression:
    """One training of the design.

    Attributes:
        p: norm of its adversary; None for standard training.
        scale: of the spurious features.
        core: ||w_C||_2.
        reliance: on the spurious features.
        relies: whether there is any, which numbers only tell up to rounding.
        collapsed: whether the weights are 0.
        risk: the adversarial mean squared error that it minimises, standard for standard training.
        alone: the lowest such error of weights of core features alone.
        errors: standard mean squared error at the correlations rho, 0 and -rho.
    """

    p: float | None
    scale: float
    core: float
    reliance: Reliance
    relies: bool
    collapsed: bool
    risk: float
    alone: float
    errors: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class PairedDesign:
    """What is trained. The defaults are our choice: the paper's settings were not at hand.

    Arguments:
        rho: correlation of twins in training.
        scales: of spurious features, where core features have scale 1: different ones.
        noise: standard deviation of what no feature tells of the label.
        eps: radius of the adversary, in units of a core feature's standard deviation.
        pairs: how many, at most 50.

    Raises:
        EquipoiseError: for numbers out of range.
    """

    rho: float = 0.8
    scales: tuple[float, ...] = (1.0, 2.0)
    noise: float = 0.5
    eps: float = 0.25
    pairs: int = 1

    def __post_init__(self) -> None:
        check_radius(self.eps)
        if not self.scales or len(set(self.scales)) < len(self.scales):
            raise EquipoiseError(
                f"PairedDesign needs scales that are all different, not {self.scales!r}."
            )
        if self.pairs > MOST:
            raise EquipoiseError(f"PairedDesign knows up to {MOST} pairs, not {self.pairs!r}.")
        for scale in self.scales:
            self.model(scale)

    @property
    def onset(self) -> float:
        """1 / |rho|: with larger scales the l_inf adversary raises reliance. math.inf without correlation."""
        return 1 / abs(self.rho) if self.rho else math.inf

    def model(self, scale: float) -> CoreSpurious:
        """The model with spurious features of that scale."""
        return CoreSpurious.paired(self.pairs, rho=self.rho, scale=scale, noise=self.noise)

    def error(self, w: np.ndarray, scale: float, rho: float) -> float:
        """Standard mean squared error of w where the correlation has become rho, in [-1, 1]."""
        two = np.array([[1.0, rho * scale], [rho * scale, scale**2]])
        return self.model(scale).mse(w, np.kron(two, np.eye(self.pairs)))

    def train(self, p: float | None, scale: float, eps: float | None = None) -> Regression:
        """Training against the norm p at radius `eps`, that of the design when None; standard training for p = None."""
        model, norm = self.model(scale), 2 if p is None else p
        eps = (self.eps if eps is None else check_radius(eps)) if p is not None else 0.0
        w = model.minimiser(norm, eps)
        first, second, third = (self.error(w, scale, rho) for rho in (self.rho, 0.0, -self.rho))
        return Regression(
            p,
            scale,
            float(np.linalg.norm(w[: self.pairs])),
            model.reliance(w),
            model.relies_on_spurious(norm, eps),
            not w.any(),
            model.risk(w, norm, eps),
            model.risk(model.core_minimiser(norm, eps), norm, eps),
            (first, second, third),
        )

    def regressions(self) -> list[Regression]:
        """Standard training, then each norm at each scale."""
        adversarial = [self.train(p, scale) for p in NORMS for scale in self.scales]
        return [self.train(None, self.scales[0]), *adversarial]
