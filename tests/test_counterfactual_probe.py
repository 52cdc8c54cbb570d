"""The counterfactual probe, on classifiers whose every answer is known in closed form."""

import numpy as np
import pytest
import torch
from conftest import Linear
from test_counterfactual_sets import brightness_oracle, grey_set, sampler

import equipoise as eq
from equipoise.counterfactuals import make_set
from equipoise.images import Subset
from equipoise.probes import load_probe
from equipoise.probes.counterfactual import POINTS, Counterfactual


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_set(
        Subset(grey_set(12), range(9)),
        sampler(),
        tmp_path_factory.mktemp("set") / "ces",
        oracles=[brightness_oracle()],
    )


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    faint = 1e-3 * torch.eye(3, 16)
    blind = eq.wrap(Linear(faint, torch.tensor([-1.0, 2.0, 0.0])), name="blind")
    return eq.audit(
        [brightness_oracle(), blind],
        grey_set(12),
        ["standard", f"counterfactual:{made.folder}"],
        tmp_path_factory.mktemp("run") / "run",
        pictures=4,
    )


@pytest.fixture(scope="module")
def columns(run):
    return {name: run.columns(run.probes[1], name) for name in run.classifiers}


def test_answers_are_those_of_the_classifier_on_the_stored_images(made, columns):
    clf, data = brightness_oracle(), grey_set(12)
    mine = columns["brightness"]
    for i in range(9):
        name = mine["id"][i]
        example = next(e for e in data if e.id == name)
        x0, y = example.image[None], example.label
        test, same, noise = (made.rows(split, [name]) for split in ("test", "same", "noise"))
        target = torch.from_numpy(test.columns["target"].astype(np.int64))
        read = clf(test.images).argmax(1)
        assert mine["counterfactuals"][i] == len(test)
        assert mine["accuracy"][i] == pytest.approx((read == target).float().mean().item())
        assert mine["invariance"][i] == pytest.approx((read == y).float().mean().item())
        assert mine["kept"][i] == pytest.approx((read == clf(x0).argmax()).float().mean().item())
        own, noisy = clf(same.images).argmax(1), clf(noise.images).argmax(1)
        assert mine["same_accuracy"][i] == pytest.approx((own == y).float().mean().item())
        assert mine["noise_accuracy"][i] == pytest.approx((noisy == y).float().mean().item())
        valid = test.columns["valid"].astype(bool)
        assert mine["accepted"][i] == valid.sum()
        length = (test.images - x0).flatten(1).norm(dim=1)
        assert mine["proximity"][i] == pytest.approx(length.mean().item(), rel=1e-5)
        assert mine["proximity_min"][i] == pytest.approx(length.min().item(), rel=1e-5)
        assert mine["confidence"][i] == pytest.approx(clf(x0).softmax(1)[0, y].item(), rel=1e-5)


def test_a_linear_classifiers_response_and_alignment_are_exact(made, columns):
    """m_c(x) - m_c(x0) = (w_c - w_y) . (x - x0), whose gradient is w_c - w_y everywhere."""
    weight, data = brightness_oracle().net.weight, grey_set(12)
    mine = columns["brightness"]
    for i in range(9):
        rows = made.rows("test", [mine["id"][i]])
        example = next(e for e in data if e.id == mine["id"][i])
        step = (rows.images - example.image).flatten(1)
        target = rows.columns["target"].astype(np.int64)
        slope = weight[torch.from_numpy(target)] - weight[example.label]
        response = (slope * step).sum(1) / step.norm(dim=1)
        assert mine["response"][i] == pytest.approx(response.mean().item(), rel=1e-4)
        first = torch.from_numpy(rows.columns["number"] == 0)
        cosine = torch.cosine_similarity(slope, step, dim=1)[first]
        assert mine["alignment"][i] == pytest.approx(cosine.mean().item(), rel=1e-4)


def test_paths_begin_at_the_original_and_end_at_the_counterfactual(made, columns):
    clf, mine = brightness_oracle(), columns["brightness"]
    for i in range(9):
        rows = made.rows("test", [mine["id"][i]])
        first = torch.from_numpy(rows.columns["number"] == 0)
        target = torch.from_numpy(rows.columns["target"].astype(np.int64))[first]
        end = clf(rows.images[first]).softmax(1)
        y = int(rows.columns["source_label"][0])
        assert len(mine["source_path"][i]) == len(mine["target_path"][i]) == POINTS
        assert mine["source_path"][i][0] == pytest.approx(mine["confidence"][i])
        assert mine["source_path"][i][-1] == pytest.approx(end[:, y].mean().item(), rel=1e-5)
        wanted = end.gather(1, target[:, None]).mean().item()
        assert mine["target_path"][i][-1] == pytest.approx(wanted, rel=1e-5)
        # On a line, the linear classifier's margin towards the target grows steadily, and its probability with it.
        assert (np.diff(mine["target_path"][i]) > -1e-6).all()


def test_a_blind_classifier_keeps_every_answer(columns):
    blind = columns["blind"]
    labels = blind["label"][:9]
    assert (blind["kept"][:9] == 1).all()
    assert (np.abs(blind["response"][:9]) < 2e-3).all()
    assert blind["invariance"][:9].tolist() == (labels == 1).astype(float).tolist()


def test_images_without_counterfactuals_are_left_out_of_the_metrics(run, columns):
    assert (columns["brightness"]["counterfactuals"] == [4] * 9 + [0] * 3).all()
    assert np.isnan(columns["brightness"]["accuracy"][9:]).all()
    summary = {(s.classifier, s.name): s for s in run.summary()}
    found = summary["brightness", "accuracy on counterfactuals"]
    assert found.n == 9
    assert found.value == pytest.approx(columns["brightness"]["accuracy"][:9].mean())
    assert found.value > 0.9
    assert summary["brightness", "standard accuracy"].n == 12


def test_the_answers_do_not_depend_on_the_batch(run, made, tmp_path):
    again = eq.audit(
        brightness_oracle(),
        grey_set(12),
        [f"counterfactual:{made.folder}"],
        tmp_path / "run",
        batch=5,
    )
    names = (
        "id, accuracy, response, alignment, noise_response, confidence, source_path, target_path"
    )
    rows = [
        r.table(r.probes[-1])
        .filter("classifier = 'brightness'")
        .select(*names.split(", "))
        .fetchall()
        for r in (run, again)
    ]
    assert repr(rows[0]) == repr(rows[1])


def test_the_run_keeps_what_a_page_needs(run, made):
    facts = run.record["probe_facts"][run.probes[1]]
    assert facts["identity"] == made.identity
    assert facts["counts"] == {"test": 36, "same": 18, "noise": 36}
    assert facts["settings"]["neighbourhood"] == "gaussian:0.5"
    assert made.identity in run.record["probes"][run.probes[1]]
    pictured = run.pictures(run.probes[1]).select("strip").fetchall()
    assert pictured
    assert all(strip == [0, 1, 2] for (strip,) in pictured)


def test_another_set_in_the_same_folder_is_measured_anew(made, run):
    probe = Counterfactual(str(made.folder))
    assert load_probe(str(probe)) == probe
    assert made.identity in probe.nature()


@pytest.mark.parametrize(
    ("spec", "words"),
    [("counterfactual", "needs a set"), ("counterfactual:nowhere", r"no set\.json")],
)
def test_missing_sets_are_reported(spec, words, tmp_path):
    with pytest.raises(eq.EquipoiseError, match=words):
        eq.audit(brightness_oracle(), grey_set(), [spec], tmp_path / "run")


def test_other_images_of_the_same_names_are_refused(made, tmp_path):
    others = grey_set(12, seed=5)
    with pytest.raises(eq.EquipoiseError, match="'g0' is another image"):
        eq.audit(brightness_oracle(), others, [f"counterfactual:{made.folder}"], tmp_path / "run")


def test_unfinished_sets_and_other_shapes_are_refused(made, tmp_path):
    import json
    import shutil

    shutil.copytree(made.folder, tmp_path / "cut")
    record = json.loads((tmp_path / "cut" / "set.json").read_text())
    (tmp_path / "cut" / "set.json").write_text(json.dumps(record | {"status": "running"}))
    with pytest.raises(eq.EquipoiseError, match="unfinished"):
        eq.audit(
            brightness_oracle(), grey_set(), [f"counterfactual:{tmp_path / 'cut'}"], tmp_path / "a"
        )
    wide = eq.wrap(Linear(torch.randn(10, 64), torch.zeros(10)), name="digits")
    with pytest.raises(eq.EquipoiseError, match=r"shape \(1, 8, 8\)"):
        eq.audit(wide, "digits", [f"counterfactual:{made.folder}"], tmp_path / "b", limit=5)
