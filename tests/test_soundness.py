"""Soundness: what speaks against a verdict is found where it is, and not where it is not."""

import numpy as np
import pytest
import torch
import zoo
from conftest import grey_images, linear
from test_attacks import exact_radius
from torch import nn

import equipoise as eq
from equipoise.attacks import BPDA, PGD, Attack
from equipoise.attacks.agreement import measure_agreement
from equipoise.attacks.bpda import StraightThrough
from equipoise.audit.soundness import examine
from equipoise.probes import Adversarial, Request, Transfer, load_probe
from equipoise.probes.second_look import fool_again, repeats

THREATS = [eq.L1(2.5), eq.L2(0.6), eq.Linf(0.13)]
threats = pytest.mark.parametrize("threat", THREATS, ids=str)


class Through(nn.Module):
    """A linear classifier of what `change` makes of the image."""

    def __init__(self, change, classes=3):
        super().__init__()
        self.change, self.net = change, linear(classes, (1, 4, 4)).net

    def forward(self, x):
        return self.net(self.change(x))


def without_a_graph(x):
    return (9 * x).byte().float() / 9


@pytest.mark.parametrize("budget", ["adaptive", "standard"])
def test_a_classifier_without_gradients_is_measured_and_flagged(budget):
    """Nothing leads back to its pixels, and its images transfer to none."""
    images, plain = grey_images(6, (1, 4, 4)), linear(3, (1, 4, 4))
    hidden = eq.wrap(Through(without_a_graph), name="hidden")
    labels = hidden(images).argmax(1)
    batch = eq.images.Arrays(images, labels.tolist(), ("a", "b", "c")).batch(range(6))
    flags = [True] * 6
    request = Request(seed=0, pictured=flags, examined=flags, others={"hidden": hidden})
    probe = Adversarial(eq.Linf(0.02), budget=budget)
    answers = probe.measure(hidden, batch, request)
    robust = ~answers.columns["success"]
    agreement = answers.columns["agreement"]
    assert (agreement[robust] == 0).all()
    assert any("no gradient" in note for note in answers.notes)
    metrics = {metric.name: metric.values for metric in probe.metrics(answers.columns)}
    if budget == "standard":
        quoted = metrics["robust accuracy at linf:0.02 by AutoAttack's schedule"]
        assert (quoted >= robust).all()
    Transfer(eq.Linf(0.02)).measure(plain, batch, request)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.half])
def test_where_rounding_hides_everything_nothing_is_said(kind):
    """Half precision: no false alarm, and a gradient of zero is one all the same."""
    images = grey_images(12, (1, 4, 4))
    honest = eq.wrap(linear(3, (1, 4, 4)).net.to(kind))
    flat = eq.wrap(Through(lambda x: (3 * x).round() / 3).to(kind))
    for classifier in (honest, flat):
        labels = classifier(images).argmax(1)
        found = Ask()(classifier, images, labels, eq.Linf(0.05)).agreement
        assert found.isnan().all() if classifier is honest else (found == 0).all()


class Ask(Attack):
    """No attack: it asks for the agreement of gradients with small changes."""

    def search(self, search):
        measure_agreement(search, search.unbroken())


@threats
def test_gradients_of_a_linear_classifier_agree_with_every_change(threat):
    classifier, images = linear(2, (1, 4, 4)), grey_images(12, (1, 4, 4))
    labels = classifier(images).argmax(1)
    labels[0] = 1 - labels[0]
    result = Ask()(classifier, images, labels, threat)
    assert result.agreement[0].isnan()
    assert (result.agreement[1:] > 1 - 1e-5).all()
    # Clean images once, the gradient, and ten directions both ways.
    assert result.forwards.tolist() == [1] + [1 + 1 + 20] * 11
    assert result.backwards.tolist() == [0] + [1] * 11


@threats
def test_scale_moves_no_agreement(threat, trained, digits):
    images, labels, _ = (part[:24] for part in digits)
    found = Ask()(trained, images, labels, threat).agreement
    assert (found.nan_to_num(1) > 0.9).all()
    for factor in (2.0**-40, 2.0**40):
        net = zoo.Scaled(trained.net, factor)
        same = eq.wrap(
            net, mean=trained.mean.flatten().tolist(), std=trained.std.flatten().tolist()
        )
        scaled = Ask()(same, images, labels, threat).agreement
        assert torch.equal(scaled.isnan(), found.isnan())
        # The log-odds of tiny logits have another slope, that of huge ones is the margin's.
        assert (scaled.nan_to_num(1) > 0.8).all()


@threats
@pytest.mark.parametrize(
    "change",
    [
        lambda x: (3 * x).round() / 3,
        lambda x: x + 0.02 * (x * (2 * torch.pi / 0.005)).sin(),
        lambda x: x + 0.1 * torch.randn_like(x),
    ],
    ids=["rounded", "jagged", "random"],
)
def test_gradients_that_mislead_agree_with_little(threat, change):
    classifier, images = eq.wrap(Through(change)), grey_images(30, (1, 4, 4))
    labels = classifier(images).argmax(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = Ask()(classifier, images, labels, threat).agreement
    assert (found[found.isfinite()] < 0.8).double().mean() > 0.7


@torch.no_grad()
def without_gradients(x):
    return (5 * x).round() / 5


CHANGES = {
    "round": lambda x: (5 * x).round() / 5,
    "floor": lambda x: torch.floor(5 * x) / 5,
    "sign": lambda x: (x - 0.5).sign(),
    "detached": lambda x: x.detach() * 1.0,
    "compared": lambda x: (x > 0.5).float(),
    "compared the other way": lambda x: (x <= 0.5).to(x.dtype),
    "bytes": lambda x: (255 * x).byte().float() / 255,
    "whole numbers": lambda x: (9 * x).to(torch.int64).to(x.dtype) / 9,
    "without gradients": without_gradients,
}


@pytest.mark.parametrize("name", CHANGES)
def test_thresholds_go_backward_as_the_identity(name):
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    weight = torch.arange(16.0).reshape(1, 4, 4)
    change = CHANGES[name]
    with StraightThrough():
        value = change(x)
        (gradient,) = torch.autograd.grad((weight * value).sum(), x)
    assert torch.allclose(value, change(x.detach()), atol=1e-6)
    sign = -1 if "other way" in name else 1
    assert torch.allclose(gradient, sign * weight.expand_as(x))


def test_outside_the_mode_nothing_changes():
    x = torch.rand(2, 3).requires_grad_(True)
    with StraightThrough():
        pass
    (gradient,) = torch.autograd.grad(x.round().sum(), x)
    assert (gradient == 0).all()


@threats
def test_bpda_breaks_what_rounding_hides(threat):
    """On a linear classifier, exactly what lies nearer to a boundary than the radius, up to the rounding."""
    images, plain = grey_images(40, (1, 4, 4)), linear(3, (1, 4, 4))
    hidden = eq.wrap(Through(lambda x: (1000 * x).round() / 1000))
    labels = hidden(images).argmax(1)
    exact = exact_radius(plain, images, labels, threat)
    threat = type(threat)(exact.median().item())
    clear = (exact / threat.radius - 1).abs() > 0.15
    found = BPDA(targets=2)(hidden, images, labels, threat).success
    assert torch.equal(found[clear], (exact < threat.radius)[clear])
    assert PGD()(hidden, images, labels, threat).success.sum() < found.sum() / 2


def test_a_steady_classifier_repeats_itself_and_a_random_one_does_not():
    images = grey_images(8, (1, 8, 8))
    base = zoo.network()
    assert repeats(eq.wrap(base), images, 1 - images).all()
    noisy = eq.wrap(zoo.Noise(zoo.network()))
    assert not repeats(noisy, images).any()


def test_randomness_shows_beside_logits_of_any_size():
    class Masked(zoo.Noise):
        def forward(self, x):
            logits = super().forward(x)
            return torch.cat([logits, torch.full_like(logits[:, :2], -1e9)], 1)

    images = grey_images(8, (1, 8, 8))
    assert not repeats(eq.wrap(Masked(zoo.network())), images).any()


def test_fresh_answers_are_wrong_as_often_as_the_coin_falls():
    class Coin(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator = torch.Generator().manual_seed(0)

        def forward(self, x):
            head = torch.rand(len(x), generator=self.generator) < 0.3
            return torch.stack([head.float(), 0.5 + 0 * head.float()], 1)

    share = fool_again(eq.wrap(Coin()), torch.zeros(800, 1, 2, 2), torch.ones(800).long())
    assert abs(share.mean().item() - 0.3) < 4 * (0.3 * 0.7 / 16000) ** 0.5


def columns(n=100, **changed):
    """What an honest classifier leaves: half of the images robust."""
    robust = np.arange(n) < n // 2
    found = {
        "id": np.array([f"image {k}" for k in range(n)], dtype=object),
        "success": ~robust,
        "radius": np.where(robust, 2.0, 0.5),
        "broken_by": np.where(robust, "", "descent").astype(object),
        "agreement": np.where(robust, 0.99, np.nan),
        "steady": np.ones(n, bool),
        "confirmed": (~robust).astype(float),
        "doubled": np.where(np.arange(n) % 2, None, ~robust),
    }
    return found | changed


def verdicts(standard=None, transfer=None, **changed):
    found = examine(
        "net",
        "adversarial:l2:1",
        columns(**changed),
        standard=standard or {},
        transfer=transfer or {},
    )
    return {s.name: s for s in found}


def with_first(name, count, value):
    column = columns()[name].copy()
    column[:count] = value
    return {name: column}


def test_honest_columns_warn_of_nothing():
    found = verdicts()
    assert list(found) == ["gradients", "queries", "distance", "twice as long", "repeats"]
    assert not any(s.warns or s.remedy for s in found.values())
    assert (found["gradients"].count, found["gradients"].n) == (0, 50)
    assert (found["twice as long"].count, found["twice as long"].n) == (0, 50)
    # Clopper and Pearson with no successes: 1 - 0.025^(1/n)
    assert found["twice as long"].high == pytest.approx(1 - 0.025 ** (1 / 50))


@pytest.mark.parametrize(
    ("name", "column", "few", "many", "value"),
    [
        ("gradients", "agreement", 4, 5, 0.1),
        ("distance", "radius", 3, 4, np.inf),
        ("repeats", "steady", 0, 1, False),
    ],
)
def test_checks_warn_above_what_they_tolerate(name, column, few, many, value):
    assert not verdicts(**with_first(column, few, value))[name].warns
    found = verdicts(**with_first(column, many, value))[name]
    assert found.warns
    assert found.count == many
    assert found.remedy


def test_both_numbers_where_queries_beat_gradients():
    broken_by, success = columns()["broken_by"], columns()["success"]
    broken_by[:10], success[:10] = "BPDA", True
    found = verdicts(broken_by=broken_by, success=success)["queries"]
    assert found.warns
    assert (found.count, found.n) == (10, 50)
    assert "50.0% by gradients alone and 40.0% with BPDA" in found.finding


def test_the_optimism_left_is_counted_in_the_sample_alone():
    doubled = columns()["doubled"]
    doubled[:4:2] = True  # two robust images of the sample
    found = verdicts(doubled=doubled)["twice as long"]
    assert (found.count, found.n, found.warns) == (2, 50, False)
    assert found.low < 0.04 < found.high
    doubled[4] = True
    found = verdicts(doubled=doubled)["twice as long"]
    assert (found.count, found.n, found.warns) == (3, 50, True)


def test_robust_images_that_are_wrong_as_they_are():
    ids = columns()["id"]
    correct = np.ones(100, bool)
    correct[:3] = False
    assert verdicts(standard={"id": ids, "correct": correct})["clean"].warns
    correct[:3], correct[60:] = True, False  # those are not robust
    assert not verdicts(standard={"id": ids, "correct": correct})["clean"].warns


def test_transferred_images_that_beat_direct_ones():
    ids = columns()["id"]
    fooled_by = np.where(np.arange(100) % 2, None, "").astype(object)
    found = verdicts(transfer={"id": ids, "fooled_by": fooled_by})["transfer"]
    assert (found.count, found.n, found.warns) == (0, 25, False)
    fooled_by[:8:2] = "other"
    fooled_by[60] = "other"  # broken directly as well
    found = verdicts(transfer={"id": ids, "fooled_by": fooled_by})["transfer"]
    assert (found.count, found.n, found.warns) == (4, 25, True)


def test_of_a_random_classifier_only_its_randomness_counts():
    agreement = np.where(columns()["success"], np.nan, 0.0)
    assert verdicts(agreement=agreement)["gradients"].warns
    found = verdicts(agreement=agreement, **with_first("steady", 1, False))
    assert found["gradients"].count == 50
    assert [name for name, s in found.items() if s.warns] == ["repeats"]


def test_the_transfer_probe_names_who_fooled():
    """A classifier without gradients falls to the images made for its twin that has them."""
    images = grey_images(30, (1, 4, 4))
    twin = linear(3, (1, 4, 4))
    hidden = eq.wrap(Through(lambda x: (40 * x).round() / 40), name="hidden")
    labels = hidden(images).argmax(1)
    batch = eq.images.Arrays(images, labels.tolist(), ("a", "b", "c")).batch(range(30))
    examined = [k % 3 > 0 for k in range(30)]
    request = Request(seed=0, pictured=[False] * 30, examined=examined, others={"twin": twin})
    probe = load_probe("transfer:l2:0.4")
    assert probe == Transfer(eq.L2(0.4))
    found = probe.measure(hidden, batch, request).columns["fooled_by"]
    assert [name is not None for name in found] == examined
    direct = PGD(steps=40)(twin, images, labels, eq.L2(0.4)).success.numpy()
    fooled = np.array([name == "twin" for name in found])
    assert 0 < fooled.sum() <= direct[examined].sum()
    assert fooled.sum() >= direct[examined].sum() - 2
    (metric,) = probe.metrics({"fooled_by": found})
    assert metric.values.mean() == 1 - fooled.sum() / 20


def test_the_probe_looks_twice_at_the_sample_alone(trained, digits):
    images, labels, _ = (part[:24] for part in digits)
    batch = eq.images.Arrays(images, labels.tolist(), tuple("0123456789")).batch(range(24))
    examined = [k < 10 for k in range(24)]
    request = Request(seed=0, pictured=[False] * 24, examined=examined, others={})
    probe = Adversarial(eq.Linf(0.1))
    answers = probe.measure(trained, batch, request).columns
    assert [value is not None for value in answers["doubled"]] == examined
    broken = answers["success"]
    assert all(answers["doubled"][k] for k in range(10) if broken[k])
    assert answers["steady"].all()
    assert (answers["confirmed"] == broken).all()
    once = Request(seed=0, pictured=[False] * 24, examined=[False] * 24, others={})
    cheaper = probe.measure(trained, batch, once).columns
    robust = ~broken[:10]
    assert (answers["forwards"][:10][robust] > 1.8 * cheaper["forwards"][:10][robust]).all()
    assert (answers["forwards"][10:] == cheaper["forwards"][10:]).all()
