"""Sets of counterfactuals on disk, their controls, their quality, and what oracles say."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import Linear

import equipoise as eq
from equipoise.counterfactuals import (
    CounterfactualSet,
    DiffusionClassifier,
    Gaussian,
    Sampler,
    ask,
    frechet_distance,
    high_frequencies,
    make_set,
    measure_quality,
)
from equipoise.diffusion import MixtureDenoiser
from equipoise.images import Arrays

CLASSES = ("dark", "mid", "light")


def three_greys(stds=0.08):
    """Images of 1 x 4 x 4 pixels whose class is their brightness: levels -0.6, 0 and 0.6 in network units."""
    levels = torch.tensor([-0.6, 0.0, 0.6]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    return MixtureDenoiser(levels, torch.full((3,), stds), torch.ones(3), torch.arange(3))


def grey_set(count=7, seed=0):
    labels = torch.arange(count) % 3
    x = three_greys().sample(labels, torch.Generator().manual_seed(seed)).float()
    pixels = (((x + 1) / 2).clamp(0, 1) * 255).round() / 255
    return Arrays(pixels, labels.tolist(), CLASSES, [f"g{i}" for i in range(count)])


def brightness_oracle():
    """Logits of the three brightnesses, up to a constant: the log-likelihoods of their mean levels."""
    levels = torch.tensor([0.2, 0.5, 0.8])
    weight = 40 * levels[:, None].expand(3, 16) / 16
    return eq.wrap(Linear(weight, -20 * levels**2), name="brightness")


def sampler(sigma=0.5, **settings):
    return Sampler(three_greys(), Gaussian(sigma), **settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_set(
        grey_set(),
        sampler(),
        tmp_path_factory.mktemp("set") / "ces",
        oracles=[brightness_oracle()],
    )


def content(made):
    """Everything that was stored, by split."""
    return {
        split: (rows.images, [list(map(str, values)) for values in rows.columns.values()])
        for split in ("test", "same", "noise")
        for rows in [made.rows(split)]
    }


def same_content(a, b):
    first, second = content(a), content(b)
    return all(
        torch.equal(first[k][0], second[k][0]) and first[k][1] == second[k][1] for k in first
    )


def test_rows_say_what_was_made_and_distances_are_those_of_the_stored_pixels(made):
    originals = {e.id: e for e in grey_set()}
    counts = {"test": 7 * 2 * 2, "same": 7 * 2, "noise": 7 * 2 * 2}
    for split, count in counts.items():
        rows = made.rows(split)
        assert len(rows) == count
        columns = rows.columns
        for i, name in enumerate(columns["source_id"]):
            source = originals[name]
            change = rows.images[i] - source.image
            assert columns["source_label"][i] == source.label
            assert columns["group"][i] == CLASSES[source.label]
            assert columns["l1"][i] == pytest.approx(change.abs().sum().item(), rel=1e-5)
            assert columns["l2"][i] == pytest.approx(change.norm().item(), rel=1e-5)
            assert columns["linf"][i] == pytest.approx(change.abs().max().item(), rel=1e-5)
            share = (change.abs() > 8 / 255).float().mean().item()
            assert columns["changed"][i] == pytest.approx(share)
            wanted = source.label if split != "test" else columns["target"][i]
            assert columns["label"][i] == wanted
            assert (columns["target"][i] == source.label) == (split == "same")
            assert columns["valid"][i] == (columns["oracle"][i] == wanted)
            assert (columns["reason"][i] == "") == columns["valid"][i]
    assert (made.columns("test")["valid"]).mean() > 0.9


def test_noise_lies_as_far_away_as_the_counterfactual_beside_it(made):
    test, noise = (
        {
            key: length
            for *key, length in zip(c["source_id"], c["target"], c["number"], c["l2"], strict=True)
            for key in [tuple(key)]
        }
        for c in (made.columns("test"), made.columns("noise"))
    )
    assert test.keys() == noise.keys()
    rows = made.rows("noise")
    cornered = rows.images.flatten(1).sub(0.5).abs().gt(0.49).all(dim=1)
    stuck = {key for key, at in zip(noise, cornered.tolist(), strict=True) if at}
    for key, length in test.items():
        # From a dark image to a light one it may be farther than to any corner the noise points to.
        if key not in stuck:
            assert noise[key] == pytest.approx(length, rel=0.02)
    assert len(stuck) < len(test) / 3


def test_the_sets_distribution_is_the_samplers(made):
    """What is stored is the sampler's own draws, rounded."""
    rows = made.rows("test", ["g1"])
    data = grey_set()
    images = data.batch([1] * len(rows)).images
    again = sampler()(
        images,
        torch.from_numpy(rows.columns["target"].astype(np.int64)),
        ids=["g1"] * len(rows),
        draws=rows.columns["draw"].tolist(),
    )
    assert torch.equal((again * 255).round() / 255, rows.images)


def test_a_set_opens_as_images_and_as_a_hugging_face_folder(made):
    data = eq.load_images(f"parquet:{made.folder}")
    assert data.classes == CLASSES
    assert len(data) == 28
    rows = made.rows("test")
    by_id = {name: i for i, name in enumerate(rows.columns["id"])}
    for example in data:
        i = by_id[example.id]
        assert torch.equal(example.image, rows.images[i])
        assert example.label == rows.columns["label"][i]
    assert len(eq.load_images(f"parquet:{made.folder}", "noise")) == 28
    import duckdb

    file = str(made.files("test")[0])
    found = dict(
        duckdb.execute(f"SELECT key, value FROM parquet_kv_metadata('{file}')").fetchall()
    )
    features = json.loads(found[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"]["names"] == list(CLASSES)
    columns = [row[0] for row in duckdb.execute(f"DESCRIBE SELECT * FROM '{file}'").fetchall()]
    assert list(features) == columns
    assert "path: data/test-*.parquet" in (made.folder / "README.md").read_text()


def test_batches_and_company_do_not_matter(made, tmp_path):
    small = make_set(
        grey_set(), sampler(), tmp_path / "small", oracles=[brightness_oracle()], batch=5
    )
    assert same_content(made, small)


def test_repeating_makes_only_what_is_missing_or_damaged(made, tmp_path, monkeypatch):
    from equipoise.counterfactuals import making

    monkeypatch.setattr(making, "ROWS", 12)  # two originals a shard
    oracles = [brightness_oracle()]
    first = make_set(grey_set(), sampler(), tmp_path / "a", oracles=oracles)
    assert len(first.record["shards"]) == 4
    assert same_content(made, first)
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "a" / "data").iterdir()}
    broken = first.files("noise")[2]
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(bytes(data))
    first.files("test")[0].unlink()
    assert sorted(CounterfactualSet(tmp_path / "a").verify()) == [
        "data/noise-00002-of-00004.parquet",
        "data/test-00000-of-00004.parquet",
    ]
    again = make_set(grey_set(), sampler(), tmp_path / "a", oracles=oracles)
    assert again.verify() == {}
    assert same_content(made, again)
    kept = [f for f, t in before.items() if f.stat().st_mtime_ns == t]
    assert {f.name.split("-")[1] for f in kept} == {"00001", "00003"}
    assert len(kept) == 6


KILLED = """
import sys
sys.path[:0] = {path!r}
from test_counterfactual_sets import *
from equipoise.counterfactuals import making
making.ROWS = 6
make_set(grey_set(40), sampler(), {out!r}, oracles=[brightness_oracle()])
"""


@pytest.mark.slow
def test_a_killed_set_ends_the_same(tmp_path, monkeypatch):
    from pathlib import Path

    from equipoise.counterfactuals import making

    monkeypatch.setattr(making, "ROWS", 6)
    whole = make_set(grey_set(40), sampler(), tmp_path / "whole", oracles=[brightness_oracle()])
    script = KILLED.format(path=[str(Path(__file__).parent)], out=str(tmp_path / "cut"))
    shards = tmp_path / "cut" / "data"
    rng = np.random.default_rng(0)
    for _ in range(2):
        before = len(list(shards.glob("noise-*")))
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(shards.glob("noise-*"))) == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    again = make_set(grey_set(40), sampler(), tmp_path / "cut", oracles=[brightness_oracle()])
    assert again.record["status"] == "complete"
    assert again.verify() == {}
    assert same_content(whole, again)


@pytest.mark.parametrize("by", ["proximity", "confidence"])
def test_the_best_of_several_draws_is_kept(tmp_path, by):
    wide = sampler(0.9)
    oracle = brightness_oracle()
    one = make_set(grey_set(), wide, tmp_path / "one", oracles=[oracle], per_class=4)
    best = make_set(
        grey_set(), wide, tmp_path / "best", oracles=[oracle], per_class=1, best_of=4, by=by
    )
    for split in ("test", "same"):
        draws, kept = one.columns(split), best.columns(split)
        for i in range(len(kept["id"])):
            mine = (draws["source_id"] == kept["source_id"][i]) & (
                draws["target"] == kept["target"][i]
            )
            candidates = [
                (v, -d if by == "proximity" else c)
                for v, d, c in zip(
                    draws["valid"][mine], draws["l2"][mine], draws["confidence"][mine], strict=True
                )
            ]
            value = -kept["l2"][i] if by == "proximity" else kept["confidence"][i]
            assert (kept["valid"][i], value) == max(candidates)


def test_fewer_targets_are_a_choice_of_each_image(tmp_path):
    made = make_set(grey_set(), sampler(), tmp_path / "few", targets=1, per_class=1)
    columns = made.columns("test")
    assert len(columns["id"]) == 7
    assert (columns["target"] != columns["source_label"]).all()
    assert set(columns["reason"]) == {"no oracle was asked"}
    found = measure_quality(made, grey_set(), grey_set(20, seed=9))
    assert [f["value"] for f in made.quality or [] if f["name"] == "spread between seeds"] == [
        None
    ] * 2
    assert not any("oracles" in f.name for f in found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"per_class": 0}, "per_class=0"),
        ({"best_of": 0}, "best_of=0"),
        ({"targets": 3}, "targets=3"),
        ({"best_of": 2, "by": "confidence"}, "without an oracle"),
    ],
    ids=str,
)
def test_senseless_settings_are_refused(tmp_path, settings, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        make_set(grey_set(), sampler(), tmp_path / "x", **settings)
    assert not (tmp_path / "x").exists()


def test_what_does_not_fit_is_refused(made, tmp_path):
    with pytest.raises(eq.EquipoiseError, match=r"for \(1, 4, 4\)\. Resize"):
        make_set(eq.load_images("digits"), sampler(), tmp_path / "x")
    data = grey_set()
    fewer = Arrays(data.pixels, [0] * 7, ("a", "b"))
    with pytest.raises(eq.EquipoiseError, match="2 classes"):
        make_set(fewer, sampler(), tmp_path / "x")
    with pytest.raises(eq.EquipoiseError, match=r"guidance is 1\.0 there and 2.0 now"):
        make_set(grey_set(), sampler(guidance=2.0), made.folder, oracles=[brightness_oracle()])
    with pytest.raises(eq.EquipoiseError, match=r"another set \(the images, the denoiser"):
        make_set(grey_set(seed=1), sampler(), made.folder, oracles=[brightness_oracle()])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(eq.EquipoiseError, match=r"other files, such as 'thesis\.tex'"):
        make_set(grey_set(), sampler(), tmp_path / "mine")
    with pytest.raises(eq.EquipoiseError, match=r"no set\.json"):
        CounterfactualSet(tmp_path / "mine")


def test_the_ensemble_averages_probabilities():
    oracle = brightness_oracle()
    flat = eq.wrap(Linear(torch.zeros(3, 16), torch.tensor([0.0, 5.0, 0.0])), name="flat")
    images = grey_set().batch(range(3)).images
    both = ask([oracle, flat], images)
    mean = (oracle(images).softmax(1) + flat(images).softmax(1)) / 2
    assert torch.allclose(both.probability, mean)
    assert torch.equal(both.prediction, mean.argmax(1))


def test_a_denoiser_tells_its_own_classes_apart():
    """Class probabilities of a mixture's denoiser come near the exact posterior odds in order."""
    data = grey_set(60, seed=3)
    batch = data.batch(range(60))
    logits = DiffusionClassifier(three_greys())(batch.images, batch.ids)
    assert (logits.argmax(1) == batch.labels).float().mean() > 0.95
    again = DiffusionClassifier(three_greys())(batch.images[5:9], batch.ids[5:9])
    assert torch.allclose(again, logits[5:9])


def test_frechet_distance_of_normal_laws():
    """|m - m'|^2 + tr(S + S' - 2 (S S')^1/2), in closed form for commuting covariances, and against SciPy."""
    from scipy.linalg import sqrtm

    rng = torch.Generator().manual_seed(0)
    a = torch.randn(4000, 5, generator=rng).double()
    whitened = torch.linalg.solve_triangular(
        torch.linalg.cholesky(a.T.cov()), (a - a.mean(0)).T, upper=False
    ).T
    shifted = whitened * torch.arange(1.0, 6.0) + 2
    expected = 4 * 5 + sum((k - 1) ** 2 for k in range(1, 6))
    assert frechet_distance(whitened, shifted) == pytest.approx(expected, rel=1e-9)
    b = a @ torch.randn(5, 5, generator=rng).double() + 0.3
    s, t = a.T.cov().numpy(), b.T.cov().numpy()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(
        s + t - 2 * sqrtm(s @ t).real
    )
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_high_frequencies_of_waves():
    x = torch.arange(8) / 8
    slow = torch.cos(2 * torch.pi * x).expand(1, 1, 8, 8) / 2 + 0.5
    fast = torch.cos(2 * torch.pi * 3 * x).expand(1, 1, 8, 8) / 2 + 0.5
    shares = high_frequencies(torch.cat([slow, fast, slow + 0.5 * fast, torch.ones_like(slow)]))
    assert shares.tolist() == pytest.approx([0, 1, 0.2, 0], abs=1e-6)


def test_quality_sees_collapse_memorised_images_and_agreement(made, tmp_path):
    data = grey_set()
    found = measure_quality(
        made,
        data,
        grey_set(50, seed=9),
        classify=DiffusionClassifier(three_greys(), draws=4),
        features=brightness_oracle(),
    )
    by = {(f.name, f.split): f for f in found}
    agreement = by["read as its label by the oracles", "test"]
    assert agreement.value == pytest.approx(made.columns("test")["valid"].mean())
    assert agreement.low is not None
    assert agreement.high is not None
    assert agreement.low <= agreement.value <= agreement.high
    assert by["spread between seeds", "test"].value > 0.1
    assert made.quality == [vars(f) for f in found]
    collapsed = make_set(
        data, sampler(method="sum", steps=50), tmp_path / "sum", oracles=[brightness_oracle()]
    )
    spread = {
        (f.name, f.split): f.value for f in measure_quality(collapsed, data, grey_set(50, seed=9))
    }
    assert spread["spread between seeds", "test"] < 0.05
    memorised = measure_quality(made, data, eq.load_images(f"parquet:{made.folder}"))
    nearest = {(f.name, f.split): f.value for f in memorised}
    assert nearest["median distance to the nearest reference image", "test"] == 0
