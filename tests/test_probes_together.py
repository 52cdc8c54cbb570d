"""Specs, columns and metrics of the probes of gradients, large radii and label correlation."""

import numpy as np
import pytest
import torch
from conftest import Linear
from regressions import (
    Masked,
)

import equipoise as eq
from equipoise.classifiers import save_classifier
from equipoise.norms import L2
from equipoise.probes import LargeEps, load_probe


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
