"""Counterfactuals and claims on the page: numbers are the run's, text is text, and the set's folder is not read."""

import base64
import json
import re
import shutil
from dataclasses import replace
from html import unescape
from io import BytesIO

import altair
import numpy as np
import pytest
import torch
from conftest import Linear
from PIL import Image
from test_counterfactual_sets import brightness_oracle, grey_set, sampler

import equipoise as eq
from equipoise.audit import Estimate, judge, write_claims
from equipoise.audit.difference import paired_difference
from equipoise.counterfactuals import CounterfactualSet, make_set, measure_quality
from equipoise.images import Arrays, Subset
from equipoise.report.claims import lay_out
from equipoise.report.counterfactual import by_proximity, on_the_ladder, on_the_way
from equipoise.report.distances import distances
from equipoise.report.doubts import doubts
from equipoise.report.making import references
from equipoise.report.page import render
from equipoise.report.reading import Reading
from equipoise.report.sets import answers, show
from equipoise.report.story import tell
from equipoise.report.strips import lay
from equipoise.report.table import tabulate
from equipoise.report.words import number, percent

HOSTILE = "</script><script>alert(1)</script>"
CLASSES = (HOSTILE, "\"'&", "light")
COUNT, FEW = 42, 30


def greys(count):
    return Arrays(
        grey_set(count).batch(range(count)).images,
        [k % 3 for k in range(count)],
        CLASSES,
        [f"g{k}" for k in range(count)],
    )


def rung(name, radius):
    """Reads brightness, but the mid-grey class too often, the more so the larger its radius."""
    levels = torch.tensor([0.2, 0.5, 0.8])
    bias = -20 * levels**2 + torch.tensor([0.0, radius, 0.0])
    net = Linear(40 * levels[:, None].expand(3, 16) / 16, bias)
    return eq.wrap(net, name=name, facts={"norm": "l2" if radius else None, "radius": radius})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    first = make_set(greys(COUNT), sampler(steps=6), folder / "a", oracles=[brightness_oracle()])
    measure_quality(first, greys(COUNT), grey_set(60, seed=1))
    make_set(Subset(greys(COUNT), range(FEW)), sampler(steps=6), folder / "b&<i>", per_class=1)
    probes = ["standard", *(f"counterfactual:{folder / name}" for name in ("a", "b&<i>"))]
    rungs = [rung(HOSTILE, 0.0), rung("half", 0.5), rung("two", 2.0)]
    run = eq.audit(rungs, greys(COUNT), probes, folder / "run", pictures=6)
    for name in ("a", "b&<i>"):
        shutil.move(folder / name, folder / f"moved {name}")
    return run


@pytest.fixture(scope="module")
def reading(run):
    return Reading(run)


@pytest.fixture(scope="module")
def page(reading):
    return render(reading)


def test_the_sets_are_told_apart_by_their_settings_or_folders(reading):
    assert [d.title for d in reading.counterfactuals] == [
        "Gaussian σ 0.5, exact (a)",
        "Gaussian σ 0.5, exact (b&<i>)",
    ]


def test_charts_are_valid_vega_lite_and_show_the_summary(reading):
    drawn = reading.counterfactuals[0]
    ladder = on_the_ladder(reading, drawn)
    figures = [*ladder, *by_proximity(reading, drawn), *on_the_way(reading, drawn)]
    figures += distances(reading)
    assert len(figures) == 2 + 1 + 1 + 3
    for figure in figures:
        altair.LayerChart.from_dict(figure.spec).to_dict(validate=True)
        assert figure.alt and "nan" not in figure.alt
    for row in ladder[0].spec["datasets"]["rows"]:
        name = {
            "read as their class, accepted": "accuracy on accepted counterfactuals",
            "read as their class, all": "accuracy on counterfactuals",
            "read as the original’s class": "source label kept",
        }[row["series"]]
        s = reading.statistic(row["classifier"], drawn.spec, name)
        assert s
        shown = (row["share"], row["share_low"], row["share_high"])
        assert shown == pytest.approx((s.value, s.low, s.high), abs=1e-5)


def test_confidence_is_averaged_over_images_of_like_proximity(reading):
    drawn = reading.counterfactuals[0]
    (figure,) = by_proximity(reading, drawn)
    rows = [r for r in figure.spec["datasets"]["rows"] if r["classifier"] == "two"]
    columns = reading.columns(drawn.spec, "two")
    assert [r["at"].partition(", ")[2] for r in rows] == ["21 images", "21 images"]
    nearest = np.argsort(columns["proximity"], kind="stable")[:21]
    assert rows[0]["share"] == pytest.approx(columns["confidence"][nearest].mean(), abs=1e-4)
    assert rows[0]["distance"] < rows[1]["distance"]
    assert all(r["low"] <= r["share"] <= r["high"] for r in rows)


def test_the_way_begins_at_the_image_and_ends_at_the_counterfactual(reading):
    drawn = reading.counterfactuals[0]
    (figure,) = on_the_way(reading, drawn)
    rows = figure.spec["datasets"]["rows"]
    columns = reading.columns(drawn.spec, "half")
    mine = [r for r in rows if (r["classifier"], r["kind"]) == ("half", "in the true class")]
    assert [mine[0]["way"], mine[-1]["way"], len(mine)] == [0, 1, 9]
    assert mine[0]["share"] == pytest.approx(columns["confidence"].mean(), abs=1e-4)
    end = np.mean([path[-1] for path in columns["source_path"]])
    assert mine[-1]["share"] == pytest.approx(end, abs=1e-4)


def test_distances_are_those_of_the_run(reading):
    figures = {figure.title: figure for figure in distances(reading)}
    rows = figures["Nearest other class"].spec["datasets"]["rows"]
    for drawn in reading.counterfactuals:
        values = reading.columns(drawn.spec, "two")["proximity_min"].astype(float)
        values = values[~np.isnan(values)]
        mine = [r for r in rows if r["line"] == drawn.title]
        assert len(mine) == 101 and mine[-1]["share"] == 1
        for row in mine[::10]:
            assert row["share"] == pytest.approx(
                (values <= row["distance"]).mean(), abs=1 / FEW + 1e-4
            )


def test_the_table_has_the_means_of_the_columns(reading, run):
    tables = [answers(reading, drawn) for drawn in reading.counterfactuals]
    for drawn, table in zip(reading.counterfactuals, tables, strict=True):
        for name, _, cells in table.rows:
            columns = reading.columns(drawn.spec, name)
            asked = columns["counterfactuals"] > 0
            right = reading.columns("standard", name)["correct"][asked]
            assert [cell and cell.value for cell in (cells[0], cells[1], cells[6])] == [
                percent(right.mean()),
                percent(np.nanmean(columns["accuracy"])),
                number(np.nanmean(columns["response"]), 2),
            ]
    # No oracle saw the second set.
    assert all(cells[2] is None for _, _, cells in tables[1].rows)
    assert tabulate(reading).heads == ["Standard accuracy", "Confidence"]


def test_quality_is_that_of_the_set(reading):
    drawn = reading.counterfactuals[0]
    shown = show(reading, drawn)
    rows = dict(shown.quality)
    found = drawn.quality("read as its label by the oracles")
    agreed = rows["Read as its label by the oracles"][0]
    assert found and agreed
    assert (agreed[0].value, agreed[1]) == (percent(found["value"]), str(found["n"]))
    assert rows["L2 distance"][2] is None and rows["High-frequency share"][2] is not None
    assert percent(found["value"]) in shown.paragraphs[1]
    assert "168 counterfactuals of 42 images, 2 for each of 2 other classes" in shown.paragraphs[0]
    assert "0.5 in network units on [−1, 1], hence 0.25 between" in shown.paragraphs[0]
    lacking = replace(drawn, facts=drawn.facts | {"quality": [found | {"value": None}]})
    assert (
        lacking.quality(found["name"]) is None
        and "read" not in show(reading, lacking).paragraphs[1]
    )
    second = show(reading, reading.counterfactuals[1])
    assert second.quality == [] and second.paragraphs[1].startswith("No oracle has looked")


def test_each_tile_shows_the_counterfactual_of_its_class(reading, run):
    drawn = reading.counterfactuals[0]
    grid = lay(reading, drawn)
    assert grid and grid.heads == list(CLASSES) and grid.pixelated and len(grid.rows) == 6
    made = CounterfactualSet(run.folder.parent / "moved a")
    known = {
        image.mul(255).round().byte().numpy().tobytes(): CLASSES[target]
        for split in ("test", "same")
        for rows in [made.rows(split)]
        for image, target in zip(rows.images, rows.columns["target"], strict=True)
    }
    for row in grid.rows:
        tiles = [tile for tile in row.tiles if tile]
        assert [tile.own for tile in tiles] == [name == row.truth for name in CLASSES]
        picture = Image.open(BytesIO(base64.b64decode(row.strip.split(",")[1])))
        side = picture.width // row.length
        for tile in tiles:
            # background-position p% aligns p% of the picture with p% of the tile.
            left = round(tile.place / 100 * (picture.width - side))
            assert known[picture.crop((left, 0, left + side, side)).tobytes()] == tile.name
    assert [row.truth for row in grid.rows] == [name for name in CLASSES for _ in range(2)]


def test_with_many_classes_every_tile_bears_its_name(reading, monkeypatch):
    monkeypatch.setattr("equipoise.report.strips.COLUMNS", 2)
    monkeypatch.setattr("equipoise.report.rows.SIDE", 3)
    grid = lay(reading, reading.counterfactuals[0])
    assert grid and grid.heads == [] and grid.rows[0].strip.startswith("data:image/webp")
    monkeypatch.setattr("equipoise.report.strips.BUDGET", 1)
    least = lay(reading, reading.counterfactuals[0])
    assert least and len(least.rows) == 1


def test_the_page_is_text_and_reads_no_set(page, run):
    assert page.count("<script") == page.count("</script>") == 5
    assert "<script>alert" not in page and "(b&<i>)" not in page
    assert "<bdi>Gaussian σ 0.5, exact (b&amp;&lt;i&gt;)</bdi>" in page
    assert not (run.folder.parent / "a").exists()
    assert page == render(Reading(eq.Run(run.folder))) and len(page) < 10_000_000
    data = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert data
    charts = json.loads(data[1])["charts"]
    assert set(re.findall(r'data-chart="([^"]+)"', page)) == set(charts)
    assert 'id="claims"' not in page


def test_an_unfinished_run_shows_what_is_there(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    for path in eq.Run(tmp_path / "run").shards(run.probes[1], "two"):
        path.unlink()
    assert "not yet" in render(Reading(eq.Run(tmp_path / "run")))
    for path in eq.Run(tmp_path / "run").shards():
        path.unlink()
    assert 'id="counterfactuals"' in render(Reading(eq.Run(tmp_path / "run")))


def test_the_story_compares_the_ends_of_the_ladder(reading):
    drawn = reading.counterfactuals[0]
    before, after = (reading.columns(drawn.spec, name)["accuracy"] for name in (HOSTILE, "two"))
    accepted = [
        np.nanmean(reading.columns(drawn.spec, name)["accepted_accuracy"])
        for name in (HOSTILE, "two")
    ]
    known = ~np.isnan(before)
    change = paired_difference(before[known], after[known])
    assert change.shown and change.value < 0
    sentence = tell(reading).sentences[-1]
    assert sentence.startswith("On counterfactuals (Gaussian σ 0.5, exact (a))")
    assert (
        f"falls from {percent(change.before)} at radius 0 to {percent(change.after)}" in sentence
    )
    assert (
        f"paired difference {-100 * change.value:.1f} points over {known.sum()} images" in sentence
    )
    assert f"that oracles accept: {percent(accepted[0])} and {percent(accepted[1])}." in sentence


def test_what_makes_a_set_doubtful_is_said(reading):
    first, second = reading.counterfactuals
    assert not any("oracle" in finding.text.lower() for finding in doubts(reading, first))
    worse = [
        f | {"value": 0.05}
        if f["name"] in ("read as its label by the oracles", "spread between seeds")
        else f
        for f in first.facts["quality"]
    ]
    texts = [
        f.text for f in doubts(reading, replace(first, facts=first.facts | {"quality": worse}))
    ]
    assert texts[0].startswith("Oracles read only 5.0% of its counterfactuals")
    assert "practically one image" in texts[1]
    texts = [finding.text for finding in doubts(reading, second)]
    assert texts[0].startswith("No oracle has checked")
    assert texts[-1].startswith(f"{COUNT - FEW} of {COUNT} images have no counterfactuals")


def test_noise_that_lowers_accuracy_is_said(reading, monkeypatch):
    monkeypatch.setattr(
        Reading,
        "answers",
        lambda self, drawn, name, column: replace(
            right := self.right(name), column=np.full(len(right.ids), 0.5)
        ),
    )
    texts = [finding.text for finding in doubts(reading, reading.counterfactuals[0])]
    assert any("Noise of the same length lowers accuracy" in text for text in texts)


def test_references_are_those_of_the_methods(reading):
    keys = [text.partition("{")[2].partition(",")[0] for text in references(reading)]
    assert {"yeats2024", "zhao2023"} <= set(keys)
    assert not {"karras2022", "lu2022", "ho2022", "rony2019"} & set(keys)


# Claims


def estimates():
    yes, no, open_ = (0.3, 0.1, 0.5), (-0.3, -0.5, -0.1), (0.05, -0.1, 0.2)
    return [Estimate(*found, 42, "bootstrap") for found in (yes, no, open_)]


@pytest.fixture(scope="module")
def claimed(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("claimed") / "run"
    shutil.copytree(run.folder, folder)
    yes, no, open_ = estimates()
    unknown = Estimate(float("nan"), float("nan"), float("nan"), 0, "none")
    write_claims(
        folder,
        "study",
        [
            judge("H1", "First.", "correlation", yes, classifier="half"),
            judge("H1", HOSTILE, HOSTILE, open_, classifier=HOSTILE, control=HOSTILE),
            judge("H1", "First.", "correlation", no, classifier="two"),
            judge("F1", "Second.", "share", unknown, bound=0.5, source="ours"),
        ],
    )
    return Reading(eq.Run(folder))


def test_claims_stand_together_by_number_and_statement(claimed):
    claims = lay_out(claimed)
    assert (
        claims
        and claims.sentence == "1 of 4 claims holds on these images, 1 fails, 2 are undecided."
    )
    assert [group.id for group in claims.groups] == ["H1", "F1"] and claims.open
    first, second = claims.groups[0].parts
    assert [(t.classifier, t.verdict) for t in first.tests] == [
        ("half", "holds"),
        ("two", "fails"),
    ]
    assert second.text == HOSTILE and [source for source, _ in claims.sources] == ["paper", "ours"]
    yes, no = first.tests
    assert yes.at is not None
    assert no.left + no.width < first.bound < yes.left < yes.at < yes.left + yes.width < 100
    (unknown,) = claims.groups[1].parts[0].tests
    assert (unknown.value, unknown.interval, unknown.at) == ("–", "", None)
    assert lay_out(Reading(claimed.run)) == claims


def test_the_page_says_every_verdict_in_words(claimed):
    page = render(claimed)
    assert page.count("<script") == page.count("</script>") == 5 and "<script>alert" not in page
    section = page[page.index('id="claims"') : page.index('id="ladder"')]
    text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", section)))
    for words in ("✓ holds half", "✗ fails two", f"~ undecided {HOSTILE}", "0.300 0.100 to 0.500"):
        assert words in text


# Differences of shares


def test_a_difference_of_shares_is_the_mean_over_images():
    rng = np.random.default_rng(0)
    before, after = rng.binomial(18, 0.7, 400) / 18, rng.binomial(18, 0.5, 400) / 18
    d = paired_difference(before, after)
    assert d.value == pytest.approx((after - before).mean(), abs=1e-6)
    spread = (after - before).std() / 20
    assert d.low == pytest.approx(d.value - 1.96 * spread, abs=0.003)
    assert d.high == pytest.approx(d.value + 1.96 * spread, abs=0.003)


def test_few_changes_of_shares_are_bounded_from_both_sides():
    before = np.ones(100)
    after = before.copy()
    after[:3] = 0.9
    d = paired_difference(before, after)
    assert d.method == "Clopper-Pearson" and d.low < -0.03 < d.value < d.high
    assert not d.shown
