"""The counterfactual study from end to end in miniature; and its claims against the columns they come from."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from test_counterfactual_sets import brightness_oracle, grey_set, sampler

import equipoise as eq
from equipoise.classifiers import wrap
from equipoise.counterfactuals import DiffusionClassifier, make_set
from equipoise.norms import L2
from equipoise.studies.counterfactual import Settings, counterfactual
from equipoise.studies.counterfactual_claims import weigh
from equipoise.studies.counterfactual_evidence import Evidence, confounders
from equipoise.studies.own_images import climb, own_images
from equipoise.training import Recipe

SMALL = Settings(
    radii=("0", "1"),
    recipe=Recipe(net="mlp", widths=(64,), epochs=12, rate=1e-2),
    attack_steps=2,
    denoiser_steps=60,
    originals=24,
    published_originals=12,
    per_class=1,
    device="cpu",
)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    """Two linear classifiers of brightness, the second one blunter, on grey images and their counterfactuals."""
    folder = tmp_path_factory.mktemp("study")
    data = grey_set(40)
    sets = {
        "exact": make_set(data, sampler(), folder / "exact", oracles=[brightness_oracle()]),
        "published": make_set(
            data.subset(15),
            sampler(method="sum", steps=50),
            folder / "published",
            oracles=[brightness_oracle()],
        ),
    }
    sharp, blunt = brightness_oracle(), brightness_oracle()
    blunt.net.weight.data *= 0.5
    blunt.net.bias.data = torch.tensor([0.0, 1.0, 0.0])
    blunt = wrap(blunt.net, name="blunt")
    probes = {arm: f"counterfactual:{made.folder}" for arm, made in sets.items()}
    run = eq.audit([sharp, blunt], data, ["standard", *probes.values()], folder / "run")
    return Evidence(
        run, ["brightness", "blunt"], [L2(0), L2(1.15)], probes, confounders(data, data), None
    )


def test_confounders_are_those_of_the_images():
    data = grey_set(30)
    found = confounders(data, data.subset(8))
    images = [data[i] for i in range(30)]
    chosen = data.subset(8)
    for k, example in enumerate(chosen):
        far = {
            c: min((example.image - e.image).norm().item() for e in images if e.label == c)
            for c in range(3)
            if c != example.label
        }
        assert found.label[k] == example.label
        assert found.contrast[k] == pytest.approx(example.image.std().item(), rel=1e-4)
        assert found.nearest[k] == pytest.approx(min(far.values()), rel=1e-3)
        assert found.typical[k] == pytest.approx(np.mean(list(far.values())), rel=1e-3)


def test_claims_come_from_the_columns_and_verdicts_from_their_intervals(evidence):
    claims = weigh(evidence)
    by = {}
    for claim in claims:
        by.setdefault(claim.id, []).append(claim)
        expected = (
            "holds"
            if claim.low > claim.bound
            else "fails"
            if claim.high < claim.bound
            else "undecided"
        )
        assert claim.verdict == expected
        assert claim.text.endswith(".")
    assert set(by) == {"H1", "H2", "H3", "H4", "H5", "H6", "F1", "F2"}
    sharp, blunt = (evidence.of("exact", name) for name in evidence.rungs)
    within = sharp["proximity_min"] <= evidence.threats[1].radius
    assert 10 <= within.sum() <= 30
    wrong = 1 - evidence.right("blunt")
    assert by["H6"][0].value == pytest.approx(wrong[within].mean() - wrong[~within].mean())
    reads = by["H3"][0]
    assert reads.value == pytest.approx(sharp["accuracy"].mean())
    assert reads.classifier == "brightness"
    assert by["H3"][1].value == pytest.approx((sharp["accuracy"] - blunt["accuracy"]).mean())
    kept, ratio = by["H4"]
    assert kept.value == pytest.approx((blunt["kept"] - sharp["kept"]).mean())
    expected = [c["response"].mean() / c["noise_response"].mean() for c in (sharp, blunt)]
    assert ratio.value == pytest.approx(expected[0] - expected[1])
    # Half the weights give half the margins, towards counterfactuals and along noise alike.
    assert ratio.value == pytest.approx(0, abs=1e-4)
    published = evidence.of("published", "brightness")
    has = ~np.isnan(published["proximity"])
    assert has.sum() == 15
    nearer = (sharp["proximity"] - published["proximity"])[has].mean()
    assert by["F2"][0].value == pytest.approx(nearer)


def test_a_classifiers_own_images_are_read_as_what_it_made(tmp_path):
    data, clf = grey_set(20), brightness_oracle()
    own = own_images(clf, data, 3.0, most=20, device="cpu")
    assert 10 <= len(own) <= 20
    batch = own.batch(range(len(own)))
    assert torch.equal(clf(batch.images).argmax(1), batch.labels)
    sources = {e.id: e for e in data}
    for example in own:
        assert example.label != sources[example.id].label
        assert (example.image - sources[example.id].image).norm() <= 3.0 + 0.05
    x = data.batch(range(3)).images
    near = climb(clf, x, torch.tensor([1, 2, 0]), L2(0.25))
    assert ((near - x).flatten(1).norm(dim=1) <= 0.25 + 0.01).all()


@pytest.mark.slow
def test_the_study_ends_with_claims_and_a_page_and_repeats_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.audit.association.RESAMPLES", 50)
    monkeypatch.setattr(
        "equipoise.studies.counterfactual_sets.DiffusionClassifier",
        partial(DiffusionClassifier, draws=2),
    )
    run, page = counterfactual(tmp_path / "study", SMALL)
    names = {"H1", "H2", "H3", "H4", "H5", "H6", "F1", "F2", "N1"}
    assert {claim.id for claim in run.claims()} >= names
    assert page.name == "report.html" and run.study() == "counterfactual"
    html = page.read_text(encoding="utf-8")
    assert "Claims" in html
    assert html.count("Counterfactuals") >= 1
    assert '<h2 id="as-every-class">' in html and '<h2 id="settings">' not in html
    assert (tmp_path / "study" / "grid.png").stat().st_size > 10_000
    before = kept(tmp_path / "study")
    # More questions are asked of the same ladder, denoiser and sets.
    more = replace(
        SMALL,
        linf_radii=("0.1", "0.2"),
        other_widths=("25%", "18%"),
        other_guidances=(1.0,),
        other_originals=12,
        attacked=20,
        threats=("linf:0.1",),
        test_originals=12,
    )
    whole, page = counterfactual(tmp_path / "study", more)
    assert page.name == "trade-off.html" and whole.study() == "trade-off"
    assert before.items() <= kept(tmp_path / "study").items()
    assert list(whole.classifiers) == ["l2-0", "l2-1", "linf-0.1", "linf-0.2"]
    assert whole.record["data"]["split"] == "test" and whole.record["data"]["images"] == 20
    claims = whole.claims()
    asked = names | {"S1", "S2", "A1", "A2", "A3", "B1", "B2", "G1", "G2", "E1", "E2", "E3", "U1"}
    assert {claim.id for claim in claims} >= asked
    assert all("raining images" in c.text for c in claims if c.id in {*names, "S1", "S2"})
    exhibits = whole.exhibits()
    settings = {(row["width"], row["guidance"]) for row in exhibits["settings"]}
    assert settings == {("18%", 2.0), ("25%", 2.0), ("18%", 1.0)}
    html = page.read_text(encoding="utf-8")
    for section in ("claims", "trade-off", "settings", "as-every-class", "gallery", "far", "use"):
        assert f'<h2 id="{section}">' in html
    before = kept(tmp_path / "study")
    again, _ = counterfactual(tmp_path / "study", more)
    assert kept(tmp_path / "study") == before
    assert repr(again.claims()) == repr(claims)


def kept(folder):
    """When each file that cost time was written."""
    files = [*folder.rglob("*.parquet"), *folder.rglob("*.safetensors")]
    return {file: file.stat().st_mtime_ns for file in files}
