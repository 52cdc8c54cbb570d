"""Do people see what an image was made to show, and do they see the same?

Person i says of image j a class, or that it cannot be told. With y_ij = 1 where the answer is the class asked about,
else 0 ("cannot tell" counts as 0), n answers, S people, N images, and p the mean of all y_ij,

    u_i = sum_j (y_ij - p),    v_j = sum_i (y_ij - p),
    V   = S / (S - 1) sum_i u_i^2 / n^2 + N / (N - 1) sum_j v_j^2 / n^2

is the variance of p over the draw of people and over that of images; what the two draws share counts twice, so that
intervals are wide rather than narrow. Where everybody answers about every image, V is that of
`statistics.across_trainings`; answers may be missing. The interval is Clopper and Pearson's for n* = p (1 - p) / V
answers instead of n, in the manner of Korn and Graubard: it stays inside [0, 1], is not empty where all agree (n* is
then the number of images), and is the wider the fewer people there are, by the ratio of Student's quantiles. With one
person it is about the images alone: what others see stays open.

Krippendorff's alpha for classes without an order compares how often two answers about one image differ with how often
any two differ. An image with m answers, n_c of them c, adds n_c (n_k - [c = k]) / (m - 1) to the coincidence o_ck;
images with one answer add nothing. With n_c = sum_k o_ck and n = sum_c n_c,

    alpha = 1 - (n - 1) sum_{c != k} o_ck / sum_{c != k} n_c n_k:

1 when all agree, 0 when they agree as chance has it. "Cannot tell" is a class of its own. The interval is the
percentile bootstrap over images.

References:
    Computing Krippendorff's alpha-reliability (Krippendorff, 2011), https://repository.upenn.edu/asc_papers/43
    Confidence intervals for proportions with small expected number of positive counts estimated from survey data (Korn
    and Graubard, 1998), Survey Methodology 24
    Robust inference with multiway clustering (Cameron, Gelbach and Miller, 2011),
    https://doi.org/10.1198/jbes.2010.07136
    Interval estimation for the difference between independent proportions (Newcombe, 1998), method 10
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from equipoise.audit.intervals import (
    LEVEL,
    RESAMPLES,
    Estimate,
    highest_share,
    lowest_share,
    nothing,
)

__all__ = ["Reliability", "gap", "reliability", "share"]


@dataclass(frozen=True)
class Reliability:
    """Krippendorff's alpha with its 95 % interval.

    Attributes:
        value: at most 1, and NaN where it is undefined.
        low: lower end; NaN where there is no interval.
        high: upper end; NaN where there is no interval.
        people: who answered about one of those images.
        images: with at least two answers.
        reason: why there is no value, or no interval; empty where there are both.
    """

    value: float
    low: float
    high: float
    people: int
    images: int
    reason: str = ""


def share(hit: NDArray, person: NDArray, image: NDArray) -> Estimate:
    """The share of answers that are the class asked about, with its interval over people and images.

    Arguments:
        hit: whether each answer is, with shape (n,).
        person: who gave it, likewise.
        image: about what, likewise.
    """
    hit = np.asarray(hit, dtype=float)
    if not len(hit):
        return nothing()
    p, n = float(hit.mean()), len(hit)
    people, images = _between(hit - p, person), _between(hit - p, image)
    method = "Korn and Graubard over " + ("people and images" if people[1] else "images")
    spread = people[0] + images[0]
    size, count = float(images[1] + 1), images[1] + 1
    if 0 < p < 1 and spread > 0:
        # Satterthwaite: the part that few people estimate gets as few degrees of freedom as it weighs.
        freedom = spread**2 / sum(part**2 / max(1, df) for part, df in (people, images))
        wider = _student(n - 1) / _student(freedom)
        size = min(float(n), p * (1 - p) / spread * wider**2)
    tail = (1 - LEVEL) / 2
    low, high = lowest_share(p * size, size, tail), highest_share(p * size, size, tail)
    return Estimate(p, low, high, count, method)


def gap(one: Estimate, other: Estimate) -> Estimate:
    """`one` minus `other`, two shares.

    The distances of the ends from the shares are added like the sides of a right angle (Newcombe's method). That the
    same people answered both makes the true interval narrower, which is not used.
    """
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, low, high, min(one.n, other.n), "Newcombe")


def reliability(answer: NDArray, person: NDArray, image: NDArray, *, seed: int = 0) -> Reliability:
    """Krippendorff's alpha of answers without an order.

    Arguments:
        answer: of each row, any values, with shape (n,); rows that are missing are left out.
        person: who gave it, likewise; at most one answer of a person about an image.
        image: about what, likewise.
        seed: of the bootstrap.
    """
    names, units = np.unique(np.asarray(image), return_inverse=True)
    values, classes = np.unique(np.asarray(answer), return_inverse=True)
    counts = np.zeros((len(names), len(values)))
    np.add.at(counts, (units, classes), 1)
    pairable = counts.sum(1) > 1
    known = Reliability(
        math.nan,
        math.nan,
        math.nan,
        len(np.unique(np.asarray(person)[pairable[units]])) if len(names) else 0,
        int(pairable.sum()),
    )
    if not known.images:
        return replace(known, reason="no image has answers of two people")
    counts = counts[pairable]
    given = counts.sum(1)
    # Of each image: its answers, the coincidences of like answers, and the answers by class.
    parts = np.column_stack([given, (counts * (counts - 1)).sum(1) / (given - 1), counts])
    value = float(_alpha(parts.sum(0)[None])[0])
    if math.isnan(value):
        return replace(known, reason="every answer is the same, so that none could differ")
    if value == 1:
        reason = "nobody disagreed, so that a bootstrap has nothing to vary"
        return replace(known, value=value, reason=reason)
    draws = np.random.default_rng(seed).multinomial(
        len(parts), np.full(len(parts), 1 / len(parts)), RESAMPLES
    )
    found = _alpha(draws @ parts)
    # A resample in which every answer is the same has no alpha.
    low, high = np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return replace(known, value=value, low=float(low), high=float(high))


def _between(rest: NDArray, member: NDArray) -> tuple[float, int]:
    """The variance of a mean that comes from drawing members, each with all its answers, and its degrees of freedom;
    of a single member nothing is known.

    Arguments:
        rest: answers minus their mean.
        member: whose, or about what, each is.
    """
    names, rows = np.unique(np.asarray(member), return_inverse=True)
    freedom = len(names) - 1
    if not freedom:
        return 0.0, 0
    sums = np.bincount(rows, weights=rest)
    return float(len(names) / freedom * (sums**2).sum() / len(rest) ** 2), freedom


def _alpha(sums: NDArray) -> NDArray:
    """Alpha of each row of answers, coincidences of like answers, and answers by class; NaN where all are of one."""
    n, alike, by_class = sums[:, 0], sums[:, 1], sums[:, 2:]
    expected = n**2 - (by_class**2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (n - 1) * (n - alike) / expected, np.nan)


def _student(freedom: float) -> float:
    return float(stdtrit(max(1.0, freedom), (1 + LEVEL) / 2))
