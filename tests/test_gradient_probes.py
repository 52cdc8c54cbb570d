"""The probe of gradients, on classifiers known in closed form."""

import numpy as np
import pytest
import torch
from conftest import Linear, grey_images
from regressions import (
    SHAPE,
    Detached,
    Masked,
    ask,
    exact_gradients,
    flat,
    pixels,
    regression,
    some,
)
from test_counterfactual_sets import brightness_oracle, grey_set, sampler
from torch import nn

import equipoise as eq
from equipoise.counterfactuals import make_set
from equipoise.images import Arrays, Subset
from equipoise.probes import Gradients, load_probe
from equipoise.probes.gradients import gini


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
