"""How two per-image numbers go together, with intervals from the bootstrap over images.

    spearman    correlation of ranks; with controls, of what is left of the ranks once a linear fit of the controls'
                ranks is taken away (partial rank correlation)
    auroc       probability that a random positive image scores above a random negative one, ties counting half
    difference  mean of paired differences; of yes and no with the exact interval where few images differ

Intervals are the 2.5 % and 97.5 % quantiles over 1,000 resamples of whole images, each statistic computed anew; those
of differences of at least 1,000 images are the quantiles of `equipoise.audit.bootstrap`.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from equipoise.audit.bootstrap import mean_ends
from equipoise.audit.difference import paired_difference
from equipoise.audit.intervals import Estimate

__all__ = ["auroc", "bootstrap", "difference", "one_hot", "spearman", "spearman_gap"]

RESAMPLES = 1000
TAILS = (0.025, 0.975)
MOST_UNDEFINED = 0.01
"""Share of the resamples that may leave a statistic undefined."""

PLENTY = 1000
"""Images of which a mean is not resampled in the plain way."""

FEWEST = 10
"""Images of either kind below which a statistic is refused."""


def spearman(
    a: NDArray, b: NDArray, *, controls: Sequence[NDArray] = (), seed: int = 0
) -> Estimate:
    """Rank correlation of `a` and `b`, with shapes (N,).

    Arguments:
        a: per-image numbers.
        b: others of the same images.
        controls: what is held fixed: arrays with shape (N,), or (N, k) such as `one_hot` gives.
        seed: of the resamples.
    """
    return bootstrap(_correlation(a, b, controls), len(a), seed)


def spearman_gap(a: NDArray, first: NDArray, second: NDArray, *, seed: int = 0) -> Estimate:
    """By how much the rank correlation of `a` with `first` exceeds that with `second`, on the same images."""
    one, other = _correlation(a, first, ()), _correlation(a, second, ())
    return bootstrap(lambda rows: one(rows) - other(rows), len(a), seed)


def _correlation(
    a: NDArray, b: NDArray, controls: Sequence[NDArray]
) -> Callable[[NDArray], float]:
    """The (partial) rank correlation as a function of the rows that it is computed from."""
    columns = [np.reshape(np.asarray(c, dtype=float), (len(a), -1)) for c in controls]
    table = np.hstack([np.asarray(a, float)[:, None], np.asarray(b, float)[:, None], *columns])

    def correlation(rows: NDArray) -> float:
        ranks = _ranks(table[rows])
        ranks -= ranks.mean(0)
        pair, rest = ranks[:, :2], ranks[:, 2:]
        if rest.shape[1]:
            pair = pair - rest @ np.linalg.lstsq(rest, pair, rcond=None)[0]
        lengths = np.linalg.norm(pair, axis=0)
        # What the controls explain to the last digit has no correlation with anything.
        if (lengths < 1e-9 * len(rows) ** 1.5).any():
            return math.nan
        return float(pair[:, 0] @ pair[:, 1] / lengths.prod())

    return correlation


def auroc(score: NDArray, positive: NDArray, *, seed: int = 0) -> Estimate:
    """Area under the receiver operating characteristic of `score` for telling `positive` images apart, both (N,)."""
    score, positive = np.asarray(score, float), np.asarray(positive, bool)
    if min(positive.sum(), (~positive).sum()) < FEWEST:
        return Estimate(math.nan, math.nan, math.nan, len(score), "none")

    def area(rows: NDArray) -> float:
        ranks, hit = _ranks(score[rows][:, None])[:, 0], positive[rows]
        n = int(hit.sum())
        if n in (0, len(hit)):
            return math.nan
        return float((ranks[hit].sum() - n * (n + 1) / 2) / (n * (len(hit) - n)))

    return bootstrap(area, len(score), seed)


def difference(a: NDArray, b: NDArray, *, seed: int = 0) -> Estimate:
    """Mean of a - b over the same images, both with shape (N,); where both only say yes or no, as `paired_difference`
    has it."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if len(a) >= FEWEST and np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        found = paired_difference(b, a, seed=seed)
        return Estimate(found.value, found.low, found.high, found.n, found.method)
    gap = a - b
    if len(gap) >= PLENTY and np.isfinite(gap).all():
        low, high = mean_ends(gap, TAILS, seed=seed)
        return Estimate(float(gap.mean()), low, high, len(gap), "bootstrap")
    return bootstrap(lambda rows: float(gap[rows].mean()), len(gap), seed)


def one_hot(labels: NDArray) -> NDArray:
    """Indicators of all classes but the first, with shape (N, K - 1): a control for the class."""
    return (labels[:, None] == np.unique(labels)[None, 1:]).astype(float)


def bootstrap(statistic: Callable[[NDArray], float], n: int, seed: int = 0) -> Estimate:
    """Any statistic of row numbers with its interval; NaN throughout for fewer than ten images."""
    if n < FEWEST:
        return Estimate(math.nan, math.nan, math.nan, n, "none")
    rng = np.random.default_rng(seed)
    resampled = [statistic(rng.integers(0, n, n)) for _ in range(RESAMPLES)]
    value = statistic(np.arange(n))
    # A statistic that many resamples leave undefined has no honest interval.
    if math.isnan(value) or np.isnan(resampled).mean() > MOST_UNDEFINED:
        return Estimate(math.nan, math.nan, math.nan, n, "none")
    low, high = np.nanquantile(resampled, TAILS)
    return Estimate(value, float(low), float(high), n, "bootstrap")


def _ranks(table: NDArray) -> NDArray:
    """Ranks 1..N down each column, ties sharing their average."""
    from scipy.stats import rankdata  # noqa: PLC0415  half a second that only studies need

    return rankdata(table, axis=0)
