"""Comparisons: paired by hand and by other formulas, refused across protocols, and text wherever names are shown."""

import json
import math
import re
import shutil
from html import unescape

import numpy as np
import pytest
import torch
from conftest import Linear
from scipy.stats import binomtest, multinomial, norm

import equipoise as eq
from equipoise.attacks import WorstCase
from equipoise.audit.difference import paired_difference
from equipoise.audit.gains import gain_interval, mcnemar
from equipoise.cli import main
from equipoise.comparing import Threshold
from equipoise.comparing.asking import Measured, _missing, pair
from equipoise.comparing.markdown import inert
from equipoise.comparing.multiple import compare_metrics, holm
from equipoise.comparing.naming import find_metrics, short_names
from equipoise.comparing.thresholds import parse_threshold
from equipoise.images import Arrays
from equipoise.images.source import Subset
from equipoise.probes import Metric, Standard, adversarial
from equipoise.report.comparison import write_comparison

THREAT = "adversarial:l2:0.5?steps=2"
PROBES = ["standard", THREAT]
HOSTILE = "</script><script>alert(1)</script>|`*_[a](http://b) @all"
COLUMNS = ("standard accuracy", "robust accuracy at l2:0.5")


@pytest.fixture(scope="module")
def images():
    """Sixty test digits with ids of their own."""
    data = eq.load_images("digits", split="test")
    batch = data.batch(range(60))
    ids = [f"digit-{k}" for k in range(60)]
    return Arrays(batch.images, batch.labels.tolist(), data.classes, ids)


@pytest.fixture(scope="module")
def nearest():
    """Classifiers by the nearest class mean, the means disturbed by `noise`."""
    data = eq.load_images("digits", split="train")
    batch = data.batch(range(len(data)))
    pixels = batch.images.flatten(1)
    means = torch.stack([pixels[batch.labels == k].mean(0) for k in range(10)])

    def build(name, noise=0.0, seed=0):
        generator = torch.Generator().manual_seed(seed)
        own = means + noise * torch.randn(means.shape, generator=generator)
        return eq.wrap(Linear(2 * own, -own.square().sum(1)), name=name)

    return build


@pytest.fixture(scope="module")
def runs(tmp_path_factory, images, nearest):
    """A run of three classifiers, and two runs of one classifier of the same name each, before and after."""
    out = tmp_path_factory.mktemp("runs")
    three = [nearest("plain"), nearest("worse", 0.25, 2), nearest("alike", 0.005, 3)]
    with pytest.MonkeyPatch.context() as patch:
        # What is compared matters here, not how hard was searched.
        quick = {"steps": 1, "queries": 1, "rounds": 1, "targets": 1, "focus": 1}
        patch.setattr(adversarial, "WorstCase", lambda budget: WorstCase(budget=budget, **quick))
        eq.audit(three, images, PROBES, out / "three", pictures=2)
    one = edited(out / "three", out / "before", lambda text: alone(text, "plain"))
    other = edited(out / "three", out / "after", lambda text: alone(text, "worse"))
    return {"three": out / "three", "before": one, "after": other}


def alone(text, name):
    """run.json of a run of that classifier alone, under the name net."""
    record = json.loads(text)
    record["classifiers"] = {"net": record["classifiers"][name]}
    own = [shard for shard in record["shards"] if shard["classifier"] in (None, name)]
    record["shards"] = [s | {"classifier": s["classifier"] and "net"} for s in own]
    return json.dumps(record, indent=2)


@pytest.fixture(scope="module")
def both(runs):
    return eq.compare(runs["before"], runs["after"])


@pytest.fixture(scope="module")
def board(runs):
    return eq.compare(runs["three"])


def edited(folder, out, edit):
    """A copy of a run whose run.json went through `edit`, text to text."""
    shutil.copytree(folder, out)
    path = out / "run.json"
    path.write_text(edit(path.read_text()))
    return out


def by_metric(comparison):
    return {(c.before, c.after, c.metric): c for c in comparison.changes}


# Statistics


@pytest.mark.parametrize("gained, lost", [(0, 0), (1, 0), (7, 2), (2, 7), (12, 12), (40, 11)])
def test_mcnemar_is_the_exact_binomial_test(gained, lost):
    wanted = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(wanted)


@pytest.mark.parametrize("gained, lost", [(8, 5), (5, 8), (10, 0), (7, 7)])
@pytest.mark.parametrize("error", [0.05, 0.004])
def test_the_interval_of_gains_is_that_of_all_resamples(gained, lost, error):
    n = 24
    shares = [gained / n, lost / n, 1 - (gained + lost) / n]
    found = {}
    for g in range(n + 1):
        for k in range(n + 1 - g):
            found[g - k] = found.get(g - k, 0.0) + multinomial.pmf([g, k, n - g - k], n, shares)
    sums = sorted(found)
    below = np.cumsum([found[s] for s in sums])
    low, high = (n * end for end in gain_interval(gained, lost, n, error))
    assert round(high) == sums[int(np.searchsorted(below, 1 - error / 2 - 1e-12))]
    above = np.cumsum([found[s] for s in reversed(sums)])
    assert round(low) == sums[::-1][int(np.searchsorted(above, 1 - error / 2 - 1e-12))]
    turned = gain_interval(lost, gained, n, error)
    assert (-turned[1], -turned[0]) == gain_interval(gained, lost, n, error)


@pytest.mark.parametrize("gained, lost, n", [(30, 20, 100), (12, 2, 1000), (3, 1, 50), (0, 0, 40)])
@pytest.mark.parametrize("choices", [1, 12])
def test_the_interval_of_gains_is_that_of_paired_differences(gained, lost, n, choices):
    before = np.r_[np.zeros(gained), np.ones(n - gained)]
    after = np.r_[np.ones(gained), np.zeros(lost), np.ones(n - gained - lost)]
    wanted = paired_difference(before, after, choices=choices)
    found = gain_interval(gained, lost, n, 0.05 / choices)
    # Resampling errs by an image in the far tails.
    assert found == pytest.approx((wanted.low, wanted.high), abs=1.01 / n)


def test_where_everything_changed_the_interval_is_not_empty():
    low, high = gain_interval(20, 0, 20, 0.05)
    assert low < 1 <= high


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == pytest.approx([0.02])
    assert len(holm([])) == 0


def test_what_could_not_be_tested_counts():
    assert holm([0.01, math.nan]) == pytest.approx([0.02, math.nan], nan_ok=True)


def test_holm_steps_down_as_its_author_says():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.random(6) ** 3
        rejected, order = set(), np.argsort(p)
        for k, i in enumerate(order):
            if p[i] > 0.05 / (len(p) - k):
                break
            rejected.add(int(i))
        assert set(np.flatnonzero(holm(p.tolist()) <= 0.05).tolist()) == rejected
        bonferroni = set(np.flatnonzero(p <= 0.05 / len(p)).tolist())
        assert bonferroni <= rejected


def test_numbers_at_once_are_wider_by_the_ratio_of_normal_quantiles():
    rng = np.random.default_rng(1)
    before, after = rng.random((2, 300))
    found = compare_metrics(Metric("m", before, "mean"), Metric("m", after, "mean"))
    low, high = found.at_once(20)
    ratio = norm.ppf(1 - 0.05 / 40) / norm.ppf(0.975)
    assert (found.value - low) / (found.value - found.low) == pytest.approx(ratio)
    assert (high - found.value) / (found.high - found.value) == pytest.approx(ratio)
    assert found.at_once(1) == pytest.approx((found.low, found.high))
    # About the paired z-test, whose p-value is known.
    gap = after - before
    wanted = 2 * norm.sf(abs(gap.mean()) / (gap.std(ddof=1) / math.sqrt(300)))
    assert found.p == pytest.approx(wanted, abs=0.05)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_images_are_paired_where_the_same_columns_have_values():
    class Probe:
        def metrics(self, columns):
            known = columns["score"][~np.isnan(columns["score"])]
            return [Metric("score", known, "mean")]

    def measured(scores):
        columns = {"id": np.arange(len(scores)), "score": np.array(scores, dtype=float)}
        probe = Probe()
        return Measured(probe, columns, {m.name: m for m in probe.metrics(columns)})

    one = measured([math.nan, *np.arange(11.0), 5.0])
    other = measured([7.0, *np.arange(11.0) + 2, math.nan])
    found = pair(one, other, "score", seed=0)
    assert found is not None
    assert (found.n, found.value) == (11, pytest.approx(2.0))
    assert found.now - found.was == pytest.approx(2.0)


# Comparisons


def test_differences_are_those_of_the_answers(both, runs):
    before, after = (eq.Run(runs[name]) for name in ("before", "after"))
    changes, many = by_metric(both), len(both.changes)
    assert both.pairs == (("net (before)", "net (after)"),) and both.images == (60, (60, 60))
    for metric, probe, column, right in (
        (COLUMNS[0], "standard", "correct", True),
        (COLUMNS[1], THREAT, "success", False),
    ):
        one, other = (
            run.columns(probe, "net")[column].astype(bool) == right for run in (before, after)
        )
        found = changes["net (before)", "net (after)", metric]
        gained, lost = int((other & ~one).sum()), int((one & ~other).sum())
        assert (found.was, found.now) == pytest.approx((one.mean(), other.mean()))
        assert found.value == pytest.approx((gained - lost) / 60) and found.n == 60
        assert found.p == pytest.approx(binomtest(gained, gained + lost).pvalue)
        assert (found.lowest, found.highest) == gain_interval(gained, lost, 60, 0.05 / many)
    assert [c.adjusted for c in both.changes] == pytest.approx(holm([c.p for c in both.changes]))
    assert changes["net (before)", "net (after)", COLUMNS[1]].shown


def test_exchanging_the_runs_changes_the_signs_alone(both, runs):
    back = by_metric(eq.compare(runs["after"], runs["before"]))
    for c in both.changes:
        turned = back[c.after, c.before, c.metric]
        assert (turned.value, turned.low, turned.high) == (-c.value, -c.high, -c.low)
        assert (turned.lowest, turned.highest) == (-c.highest, -c.lowest)
        assert (turned.p, turned.adjusted, turned.shown) == (c.p, c.adjusted, c.shown)


def test_the_order_of_images_does_not_matter(runs, images, nearest, tmp_path):
    shuffled = Subset(images, np.random.default_rng(0).permutation(60).tolist())
    run = eq.audit(nearest("net", 0.25, 2), shuffled, ["standard"], tmp_path / "after", pictures=0)
    one, other = (
        eq.compare(runs["before"], after, metrics=["standard", "confidence"])
        for after in (runs["after"], run)
    )
    assert one.changes == other.changes and len(one.changes) == 2


def test_images_that_only_one_run_has_are_left_out(runs, images, nearest, tmp_path):
    some = Subset(images, range(20, 60))
    pixels = torch.stack([some[k].image for k in range(40)])
    # One image has the same name and other pixels.
    pixels[0, 0, 0, 0] += 0.5 if pixels[0, 0, 0, 0] < 0.5 else -0.5
    labels, ids = [some[k].label for k in range(40)], [some[k].id for k in range(40)]
    changed = Arrays(pixels, labels, images.classes, ids)
    run = eq.audit(nearest("net", 0.25, 2), changed, ["standard"], tmp_path / "some", pictures=0)
    found = eq.compare(runs["before"], run, metrics=["standard"])
    assert found.images == (39, (60, 40))
    ids = set(eq.Run(runs["before"]).columns("standard", "net")["id"].tolist()[21:])
    columns = run.columns("standard", "net")
    own = dict(zip(columns["id"].tolist(), columns["correct"].tolist(), strict=True))
    (change,) = found.changes
    assert change.n == 39 and change.now == pytest.approx(np.mean([own[i] for i in ids]))


def test_everyone_is_compared_with_a_baseline(board, runs):
    assert board.pairs == (("plain", "worse"), ("plain", "alike"))
    other = eq.compare(runs["three"], baseline="alike", metrics=["robust"])
    assert other.pairs == (("alike", "plain"), ("alike", "worse"))
    assert {c.metric for c in other.changes} == {COLUMNS[1]}
    mixed = eq.compare(runs["three"], runs["after"])
    assert mixed.pairs == (("plain", "worse"), ("plain", "alike"), ("plain", "net"))
    # Compared with fewer others, a difference has less to be corrected for.
    few, many = by_metric(other), by_metric(board)
    one, same = few["alike", "worse", COLUMNS[1]], many["plain", "worse", COLUMNS[1]]
    assert one.highest - one.lowest <= same.highest - same.lowest + 2 / 60


@pytest.mark.parametrize(
    "baseline, said", [("alik", "Did you mean 'alike'"), ("net", "Give one of")]
)
def test_a_baseline_is_one_contender(runs, baseline, said):
    with pytest.raises(eq.EquipoiseError, match=said):
        eq.compare(runs["three"], runs["before"], runs["after"], baseline=baseline)


def test_ranks_and_ties(board):
    metric, protocol = board.ranked()
    assert metric == COLUMNS[1]
    standings = {s.who: s for s in board.standings if (s.metric, s.protocol) == (metric, protocol)}
    values = sorted((s.value for s in standings.values()), reverse=True)
    for s in standings.values():
        assert s.rank == 1 + values.index(s.value)
    assert standings["plain"].tied and standings["alike"].tied and not standings["worse"].tied
    assert board.ranked("standard")[0] == COLUMNS[0]
    with pytest.raises(eq.EquipoiseError, match="Cannot rank by 'confidence'"):
        board.ranked("confidence")


def test_who_is_doubted_is_not_ranked(runs, monkeypatch):
    from types import SimpleNamespace

    doubt = SimpleNamespace(classifier="plain", probe=THREAT, warns=True)
    monkeypatch.setattr(eq.Run, "soundness", lambda self: (doubt, doubt))
    found = {s.who: s for s in eq.compare(runs["three"], metrics=["robust"]).standings}
    assert (found["plain"].rank, found["plain"].tied, found["plain"].warnings) == (None, False, 2)
    assert found["alike"].rank == 1


# Protocols


@pytest.mark.parametrize(
    "old, new, said",
    [
        (
            "budget='adaptive'",
            "budget='standard'",
            "budget is 'adaptive' in before and 'standard' in other",
        ),
        ("steps=2, budget", "steps=9, budget", "steps is 2 in before and 9 in other"),
        ('"seed": 0', '"seed": 7', "seed is 0 in before and 7 in other"),
        ("L2(radius=0.5)", "L2(radius=0.25)", "threat"),
    ],
)
def test_what_was_asked_otherwise_is_refused_and_the_rest_compared(runs, tmp_path, old, new, said):
    def edit(text):
        if old.startswith("L2"):
            text = text.replace("adversarial:l2:0.5?steps=2", "adversarial:l2:0.25?steps=2")
        return text.replace(old, new)

    other = edited(runs["after"], tmp_path / "other", edit)
    found = eq.compare(runs["before"], other)
    assert {c.metric for c in found.changes} == {"standard accuracy", "confidence"}
    (refusal,) = found.refusals
    assert refusal.what == THREAT and said in refusal.reason
    # What was measured under another protocol is there, with another code.
    codes = {s.protocol for s in found.standings if s.metric.startswith("robust")}
    assert len(codes) == 2 and codes <= found.protocols.keys()


def test_another_version_searches_otherwise(runs, tmp_path, monkeypatch):
    facts = eq.Run.facts

    def older(self, probe=None, classifier=None):
        found = facts(self, probe, classifier)
        return (
            [f | {"equipoise": "0.0.9"} for f in found] if "after" in str(self.folder) else found
        )

    monkeypatch.setattr(eq.Run, "facts", older)
    found = eq.compare(runs["before"], runs["after"])
    (refusal,) = found.refusals
    assert "equipoise is" in refusal.reason and "'0.0.9' in after" in refusal.reason
    assert "standard accuracy" in {c.metric for c in found.changes}


def test_the_same_protocol_has_the_same_code_wherever_it_was_measured(runs, tmp_path):
    other = edited(
        runs["after"],
        tmp_path / "elsewhere",
        lambda text: text.replace('"spec": "arrays"', '"spec": "folder:/elsewhere"').replace(
            '"device": "cpu"', '"device": "cuda"'
        ),
    )
    one, two = (eq.compare(folder).protocols for folder in (runs["before"], other))
    assert one.keys() == two.keys() and all(re.fullmatch("[0-9a-f]{8}", key) for key in one)


@pytest.mark.parametrize(
    "edit, said",
    [
        (
            lambda t: t.replace('"digits":', '"digits":').replace('"0",\n', '"zero",\n'),
            "classes is",
        ),
    ],
)
def test_other_classes_are_refused_altogether(runs, tmp_path, edit, said):
    other = edited(runs["after"], tmp_path / "other", edit)
    with pytest.raises(eq.EquipoiseError, match=f"Cannot compare before with other.*{said}"):
        eq.compare(runs["before"], other)


def test_other_images_are_refused_and_other_runs_compared(runs, images, nearest, tmp_path):
    pixels = torch.stack([images[k].image for k in range(20)])
    strangers = Arrays(
        pixels, [images[k].label for k in range(20)], images.classes, None, split="train"
    )
    run = eq.audit(nearest("stranger"), strangers, ["standard"], tmp_path / "others", pictures=0)
    with pytest.raises(eq.EquipoiseError, match="split is 'test' in before and 'train' in others"):
        eq.compare(runs["before"], run)
    found = eq.compare(runs["before"], run, runs["three"])
    assert {c.after for c in found.changes} == {"plain", "worse", "alike"}
    (refusal,) = (r for r in found.refusals if r.what == "images")
    assert "split" in refusal.reason
    # The stranger is measured, and not ranked with the rest.
    own = next(s for s in found.standings if s.who == "stranger")
    assert own.protocol not in {s.protocol for s in found.standings if s.who == "plain"}


def test_a_probe_that_only_one_was_asked_is_named(runs, images, nearest, tmp_path):
    run = eq.audit(nearest("net"), images, ["standard"], tmp_path / "short", pictures=0)
    (refusal,) = eq.compare(runs["before"], run).refusals
    assert str(refusal) == f"{THREAT}: asked in before alone"


def test_a_run_is_given_once(runs):
    with pytest.raises(eq.EquipoiseError, match="given 2 times"):
        eq.compare(runs["before"], runs["before"])


def test_folders_of_studies_are_opened_and_named_by_the_study(runs, tmp_path):
    studies = [tmp_path / name for name in ("early", "late")]
    for study, run in zip(studies, (runs["before"], runs["after"]), strict=True):
        shutil.copytree(run, study / "audit")
    assert eq.Run(studies[0]).folder == studies[0] / "audit"
    found = eq.compare(*studies)
    assert found.runs == ("early", "late") and found.pairs == (("net (early)", "net (late)"),)
    # A run and one inside its folder are two runs.
    shutil.copytree(runs["after"], studies[0], dirs_exist_ok=True)
    assert eq.compare(studies[0] / "audit", studies[0]).runs == ("audit", "early")


def test_what_is_about_the_images_alone_is_no_difference(runs, monkeypatch):
    own = Standard.metrics

    def metrics(self, columns):
        values = np.arange(len(columns["correct"]), dtype=float)
        return [*own(self, columns), Metric("nearness", values, "mean", about="images")]

    before = eq.compare(runs["three"])
    monkeypatch.setattr(Standard, "metrics", metrics)
    after = eq.compare(runs["three"])
    assert after.changes == before.changes and after.refusals == before.refusals
    assert {s.metric for s in after.standings} - {s.metric for s in before.standings} == {
        "nearness"
    }
    asked = eq.compare(runs["three"], metrics=["nearness"])
    assert not asked.changes and "whatever the classifier" in str(asked.refusals[0])


# Names and thresholds


@pytest.mark.parametrize(
    "asked, wanted",
    [
        ("standard", ["standard accuracy"]),
        ("robust", ["robust accuracy at linf:8/255", "robust accuracy at l2:0.5"]),
        ("robust:linf:8/255", ["robust accuracy at linf:8/255"]),
        (f"robust:linf:{8 / 255!r}", ["robust accuracy at linf:8/255"]),
        ("worst-group", ["worst-group accuracy"]),
        ("worst_group", ["worst-group accuracy"]),
        ("group:Sea gull", ["accuracy on Sea gull"]),
        ("mean_l2_radius", ["mean l2 radius"]),
        ("background gap", ["background gap"]),
    ],
)
def test_short_names(asked, wanted):
    known = ["standard accuracy", "robust accuracy at linf:8/255", "robust accuracy at l2:0.5"]
    known += ["worst-group accuracy", "accuracy on Sea gull", "mean l2 radius", "background gap"]
    assert find_metrics(asked, known) == wanted
    assert (
        short_names("accuracy on accepted counterfactuals")[0]
        == "accuracy_on_accepted_counterfactuals"
    )
    assert short_names("relative sensitivity to the object, Gaussian noise")[:2] == [
        "object",
        "object:gaussian",
    ]


def test_unknown_metrics_and_thresholds_that_are_none(board):
    with pytest.raises(eq.EquipoiseError, match="Did you mean 'robust'"):
        board.failed([Threshold(metric="robus", limit=0.5)])
    with pytest.raises(eq.EquipoiseError, match=r"lies between 0 and 1. Did you mean 0.45"):
        board.failed([Threshold(metric="robust", limit=45)])
    for text in ("robust", "=0.5", "robust=high", "robust=nan"):
        with pytest.raises(eq.EquipoiseError, match="Cannot read"):
            parse_threshold(text)
    with pytest.raises(eq.EquipoiseError, match="at least 0"):
        Threshold(metric="standard", limit=-0.1, drop=True)


def test_thresholds_are_judged_on_the_point_or_on_the_lower_end(board):
    own = {s.who: s for s in board.standings if s.metric == COLUMNS[1]}
    limit = own["worse"].value
    assert board.failed([Threshold(metric="robust", limit=limit)]) == ()
    failed = board.failed([Threshold(metric="robust", limit=limit, confident=True)])
    assert [v.who for v in failed] == [s.who for s in own.values() if s.low < limit]
    assert board.judged == ("plain", "worse", "alike")


def test_a_fall_may_be_as_large_as_its_limit(both):
    change = next(c for c in both.changes if c.metric == COLUMNS[1])
    assert change.value < 0
    drop = -change.value
    assert both.failed([Threshold(metric="robust", limit=drop, drop=True)]) == ()
    (failed,) = both.failed([Threshold(metric="robust", limit=drop - 1e-6, drop=True)])
    assert (failed.who, failed.value) == ("net (after)", change.value)
    assert (
        both.failed([Threshold(metric="robust", limit=-change.low, drop=True, confident=True)])
        == ()
    )
    assert both.failed([Threshold(metric="robust", limit=drop, drop=True, confident=True)])


def test_what_was_not_measured_or_compared_does_not_hold(runs, tmp_path, images, nearest):
    run = eq.audit(nearest("net"), images, ["standard"], tmp_path / "short", pictures=0)
    found = eq.compare(runs["before"], run)
    under, drop = found.failed(
        [Threshold(metric="robust", limit=0.0), Threshold(metric="robust", limit=1.0, drop=True)]
    )
    assert (under.who, under.reason) == ("net (short)", "not measured")
    assert drop.reason == "not compared with net (before)"


# The command line


@pytest.mark.parametrize(
    "options, code",
    [
        ([], None),
        (["--fail-under", "robust=0.0", "--fail-drop", "standard=1"], None),
        (["--fail-under", "robust:l2:0.5=0.99"], 1),
        (["--fail-drop", "robust=0.01"], 1),
        (["--fail-drop", "standard=1", "--confident"], None),
        (["--fail-under", "robst=0.1"], 2),
        (["--confident"], 2),
        (["--out", "page.png"], 2),
        (["--metric", "nothing"], 2),
        (["--rank", "confidence", "--out", "x.html"], 2),
    ],
)
def test_exit_codes(runs, tmp_path, monkeypatch, capsys, options, code):
    monkeypatch.chdir(tmp_path)
    arguments = ["compare", str(runs["before"]), str(runs["after"]), *options]
    if code is None:
        main(arguments)
        assert "robust" in capsys.readouterr().out
        return
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == code
    error = capsys.readouterr().err
    assert error.count("\n") == (code == 2) and "Traceback" not in error


def test_nothing_in_common_exits_with_2(runs, tmp_path, capsys):
    other = edited(runs["after"], tmp_path / "other", lambda t: t.replace('"0",\n', '"zero",\n'))
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(runs["before"]), str(other)])
    assert stop.value.code == 2
    assert "nothing was measured of both under one protocol" in capsys.readouterr().err


def test_one_classifier_alone_can_be_held_to_a_threshold(runs, capsys):
    main(["compare", str(runs["before"]), "--fail-under", "standard=0.1"])
    assert "Holds: net: standard accuracy" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(runs["before"]), "--fail-drop", "standard=0.1"])
    assert stop.value.code == 2


def test_the_verb_reads_a_configuration_and_prints_markdown(runs, tmp_path, capsys):
    config = tmp_path / "ci.yaml"
    config.write_text("compare:\n  fail-under: [robust=0.0]\n  markdown: '-'\n")
    main(["compare", str(runs["before"]), str(runs["after"]), "--config", str(config)])
    printed = capsys.readouterr().out
    assert printed.startswith("## equipoise compare\n\n✅ The threshold holds.")
    main(
        ["compare", str(runs["before"]), str(runs["after"]), "--markdown", str(tmp_path / "a.md")]
    )
    assert "### Differences" in (tmp_path / "a.md").read_text(encoding="utf-8")


# What is shown


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, images, nearest):
    """Runs in folders and of classifiers with names that are code, Markdown and right-to-left text."""
    out = tmp_path_factory.mktemp("h")
    names = [HOSTILE, "\u202e\u05e9\u05dc\u05d5\u05dd\n| a \\| b |"]
    first = eq.audit(
        [nearest(n, 0.02 * k, k) for k, n in enumerate(names)],
        images,
        ["standard"],
        out / "a",
        pictures=0,
    )
    second = eq.audit(nearest(HOSTILE, 0.3, 5), images, ["standard"], out / "<b>|x", pictures=0)
    return eq.compare(first, second)


def test_names_are_text_in_markdown(hostile):
    limits = [Threshold(metric="standard", limit=0.99)]
    text = hostile.markdown(limits)
    assert not re.search(r"<(?!/?(code|details|summary)>)", text)
    assert "http://" not in text and "@all" not in text and "[a]" not in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1 and "\\" not in table
    # A browser shows what the run says.
    assert " ".join(HOSTILE.split()) in unescape(text)


@pytest.mark.parametrize(
    "text",
    ["a|b", "__init__", "*a*", "`a`", "<b>", "a&b", "www.a.b", "http://a", "@a", "\\|", "#1"],
)
def test_markdown_finds_nothing_in_inert_text(text):
    shown = inert(text)
    assert unescape(shown) == text
    assert not re.search(r"[|*`<>@\\\[\]]|__|://|www\.|#(?!\d+;)", shown)
    assert inert("resnet50 linf-8/255 (main)") == "resnet50 linf-8/255 (main)"


def test_names_are_text_on_the_page_and_it_asks_no_host(hostile, tmp_path):
    page = write_comparison(hostile, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<b>|x" not in page
    assert not re.search(r"""(src|href|action|data|poster)\s*=\s*["']?\s*(https?:)?//""", page)
    assert "default-src 'none'" in page and "connect-src" not in page
    assert unescape(page).count(HOSTILE) > 3


def test_the_page_says_what_the_comparison_says(both, board, tmp_path):
    limits = [Threshold(metric="robust", limit=0.99)]
    first = write_comparison(both, tmp_path / "a.html", limits, command="equipoise compare a b")
    again = write_comparison(both, tmp_path / "b.html", limits, command="equipoise compare a b")
    assert first.read_bytes() == again.read_bytes() and len(first.read_bytes()) < 10_000_000
    page = unescape(first.read_text(encoding="utf-8"))
    change = next(c for c in both.changes if c.metric == COLUMNS[1])
    assert (
        f"is {-100 * change.value:.1f} points less robust than \u2068net (before)\u2069 at l2:0.5"
        in page
    )
    assert "fails" in page and "equipoise compare a b" in page
    for _, protocol in both.columns():
        assert protocol in page
    ranked = write_comparison(board, tmp_path / "c.html", rank="standard").read_text(
        encoding="utf-8"
    )
    assert 'aria-sort="ascending"' in ranked and 'data-sort="2"' in ranked
    rows = re.findall(r'<td class="rank" data-value="(\d*)">', ranked)
    assert rows == sorted(rows) and len(rows) == 3
    assert "not shown to differ from the best" in ranked
    data = re.search(r'id="data">(.*?)</script>', ranked, re.S)
    assert data
    drawn = json.loads(data[1])["charts"]["compared-0"]["datasets"]["rows"]
    assert [row["value"] for row in drawn] == pytest.approx(
        [100 * c.value for c in board.changes if c.metric == COLUMNS[0]], abs=1e-3
    )


def test_one_classifier_has_a_page_too(runs, tmp_path):
    page = write_comparison(eq.compare(runs["before"]), tmp_path / "one.html").read_text()
    assert "<title>net</title>" in page and "Every difference" not in page


def test_what_is_missing_is_known_of_numbers_of_texts_and_of_lists():
    nan = np.nan
    assert _missing(np.array([1.0, nan])).tolist() == [False, True]
    assert _missing(np.array(["a", None], dtype=object)).tolist() == [False, True]
    assert _missing(np.array([[1.0, nan], [nan, nan], [0.0, 1.0]])).tolist() == [
        False,
        True,
        False,
    ]
    assert _missing(np.array([True, False])).tolist() == [False, False]
