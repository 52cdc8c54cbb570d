"""Core and spurious features: test vectors, closed forms, independent solvers, and conditions that hold exactly."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import wishart
from sklearn import linear_model

import equipoise as eq
from equipoise.theory import CoreSpurious
from equipoise.theory.active_sets import Bounded, Lasso

INF = math.inf
NORMS = (1, 2, INF)
DUAL = {1: INF, 2: 2, INF: 1}
C = math.sqrt(2 / math.pi)
SOLVED = 2e-6
TABLED = 5e-5


def pair(scale=1.0, rho=0.8, noise=0.5):
    return CoreSpurious.paired(rho=rho, scale=scale, noise=noise)


def random_model(seed, core=3, spurious=3, noise=0.5):
    rng = np.random.default_rng(seed)
    m = core + spurious
    covariance = wishart.rvs(m + 3, np.eye(m) / m, random_state=rng)
    theta = np.append(rng.standard_normal(core), np.zeros(spurious))
    return CoreSpurious(covariance, theta, noise, range(core))


# Test vectors


@pytest.mark.parametrize(
    ("q_is_1", "q_is_2", "q_is_inf", "eps"),
    [(0.557889, 0.484647, 0.463342, 0.25), (1.915054, 1.352089, 1.199370, 1.0)],
)
def test_the_risk_in_closed_form(q_is_1, q_is_2, q_is_inf, eps):
    found = [pair().risk([0.6, 0.3], p, eps) for p in (INF, 2, 1)]
    assert found == pytest.approx([q_is_1, q_is_2, q_is_inf], abs=SOLVED)


@pytest.mark.parametrize(
    ("scale", "p", "eps", "w", "risk"),
    [
        (1, 1, 0.10, (0.880244, 0.095805), 0.333866),
        (1, 1, 0.25, (0.668000, 0.265600), 0.461002),
        (1, 1, 0.50, (0.424152, 0.424152), 0.621740),
        (1, 2, 0.10, (0.889848, 0.084069), 0.334312),
        (1, 2, 0.25, (0.742600, 0.178369), 0.470728),
        (1, 2, 0.50, (0.557440, 0.245626), 0.705196),
        (1, INF, 0.10, (0.956940, 0), 0.337647),
        (1, INF, 0.25, (0.882625, 0), 0.493310),
        (1, INF, 0.50, (0.729353, 0), 0.787101),
        (1.2, INF, 0.10, (0.956940, 0), 0.337647),
        (1.2, INF, 0.25, (0.882625, 0), 0.493310),
        (1.2, INF, 0.50, (0.729353, 0), 0.787101),
        (2, 1, 0.10, (0.880244, 0.047903), 0.333866),
        (2, 1, 0.25, (0.668000, 0.132800), 0.461002),
        (2, 1, 0.50, (0.282294, 0.282294), 0.604096),
        (2, INF, 0.10, (0.928220, 0.017945), 0.337113),
        (2, INF, 0.25, (0.803823, 0.049044), 0.488696),
        (2, INF, 0.50, (0.540853, 0.114787), 0.759540),
    ],
)
def test_minimisers(scale, p, eps, w, risk):
    model = pair(scale)
    found = model.minimiser(p, eps)
    assert found == pytest.approx(w, abs=SOLVED)
    assert model.risk(found, p, eps) == pytest.approx(risk, abs=SOLVED)
    assert model.relies_on_spurious(p, eps) == (w[1] > 0)


@pytest.mark.parametrize(("eps", "risk"), [(0.1, 0.339788), (0.25, 0.511971), (0.5, 0.898942)])
def test_standard_training_against_every_adversary(eps, risk):
    for p in NORMS:
        assert pair().risk(pair().minimiser(p, 0), p, eps) == pytest.approx(risk, abs=SOLVED)


@pytest.mark.parametrize(
    ("scale", "radii"), [(1, (2.0178, 1.4356, 1.1210)), (2, (2.9146, 2.1151, 1.7936))]
)
def test_collapse_radii(scale, radii):
    assert [pair(scale).collapse_radius(p) for p in NORMS] == pytest.approx(radii, abs=TABLED)


@pytest.mark.parametrize(
    ("scale", "eps", "p", "errors"),
    [
        (1, 0.25, 1, (0.2897, 0.4308, 0.5719)),
        (1, 0.25, 2, (0.2746, 0.3481, 0.4215)),
        (1, 0.25, INF, (0.2638, 0.2638, 0.2638)),
        (1, 0.50, 1, (0.3707, 0.7615, 1.1523)),
        (1, 0.50, 2, (0.3323, 0.5062, 0.6801)),
        (1, 0.50, INF, (0.3232, 0.3232, 0.3232)),
        (2, 0.25, 1, (0.2897, 0.4308, 0.5719)),
        (2, 0.25, 2, (0.2833, 0.3967, 0.5100)),
        (2, 0.25, INF, (0.2673, 0.2981, 0.3289)),
        (2, 0.50, 1, (0.4355, 1.0839, 1.7322)),
        (2, 0.50, 2, (0.3693, 0.7296, 1.0899)),
        (2, 0.50, INF, (0.3449, 0.5135, 0.6822)),
    ],
)
def test_errors_under_a_changed_correlation(scale, eps, p, errors):
    model = pair(scale)
    w = model.minimiser(p, eps)
    found = [model.mse(w, pair(scale, rho).covariance) for rho in (0.8, 0, -0.8)]
    assert found == pytest.approx(errors, abs=TABLED)
    standard = model.minimiser(p, 0)
    assert [model.mse(standard, pair(scale, rho).covariance) for rho in (0.8, 0, -0.8)] == [
        0.25
    ] * 3


def test_adversarial_training_loses_to_standard_training_once_the_correlation_is_gone():
    w, standard = pair(2).minimiser(2, 0.5), [1, 0]
    assert pair(2).risk(w, 2, 0.5) < pair(2).risk(standard, 2, 0.5)
    for rho, risk in ((0, 1.1104), (-0.8, 1.5427)):
        shifted = pair(2, rho)
        assert shifted.risk(w, 2, 0.5) == pytest.approx(risk, abs=TABLED)
        assert shifted.risk(standard, 2, 0.5) == pytest.approx(0.8989, abs=TABLED)


@pytest.mark.parametrize(
    ("scale", "p", "risks"),
    [
        (1, 1, (0.7871, 0.7661, 0.6217, 0.5261)),
        (1, 2, (0.7871, 0.7727, 0.7052, 0.6432)),
        (2, 2, (0.7871, 0.7683, None, 0.5308)),
        (1, INF, (0.7871, 0.7871, 0.7871, 0.7871)),
        (2, INF, (0.7871, 0.7871, 0.7595, 0.6039)),
    ],
)
def test_a_kept_correlation_helps_against_the_adversary(scale, p, risks):
    models = [pair(scale, rho) for rho in (0, 0.4, 0.8, 0.95)]
    found = [model.risk(model.minimiser(p, 0.5), p, 0.5) for model in models]
    known = [(risk, value) for risk, value in zip(risks, found, strict=True) if risk]
    assert [value for _, value in known] == pytest.approx([risk for risk, _ in known], abs=TABLED)
    for model, risk in zip(models, found, strict=True):
        alone = model.risk(model.core_minimiser(p, 0.5), p, 0.5)
        assert (alone - risk > 1e-9) == model.relies_on_spurious(p, 0.5)
    if p != INF:
        assert all(after < before - 1e-4 for before, after in pairwise(found))


def test_five_pairs():
    for p, core, spurious in ((1, 0.8650, 0.1080), (2, 0.7426, 0.1784), (INF, 0.6852, 0)):
        model = CoreSpurious.paired(5)
        w = model.minimiser(p, 0.25)
        assert np.linalg.norm(w[:5]) == pytest.approx(core, abs=TABLED)
        assert model.reliance(w).norm == pytest.approx(spurious, abs=TABLED)
        assert np.ptp(w[:5]) == pytest.approx(0, abs=1e-12)
    reliances = []
    for scale in (1.2, 1.3, 1.5, 2):
        model = CoreSpurious.paired(5, scale=scale)
        assert model.relies_on_spurious(INF, 0.25) == (scale > 1.25)
        reliances.append(model.reliance(model.minimiser(INF, 0.25)).norm)
    assert reliances[0] == 0 < reliances[1] < reliances[2] < reliances[3]
    only = CoreSpurious.paired(5, scale=2).minimiser(INF, 0.4)
    assert not only[:5].any() and only[5:].all()


def test_core_features_mixed_into_one_add_up():
    """So the l_inf adversary raises reliance on it although scales are equal."""
    cross = np.full(5, 0.8 / math.sqrt(5))
    covariance = np.block([[np.eye(5), cross[:, None]], [cross[None], np.ones((1, 1))]])
    theta = np.append(np.full(5, 1 / math.sqrt(5)), 0)
    model = CoreSpurious(covariance, theta, 0.5, range(5))
    assert cross.sum() == pytest.approx(1.789, abs=TABLED * 10)
    assert model.relies_on_spurious(INF, 0.25)
    assert model.minimiser(INF, 0.25)[5] > 1e-3


@pytest.mark.parametrize(
    ("n", "tolerance", "weights"),
    [
        (200_000, 0.01, {1: (0.6675, 0.2662), 2: (0.7423, 0.1789), INF: (0.8832, 0)}),
        (1000, 0.05, {1: (0.6709, 0.2745), 2: (0.7507, 0.1843), INF: (0.8993, 0)}),
    ],
)
def test_training_on_samples_comes_to_the_same(n, tolerance, weights):
    """The loss of adversarial training on drawn samples, minimised on a fine mesh around its minimum."""
    x, y = pair().sample(n, 0)
    for p, expected in weights.items():

        def loss(w, p=p):
            size = np.linalg.norm(w, DUAL[p])
            return float(((np.abs(y - x @ w) + 0.25 * size) ** 2).mean())

        start = pair().minimiser(p, 0.25)
        options = {"xatol": 1e-4, "fatol": 1e-9}
        found = minimize(
            loss, start + np.array([0.02, 0.01]), method="Nelder-Mead", options=options
        ).x
        assert found == pytest.approx(expected, abs=tolerance)
        assert found == pytest.approx(start, abs=tolerance)


# Statements


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.sampled_from(NORMS), noise=st.floats(0, 2))
def test_standard_training_relies_on_nothing_spurious(seed, p, noise):
    model = random_model(seed, noise=noise)
    assert (model.minimiser(p, 0) == model.theta).all()
    assert not model.relies_on_spurious(p, 0)
    assert model.reliance(model.minimiser(p, 0)).share == 0


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("scale", [0.5, 1, 2])
def test_l1_and_l2_raise_reliance_at_every_scale(p, scale):
    for eps in (0.1, 0.25, 0.5):
        assert pair(scale).minimiser(p, eps)[1] > 1e-3
        assert pair(scale).relies_on_spurious(p, eps)


def test_the_smallest_radius_is_enough():
    for p, relies in ((1, True), (2, True), (INF, False)):
        assert pair().relies_on_spurious(p, 1e-12) is relies
    assert pair(1.2501).relies_on_spurious(INF, 1e-12)


def test_linf_does_from_a_scale_of_one_over_rho_on():
    """Whatever the radius below the collapse."""
    for scale in (0.5, 1, 1.2, 1.3, 2):
        for eps in (0.1, 0.25, 0.5):
            w = pair(scale).minimiser(INF, eps)[1]
            assert w == 0 if scale < 1.25 else w > 1e-3
    for rho, onset in ((0.5, 2.0), (0.8, 1.25), (0.95, 1.05263), (-0.5, 2.0)):
        for eps in (1e-9, 0.05, 0.3):
            for off, relies in ((-1e-5, False), (1e-5, True)):
                model = pair(1 / abs(rho) + off, rho)
                assert model.relies_on_spurious(INF, eps) is relies
                if eps == 0.3:
                    assert bool(model.minimiser(INF, eps)[1]) is relies
        assert onset == pytest.approx(1 / abs(rho), abs=1e-5)
        assert not pair(1 / abs(rho), rho).relies_on_spurious(INF, 0.3)


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("scale", [1, 2])
def test_relative_reliance_never_falls(p, scale):
    """w_S alone may, since all weights shrink; and at scale 2 the last weight that l_inf leaves is spurious."""
    w = np.array([pair(scale).minimiser(p, eps) for eps in np.linspace(0.02, 1.15, 60)])
    w = w[w.any(1)]
    shares = w[:, 1] / np.linalg.norm(w, axis=1)
    assert (np.diff(shares) > -1e-12).all()
    if (p, scale) == (INF, 2):
        last = pair(2).minimiser(INF, pair(2).collapse_radius(INF) - 1e-3)
        assert last[0] == 0 < last[1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.sampled_from(NORMS), eps=st.floats(0, 1.5))
def test_what_a_shift_costs(seed, p, eps):
    """Nothing without reliance, and else the identity, for every shift that leaves core features as they are."""
    model = random_model(seed)
    w, c, s = model.minimiser(p, eps), slice(0, 3), slice(3, 6)
    shifted = model.covariance.copy()
    shifted[c, s] *= -0.5
    shifted[s, c] *= -0.5
    shifted[s, s] += np.eye(3)
    cost = model.mse(w, shifted) - model.mse(w)
    cross, own = (shifted - model.covariance)[c, s], (shifted - model.covariance)[s, s]
    expected = 2 * (w[c] - model.theta[c]) @ cross @ w[s] + w[s] @ own @ w[s]
    assert cost == pytest.approx(expected, abs=1e-10)
    alone = model.core_minimiser(p, eps)
    assert model.mse(alone, shifted) == pytest.approx(model.mse(alone), abs=1e-12)


def test_a_falling_correlation_costs_whoever_relies_on_it():
    for p in NORMS:
        for scale in (1, 2):
            model, eps = pair(scale), 0.25
            w = model.minimiser(p, eps)
            cost = model.mse(w, pair(scale, 0.3).covariance) - model.mse(w)
            assert cost == pytest.approx(2 * (1 - w[0]) * w[1] * scale * 0.5, abs=1e-10)
            assert (cost > 1e-6) == model.relies_on_spurious(p, eps)


@pytest.mark.parametrize("p", NORMS)
def test_the_best_risk_falls_as_the_correlation_grows(p):
    for scale in (0.5, 1, 2):
        models = [pair(scale, rho) for rho in np.linspace(0, 0.98, 30)]
        risks = np.array([model.risk(model.minimiser(p, 0.4), p, 0.4) for model in models])
        relying = np.array([model.relies_on_spurious(p, 0.4) for model in models])
        assert (np.diff(risks)[relying[1:]] < 0).all()
        assert np.diff(risks)[~relying[1:]] == pytest.approx(0, abs=1e-12)
        assert relying[1:].all() == (p != INF)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.sampled_from(NORMS))
def test_collapse_is_sharp(seed, p):
    model = random_model(seed)
    eps = model.collapse_radius(p)
    assert not model.minimiser(p, eps).any()
    assert not model.minimiser(p, 2 * eps).any()
    assert not model.relies_on_spurious(p, eps)
    assert model.minimiser(p, eps * (1 - 1e-6)).any()


def test_without_noise_small_radii_change_nothing():
    model = pair(2, noise=0)
    radii = [model.unchanged_radius(p) for p in NORMS]
    assert radii == pytest.approx([0.478731, 0.478731, 0.713650], abs=SOLVED)
    assert radii[:2] == pytest.approx([C * math.sqrt(1 - 0.8**2)] * 2)
    assert (model.minimiser(2, 0.46) == [1, 0]).all()
    assert model.minimiser(2, 0.49) == pytest.approx([0.96772, 0.01287], abs=1e-5)
    assert not model.relies_on_spurious(2, 0.46) and model.relies_on_spurious(2, 0.49)
    assert [pair().unchanged_radius(p) for p in NORMS] == [0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    p=st.sampled_from(NORMS),
    equal=st.booleans(),
    zero=st.booleans(),
)
def test_the_unchanged_radius_is_sharp(seed, p, equal, zero):
    """Also where several core weights are equally large, or 0, and subgradients must be chosen."""
    model = random_model(seed, noise=0)
    theta = model.theta.copy()
    if equal:
        theta[1] = -theta[0]
    if zero:
        theta[2] = 0
    model = CoreSpurious(model.covariance, theta, 0, range(3))
    eps = model.unchanged_radius(p)
    assert (model.minimiser(p, eps) == theta).all()
    assert not model.relies_on_spurious(p, eps)
    rng = np.random.default_rng(seed)
    at_theta = model.risk(theta, p, eps * (1 - 1e-9))
    for step in rng.standard_normal((200, 6)) * 10.0 ** -rng.uniform(1, 6, (200, 1)):
        assert model.risk(theta + step, p, eps * (1 - 1e-9)) >= at_theta * (1 - 1e-12)
    beyond = min(1.01 * eps, (eps + model.collapse_radius(p)) / 2)
    found = model.minimiser(p, beyond)
    assert model.risk(found, p, beyond) < model.risk(theta, p, beyond)


@pytest.mark.parametrize("p", NORMS)
def test_the_risk_is_what_an_adversary_does_to_samples(p):
    """With the shift that attains it."""
    model, w, eps = pair(), np.array([0.6, 0.3]), 0.25
    x, y = model.sample(1_000_000, seed=1)
    assert np.cov(x.T) == pytest.approx(model.covariance, abs=0.01)
    residuals = y - x @ w
    away = {1: [1, 0], 2: w / np.linalg.norm(w), INF: np.sign(w)}[p]
    shifted = x - eps * np.sign(residuals)[:, None] * np.asarray(away, float)
    found = float(((y - shifted @ w) ** 2).mean())
    assert found == pytest.approx(model.risk(w, p, eps), rel=0.003)
    assert float((residuals**2).mean()) == pytest.approx(model.mse(w), rel=0.003)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 100_000), eps=st.floats(0.01, 0.4), zero=st.booleans())
def test_the_condition_agrees_with_the_solver(seed, eps, zero):
    model = random_model(seed)
    theta = model.theta * ([1, 1, 0, 1, 1, 1] if zero else 1)
    model = CoreSpurious(model.covariance, theta, 0.5, range(3))
    for p in NORMS:
        w = model.minimiser(p, eps)
        assert model.relies_on_spurious(p, eps) == bool(np.abs(w[3:]).max() > 1e-9)


def test_spurious_features_that_correlate_with_nothing_are_left_alone():
    covariance = np.diag([1.0, 2.0, 3.0, 4.0])
    covariance[0, 1] = covariance[1, 0] = 0.9
    covariance[2, 3] = covariance[3, 2] = 1.5
    model = CoreSpurious(covariance, [1, -0.5, 0, 0], 0.3, [0, 1])
    # Spurious, and uncorrelated with what l2 wants: equal core features against their difference.
    cancelling = np.array([[1, 0, 0.5], [0, 1, -0.5], [0.5, -0.5, 1]])
    balanced = CoreSpurious(cancelling, [1, 1, 0], 0.3, [0, 1])
    for p in NORMS:
        assert not model.relies_on_spurious(p, 0.2)
        assert model.minimiser(p, 0.2)[2:] == pytest.approx(0, abs=1e-12)
        for eps in (1e-9, 0.2):
            assert not balanced.relies_on_spurious(p, eps)
        assert balanced.minimiser(p, 0.2)[2] == pytest.approx(0, abs=1e-10)


# The solver


def gap(model, w, p, eps):
    """How far w is from the first-order condition, with the subgradient that it implies."""
    s = math.sqrt(model.mse(w))
    size = np.linalg.norm(w, DUAL[p])
    mu = eps * s * (C * s + eps * size) / (s + eps * C * size)
    g = model.covariance @ (model.theta - w) / mu
    return max(np.linalg.norm(g, p) - 1, (size - g @ w) / size)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    p=st.sampled_from(NORMS),
    share=st.floats(0.01, 0.99),
    noise=st.sampled_from([0.0, 0.1, 1.0]),
    m=st.sampled_from([2, 5, 9]),
)
def test_the_minimum_is_one(seed, p, share, noise, m):
    """First-order condition, and nothing near or far is better."""
    model = random_model(seed, core=m // 2, spurious=m - m // 2, noise=noise)
    low, high = model.unchanged_radius(p), model.collapse_radius(p)
    eps = low + share * (high - low)
    w = model.minimiser(p, eps)
    assert gap(model, w, p, eps) < 1e-6
    best, rng = model.risk(w, p, eps), np.random.default_rng(seed)
    for step in rng.standard_normal((100, m)) * 10.0 ** -rng.uniform(0, 5, (100, 1)):
        assert model.risk(w + step, p, eps) >= best * (1 - 1e-13)
    assert best <= model.risk(model.core_minimiser(p, eps), p, eps) * (1 + 1e-13)


@pytest.mark.parametrize("p", NORMS)
def test_a_search_that_knows_nothing_finds_the_same(p):
    for seed in range(3):
        model = random_model(seed, core=2, spurious=1)
        w, options = model.minimiser(p, 0.3), {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 20_000}
        found, start = np.inf, w + np.array([0.3, -0.2, 0.1])
        for _ in range(4):  # Simplices that have shrunk onto a kink begin anew.
            search = minimize(
                lambda w, model=model: model.risk(w, p, 0.3),
                start,
                method="Nelder-Mead",
                options=options,
            )
            found, start = search.fun, search.x
        assert model.risk(w, p, 0.3) <= found + 1e-14
        assert found == pytest.approx(model.risk(w, p, 0.3), abs=1e-8)
        assert start == pytest.approx(w, abs=1e-4)


@pytest.mark.parametrize("p", NORMS)
def test_another_smooth_formulation_finds_the_same(p):
    """Six features as a smooth problem: the norm is a variable, bounded from below by linear or round constraints."""
    model, eps = random_model(3), 0.3
    theta, covariance = model.theta, model.covariance

    def objective(z):
        u, v, t = z[:6], z[6:12], z[12]
        away = u - v - theta
        square = float(away @ covariance @ away) + model.noise**2
        s = math.sqrt(square)
        slope = (2 + 2 * eps * C * t / s) * (covariance @ away)
        value = square + 2 * eps * C * s * t + (eps * t) ** 2
        return value, np.concatenate([slope, -slope, [2 * eps * C * s + 2 * eps**2 * t]])

    norms = {
        1: lambda z: z[12] - z[:6] - z[6:12],
        2: lambda z: z[12] ** 2 - ((z[:6] - z[6:12]) ** 2).sum(),
        INF: lambda z: z[12] - z[:12].sum(),
    }
    found = minimize(
        objective,
        np.concatenate([np.full(12, 0.1), [2.0]]),
        jac=True,
        method="SLSQP",
        bounds=[(0, None)] * 13,
        constraints={"type": "ineq", "fun": norms[p]},
        options={"ftol": 1e-15, "maxiter": 2000},
    )
    w = model.minimiser(p, eps)
    assert found.fun == pytest.approx(model.risk(w, p, eps), abs=1e-8)
    assert found.x[:6] - found.x[6:12] == pytest.approx(w, abs=1e-4)


@pytest.mark.parametrize("eps", [0.05, 0.3])
def test_adversarial_training_is_penalised_least_squares(eps):
    """l_inf training is a lasso and l2 training a ridge, at the penalty that their own solution asks for."""
    model = random_model(7)
    root = np.linalg.cholesky(model.covariance).T
    x, y = root * math.sqrt(6), root @ model.theta * math.sqrt(6)
    for p in (2, INF):
        w = model.minimiser(p, eps)
        s, size = math.sqrt(model.mse(w)), np.linalg.norm(w, DUAL[p])
        mu = eps * s * (C * s + eps * size) / (s + eps * C * size)
        if p == 2:
            fitted = linear_model.Ridge(
                alpha=6 * mu / size, fit_intercept=False, solver="cholesky"
            )
        else:
            fitted = linear_model.Lasso(alpha=mu, fit_intercept=False, tol=1e-14, max_iter=100_000)
        assert fitted.fit(x, y).coef_ == pytest.approx(w, abs=1e-8)


def test_closed_forms_of_one_pair():
    rho, scale, eps = 0.8, 2.0, 0.3
    model = pair(scale)
    w = model.minimiser(2, eps)
    s, size = math.sqrt(model.mse(w)), np.linalg.norm(w)
    lam = eps * s * (C * s + eps * size) / (s + eps * C * size) / size
    det = scale**2 * (1 - rho**2) + lam * (1 + scale**2) + lam**2
    assert w[1] == pytest.approx(lam * rho * scale / det, abs=1e-10)
    assert w[1] / w[0] == pytest.approx(
        lam * rho * scale / (scale**2 * (1 - rho**2) + lam), abs=1e-10
    )
    w = model.minimiser(1, eps)
    assert w[1] == pytest.approx(rho / scale * (1 - w[0]), abs=1e-10)
    assert w[0] == pytest.approx(pair(1.5).minimiser(1, eps)[0], abs=1e-10)
    assert pair(1.1, 0.3).minimiser(INF, eps) == pytest.approx(pair(0.5).minimiser(INF, eps))


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("eps", [1e-3, 0.05, 0.3])
def test_fifty_features(p, eps):
    """Dense, with scales from 0.1 to 10."""
    rng = np.random.default_rng(5)
    scale = 10 ** rng.uniform(-1, 1, 50)
    covariance = wishart.rvs(60, np.eye(50) / 60, random_state=rng) * np.outer(scale, scale)
    theta = np.append(rng.standard_normal(20), np.zeros(30))
    model = CoreSpurious(covariance, theta, 0.5, range(20))
    w = model.minimiser(p, eps)
    assert gap(model, w, p, eps) < 1e-7
    assert model.reliance(w).norm > 0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    p=st.sampled_from(NORMS),
    share=st.sampled_from([1e-6, 0.1, 0.7]),
    noise=st.sampled_from([1e-3, 0.5]),
)
def test_features_that_are_alike_or_in_other_units(seed, p, share, noise):
    """Correlations with eigenvalues down to 1e-8, scales from 1e-3 to 1e3, more of both than any data have."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((12, int(rng.integers(1, 12))))
    scale = 10 ** rng.uniform(-3, 3, 12)
    alike = factors @ factors.T + 10 ** rng.uniform(-7, -2) * np.eye(12)
    theta = np.append(rng.standard_normal(6), np.zeros(6))
    model = CoreSpurious(alike * np.outer(scale, scale), theta, noise, range(6))
    low, high = model.unchanged_radius(p), model.collapse_radius(p)
    eps = low + share * (high - low)
    w = model.minimiser(p, eps)
    best = model.risk(w, p, eps)
    others = [theta, model.core_minimiser(p, eps), model.minimiser(p, eps * 1.01)]
    others += list(w * (1 + 1e-4 * rng.standard_normal((30, 12))))
    assert min(model.risk(other, p, eps) for other in others) >= best * (1 - 1e-9)


@pytest.mark.parametrize("p", NORMS)
def test_units_and_order_of_features_change_nothing_they_should_not(p):
    model, factor = random_model(2), 50.0
    w = model.minimiser(p, 0.2)
    larger = CoreSpurious(model.covariance * factor**2, model.theta / factor, 0.5, range(3))
    assert larger.minimiser(p, 0.2 * factor) * factor == pytest.approx(w, abs=1e-9)
    order = np.array([4, 1, 5, 0, 3, 2])
    other = CoreSpurious(
        model.covariance[np.ix_(order, order)], model.theta[order], 0.5, [1, 3, 5]
    )
    assert other.minimiser(p, 0.2) == pytest.approx(w[order], abs=1e-10)
    flip = np.array([1, -1, 1, 1, -1, -1])
    flipped = CoreSpurious(
        model.covariance * np.outer(flip, flip), model.theta * flip, 0.5, range(3)
    )
    assert flipped.minimiser(p, 0.2) == pytest.approx(w * flip, abs=1e-10)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 100_000), m=st.integers(1, 12))
def test_active_sets_meet_the_conditions_of_its_problems(seed, m):
    rng = np.random.default_rng(seed)
    matrix = np.atleast_2d(wishart.rvs(m + 1, np.eye(m), random_state=rng))
    pull, start = rng.standard_normal(m), rng.integers(-1, 2, m)
    d, slopes, states = Lasso(matrix, pull, 0.3).minimise(pull, start)
    assert (np.sign(pull - d) * states >= 0).all() and (np.abs(slopes) <= 0.3 + 1e-9).all()
    assert (d[states == 0] == pull[states == 0]).all()
    assert slopes == pytest.approx(matrix @ d, abs=1e-9)
    assert slopes[states != 0] == pytest.approx(0.3 * states[states != 0], abs=1e-9)
    low, high = -rng.uniform(0, 0.3, m), rng.uniform(0, 0.3, m)
    x, slopes, states = Bounded(matrix, pull, low, high).minimise(0 * pull, start)
    assert ((low <= x) & (x <= high)).all()
    assert slopes == pytest.approx(matrix @ x - pull, abs=1e-9)
    assert slopes[states == 0] == pytest.approx(0, abs=1e-9)
    assert (slopes * states <= 1e-9).all()


# The class


def test_reliance():
    model = CoreSpurious(np.diag([1.0, 4.0, 9.0]), [0, 1, 0], 0.5, [1])
    assert model.spurious == (0, 2)
    found = model.reliance([3, 12, 4])
    assert (found.norm, found.share, found.std) == pytest.approx((5, 5 / 13, math.sqrt(153)))
    none = model.reliance(np.zeros(3))
    assert (none.norm, none.share, none.std) == (0, 0, 0)


def test_samples_have_names():
    x, y = pair().sample(5, seed=3)
    again, _ = pair().sample(5, seed=3)
    assert x.shape == (5, 2) and y.shape == (5,) and (x == again).all()
    assert not (pair().sample(5, seed=4)[0] == x).any()


def test_the_model_cannot_be_changed_behind_its_back():
    covariance = np.eye(2)
    model = CoreSpurious(covariance, [1, 0], 0.5)
    covariance[0, 0] = 9
    assert model.covariance[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        model.theta[0] = 2
    model.minimiser(2, 0.0)[0] = 5
    assert model.theta[0] == 1


TWO = [[1, 0.5], [0.5, 1]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.ones((2, 3)), [1, 0], 0.5), "shape (m, m), not (2, 3)"),
        (([[1, 0.5], [0.4, 1]], [1, 0], 0.5), "0.5 in row 0, column 1"),
        (([[1, 2], [2, 1]], [1, 0], 0.5), "negative eigenvalues, not one with -1"),
        (([[1, 1], [1, 1]], [1, 0], 0.5), "positive definite"),
        (([[1, 0], [0, 0]], [1, 0], 0.5), "does not vary"),
        (([[1, math.nan], [math.nan, 1]], [1, 0], 0.5), "finite covariance"),
        ((TWO, [1, 0, 0], 0.5), "shape (2,)"),
        ((TWO, [math.inf, 0], 0.5), "finite theta"),
        ((TWO, [1, 0.1], 0.5), "not 0.1 on feature 1"),
        ((TWO, [0, 0], 0.5), "nothing to learn"),
        ((TWO, [1, 0], -1), "at least 0, not -1"),
        ((TWO, [1, 0], math.nan), "at least 0, not nan"),
        ((TWO, [1, 0], 0.5, []), "0 of 2 are called core"),
        ((TWO, [1, 0], 0.5, [0, 1]), "2 of 2 are called core"),
        ((TWO, [1, 0], 0.5, [2]), "0 to 1, not the core feature 2"),
        ((TWO, [0, 1], 0.5, [-1]), "not the core feature -1"),
        ((TWO, [1, 0], 0.5, [0.0]), "not the core feature 0.0"),
    ],
)
def test_what_is_no_model_is_refused(arguments, words):
    with pytest.raises(eq.EquipoiseError) as refused:
        CoreSpurious(*arguments)
    assert "CoreSpurious" in str(refused.value) and words in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rho": 1}, "above -1 and below 1"),
        ({"rho": math.nan}, "above -1 and below 1"),
        ({"scale": 0}, "scale is finite and above 0"),
        ({"pairs": 0}, "pairs is a whole number"),
        ({"pairs": 1.5}, "pairs is a whole number"),
        ({"noise": -1}, "noise of at least 0"),
    ],
)
def test_what_is_no_pair_is_refused(options, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        CoreSpurious.paired(**options)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda m: m.minimiser(3, 0.1), "minimiser knows the norms 1, 2 and math.inf, not 3"),
        (lambda m: m.relies_on_spurious("inf", 0.1), "not 'inf'"),
        (lambda m: m.collapse_radius(0), "collapse_radius knows"),
        (lambda m: m.minimiser(2, -0.1), "A radius is finite and at least 0, not -0.1"),
        (lambda m: m.minimiser(2, math.nan), "not nan"),
        (lambda m: m.core_minimiser(1, math.inf), "not inf"),
        (lambda m: m.relies_on_spurious(1, -1), "not -1"),
        (lambda m: m.risk([1, 0], 2, -1), "not -1"),
        (lambda m: m.risk([1, 0, 0], 2, 0.1), "risk needs finite weights with shape (2,)"),
        (lambda m: m.mse([1, math.nan]), "mse needs finite weights"),
        (lambda m: m.reliance(1.0), "reliance needs finite weights"),
        (lambda m: m.mse([1, 0], np.eye(3)), "2 features, not one with shape (3, 3)"),
        (lambda m: m.mse([1, 0], [[1, 2], [2, 1]]), "mse needs a covariance without negative"),
        (lambda m: m.sample(3, -1), "seed of at least 0"),
    ],
)
def test_questions_without_an_answer_are_refused(ask, words):
    with pytest.raises(eq.EquipoiseError) as refused:
        ask(pair())
    assert words in str(refused.value)


def test_a_correlation_may_become_perfect_at_test_time():
    assert pair().mse([0.5, 0.5], [[1, -1], [-1, 1]]) == pytest.approx(1.25)
