"""The page's sections of gradients, far examples and inputs used; and the exhibits of the study on it."""

import math
import re
from dataclasses import replace
from html import unescape

import altair
import numpy as np
import pytest
from test_odds import SMALL
from test_report import embedded

import equipoise as eq
from equipoise.audit import write_exhibits
from equipoise.norms import L2
from equipoise.probes import FeatureUse, Gradients, LargeEps
from equipoise.report.far import lay_far
from equipoise.report.gradients import lay_maps
from equipoise.report.odds import lay_study
from equipoise.report.reading import Reading
from equipoise.report.use import inputs_used
from equipoise.report.words import percent
from equipoise.studies.model import fit_rules
from equipoise.studies.odds import odds
from equipoise.studies.two_classes import attack_two_classes
from equipoise.training import remember

FAR = L2(2.0)


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """One small network and a nearest-image classifier, asked everything, with some exhibits."""
    folder = tmp_path_factory.mktemp("odds")
    train, test = eq.load_images("digits", "train"), eq.load_images("digits", "test")
    first, _ = (remember(train.subset(n), folder / f"near-{n}") for n in (100, 300))
    named = eq.wrap(trained.net, name="<i>net</i>")
    probes = [
        "standard",
        Gradients(),
        LargeEps(FAR, steps=10, judge=f"local:{folder / 'near-100'}"),
        LargeEps(FAR, steps=10, judge=f"local:{folder / 'near-300'}"),
        FeatureUse("digits"),
    ]
    found = eq.audit([named, first], test, probes, folder / "run", limit=60, pictures=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equipoise.studies.two_classes.RESAMPLES", 10)
        linear = attack_two_classes(train, test, ("5", "7"), [0.0, 0.2], 0.2)
    sizes = [
        {
            "family": family,
            "rung": rung,
            "radius": radius,
            "trained": str(radius),
            "size": size,
            "value": 0.9 - 0.1 * radius + size / 10_000,
            "low": 0.85 - 0.1 * radius,
            "high": 0.95,
            "gain": -0.1 * radius,
            "gain_low": -0.1 * radius - 0.01,
            "gain_high": None if size == 50 else -0.1 * radius + 0.01,
            "loss": 0.1,
            "steps": 600,
            "seeds": 3,
            "images": 60,
        }
        for family in ("l2", "l2, half-and-half")
        for rung, radius in enumerate((0.0, 1.0))
        for size in (50, 500)
    ]
    features = {"set": "robust", "what": "what it is", "attacked": "l2:0.5", "standard": 0.5}
    features |= {"standard_low": 0.4, "standard_high": 0.6, "robust": 0.25}
    features |= {"robust_low": 0.2, "robust_high": 0.3}
    features |= {"visible": 0.75, "visible_low": 0.7, "visible_high": 0.8}
    exhibits = {"sizes": sizes, "features": [features]}
    write_exhibits(found.folder, "odds", exhibits | linear.exhibits() | fit_rules().exhibits())
    return eq.Run(found.folder)


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "page.html"
    return eq.report(run, out).read_text(encoding="utf-8")


def text_of(page):
    """What a reader sees, without scripts and tags."""
    body = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_every_section_is_there_and_names_are_text(page):
    for name in ("gradients", "far", "use", "theory", "sizes", "two-classes", "feature-sets"):
        assert f'<h2 id="{name}">' in page
    assert "<i>net</i>" not in page
    assert page.count("&lt;i&gt;net&lt;/i&gt;") > 5


def test_a_run_without_the_probes_and_exhibits_has_none_of_them(run, tmp_path):
    plain = eq.audit(
        f"local:{run.folder.parent / 'near-100'}",
        "digits",
        ["standard"],
        tmp_path / "run",
        limit=20,
    )
    written = eq.report(plain, tmp_path / "page.html").read_text(encoding="utf-8")
    for name in ("gradients", "far", "use", "theory", "sizes", "two-classes", "feature-sets"):
        assert f'<h2 id="{name}">' not in written


def test_maps_stand_beside_their_numbers(run):
    maps = lay_maps(Reading(run))
    assert maps is not None
    assert maps.grid.heads == ["<i>net</i>", "near-100"]
    assert [row.truth for row in maps.grid.rows] == sorted(row.truth for row in maps.grid.rows)
    assert all(len(row.pictures) == 2 for row in maps.grid.rows)
    assert maps.table.heads == ["Sparsity"]
    sparsity = run.columns("gradients", "<i>net</i>")["sparsity"]
    first = maps.table.rows[0][2][0]
    assert first is not None
    assert first.value == f"{np.nanmean(sparsity):.2f}"


def test_judges_of_the_same_examples_share_an_entry(run, page):
    (far,) = lay_far(Reading(run))
    assert far.title == "l2:2"
    assert (far.judge, [name for name, _ in far.right]) == ("near-100", ["near-100", "near-300"])
    assert far.table.heads[2:] == [
        "Read so by near-100",
        "Noise read so by near-100",
        "Read so by near-300",
        "Noise read so by near-300",
    ]
    spec = next(s for s in run.probes if "near-300" in s)
    columns = run.columns(spec, "<i>net</i>")
    agrees = np.array([bool(v) for v in columns["agrees"] if v is not None])
    shown = far.table.rows[0][2][4]
    assert shown is not None
    assert shown.value == percent(agrees.mean())
    assert [figure.title for figure in far.figures] == [
        "The classifier itself",
        "near-100",
        "near-300",
    ]
    moved = columns["moved"].astype(bool)
    mean = np.mean([list(p) for p, m in zip(columns["own_path"], moved, strict=True) if m], axis=0)
    rows = embedded(page)["charts"]["far-0-0"]["datasets"]["rows"]
    drawn = [row["share"] for row in rows if row["classifier"] == "<i>net</i>"]
    assert drawn == pytest.approx(mean, abs=1e-4)
    answers = dict(zip(columns["id"].tolist(), columns["prediction"].tolist(), strict=True))
    for row, seen in zip(far.grid.rows, far.seen, strict=True):
        assert seen[0].own == str(answers[row.id])
        assert seen[0].agrees is (seen[0].own == seen[0].judge)


def test_the_inputs_used_are_those_measured(run):
    accuracy, gradient = inputs_used(Reading(run))
    columns = run.columns("feature_use:digits", "<i>net</i>")
    for figure, column in ((accuracy, "correct"), (gradient, "mass")):
        drawn = [
            row for row in figure.spec["datasets"]["rows"] if row["classifier"] == "<i>net</i>"
        ]
        assert [row["inputs"] for row in drawn] == list(columns["inputs"][0])
        mean = np.mean([list(map(float, v)) for v in columns[column]], axis=0)
        assert [row["share"] for row in drawn] == pytest.approx(mean, abs=1e-4)


def test_the_studys_charts_are_valid_and_say_their_numbers(run):
    study = lay_study(Reading(run))
    figures = [figure for listed in study.figures.values() for figure in listed]
    assert {name: len(listed) for name, listed in study.figures.items()} == {
        "theory": 1,
        "sizes": 2,
        "gains": 2,
        "radius": 1,
        "linear": 2,
    }
    for figure in figures:
        altair.LayerChart.from_dict(figure.spec).to_dict(validate=True)
        assert figure.alt.endswith(".")
    assert "radius 1.0 at 500 images: 85.0% (75.0 to 95.0%)" in study.figures["sizes"][0].alt
    assert (
        "radius 1.0 at 500 images: −10.0 points (−11.0 to −9.0)" in study.figures["gains"][0].alt
    )
    # An end that is not known is no interval.
    assert "radius 1.0 at 50 images: −10.0 points;" in study.figures["gains"][0].alt


def test_the_studys_tables_are_the_exhibits(run, page):
    seen = text_of(page)
    row = run.exhibits()["two-classes"][1]
    assert f"{percent(row['standard'])} {100 * row['standard_low']:.1f}" in seen
    assert "robust what it is 75.0% 70.0–80.0 50.0% 40.0–60.0 25.0% 20.0–30.0" in seen
    for rule in run.exhibits()["rules"]:
        assert f"{rule['name']} {percent(rule['standard'])} {percent(rule['robust'])}" in seen


@pytest.mark.slow
def test_the_study_ends_with_claims_and_a_page_and_repeats_for_nothing(tmp_path):
    settings = replace(SMALL, originals=12, attacked=40)
    run, page = odds(tmp_path / "study", settings)
    claims = run.claims()
    assert {claim.id for claim in claims} == {
        *("T1", "T2", "S1", "S2", "S3", "S4", "S5", "L1", "L2", "L3"),
        *("G1", "G2", "E1", "E2", "U1", "D1", "D2"),
    }
    for claim in claims:
        expected = (
            "holds"
            if claim.low > claim.bound
            else "fails"
            if claim.high < claim.bound
            else "undecided"
        )
        assert claim.verdict == expected
        assert claim.text.endswith(".")
        assert math.isfinite(claim.value)
    seeds = eq.Run(tmp_path / "study" / "seeds")
    mine = {claim.id: claim for claim in claims if claim.classifier == "l2-1"}

    def gap(probe, name):
        found = [
            np.array(
                [
                    [math.nan if v is None else float(v) for v in seeds.columns(probe, who)[name]]
                    for who in (f"{rung}, seed 0", f"{rung}, seed 1")
                ]
            )
            for rung in ("l2-1", "l2-0")
        ]
        difference = found[0] - found[1]
        return difference[:, ~np.isnan(difference).any(axis=0)].mean()

    far = next(spec for spec in seeds.probes if spec.startswith("large_eps"))
    assert mine["E1"].value == pytest.approx(gap(far, "agrees"))
    assert mine["U1"].value == pytest.approx(gap("feature_use:digits", "rank_correlation"))
    gradients = next(spec for spec in seeds.probes if spec.startswith("gradients"))
    both = [gap(gradients, name) for name in ("alignment", "noise_alignment")]
    assert mine["G1"].value == pytest.approx(both[0] - both[1], abs=1e-6)
    assert run.study() == "odds"
    body = page.read_text(encoding="utf-8")
    assert "<h1>Is robustness at odds with accuracy?</h1>" in body
    assert '<h2 id="claims">' in body and '<h2 id="theory">' in body
    assert "tsipras2019" in body and "ilyas2019" in body
    kept = {
        p: p.stat().st_mtime_ns
        for kind in ("*.parquet", "*.safetensors")
        for p in (tmp_path / "study").rglob(kind)
    }
    again, _ = odds(tmp_path / "study", settings)
    assert again.claims() == claims
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert page.read_text(encoding="utf-8") == body
