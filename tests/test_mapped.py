"""ImageNet's classifiers on other classes: the three rules, the reading, its audit, and what may not be fitted."""

import inspect
import json
import re

import numpy as np
import pytest
import torch
from layouts_ood import CLASSES, OUTPUTS, Colours, imagenet_val, objectnet, waterbirds, write_png
from test_gallery import unpacked
from torch import nn

import equipoise as eq
from equipoise import training
from equipoise.classifiers import (
    NETS,
    Mapped,
    is_right,
    preflight,
    read_as,
    save_classifier,
    unread,
)
from equipoise.images import Arrays, Joined
from equipoise.probes.feature_use import correlate
from equipoise.report.page import render
from equipoise.report.reading import Reading
from equipoise.studies.two_classes import attack_two_classes

NONE = "none of these"


def draw(seed, *, overlapping):
    """Random logits, labels and sets of outputs, of few outputs so that sets meet the largest ones."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(200, 1000, generator=g)
    logits[:, 30:] -= 2
    order = torch.randperm(30, generator=g).tolist()
    outputs, start = [], 0
    for k in range(6):
        size = 1 + k % 3
        outputs.append(tuple(order[start : start + size]))
        start += size - overlapping * (size > 1)
    return logits, torch.randint(0, 6, (200,), generator=g), tuple(outputs)


def by_hand(z, label, outputs, rule):
    """One image, by the words of the rule."""
    own = set(outputs[label])
    if rule == "strict":
        return max(range(1000), key=lambda j: z[j]) in own
    if rule == "among":
        return max(set().union(*outputs), key=lambda j: z[j]) in own
    scores = [max(z[j] for j in listed) for listed in outputs]
    return scores.index(max(scores)) == label


@pytest.mark.parametrize("rule", ["strict", "among", "pooled"])
@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_rules_are_what_their_words_say(rule, overlapping, seed):
    logits, labels, outputs = draw(seed, overlapping=overlapping)
    found = is_right(logits, labels, outputs, rule)
    rows = zip(logits.tolist(), labels.tolist(), strict=True)
    assert found.tolist() == [by_hand(z, y, outputs, rule) for z, y in rows]
    assert 5 < found.sum() < 150


def test_the_rules_by_hand():
    outputs = ((1, 2), (2, 5))
    logits = torch.zeros(3, 1000)
    logits[0, [1, 2, 5, 9]] = torch.tensor([1.0, 3.0, 2.0, 4.0])
    logits[1, [1, 2, 5, 9]] = torch.tensor([1.0, 2.0, 3.0, 0.5])
    logits[2, [1, 2, 5, 9]] = torch.tensor([4.0, 1.0, 3.0, 0.5])
    for label, strict, among, pooled in (
        (0, [False, False, True], [True, False, True], [True, False, True]),
        # Output 2 is largest in the first image and counts as both classes, of which pooling takes one.
        (1, [False, True, False], [True, True, False], [False, True, False]),
    ):
        labels = torch.full((3,), label)
        assert is_right(logits, labels, outputs, "strict").tolist() == strict
        assert is_right(logits, labels, outputs, "among").tolist() == among
        assert is_right(logits, labels, outputs, "pooled").tolist() == pooled


class Given(nn.Module):
    """Whatever 1,000 numbers the image holds, as logits."""

    def forward(self, images):
        return images.flatten(1)


@pytest.mark.parametrize("seed", range(3))
def test_a_reading_is_the_strict_rule_and_its_first_classes_are_the_others(seed):
    logits, labels, outputs = draw(seed, overlapping=False)
    # A rising map into [0, 1], where images are.
    images = logits.sigmoid().view(-1, 1, 10, 100)
    read = read_as(eq.wrap(Given()), "abcdef", outputs)
    z = read(images)
    assert z.shape == (200, 7)
    assert torch.equal(z.argmax(1) == labels, is_right(logits, labels, outputs, "strict"))
    among = z[:, :6].argmax(1) == labels
    assert torch.equal(among, is_right(logits, labels, outputs, "among"))
    assert torch.equal(among, is_right(logits, labels, outputs, "pooled"))
    rest = sorted(set(range(1000)) - set().union(*outputs))
    assert torch.equal(z[:, 6], images.flatten(1)[:, rest].amax(1))
    forced = read_as(eq.wrap(Given()), "abcdef", outputs, others=False)
    assert torch.equal(forced(images), z[:, :6])
    assert forced.classes == tuple("abcdef")


def test_no_logit_for_the_rest_where_there_is_none():
    halves = [list(range(500)), list(range(500, 1000))]
    read = read_as(eq.wrap(Given()), ("low", "high"), halves)
    images = torch.rand(3, 1, 10, 100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(read(images), images.flatten(1).view(3, 2, 500).amax(2))
    assert read.classes == ("low", "high")


def test_the_gradient_goes_to_the_largest_output_alone():
    images = torch.full((1, 1, 10, 100), 0.5, requires_grad=True)
    read = read_as(eq.wrap(Given()), "ab", [[4], [5, 6, 7]])
    for k, size in ((0, 1), (1, 1), (2, 1)):
        (slope,) = torch.autograd.grad(read(images)[0, k], images)
        assert slope.sum() == size and slope.count_nonzero() == 1  # ties, too
    assert torch.autograd.grad(read(images)[0, 0], images)[0].flatten()[4] == 1


def test_a_reading_is_a_classifier():
    plain = eq.wrap(
        Colours(), mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.2], name="net", facts={"radius": 0}
    )
    read = read_as(plain, CLASSES, OUTPUTS)
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert (read.name, read.classes) == ("net", (*CLASSES, NONE))
    assert read.facts == {
        "radius": 0,
        "read_as": "1,000 outputs read as 4 classes, each the largest of its own, 7 in all; the largest of the other "
        "993 is 'none of these'",
    }
    assert torch.equal(read(images)[:, 2], plain(images)[:, 0])  # its scaling, too
    assert torch.equal(read(images[:3]), read(images)[:3])
    again = read_as(plain, CLASSES, OUTPUTS)
    other = read_as(plain, CLASSES, (*OUTPUTS[:3], (457, 907)))
    forced = read_as(plain, CLASSES, OUTPUTS, others=False)
    assert read.fingerprint() == again.fingerprint()
    assert len({c.fingerprint() for c in (plain, read, other, forced)}) == 4
    assert read.behaviour((3, 8, 8)) not in ("", plain.behaviour((3, 8, 8)))
    assert torch.equal(unread(read)(images), plain(images))
    assert unread(plain) is plain
    assert sum(p.numel() for p in read.parameters()) == sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize(
    ("names", "classes", "outputs", "words"),
    [
        ([str(k) for k in range(10)], "ab", [[0], [1]], "it has 10 itself. Give one of ImageNet's 1,000"),
        (None, "ab", [[0]], "1 lists of outputs"),
        (None, "ab", [[0], []], "2 lists of outputs, 1 of them not empty"),
        (None, "", [], "0 lists of outputs"),
        (None, "ab", [[0], [1000]], "output 1000 is not one of 0..999"),
        (None, "ab", [[-1], [1]], "output -1 is not one of 0..999"),
    ],
)  # fmt: skip
def test_readings_that_are_refused(names, classes, outputs, words):
    classifier = eq.wrap(Given(), classes=names, name="net")
    with pytest.raises(eq.EquipoiseError, match=f"'net' as {len(classes)} classes: .*{words}"):
        read_as(classifier, classes, outputs)


def test_a_classifier_of_other_outputs_is_refused_when_it_is_called():
    read = read_as(eq.wrap(Given(), name="net"), "ab", [[0], [1]])
    with pytest.raises(eq.EquipoiseError, match=r"shape \(16, 999\).*ImageNet's 1,000 classes"):
        read(torch.rand(2, 1, 1, 999))
    with pytest.raises(eq.EquipoiseError, match=r"shape \(2, 999\)"):
        is_right(torch.rand(2, 999), torch.tensor([0, 1]), [[0], [1]], "among")
    with pytest.raises(eq.EquipoiseError, match=r"rule 'amongst'. Did you mean 'among'"):
        is_right(torch.rand(2, 1000), torch.tensor([0, 1]), [[0], [1]], "amongst")
    with pytest.raises(eq.EquipoiseError, match="it has 3 itself"):
        read_as(read, "ab", [[0], [1]])
    with pytest.raises(eq.EquipoiseError, match="its network is a Mapped"):
        save_classifier(read, None)
    assert Mapped not in NETS.values()


@pytest.fixture(scope="module")
def on(tmp_path_factory):
    """A tiny ObjectNet with a source, in which one tench looks like nothing that is asked for."""
    root = objectnet(tmp_path_factory.mktemp("objectnet"), each=3)
    write_png(root / "objectnet-1.0/images/a_fish/99.png", (0, 0, 0), (16, 12), frame=2)
    return f"objectnet:{root}?size=8&source={imagenet_val(root / 'val')}"


def test_preflight_says_how_a_classifier_is_read(on):
    checks = {c.name: c for c in eq.check(eq.wrap(Colours(), name="net"), on, device="cpu")}
    assert {c.status for c in checks.values()} == {"pass"}
    assert "1,000 outputs read as 4 classes" in checks["classes"].finding
    assert "1000 logits" in checks["outputs"].finding
    forced = read_as(eq.wrap(Colours()), CLASSES, OUTPUTS, others=False)
    checks = {c.name: c for c in eq.check(forced, on, device="cpu")}
    assert checks["classes"].status == "pass"
    assert "no other counts" in checks["classes"].finding


def test_preflight_sees_probabilities_behind_a_reading():
    net = nn.Sequential(Colours(0.1), nn.Softmax(1))
    images = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    read = read_as(eq.wrap(net), CLASSES, OUTPUTS)
    checks = preflight(read, images, torch.arange(8) % 4, CLASSES)
    assert "probabilities" in checks[-1].finding and checks[-1].status == "fail"


def test_only_1000_outputs_are_read(on):
    def classes(outputs):
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, outputs))
        found = {c.name: c for c in eq.check(eq.wrap(net), on, device="cpu")}
        return found["classes"]

    assert classes(4).finding == "4 outputs for 4 classes"
    assert (classes(6).status, classes(6).finding) == (
        "warn",
        "6 outputs for 4 classes in the data",
    )
    assert classes(3).status == "fail"
    training = eq.wrap(Colours())
    training.train()
    with pytest.raises(eq.EquipoiseError, match="training mode"):
        eq.audit(training, on, ["standard"], "nowhere", device="cpu")


def test_images_of_no_known_outputs_are_judged_as_before(tmp_path):
    waterbirds(tmp_path)
    found = eq.check(eq.wrap(Colours()), f"waterbirds:{tmp_path}?size=8", device="cpu")
    assert {c.name: c.finding for c in found}[
        "classes"
    ] == "1000 outputs for 2 classes in the data"


@pytest.fixture(scope="module")
def run(on, tmp_path_factory):
    net = eq.wrap(Colours(), name="net", facts={"norm": "l2", "radius": 0.5})
    probes = ["standard", "adversarial:l2:4?steps=10", "large_eps:l2:8?steps=5"]
    out = tmp_path_factory.mktemp("run") / "audit"
    run = eq.audit([net], on, probes, out, device="cpu", batch=8)
    again = eq.audit([net], on, probes, out, device="cpu", batch=16)
    assert again.record["finished"] == run.record["finished"]  # nothing was measured again
    return run


def test_an_audit_counts_by_the_strict_rule(run):
    found = run.columns("standard", "net")
    wrong = found["id"] == "target/a_fish/99.png"
    assert wrong.sum() == 1
    assert found["correct"].tolist() == (~wrong).tolist()
    assert found["prediction"][wrong].tolist() == [4]
    assert set(found["group"]) == {"source", "target"}
    about = run.record["classifiers"]["net"]
    assert about["beyond"] == [NONE]
    assert about["facts"]["read_as"].startswith("1,000 outputs read as 4 classes")
    said = {c["name"]: c for c in about["preflight"]}["classes"]
    assert (said["status"], said["finding"]) == ("pass", about["facts"]["read_as"])


def test_an_attack_may_lead_to_none_of_the_classes(run):
    found = run.columns("adversarial:l2:4?steps=10", "net")
    fooled = found["success"] & (found["radius"] > 0)
    assert fooled.any()
    said = found["adversarial_prediction"]
    assert (said[fooled] != found["label"][fooled]).all()
    assert ((said >= 0) & (said <= 4)).all()
    # Black, output 7, is what images of one dark colour are nearest to.
    assert (said[fooled] == 4).any()
    # The radius is exact for a linear rule: half the way between the colours, over all pixels.
    row = int(np.flatnonzero(found["id"] == "target/a_fish/00.png")[0])
    fish, tie = np.array([0, 200, 0]) / 255, np.array([0, 200, 200]) / 255
    black, banana = np.zeros(3), np.array([200, 200, 0]) / 255
    half = min(np.linalg.norm(fish - other) / 2 for other in (tie, black, banana)) * 8
    assert found["radius"][row] == pytest.approx(half, rel=0.02)


def test_the_page_names_the_class_beyond(run, tmp_path):
    page = eq.report(run, tmp_path / "page.html").read_text(encoding="utf-8")
    data = re.search(r'id="gallery-data">(.*?)</script>', page, re.S)
    assert data
    gallery = json.loads(data[1])
    assert gallery["classes"] == list(CLASSES)
    assert gallery["beyond"] == [[NONE]]
    for column in (gallery["columns"], gallery["columns"]["threats"][0]):
        said = unpacked(column["prediction"]) + unpacked(gallery["columns"]["label"])
        assert (said == 4).any()
    assert "1,000 outputs read as 4 classes" in page
    assert "class 4" not in page
    reading = Reading(run)
    assert reading.class_name(4, "net") == NONE
    assert (reading.class_name(4), reading.class_name(9, "net")) == ("class 4", "class 9")
    assert render(reading) == page


def test_a_run_of_an_earlier_version_has_no_names_beyond(run):
    reading = Reading(run)
    del reading.record["classifiers"]["net"]["beyond"]
    assert reading.beyond("net") == []


@pytest.fixture(scope="module")
def tests_only(tmp_path_factory):
    root = objectnet(tmp_path_factory.mktemp("objectnet"))
    return eq.load_images(f"objectnet:{root}?size=8")


RECIPE = training.Recipe(net="mlp", widths=(4,), epochs=1)


def _features(make):
    return lambda images, out: make(images, eq.wrap(Colours()), out, steps=1, device="cpu")


FITS = {
    "fit": lambda images, out: training.fit(
        images, training.Standard(), RECIPE, out, accelerator="cpu"
    ),
    "train_ladder": lambda images, out: training.train_ladder(
        images, [eq.L2(0)], RECIPE, out, accelerator="cpu"
    ),
    "fit_denoiser": lambda images, out: training.fit_denoiser(
        images, training.DenoiserRecipe(steps=1), out, accelerator="cpu"
    ),
    "remember": training.remember,
    "fit_head": lambda images, out: training.fit_head(eq.wrap(Colours()), images),
    "transfer": lambda images, out: training.transfer(eq.wrap(Colours()), images, out),
    "match_features": _features(training.match_features),
    "relabel": _features(training.relabel),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("how", ["whole", "subset", "joined"])
def test_nothing_is_trained_on_images_for_tests(tests_only, tmp_path, name, how):
    own = Arrays(torch.zeros(1, 3, 8, 8), [0], CLASSES)
    object.__setattr__(own, "outputs", tests_only.outputs)
    images = {
        "whole": tests_only,
        "subset": tests_only.subset(5),
        "joined": Joined({"mine": own, "theirs": tests_only}),
    }[how]
    with pytest.raises(
        eq.EquipoiseError, match=r"^Cannot .* 'objectnet:|^Cannot .* 'mine="
    ) as refusal:
        FITS[name](images, tmp_path / "out")
    assert tests_only.only_for_tests in str(refusal.value)
    assert "Take other images" in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_every_training_that_takes_images_is_asked():
    takes = {
        name
        for name in training.__all__
        if inspect.isfunction(getattr(training, name))
        and "images" in inspect.signature(getattr(training, name)).parameters
    }
    assert takes - {"shuffled_rows"} == set(FITS)


def test_neither_probes_nor_studies_fit_on_images_for_tests(tests_only, tmp_path):
    with pytest.raises(
        eq.EquipoiseError, match=r"correlate inputs with labels on 'objectnet:.*licence"
    ):
        correlate(tests_only)
    with pytest.raises(eq.EquipoiseError, match=r"fit linear rules to 'objectnet:.*licence"):
        attack_two_classes(tests_only, tests_only, ("Chair", "Tie"), [0.0, 0.1], 0.1)
    asked = training.Training(
        data=tests_only.spec,
        threat=eq.L2(0),
        objective="pgd",
        recipe=RECIPE,
        out=tmp_path,
        steps=1,
    )
    with pytest.raises(eq.EquipoiseError, match="licence forbids"):
        training.train_many([asked], "title", device="cpu")


def test_other_images_are_fitted_as_before(tmp_path):
    images = Arrays(torch.rand(8, 1, 4, 4), [k % 2 for k in range(8)], ("a", "b"))
    assert images.refuse_fitting("train a classifier on") is None
    training.remember(images, tmp_path / "near")
    assert (tmp_path / "near" / "classifier.json").exists()
