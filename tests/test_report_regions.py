"""The page's sections of objects and backgrounds, of groups, and of where classifiers look: its numbers are a run's."""

import json
import re
import shutil
from html import unescape

import altair
import numpy as np
import pytest
import torch
from conftest import Linear
from test_region_probes import Pooled, Shown, left, photos
from test_report import embedded
from test_report_odds import text_of

import equipoise as eq
from equipoise.report.dots import Dot, dots
from equipoise.report.groups import MOST, lay_groups
from equipoise.report.making import references
from equipoise.report.page import render
from equipoise.report.reading import Reading
from equipoise.report.regions import lay_regions
from equipoise.report.saliency import lay_saliency
from equipoise.report.story import tell
from equipoise.report.table import tabulate
from equipoise.report.words import number, percent

SHAPE = (3, 6, 6)
HOSTILE = "</script><script>alert(1)</script>" + "long" * 30
VARIANTS = ["original", "mixed_same", "mixed_rand", HOSTILE]
COUNT = 48
NOISY = "regions:gaussian?levels=0.2,0.6&trials=2"
GROUPS, BACKGROUNDS = "groups:made", "backgrounds?limit=5&onto=scenes"
PROBES = ["standard", NOISY, "regions:l2", GROUPS, BACKGROUNDS, "saliency"]
NAMES = ["lower", "<b>upper</b>", "pooled"]


def rung(name, radius, seed):
    """Looks at the left more, the larger its radius, and at all of the image a little."""
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) * (
        1 + radius * left()
    )
    both = torch.stack([torch.zeros(108), weight.flatten()])
    net = Linear(both, torch.tensor([0.0, -float(weight.sum()) / 2]))
    return eq.wrap(net, name=name, facts={"norm": "l2" if radius else None, "radius": radius})


def pictures():
    images = photos(COUNT, 0, 1)
    masks = [None if k % 8 == 7 else left((k % 4 + 1) / 6) for k in range(COUNT)]
    return Shown(images, masks, [VARIANTS[k // 2 % 4] for k in range(COUNT)])


class Training(Shown):
    """Training images whose groups are known without opening them."""

    def groups(self):
        return tuple(self.known)

    def all_labels(self):
        return tuple(self.images.labels)


def training():
    sizes = {VARIANTS[0]: 30, VARIANTS[1]: 8, VARIANTS[2]: 4, HOSTILE: 20}
    known = [group for group, size in sizes.items() for _ in range(size)]
    return Training(photos(len(known)), groups=known)


def value_of(cell):
    assert cell is not None
    return cell.value


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    classifiers = [rung(name, radius, 3) for name, radius in zip(NAMES, (0.0, 2.0), strict=False)]
    classifiers.append(eq.wrap(Pooled(), name=NAMES[2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equipoise.probes.groups.load_images", lambda spec, split: training())
        patch.setattr("equipoise.probes.backgrounds.load_images", lambda spec: photos(9, seed=5))
        out = tmp_path_factory.mktemp("run") / "run"
        eq.audit(classifiers, pictures(), PROBES, out, pictures=12)
    return eq.Run(out)


@pytest.fixture(scope="module")
def reading(run):
    return Reading(run)


@pytest.fixture(scope="module")
def page(reading):
    return render(reading)


def test_every_section_is_there_and_names_are_text(page):
    for name in ("regions", "groups", "saliency"):
        assert f'<h2 id="{name}">' in page
        assert f'href="#{name}"' in page
    assert "<b>upper" not in page and "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") > 2
    assert HOSTILE in unescape(page) and HOSTILE in json.dumps(embedded(page)).replace("\\/", "/")
    # Sizes of groups stand beside the groups, and nowhere else.
    assert "Images in each group" not in page


def test_charts_are_valid_and_say_their_numbers(reading):
    figures = [
        figure for one in (*lay_regions(reading), *lay_groups(reading)) for figure in one.figures
    ]
    assert [figure.title for figure in figures] == [
        "Gaussian noise",
        "L2 noise",
        "Groups of images",
        "Backgrounds",
    ]
    for figure in figures:
        altair.LayerChart.from_dict(figure.spec).to_dict(validate=True)
        assert figure.alt.endswith(".")


def test_accuracies_under_noise_are_those_of_the_columns(run, reading):
    for part, spec in zip(lay_regions(reading), (NOISY, "regions:l2"), strict=True):
        assert part.left_out == COUNT // 8
        rows = part.figures[0].spec["datasets"]["rows"]
        for name in NAMES:
            columns = run.columns(spec, name)
            asked = np.array([value is not None for value in columns["object"]])
            assert asked.sum() == COUNT - COUNT // 8
            right = run.columns("standard", name)
            assert (right["id"] == columns["id"]).all()
            for side in ("object", "background"):
                values = np.array([list(v) for v in columns[side][asked]])
                kind = f"noise on the {side}"
                mine = [r for r in rows if (r["classifier"], r["kind"]) == (name, kind)]
                assert mine[0]["level"] == 0
                expected = [right["correct"][asked].mean(), *values.mean(axis=0)]
                assert [r["share"] for r in mine] == pytest.approx(expected, abs=1e-4)
                levels = list(columns["levels"][asked][0])
                assert [r["level"] for r in mine[1:]] == pytest.approx(levels, abs=1e-4)


def test_sensitivities_in_the_table_are_those_of_the_columns(run, reading):
    part = lay_regions(reading)[0]
    for name, images, cells in part.table.rows:
        columns = run.columns(NOISY, name)
        asked = np.array([value is not None for value in columns["object"]])
        labels = columns["label"][asked]
        means = [
            np.array([np.mean(list(v)) for v in columns[side][asked]])
            for side in ("object", "background")
        ]
        a, b = (np.mean([m[labels == k].mean() for k in (0, 1)]) for m in means)
        assert images == str(asked.sum())
        assert [value_of(cell) for cell in cells] == [
            *(percent(m.mean()) for m in means),
            number((b - a) / (2 * min((a + b) / 2, 1 - (a + b) / 2)), 2),
            number(columns["sensitivity"][asked].astype(float).mean(), 2),
        ]


def test_pictures_of_noise_stand_beside_the_originals(reading, page):
    part = lay_regions(reading)[0]
    assert part.level == "standard deviation 0.6"
    assert len(part.grid.rows) == 6
    assert {row.truth for row in part.grid.rows} == {"a", "b"}
    assert all(len(row.pictures) == 1 for row in part.grid.rows)
    text = text_of(page)
    assert "Pictures show Gaussian noise of standard deviation 0.6." in text
    assert "2 standard deviations from 0.2 to 0.6, 2 draws of each image" in text


def test_every_groups_accuracy_is_that_of_the_columns(run, reading):
    groups, backgrounds = lay_groups(reading)
    assert {row.name for row in groups.rows} == set(VARIANTS)
    assert [row.name for row in backgrounds.rows] == [
        "original",
        "mixed-same",
        "mixed-rand",
        HOSTILE,
    ]
    assert {row.name: row.training for row in groups.rows} == {
        "original": "30",
        "mixed_same": "8",
        "mixed_rand": "4",
        HOSTILE: "20",
    }
    assert {row.training for row in backgrounds.rows} == {""}
    drawn = groups.figures[0].spec["datasets"]["rows"]
    for place, judged in enumerate(reading.classifiers):
        columns = run.columns(GROUPS, judged.name)
        shares = {
            group: columns["correct"][columns["group"] == group].astype(bool).mean()
            for group in VARIANTS
        }
        for row in groups.rows:
            assert row.images == str(COUNT // 4)
            assert value_of(row.cells[place]) == percent(shares[row.name])
            assert row.worst[place] == (shares[row.name] == min(shares.values()))
        mine = {r["group"]: r for r in drawn if r["classifier"] == judged.name}
        assert {g: r["share"] for g, r in mine.items()} == pytest.approx(shares, abs=1e-4)
        assert {g for g, r in mine.items() if r["worst"]} == {
            row.name for row in groups.rows if row.worst[place]
        }
        others = {row.name: value_of(row.cells[place]) for row in groups.others}
        assert others["Worst-group accuracy"] == percent(min(shares.values()))
        sizes = {row.name: int(row.training) for row in groups.rows}
        average = sum(sizes[g] * shares[g] for g in sizes) / sum(sizes.values())
        assert others["Average accuracy, groups as common as in training"] == percent(average)


def test_the_background_gap_is_in_points(run, reading, page):
    _, backgrounds = lay_groups(reading)
    names = [row.name for row in backgrounds.others]
    assert names == ["Background gap", "Accuracy against backgrounds"]
    for place, judged in enumerate(reading.classifiers):
        columns = run.columns(BACKGROUNDS, judged.name)
        same, other = (
            columns["correct"][columns["group"] == group].astype(bool).mean()
            for group in ("mixed_same", "mixed_rand")
        )
        gap, stands = (value_of(row.cells[place]) for row in backgrounds.others)
        assert gap == f"{100 * (same - other):+.1f} points".replace("-", "−")
        asked = np.array([value is not None for value in columns["stands"]])
        assert 0 < asked.sum() < COUNT // 4 + 1
        assert stands == percent(columns["stands"][asked].astype(bool).mean())
    assert not any(any(row.worst) for row in backgrounds.rows)
    assert "on each of 5 backgrounds, a random sample of 9." in text_of(page)


def test_where_it_looks_is_the_mean_of_the_columns(run, reading, page):
    looks = lay_saliency(reading)
    assert looks is not None
    assert looks.grid.heads == [j.name for j in reading.classifiers]
    assert len(looks.grid.rows) > 5
    columns = ["gradient_inside", "cam_inside", "area", "gradient_precision", "cam_precision"]
    for name, images, cells in looks.table.rows:
        assert images.startswith(str(COUNT - COUNT // 8)) or name == "pooled"
        for cell, column in zip(cells, columns, strict=False):
            values = run.columns("saliency", name)[column].astype(float)
            mean = np.nanmean(values) if (~np.isnan(values)).any() else None
            assert value_of(cell) == ("–" if mean is None else percent(mean))
    assert "networks without convolutions do not have" in text_of(page)


def test_the_summary_says_the_background_gap_of_both_ends(run, tmp_path):
    two = eq.audit(
        [rung(name, radius, 3) for name, radius in zip(NAMES, (0.0, 2.0), strict=False)],
        pictures(),
        ["standard", "backgrounds", "groups", "regions:l2"],
        tmp_path / "run",
    )
    gaps = [
        next(s for s in two.summary() if (s.classifier, s.name) == (n, "background gap"))
        for n in NAMES[:2]
    ]
    said = [
        f"{number(100 * s.value, 1)} points at radius {r}"
        for s, r in zip(gaps, (0, 2), strict=True)
    ]
    sentence = tell(Reading(two)).sentences[-1]
    assert sentence.startswith("The background gap (")
    assert f"is {said[0]} (95% interval " in sentence and f" and {said[1]} (" in sentence
    for probes, start in (
        (["standard", "groups", "regions:l2"], "Accuracy on the worst group is "),
        (["standard", "regions:l2"], "The relative sensitivity to the object under L2 noise is "),
    ):
        record = two.record | {"probes": {p: two.record["probes"][p] for p in probes}}
        two = eq.Run(two.folder)
        two.record = record
        assert tell(Reading(two)).sentences[-1].startswith(start)


def test_a_run_without_the_probes_has_no_sections(tmp_path):
    plain = eq.audit(rung("one", 0.0, 0), pictures(), ["standard"], tmp_path / "run")
    page = eq.report(plain, tmp_path / "page.html").read_text(encoding="utf-8")
    for name in ("regions", "groups", "saliency"):
        assert f'id="{name}"' not in page
    assert "Images in each group" in page
    assert len(tell(Reading(plain)).sentences) == 1


def test_images_without_masks_make_no_section_and_no_crash(tmp_path):
    bare = eq.audit(
        rung("one", 0.0, 0),
        Shown(photos(6)),
        ["regions:l2", "saliency"],
        tmp_path / "run",
        pictures=3,
    )
    page = eq.report(bare, tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="regions"' not in page and 'id="saliency"' not in page
    assert "without a mask, an object or a background were left out" in text_of(page)


def test_where_every_answer_is_right_the_sensitivity_is_undefined(tmp_path):
    always = eq.wrap(Linear(torch.zeros(2, 108), torch.tensor([-3.0, 1.0])), name="always")
    images = photos(10).subset(10)
    data = Shown(images, [left()] * 10)
    ones = [i for i in range(10) if images[i].label == 1]
    run = eq.audit(always, eq.images.Subset(data, ones), ["regions:l2"], tmp_path / "run")
    cells = lay_regions(Reading(run))[0].table.rows[0][2]
    assert [value_of(cell) for cell in cells[:3]] == ["100.0%", "100.0%", "0.00"]
    assert cells[2] is not None and cells[2].interval == "−1.00 to 1.00"


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_an_unfinished_run_has_a_page_of_what_is_there(run, tmp_path, kept):
    """The shards of the last classifiers, and a few of the others, are not there."""
    folder = shutil.copytree(run.folder, tmp_path / "run")
    for shard in run.record["shards"]:
        if shard["classifier"] in NAMES[kept:] or shard["probe"] == "regions:l2":
            (folder / shard["file"]).unlink()
    cut = eq.Run(folder)
    page = eq.report(cut, tmp_path / "page.html").read_text(encoding="utf-8")
    text = text_of(page)
    assert "Unfinished" in text
    assert ('id="groups"' in page) == (kept > 0)
    if kept:
        assert "not yet" in text
        (part,) = lay_regions(Reading(cut))
        assert part.title == "Gaussian noise"
        assert len(part.table.rows) == 3
        groups = lay_groups(Reading(cut))[0]
        assert [sum(c is None for c in row.cells) for row in groups.rows] == [3 - kept] * 4


def test_the_papers_behind_the_probes_are_named_once(reading):
    found = "".join(references(reading))
    for key in ("moayeri2022study", "singla2022", "selvaraju2017", "xiao2021", "sagawa2020"):
        assert found.count(f"{{{key},") == 1


def test_colours_are_the_classifiers_own_where_some_are_missing(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    for shard in run.record["shards"]:
        if shard["classifier"] == NAMES[0]:
            (folder / shard["file"]).unlink()
    page = eq.report(eq.Run(folder), tmp_path / "page.html").read_text(encoding="utf-8")
    heads = re.findall(
        r'--c(\d)\)"></span> <bdi>([^<]+)</bdi></th>', page.partition('id="saliency"')[2]
    )
    assert [(int(k), unescape(name)) for k, name in heads] == [(1, NAMES[1]), (2, NAMES[2])]


def test_these_numbers_have_tables_of_their_own(reading):
    assert tabulate(reading).heads == ["Standard accuracy", "Confidence"]


def test_a_chart_of_many_groups_shows_the_worst(tmp_path):
    """Of group k, k + 1 of 30 images are read rightly."""
    wrong = eq.wrap(Linear(torch.zeros(2, 108), torch.tensor([1.0, -3.0])), name="zero")
    names = [f"g{k:02}" for k in range(MOST + 6)]
    labels = [int(k < j) for k in range(len(names)) for j in range(len(names))]
    pixels = torch.full((len(labels), *SHAPE), 0.5)
    images = eq.images.Arrays(pixels, labels, ("a", "b"))
    data = Shown(images, groups=[names[k // len(names)] for k in range(len(labels))])
    found = lay_groups(Reading(eq.audit(wrong, data, ["groups"], tmp_path / "run")))[0]
    assert found.left_out == 6
    assert len(found.rows) == len(names)
    shown = {row["group"] for row in found.figures[0].spec["datasets"]["rows"]}
    assert shown == set(names[:MOST])
    assert [row.name for row in found.rows if any(row.worst)] == ["g00"]


def test_a_chart_of_nothing_is_none():
    assert dots("nothing", [Dot("a", "0", "", [None], [False])], names=["one"]) == []


def test_the_page_scrolls_wide_tables_and_speaks(page):
    regions = re.findall(r'role="region" aria-label="([^"]+)"', page)
    assert {
        "Groups of images: every number",
        "Backgrounds: every number",
        "Maps of each classifier",
    } <= set(regions)
    assert 'aria-label="The same with noise on the object"' in page
    assert "worst group: " in page
