"""Engines: whatever makes the passes of a search, verdicts and numbers are the classifier's own."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise.attacks import APGD, FAB, PGD, MinimumNorm, Square, WorstCase
from equipoise.audit.plan import make_plan
from equipoise.classifiers import Engine, Quick, ResidualNet, Trial, try_engines, wrap
from equipoise.comparing.protocol import read_protocol
from equipoise.probes import load_probe

ALL = Engine(bfloat16=True, channels_last=True)
PROBES = ["standard", "adversarial:linf:0.05?steps=4"]


@pytest.fixture
def digits_16(digits):
    images, labels, ids = digits
    return images[:16], labels[:16], ids[:16]


def conv():
    torch.manual_seed(0)
    net = ResidualNet(shape=(1, 8, 8), classes=10, widths=(8, 16))
    nn.init.normal_(net.head.weight, std=0.5)
    return wrap(net, name="conv", classes=tuple("0123456789"))


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        (Engine(), "float32"),
        (Engine(channels_last=True), "float32, channels last"),
        (ALL, "bfloat16, channels last"),
        (Engine(bfloat16=True, compiled=True), "bfloat16, compiled"),
    ],
)
def test_engines_are_read_as_they_are_written(engine, name):
    assert str(engine) == name
    assert Engine.read(name) == engine


@pytest.mark.parametrize(
    "name", ["", "bfloat16,", "float16", "channels last", "float32, bfloat16"]
)
def test_other_engines_are_refused(name):
    with pytest.raises(eq.EquipoiseError, match="Cannot compute with the engine"):
        Engine.read(name)


def test_a_quick_classifier_guesses_and_still_answers_as_before(digits_16):
    images, _, _ = digits_16
    classifier = conv()
    before = classifier(images)
    quick = Quick(classifier, ALL)
    guess = quick.guess(images).float()
    assert not torch.equal(guess, before)
    torch.testing.assert_close(guess, before, rtol=0.05, atol=0.05 * before.abs().max().item())
    assert torch.equal(quick(images), before)
    assert torch.equal(classifier(images), before)
    assert quick.fingerprint() == classifier.fingerprint()


class Liar(Quick):
    """Its guesses are the logits of another network, or call every image misread, or none."""

    def __init__(self, classifier, lie) -> None:
        super().__init__(classifier, ALL)
        self.lie = lie

    def guess(self, images: Tensor) -> Tensor:
        return self.lie(super().logits(images))


LIES = {
    "all are misread": lambda z: z.roll(1, 1),
    "none is": lambda z: z + 1000 * torch.nn.functional.one_hot(z.argmax(1), z.shape[1]),
    "no numbers": lambda z: z * torch.nan,
    "coarse": lambda z: (4 * z).round() / 4 + (z - z.detach()),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize(
    "attack",
    [
        PGD(steps=3),
        APGD(steps=6),
        APGD(steps=4, loss="dlr", targeted=True, targets=2),
        MinimumNorm(steps=24),
        FAB(steps=3, targets=2),
        Square(queries=10),
        WorstCase(steps=4, queries=10),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_no_lie_of_an_engine_reaches_a_result(attack, lie, digits_16):
    images, _, ids = digits_16
    classifier = conv()
    labels = classifier(images).argmax(1)
    labels[0] = (labels[0] + 1) % 10
    threat = eq.Linf(0.05)
    result = attack(Liar(classifier, lie), images, labels, threat, ids=ids)
    logits = classifier(result.images)
    assert torch.equal(result.success, logits.argmax(1) != labels)
    assert result.broken_by[0] == "clean"
    assert (threat.distance(images, result.images) <= threat.radius + 1e-6).all()
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    margin = others - logits.gather(1, labels[:, None]).squeeze(1)
    known = result.margin.isfinite()
    torch.testing.assert_close(result.margin[known], margin[known], rtol=1e-4, atol=1e-5)
    found = result.success & result.distance.isfinite()
    exact = threat.distance(images, result.images)
    torch.testing.assert_close(result.distance[found], exact[found], rtol=1e-5, atol=1e-7)


def test_an_engine_that_tells_the_truth_changes_no_verdict(digits_16):
    images, _, ids = digits_16
    classifier = conv()
    labels = classifier(images).argmax(1)
    plain = WorstCase()(classifier, images, labels, eq.Linf(0.02), ids=ids)
    same = WorstCase()(Liar(classifier, lambda z: z), images, labels, eq.Linf(0.02), ids=ids)
    assert torch.equal(plain.success, same.success)
    # Asking again for what seems broken costs passes, and nothing else.
    assert (same.forwards >= plain.forwards).all()
    assert (same.forwards > plain.forwards).any()


def test_what_helps_little_is_not_taken(digits_16, monkeypatch):
    images, labels, _ = digits_16
    monkeypatch.setattr("equipoise.classifiers.trial._time", lambda step, device: 1.0)
    trial = try_engines(conv(), images, labels)
    assert trial.chosen == Engine()
    assert trial.why == "nothing was more than 1.2 times as fast"
    assert trial.rates == dict.fromkeys(
        ["float32", "float32, channels last", "bfloat16", "bfloat16, channels last"], 64.0
    )


def test_what_is_fastest_is_taken(digits_16, monkeypatch):
    images, labels, _ = digits_16
    times = iter([4.0, 3.0, 2.0, 1.0] * 5)
    monkeypatch.setattr("equipoise.classifiers.trial._time", lambda step, device: next(times))
    trial = try_engines(conv(), images, labels)
    assert trial.chosen == ALL
    assert trial.why == "4.00 times as fast as float32"


class Rounded(nn.Module):
    """Refuses half precision, or follows noise in it."""

    def __init__(self, error: bool) -> None:
        super().__init__()
        self.error = error
        self.weight = nn.Parameter(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        half = torch.is_autocast_enabled("cpu")
        if half and self.error:
            raise TypeError("no half precision here")
        return x.flatten(1) @ (self.weight.flip(1) if half else self.weight).T


@pytest.mark.parametrize(
    ("error", "reason"), [(True, "no half precision"), (False, "a cosine of")]
)
def test_engines_that_fail_or_lead_elsewhere_are_refused(error, reason, digits_16):
    images, labels, _ = digits_16
    trial = try_engines(wrap(Rounded(error)), images, labels)
    assert not trial.chosen.bfloat16
    assert reason in trial.refused["bfloat16"]
    assert "bfloat16" not in trial.rates


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :10] + torch.rand(len(x), 10)


def test_random_and_half_precision_classifiers_are_searched_as_they_are(digits_16):
    images, labels, _ = digits_16
    assert "random" in try_engines(wrap(Random()), images, labels).why
    half = wrap(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).to(torch.bfloat16))
    assert "bfloat16 as they are" in try_engines(half, images, labels).why


@pytest.fixture
def takes_all(monkeypatch):
    """A trial that takes bfloat16 with channels last, and counts how often it is asked."""
    asked = []

    def choose(classifier, images, labels):
        asked.append(classifier.name)
        rates = {"float32": 100.0, str(ALL): 250.0}
        return Trial(rates, {}, ALL, "2.50 times as fast as float32")

    monkeypatch.setattr("equipoise.audit.engines.try_engines", choose)
    return asked


def test_fast_audits_are_of_this_process(trained, tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(eq.EquipoiseError, match="Leave one of the two out"):
        eq.audit(trained, "digits", ["standard"], tmp_path, "ray", precision="fast")


def test_a_fast_audit_records_its_choice_and_keeps_to_it(trained, tmp_path, takes_all):
    settings = {"limit": 40, "shown": False, "pictures": 0, "examined": 4}
    fast = eq.audit(trained, "digits", PROBES, tmp_path / "run", precision="fast", **settings)
    about = fast.record["engine"]["classifiers"][trained.name]
    assert fast.record["engine"]["precision"] == "fast"
    assert about["chosen"] == str(ALL)
    assert about["tried"] == {"float32": 100.0, str(ALL): 250.0}
    assert {facts["engine"] for facts in fast.facts(PROBES[1])} == {str(ALL)}
    assert all("engine" not in facts for facts in fast.facts("standard"))
    files = {shard["file"] for shard in fast.record["shards"]}
    again = eq.audit(trained, "digits", PROBES, tmp_path / "run", precision="fast", **settings)
    assert takes_all == [trained.name]
    assert again.record["engine"] == fast.record["engine"]
    assert {shard["file"] for shard in again.record["shards"]} == files
    exact = eq.audit(trained, "digits", PROBES, tmp_path / "run", **settings)
    assert exact.record["engine"] == {"precision": "exact"}
    differing = files ^ {shard["file"] for shard in exact.record["shards"]}
    assert {name.split("/")[1] for name in differing} == {"adversarial_linf_0.05_steps_4"}
    assert exact.table("standard").fetchall() == fast.table("standard").fetchall()


def test_fast_and_exact_are_not_of_one_protocol(trained, tmp_path, takes_all):
    settings = {"limit": 20, "shown": False, "pictures": 0, "examined": 0}
    exact = eq.audit(trained, "digits", PROBES, tmp_path / "exact", **settings)
    fast = eq.audit(trained, "digits", PROBES, tmp_path / "fast", precision="fast", **settings)
    protocols = [read_protocol(run, PROBES[1]) for run in (exact, fast)]
    assert protocols[0].differing(protocols[1]) == ["engine"]
    assert protocols[1].settings["engine"] == str(ALL)
    alike = [read_protocol(run, "standard") for run in (exact, fast)]
    assert alike[0].differing(alike[1]) == []
    for run in (exact, fast):
        columns = run.columns(PROBES[1], trained.name)
        fooled = columns["success"].astype(bool)
        wrong = columns["adversarial_prediction"] != columns["label"]
        assert np.array_equal(fooled, wrong)
        assert (columns["margin"][fooled] > 0).all()
        assert (columns["margin"][~fooled] <= 0).all()


def test_nothing_is_tried_without_a_search(trained, tmp_path, takes_all):
    run = eq.audit(
        trained, "digits", ["standard"], tmp_path / "r", precision="fast", limit=9, shown=False
    )
    assert run.record["engine"] == {"precision": "fast", "classifiers": {}}
    assert takes_all == []


def test_a_classifier_in_training_mode_still_fails_its_preflight(tmp_path):
    classifier = conv()
    classifier.net.train()
    with pytest.raises(eq.EquipoiseError, match="preflight"):
        eq.audit(classifier, "digits", PROBES, tmp_path / "run", precision="fast", limit=9)


def test_other_precisions_are_refused(trained, tmp_path):
    with pytest.raises(eq.EquipoiseError, match="give exact or fast"):
        eq.audit(trained, "digits", PROBES, tmp_path / "run", precision="half")


def test_an_engine_is_part_of_what_is_searched_only():
    classifier, data = conv(), eq.load_images("digits").subset(20)
    probes = [load_probe(probe) for probe in PROBES]
    quick = {"conv": Quick(classifier, ALL)}
    plans = [
        make_plan(data, {"conv": classifier}, probes, seed=0, pictures=0, quick=given)
        for given in ({}, quick)
    ]
    same = [a.identity == b.identity for a, b in zip(*(p.shards for p in plans), strict=True)]
    assert same == [True, True, False]
