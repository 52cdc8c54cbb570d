"""WorstCase: sound on linear classifiers, never above its members, the same in any batch, honest about who did it."""

import pytest
import torch
import zoo
from conftest import grey_images, linear
from test_attacks import exact_radius, small_net, some_images
from torch import nn

import equipoise as eq
from equipoise.attacks import APGD, MinimumNorm, Transfer, WorstCase

THREATS = [eq.L1(2.0), eq.L2(0.4), eq.Linf(0.06)]
QUICK = WorstCase(steps=8, rounds=2, queries=20)
threats = pytest.mark.parametrize("threat", THREATS, ids=str)


@threats
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_results_stay_in_ball_and_box_and_say_the_truth(threat, classes):
    classifier, images = small_net(classes=classes), some_images()
    labels = classifier(images).argmax(1)
    labels[0] = (labels[0] + 1) % classes
    result = QUICK(classifier, images, labels, threat)
    distance = threat.distance(images.double(), result.images.double())
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    assert (distance <= threat.radius + 1e-6).all()
    assert torch.allclose(distance, result.distance.double(), atol=1e-5)
    logits = classifier(result.images)
    assert torch.equal(logits.argmax(1) != labels, result.success)
    own = logits.gather(1, labels[:, None]).squeeze(1)
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    assert torch.allclose(result.margin, other - own, atol=1e-5)
    assert result.broken_by[0] == "clean"
    members = {
        "clean",
        "descent",
        "targets",
        "smallest",
        "focus",
        "again",
        "Square",
        "BPDA",
        "Square 5000",
    }
    for name, broken in zip(result.broken_by, result.success.tolist(), strict=True):
        assert (name in members) if broken else not name


@threats
def test_an_image_gets_the_same_answer_in_any_batch(threat):
    classifier, images = small_net(), some_images(20)
    labels = classifier(images).argmax(1)
    whole = QUICK(classifier, images, labels, threat, seed=5)
    for rows in torch.randperm(20, generator=torch.Generator().manual_seed(0)).split(7):
        part = QUICK(classifier, images[rows], labels[rows], threat, seed=5)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.passes, whole.passes[rows])
        assert part.broken_by == tuple(whole.broken_by[row] for row in rows.tolist())


@pytest.mark.parametrize("budget", ["adaptive", "standard"])
@pytest.mark.parametrize("kind", [eq.L1, eq.L2, eq.Linf], ids=lambda k: k.__name__)
def test_verdicts_are_exact_on_linear_classifiers(kind, budget):
    """Just above its smallest radius an image is broken, just below it is not."""
    classifier, images = linear(3, (1, 5, 5)), grey_images(40, (1, 5, 5))
    labels = classifier(images).argmax(1)
    exact = exact_radius(classifier, images, labels, kind(1.0))
    # One pixel carries the whole change in L1: only there is the box inactive.
    inside = (exact < 0.44) if kind is eq.L1 else torch.ones_like(exact, dtype=torch.bool)
    images, labels, exact = images[inside], labels[inside], exact[inside]
    radius = exact.median().item()
    keep = (exact / radius - 1).abs() > 0.01
    images, labels, exact = images[keep], labels[keep], exact[keep]
    result = WorstCase(budget=budget)(classifier, images, labels, kind(radius))
    assert torch.equal(result.success, exact < radius)


@pytest.mark.slow
@threats
def test_it_never_finds_less_than_its_members(threat):
    classifier, images = small_net(classes=10), some_images(24)
    labels = classifier(images).argmax(1)
    result = WorstCase()(classifier, images, labels, threat)
    for attack in (APGD(steps=100), APGD(steps=100, targeted=True), MinimumNorm()):
        single = attack(classifier, images, labels, threat).success
        assert result.success.sum() >= single.sum()
    assert 0 < result.success.sum() < len(images)


def test_passes_of_an_image_that_nothing_breaks():
    """AutoAttack: 7,864 forwards and 1,910 backwards; FAB's verdicts are fused with its gradients here."""
    torch.manual_seed(0)
    classifier, images = eq.wrap(zoo.network(pixels=192)), some_images(5)
    labels = classifier(images).argmax(1)
    tiny = eq.Linf(1e-6)
    standard = WorstCase(budget="standard")(classifier, images, labels, tiny)
    agreement = 21  # and one backward pass
    assert standard.forwards.tolist() == [1 + 101 + 9 * 101 + 9 * 101 + 5000 + agreement] * 5
    assert standard.backwards.tolist() == [100 + 9 * 100 + 9 * 100 + 1] * 5
    adaptive = WorstCase()(classifier, images, labels, tiny)
    # Clean, descent, boundaries of 9 classes, 9 targets, Square; what it gained gives no hope.
    assert adaptive.forwards.tolist() == [1 + 21 + 1 + 9 * 21 + agreement + 100] * 5
    assert adaptive.backwards.tolist() == [20 + 9 + 9 * 20 + 1] * 5


@pytest.mark.slow
def test_queries_go_on_where_gradients_mislead():
    torch.manual_seed(0)
    honest, images, threat = eq.wrap(zoo.network(pixels=192)), some_images(20), eq.Linf(0.02)
    rounded = eq.wrap(zoo.Quantised(honest.net))
    labels = rounded(images).argmax(1)
    assert not APGD(steps=100)(rounded, images, labels, threat).success.any()
    result = WorstCase()(rounded, images, labels, threat)
    assert any("gradients mislead" in note for note in result.notes)
    part = WorstCase()(rounded, images[:7], labels[:7], threat)
    assert torch.equal(part.success, result.success[:7])
    assert torch.equal(part.passes, result.passes[:7])
    found = WorstCase()(honest, images, honest(images).argmax(1), threat)
    assert not found.notes
    assert result.success.sum() >= found.success.sum() - 2 > 0


@threats
def test_when_every_image_is_broken_early(threat):
    """Later members have nothing left to do, and do nothing."""
    classifier, images = linear(3, (1, 5, 5)), grey_images(10, (1, 5, 5))
    labels = classifier(images).argmax(1)
    wide = type(threat)(threat.norm(torch.ones(1, 25)).item())
    for budget in ("adaptive", "standard"):
        assert WorstCase(budget=budget)(classifier, images, labels, wide).success.all()


@pytest.mark.parametrize("threat", [eq.L1(6.0), eq.L2(0.8), eq.Linf(0.08)], ids=str)
def test_transferred_images(threat):
    honest, images = small_net(classes=10), some_images(40)
    labels = honest(images).argmax(1)
    single = APGD(loss="margin")(honest, images, labels, threat).success
    own = Transfer(surrogate=honest)(honest, images, labels, threat).success
    # What fools a classifier fools itself.
    assert own.sum() >= 0.9 * single.sum() > 0
    rounded = eq.wrap(zoo.Quantised(honest, levels=64))
    right = rounded(images).argmax(1) == labels
    images, labels, own = images[right], labels[right], own[right]
    assert not APGD(loss="margin")(rounded, images, labels, threat).success.any()
    moved = Transfer(surrogate=honest)(rounded, images, labels, threat)
    assert moved.success.sum() > 0.7 * own.sum()
    assert (threat.distance(images, moved.images) <= threat.radius + 1e-6).all()
    assert (moved.forwards <= 1 + 1 + 21).all()


def test_classifiers_without_a_graph_have_zero_gradients():
    class Thresholds(nn.Module):
        def forward(self, x):
            return (x.flatten(1)[:, :3] > 0.5).float()

    images = some_images(20)
    classifier = eq.wrap(Thresholds())
    labels = classifier(images).argmax(1)
    result = WorstCase()(classifier, images, labels, eq.Linf(0.4))
    assert any("no gradient" in note for note in result.notes)
    assert result.success.any()


def test_another_budget_is_refused():
    with pytest.raises(eq.EquipoiseError, match="adaptive and standard"):
        WorstCase(budget="quick")  # pyright: ignore[reportArgumentType]
