"""The probes of regions, groups, backgrounds and saliency, on classifiers and masks known in closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Linear
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn import functional as F

import equipoise as eq
from equipoise.audit.statistics import estimate
from equipoise.classifiers import is_right, read_as
from equipoise.errors import EquipoiseError
from equipoise.images import Arrays, Images
from equipoise.probes import (
    Backgrounds,
    Groups,
    Regions,
    Request,
    Saliency,
    Shift,
    backgrounds,
    load_probe,
    relative_sensitivity,
)
from equipoise.probes.regions import LEVELS
from equipoise.streams import stream

SHAPE = (3, 6, 6)


class Shown(Images):
    """Images of `images` with masks and groups."""

    def __init__(self, images, masks=(), groups=()):
        self.images, self.masks, self.known = images, masks, groups
        self.spec, self.split, self.classes = images.spec, images.split, images.classes

    def __len__(self):
        return len(self.images)

    def read(self, index):
        mask = self.masks[index] if len(self.masks) else None
        group = self.known[index] if len(self.known) else None
        return replace(self.images[index], mask=mask, group=group)

    def fingerprint(self, indices):
        return "shown" + self.images.fingerprint(indices)


def left(share=0.5):
    """A mask of the left columns."""
    mask = torch.zeros(1, *SHAPE[1:])
    mask[..., : round(share * SHAPE[2])] = 1
    return mask


def photos(count=8, low=0.3, high=0.7, seed=0, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    pixels = low + (high - low) * torch.rand(count, *shape, generator=generator)
    return Arrays(pixels, [k % 2 for k in range(count)], ("a", "b"))


def two(weight):
    """Of two classes: logits (0, w . x - its value on mid-grey)."""
    weight = weight.flatten()
    both = torch.stack([torch.zeros_like(weight), weight])
    return eq.wrap(Linear(both, torch.tensor([0.0, -float(weight.sum()) / 2])))


def ask(probe, classifier, data, *, pictured=False, seed=0):
    """The columns of all images in one batch, as a run has them."""
    batch = data.batch(range(len(data)))
    flags = [pictured] * len(data)
    answers = probe.measure(
        classifier, batch, Request(seed=seed, pictured=flags, examined=flags, others={})
    )
    assert set(answers.columns) == set(probe.types)
    common = {
        "label": batch.labels.numpy(),
        "group": np.array(batch.groups, dtype=object),
    }
    return answers.columns | common | {"notes": answers.notes}


def named(probe, columns):
    return {metric.name: estimate(metric) for metric in probe.metrics(columns)}


# --- regions


def test_noise_where_the_classifier_does_not_look_changes_nothing():
    data = Shown(photos(40), [left()] * 40)
    looks_left = two(torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)) * left())
    clean = [int(looks_left(e.image[None]).argmax()) == e.label for e in data]
    found = ask(Regions("gaussian", levels=(0.05, 0.8), trials=3), looks_left, data)
    for i, right in enumerate(clean):
        assert found["background"][i] == [right, right]
    assert any(v[1] not in (0, 1) for v in found["object"])
    assert found["forwards"].tolist() == [12] * 40
    # Looking the other way swaps the regions: the noise is the same for both.
    swapped = Shown(photos(40), [1 - left()] * 40)
    other = ask(Regions("gaussian", levels=(0.05, 0.8), trials=3), looks_left, swapped)
    assert other["object"].tolist() == found["background"].tolist()
    assert other["background"].tolist() == found["object"].tolist()
    assert other["sensitivity"].tolist() == [-v for v in found["sensitivity"].tolist()]


@pytest.mark.parametrize("kind", ["gaussian", "l2"])
def test_regions_agree_with_an_independent_count(kind):
    """Everything again with NumPy, image by image."""
    data = Shown(photos(12, 0, 1), [left((k % 5 + 1) / 6) for k in range(12)])
    classifier = two(torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)))
    probe = Regions(kind, trials=2)
    found = ask(probe, classifier, data, seed=5)
    weight, bias = classifier.net.weight.double().numpy(), classifier.net.bias.double().numpy()
    shares, chances = np.zeros((2, 12, len(LEVELS[kind]))), np.zeros((2, 12))
    for i, example in enumerate(data):
        x, mask = example.image.double().numpy(), data.masks[i].double().numpy()
        for trial in range(2):
            z = torch.randn(SHAPE, generator=stream("regions", 5, example.id, trial)).numpy()
            for side, region in enumerate((mask, 1 - mask)):
                change = region * z
                if kind == "l2":
                    change *= math.sqrt(108 / 150528) / math.sqrt((change**2).sum())
                for k, level in enumerate(LEVELS[kind]):
                    logits = weight @ np.clip(x + level * change, 0, 1).ravel() + bias
                    shares[side, i, k] += (logits.argmax() == example.label) / 2
                    p = np.exp(logits - logits.max())
                    chances[side, i] += p[example.label] / p.sum() / 2 / len(LEVELS[kind])
    for side, name in enumerate(("object", "background")):
        np.testing.assert_array_equal(np.array(found[name].tolist()), shares[side])
    own = relative_sensitivity(chances[0], chances[1])
    np.testing.assert_allclose(found["sensitivity"].astype(float), own, atol=1e-5)
    areas = [mask.mean().item() for mask in data.masks]
    np.testing.assert_allclose(found["area"].astype(float), areas, rtol=1e-6)
    # The quoted number: images, then classes, then the quotient.
    labels = np.arange(12) % 2
    a, b = (np.mean([shares[side][labels == k].mean() for k in (0, 1)]) for side in (0, 1))
    quoted = named(probe, found)
    kind_name = "Gaussian noise" if kind == "gaussian" else "L2 noise"
    sensitivity = quoted[f"relative sensitivity to the object, {kind_name}"]
    assert sensitivity.value == pytest.approx(
        (b - a) / (2 * min((a + b) / 2, 1 - (a + b) / 2)), abs=1e-9
    )


def test_soft_masks_scale_the_noise():
    """Half a mask is half the noise on both sides: the two regions are one."""
    data = Shown(photos(30), [torch.full((1, 6, 6), 0.5)] * 30)
    classifier = two(torch.randn(SHAPE, generator=torch.Generator().manual_seed(3)))
    found = ask(Regions("gaussian", levels=(1.0,), trials=4), classifier, data)
    assert found["object"].tolist() == found["background"].tolist()
    assert len({tuple(v) for v in found["object"].tolist()}) > 2
    assert named(Regions(), found)["relative sensitivity to the object, Gaussian noise"].value == 0


def test_masks_without_object_or_background_are_left_out():
    masks = [left(), left(0), left(1), None]
    data = Shown(photos(4), masks)
    found = ask(Regions("l2"), two(torch.ones(SHAPE)), data, pictured=True)
    assert [value is not None for value in found["object"]] == [True, False, False, False]
    assert [value is not None for value in found["picture"]] == [True, False, False, False]
    assert found["notes"] == ("images without a mask, an object or a background were left out",)
    assert all(metric.n == 1 for metric in named(Regions("l2"), found).values())
    nothing = ask(Regions(), two(torch.ones(SHAPE)), Shown(photos(2)))
    assert all(math.isnan(metric.value) for metric in named(Regions(), nothing).values())


def test_regions_do_not_depend_on_the_batch():
    data = Shown(photos(5), [left()] * 5)
    classifier = two(torch.randn(SHAPE, generator=torch.Generator().manual_seed(4)))
    whole = ask(Regions(trials=2), classifier, data)
    batch = data.batch([3])
    request = Request(seed=0, pictured=[False], examined=[False], others={})
    alone = Regions(trials=2).measure(classifier, batch, request).columns
    for name in ("object", "background", "sensitivity"):
        assert alone[name][0] == whole[name][3]


# --- groups


def grouped(groups, labels=None):
    pixels = torch.full((len(groups), *SHAPE), 0.5)
    labels = labels or [0] * len(groups)
    images = Arrays(pixels, labels, ("a", "b"), ids=[f"{k}" for k in range(len(groups))])
    return Shown(images, groups=groups)


def test_groups_by_hand(monkeypatch):
    """Training: 60 aa, 20 ab, 15 bb, 5 ba. Test accuracies: aa 1, ab 1/2, ba 0, bb 3/4."""
    training = grouped(["aa"] * 60 + ["ab"] * 20 + ["bb"] * 15 + ["ba"] * 5, [0] * 80 + [1] * 20)
    monkeypatch.setattr("equipoise.probes.groups.load_images", lambda spec, split: training)
    groups = ["aa"] * 4 + ["ab"] * 2 + ["ba"] * 3 + ["bb"] * 4
    columns = {
        "group": np.array(groups, dtype=object),
        "correct": np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0]),
    }
    found = named(Groups("made"), columns)
    assert {g: found[f"accuracy on {g}"].value for g in ("aa", "ab", "ba", "bb")} == {
        "aa": 1,
        "ab": 0.5,
        "ba": 0,
        "bb": 0.75,
    }
    assert found["worst-group accuracy"].value == 0
    average = found["average accuracy, groups as common as in training"]
    assert average.value == pytest.approx(0.6 + 0.2 * 0.5 + 0.15 * 0.75)
    gap = found["majority less minority groups"]
    assert gap.value == pytest.approx((1 + 0.75) / 2 - (0.5 + 0) / 2)
    assert all(metric.low < metric.high for metric in found.values())
    facts = Groups("made").facts()
    assert facts == {
        "training": {"aa": 60, "ab": 20, "ba": 5, "bb": 15},
        "majorities": ["aa", "bb"],
    }
    monkeypatch.undo()
    # What a run kept is enough: the training images need not be there.
    recalled = Groups("made").recalled(facts)
    assert (recalled, repr(recalled)) == (Groups("made"), repr(Groups("made")))
    assert named(recalled, columns) == found


def test_a_group_that_was_not_audited_leaves_the_worst_unknown(monkeypatch):
    training = grouped(["aa"] * 6 + ["ab"] * 2)
    monkeypatch.setattr("equipoise.probes.groups.load_images", lambda spec, split: training)
    columns = {"group": np.array(["aa"] * 9, dtype=object), "correct": np.ones(9)}
    found = named(Groups("made"), columns)
    assert math.isnan(found["worst-group accuracy"].value)
    assert math.isnan(found["average accuracy, groups as common as in training"].value)
    assert named(Groups(), columns)["worst-group accuracy"].value == 1
    bare = Shown(photos(4))
    monkeypatch.setattr("equipoise.probes.groups.load_images", lambda spec, split: bare)
    with pytest.raises(EquipoiseError, match="no image of its split 'train' has a group"):
        Groups("bare").facts()


def test_groups_answer_as_the_classifier_does_and_need_groups():
    data = grouped(["aa", "ab", "aa"], [0, 1, 1])
    found = ask(Groups(), two(torch.zeros(SHAPE)), data)
    assert found["correct"].tolist() == [True, False, False]
    assert "worst-group accuracy" in named(Groups(), found)
    with pytest.raises(EquipoiseError, match="needs images with groups, and '1' has none"):
        ask(Groups(), two(torch.zeros(SHAPE)), Shown(photos(2), groups=["aa", None]))


# --- backgrounds


def test_the_background_gap_by_hand():
    groups = ["mixed_same"] * 10 + ["mixed-rand"] * 20 + ["only-bg"] * 5
    correct = np.array([1] * 9 + [0] + [1] * 12 + [0] * 8 + [1] + [0] * 4)
    columns = {
        "group": np.array(groups, dtype=object),
        "correct": correct,
        "stands": np.full(35, None, dtype=object),
    }
    found = named(Backgrounds(), columns)
    assert found["accuracy on mixed-same"].value == 0.9
    assert found["accuracy on only-bg"].value == 0.2
    gap = found["background gap"]
    assert gap.value == pytest.approx(0.9 - 0.6)
    assert gap.low < 0.3 < gap.high
    columns["group"][:10] = "mixed_next"
    assert "background gap" not in named(Backgrounds(), columns)


def test_the_challenge_agrees_with_trying_every_background(monkeypatch):
    scenes = photos(150, 0, 1, seed=9)
    monkeypatch.setattr("equipoise.probes.backgrounds.load_images", lambda spec: scenes)
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(6))
    classifier = two(weight * (0.1 + left()))  # mostly the object
    pixels = photos(40, 0, 1, seed=3)
    labels = [int(v) for v in classifier(torch.stack([e.image for e in pixels])).argmax(1)]
    labels[0] = 1 - labels[0]
    images = Arrays(pixels.pixels, labels, ("a", "b"))
    data = Shown(images, [left()] * 40, ["original"] * 38 + ["mixed-same"] * 2)
    found = ask(Backgrounds("made"), classifier, data)
    wanted = []
    for example in data:
        pasted = torch.stack([torch.where(left() > 0, example.image, s.image) for s in scenes])
        wanted.append(bool((classifier(pasted).argmax(1) == example.label).all()))
    assert found["stands"][:38].tolist() == [False, *wanted[1:38]]
    assert found["stands"][38:].tolist() == [None, None]
    assert 5 < sum(wanted[1:38]) < 33
    stood = found["stands"] == True  # noqa: E712  None is neither
    assert set(found["tried"][stood].tolist()) == {150}
    assert found["tried"][0] == 0
    assert set(found["tried"][~stood].tolist()) <= {0, 64, 128, 150}
    quoted = named(Backgrounds("made"), found)["accuracy against backgrounds"]
    assert (quoted.n, quoted.value) == (38, pytest.approx(sum(wanted[1:38]) / 38))
    fewer = ask(Backgrounds("made", limit=10), classifier, data)
    assert fewer["tried"].max() == 10
    assert (fewer["stands"][stood] == True).all()  # noqa: E712


@pytest.mark.parametrize("mixed", [False, True])
def test_backgrounds_are_kept_in_eight_bits_without_any_change(monkeypatch, mixed):
    """Every value that eight bits have, and, where asked for, one background in the second part that they lack."""
    levels = torch.arange(256).repeat(9)[: 70 * 32].view(70, 2, 4, 4).float().numpy()
    pixels = torch.from_numpy(levels / np.float32(255))
    if mixed:
        pixels[69, 0, 0, 0] = 0.1234
    scenes = Arrays(pixels, [0] * 70, ("a", "b"))
    monkeypatch.setattr("equipoise.probes.backgrounds.load_images", lambda spec: scenes)
    probe = Backgrounds("made")
    kept = probe._pixels
    assert kept.dtype == (torch.float32 if mixed else torch.uint8)
    assert torch.equal(backgrounds._values(kept), pixels)


def test_backgrounds_of_another_shape_are_refused(monkeypatch):
    monkeypatch.setattr(
        "equipoise.probes.backgrounds.load_images", lambda spec: photos(3, shape=(3, 4, 4))
    )
    data = Shown(photos(2), [left()] * 2, ["original"] * 2)
    blind = eq.wrap(Linear(torch.zeros(2, 108), torch.tensor([1.0, 0.0])))
    with pytest.raises(EquipoiseError, match=r"shape \(3, 6, 6\) onto .* shape is \(3, 4, 4\)"):
        ask(Backgrounds("made"), blind, data)


# --- shift


class Table(nn.Module):
    """Logits that were fixed beforehand, looked up by the first pixel of the image, k / 100."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, images):
        return self.rows[(images[:, 0, 0, 0] * 100).round().long()]


def test_shift_scores_by_each_rule():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 1000, generator=generator)
    logits[:, 12:] -= 2
    outputs = ((0, 3), (1,), (2, 5, 6))
    labels = torch.randint(0, 3, (60,), generator=generator).tolist()
    pixels = torch.zeros(60, *SHAPE) + torch.arange(60).view(-1, 1, 1, 1) / 100
    images = Arrays(pixels, labels, ("a", "b", "c"))
    data = Shown(images, groups=["source"] * 35 + ["target"] * 25)
    table = eq.wrap(Table(logits))
    found = ask(Shift(), read_as(table, images.classes, outputs), data)
    quoted = named(Shift(), found)
    for rule in ("strict", "among", "pooled"):
        right = is_right(logits, torch.tensor(labels), outputs, rule).numpy()
        assert found[rule].tolist() == right.tolist()
        assert quoted[f"accuracy on the source ({rule})"].value == right[:35].mean()
        drop = quoted[f"drop ({rule})"]
        assert drop.value == pytest.approx(right[:35].mean() - right[35:].mean())
        assert drop.low < drop.value < drop.high
    assert quoted["drop (strict)"].value != quoted["drop (pooled)"].value
    own = ask(Shift(), eq.wrap(Table(logits[:, :3])), data)
    assert own["strict"].tolist() == (logits[:, :3].argmax(1) == torch.tensor(labels)).tolist()
    assert list(named(Shift(), own)) == [
        "accuracy on the source",
        "accuracy on the target",
        "drop",
    ]


def test_shift_needs_its_two_groups():
    data = Shown(photos(2), groups=["source", "elsewhere"])
    with pytest.raises(EquipoiseError, match="'1' is in 'elsewhere'"):
        ask(Shift(), two(torch.zeros(SHAPE)), data)


# --- saliency


class Pooled(nn.Module):
    """Logits W mean(relu(conv(x))): Grad-CAM is relu(sum_k W_ck A_k) but for a positive factor."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(5, 2)

    def forward(self, images):
        return self.head(self.pool(self.conv(images)).flatten(1))


def test_grad_cam_of_a_pooled_network_is_its_weights_times_activations():
    classifier = eq.wrap(Pooled())
    masks = [left((k % 5 + 1) / 6) for k in range(16)]
    data = Shown(photos(16, 0, 1), masks)
    found = ask(Saliency(), classifier, data, pictured=True)
    x = torch.stack([e.image for e in data])
    with torch.no_grad():
        activations = classifier.net.conv(x)
        best = classifier(x).argmax(1)
        cam = (classifier.net.head.weight[best][:, :, None, None] * activations).sum(1).relu()
    cam = F.interpolate(cam[:, None], (6, 6), mode="bilinear", align_corners=False)[:, 0]
    cams = cam.double().numpy()
    assert sum(c.max() > 0 for c in cams) > 4
    for i, (one, mask) in enumerate(zip(cams, masks, strict=True)):
        m = mask[0].double().numpy()
        assert found["area"][i] == pytest.approx(m.mean())
        if not one.max() > 0:
            assert np.isnan(found["cam_inside"][i])
            continue
        assert found["cam_inside"][i] == pytest.approx((one * m).sum() / one.sum(), rel=1e-5)
        wanted = average_precision_score(m.ravel() > 0, one.ravel())
        assert found["cam_precision"][i] == pytest.approx(wanted, abs=1e-9)
        bright = one >= one.max() / 2
        overlap = (bright & (m > 0)).sum() / (bright | (m > 0)).sum()
        assert found["cam_overlap"][i] == pytest.approx(overlap)
        contrast = (one[m > 0].mean() - one[m == 0].mean()) / one.max()
        assert found["cam_contrast"][i] == pytest.approx(contrast, abs=1e-5)
    assert all(picture is not None for picture in found["picture"])


def test_the_gradient_of_a_linear_classifier_is_its_weights():
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(8))
    data = Shown(photos(4), [left(), left(1 / 3), None, left(1)])
    found = ask(Saliency(), two(weight), data)
    size = weight.abs().sum(0).double().numpy()
    for i in (0, 1):
        mask = data.masks[i][0].double().numpy()
        assert found["gradient_inside"][i] == pytest.approx((size * mask).sum() / size.sum())
        wanted = average_precision_score(mask.ravel() > 0, size.ravel())
        assert found["gradient_precision"][i] == pytest.approx(wanted, abs=1e-9)
    assert np.isnan(found["gradient_inside"][2:]).all()
    assert np.isnan(found["cam_inside"]).all()
    names = [metric.name for metric in Saliency().metrics(found)]
    assert names == [
        "share of the input gradient on the object",
        "average precision of the input gradient",
        "share of the image on the object",
    ]


class Attending(nn.Module):
    """Patches of a convolution, then heads with a shape of four numbers, as attention has them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.patches, self.heads = nn.Conv2d(3, 8, 2, stride=2), nn.Identity()
        self.head = nn.Linear(8, 2)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        heads = self.heads(tokens.unflatten(2, (2, 4)).transpose(1, 2))
        return self.head(heads.transpose(1, 2).flatten(2).mean(1))


def test_grad_cam_looks_at_convolutions_and_not_at_heads():
    classifier = eq.wrap(Attending())
    data = Shown(photos(6, 0, 1), [left()] * 6)
    found = ask(Saliency(), classifier, data)
    x = torch.stack([e.image for e in data])
    with torch.no_grad():
        best = classifier(x).argmax(1)
        weights = classifier.net.head.weight[best][:, :, None, None]
        cam = (weights * classifier.net.patches(x)).sum(1, keepdim=True).relu()
    cam = F.interpolate(cam, (6, 6), mode="bilinear", align_corners=False)[:, 0].double()
    wanted = [(one * left()[0]).sum().item() / one.sum().item() for one in cam]
    np.testing.assert_allclose(found["cam_inside"], wanted, rtol=1e-5)


def test_a_classifier_without_gradients_is_no_crash():
    class Cut(Pooled):
        def forward(self, images):
            return super().forward(images).detach()

    data = Shown(photos(3), [left()] * 3)
    found = ask(Saliency(), eq.wrap(Cut()), data)
    assert np.isnan(found["gradient_inside"]).all()
    assert any("no gradient" in note for note in found["notes"])


# --- specs


@pytest.mark.parametrize(
    "spec",
    [
        "regions:gaussian",
        "regions:l2?levels=25.0,50.0&trials=5",
        "backgrounds",
        "backgrounds?limit=20&onto=imagenet9:bg%3Fvariant%3Donly_bg_t",
        "groups",
        "groups:digits-on-photos?correlation=0.9",
        "saliency",
    ],
)
def test_specs_are_read_as_they_are_written(spec):
    assert str(load_probe(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("regions", "needs a kind of noise"),
        ("regions:salt", "needs a kind of noise"),
        ("regions:l2?levels=25,-1", "noise of level -1"),
        ("regions:l2?levels=much", "Cannot read the option levels"),
        ("regions:l2?trials=0", "Cannot read the option trials"),
        ("backgrounds:here", "takes no target"),
        ("backgrounds?limit=-3&onto=digits", "Cannot read the option limit"),
        ("backgrounds?limit=3", "there are none: add &onto=SPEC"),
        ("saliency?layer=3", "unknown option 'layer'"),
    ],
)
def test_wrong_specs_are_refused(spec, message):
    with pytest.raises(EquipoiseError, match=message):
        load_probe(spec)
