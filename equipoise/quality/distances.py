"""How far samples are from real images in the features of a classifier, beside how far real images are from others.

With samples S and disjoint sets of real images R and R', N of each,

    distance  F(S, R),        floor  F(R', R),        excess  F(S, R) - F(R', R),

F being the distance of Fréchet (`equipoise.counterfactuals.frechet`). Both distances are too large because N is finite,
by about the same where the laws are alike: the excess of a perfect sampler is 0 on average, and only it can be read
without knowing N.

Intervals are those of the jackknife: rows are dealt out to 20 groups, each is left out of all three sets at once, and
the spread of the numbers so found gives the standard error, for Student's law with 19 degrees of freedom. Where S and
R have the same law the distance has no first-order term, and the jackknife errs towards wider intervals.

References:
    The jackknife, the bootstrap and other resampling plans (Efron, 1982)
    Effectively unbiased FID and Inception Score and where to find them (Chong and Forsyth, 2020), arXiv 1911.07023
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from equipoise.audit import Estimate
from equipoise.audit.intervals import LEVEL
from equipoise.counterfactuals import fit_normal, frechet
from equipoise.errors import EquipoiseError

__all__ = ["Distances", "measure_distances"]

GROUPS = 20


@dataclass(frozen=True)
class Distances:
    """The three numbers, each of `n` images in every set."""

    distance: Estimate
    floor: Estimate
    excess: Estimate


def measure_distances(samples: Tensor, real: Tensor, other: Tensor, strata: int = 1) -> Distances:
    """The three distances with their intervals.

    Arguments:
        samples: features of S, with shape (N, F).
        real: of R, with the same shape.
        other: of R', likewise.
        strata: classes that follow one another row by row, 0, 1, ..., `strata` - 1, 0, ...: groups hold all alike.

    Raises:
        EquipoiseError: for fewer than two rows of a class, or sets of different sizes.
    """
    if not len(samples) == len(real) == len(other) or len(samples) < 2 * strata:
        raise EquipoiseError(
            f"Distances need three sets of one size, two of each class at least, not {len(samples)}, {len(real)} and "
            f"{len(other)} of {strata} classes."
        )
    sets = [features.double().cpu() for features in (samples, real, other)]
    place = torch.arange(len(samples)) // strata
    groups = min(GROUPS, len(samples) // strata)
    whole = _two(sets)
    left = np.array([_two([part[place % groups != g] for part in sets]) for g in range(groups)])
    rows = [
        (float(value), _half_width(column), len(samples))
        for value, column in zip(
            (*whole, whole[0] - whole[1]), (*left.T, left[:, 0] - left[:, 1]), strict=True
        )
    ]
    # Distances are not negative; what is left of one may be.
    distance, floor = (
        Estimate(value, max(0.0, value - half), value + half, n, "jackknife")
        for value, half, n in rows[:2]
    )
    value, half, n = rows[2]
    return Distances(distance, floor, Estimate(value, value - half, value + half, n, "jackknife"))


def _two(sets: list[Tensor]) -> NDArray[np.float64]:
    samples, real, other = (fit_normal(features) for features in sets)
    return np.array([frechet(samples, real), frechet(other, real)])


def _half_width(left: NDArray) -> float:
    """Of the interval, from the statistic with each group left out."""
    groups = len(left)
    error = math.sqrt((groups - 1) / groups * np.square(left - left.mean()).sum())
    return float(stdtrit(groups - 1, (1 + LEVEL) / 2)) * error
