"""The study of accuracy against robustness: its statistics, its experiments, its claims and page in miniature."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

import equipoise as eq
from equipoise.audit import Estimate, judge, write_claims, write_exhibits
from equipoise.audit.association import difference
from equipoise.audit.claims import read_claims, read_study
from equipoise.audit.exhibits import read_exhibits
from equipoise.audit.statistics import across_trainings
from equipoise.classifiers import NearestImages, build_net
from equipoise.cli import main
from equipoise.devices import enough_threads
from equipoise.norms import parse_threat
from equipoise.studies.model import fit_rules
from equipoise.studies.odds import OddsSettings
from equipoise.studies.sample_sizes import STANDARD, Arm, train_sizes
from equipoise.studies.training_claims import weigh_training
from equipoise.studies.two_classes import attack_two_classes
from equipoise.training import Recipe, Training, remember, train_many

SMALL = OddsSettings(
    radii=("1",),
    linf_radii=("0.2",),
    half_radii=("1",),
    sizes=(40, 0),
    seeds=2,
    recipe=Recipe(net="mlp", widths=(32,), rate=1e-2),
    steps=40,
    attack_steps=2,
    far="2",
    test=300,
    attacked=60,
    originals=0,
    linear_radii=("0", "0.2"),
    feature_images=80,
    device="cpu",
)


@pytest.fixture(scope="module")
def splits():
    return eq.load_images("digits", "train"), eq.load_images("digits", "test")


def test_intervals_over_trainings_and_images_cover_what_they_should():
    # Correctness is a threshold of a training's, an image's and a private normal draw: the truth is known by symmetry.
    rng, hits, widths = np.random.default_rng(0), 0, []
    for _ in range(400):
        total = (
            rng.normal(0, 0.3, (4, 1)) + rng.normal(0, 1, (1, 150)) + rng.normal(0, 1, (4, 150))
        )
        found = across_trainings(total > 0)
        hits += found.low <= 0.5 <= found.high
        widths.append(found.high - found.low)
    assert 0.94 <= hits / 400 <= 1
    assert np.mean(widths) < 0.35


def test_intervals_over_trainings_reduce_to_students():
    from scipy.stats import ttest_1samp

    # Where images do not differ, trainings alone vary; and the other way round.
    shares = np.array([0.1, 0.4, 0.3])
    many = np.repeat(shares[:, None], 7, axis=1)
    found = across_trainings(many)
    low, high = ttest_1samp(shares, 0).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert across_trainings(many.T).low == pytest.approx(found.low)
    assert np.isnan(across_trainings(many[:1]).low)


def test_exhibits_come_back_and_broken_ones_are_refused(tmp_path):
    assert read_exhibits(tmp_path) == {}
    write_exhibits(tmp_path, "odds", {"sizes": [{"size": 3, "low": float("nan"), "name": "a"}]})
    assert read_exhibits(tmp_path) == {"sizes": [{"size": 3, "low": None, "name": "a"}]}
    (tmp_path / "exhibits.json").write_text(json.dumps({"exhibits": {"sizes": [1]}}))
    with pytest.raises(eq.EquipoiseError, match="no lists of rows"):
        read_exhibits(tmp_path)


def test_the_nearest_image_decides_as_in_scikit_learn(splits, tmp_path):
    train, test = splits
    clf = remember(train, tmp_path / "nearest-image")
    known, asked = (part.batch(range(len(part))) for part in (train, test.subset(200)))
    peer = KNeighborsClassifier(1, algorithm="brute").fit(known.images.flatten(1), known.labels)
    logits = clf(asked.images)
    assert logits.argmax(1).tolist() == peer.predict(asked.images.flatten(1)).tolist()
    distance = peer.kneighbors(asked.images.flatten(1))[0][:, 0]
    assert isinstance(clf.net, NearestImages)
    spread = clf.net.spread.item()
    assert (-spread * logits.amax(1) / 64).sqrt().numpy() == pytest.approx(distance, abs=1e-3)
    again = remember(train, tmp_path / "nearest-image")
    assert again.fingerprint() == clf.fingerprint()
    with pytest.raises(eq.EquipoiseError, match="other images"):
        remember(train.subset(100), tmp_path / "nearest-image")


def test_a_class_without_images_is_never_the_nearest():
    net = NearestImages(shape=(1, 2, 2), classes=3, count=2)
    net.know(torch.tensor([[[[0.0, 0], [0, 0]]], [[[1.0, 1], [1, 1]]]]), torch.tensor([0, 2]))
    logits = net(torch.rand(5, 1, 2, 2))
    assert logits.isfinite().all()
    assert (logits[:, 1] < logits[:, [0, 2]].amin(1)).all()


def test_small_networks_get_one_thread_and_give_the_others_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        small = build_net("mlp", {"shape": (1, 8, 8), "classes": 10})
        large = nn.Linear(4000, 4000)
        with enough_threads(small, torch.rand(128, 1, 8, 8)):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with enough_threads(large, torch.rand(128, 4000)):
            assert torch.get_num_threads() == 2
        with enough_threads(
            NearestImages(shape=(1, 2, 2), classes=2, count=2), torch.rand(4, 1, 2, 2)
        ):
            assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), enough_threads(small, torch.rand(1, 1, 8, 8)):
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
        assert not any(module._forward_hooks for module in small.modules())
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_gains_and_claims_are_paired_by_seed_and_image(splits, tmp_path, monkeypatch):
    test = splits[1].subset(50)
    arm, pure = (Arm(name, parse_threat("l2:0.5")) for name in ("half-and-half", "pgd"))
    found = train_sizes(
        "digits",
        test,
        tmp_path,
        arms=[arm, pure],
        sizes=[30, 60],
        seeds=(3, 4),
        recipe=Recipe(net="mlp", widths=(16,), rate=1e-2),
        steps=20,
        attack_steps=2,
        device="cpu",
    )
    batch = test.batch(range(len(test)))
    right, losses = {}, {}
    for name in (STANDARD.name, arm.name, pure.name):
        for size in (30, 60):
            folders = [tmp_path / str(size) / str(seed) / name for seed in (3, 4)]
            rungs = [eq.load_classifier(f"local:{folder}") for folder in folders]
            assert [rung.facts["images"] for rung in rungs] == [size] * 2
            logs = [(f / "metrics.jsonl").read_text().splitlines() for f in folders]
            assert [len(log) for log in logs] == [20, 20]
            losses[name, size] = np.mean([json.loads(log[-1])["loss"] for log in logs])
            right[name, size] = np.stack(
                [(rung(batch.images).argmax(1) == batch.labels).numpy() for rung in rungs]
            )
    gap = {n: right[arm.name, n].astype(float) - right[STANDARD.name, n] for n in (30, 60)}
    assert found.gain(arm, 60).value == pytest.approx(gap[60].mean())
    assert found.change(arm).value == pytest.approx((gap[30] - gap[60]).mean())
    assert found.loss(arm, 30) == pytest.approx(losses[arm.name, 30])
    rows = {(r["radius"], r["size"]): r for r in found.rows() if "half" in r["family"]}
    assert {r["family"] for r in found.rows()} == {"l2", "l2, half-and-half"}
    assert rows[0.0, 30]["value"] == pytest.approx(right[STANDARD.name, 30].mean())
    assert rows[0.0, 30]["gain"] == 0
    assert found.largest(arm, 3).name == arm.name
    again = (found.largest(arm, 3)(batch.images).argmax(1) == batch.labels).numpy()
    assert (again == right[arm.name, 60][0]).all()
    monkeypatch.setattr("equipoise.studies.two_classes.RESAMPLES", 10)
    linear = attack_two_classes(*splits, ("5", "7"), [0.0, 0.2], 0.2)
    claims = weigh_training(fit_rules(), found, linear)
    for claim in claims:
        verdict = (
            "holds"
            if claim.low > claim.bound
            else "fails"
            if claim.high < claim.bound
            else "undecided"
        )
        assert claim.verdict == verdict
        assert claim.text.endswith(".")
    by = {claim.id: claim for claim in claims}
    assert set(by) == {"T1", "T2", "S1", "S2", "S3", "S4", "S5", "L1", "L2", "L3"}
    alone = {n: right[pure.name, n].astype(float) - right[STANDARD.name, n] for n in (30, 60)}
    assert by["S1"].value == pytest.approx(alone[30].mean())
    assert by["S2"].value == by["S4"].value == pytest.approx(-alone[60].mean())
    assert by["S3"].value == pytest.approx((alone[30] - alone[60]).mean())
    assert by["S5"].value == pytest.approx(-gap[60].mean())
    assert {c.verdict for c in claims if c.id in ("T1", "T2")} == {"holds"}
    all_in, two = (linear.right(linear.top[k]) for k in (-1, 0))
    assert by["L3"].value == pytest.approx(all_in.mean() - two.mean())


def test_two_classes_reproduce_the_papers_ordering(splits, monkeypatch):
    monkeypatch.setattr("equipoise.studies.two_classes.RESAMPLES", 40)
    found = attack_two_classes(*splits, ("5", "7"), [0.0, 0.1, 0.2, 0.3], 0.2)
    about = found.exhibits()["two-classes"]
    robust = [row["robust"] for row in about]
    assert robust[0] < robust[1] < robust[2]
    assert [row["used"] for row in about] == sorted((r["used"] for r in about), reverse=True)
    assert about[0]["weakest"] < 0.1
    assert about[2]["weakest"] > 0.4
    assert all(row["robust_unboxed"] <= row["robust"] for row in about)
    kept = found.exhibits()["two-classes-kept"]
    assert [row["kept"] for row in kept] == [2, 4, 8, 16, 32, 64]
    assert kept[0]["robust"] > kept[-1]["robust"] + 0.2
    assert kept[0]["standard"] <= kept[-1]["standard"]
    assert found.moved().low > 0
    # The exact attack is what no other change inside the box and the ball exceeds.
    rule = found.rules[0]
    rng = np.random.default_rng(0)
    margins = rule.margins(found.x, found.y, 0.2, box=(0, 1))
    for _ in range(20):
        moved = np.clip(found.x + 0.2 * rng.choice([-1, 1], found.x.shape), 0, 1)
        assert (found.y * (moved @ rule.weights + rule.bias) >= margins - 1e-9).all()


def test_rules_in_the_model_keep_the_theorems():
    model = fit_rules(seed=0)
    assert model.slack() >= -1e-12
    for standard, robust in (model.machines, model.fitted):
        assert standard.standard > 0.99
        assert standard.robust < 0.01
        assert robust.robust == pytest.approx(0.95, abs=1e-9)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"radii": ("1", "0.5")}, "radii that rise"),
        ({"radii": ()}, "radii that rise"),
        ({"sizes": (50,)}, "at least two sizes"),
        ({"sizes": (50, 5000)}, "at least two sizes"),
        ({"seeds": 1}, "seeds of at least 2, not 1"),
        ({"pair": ("5", "cat")}, "5 and cat"),
        ({"pair": ("5", "5")}, "two different classes"),
        ({"linear_radii": ("0.2", "0.1")}, "linear_radii that rise from 0"),
        ({"linear_radii": ()}, "linear_radii that rise from 0"),
        ({"linear_radius": "0.15"}, "one of the linear_radii"),
        ({"linear_radius": "much"}, "'much'"),
        ({"far": "1.5"}, "beyond every change of training, which reaches 1.6"),
        ({"far": "abc"}, "'abc'"),
        ({"feature_changes": "abc"}, "'abc'"),
        ({"originals": -3}, "originals of at least 0, not -3"),
        ({"attack_steps": 0}, "attack_steps of at least 1"),
        ({"denoiser": "local:/nope"}, "/nope"),
        ({"device": "tpu"}, "'tpu'"),
    ],
)
def test_what_would_fail_after_hours_is_refused_at_once(splits, wrong, said):
    with pytest.raises(eq.EquipoiseError, match=said):
        replace(SMALL, **wrong).check(*splits)


def test_a_linear_experiment_without_test_images_is_refused(splits):
    with pytest.raises(eq.EquipoiseError, match="10 test images of each class"):
        SMALL.check(splits[0], splits[1].subset(20))


def test_the_configurations_in_the_docs_name_options_that_there_are(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "equipoise.studies.odds", lambda out, settings: asked.append(settings) or (None, out)
    )
    monkeypatch.setattr("equipoise.cli.study.odds.print_claims", lambda run, page: None)
    files = sorted((Path(__file__).parent.parent / "docs" / "configs").glob("odds-*.yaml"))
    assert len(files) == 2
    for file in files:
        main(["study", "odds", "--config", str(file)])
        given = yaml.safe_load(file.read_text())["study"]["odds"]
        settings = asked[-1]
        assert settings.data == given["data"]
        assert settings.radii == tuple(given["radii"])
        assert settings.sizes == tuple(given["sizes"])
        assert settings.recipe.widths == tuple(given["widths"])
        assert len(settings.arms()) == sum(
            len(given[k]) for k in ("radii", "linf-radii", "half-radii")
        )
        assert settings.linear()[0] == 0


def test_claims_of_a_run_that_was_changed_since_are_not_shown(tmp_path):
    claim = judge("X1", "So it is.", "a number", Estimate(1.0, 0.5, 1.5, 20, "bootstrap"))
    (tmp_path / "run.json").write_text(json.dumps({"shards": [{"file": "a.parquet"}]}))
    write_claims(tmp_path, "odds", [claim])
    write_exhibits(tmp_path, "odds", {"sizes": [{"size": 3}]})
    assert (read_claims(tmp_path), read_study(tmp_path)) == ((claim,), "odds")
    (tmp_path / "run.json").write_text(json.dumps({"shards": [{"file": "b.parquet"}]}))
    assert (read_claims(tmp_path), read_study(tmp_path)) == ((), None)
    assert read_exhibits(tmp_path) == {}


def test_few_disagreements_get_the_exact_interval():
    a, b = np.zeros(121), np.zeros(121)
    a[:6] = 1
    found = difference(a, b)
    assert found.method == "Clopper-Pearson"
    assert found.low < 0 < found.value < found.high
    # Numbers that are no yes or no are resampled.
    assert difference(a + 0.5, b).method == "bootstrap"


@pytest.mark.slow
def test_trainings_side_by_side_give_what_one_after_the_other_gives(tmp_path, monkeypatch):
    def trainings(folder):
        recipe = Recipe(net="mlp", widths=(8,), epochs=2, limit=40, held_out=0.0)
        return [
            Training(
                data="digits",
                threat=eq.L2(radius),
                objective="pgd",
                recipe=recipe,
                out=folder,
                steps=1,
            )
            for radius in (0.0, 0.5)
        ]

    train_many(trainings(tmp_path / "many"), "Training", device="cpu")
    monkeypatch.setattr("equipoise.processes.MOST", 1)
    train_many(trainings(tmp_path / "one"), "Training", device="cpu")
    for name in ("l2-0", "l2-0.5"):
        pair = [eq.load_classifier(f"local:{tmp_path / kind / name}") for kind in ("many", "one")]
        assert pair[0].fingerprint() == pair[1].fingerprint()
    other = [replace(t, steps=2) for t in trainings(tmp_path / "many")]
    with pytest.raises(eq.EquipoiseError, match="with other settings"):
        train_many(other, "Training", device="cpu")
