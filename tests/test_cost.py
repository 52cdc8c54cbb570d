"""The cost of an audit before it is begun: passes in closed form, what is left of a run, and nothing written."""

import dataclasses
import gc
import itertools
import math
import tracemalloc

import numpy as np
import pytest
import torch
from conftest import grey_images, linear

import equipoise as eq
from equipoise.audit.plan import make_plan
from equipoise.classifiers import save_classifier
from equipoise.cli import main
from equipoise.cli.dry_run import between, span
from equipoise.cost import estimate_cost
from equipoise.cost.extrapolation import (
    CallCost,
    Sample,
    extrapolate,
    one_by_one,
    relative_error,
)
from equipoise.cost.watching import OutOfTimeError, watched
from equipoise.images import Arrays, Example, Images
from equipoise.probes import load_probe

SHAPE = (1, 4, 4)


def images(count, classes=4):
    pixels = grey_images(count, SHAPE)
    labels = [k % classes for k in range(count)]
    return Arrays(pixels, labels, tuple("abcdefgh"[:classes]))


def right(classifier, count):
    """Images that the classifier gets right."""
    data = images(count)
    return dataclasses.replace(data, labels=classifier(data.pixels).argmax(1).tolist())


def quick(steps=50):
    """Settings of an estimate whose clock counts its own readings, so that nothing depends on the machine. Every
    network call reads it."""
    ticks = itertools.count()
    return {"calibrate": float(steps), "device": "cpu", "clock": lambda: float(next(ticks))}


@pytest.fixture
def judged():
    return [linear(4, SHAPE, seed=0), eq.wrap(linear(4, SHAPE, seed=1).net, name="other")]


def below(folder):
    return sorted(path for path in folder.rglob("*"))


# Passes


@pytest.mark.parametrize(
    ("probe", "forwards", "backwards"),
    [("standard", 1, 0), ("gradients", 1, 1)],
)
def test_passes_of_probes_that_always_do_the_same_are_exact(
    tmp_path, judged, probe, forwards, backwards
):
    cost = estimate_cost(judged, images(50), [probe], tmp_path / "run", batch=16, **quick())
    assert [(row.classifier, row.forwards, row.backwards) for row in cost.rows] == [
        (classifier.name, forwards, backwards) for classifier in judged
    ]
    assert all(row.images == 50 and row.probe == probe for row in cost.rows)


def test_passes_of_an_attack_are_those_of_the_audit_where_every_image_was_measured(
    tmp_path, judged
):
    """With time to see every image, the mean over the sample is that over the audit."""
    probe, data = "adversarial:l2:0.1?steps=5", images(24)
    settings = {"pictures": 0, "examined": 0, "batch": 24}
    cost = estimate_cost(judged[0], data, [probe], tmp_path / "run", **quick(1200), **settings)
    run = eq.audit(judged[0], data, [probe], tmp_path / "run", shown=False, **settings)
    columns = run.columns(probe, judged[0].name)
    [row] = cost.rows
    assert row.sample >= 24
    for told, name in ((row.forwards, "forwards"), (row.backwards, "backwards")):
        assert columns[name].min() <= told <= columns[name].max()
        assert told == pytest.approx(columns[name].mean(), rel=0.3)
    assert columns["forwards"].std() > 0


def test_images_that_are_looked_at_twice_count_with_their_share(tmp_path, judged):
    """The second look of an image that withstands costs passes: an audit that takes it everywhere costs more."""
    told = []
    for examined in (0, 30):
        cost = estimate_cost(
            judged[0],
            right(judged[0], 30),
            ["adversarial:l2:0.001?steps=5"],
            tmp_path / "run",
            examined=examined,
            pictures=0,
            **quick(1000),
        )
        told.append(cost.rows[0].forwards)
    assert told[1] > 1.5 * told[0]


# Plans


def test_the_plan_is_that_of_the_audit(tmp_path, judged):
    data, probes = images(600), ["standard", "gradients"]
    cost = estimate_cost(judged, data, probes, tmp_path / "run", **quick())
    plan = make_plan(
        data,
        {classifier.name: classifier for classifier in judged},
        [load_probe(probe) for probe in probes],
        seed=0,
        pictures=48,
    )
    assert (cost.images, cost.shards, cost.done) == (600, len(plan.shards), 0)
    assert cost.shards == 3 * (1 + 2 * 2)
    assert [row.shards for row in cost.rows] == [3] * 4
    assert cost.low <= cost.seconds <= cost.high
    assert cost.disk > 0
    assert cost.memory > 0
    assert cost.device_memory == 0


def test_nothing_is_written_into_the_folder(tmp_path, judged):
    estimate_cost(judged, images(20), ["standard"], tmp_path / "run", **quick())
    assert below(tmp_path) == []


def test_classifiers_are_left_as_they_were(tmp_path, judged):
    before = [(c.fingerprint(), sorted(vars(c))) for c in judged]
    estimate_cost(judged, images(20), ["standard", "gradients"], tmp_path / "run", **quick())
    assert [(c.fingerprint(), sorted(vars(c))) for c in judged] == before


def test_only_what_is_missing_is_estimated(tmp_path, judged):
    data, folder = images(600), tmp_path / "run"
    run = eq.audit(judged[0], data, ["standard"], folder, shown=False)
    run.shards("standard")[1].unlink()
    before = [(path, path.stat().st_mtime_ns) for path in below(folder)]
    cost = estimate_cost(judged, data, ["standard"], folder, **quick())
    assert [(row.images, row.shards, row.done) for row in cost.rows] == [(256, 3, 2), (600, 3, 0)]
    assert (cost.shards, cost.done) == (9, 5)
    assert [(path, path.stat().st_mtime_ns) for path in below(folder)] == before


def test_a_finished_run_costs_nothing_more(tmp_path, judged):
    eq.audit(judged, images(20), ["standard"], tmp_path, shown=False)
    cost = estimate_cost(judged, images(20), ["standard"], tmp_path, **quick())
    assert cost.done == cost.shards
    assert (cost.disk, cost.reading, cost.writing) == (0, 0, 0)
    assert all((row.images, row.seconds, row.error) == (0, 0, 0) for row in cost.rows)
    assert cost.seconds == cost.preparing


def test_workers_share_what_is_measured(tmp_path, judged):
    told = [
        estimate_cost(
            judged, images(40), ["standard"], tmp_path / "run", workers=workers, **quick()
        )
        for workers in (1, 4)
    ]
    assert told[0].rows == told[1].rows
    alone, shared = (cost.seconds - cost.preparing for cost in told)
    assert shared == pytest.approx(alone / 4)


def test_a_probe_that_cannot_be_measured_in_time_is_named_unknown(tmp_path, judged):
    cost = estimate_cost(
        judged,
        right(judged[0], 20),
        ["standard", "adversarial:l2:0.001"],
        tmp_path,
        **quick(40),
    )
    unknown = {row.probe for row in cost.rows if math.isnan(row.seconds)}
    assert unknown == {"adversarial:l2:0.001"}
    assert math.isnan(cost.seconds)
    assert not cost.enough
    assert cost.advice > cost.calibrated


@pytest.mark.parametrize("wrong", [{"calibrate": 0}, {"calibrate": math.nan}, {"workers": 0}])
def test_wrong_settings_are_refused(tmp_path, judged, wrong):
    with pytest.raises(eq.EquipoiseError, match="Cannot estimate a cost"):
        estimate_cost(judged, images(4), ["standard"], tmp_path, **wrong)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--precision", "fast"], "what it gains is found by trying"),
        (["--on", "nonsense"], "Cannot work on 'nonsense'"),
        (["--workers", "2"], "work on 'local'"),
    ],
)
def test_the_verb_refuses_what_it_cannot_estimate(trained, tmp_path, options, why, capsys):
    save_classifier(trained, tmp_path / "net")
    with pytest.raises(SystemExit) as stopped:
        main(["audit", f"local:{tmp_path}/net", "--data", "digits", "--dry-run", *options])
    assert stopped.value.code == 2 and why in capsys.readouterr().err


def test_what_the_audit_refuses_is_refused(tmp_path, judged):
    (tmp_path / "letter.txt").write_text("not a run")
    with pytest.raises(eq.EquipoiseError, match="other files"):
        estimate_cost(judged, images(4), ["standard"], tmp_path)
    with pytest.raises(eq.EquipoiseError, match="without a probe"):
        estimate_cost(judged, images(4), [], tmp_path / "run")


# Extrapolation


def sample(n, seconds, widths, passes, name="a"):
    told = np.full(n, passes / 2)
    calls = {(name, True): np.array(widths, dtype=float)}
    return Sample(images=n, marked=0, seconds=seconds, calls=calls, forwards=told, backwards=told)


def test_calls_are_priced_straight_between_widths_and_on_beyond_them():
    cost = CallCost([16, 64], [1.0, 4.0], [2.0, 8.0])
    assert cost(np.array([1.0, 16, 40, 64, 128]), False) == pytest.approx([1, 1, 2.5, 4, 8])
    assert cost(np.array([64.0]), True) == pytest.approx([8])
    alone = CallCost([16], [1.0], [2.0])
    assert alone(np.array([8.0, 32]), False) == pytest.approx([1, 2])


def test_a_wider_batch_makes_the_same_calls_wider():
    """Ten calls of 16 images at 0.1 s + 0.01 s an image, and 1 s beside them."""
    cost = {"a": CallCost([16, 32], [0.26, 0.42], [0.26, 0.42])}
    small = sample(16, 1 + 10 * 0.26, [16] * 10, 10)
    assert extrapolate(small, cost, 64, 64 * 10, apart=False) == pytest.approx(
        1 + 10 * (0.1 + 0.01 * 64)
    )
    # Twice the passes are twice the calls.
    assert extrapolate(small, cost, 64, 64 * 20, apart=False) == pytest.approx(
        1 + 20 * (0.1 + 0.01 * 64)
    )
    assert extrapolate(small, cost, 16, 160, apart=False) == pytest.approx(small.seconds)


def test_one_by_one_more_images_make_more_calls():
    cost = {"a": CallCost([16, 32], [0.26, 0.42], [0.26, 0.42])}
    small, large = sample(4, 4 * 1.5, [32] * 4, 8), sample(16, 16 * 1.5, [32] * 16, 8)
    assert one_by_one([small, large])
    assert extrapolate(small, cost, 64, 64 * 8, apart=True) == pytest.approx(64 * 1.5)
    assert not one_by_one([small])
    assert not one_by_one([small, sample(16, 6, [128] * 4, 8)])
    # One of two samples happened to need few calls, which then were wider for more images.
    easy, hard = sample(4, 1, [4] * 90, 8), sample(4, 1, [4] * 700, 8)
    assert not one_by_one([easy, hard, sample(16, 1, [16] * 900, 8)])
    assert not one_by_one([easy, sample(16, 1, [16] * 360, 8)])


def test_a_borrowed_sample_is_paid_at_its_new_price():
    cost = {
        name: CallCost([16, 32], [p, 2 * p], [p, 2 * p]) for name, p in (("a", 1.0), ("b", 3.0))
    }
    lent = sample(16, 10.0, [16] * 10, 10)
    assert extrapolate(lent, cost, 16, 160, apart=False, scale={"a": "b"}) == pytest.approx(30)


def test_the_error_falls_with_images_and_knows_the_whole_set():
    def error(n, total, **more):
        told = np.tile([0.0, 100.0], n // 2)
        one = dataclasses.replace(sample(n, 1, [n], 1), forwards=told, backwards=told)
        return relative_error([one], total, n, **more)

    assert error(8, 10_000) > error(32, 10_000) > error(128, 10_000) > error(128, 128) == 0.05
    # Passes of 0 or 200 spread as far as their mean.
    assert error(100, 10**9) == pytest.approx(math.hypot(math.sqrt(1.01 / 100), 0.05))
    assert error(128, 128, borrowed=True) > 0.5


# Memory


class Endless(Images):
    """Images that are made when they are read, and kept by nobody."""

    spec, split, classes = "endless", "test", tuple("abcd")

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, index):
        image = torch.full(SHAPE, (index % 97) / 97)
        return Example(image, index % 4, f"image-{index}")

    def fingerprint(self, indices):
        return f"{self.count} {list(indices)[:1]}"


@pytest.mark.slow
def test_the_peak_of_memory_does_not_grow_with_the_images(tmp_path, judged):
    """Below a hundred bytes for each image more: its shards have to be listed, and nothing else is kept."""
    peaks = []
    eq.audit(judged[0], Endless(600), ["standard"], tmp_path / "warm", shown=False)
    for count in (2_000, 20_000):
        gc.collect()
        tracemalloc.start()
        eq.audit(judged[0], Endless(count), ["standard"], tmp_path / str(count), shown=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 18_000 < 100


# Watching


def test_watching_counts_calls_of_the_probe_alone(judged):
    data = images(10)
    plan = make_plan(data, {"a": judged[0]}, [load_probe("gradients")], seed=0, pictures=0)
    batch = data.batch(range(10))
    with watched(plan, math.inf, lambda: 0.0) as (seen_plan, seen):
        judged[0](batch.images)
        from equipoise.probes import Request

        request = Request(seed=0, pictured=[False] * 10, examined=[False] * 10, others={})
        seen_plan.probes["gradients"].measure(judged[0], batch, request)
    assert seen.calls == {("a", True): [10]}
    assert seen_plan.probes == plan.probes
    with watched(plan, -1.0, lambda: 0.0), pytest.raises(OutOfTimeError):
        judged[0](batch.images)
    assert torch.equal(judged[0](batch.images), judged[0].logits(batch.images))


# The command line


def test_times_are_said_in_units_that_suit_them():
    assert span(0.04) == "under 0.1 s"
    assert span(5) == "5.0 s"
    assert span(3600) == "60 min"
    assert span(86400) == "24 h"
    assert span(7 * 86400) == "7.0 days"
    assert span(math.nan) == "?"
    assert between(240, 366) == "4.0 to 6.1 min"
    assert between(95, 95) == "95 s"


def test_the_command_prints_the_plan_and_writes_nothing(tmp_path, trained, capsys):
    save_classifier(trained, tmp_path / "rung")
    out = tmp_path / "run"
    arguments = ["audit", f"local:{tmp_path / 'rung'}", "--data", "digits", "--out", str(out)]
    arguments += ["--probe", "standard", "--limit", "60", "--device", "cpu"]
    main([*arguments, "--dry-run", "--calibrate", "0.5"])
    said = capsys.readouterr().out
    assert "standard" in said
    assert "Shards: 2 of 2 to measure. Images: 60." in said
    assert "Passes: 60 forward, 0 backward." in said
    assert not out.exists()
    main(arguments)
    capsys.readouterr()
    main([*arguments, "--dry-run"])
    assert capsys.readouterr().out == f"Nothing is left to measure: all 2 shards are in {out}.\n"


def test_the_embedded_default_has_no_dry_run(capsys):
    with pytest.raises(SystemExit):
        main(["audit", "--dry-run"])
    assert "--dry-run needs classifiers and --data" in capsys.readouterr().err
