"""Norms against their definitions, scipy's optimiser and the mathematics of uniform points in balls."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import equipoise as eq
from equipoise.norms import Norm, format_radius, parse_threat
from equipoise.streams import stream

KINDS = [eq.L1, eq.L2, eq.Linf]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
values = st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=12)
radii = st.floats(0.015625, 4, width=32)


def column(numbers):
    return torch.tensor(numbers, dtype=torch.float32).reshape(1, -1, 1, 1)


@kinds
@given(numbers=values, radius=radii)
@example(numbers=[0.5, 0.5, 0.5], radius=0.015625)
@example(numbers=[7e8, 1.0], radius=5.8)
@example(numbers=[1.0, 2.220446049250313e-16], radius=1.0)
@settings(deadline=None, max_examples=60)
def test_projection_is_inside_and_idempotent_and_leaves_inner_points_alone(kind, numbers, radius):
    threat, delta = kind(radius), column(numbers)
    once = threat.project(delta)
    assert threat.norm(once).item() <= radius * (1 + 1e-6)
    assert torch.allclose(threat.project(once), once, atol=1e-6)
    if threat.norm(delta).item() <= radius:
        assert torch.equal(once, delta)


@pytest.mark.parametrize("seed", range(4))
@kinds
def test_projection_is_the_nearest_point(kind, seed):
    """Against scipy: minimise ||p - delta||_2 with p = u - v, u, v >= 0, so that every ball is a smooth region."""
    rng = np.random.default_rng(seed)
    delta, radius, n = rng.normal(size=5) * 2, 1.3, 5
    bounds = [(0, radius if kind is eq.Linf else None)] * (2 * n)
    inside = {
        eq.L1: lambda z: radius - z.sum(),
        eq.L2: lambda z: radius**2 - ((z[:n] - z[n:]) ** 2).sum(),
        eq.Linf: lambda z: radius - np.abs(z[:n] - z[n:]),
    }[kind]
    found = minimize(
        lambda z: ((z[:n] - z[n:] - delta) ** 2).sum(),
        np.zeros(2 * n) + 0.01,
        bounds=bounds,
        constraints=[{"type": "ineq", "fun": inside}],
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    expected = found.x[:n] - found.x[n:]
    got = kind(radius).project(torch.tensor(delta).reshape(1, n, 1, 1)).flatten().numpy()
    assert ((got - delta) ** 2).sum() <= found.fun + 1e-6
    np.testing.assert_allclose(got, expected, atol=2e-4)


@kinds
def test_projection_takes_a_radius_per_image(kind):
    delta = torch.randn(3, 2, 2, 2, generator=stream("delta"))
    bounds = torch.tensor([0.1, 0.5, 100.0])
    together = kind(1.0).project(delta, bounds)
    for row, bound in enumerate(bounds.tolist()):
        alone = kind(bound).project(delta[row : row + 1])
        assert torch.allclose(together[row], alone[0], atol=1e-6)


@kinds
@given(numbers=values)
@settings(deadline=None, max_examples=60)
def test_steepest_step_attains_the_dual_norm(kind, numbers):
    """max over ||v||_p <= 1 of <g, v> is ||g||_q, and `steepest` attains it."""
    threat, gradient = kind(1.0), column(numbers)
    step = threat.steepest(gradient)
    assert threat.norm(step).item() <= 1 + 1e-5
    gain = (gradient * step).sum().item()
    assert gain == pytest.approx(threat.dual(gradient).item(), rel=1e-4, abs=1e-30)


@kinds
@given(numbers=values, others=values)
@settings(deadline=None, max_examples=60)
def test_hoelder(kind, numbers, others):
    n = min(len(numbers), len(others))
    a, b = column(numbers[:n]), column(others[:n])
    threat = kind(1.0)
    assert (a * b).sum().abs() <= threat.norm(a) * threat.dual(b) * (1 + 1e-5) + 1e-6


def test_names_and_duals():
    assert [kind(1).norm for kind in KINDS] == ["l1", "l2", "linf"]
    assert [kind(1).dual for kind in KINDS] == ["linf", "l2", "l1"]
    assert [norm.order for norm in Norm] == [1, 2, math.inf]


def test_distance_is_per_image():
    a = torch.zeros(2, 1, 1, 2)
    b = torch.tensor([[3.0, 4.0], [0.0, 1.0]]).reshape(2, 1, 1, 2)
    assert eq.L1(1).distance(a, b).tolist() == [7, 1]
    assert eq.L2(1).distance(a, b).tolist() == [5, 1]
    assert eq.Linf(1).distance(a, b).tolist() == [4, 1]


@kinds
def test_random_points_are_uniform_in_the_ball(kind):
    """In n dimensions the share of the radius, raised to the n-th power, is uniform on [0, 1] for a uniform point; and
    signs are fair."""
    count, n = 4000, 6
    like = torch.zeros(count, n, 1, 1)
    points = kind(2.0).random(like, [stream("uniform", i) for i in range(count)])
    share = (kind(2.0).norm(points) / 2).double().numpy() ** n
    assert share.max() <= 1 + 1e-6
    grid = np.linspace(0.05, 0.95, 19)
    # Kolmogorov's bound at 1 in 10,000.
    assert np.abs([(share <= g).mean() - g for g in grid]).max() < 2.23 / math.sqrt(count)
    assert abs((points > 0).double().mean().item() - 0.5) < 4 * 0.5 / math.sqrt(count * n)


@kinds
def test_random_points_do_not_depend_on_the_batch(kind):
    """2,000 points, of which a power over the batch would round a few otherwise than alone."""
    like = torch.zeros(2000, 3, 2, 1)
    whole = kind(0.5).random(like, [stream("batch", i) for i in range(2000)])
    alone = [kind(0.5).random(like[:1], [stream("batch", i)]) for i in range(2000)]
    assert torch.equal(whole, torch.cat(alone))


def test_random_linf_points_are_uniform_in_each_coordinate():
    points = eq.Linf(1.0).random(
        torch.zeros(3000, 4, 1, 1), [stream("linf", i) for i in range(3000)]
    )
    assert points.abs().mean().item() == pytest.approx(0.5, abs=0.015)


@kinds
def test_ascent_moves_by_its_size_and_gains(kind):
    generator = stream("ascent")
    images = 0.2 + 0.6 * torch.rand(3, 2, 3, 3, generator=generator)
    gradient = torch.randn(3, 2, 3, 3, generator=generator)
    moved = kind(1.0).ascend(images, gradient, 0.05)
    assert torch.allclose(kind(1.0).distance(images, moved), torch.full((3,), 0.05), atol=1e-5)
    gain = (gradient * (moved - images)).flatten(1).sum(1)
    assert torch.allclose(gain, 0.05 * kind(1.0).dual(gradient), rtol=1e-3)


def test_l1_ascent_fills_the_box_in_order_of_gradient():
    """With 0.3 of budget: the steepest pixel has room 0.1 to its edge, the next takes the other 0.2."""
    images = torch.tensor([0.9, 0.5, 0.5]).reshape(1, 3, 1, 1)
    gradient = torch.tensor([3.0, -2.0, 1.0]).reshape(1, 3, 1, 1)
    moved = eq.L1(1.0).ascend(images, gradient, 0.3)
    assert moved.flatten().tolist() == pytest.approx([1.0, 0.3, 0.5])


@kinds
def test_zero_gradient_moves_nothing(kind):
    images = torch.full((1, 1, 2, 2), 0.5)
    assert torch.equal(kind(1.0).ascend(images, torch.zeros_like(images), 0.3), images)


def test_tiny_gradients_keep_their_direction():
    gradient = torch.tensor([3e-30, 4e-30]).reshape(1, 2, 1, 1)
    assert eq.L2(1).steepest(gradient).flatten().tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("linf:8/255", eq.Linf(8 / 255)),
        ("l2:0.5", eq.L2(0.5)),
        ("L1:12", eq.L1(12.0)),
        ("l2:0", eq.L2(0)),
    ],
)
def test_parse_threat(text, threat):
    assert parse_threat(text) == threat
    assert parse_threat(str(threat)).radius == pytest.approx(threat.radius)


@pytest.mark.parametrize(
    ("radius", "text"),
    [
        (8 / 255, "8/255"),
        (0.5, "0.5"),
        (0.2, "0.2"),
        (12.0, "12"),
        (1 / 3, "85/255"),
        (0.1234567, "0.1234567"),
    ],
)
def test_format_radius(radius, text):
    assert format_radius(radius) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("l3:1", "Unknown norm 'l3'"),
        ("linff:1", "Did you mean 'linf'?"),
        ("l2:", "write a number"),
        ("l2:1/0", "write a number"),
        ("l2:-1", "at least 0"),
        ("l2:__import__('os')", "write a number"),
    ],
)
def test_wrong_threats_are_refused(text, words):
    with pytest.raises(eq.EquipoiseError, match=words.replace("?", r"\?")):
        parse_threat(text)


@pytest.mark.parametrize("radius", [-0.1, math.inf, math.nan])
def test_wrong_radii_are_refused(radius):
    with pytest.raises(eq.EquipoiseError, match="finite and at least 0"):
        eq.L2(radius)


@pytest.mark.parametrize("seed", range(6))
@kinds
def test_nearest_allowed_image(kind, seed):
    """Against Dykstra's algorithm, which projects on the ball and on the box in turn."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 1, 3, 3, generator=generator, dtype=torch.float64)
    images[0] = images[0].round()
    delta = torch.randn(4, 1, 3, 3, generator=generator, dtype=torch.float64)
    threat = kind({eq.L1: 2.0, eq.L2: 0.9, eq.Linf: 0.3}[kind])
    x, p, q = images + delta, torch.zeros_like(images), torch.zeros_like(images)
    for _ in range(3000):
        y = images + threat.project(x + p - images)
        p = x + p - y
        x = (y + q).clamp(0, 1)
        q = y + q - x
    found = threat.nearest(images, delta)
    assert torch.allclose(found, x, atol=1e-5)
    assert (threat.distance(images, found) <= threat.radius + 1e-9).all()


@kinds
def test_nearest_allowed_image_to_an_allowed_one_is_itself(kind):
    images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    delta = 0.01 * torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    moved = (images + delta).clamp(0, 1)
    radius = kind(1.0).distance(images, moved) * 1.001
    found = kind(1.0).nearest(images, moved - images, radius)
    assert torch.allclose(found, moved, atol=1e-6)


@kinds
def test_nearest_allowed_image_does_not_depend_on_the_batch(kind):
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(40, 1, 4, 4, generator=generator)
    images[::2] = 0.4 + 0.2 * images[::2]  # far from the edges of [0, 1]
    delta = 0.2 * torch.randn(40, 1, 4, 4, generator=generator)
    threat = kind({eq.L1: 1.0, eq.L2: 0.3, eq.Linf: 0.1}[kind])
    whole = threat.nearest(images, delta)
    for row in range(40):
        single = threat.nearest(images[row, None], delta[row, None])
        assert torch.equal(single[0], whole[row])
