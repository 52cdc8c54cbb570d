"""The probe of label correlation, on images and classifiers known in closed form."""

import numpy as np
import pytest
import torch
from conftest import Linear
from regressions import (
    ask,
    regression,
    some,
)
from scipy.stats import spearmanr
from sklearn.feature_selection import f_classif

import equipoise as eq
from equipoise.images import Arrays
from equipoise.probes import FeatureUse
from equipoise.probes.feature_use import correlate


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
