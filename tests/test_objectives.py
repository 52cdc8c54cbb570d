"""Objectives against formulas written by hand, on networks small enough to know everything about."""

import json

import pytest
import torch
from conftest import Linear, grey_images
from torch import nn
from torch.nn import functional as F

import equipoise as eq
from equipoise.attacks import MinimumNorm
from equipoise.classifiers import MLP
from equipoise.progress import Progress
from equipoise.streams import stream
from equipoise.training import (
    PGD,
    TRADES,
    HalfAndHalf,
    RandomNoise,
    Recipe,
    Standard,
    fit,
    rung_name,
    train_ladder,
)

THREATS = [eq.L2(0.5), eq.Linf(0.1), eq.L1(2.0)]
KINDS = [PGD, TRADES, HalfAndHalf, RandomNoise]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
threats = pytest.mark.parametrize("threat", THREATS, ids=str)
COUNT = 24


def streams(count=COUNT):
    return [stream("noise", i) for i in range(count)]


@pytest.fixture(scope="module")
def net():
    """Weights three times as large as fresh ones, so that its answers differ from image to image."""
    torch.manual_seed(0)
    net = MLP(shape=(1, 8, 8), classes=10, widths=(16,))
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(3)
    return net


@pytest.fixture(scope="module")
def batch(digits):
    images, labels, _ = digits
    return images[:COUNT], labels[:COUNT]


@pytest.fixture(scope="module")
def train_digits():
    return eq.load_images("digits", split="train")


def losses(objective, net, batch, noise, progress=1.0):
    return objective.loss(net, *batch, bare=net, progress=progress, noise=noise)


def two_classes():
    """Logits (w . x + b, 0): probabilities are a sigmoid, and a threat moves its argument by at most r ||w||_q."""
    w = torch.randn(16, generator=stream("w"))
    net = Linear(torch.stack([w, torch.zeros(16)]), torch.tensor([0.3 - w.sum() / 2, 0.0]))
    return net, w, grey_images(COUNT, (1, 4, 4)), torch.arange(COUNT) % 2


# The formulas


@pytest.mark.parametrize(
    ("threat", "share"), [(eq.Linf(0.05), 1.0), (eq.L2(0.2), 0.95), (eq.L1(0.4), 1.0)], ids=str
)
def test_pgd_finds_the_closed_form_worst_case_of_a_linear_network(threat, share):
    """The lead falls by r ||w||_q, far from the edges of [0, 1]. A start off the way there costs L2 a little of it."""
    net, w, images, labels = two_classes()
    found = losses(PGD(threat=threat, steps=40), net, (images, labels), streams())
    lead = (net(images)[:, 0] - net(images)[:, 1]) * (1 - 2 * labels)
    fall = threat.radius * threat.dual(w.reshape(1, 1, 4, 4)).item()
    assert (found <= F.softplus(fall - lead) + 1e-5).all()
    assert (found >= F.softplus(share * fall - lead) - 1e-5).all()


def test_trades_finds_an_end_of_what_a_linear_network_can_be_moved_to():
    """KL to a sigmoid's value is convex in the sigmoid's argument, so that its maxima are the two ends."""
    net, w, images, labels = two_classes()
    objective = TRADES(threat=eq.Linf(0.02), steps=20)
    worst = objective.worst(net, images, labels, progress=1.0, noise=streams())
    moved = (net(worst) - net(images))[:, 0].abs()
    assert torch.allclose(moved, 0.02 * w.abs().sum().expand(COUNT), rtol=1e-3)


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_trades_is_cross_entropy_plus_the_price_of_kl(net, batch, beta):
    objective = TRADES(threat=eq.L2(0.5), beta=beta)
    found = losses(objective, net, batch, streams())
    images, labels = batch
    worst = objective.worst(net, images, labels, progress=1.0, noise=streams())
    p, q = net(images).softmax(1), net(worst).softmax(1)
    price = F.kl_div(q.log(), p, reduction="none").sum(1)
    plain = F.cross_entropy(net(images), labels, reduction="none")
    assert torch.allclose(found, plain + beta * price, atol=1e-5)
    assert (price > 0).all()
    # The weights' gradient goes through both: taking f(x) as given would give another one.
    weights = list(net.parameters())
    slopes = torch.autograd.grad(found.sum(), weights)
    both = torch.autograd.grad((plain + beta * price).sum(), weights, retain_graph=True)
    given = F.kl_div(net(worst).log_softmax(1), p.detach(), reduction="none").sum(1)
    one = torch.autograd.grad((plain + beta * given).sum(), weights)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(slopes, both, strict=True))
    same = all(torch.allclose(a, b, atol=1e-4) for a, b in zip(slopes, one, strict=True))
    assert same == (beta == 0)
    if beta == 0:
        assert torch.allclose(found, losses(Standard(), net, batch, streams()))


def test_trades_stays_finite_where_probabilities_round_to_zero(batch):
    net = Linear(1e4 * torch.randn(10, 64, generator=stream("steep")), torch.zeros(10))
    found = losses(TRADES(threat=eq.L2(0.5)), net, batch, streams())
    slopes = torch.autograd.grad(found.sum(), list(net.parameters()))
    assert found.isfinite().all() and all(slope.isfinite().all() for slope in slopes)


def test_half_and_half_is_what_the_coins_say(net, batch):
    """Each image's stream gives a coin first; below one half it is attacked with what the stream gives next."""
    images, labels = batch
    seen = []
    bare = nn.Sequential(net)
    bare.register_forward_hook(lambda module, given, output: seen.append(len(output)))
    objective = HalfAndHalf(threat=eq.L2(0.5), steps=3)
    found = objective.loss(net, images, labels, bare=bare, progress=1.0, noise=streams())
    noise = streams()
    coins = torch.stack([torch.rand((), generator=g) for g in noise]) < 0.5
    natural = losses(Standard(), net, batch, streams())
    attacked = losses(PGD(threat=eq.L2(0.5), steps=3), net, batch, noise)
    assert torch.allclose(found, torch.where(coins, attacked, natural), atol=1e-5)
    assert 0 < coins.sum() < COUNT and (attacked > natural + 1e-3).all()
    assert seen == [int(coins.sum())] * 3
    tosses = [torch.rand((), generator=stream("fair", i)).item() < 0.5 for i in range(2000)]
    assert abs(sum(tosses) / 2000 - 0.5) < 0.045  # four standard errors


@threats
def test_random_noise_trains_on_one_point_of_the_ball_and_the_box(net, batch, threat):
    images, labels = batch
    seen = []
    spy = nn.Sequential(net)
    spy.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    found = losses(RandomNoise(threat=threat), spy, batch, streams(), progress=0.0)
    (points,) = seen
    assert points.min() >= 0 and points.max() <= 1
    distance = threat.distance(images, points)
    assert (distance <= threat.radius * (1 + 1e-5)).all() and (distance > 0).all()
    expected = (images + threat.random(images, streams())).clamp(0, 1)
    assert torch.equal(points, expected)
    assert torch.allclose(found, F.cross_entropy(net(expected), labels, reduction="none"))


# What all of them share


@threats
@kinds
def test_the_loss_of_an_image_does_not_depend_on_its_batch(net, batch, kind, threat):
    whole = losses(kind(threat=threat), net, batch, streams())
    rows = torch.tensor([17, 3, 8])
    part = tuple(tensor[rows] for tensor in batch)
    noise = streams()
    alone = losses(kind(threat=threat), net, part, [noise[row] for row in rows])
    assert torch.allclose(alone, whole[rows], atol=1e-4)
    none = tuple(tensor[:0] for tensor in batch)
    assert losses(kind(threat=threat), net, none, []).shape == (0,)


@threats
@pytest.mark.parametrize("kind", [PGD, TRADES], ids=lambda kind: kind.name)
def test_the_search_ends_inside_and_climbs_and_leaves_the_weights_alone(net, batch, kind, threat):
    images, labels = batch
    objective = kind(threat=threat)
    worst = objective.worst(net, images, labels, progress=1.0, noise=streams())
    assert worst.min() >= 0 and worst.max() <= 1
    assert (threat.distance(images, worst) <= threat.radius * (1 + 1e-5)).all()
    ascended = objective.ascended(net, images, labels)
    random = (images + threat.random(images, streams())).clamp(0, 1)
    assert ascended(worst) > max(ascended(random), ascended(images)) + 0.1
    assert all(p.grad is None for p in net.parameters())
    # The radius grows from 0 over the first 30 % of training, linearly.
    for progress, share in ((0.0, 0.0), (0.15, 0.5), (0.3, 1.0)):
        early = objective.worst(net, images, labels, progress=progress, noise=streams())
        reach = threat.distance(images, early).max().item()
        assert reach == pytest.approx(share * threat.radius, rel=0.01)


def test_an_objective_says_what_it_is():
    threat = eq.Linf(8 / 255)
    assert Standard().settings() == {"name": "standard"}
    attacked = {"threat": "linf:8/255", "steps": 7, "ramp": 0.3}
    assert PGD(threat=threat).settings() == {"name": "pgd", **attacked}
    assert TRADES(threat=threat).settings() == {"name": "trades", **attacked, "beta": 6.0}
    assert HalfAndHalf(threat=threat).settings() == {"name": "half-and-half", **attacked}
    assert RandomNoise(threat=threat).settings() == {
        "name": "random-noise",
        "threat": "linf:8/255",
    }


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: PGD(threat=eq.L2(1), steps=0), "steps=0"),
        (lambda: HalfAndHalf(threat=eq.L2(1), ramp=1.5), "ramp=1.5"),
        (lambda: TRADES(threat=eq.L2(1), beta=-1), "beta=-1.*at least 0"),
        (lambda: TRADES(threat=eq.L2(1), beta=float("nan")), "beta=nan"),
        (lambda: TRADES(threat=eq.L2(1), steps=0), "steps=0"),
        (lambda: Recipe(judgements=0), "judgements=0"),
    ],
)
def test_senseless_settings_are_refused(build, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        build()


# Training by name


@pytest.mark.parametrize(
    ("threat", "objective", "name"),
    [
        (eq.L2(0.5), "pgd", "l2-0.5"),
        (eq.L2(0), "standard", "l2-0"),
        (eq.L2(0), "trades", "l2-0"),
        (eq.L2(0.5), "trades", "trades-l2-0.5"),
        (eq.Linf(8 / 255), "half-and-half", "half-and-half-linf-8_255"),
        (eq.L1(12), "random-noise", "random-noise-l1-12"),
    ],
)
def test_rungs_are_named_by_objective(threat, objective, name):
    assert rung_name(threat, objective) == name


def test_objectives_are_chosen_by_name_and_share_the_lowest_rung(
    train_digits, tmp_path, monkeypatch
):
    asked = []

    def record(images, objective, recipe, folder, **_):
        asked.append((folder.name, objective))

    monkeypatch.setattr("equipoise.training.ladder.fit", record)
    threat = eq.L2(0.5)
    for name in ("standard", "pgd", "trades", "half-and-half", "random-noise"):
        radii = [eq.L2(0)] if name == "standard" else [eq.L2(0), threat]
        train_ladder(train_digits, radii, Recipe(), tmp_path, objective=name, steps=3)
    assert [found for found in asked if found[0] != "l2-0"] == [
        ("l2-0.5", PGD(threat=threat, steps=3)),
        ("trades-l2-0.5", TRADES(threat=threat, steps=3)),
        ("half-and-half-l2-0.5", HalfAndHalf(threat=threat, steps=3)),
        ("random-noise-l2-0.5", RandomNoise(threat=threat)),
    ]
    assert [found for found in asked if found[0] == "l2-0"] == [("l2-0", Standard())] * 5
    asked.clear()
    with pytest.raises(eq.EquipoiseError, match=r"'trade'.*Did you mean 'trades'"):
        train_ladder(train_digits, [threat], Recipe(), tmp_path, objective="trade")
    with pytest.raises(eq.EquipoiseError, match=r"'standard' within l2:0.5.*--radii 0.*'pgd'"):
        train_ladder(train_digits, [eq.L2(0), threat], Recipe(), tmp_path, objective="standard")
    assert not asked


@pytest.mark.slow
def test_adversarial_objectives_buy_more_robustness_than_noise_of_the_same_size(
    train_digits, tmp_path, digits
):
    """The median smallest change of 150 test digits, which hidden gradients could not raise: networks are plain."""
    images, labels, _ = (part[:150] for part in digits)
    recipe = Recipe(net="mlp", widths=(96,), epochs=25, rate=1e-2, judgements=3)
    radius = {}
    for name in ("pgd", "trades", "half-and-half", "random-noise"):
        standard, rung = train_ladder(
            train_digits,
            [eq.L2(0), eq.L2(0.75)],
            recipe,
            tmp_path,
            objective=name,
            accelerator="cpu",
        )
        assert rung.facts["objective"]["name"] == name and rung.facts["radius"] == 0.75
        for key, judged in (("standard", standard), (name, rung)):
            found = MinimumNorm(steps=30)(judged, images, labels, eq.L2(8.0)).distance
            radius[key] = found.median().item()
    least = min(radius[name] for name in ("pgd", "trades", "half-and-half"))
    assert least > 1.2 * radius["standard"]
    assert least > radius["random-noise"]


# The held-out images


@pytest.mark.parametrize("stop_after", [1, 3])
def test_an_interrupted_training_of_coins_ends_with_the_same_weights(
    train_digits, tmp_path, monkeypatch, stop_after
):
    """Interrupted before and after the held-out images were asked for the first time."""
    objective = HalfAndHalf(threat=eq.L2(0.5), steps=2)
    recipe = Recipe(net="mlp", widths=(16,), epochs=4, rate=1e-2, judgements=2)
    whole = fit(train_digits, objective, recipe, tmp_path / "whole", accelerator="cpu")
    monkeypatch.setattr("equipoise.training.engine.SECONDS_BETWEEN_CHECKPOINTS", 0)
    advance = Progress.advance

    def interrupt(self, note=""):
        advance(self, note)
        if self.done == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(train_digits, objective, recipe, tmp_path / "cut", accelerator="cpu")
    cut = fit(train_digits, objective, recipe, tmp_path / "cut", accelerator="cpu")
    state, expected = cut.net.state_dict(), whole.net.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_held_out_images_are_asked_as_often_as_the_recipe_says(train_digits, tmp_path):
    logs = {}
    for judgements, judged in ((50, range(1, 8)), (3, (3, 6, 7)), (1, (7,))):
        recipe = Recipe(net="mlp", widths=(16,), epochs=7, rate=1e-2, judgements=judgements)
        folder = tmp_path / str(judgements)
        rung = fit(train_digits, Standard(), recipe, folder, accelerator="cpu")
        log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in log] == list(range(1, 8))
        asked = [line for line in log if "score" in line]
        assert [line["epoch"] for line in asked] == list(judged)
        assert all("held_out_accuracy" in line for line in asked)
        best = max(line["score"] for line in asked)
        assert rung.facts["selected"] == [line for line in asked if line["score"] == best][-1]
        logs[judgements] = [line["loss"] for line in log]
    assert logs[50] == logs[3] == logs[1]
