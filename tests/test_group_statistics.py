"""Statistics of groups of images: hand-computed cases, an independent library, and coverage in simulations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from equipoise.audit.groups import estimate_sensitivity
from equipoise.audit.intervals import wilson
from equipoise.audit.statistics import estimate
from equipoise.probes import Contrast, Sensitivity, WorstGroup, relative_sensitivity

shares = st.floats(0, 1)


@given(shares, shares)
def test_relative_sensitivity_is_bounded_and_antisymmetric(a, b):
    value = relative_sensitivity(a, b)
    assert -1 <= value <= 1
    assert value == -relative_sensitivity(b, a)
    # The errors 1 - a and 1 - b take the parts of b and a, but for the rounding of 1 - a.
    if min(a, b, 1 - a, 1 - b) > 1e-6:
        assert value == pytest.approx(relative_sensitivity(1 - b, 1 - a), abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        (0.5, 0.7, 0.25),  # .2 / (2 x .4)
        (0.1, 0.3, 0.5),  # .2 / (2 x .2)
        (0.7, 0.5, -0.25),
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 0.0),
        (0.0, 1.0, 1.0),
        (0.9, 1.0, 1.0),  # no background noise harms: as much as can be
        (0.0, 0.2, 1.0),
    ],
)
def test_relative_sensitivity_by_hand(a, b, wanted):
    assert relative_sensitivity(a, b) == pytest.approx(wanted, abs=1e-12)


@given(shares, shares, shares)
def test_relative_sensitivity_rises_with_b_and_falls_with_a(a, b, c):
    low, high = sorted((b, c))
    assert relative_sensitivity(a, low) <= relative_sensitivity(a, high) + 1e-12
    assert relative_sensitivity(low, a) >= relative_sensitivity(high, a) - 1e-12


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(counts):
    ones, n = counts
    wanted = binomtest(ones, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(ones, n), (wanted.low, wanted.high), atol=1e-12)


def rows(**counts):
    """Zeros and ones, and a group each, from (ones, n) by group."""
    correct = np.concatenate([np.arange(n) < ones for ones, n in counts.values()])
    groups = np.concatenate([np.full(n, name, dtype=object) for name, (_, n) in counts.items()])
    return correct, groups


def test_a_difference_has_newcombes_interval():
    # The first example of Newcombe (1998), by his method 10.
    correct, groups = rows(a=(56, 70), b=(48, 80))
    found = estimate(Contrast("difference", correct, groups, {"a": 1, "b": -1}))
    assert found.value == pytest.approx(0.2)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)
    assert found.n == 150


def test_an_average_is_weighed_as_asked():
    correct, groups = rows(a=(9, 10), b=(1, 10), c=(0, 50))
    found = estimate(Contrast("average", correct, groups, {"a": 0.75, "b": 0.25}, unit="share"))
    assert found.value == pytest.approx(0.75 * 0.9 + 0.25 * 0.1)
    assert 0 <= found.low < found.value < found.high <= 1
    assert found.n == 20


def test_a_group_without_images_has_no_number():
    correct, groups = rows(a=(9, 10))
    found = estimate(Contrast("difference", correct, groups, {"a": 1, "b": -1}))
    assert math.isnan(found.value)
    assert math.isnan(estimate(WorstGroup("worst", correct[:0], groups[:0])).value)


def test_the_worst_group_is_the_least_share_with_an_interval():
    correct, groups = rows(a=(90, 100), b=(3, 4), c=(95, 100))
    found = estimate(WorstGroup("worst", correct, groups))
    assert found.value == 0.75
    # Group b alone could be anything from a fifth up; no group may lie above the others' bounds.
    assert found.low == pytest.approx(binomtest(3, 4).proportion_ci(0.95).low)
    assert found.high == pytest.approx(binomtest(90, 100).proportion_ci(1 - 0.05 / 3).high)


def test_intervals_of_contrasts_and_worst_groups_cover():
    rng = np.random.default_rng(0)
    truth = {"a": (0.95, 40), "b": (0.9, 25), "c": (0.92, 200)}
    weights = {"a": 0.5, "b": -1.0, "c": 0.5}
    contrast = sum(weights[g] * p for g, (p, _) in truth.items())
    hits, worst = 0, 0
    for _ in range(1000):
        correct, groups = rows(**{g: (rng.binomial(n, p), n) for g, (p, n) in truth.items()})
        found = estimate(Contrast("contrast", correct, groups, weights))
        hits += found.low <= contrast <= found.high
        low = estimate(WorstGroup("worst", correct, groups))
        worst += low.low <= 0.9 <= low.high
    assert hits >= 935  # 950 expected, three standard deviations are 21
    assert worst >= 940


def test_sensitivity_averages_classes_before_it_divides():
    # Class 0: a = .25, b = .75 on four images; class 1: a = 1, b = 1 on two.
    first = np.array([1, 0, 0, 0, 1, 1.0])
    second = np.array([1, 1, 1, 0, 1, 1.0])
    found = estimate(Sensitivity("s", first, second, np.array([0, 0, 0, 0, 1, 1])))
    a, b = (0.25 + 1) / 2, (0.75 + 1) / 2
    assert found.value == pytest.approx((b - a) / (2 - a - b))
    assert found.low < found.value < found.high
    assert (found.n, found.method) == (6, "Clopper-Pearson of both")


def test_a_sensitivity_of_perfect_answers_could_be_anything():
    ones = np.ones(50)
    found = estimate(Sensitivity("s", ones, ones, np.arange(50) % 5))
    assert (found.value, found.low, found.high) == (0, -1, 1)
    assert math.isnan(estimate(Sensitivity("s", ones[:0], ones[:0], ones[:0])).value)


def test_intervals_of_sensitivities_cover_where_classes_are_small():
    """Forty classes of three images: a plain bootstrap would cover 91 in 100."""
    rng = np.random.default_rng(2)
    classes, hits = np.repeat(np.arange(40), 3), 0
    truth = relative_sensitivity(0.6, 0.75)
    for seed in range(150):
        hardness = rng.uniform(size=120)
        first, second = ((hardness < level).astype(float) for level in (0.6, 0.75))
        found = estimate_sensitivity(Sensitivity("s", first, second, classes), seed=seed)
        hits += found.low <= truth <= found.high
    assert hits >= 134  # 142.5 expected; three standard deviations are 8


@pytest.mark.parametrize(("n", "trials"), [(40, 300), (200, 100)])
def test_intervals_of_sensitivities_cover(n, trials):
    """Images whose chances of right answers vary together, in two classes of different difficulty."""
    rng = np.random.default_rng(1)
    classes = np.arange(n) % 2
    hits = 0
    truth = relative_sensitivity((0.8 * 0.5 + 0.5 * 0.5) / 1, (0.9 * 0.5 + 0.7 * 0.5) / 1)
    for seed in range(trials):
        hardness = rng.uniform(size=n)
        first = (hardness < np.where(classes, 0.5, 0.8)).astype(float)
        second = (hardness < np.where(classes, 0.7, 0.9)).astype(float)
        found = estimate_sensitivity(Sensitivity("s", first, second, classes), seed=seed)
        hits += found.low <= truth <= found.high
    assert hits >= (0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5) * trials
