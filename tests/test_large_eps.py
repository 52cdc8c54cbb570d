"""The probe of adversarial examples at large radii, on classifiers known in closed form."""

import numpy as np
import pytest
import torch
from conftest import grey_images
from regressions import (
    SHAPE,
    ask,
    judge,
    pixels,
    regression,
    some,
)

import equipoise as eq
from equipoise.classifiers import MLP, save_classifier
from equipoise.images import Arrays
from equipoise.norms import L1, L2, Linf
from equipoise.probes import LargeEps, load_probe
from equipoise.probes.large_eps import FRAMES, POINTS


def pair(seed=3):
    """Two classes: the loss has the same gradient direction everywhere."""
    return regression(seed=seed, classes=2)


def away(classifier, labels):
    """w_other - w_y of each image."""
    weight = classifier.net.weight
    return (weight[1 - labels] - weight[labels]).view(-1, *SHAPE)


def test_ascent_on_a_linear_classifier_ends_where_theory_says():
    classifier = pair()
    x = grey_images(5, SHAPE, 0.2)
    labels = torch.tensor([0, 1, 0, 1, 0])
    data = Arrays(x, labels.tolist(), ("a", "b"))
    slope = away(classifier, labels)
    unit = slope / slope.flatten(1).norm(dim=1)[:, None, None, None]
    wanted = x + 0.8 * unit
    assert 0 < wanted.min() < wanted.max() < 1
    found = ask(LargeEps(L2(0.8), steps=10), classifier, data)
    p = classifier(wanted).softmax(1)
    np.testing.assert_allclose(found["distance"], 0.8, rtol=1e-5)
    assert found["prediction"].tolist() == p.argmax(1).tolist()
    np.testing.assert_allclose(found["confidence"], p.amax(1), rtol=1e-4)
    right = classifier(x).argmax(1) == labels
    assert found["moved"].tolist() == (right & (p.argmax(1) != labels)).tolist()
    # One point each on the way, of which the first is the image itself, and one for each step.
    assert found["forwards"].tolist() == [10 + POINTS] * 5
    assert found["backwards"].tolist() == [10] * 5


def best(threat, x, slope):
    """The allowed image with the largest <slope, image>: each pixel as far as its slope is worth, up to its edge."""
    if threat.norm == "linf":
        return (x + threat.radius * slope.sign()).clamp(0, 1)
    if threat.norm == "l2":
        low, high = torch.zeros(len(x), 1, 1, 1), torch.full((len(x), 1, 1, 1), 1e4)
        for _ in range(60):
            middle = (low + high) / 2
            there = (x + middle * slope).clamp(0, 1)
            inside = (threat.distance(x, there) <= threat.radius)[:, None, None, None]
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        return (x + low * slope).clamp(0, 1)
    room = torch.where(slope > 0, 1 - x, x).flatten(1)
    there = x.flatten(1).clone()
    for row, gains in enumerate(slope.flatten(1)):
        left = threat.radius
        for i in gains.abs().argsort(descending=True):
            step = min(left, room[row, i].item())
            there[row, i] += gains[i].sign() * step
            left -= step
    return there.view_as(x)


@pytest.mark.parametrize("threat", [L2(3), Linf(0.6), L1(12)], ids=str)
def test_the_end_is_the_best_that_the_ball_and_the_box_allow(threat):
    classifier, x, labels = pair(), some(4).pixels, torch.tensor([0, 1, 0, 1])
    data = Arrays(x, labels.tolist(), ("a", "b"))
    found = ask(LargeEps(threat), classifier, data, pictured=True)
    assert (found["distance"] <= threat.radius).all()
    np.testing.assert_allclose(found["distance"], threat.radius, rtol=1e-4)
    slope = away(classifier, labels)
    end = best(threat, x, slope)
    assert ((end == 0) | (end == 1)).any()
    last = np.stack([pixels(png)[:, -4:].transpose(2, 0, 1) for png in found["picture"]]) / 255
    if threat.norm != "l1":
        np.testing.assert_allclose(last, end.numpy(), atol=0.6 / 255)
    # In L1, steps and projections undo a part of each other for ever.
    gain, most = ((slope * (there - x)).flatten(1).sum(1) for there in (torch.tensor(last), end))
    assert (gain > 0.98 * most).all()


def test_the_way_begins_at_the_image_and_ends_where_the_loss_leads():
    classifier, data = regression(), some()
    found = ask(LargeEps(L2(2), steps=20), classifier, data, pictured=True)
    p = classifier(data.pixels).softmax(1)
    for i in range(len(data)):
        path, prediction = found["own_path"][i], found["prediction"][i]
        assert len(path) == POINTS
        assert path[0] == pytest.approx(p[i, prediction].item(), rel=1e-6)
        assert path[-1] == found["confidence"][i]
        strip = pixels(found["picture"][i])
        assert strip.shape == (4, 4 * FRAMES, 3)
        first = 255 * data.pixels[i].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(strip[:, :4], first, atol=0.51)
        # The second frame is a fifth of the way to the last, up to rounding.
        second = 0.8 * strip[:, :4] + 0.2 * strip[:, -4:].astype(float)
        np.testing.assert_allclose(strip[:, 4:8], second, atol=1.1)


def test_columns_without_a_judge_or_a_move_are_null():
    x = grey_images(6, SHAPE, 0.3)
    right = regression()(x).argmax(1)
    labels = torch.where(torch.arange(6) < 4, right, (right + 1) % 3)
    data = Arrays(x, labels.tolist(), ("a", "b", "c"))
    found = ask(LargeEps(L2(1e-3), steps=2), regression(), data)
    judged = ("judged", "agrees", "noise_agrees", "judge_before", "judge_path")
    assert all(value is None for name in judged for value in found[name])
    assert LargeEps(L2(1)).metrics(found) == []
    probe = LargeEps(L2(1e-3), steps=2, judge="regressions:judge")
    found = ask(probe, regression(), data)
    # What is wrong to begin with has not moved.
    assert not found["moved"].any()
    for name in ("agrees", "noise_agrees"):
        assert all(value is None for value in found[name])
    far = ask(LargeEps(L2(2), steps=10, judge="regressions:judge"), regression(), data)
    moved = far["moved"]
    assert moved[:4].any() and not moved[4:].any()
    for name in ("agrees", "noise_agrees"):
        assert [value is None for value in far[name]] == (~moved).tolist()
    for name in ("judged", "judge_before", "judge_path"):
        assert all(value is not None for value in found[name])
    assert [len(metric.values) for metric in probe.metrics(far)] == [moved.sum()] * 2


def test_the_judges_columns_are_its_answers():
    probe = LargeEps(L2(2), steps=20, judge="regressions:judge")
    classifier, data, other = regression(), some(12), judge()
    found = ask(probe, classifier, data)
    own = ask(LargeEps(L2(2), steps=20), classifier, data)
    for name in ("prediction", "distance", "own_path", "forwards", "backwards"):
        assert repr(found[name]) == repr(own[name])
    before = other(data.pixels)
    labels = torch.tensor(data.labels)
    assert found["judge_before"].tolist() == (before.argmax(1) == labels).tolist()
    for i, path in enumerate(found["judge_path"]):
        wanted = before.softmax(1)[i, found["prediction"][i]].item()
        assert path[0] == pytest.approx(wanted, rel=1e-6)
        top = path[-1] if found["judged"][i] == found["prediction"][i] else 1 - path[-1]
        assert top >= 1 / 3 - 1e-6
    moved = found["moved"]
    wanted = (found["judged"] == found["prediction"])[moved]
    assert found["agrees"][moved].tolist() == wanted.tolist()
    rates = {metric.name: metric.values.mean() for metric in probe.metrics(found)}
    assert rates["examples at l2:2 read as their class by regressions:judge"] == wanted.mean()


def test_a_classifier_judges_itself_to_agree():
    probe = LargeEps(L2(2), steps=20, judge="regressions:judge")
    found = ask(probe, judge(), some(12))
    moved = found["moved"]
    assert moved.any()
    assert all(found["agrees"][moved])
    assert found["judge_path"].tolist() == found["own_path"].tolist()
    assert not all(found["noise_agrees"][moved])


@pytest.mark.parametrize("threat", [L2(3), Linf(0.6), L1(12)], ids=str)
def test_noise_is_as_far_as_the_end_and_in_the_box(threat, monkeypatch):
    seen = []
    true = type(threat).nearest

    def nearest(self, images, delta, radius=None):
        moved = true(self, images, delta, radius)
        if torch.is_tensor(radius):
            seen.append((images, moved))
        return moved

    monkeypatch.setattr(type(threat), "nearest", nearest)
    probe = LargeEps(threat, steps=5, judge="regressions:judge")
    found = ask(probe, regression(), some(12))
    ((images, noise),) = seen
    np.testing.assert_allclose(threat.distance(images, noise), found["distance"], rtol=1e-4)
    read, moved = judge()(noise).argmax(1).numpy(), found["moved"]
    wanted = (read == found["prediction"])[moved]
    assert found["noise_agrees"][moved].tolist() == wanted.tolist()
    assert noise.min() >= 0
    assert noise.max() <= 1
    ask(probe, regression(), some(12), seed=1)
    assert not torch.equal(seen[1][1], noise)


def test_judges_are_named_and_checked(tmp_path):
    odd = tmp_path / "a & b+50%=c?"
    torch.manual_seed(0)
    net = MLP(shape=list(SHAPE), classes=3, widths=[5])
    save_classifier(eq.wrap(net), odd)
    probe = LargeEps(Linf(16 / 255), steps=3, judge=f"local:{odd}")
    assert str(probe).startswith("large_eps:linf:16/255?steps=3&judge=local:/")
    assert load_probe(str(probe)) == probe
    assert probe.facts() == {"judge": {"name": odd.name, "spec": f"local:{odd}"}}
    moved = tmp_path / "elsewhere"
    odd.rename(moved)
    again = LargeEps(Linf(16 / 255), steps=3, judge=f"local:{moved}")
    assert again.nature() == probe.nature() != LargeEps(Linf(16 / 255), steps=3).nature()
    with pytest.raises(eq.EquipoiseError, match="which has 3 classes, not 2"):
        ask(again, pair(), Arrays(grey_images(2, SHAPE), [0, 1], ("a", "b")))
