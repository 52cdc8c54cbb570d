"""Rank statistics against SciPy and scikit-learn, and against closed forms."""

import math

import numpy as np
import pytest

from equipoise.audit import judge, write_claims
from equipoise.audit.association import auroc, difference, one_hot, spearman
from equipoise.audit.claims import read_claims
from equipoise.audit.intervals import Estimate


def test_spearman_and_auroc_agree_with_other_libraries():
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    a = rng.normal(size=200)
    b = np.round(a + rng.normal(size=200), 1)  # with ties
    found = spearman(a, b)
    assert found.value == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert found.low < found.value < found.high
    positive = b > 0.5
    assert auroc(a, positive).value == pytest.approx(roc_auc_score(positive, a), abs=1e-12)


def test_a_common_cause_is_controlled_away():
    rng = np.random.default_rng(1)
    cause = rng.normal(size=400)
    a, b = (cause + 0.5 * rng.normal(size=400) for _ in range(2))
    assert spearman(a, b).low > 0.6
    left = spearman(a, b, controls=[cause])
    assert left.low < 0 < left.high
    labels = rng.integers(0, 4, 400)
    within = spearman(labels + 0.01 * a, labels + 0.01 * b, controls=[one_hot(labels)])
    assert within.value < spearman(labels + 0.01 * a, labels + 0.01 * b).value


def test_partial_correlation_is_the_closed_form():
    """With one control, (r_ab - r_ac r_bc) / sqrt((1 - r_ac^2)(1 - r_bc^2)) of the rank correlations."""
    rng = np.random.default_rng(2)
    a, b, c = rng.normal(size=(3, 100)) @ np.eye(100) + rng.normal(size=100)
    ab, ac, bc = (spearman(x, y).value for x, y in ((a, b), (a, c), (b, c)))
    expected = (ab - ac * bc) / math.sqrt((1 - ac**2) * (1 - bc**2))
    assert spearman(a, b, controls=[c]).value == pytest.approx(expected, abs=1e-12)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for k in range(100):
        gap = rng.normal(0.3, 1, 150)
        found = difference(gap, np.zeros(150), seed=k)
        hits += found.low <= 0.3 <= found.high
    assert 88 <= hits <= 100


def test_too_few_images_are_refused():
    assert math.isnan(auroc(np.arange(50.0), np.arange(50) < 5).value)
    assert math.isnan(spearman(np.arange(5.0), np.arange(5.0)).value)
    assert math.isnan(spearman(np.arange(50.0), np.ones(50)).value)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.2, "holds"),
        (-0.2, -0.1, "fails"),
        (-0.1, 0.1, "undecided"),
        (math.nan, math.nan, "undecided"),
    ],
)
def test_verdicts_and_their_file(low, high, verdict, tmp_path):
    value = (low + high) / 2
    claim = judge("H1", "A statement.", "a statistic", Estimate(value, low, high, 9, "bootstrap"))
    assert claim.verdict == verdict
    write_claims(tmp_path, "counterfactual", [claim])
    (again,) = read_claims(tmp_path)
    assert again.verdict == verdict
    assert again.id == "H1"
    assert again.value == pytest.approx(value, nan_ok=True)
    assert read_claims(tmp_path / "elsewhere") == ()


def test_a_mean_of_shares_that_are_all_one_is_not_certain():
    """As a share of ones: Clopper and Pearson's bound, (alpha / 2)^(1 / n)."""
    from equipoise.audit.statistics import estimate
    from equipoise.probes import Metric

    found = estimate(Metric("same-class accuracy", np.ones(40), "mean"))
    assert found.value == found.high == 1
    assert found.low == pytest.approx(0.025 ** (1 / 40))
    varied = estimate(Metric("accuracy", np.array([1.0] * 39 + [0.5]), "mean"))
    assert varied.method == "bootstrap"
    far = estimate(Metric("distance", np.ones(40), "mean", unit="distance"))
    assert far.low == far.high == 1


def test_a_statistic_that_resamples_often_lose_is_refused():
    from equipoise.audit.association import bootstrap

    marked = np.arange(50) < 2  # absent from about one resample in eight
    found = bootstrap(lambda rows: 1.0 if marked[rows].any() else math.nan, 50)
    assert math.isnan(found.value)
