"""The probes of gradients, of large radii and of label correlation, on classifiers known in closed form."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from conftest import Linear, grey_images
from PIL import Image
from scipy.stats import spearmanr
from sklearn.feature_selection import f_classif
from test_counterfactual_sets import brightness_oracle, grey_set, sampler
from torch import nn

import equipoise as eq
from equipoise.classifiers import MLP, save_classifier
from equipoise.counterfactuals import make_set
from equipoise.images import Arrays, Images, Subset
from equipoise.norms import L1, L2, Linf
from equipoise.probes import FeatureUse, Gradients, LargeEps, Request, load_probe
from equipoise.probes.feature_use import correlate
from equipoise.probes.gradients import gini
from equipoise.probes.large_eps import FRAMES, POINTS

SHAPE = (3, 4, 4)


def judge():
    """A judge for specs: softmax regression on images of `SHAPE`, three classes."""
    return regression(seed=7)


def flat():
    """A classifier whose answer no image changes, of three classes."""
    return eq.wrap(Linear(torch.zeros(3, 48), torch.tensor([0.0, 2.0, 1.0])), name="flat")


class Detached(Linear):
    def forward(self, images):
        return super().forward(images.detach())


def regression(scale=1.0, seed=0, classes=3, kind=Linear):
    generator = torch.Generator().manual_seed(seed)
    weight = scale * torch.randn(classes, 48, generator=generator)
    return eq.wrap(kind(weight, -weight.sum(1) / 2), name=f"regression{seed}")


def some(count=6, **given):
    images = grey_images(count, SHAPE, 0.3)
    labels = [k % 3 for k in range(count)]
    return Arrays(images, labels, ("a", "b", "c"), **given)


def ask(probe, classifier, data, *, pictured=False, seed=0):
    """The columns of all images in one batch."""
    batch = data.batch(range(len(data)))
    flags = [pictured] * len(data)
    request = Request(seed=seed, pictured=flags, examined=flags, others={})
    answers = probe.measure(classifier, batch, request)
    assert set(answers.columns) == set(probe.types)
    return answers.columns | {"notes": answers.notes}


def exact_gradients(classifier, data):
    """(p - e_y) W, in double precision; p_y - 1 is taken as the sum of the other -p."""
    x = torch.stack([e.image for e in data]).flatten(1).double()
    y = torch.tensor([e.label for e in data])
    weight, bias = classifier.net.weight.double(), classifier.net.bias.double()
    p = (x @ weight.T + bias).softmax(1).scatter(1, y[:, None], 0)
    return (p.scatter(1, y[:, None], -p.sum(1, keepdim=True)) @ weight).numpy()


def pixels(png):
    return np.asarray(Image.open(BytesIO(png)))


# --- gradients


@pytest.mark.parametrize(
    ("sizes", "index"),
    [([2, 2, 2, 2], 0), ([0, 0, 0, 5], 3 / 4), ([3, 1], 1 / 4), ([0, 1, 1], 1 / 3), ([7], 0)],
)
def test_gini_of_known_vectors(sizes, index):
    assert gini(np.array(sizes, dtype=float)) == pytest.approx(index, abs=1e-15)


def test_gini_is_half_the_mean_difference_over_the_mean():
    sizes = np.random.default_rng(0).exponential(size=50)
    difference = np.abs(sizes[:, None] - sizes).mean()
    assert gini(sizes) == pytest.approx(difference / (2 * sizes.mean()))
    assert gini(sizes) == pytest.approx(gini(1e-40 * sizes))
    assert np.isnan(gini(np.zeros(3)))


def test_softmax_regressions_gradient_is_exact():
    classifier, data = regression(), some()
    g = exact_gradients(classifier, data)
    found = ask(Gradients(), classifier, data)
    np.testing.assert_allclose(found["length"], np.linalg.norm(g, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["sparsity"], [gini(np.abs(row)) for row in g], rtol=1e-5)
    assert found["forwards"].tolist() == found["backwards"].tolist() == [1] * 6
    unknown = ("inside", "area", "alignment", "noise_alignment", "picture")
    assert all(value is None for name in unknown for value in found[name])
    names = [metric.name for metric in Gradients().metrics(found)]
    assert names == ["gradient sparsity"]


def test_a_sure_classifier_loses_no_part_of_its_gradient():
    """Where p_y rounds to 1 in single precision, the gradient of softmax's cross-entropy forgets the label."""
    classifier = regression(scale=20.0)
    x = grey_images(40, SHAPE, 0.6)
    z = classifier(x)
    data = Arrays(x, z.argmax(1).tolist(), ("a", "b", "c"))
    sure = (z.softmax(1).amax(1) == 1).numpy()
    assert sure.sum() > 5
    g = exact_gradients(classifier, data)[sure]
    found = ask(Gradients(), classifier, data)
    np.testing.assert_allclose(found["length"][sure], np.linalg.norm(g, axis=1), rtol=1e-3)
    wanted = [gini(np.abs(row)) for row in g]
    np.testing.assert_allclose(found["sparsity"][sure], wanted, rtol=1e-4)
    naive = x.clone().requires_grad_()
    loss = nn.functional.cross_entropy(classifier(naive), z.argmax(1), reduction="sum")
    (slope,) = torch.autograd.grad(loss, naive)
    lost = [gini(row) for row in slope.flatten(1).abs().double().numpy()[sure]]
    assert np.abs(np.array(lost) - wanted).max() > 0.02


class Masked(Images):
    """Images with masks: the brighter half of `images`."""

    def __init__(self, images):
        self.images = images
        self.spec, self.split, self.classes = images.spec, images.split, images.classes

    def __len__(self):
        return len(self.images)

    def read(self, index):
        example = self.images[index]
        return replace(example, mask=(example.image.mean(0, keepdim=True) > 0.5).float())

    def fingerprint(self, indices):
        return "masked" + self.images.fingerprint(indices)


def test_the_share_inside_the_mask_is_that_of_the_exact_gradient():
    classifier, data = regression(), Masked(some())
    sizes = np.abs(exact_gradients(classifier, data))
    batch = data.batch(range(len(data)))
    masks = np.stack([m.expand(*SHAPE).flatten().numpy() for m in batch.masks if m is not None])
    found = ask(Gradients(), classifier, data)
    inside, area = found["inside"], found["area"]
    np.testing.assert_allclose(inside, (sizes * masks).sum(1) / sizes.sum(1), rtol=1e-5)
    np.testing.assert_allclose(area, masks.mean(1), rtol=1e-6)
    assert 0 < area.min() <= area.max() < 1
    names = [metric.name for metric in Gradients().metrics(found)]
    assert names == ["gradient sparsity", "gradient inside the mask"]


def test_pictures_are_the_gradient_over_three_of_its_deviations():
    classifier, data = regression(), some(3)
    g = exact_gradients(classifier, data)
    share = np.clip(g / (3 * g.std(axis=1, keepdims=True)), -1, 1)
    found = ask(Gradients(), classifier, data, pictured=True)
    for picture, wanted in zip(found["picture"], share, strict=True):
        grey = (127.5 * (1 + wanted)).reshape(SHAPE).transpose(1, 2, 0)
        np.testing.assert_allclose(pixels(picture), grey, atol=0.51)


def test_one_channel_is_pictured_in_blue_white_and_red():
    weight = torch.zeros(2, 16)
    weight[1, :3] = torch.tensor([-2.0, 1e-9, 2.0])
    classifier = eq.wrap(Linear(weight, torch.zeros(2)), name="three")
    data = Arrays(torch.full((1, 1, 4, 4), 0.5), [0], ("a", "b"))
    picture = pixels(ask(Gradients(), classifier, data, pictured=True)["picture"][0])
    # The deviation of (-2, 0, 2, 0, ...) over 16 inputs is sqrt(1/2): 2 is 2.83 deviations, 0.94 of three.
    faint = round(255 * (1 - 2 / (3 * np.sqrt(0.5))))
    assert picture.shape == (4, 4, 3)
    assert picture[0, :4].tolist() == [
        [faint, faint, 255],
        [255, 255, 255],
        [255, faint, faint],
        [255, 255, 255],
    ]


@pytest.mark.parametrize("classifier", [flat(), regression(kind=Detached)], ids=["flat", "none"])
def test_gradients_that_vanish_are_no_crash(classifier):
    found = ask(Gradients(), classifier, Masked(some()), pictured=True)
    assert (found["length"] == 0).all()
    assert np.isnan(found["sparsity"]).all()
    assert np.isnan(found["inside"]).all()
    assert (found["area"] > 0).all()
    assert all((pixels(picture) == 128).all() for picture in found["picture"])
    assert any("no gradient" in note for note in found["notes"]) == (classifier.name != "flat")


# --- gradients beside counterfactuals


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "ces"
    return make_set(Subset(grey_set(12), range(9)), sampler(), folder)


def test_alignment_is_that_of_the_counterfactual_probe_and_noise_has_its_own(made):
    classifier, data = brightness_oracle(), grey_set(12)
    found = ask(Gradients(str(made.folder)), classifier, data)
    theirs = ask(load_probe(f"counterfactual:{made.folder}"), classifier, data)
    np.testing.assert_array_equal(found["alignment"], theirs["alignment"])
    weight = classifier.net.weight
    for i in range(9):
        rows = made.rows("noise", [data[i].id])
        first = torch.from_numpy(rows.columns["number"] == 0)
        target = torch.from_numpy(rows.columns["target"].astype(np.int64))[first]
        step = (rows.images[first] - data[i].image).flatten(1)
        cosine = torch.cosine_similarity(weight[target] - weight[data[i].label], step, dim=1)
        assert found["noise_alignment"][i] == pytest.approx(cosine.mean().item(), abs=1e-5)
    assert np.isnan(found["alignment"][9:]).all()
    # The gradient itself, and one for each of two counterfactuals and two noises.
    assert found["forwards"].tolist() == found["backwards"].tolist() == [5] * 9 + [1] * 3
    assert (found["alignment"][:9] > 0.3 + np.abs(found["noise_alignment"][:9])).all()
    names = [metric.name for metric in Gradients(str(made.folder)).metrics(found)]
    assert names == ["gradient sparsity", "gradient alignment with counterfactuals"]


def test_sets_are_checked_as_by_the_counterfactual_probe(made, tmp_path):
    probe = Gradients(str(made.folder))
    assert made.identity in probe.nature()
    assert probe.nature() != Gradients().nature()
    assert probe.facts()["identity"] == made.identity
    with pytest.raises(eq.EquipoiseError, match="'g0' is another image"):
        ask(probe, brightness_oracle(), grey_set(12, seed=5))
    with pytest.raises(eq.EquipoiseError, match=r"shape \(3, 4, 4\)"):
        ask(probe, regression(), some())
    with pytest.raises(eq.EquipoiseError, match=r"no set\.json"):
        Gradients(str(tmp_path)).nature()
    two = eq.wrap(Linear(torch.randn(2, 16), torch.zeros(2)), name="two")
    pair = Subset(grey_set(12), [0, 1])
    with pytest.raises(eq.EquipoiseError, match="'two' has 2 classes"):
        ask(probe, two, pair)


# --- large radii


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
    probe = LargeEps(L2(1e-3), steps=2, judge="test_gradient_probes:judge")
    found = ask(probe, regression(), data)
    # What is wrong to begin with has not moved.
    assert not found["moved"].any()
    for name in ("agrees", "noise_agrees"):
        assert all(value is None for value in found[name])
    far = ask(LargeEps(L2(2), steps=10, judge="test_gradient_probes:judge"), regression(), data)
    moved = far["moved"]
    assert moved[:4].any() and not moved[4:].any()
    for name in ("agrees", "noise_agrees"):
        assert [value is None for value in far[name]] == (~moved).tolist()
    for name in ("judged", "judge_before", "judge_path"):
        assert all(value is not None for value in found[name])
    assert [len(metric.values) for metric in probe.metrics(far)] == [moved.sum()] * 2


def test_the_judges_columns_are_its_answers():
    probe = LargeEps(L2(2), steps=20, judge="test_gradient_probes:judge")
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
    assert (
        rates["examples at l2:2 read as their class by test_gradient_probes:judge"]
        == wanted.mean()
    )


def test_a_classifier_judges_itself_to_agree():
    probe = LargeEps(L2(2), steps=20, judge="test_gradient_probes:judge")
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
    probe = LargeEps(threat, steps=5, judge="test_gradient_probes:judge")
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


# --- label correlation


def two_digits():
    data = eq.load_images("digits", split="train")
    kept = [i for i in range(len(data)) if data[i].label in (5, 7)]
    batch = data.batch(kept)
    return Arrays(batch.images, (batch.labels == 7).long().tolist(), ("5", "7"), spec="digits57")


def test_for_two_classes_the_ratio_is_the_correlation():
    data = two_digits()
    found = correlate(data)
    x, y = data.pixels.flatten(1).double().numpy(), np.array(data.labels)
    varies = x.std(0) > 0
    assert 0 < varies.sum() < 64
    wanted = [abs(np.corrcoef(column, y)[0, 1]) for column in x.T[varies]]
    np.testing.assert_allclose(found.ratio[varies], wanted, atol=1e-12)
    assert (found.ratio[~varies] == 0).all()
    np.testing.assert_allclose(found.mean, x.mean(0), atol=1e-12)
    assert (found.images, found.broken, found.shape) == (len(data), 0, (1, 8, 8))


def test_for_ten_classes_the_ratio_is_that_of_the_analysis_of_variance():
    data = eq.load_images("digits", split="train")
    found = correlate(data)
    batch = data.batch(range(len(data)))
    x = batch.images.flatten(1).numpy()
    varies = x.std(0) > 0
    f, _ = f_classif(x[:, varies], batch.labels.numpy())
    share = f * 9 / (f * 9 + len(data) - 10)
    np.testing.assert_allclose(found.ratio[varies], np.sqrt(share), rtol=1e-4)
    ratios = found.ratio[found.order]
    assert (np.diff(ratios) <= 0).all()
    ties = np.diff(ratios) == 0
    assert ties.any()
    assert (np.diff(found.order)[ties] > 0).all()


@pytest.mark.parametrize(
    ("n", "counts"), [(64, [2, 4, 8, 16, 32, 64]), (5, [2, 4, 5]), (2, [2]), (1, [1])]
)
def test_counts_are_powers_of_two_and_all(n, counts):
    pixels = torch.rand(4, 1, 1, n, generator=torch.Generator().manual_seed(0))
    assert correlate(Arrays(pixels, [0, 1, 0, 1], ("a", "b"))).counts == counts


def test_too_few_images_are_refused():
    with pytest.raises(eq.EquipoiseError, match="1 of its images"):
        correlate(Arrays(torch.rand(1, 1, 2, 2), [0], ("a", "b")))


@pytest.fixture
def learned(monkeypatch):
    """`feature_use:digits57` learns from the digits 5 and 7; says how often they were opened."""
    opened = []

    def load(spec, split):
        opened.append((spec, split))
        return two_digits()

    monkeypatch.setattr("equipoise.probes.feature_use.load_images", load)
    return opened


def test_mass_and_rank_correlation_are_those_of_known_weights(learned):
    probe, data = FeatureUse("digits57"), two_digits()
    ratio = correlate(data).ratio
    weight = torch.zeros(2, 64)
    sign = torch.where(torch.arange(64) % 2 == 0, 1.0, -1.0)
    weight[1] = torch.from_numpy(ratio).float() ** 2 * sign
    classifier = eq.wrap(Linear(weight, torch.zeros(2)), name="known")
    found = ask(probe, classifier, data)
    best = np.sort(ratio)[::-1] ** 2
    wanted = [best[:k].sum() / best.sum() for k in (2, 4, 8, 16, 32, 64)]
    for inputs, mass in zip(found["inputs"], found["mass"], strict=True):
        assert inputs == [2, 4, 8, 16, 32, 64]
        np.testing.assert_allclose(mass, wanted, rtol=1e-5)
        assert mass[-1] == 1
    np.testing.assert_allclose(found["rank_correlation"], 1, atol=1e-12)
    generator = torch.Generator().manual_seed(0)
    weight[1] = torch.randn(64, generator=generator)
    found = ask(probe, eq.wrap(Linear(weight, torch.zeros(2))), data)
    wanted = spearmanr(weight[1].abs().numpy(), ratio).statistic
    np.testing.assert_allclose(found["rank_correlation"], wanted, atol=1e-12)
    assert learned == [("digits57", "train")]


def test_inputs_that_are_left_out_have_their_training_mean(learned):
    probe, data = FeatureUse("digits57"), two_digits()
    generator = torch.Generator().manual_seed(1)
    classifier = eq.wrap(Linear(torch.randn(2, 64, generator=generator), torch.zeros(2)))
    found = ask(probe, classifier, data)
    mean, order = correlate(data).mean, correlate(data).order
    y = torch.tensor(data.labels)
    for place, k in enumerate([2, 4, 8, 16, 32, 64]):
        x = torch.from_numpy(mean).float().repeat(len(data), 1)
        kept = order[:k].copy()
        x[:, kept] = data.pixels.flatten(1)[:, kept]
        right = classifier(x.view(-1, 1, 8, 8)).argmax(1) == y
        assert [answer[place] for answer in found["correct"]] == right.tolist()
    assert found["forwards"].tolist() == [7] * len(data)
    assert found["backwards"].tolist() == [1] * len(data)
    facts = probe.facts()
    assert facts["images"] == len(data)
    assert facts["inputs"] == [2, 4, 8, 16, 32, 64]
    ratio = correlate(data).ratio[order]
    assert facts["weakest"] == [ratio[k - 1] for k in facts["inputs"]]


def test_label_correlation_of_vanishing_gradients_and_other_shapes(learned):
    probe, data = FeatureUse("digits57"), two_digits()
    constant = eq.wrap(Linear(torch.zeros(2, 64), torch.zeros(2)))
    found = ask(probe, constant, data)
    assert np.isnan(found["rank_correlation"]).all()
    assert all(mass is None for mass in found["mass"])
    assert [answer[-1] for answer in found["correct"]] == [y == 0 for y in data.labels]
    assert len(probe.metrics(found)[0].values) == 0
    with pytest.raises(eq.EquipoiseError, match=r"shape \(3, 4, 4\) .* shape \(1, 8, 8\)"):
        ask(probe, regression(), some())


# --- all three


@pytest.mark.parametrize(
    "spec",
    [
        "gradients",
        "gradients:runs/ces",
        "large_eps:l2:4",
        "large_eps:linf:8/255?steps=7",
        "large_eps:l1:12?steps=7&judge=local:runs/x",
        "large_eps:l2:0.5?judge=timm:hf-hub:owner/name",
        "large_eps:l2:0.5?judge=local:my%20runs/a%26b%2Bc%25",
        "feature_use:digits",
        "feature_use:folder:my photos?size=32&channels=3",
        "feature_use:parquet:runs/a&b+50%?size=8",
    ],
)
def test_specs_read_as_they_are_written(spec):
    probe = load_probe(spec)
    assert str(probe) == spec
    assert load_probe(str(probe)) == probe


@pytest.mark.parametrize("path", ["a&b", "50%", "a b", "a+b", "a%26b", "é?x=1&y#z", "C:\\x"])
def test_judges_paths_survive_any_letters(path):
    probe = LargeEps(L2(4), judge=f"local:runs/{path}")
    assert load_probe(str(probe)) == probe
    assert load_probe(str(probe)).judge == f"local:runs/{path}"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gradient", "Did you mean 'gradients'"),
        ("gradients:x?steps=3", "unknown option 'steps'"),
        ("large_eps", "needs a threat"),
        ("large_eps:l2:4?judges=local:x", "Did you mean 'judge'"),
        ("large_eps:l2:4?steps=0", "whole number of at least 1"),
        ("feature_use", "needs images"),
    ],
)
def test_wrong_specs_are_reported(spec, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        load_probe(spec)


@pytest.fixture(scope="module")
def audited(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    save_classifier(trained, folder / "judge & jury")
    probes = [
        "gradients",
        f"large_eps:l2:3?steps=10&judge=local:{folder}/judge%20%26%20jury",
        "feature_use:digits",
    ]
    data = Masked(eq.load_images("digits"))
    run = eq.audit(
        [trained, eq.wrap(Linear(torch.eye(10, 64), torch.zeros(10)), name="linear")],
        data,
        ["standard", *probes],
        folder / "run",
        limit=60,
        pictures=5,
    )
    return run, data, probes


def test_an_audit_has_every_column_and_metric(audited, trained, tmp_path):
    run, _, probes = audited
    for spec in probes:
        columns = run.columns(spec, trained.name)
        expected = set(load_probe(spec).types) - {"picture"}
        assert expected <= set(columns)
        assert all(len(columns[name]) == 60 for name in expected)
        assert all(values is not None for values in columns["forwards"])
    gradients, large, used = (run.columns(spec, trained.name) for spec in probes)
    assert ((gradients["inside"] > 0) & (gradients["inside"] < 1)).all()
    assert np.isnan(gradients["alignment"]).all()
    # The judge is the classifier itself.
    assert {bool(v) for v in large["agrees"] if v is not None} == {True}
    assert np.allclose(np.stack(list(large["own_path"])), np.stack(list(large["judge_path"])))
    standard = run.columns("standard", trained.name)
    assert [bool(v[-1]) for v in used["correct"]] == standard["correct"].tolist()
    assert (used["rank_correlation"] > -1).all()
    summary = {s.name: s for s in run.summary() if s.classifier == trained.name}
    assert {
        "gradient sparsity",
        "gradient inside the mask",
        "examples at l2:3 read as their class by judge & jury",
        "noise at l2:3 read as their class by judge & jury",
        "rank correlation of gradient and label correlation",
    } <= set(summary)
    assert summary["gradient inside the mask"].value == pytest.approx(gradients["inside"].mean())
    for spec in probes[:2]:
        shown = run.pictures(spec).select("picture").fetchall()
        assert len(shown) == 2 * 5
        assert all(bytes(png).startswith(b"\x89PNG") for (png,) in shown)
    facts = run.record["probe_facts"]
    assert facts[probes[1]]["judge"]["name"] == "judge & jury"
    assert facts[probes[2]]["images"] == 1197
    assert eq.report(run, tmp_path / "page.html").is_file()


def test_no_column_depends_on_the_batch(audited, trained, tmp_path):
    run, data, probes = audited
    again = eq.audit(trained, data, probes, tmp_path / "run", limit=60, pictures=5, batch=7)
    for spec in probes:
        first, second = run.columns(spec, trained.name), again.columns(spec, trained.name)
        assert first.keys() == second.keys()
        for name in load_probe(spec).types.keys() - {"picture"}:
            assert repr(first[name].tolist()) == repr(second[name].tolist()), name
        if "picture" in load_probe(spec).types:
            mine = f"classifier = '{trained.name}'"
            shown = [
                r.pictures(spec).filter(mine).select("id", "picture").fetchall()
                for r in (run, again)
            ]
            assert shown[0] == shown[1]


def test_alignments_do_not_depend_on_the_batch(made, tmp_path):
    probe, data = f"gradients:{made.folder}", grey_set(12)
    columns = [
        eq.audit(brightness_oracle(), data, [probe], tmp_path / str(batch), batch=batch).columns(
            probe, "brightness"
        )
        for batch in (12, 5)
    ]
    for name in Gradients.types.keys() - {"picture"}:
        assert repr(columns[0][name].tolist()) == repr(columns[1][name].tolist())
