"""The theory room: test vectors, Monte Carlo, and a bound that no rule breaks."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import ndtr

import equipoise as eq
from equipoise.theory import CollapseWarning, Dichotomy
from equipoise.theory.dichotomy import _hinge

CLOSED = 1e-7
SOLVED = 1e-6


def test_the_room_needs_no_torch():
    code = "import equipoise.theory, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("d", "eta", "robust"),
    [(100, 0.2, 0.05665920), (400, 0.1, 0.07524885), (10000, 0.02, 0.09319235)],
)
def test_rules_at_twice_the_mean(d, eta, robust):
    model = Dichotomy(0.95, eta, d)
    assert model.log_odds == pytest.approx(2.94443898, abs=CLOSED)
    uniform, bayes, eps = model.uniform(), model.bayes(), 2 * eta
    assert model.accuracy(uniform) == pytest.approx(0.97724987, abs=CLOSED)
    assert model.accuracy(uniform, eps) == pytest.approx(0.02275013, abs=CLOSED)
    assert model.accuracy(bayes) == pytest.approx(0.99189018, abs=CLOSED)
    assert model.accuracy(bayes, eps) == pytest.approx(robust, abs=CLOSED)
    assert model.bound(1 - model.accuracy(bayes)) == pytest.approx(0.15408666, abs=CLOSED)
    assert model.accuracy(model.robust_feature()) == pytest.approx(0.95)
    assert model.accuracy(model.robust_feature(), eps) == pytest.approx(0.95)
    assert model.best_robust_accuracy(eps) == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("eps", "best", "linear", "uniform", "bayes"),
    [
        (0.02, 0.98764628, 0.98723771, 0.96406968, 0.98709506),
        (0.10, 0.95954109, 0.95422392, 0.84134475, 0.93297666),
        (0.20, 0.95, 0.95, 0.5, 0.69535657),
        (0.40, 0.95, 0.95, 0.02275013, 0.05665920),
    ],
)
def test_the_best_rules_along_the_radius(eps, best, linear, uniform, bayes):
    model = Dichotomy(0.95, 0.2, 100)
    assert model.best_robust_accuracy(eps) == pytest.approx(best, abs=CLOSED)
    assert model.accuracy(model.best_linear(eps), eps) == pytest.approx(linear, abs=CLOSED)
    assert model.accuracy(model.uniform(), eps) == pytest.approx(uniform, abs=CLOSED)
    assert model.accuracy(model.bayes(), eps) == pytest.approx(bayes, abs=CLOSED)


def test_at_radius_one_nothing_is_left():
    model = Dichotomy(0.95, 0.2, 100)
    assert model.best_robust_accuracy(1.0) == 0.5
    assert model.accuracy(model.robust_feature(), 1.0) == 0
    assert model.accuracy(model.best_linear(1.0), 1.0) <= 0.5
    strong = Dichotomy(0.6, 1.5, 9)
    assert strong.best_robust_accuracy(1.2) == pytest.approx(ndtr(0.3 * 3))


def test_where_the_best_linear_rule_becomes_the_robust_feature():
    model = Dichotomy(0.95, 0.2, 100)
    before, after = model.best_linear(0.11938), model.best_linear(0.11940)
    assert before[1] > 0
    assert after[1] == 0
    for eps, a in ((0.02, 0.814152), (0.10, 1.641256)):
        w = model.best_linear(eps)
        assert w[0] / np.linalg.norm(w[1:]) == pytest.approx(a, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(eps=st.floats(0, 0.3), seed=st.integers(0, 1000))
def test_no_linear_rule_is_better_than_the_best(eps, seed):
    model = Dichotomy(0.9, 0.3, 16)
    best = model.accuracy(model.best_linear(eps), eps)
    rng = np.random.default_rng(seed)
    near = model.best_linear(eps) * (1 + 0.2 * rng.standard_normal(17))
    for w in (near, rng.standard_normal(17), np.abs(rng.standard_normal(17))):
        assert model.accuracy(w, eps) <= best + 1e-12
    assert best <= model.best_robust_accuracy(eps) + 1e-12


@pytest.mark.parametrize(
    ("threshold", "standard", "robust"),
    [
        (None, 0.99189018, 0.09813340),
        (4, 0.99078483, 0.15078999),
        (12, 0.95793249, 0.79927752),
        (20, 0.95006749, 0.94871760),
        (np.inf, 0.95, 0.95),
    ],
)
def test_the_frontier(threshold, standard, robust):
    model = Dichotomy(0.95, 0.2, 100)
    found = model.frontier(model.log_odds if threshold is None else threshold)
    assert found == pytest.approx((standard, robust), abs=CLOSED)
    assert found[1] <= model.bound(1 - found[0]) + 1e-12


@settings(max_examples=100, deadline=None)
@given(
    p=st.floats(0.5, 0.99),
    eta=st.floats(0, 1),
    d=st.integers(1, 30),
    more=st.floats(0, 1),
    bias=st.floats(-2, 2),
    seed=st.integers(0, 10_000),
)
def test_no_rule_breaks_the_bound(p, eta, d, more, bias, seed):
    model = Dichotomy(p, eta, d)
    w = np.random.default_rng(seed).standard_normal(d + 1)
    delta = 1 - model.accuracy(w, bias=bias)
    assert model.accuracy(w, 2 * eta + more, bias) <= model.bound(delta) + 1e-12


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.4])
def test_monte_carlo_agrees(eps):
    """With the exact attack on a linear rule: every feature moves by eps against it."""
    model = Dichotomy(0.9, 0.2, 20)
    x, y = model.sample(400_000, seed=1)
    w, bias = np.random.default_rng(0).standard_normal(21) + 0.5, 0.3
    right = y * (x @ w + bias) - eps * np.abs(w).sum() > 0
    exact = model.accuracy(w, eps, bias)
    assert abs(right.mean() - exact) < 4.5 * np.sqrt(exact * (1 - exact) / len(y))
    frontier = np.sign(2 * model.eta * x[:, 1:].sum(1) + 5 * np.sign(x[:, 0])) == y
    standard, _ = model.frontier(5.0)
    assert abs(frontier.mean() - standard) < 4.5 * np.sqrt(standard * (1 - standard) / len(y))


@pytest.mark.parametrize(
    ("d", "eta", "lam", "first", "pooled", "standard", "robust"),
    [
        (100, 0.4, 0.000523, 0.351224, 0.936292, 0.99998701, 4.127e-5),
        (400, 0.2, 0.000523, 0.351224, 0.936292, 0.99998701, 7.618e-5),
        (10000, 0.04, 0.000523, 0.351224, 0.936292, 0.99998701, 1.225e-4),
        (100, 0.2, 0.049366, 0.641952, 0.766745, 0.99171531, 0.06379),
        (400, 0.1, 0.049366, 0.641952, 0.766745, 0.99171531, 0.08721),
        (10000, 0.02, 0.049366, 0.641952, 0.766745, 0.99171531, 0.11011),
    ],
)
def test_the_machine_of_unit_norm(d, eta, lam, first, pooled, standard, robust):
    model = Dichotomy(0.95, eta, d)
    w = model.svm()
    assert np.linalg.norm(w) == pytest.approx(1, abs=1e-9)
    assert w[0] == pytest.approx(first, abs=SOLVED)
    assert np.linalg.norm(w[1:]) == pytest.approx(pooled, abs=SOLVED)
    assert model.accuracy(w) == pytest.approx(standard, abs=2e-8)
    assert model.accuracy(w, 2 * eta) == pytest.approx(robust, rel=2e-4)
    assert model.svm(lam)[0] / first == pytest.approx(1, abs=2e-3)


def test_without_a_robust_feature_only_weak_ones_count():
    w = Dichotomy(0.5, 0.2, 100).svm()
    assert w[0] == pytest.approx(0, abs=SOLVED)
    assert np.linalg.norm(w[1:]) == pytest.approx(1, abs=SOLVED)


@pytest.mark.parametrize(
    ("p", "eta", "d", "eps", "lam", "first", "value"),
    [
        (0.95, 0.2, 400, 0.4, 0.1, 1.66666667, 0.30555556),
        (0.95, 0.2, 400, 0.4, 1, 0.5, 0.875),
        (0.95, 0.04, 10000, 0.08, 0.1, 1.08695652, 0.16776938),
        (0.95, 0.04, 10000, 0.08, 1, 0.82, 0.6638),
        (0.95, 0.4, 100, 0.8, 0.1, 1.0, 0.95),
    ],
)
def test_adversarial_training_keeps_the_robust_feature_alone(p, eta, d, eps, lam, first, value):
    model = Dichotomy(p, eta, d)
    w = model.svm(lam, eps)
    assert w[0] == pytest.approx(first, abs=SOLVED)
    assert not w[1:].any()
    assert model.objective(w[0], 0.0, lam, eps) == pytest.approx(value, abs=1e-8)
    for radius in (0.0, 2 * eta, 0.999):
        assert model.accuracy(w, radius) == pytest.approx(p)


@pytest.mark.parametrize(("p", "eps"), [(0.95, 0.92), (0.8, 0.8), (0.95, 1.5)])
def test_beyond_the_erratum_training_collapses_and_says_so(p, eps):
    with pytest.warns(CollapseWarning, match=r"minimiser 0.*smaller radius"):
        w = Dichotomy(p, 0.4, 100).svm(0.1, eps)
    assert not w.any()


@settings(max_examples=40, deadline=None)
@given(
    p=st.floats(0.5, 0.98),
    eta=st.floats(0.05, 0.6),
    d=st.integers(2, 200),
    lam=st.floats(1e-3, 2),
    eps=st.floats(0, 0.6),
)
def test_nothing_near_the_machine_is_better(p, eta, d, lam, eps):
    model = Dichotomy(p, eta, d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        w = model.svm(lam, eps)
    found = w[0], np.linalg.norm(w[1:])
    least = model.objective(*found, lam, eps)
    search = minimize(
        lambda x: model.objective(*np.abs(x), lam, eps),
        np.array(found) + 0.05,
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 2000},
    )
    assert least <= search.fun + 1e-9


def test_the_hinge_of_a_normal():
    assert _hinge(1.5, 0.8)[0] == pytest.approx(0.129536010, abs=1e-9)
    assert _hinge(-0.3, 1.2)[0] == pytest.approx(1.385093263, abs=1e-9)
    draws = np.random.default_rng(0).normal(0.4, 0.7, 1_000_000)
    value, slope, curve = _hinge(0.4, 0.7)
    assert np.maximum(0, 1 - draws).mean() == pytest.approx(value, abs=4e-3)
    step = 1e-5
    for k, move in enumerate(((step, 0), (0, step))):
        ahead = _hinge(0.4 + move[0], 0.7 + move[1])
        behind = _hinge(0.4 - move[0], 0.7 - move[1])
        assert (ahead[0] - behind[0]) / (2 * step) == pytest.approx(slope[k], abs=1e-8)
        measured = (np.array(ahead[1]) - np.array(behind[1])) / (2 * step)
        assert measured == pytest.approx(curve[k], abs=1e-8)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Dichotomy(p=0.4), "at least 0.5"),
        (lambda: Dichotomy(p=1.0), "below 1"),
        (lambda: Dichotomy(eta=-1.0), "eta is finite"),
        (lambda: Dichotomy(d=0), "whole number"),
        (lambda: Dichotomy(d=2.5), "whole number"),
        (lambda: Dichotomy(d=3).accuracy(np.ones(3)), r"shape \(4,\)"),
        (lambda: Dichotomy().accuracy(Dichotomy().bayes(), -0.1), "at least 0"),
        (lambda: Dichotomy().bound(1.5), r"\[0, 1\]"),
        (lambda: Dichotomy().frontier(-1), "threshold"),
        (lambda: Dichotomy().svm(0.0), "positive weight decay"),
        (lambda: Dichotomy().svm(eps_train=2.0), "unit norm"),
    ],
)
def test_senseless_questions_are_refused(call, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        call()
