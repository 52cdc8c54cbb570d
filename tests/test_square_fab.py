"""What is Square's and FAB's own: the way to a hyperplane against solvers, the edges of the box, queries, windows."""

import numpy as np
import pytest
import torch
from conftest import Linear, grey_images, linear
from scipy.optimize import linprog, minimize
from test_attacks import exact_radius, kinds, small_net, some_images

import equipoise as eq
from equipoise.attacks import FAB, Square
from equipoise.attacks.hyperplane import to_hyperplane
from equipoise.attacks.losses import margin
from equipoise.norms import Norm

threats = pytest.mark.parametrize("threat", [eq.L1(6.0), eq.L2(0.9), eq.Linf(0.1)], ids=str)
norms = pytest.mark.parametrize("norm", list(Norm))


def smallest(norm, x, w, gap):
    """min ||d||_p subject to <w, d> = gap and x + d in [0, 1], by scipy; inf where there is no such d."""
    x, w = x.double().numpy(), w.double().numpy()
    size, bounds = len(x), list(zip(-x, 1 - x, strict=True))
    if norm is Norm.L2:
        result = minimize(
            lambda d: d @ d,
            np.zeros(size),
            jac=lambda d: 2 * d,
            bounds=bounds,
            constraints={"type": "eq", "fun": lambda d: w @ d - gap, "jac": lambda _: w},
            method="SLSQP",
            options={"ftol": 1e-12},
        )
        return float(np.sqrt(result.fun)) if result.success else float("inf")
    # d, and bounds on |d|: one for all coordinates, or one for each.
    caps = np.ones((size, 1)) if norm is Norm.LINF else np.eye(size)
    result = linprog(
        np.r_[np.zeros(size), np.ones(caps.shape[1])],
        A_ub=np.block([[np.eye(size), -caps], [-np.eye(size), -caps]]),
        b_ub=np.zeros(2 * size),
        A_eq=np.r_[w, np.zeros(caps.shape[1])][None],
        b_eq=[gap],
        bounds=bounds + [(0, None)] * caps.shape[1],
    )
    return result.fun if result.success else float("inf")


def hyperplanes(count, size, seed=0):
    """Points, some on the edge of the box, normals, some entries zero, and the farthest that <w, d> can reach."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(count, size, generator=generator) * 1.4 - 0.2).clamp(0, 1)
    w = torch.randn(count, size, generator=generator)
    w[torch.rand(count, size, generator=generator) < 0.15] = 0
    share = torch.rand(count, generator=generator) * 2 - 1
    up, down = torch.where(w > 0, w * (1 - x), -w * x), torch.where(w > 0, -w * x, w * (1 - x))
    return x, w, share, torch.where(share > 0, up.sum(1), -down.sum(1))


@norms
def test_the_way_to_a_hyperplane_is_the_shortest_in_the_box(norm):
    x, w, share, reach = hyperplanes(60, 7)
    gap = share * reach
    d = to_hyperplane(norm, x, w, gap)
    assert (x + d).min() >= -1e-6
    assert (x + d).max() <= 1 + 1e-6
    assert torch.allclose((w * d).sum(1), gap, atol=1e-5)
    exact = [smallest(norm, *one) for one in zip(x, w, gap.tolist(), strict=True)]
    assert torch.allclose(norm(d), torch.tensor(exact, dtype=d.dtype), rtol=1e-4, atol=1e-5)


@norms
def test_beyond_the_box_the_way_ends_at_its_edge(norm):
    x, w, share, reach = hyperplanes(60, 7)
    d = to_hyperplane(norm, x, w, 2 * share.sign() * reach)
    assert torch.allclose((w * d).sum(1), share.sign() * reach, atol=1e-5)


@norms
def test_hyperplanes_of_any_scale_and_none(norm):
    x, w, share, reach = hyperplanes(20, 7)
    whole = to_hyperplane(norm, x, w, share * reach)
    for scale in (2.0**-120, 2.0**60):
        assert torch.equal(whole, to_hyperplane(norm, x, scale * w, scale * share * reach))
    assert not to_hyperplane(norm, x, w, 0 * share).any()
    assert not to_hyperplane(norm, x, 0 * w, share).any()


@norms
def test_points_share_their_hyperplanes(norm):
    x, w, share, reach = hyperplanes(20, 7)
    both = to_hyperplane(norm, torch.stack([x, 1 - x]), w, torch.stack([share * reach, share]))
    assert torch.equal(both[0], to_hyperplane(norm, x, w, share * reach))
    assert torch.equal(both[1], to_hyperplane(norm, 1 - x, w, share))


@kinds
def test_fab_is_exact_at_the_edges_of_the_box(kind):
    classifier, images = linear(3, (1, 4, 4)), some_images(30)[:, :1, :4, :4]
    images = (1.6 * images - 0.3).clamp(0, 1)
    labels, weight = classifier(images).argmax(1), classifier.net.weight.detach()
    exact = []
    for x, z, y in zip(images, classifier(images).detach(), labels.tolist(), strict=True):
        others = [j for j in range(3) if j != y]
        gaps = [(j, weight[j] - weight[y], (z[y] - z[j]).item()) for j in others]
        exact.append(min(smallest(kind.norm, x.flatten(), w, gap) for _, w, gap in gaps))
    exact = torch.tensor(exact, dtype=torch.float32)
    assert (exact > 1.02 * exact_radius(classifier, images, labels, kind(1.0))).sum() > 3
    result = FAB(steps=40)(classifier, images, labels, kind(20.0))
    assert (result.distance >= exact * (1 - 1e-4)).all()
    assert torch.allclose(result.distance, exact, rtol=1e-2)


def test_more_restarts_and_targets_never_lengthen_the_way():
    classifier, images = small_net(classes=10), some_images(24)
    labels = classifier(images).argmax(1)
    few = FAB(steps=6, targets=2)(classifier, images, labels, eq.L2(5.0)).distance
    restarts = FAB(steps=6, targets=2, restarts=3)(classifier, images, labels, eq.L2(5.0)).distance
    targets = FAB(steps=6, targets=5)(classifier, images, labels, eq.L2(5.0)).distance
    assert (restarts <= few).all()
    assert (targets <= few).all()
    assert (restarts < few).any()


def test_fab_does_not_depend_on_the_scale_of_the_logits():
    net, images = linear(4, (1, 5, 5)).net, grey_images(20, (1, 5, 5))
    scaled = [eq.wrap(Linear(net.weight * s, net.bias * s)) for s in (1.0, 2.0**-30, 2.0**30)]
    labels = scaled[0](images).argmax(1)
    runs = [FAB(steps=8)(c, images, labels, eq.Linf(0.5)).distance for c in scaled]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])


@kinds
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_square_breaks_what_is_clearly_within_reach(kind, classes):
    classifier, images = linear(classes, (1, 8, 8)), grey_images(30, (1, 8, 8))
    labels = classifier(images).argmax(1)
    exact = exact_radius(classifier, images, labels, kind(1.0))
    radius = 2 * exact.median().item()
    result = Square(queries=400)(classifier, images, labels, kind(radius))
    assert result.success[exact < 0.4 * radius].all()
    assert (exact[result.success] < radius * (1 + 1e-5)).all()
    broken = result.success & (result.distance > 0)
    assert result.forwards[broken].double().mean() < 200


@threats
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (2, 28, 11), (5, 17, 8)], ids=str)
def test_square_keeps_its_best_attempt_inside_ball_and_box(threat, shape):
    classifier, images = linear(2, shape), grey_images(6, shape, spread=1.0)
    labels, classifier = classifier(images).argmax(1), classifier.eval()
    threat = type(threat)(threat.radius / 40)  # too little to break much
    margins = []
    for queries in (1, 20, 60):
        result = Square(queries=queries)(classifier, images, labels, threat)
        assert result.images.min() >= 0
        assert result.images.max() <= 1
        distance = threat.distance(images.double(), result.images.double())
        assert (distance <= threat.radius + 1e-5).all()  # hundreds of pixels are rounded
        margins.append(margin(classifier(result.images), labels).detach())
    left = ~result.success
    assert left.sum() >= 2
    assert (margins[1] >= margins[0])[left].all()
    assert (margins[2] > margins[0])[left].all()


def test_square_windows_shrink_as_published():
    image = torch.zeros(1, 3, 32, 32)
    for queries in (10_000, 5000):
        ks = [round(k * queries / 10_000) for k in (0, 10, 12, 202, 2002, 8002)]
        sides = [Square(queries=queries)._side(k, eq.Linf(0.1), image) for k in ks]
        assert sides == [29, 29, 20, 10, 4, 1]
        sides = [Square(queries=queries)._side(k, eq.L2(0.1), image) for k in ks]
        assert sides == [29, 29, 21, 11, 5, 3]
    assert Square(p=1.0)._side(0, eq.L1(1.0), torch.zeros(1, 1, 8, 12)) == 8


def test_square_draws_anew_after_a_block_of_queries():
    """Images that leave before a block of draws ends change nothing for those that stay."""
    classifier, images = linear(4, (1, 8, 8)), grey_images(16, (1, 8, 8))
    labels, attack = classifier(images).argmax(1), Square(queries=600)
    threat = eq.Linf(0.9 * exact_radius(classifier, images, labels, eq.Linf(1.0)).median().item())
    whole = attack(classifier, images, labels, threat)
    assert not whole.success.all()
    for rows in torch.arange(16).split(5):
        part = attack(classifier, images[rows], labels[rows], threat)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.passes, whole.passes[rows])
