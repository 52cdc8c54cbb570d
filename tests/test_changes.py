"""Metrics of two classifiers on the same images, and along a ladder: hand-made cases, other ways to count, coverage."""

import numpy as np
import pytest
from scipy.stats import spearmanr

import equipoise as eq
from equipoise.audit.association import difference
from equipoise.audit.changes import change, trend
from equipoise.audit.difference import paired_difference
from equipoise.audit.resampling import resample
from equipoise.audit.statistics import estimate
from equipoise.probes import Contrast, Metric, Sensitivity, WorstGroup, relative_sensitivity

GAP = {"same": 1.0, "rand": -1.0}


def contrast(correct, groups, weights=None):
    return Contrast("gap", np.asarray(correct), np.asarray(groups, dtype=object), weights or GAP)


def worst(correct, groups):
    return WorstGroup("worst", np.asarray(correct), np.asarray(groups, dtype=object))


def sensitivity(pairs, classes):
    return Sensitivity("sensitivity", pairs[:, 0], pairs[:, 1], np.asarray(classes))


def mean(values):
    return Metric("mean", np.asarray(values, dtype=float), "mean")


def draw(rng, shares, sizes, agree=0.7):
    """Right answers of two classifiers in each group, with these shares, that go together."""
    found, groups = [], []
    for name, size in sizes.items():
        both = rng.random(size)
        own = np.where(rng.random(size) < agree, both, rng.random(size))
        found.append(np.stack([both < shares[0][name], own < shares[1][name]]))
        groups += [name] * size
    return *np.concatenate(found, 1), np.array(groups, dtype=object)


def test_a_change_is_the_difference_of_the_two_metrics():
    rng = np.random.default_rng(0)
    groups = rng.choice(["same", "rand", "other"], 200).astype(object)
    before, after = rng.random((2, 200)) < 0.6
    pairs, classes = rng.random((2, 200, 2)), rng.integers(0, 4, 200)
    for one, other in (
        (contrast(before, groups), contrast(after, groups)),
        (worst(before, groups), worst(after, groups)),
        (sensitivity(pairs[0], classes), sensitivity(pairs[1], classes)),
        (mean(pairs[0, :, 0]), mean(pairs[1, :, 0])),
    ):
        found = change(one, other)
        assert found.value == pytest.approx(estimate(other).value - estimate(one).value, abs=1e-9)
        assert found.low < found.value < found.high
        back = change(other, one)
        assert back.value == pytest.approx(-found.value)
        assert (-back.high, -back.low) == pytest.approx((found.low, found.high), abs=0.03)


def test_the_change_of_one_group_is_the_paired_difference():
    rng = np.random.default_rng(1)
    before, after = rng.random((2, 80)) < 0.5
    groups = ["same"] * 80
    wanted = paired_difference(before, after)
    found = change(contrast(before, groups, {"same": 1.0}), contrast(after, groups, {"same": 1.0}))
    assert (found.value, found.low, found.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )
    both = change(Metric("m", before, "share"), Metric("m", after, "share"))
    assert (both.value, both.low, both.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )
    numbers = rng.random((2, 80))
    alone = difference(numbers[1], numbers[0])
    assert change(mean(numbers[0]), mean(numbers[1])) == alone


def test_images_that_both_answer_alike_narrow_the_interval():
    """1,000 images that both get right, and 30 on which they differ: only those count."""
    before = np.r_[np.ones(1000), np.zeros(30)].astype(bool)
    after = np.r_[np.ones(1000), np.arange(30) % 3 > 0].astype(bool)
    groups = ["same"] * 515 + ["rand"] * 515
    found = change(contrast(before, groups), contrast(after, groups))
    assert found.value == pytest.approx(-20 / 515)
    assert found.high - found.low < 0.05
    apart = [estimate(contrast(answers, groups)) for answers in (before, after)]
    assert max(one.high - one.low for one in apart) < 0.05


def test_a_worst_group_that_is_clear_gives_its_own_paired_interval():
    rng = np.random.default_rng(2)
    before, after, groups = draw(
        rng, ({"a": 0.9, "b": 0.3}, {"a": 0.9, "b": 0.5}), {"a": 300, "b": 300}
    )
    rows = groups == "b"
    wanted = paired_difference(before[rows], after[rows], choices=4)
    found = change(worst(before, groups), worst(after, groups))
    assert (found.value, found.low, found.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )


def test_groups_that_may_each_be_worst_all_count():
    before = np.r_[np.arange(40) < 20, np.arange(40) < 21]
    after = np.r_[np.arange(40) < 30, np.arange(40) < 19]
    groups = np.repeat(np.array(["a", "b"], dtype=object), 40)
    found = change(worst(before, groups), worst(after, groups))
    assert found.value == pytest.approx(19 / 40 - 20 / 40)
    parts = [
        paired_difference(before[groups == g], after[groups == g], choices=4) for g in ("a", "b")
    ]
    # b alone can be worst after; either before, which leaves much open above.
    assert found.low == parts[1].low
    assert parts[1].high < found.high < parts[0].high


def test_a_worst_group_that_gets_worse_shows_where_all_were_alike():
    before = np.ones(300, dtype=bool)
    groups = np.repeat(np.array(["a", "b", "c"], dtype=object), 100)
    after = before.copy()
    after[:30] = False
    found = change(worst(before, groups), worst(after, groups))
    assert (found.value, found.n) == (pytest.approx(-0.3), 300)
    assert found.low < -0.3 < found.high < -0.1


@pytest.mark.parametrize("size", [60, 400])
def test_intervals_cover_the_truth(size):
    """Of 120 simulations, groups of nearly the same accuracy among them."""
    rng = np.random.default_rng(size)
    shares = (
        {"same": 0.85, "rand": 0.72, "c": 0.73},
        {"same": 0.8, "rand": 0.6, "c": 0.62},
    )
    missed = np.zeros(2)
    for _ in range(120):
        before, after, groups = draw(rng, shares, dict.fromkeys(shares[0], size))
        gap = change(contrast(before, groups), contrast(after, groups))
        least = change(worst(before, groups), worst(after, groups))
        missed += [not gap.low <= 0.2 - 0.13 <= gap.high, not least.low <= -0.12 <= least.high]
    assert (missed <= 12).all()  # 6 are expected of 95 %, more than 12 in one of 120 cases


def test_sensitivities_are_resampled_together():
    rng = np.random.default_rng(3)
    classes = np.arange(400) % 4
    base = rng.random((400, 2)) * [0.5, 0.9]
    before, after = sensitivity(base, classes), sensitivity(base * 0.9, classes)
    found = change(before, after)
    drawn = resample([before, after])
    means = np.array([metric.first for metric in (before, after)])
    assert drawn.shape == (2000, 2) and means.shape == (2, 400)
    assert found.method == "bootstrap within classes"
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(drawn[:, 1] - drawn[:, 0], [0.025, 0.975]))
    )
    each = [estimate(metric) for metric in (before, after)]
    assert found.high - found.low < 0.5 * (each[0].high - each[0].low)
    a, b = base.mean(0)
    assert drawn[:, 0].mean() == pytest.approx(float(relative_sensitivity(a, b)), abs=0.01)


def test_few_differences_give_a_wide_interval():
    pairs = np.tile([[0.4, 0.6]], (100, 1))
    other = pairs.copy()
    other[:9] = 0.5
    classes = np.arange(100) % 2
    found = change(sensitivity(pairs, classes), sensitivity(other, classes))
    assert found.method == "square and add, from both intervals"
    same = change(sensitivity(pairs, classes), sensitivity(pairs, classes))
    assert same.value == 0
    assert same.low <= 0 <= same.high


def test_the_trend_is_the_rank_correlation():
    rng = np.random.default_rng(4)
    radii = [0, 0.25, 0.5, 1, 3]
    answers = [rng.permutation(500) < 500 * share for share in (0.9, 0.85, 0.7, 0.75, 0.5)]
    rungs = [mean(a) for a in answers]
    found = trend(radii, rungs)
    assert found.value == pytest.approx(spearmanr(radii, [a.mean() for a in answers]).statistic)
    assert found.value == pytest.approx(-0.9)
    assert -1 <= found.low <= found.value <= found.high < 0
    up = trend([-radius for radius in radii], rungs)
    assert (up.value, up.low, up.high) == pytest.approx((-found.value, -found.high, -found.low))
    # What never changes goes with nothing, and few differences say nothing.
    flat = trend(radii, [mean(answers[0])] * 5)
    assert flat.value == 0 and np.isnan(flat.low)


@pytest.mark.parametrize("kind", ["mean", "contrast"])
def test_rungs_that_are_alike_seldom_show_a_trend(kind):
    """All shares are one: intervals above 0 must be as rare as 2.5 %."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.array(["same", "rand"], dtype=object), 100)
    shown = 0
    for _ in range(100):
        common = rng.random(200)
        rungs = []
        for _ in range(5):
            answers = np.where(rng.random(200) < 0.6, common, rng.random(200)) < 0.7
            rungs.append(mean(answers) if kind == "mean" else contrast(answers, groups))
        shown += trend(range(5), rungs).low > 0
    assert shown <= 7  # above it once in 300 cases at 2.5 %


def test_groups_that_are_missing_leave_nothing_to_say():
    answers, groups = np.arange(20) % 2, np.array(["same"] * 20, dtype=object)
    expected = WorstGroup("worst", answers, groups, ("same", "rand"))
    pairs = [contrast(answers, groups), expected, Contrast("gap", answers, groups, {})]
    for metric in pairs:
        assert change(metric, metric).n == 0
        assert np.isnan(change(metric, metric).value)


def test_what_does_not_compare_is_refused():
    answers = np.arange(20) % 2
    groups = ["same", "rand"] * 10
    with pytest.raises(eq.EquipoiseError, match="Cannot compare 'gap' with 'worst'"):
        change(contrast(answers, groups), worst(answers, groups))
    with pytest.raises(eq.EquipoiseError, match="it is of other images, or of other groups"):
        change(contrast(answers, groups), contrast(answers, groups[::-1]))
    with pytest.raises(eq.EquipoiseError, match="it is of other images"):
        change(mean(answers), mean(answers[1:]))
    median = Metric("middle", answers, "median")
    with pytest.raises(eq.EquipoiseError, match="'middle': it is a median"):
        change(median, median)
    with pytest.raises(eq.EquipoiseError, match="'middle': it is a median"):
        resample([median])
    with pytest.raises(eq.EquipoiseError, match="2 metrics with 2 radii"):
        trend([0, 1], [mean(answers)] * 2)
