"""Linear rules: exact attacks, exact training, and the two-digit experiment of arXiv 1805.12152."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

import equipoise as eq
from equipoise.theory import LinearRule, fit_linear, label_correlations, top_inputs

BOX = (0.0, 1.0)


@pytest.fixture(scope="module")
def five_or_seven():
    """Pixels and labels of the digits 5 (-1) and 7 (+1): training, then test."""

    def pixels(split):
        data = eq.load_images("digits", split=split)
        batch = data.batch(range(len(data)))
        kept = (batch.labels == 5) | (batch.labels == 7)
        x, labels = batch.images[kept].flatten(1).numpy(), batch.labels[kept].numpy()
        return x.astype(float), np.where(labels == 7, 1, -1)

    return pixels("train"), pixels("test")


def drawn(seed, n=4, count=6, inside=True):
    """A rule, inputs and labels; some weights are 0 and some inputs stand at the edge of the box."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(n) * (rng.random(n) < 0.8)
    x = rng.random((count, n)) if inside else rng.standard_normal((count, n))
    x[rng.random(x.shape) < 0.2] = 0.0
    return LinearRule(w, float(rng.standard_normal())), x, rng.choice([-1, 1], count)


# The exact attack


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), eps=st.floats(0, 1.5), boxed=st.booleans())
def test_no_vertex_of_ball_and_box_is_worse(seed, eps, boxed):
    """A linear function is least at a vertex."""
    rule, x, y = drawn(seed)
    box = BOX if boxed else None
    found = rule.margins(x, y, eps, box=box)
    least = np.full(len(x), np.inf)
    for corner in itertools.product([-eps, eps], repeat=x.shape[1]):
        there = x + np.array(corner)
        there = np.clip(there, *BOX) if boxed else there
        least = np.minimum(least, y * (there @ rule.weights + rule.bias))
    assert found == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_linear_programming_agrees_in_the_box(seed):
    rule, x, y = drawn(seed, n=30, count=4)
    margins = rule.margins(x, y, 0.15, box=BOX)
    for point, label, margin in zip(x, y, margins, strict=True):
        bounds = list(zip(np.maximum(-0.15, -point), np.minimum(0.15, 1 - point), strict=True))
        solved = linprog(label * rule.weights, bounds=bounds)
        assert margin == pytest.approx(
            label * (rule.weights @ point + rule.bias) + solved.fun, abs=1e-9
        )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), eps=st.floats(0, 1.5), boxed=st.booleans())
def test_the_worst_shift_is_allowed_and_attains_the_margin(seed, eps, boxed):
    rule, x, y = drawn(seed, n=7, inside=boxed)
    box = BOX if boxed else None
    shift = rule.worst_shift(x, y, eps, box=box)
    assert np.abs(shift).max() <= eps
    assert not shift[:, rule.weights == 0].any()
    if boxed:
        assert (x + shift).min() >= -1e-15 and (x + shift).max() <= 1 + 1e-15
    margins = rule.margins(x, y, eps, box=box)
    shifted = np.clip(x + shift, *BOX) if boxed else x + shift
    assert margins == pytest.approx(rule.margins(shifted, y, box=box), abs=1e-12)
    assert rule.accuracy(x, y, eps, box=box) == (margins > 0).mean()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000), eps=st.floats(0, 1.0), more=st.floats(0, 1.0))
def test_margins_fall_with_the_radius_and_rise_with_the_box(seed, eps, more):
    rule, x, y = drawn(seed, n=9)
    free, boxed = rule.margins(x, y, eps), rule.margins(x, y, eps, box=BOX)
    assert free == pytest.approx(
        y * (x @ rule.weights + rule.bias) - eps * np.abs(rule.weights).sum(), abs=1e-12
    )
    assert (boxed >= free - 1e-12).all()
    assert (rule.margins(x, y, eps + more, box=BOX) <= boxed + 1e-12).all()
    assert rule.margins(x, y, 1 + more, box=BOX) == pytest.approx(rule.margins(x, y, 1, box=BOX))


def test_a_margin_of_0_is_wrong():
    rule = LinearRule(np.array([1.0, 0.0]))
    x, y = np.array([[0.5, 0.0], [0.6, 0.0]]), np.array([1, 1])
    assert rule.accuracy(x, y, 0.5) == 0.5
    assert rule.accuracy(x, y, 0.0) == 1.0


# Training


def violation(rule, x, y, eps, decay):
    """By how much the rule breaks the conditions of the minimum."""
    w = rule.weights
    q = expit(eps * np.abs(w).sum() - y * (x @ w + rule.bias)) / len(y)
    g, price, used = decay * w - (q * y) @ x, eps * q.sum(), w != 0
    return max(
        abs(q @ y),
        np.abs(g[used] + price * np.sign(w[used])).max(initial=0),
        (np.abs(g[~used]) - price).max(initial=0),
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    count=st.integers(4, 60),
    n=st.integers(1, 40),
    eps=st.one_of(st.just(0.0), st.floats(1e-3, 3)),
    decay=st.floats(1e-5, 3),
    twins=st.booleans(),
)
def test_the_fitted_rule_is_the_minimum(seed, count, n, eps, decay, twins):
    rng = np.random.default_rng(seed)
    y = rng.choice([-1, 1], count)
    y[:2] = -1, 1
    x = rng.standard_normal((count, n)) + y[:, None] * rng.standard_normal(n)
    if twins:
        x = np.column_stack([x, x[:, :1], np.zeros(count)])
    rule = fit_linear(x, y, eps, decay=decay)
    assert violation(rule, x, y, eps, decay) < 1e-6
    if twins:
        assert rule.weights[-1] == 0
        assert rule.weights[-2] == pytest.approx(rule.weights[0], abs=1e-4 / decay)


@pytest.mark.parametrize("decay", [1e-4, 1e-3, 0.1])
def test_standard_training_is_logistic_regression(five_or_seven, decay):
    (x, y), _ = five_or_seven
    rule = fit_linear(x, y, decay=decay)
    other = LogisticRegression(C=1 / (decay * len(y)), tol=1e-10, max_iter=10_000).fit(x, y)
    assert rule.weights == pytest.approx(other.coef_[0], abs=1e-4)
    assert rule.bias == pytest.approx(other.intercept_[0], abs=1e-4)


def test_a_rule_that_does_not_pay_answers_the_commoner_label():
    x = np.random.default_rng(0).random((90, 5))
    y = np.repeat([1, -1], [60, 30])
    rule = fit_linear(x, y, eps=5.0)
    assert not rule.weights.any()
    assert rule.bias == pytest.approx(np.log(2), abs=1e-6)


def test_scaling_inputs_and_radius_scales_weights(five_or_seven):
    """With the decay scaled too, the problem is the same."""
    (x, y), _ = five_or_seven
    one, hundred = fit_linear(x, y, 0.1), fit_linear(100 * x, y, 10, decay=10)
    assert 100 * hundred.weights == pytest.approx(one.weights, abs=1e-6)
    assert (hundred.weights != 0).tolist() == (one.weights != 0).tolist()


# Correlations, and the experiment on two digits


def test_correlations_are_numpys_and_0_for_constant_inputs(five_or_seven):
    (x, y), _ = five_or_seven
    found = label_correlations(x, y)
    constant = np.ptp(x, axis=0) == 0
    assert constant.any() and not found[constant].any()
    for i in np.flatnonzero(~constant):
        assert found[i] == pytest.approx(abs(np.corrcoef(x[:, i], y)[0, 1]), abs=1e-12)
    assert label_correlations(x + 0.1, y)[constant] == pytest.approx(0, abs=0)


def test_adversarial_training_drops_weakly_correlated_pixels(five_or_seven):
    (x, y), (test_x, test_y) = five_or_seven
    correlation = label_correlations(x, y)
    rules = [fit_linear(x, y, eps) for eps in (0, 0.1, 0.2, 0.3)]
    used = [np.count_nonzero(rule.weights) for rule in rules]
    least = [correlation[rule.weights != 0].min() for rule in rules]
    clean = [rule.accuracy(test_x, test_y) for rule in rules]
    assert used == sorted(used, reverse=True) and used[0] > 2 * used[1] > 4 * used[2]
    assert least == sorted(least) and least[0] < 0.05 and least[2] > 0.5
    assert clean == sorted(clean, reverse=True) and clean[0] > clean[3] + 0.05
    for box in (None, BOX):
        robust = [rule.accuracy(test_x, test_y, 0.2, box=box) for rule in rules]
        assert robust[0] + 0.3 < robust[1] < robust[2] - 0.1
        assert abs(robust[3] - robust[2]) < 0.06


def test_fewer_pixels_are_more_robust_without_adversarial_training(five_or_seven):
    (x, y), (test_x, test_y) = five_or_seven
    correlation = label_correlations(x, y)
    counts = (2, 4, 8, 16, 32, 64)
    rules = [top_inputs(x, y, k) for k in counts]
    for k, rule in zip(counts, rules, strict=True):
        kept = correlation[rule.weights != 0]
        assert len(kept) <= k and kept.min() >= np.sort(correlation)[-k]
    clean = [rule.accuracy(test_x, test_y) for rule in rules]
    assert clean == sorted(clean) and clean[-1] > clean[0]
    for box in (None, BOX):
        robust = [rule.accuracy(test_x, test_y, 0.2, box=box) for rule in rules]
        assert robust[-1] < robust[0] - 0.4
        # From four pixels on each doubling costs robustness.
        assert robust[1:] == sorted(robust[1:], reverse=True)
    everything, plain = rules[-1], fit_linear(x, y)
    assert everything.weights == pytest.approx(plain.weights, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: fit_linear(x, y[:-1]), r"shape \(N, n\)"),
        (lambda x, y: fit_linear(x[0], y), r"not \(3,\)"),
        (lambda x, y: fit_linear(x, np.array([0, 1])), "labels -1 and"),
        (lambda x, y: fit_linear(x, np.ones(2)), r"only of \+1"),
        (lambda x, y: fit_linear(x / 0.0, y), "finite"),
        (lambda x, y: fit_linear(x, y, -0.1), "at least 0"),
        (lambda x, y: fit_linear(x, y, decay=0.0), "positive weight decay"),
        (lambda x, y: top_inputs(x, y, 0), "between 1 and all 3"),
        (lambda x, y: top_inputs(x, y, 4), "not 4"),
        (lambda x, y: LinearRule(np.ones(4)).margins(x, y), r"\(N, 4\)"),
        (lambda x, y: LinearRule(np.ones(3)).margins(x, y, 0.1, box=BOX), "outside the box"),
        (lambda x, y: LinearRule(np.ones(3)).worst_shift(x, y, np.inf), "finite"),
    ],
)
def test_senseless_questions_are_refused(call, words):
    x, y = np.array([[0.5, 2.0, -1.0], [1.0, 0.0, 3.0]]), np.array([-1, 1])
    with np.errstate(all="ignore"), pytest.raises(eq.EquipoiseError, match=words):
        call(x, y)
