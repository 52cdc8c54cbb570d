"""Audits: repeating, resuming and extending give the same table; wrong folders and broken images are reported."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Linear
from PIL import Image
from scipy.stats import binom

import equipoise as eq
from equipoise.audit import Run, robustness_curve
from equipoise.audit.plan import make_plan
from equipoise.audit.statistics import estimate
from equipoise.probes import Metric, load_probe
from equipoise.store import read_facts, write_shard

PROBES = ["standard", "adversarial:l2:0.75?steps=5"]


def rows(run, probe=None):
    return run.table(probe).fetchall()


def small(trained, name="small"):
    return eq.wrap(trained.net, classes=trained.classes, name=name)


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    return eq.audit(trained, "digits", PROBES, tmp_path_factory.mktemp("run") / "run", limit=300)


def test_the_table_has_a_row_for_every_question(run, trained):
    data = eq.load_images("digits").subset(300)
    assert len(run.table()) == 2 * 300
    ids = [example.id for example in data]
    for probe in PROBES:
        table = run.table(probe).fetchnumpy()
        assert list(table["id"]) == ids
        assert set(table["probe"]) == {probe}
    batch = data.batch(range(300))
    standard = run.columns("standard", trained.name)
    logits = trained(batch.images)
    assert np.array_equal(standard["prediction"], logits.argmax(1).numpy())
    assert np.array_equal(standard["correct"], (logits.argmax(1) == batch.labels).numpy())
    top = logits.sort(descending=True).values
    expected = torch.where(logits.argmax(1) == batch.labels, top[:, 0] - top[:, 1], torch.nan)
    right = standard["correct"].astype(bool)
    np.testing.assert_allclose(
        standard["margin"][right], expected.numpy()[right], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        standard["confidence"], logits.softmax(1).amax(1).numpy(), rtol=1e-4
    )


def test_the_adversarial_columns_agree_with_each_other(run, trained):
    columns = run.columns(PROBES[1], trained.name)
    clean = run.columns("standard", trained.name)["correct"].astype(bool)
    success = columns["success"].astype(bool)
    assert (success == (columns["radius"] <= 0.75)).all()
    assert (columns["distance"] <= 0.75 + 1e-6).all()
    assert (columns["radius"][~clean] == 0).all()
    assert (columns["radius"][clean] > 0).all()
    assert (columns["adversarial_prediction"] == columns["label"])[~success].all()
    assert (columns["adversarial_prediction"] != columns["label"])[success].all()
    assert (columns["forwards"] >= 2).all()
    assert 0.05 < success.mean() < 0.95


def test_pictures_are_kept_for_a_few_images_only(run):
    pictured = run.pictures(PROBES[1]).fetchnumpy()
    assert len(pictured["id"]) == 48
    assert (pictured["amplification"] > 0).all()
    assert all(
        bytes(p).startswith(b"\x89PNG") for p in [*pictured["picture"], *pictured["change"]]
    )
    clean = run.images().filter("picture IS NOT NULL").fetchnumpy()
    assert sorted(clean["id"]) == sorted(pictured["id"])
    assert "picture" not in run.table().columns


def test_repeating_computes_nothing(run, trained, monkeypatch):
    monkeypatch.setattr("equipoise.audit.auditing.run_local", None)
    monkeypatch.setattr("equipoise.audit.checking.preflight", None)
    before = (run.folder / "run.json").read_bytes()
    again = eq.audit(trained, "digits", PROBES, run.folder, limit=300)
    assert rows(again) == rows(run)
    assert (run.folder / "run.json").read_bytes() == before


def test_adding_a_probe_or_a_classifier_reuses_what_exists(trained, tmp_path):
    first = eq.audit(trained, "digits", ["standard"], tmp_path / "run", limit=40, pictures=4)
    kept = {path: path.stat().st_mtime_ns for path in first.shards()}
    other = eq.wrap(Linear(torch.eye(10, 64), torch.zeros(10)), name="linear")
    more = eq.audit([trained, other], "digits", PROBES, tmp_path / "run", limit=40, pictures=4)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(more.table()) == 4 * 40
    assert len(more.shards()) == 4
    fewer = eq.audit(trained, "digits", ["standard"], tmp_path / "run", limit=40, pictures=4)
    assert len(fewer.table()) == 40


def test_batch_size_and_company_do_not_change_the_table(run, trained, tmp_path):
    other = eq.wrap(Linear(torch.eye(10, 64), torch.zeros(10)), name="linear")
    changed = eq.audit(
        [other, trained], "digits", PROBES[::-1], tmp_path / "run", limit=300, batch=41
    )
    for probe in PROBES:
        mine = [row for row in rows(changed, probe) if row[0] == trained.name]
        assert mine == rows(run, probe)


KILLED = """
import equipoise as eq
eq.audit(["local:{rung}"], "digits", {probes!r}, "{out}", limit=300, batch=32)
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_killed_audit_ends_with_the_same_table(run, trained, tmp_path):
    """SIGKILL at random moments, four times after new shards, then once to the end."""
    from equipoise.classifiers import save_classifier

    save_classifier(trained, tmp_path / trained.name)
    # Shards of 20 images make many places to be killed at; the undisturbed run used one shard of 256 and one of 44.
    script = KILLED.format(rung=tmp_path / trained.name, probes=PROBES, out=tmp_path / "run")
    script = script.replace(
        "import equipoise as eq\n",
        "import equipoise as eq\nfrom equipoise.audit import preparing\nfrom functools import partial\n"
        "preparing.make_plan = partial(preparing.make_plan, size=20)\n",
    )
    rng = random.Random(4)
    shards = tmp_path / "run" / "shards"
    for _ in range(4):
        before = len(list(shards.rglob("*.parquet")))
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(shards.rglob("*.parquet"))) == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert finished.stdout == "done\n"
    resumed = Run(tmp_path / "run")
    assert resumed.record["status"] == "complete"
    for probe in PROBES:
        assert rows(resumed, probe) == rows(run, probe)


def test_an_interrupted_run_can_be_read(trained, tmp_path, monkeypatch):
    from equipoise.progress import Progress

    def interrupt(self, note=""):
        self.done += 1
        if self.done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            eq.audit(trained, "digits", PROBES, tmp_path / "run", limit=30)
    half = Run(tmp_path / "run")
    assert half.record["status"] == "running"
    assert len(half.table()) == 30
    assert {s.probe for s in half.summary()} == {"standard"}
    whole = eq.audit(trained, "digits", PROBES, tmp_path / "run", limit=30)
    assert len(whole.table()) == 60


def photos(folder: Path, count=12):
    rng = np.random.default_rng(0)
    for k in range(count):
        path = folder / "test" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
    return f"folder:{folder}"


def two_class_net():
    return eq.wrap(
        Linear(torch.randn(2, 64, generator=torch.Generator().manual_seed(0)), torch.zeros(2)),
        name="two",
    )


def test_broken_images_stop_or_are_counted(tmp_path):
    spec = photos(tmp_path / "photos")
    (tmp_path / "photos" / "test" / "a" / "4.png").write_bytes(b"\x89PNG nonsense")
    with pytest.raises(eq.EquipoiseError, match=r"4\.png.*--skip-broken"):
        eq.audit(two_class_net(), spec, ["standard"], tmp_path / "run")
    run = eq.audit(two_class_net(), spec, ["standard"], tmp_path / "run", skip_broken=True)
    assert len(run.table()) == 11
    assert [item[0] for item in run.broken()] == ["test/a/4.png"]


def test_images_of_mixed_sizes_are_refused(tmp_path):
    spec = photos(tmp_path / "photos", 300)
    Image.new("L", (9, 8)).save(tmp_path / "photos" / "test" / "b" / "299.png")
    with pytest.raises(eq.EquipoiseError, match=r"b/299\.png.*\?size=32"):
        eq.audit(two_class_net(), spec, ["standard"], tmp_path / "run", batch=1)


def test_another_run_is_not_overwritten(trained, tmp_path):
    eq.audit(trained, "digits", ["standard"], tmp_path / "run", limit=20)
    for change, words in (
        ({"limit": 21}, "the limit is 20, not 21"),
        ({"seed": 1}, "the content of the images|the seed is 0, not 1"),
        ({"data": photos(tmp_path / "photos")}, r"the images is digits \(test\), not folder"),
    ):
        asked = {"data": "digits", "limit": 20, "seed": 0} | change
        with pytest.raises(eq.EquipoiseError, match=words):
            eq.audit(trained, asked.pop("data"), ["standard"], tmp_path / "run", **asked)


def test_foreign_folders_are_not_touched(trained, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(eq.EquipoiseError, match=r"holds 1 other files, such as 'thesis.tex'"):
        eq.audit(trained, "digits", ["standard"], tmp_path, limit=8)
    with pytest.raises(eq.EquipoiseError, match="it is a file"):
        eq.audit(trained, "digits", ["standard"], tmp_path / "thesis.tex", limit=8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thesis.tex"]


def test_what_cannot_be_audited(trained, tmp_path):
    broken = eq.wrap(Linear(torch.full((10, 64), torch.nan), torch.zeros(10)), name="broken")
    for classifiers, probes, words in (
        (broken, ["standard"], r"'broken' failed its preflight \(outputs\).*NaN"),
        ([], ["standard"], "without a classifier"),
        (trained, [], "without a probe"),
        (trained, ["adverserial:l2:1"], "Did you mean 'adversarial'"),
        (trained, ["adversarial"], "needs a threat"),
        (trained, ["adversarial:l2:1?step=3"], "Did you mean 'steps'"),
        (trained, ["adversarial:l2:1?steps=0"], "whole number of at least 1"),
        ([trained, trained], ["standard"], "two classifiers called"),
        (torch.nn.Flatten(), ["standard"], "equipoise.wrap"),
    ):
        with pytest.raises(eq.EquipoiseError, match=words):
            eq.audit(classifiers, "digits", probes, tmp_path / "run", limit=8)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_full_disk_leaves_an_intact_run(trained, tmp_path, monkeypatch):
    eq.audit(trained, "digits", ["standard"], tmp_path / "run", limit=30)
    real = os.fsync

    def full(descriptor):
        target = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if target.endswith(".tmp") and "adversarial" in target:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(eq.EquipoiseError, match=r"No space left on device.*repeat the command"):
        eq.audit(trained, "digits", PROBES, tmp_path / "run", limit=30)
    monkeypatch.undo()
    assert len(Run(tmp_path / "run").table("standard")) == 30
    assert not [p for p in (tmp_path / "run").rglob("*") if p.name.endswith(".tmp")]
    assert len(eq.audit(trained, "digits", PROBES, tmp_path / "run", limit=30).table()) == 60


def test_runs_that_are_none(tmp_path):
    with pytest.raises(eq.EquipoiseError, match=r"no run.json"):
        Run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(eq.EquipoiseError, match="schema is 99"):
        Run(tmp_path)


def test_a_truncated_shard_is_computed_again(trained, tmp_path):
    whole = eq.audit(trained, "digits", PROBES, tmp_path / "run", limit=40)
    before = [rows(whole, probe) for probe in PROBES]
    for shard, size in zip(whole.shards(), (100, 0), strict=True):
        os.truncate(shard, size)
    assert Run(tmp_path / "run").shards() == []
    again = eq.audit(trained, "digits", PROBES, tmp_path / "run", limit=40)
    assert [rows(again, probe) for probe in PROBES] == before


@pytest.mark.parametrize("text", ["[]", '{"schema": 3}', "{", ""])
def test_a_broken_run_json_is_named(text, trained, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(eq.EquipoiseError, match=r"run\.json|schema is None"):
        Run(tmp_path)
    with pytest.raises(eq.EquipoiseError, match=r"run\.json|schema is None"):
        eq.audit(trained, "digits", ["standard"], tmp_path, limit=8)


def test_what_a_classifier_does_is_part_of_its_identity(trained, tmp_path):
    """A hook that changes the answers changes no weight and no code of a module."""
    mine = small(trained)
    first = eq.audit(mine, "digits", ["standard"], tmp_path / "run", limit=40)
    handle = trained.net.register_forward_hook(lambda module, given, logits: -logits)
    try:
        second = eq.audit(small(trained), "digits", ["standard"], tmp_path / "run", limit=40)
    finally:
        handle.remove()
    assert first.summary()[0].value > 0.8
    assert second.summary()[0].value < 0.1


def test_classifiers_are_renamed_on_the_way(trained, tmp_path):
    from equipoise.classifiers import save_classifier

    for folder in "ab":
        save_classifier(trained, tmp_path / folder / "rung")
    specs = [f"local:{tmp_path / 'a' / 'rung'}", f"second=local:{tmp_path / 'b' / 'rung'}"]
    run = eq.audit(specs, "digits", ["standard"], tmp_path / "run", limit=8)
    assert run.classifiers == ("rung", "second")
    with pytest.raises(eq.EquipoiseError, match="other=local:DIR"):
        eq.audit(
            [specs[0], specs[1].removeprefix("second=")],
            "digits",
            ["standard"],
            tmp_path / "x",
            limit=8,
        )


def test_unknown_probes_of_a_run(run):
    with pytest.raises(eq.EquipoiseError, match="Did you mean 'standard'"):
        run.table("standart")


def test_run_json_says_how_it_was_made(run, trained):
    record = run.record
    assert record["schema"] == 3
    assert record["data"] | {"fingerprint": ""} == {
        "spec": "digits", "split": "test", "images": 300, "limit": 300, "classes": list("0123456789"),
        "shape": [1, 8, 8], "fingerprint": "", "pictures": 48, "examined": 64,
    }  # fmt: skip
    described = record["classifiers"][trained.name]
    assert len(described["fingerprint"]) == 32
    assert {check["status"] for check in described["preflight"]} == {"pass"}
    assert set(record["versions"]) >= {"python", "torch", "equipoise"}
    assert all(fact["seconds"] >= 0 for fact in run.facts())


def test_the_summary_is_computed_from_the_table(run, trained):
    summary = {(s.probe, s.name): s for s in run.summary()}
    columns = run.columns("standard", trained.name)
    accuracy = summary["standard", "standard accuracy"]
    assert accuracy.value == columns["correct"].mean()
    assert accuracy.n == 300
    assert accuracy.low < accuracy.value < accuracy.high
    robust = summary[PROBES[1], "robust accuracy at l2:0.75"]
    radius = run.columns(PROBES[1], trained.name)["radius"]
    assert robust.value == pytest.approx((radius > 0.75).mean())
    curve = robustness_curve(radius, np.array([0.0, 0.75, 100.0]))
    assert curve.value[0] == pytest.approx(accuracy.value)
    assert curve.value[1] == pytest.approx(robust.value)
    assert curve.value[2] == 0


def test_shares_get_the_exact_bootstrap_percentiles():
    ones = np.array([1] * 30 + [0] * 70)
    found = estimate(Metric("share", ones, "share"))
    rng = np.random.default_rng(0)
    resampled = rng.binomial(100, 0.3, 200_000) / 100
    assert (found.value, found.n, found.method) == (0.3, 100, "bootstrap")
    assert [found.low, found.high] == pytest.approx(
        np.quantile(resampled, [0.025, 0.975]), abs=0.0101
    )


@pytest.mark.parametrize(("ones", "n"), [(0, 600), (600, 600), (3, 50), (597, 600)])
def test_extreme_shares_get_an_interval_with_its_coverage(ones, n):
    """Clopper and Pearson: at the ends of the interval the data is just at the edge of the 2.5 % tails."""
    found = estimate(Metric("share", np.arange(n) < ones, "share"))
    assert found.method == "Clopper-Pearson"
    if ones:
        assert binom.sf(ones - 1, n, found.low) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.low == 0
    if ones < n:
        assert binom.cdf(ones, n, found.high) == pytest.approx(0.025, rel=1e-6)
    else:
        assert found.high == 1
    assert found.low <= ones / n <= found.high


def test_mean_intervals_agree_with_theory_and_cover():
    rng = np.random.default_rng(1)
    found = estimate(Metric("mean", rng.normal(3, 2, 4000), "mean"))
    half = 1.96 * 2 / np.sqrt(4000)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    covered = [
        e.low <= 0.5 <= e.high
        for e in (
            estimate(Metric("median", rng.uniform(size=101), "median"), seed=k) for k in range(100)
        )
    ]
    assert np.mean(covered) > 0.87  # 95 % but for four standard errors


def test_medians_bear_infinite_radii():
    values = np.array([1.0, 2.0, np.inf, np.inf, np.inf])
    found = estimate(Metric("median", values, "median"))
    assert found.value == np.inf
    assert found.low <= found.high
    assert not np.isnan(found.low)
    assert np.isnan(estimate(Metric("median", values[:0], "median")).value)


def test_the_band_holds_at_all_radii_at_once():
    """The Dvoretzky-Kiefer-Wolfowitz band of 95 % covers the whole curve in at least that share of samples."""
    rng = np.random.default_rng(2)
    points = np.linspace(0, 1, 101)
    covered = 0
    for _ in range(300):
        curve = robustness_curve(rng.uniform(size=80), points)
        covered += bool(((curve.low <= 1 - points) & (1 - points <= curve.high)).all())
    assert covered / 300 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 300)


def test_shards_round_trip(tmp_path):
    columns = {
        "id": np.array(["a", "b\"'", None], dtype=object),
        "ok": np.array([True, False, True]),
        "x": np.array([0.5, np.inf, -1.0], dtype=np.float32),
        "picture": np.array([None, b"\x00\xff", None], dtype=object),
    }
    types = {"id": "VARCHAR", "ok": "BOOLEAN", "x": "FLOAT", "picture": "BLOB"}
    path = tmp_path / "it's" / "a.parquet"
    write_shard(path, types, columns, {"note": "it's \u2028 fine"})
    assert read_facts([path]) == [{"note": "it's \u2028 fine"}]
    from equipoise.store import connect, read_shards

    found = read_shards(connect(), [path]).fetchall()
    assert found == [
        ("a", True, 0.5, None),
        ("b\"'", False, np.inf, b"\x00\xff"),
        (None, True, -1.0, None),
    ]
    assert [p.name for p in path.parent.iterdir()] == ["a.parquet"]


def test_probe_specs_round_trip():
    for spec in ("standard", "adversarial:linf:8/255", "adversarial:l2:0.5?steps=5"):
        assert str(load_probe(spec)) == spec
        assert load_probe(str(load_probe(spec))) == load_probe(spec)


@pytest.mark.parametrize("asked", [1, 7, 20, 48])
def test_pictures_are_spread_over_the_whole_set(asked):
    data = eq.load_images("digits").subset(20)
    pictured = sorted(make_plan(data, {}, [], seed=0, pictures=asked).pictured)
    assert len(pictured) == min(asked, 20)
    assert pictured[0] == 0 and (pictured[-1] == 19) == (asked > 1)


@pytest.mark.parametrize("asked", [0, 7, 64])
def test_as_many_images_are_looked_at_twice_as_were_asked_for(asked):
    data = eq.load_images("digits").subset(20)
    examined = make_plan(data, {}, [], seed=0, pictures=0, examined=asked).examined
    assert len(examined) == min(asked, 20) and examined <= set(range(20))
