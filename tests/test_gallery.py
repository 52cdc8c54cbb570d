"""The gallery: its columns hold what the run says, its pictures fit, and a bundle is whole or absent."""

import base64
import json
import math
import re
import shutil
import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from conftest import Linear
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_counterfactual_sets import grey_set, sampler

import equipoise as eq
from equipoise.counterfactuals import make_set
from equipoise.errors import EquipoiseError
from equipoise.images import Arrays
from equipoise.report import bundle
from equipoise.report.answers import FOOLED, UNASKED, WITHSTOOD, WRONG, Answers
from equipoise.report.exhibit import gather
from equipoise.report.gallery import hang, inside
from equipoise.report.packing import MISSING, halves, pack, pack_texts
from equipoise.report.page import render, write
from equipoise.report.pictures import cut
from equipoise.report.reading import Reading

HOSTILE = "</script><img src=x onerror=alert(1)>"
NAMES = (HOSTILE, "\u202e\u05e9\u05dc\u05d5\u05dd \U0001f98a")
CLASSES = ("dark", "\"'&", "light")
THREATS = ("adversarial:l2:0.5?steps=10", "adversarial:linf:0.01?steps=10")
COUNT, PICTURED = 12, 5


def plain(text):
    return zlib.decompress(base64.b64decode(text))


def unpacked(text, kind=np.uint16):
    """What the page's script makes of a packed column."""
    content = np.frombuffer(plain(text), np.uint8)
    if kind == np.uint8:
        return content
    low, high = content.reshape(2, -1).astype(np.uint16)
    return low | high << 8


def reals(text):
    return unpacked(text).view(np.float16).astype(float)


def rung(name, radius):
    """Reads brightness, but the mid-grey class too often, the more so the larger its radius."""
    levels = torch.tensor([0.2, 0.5, 0.8])
    bias = -20 * levels**2 + torch.tensor([0.0, radius, 0.0])
    net = Linear(40 * levels[:, None].expand(3, 16) / 16, bias)
    return eq.wrap(net, name=name, facts={"norm": "l2" if radius else None, "radius": radius})


class Grouped(Arrays):
    """Every image but the first is in a group."""

    def read(self, index):
        return replace(super().read(index), group=(None, HOSTILE, "even")[index and 2 - index % 2])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three greys, two classifiers, two threats, counterfactuals and gradients; ids that sort unlike their numbers."""
    folder = tmp_path_factory.mktemp("gallery")
    images = grey_set(COUNT).batch(range(COUNT)).images
    data = Grouped(images, [k % 3 for k in range(COUNT)], CLASSES, [f"g{k}" for k in range(COUNT)])
    make_set(data, sampler(steps=6), folder / "set")
    probes = ["standard", *THREATS, f"counterfactual:{folder / 'set'}", "gradients"]
    rungs = [rung(NAMES[0], 0.0), rung(NAMES[1], 2.0)]
    return eq.audit(rungs, data, probes, folder / "run", pictures=PICTURED)


@pytest.fixture(scope="module")
def reading(run):
    return Reading(run)


@pytest.fixture(scope="module")
def gallery(reading):
    return json.loads(hang(reading).data)


# Packing


@given(st.lists(st.integers(0, 65535)))
def test_packed_columns_come_back(values):
    column = np.array(values, dtype=np.uint16)
    assert unpacked(pack(column)).tolist() == values
    small = (column & 255).astype(np.uint8)
    assert unpacked(pack(small), np.uint8).tolist() == small.tolist()


def test_packed_texts_come_back_whatever_is_in_them():
    texts = [HOSTILE, "a\nb", "\udc80", "\u2028", NAMES[1], ""]
    assert json.loads(plain(pack_texts(texts))) == texts


@pytest.mark.parametrize("fraction", [10, 7])
@given(st.floats(2**-14, 65000.0))
def test_rounding_is_as_small_as_it_says(fraction, value):
    (plus, minus) = halves([value, -value], fraction).view(np.float16).astype(float)
    assert plus == -minus
    assert abs(plus - value) <= value / 2 ** (fraction + 1)


@pytest.mark.parametrize("fraction", [10, 7])
def test_missing_infinite_and_huge_numbers_stay_what_they_are(fraction):
    found = halves([math.nan, math.inf, 0.0, 1e9], fraction)
    assert found[0] == MISSING
    as_real = found[1:].view(np.float16)
    assert np.isinf(as_real[0]) and as_real[1] == 0
    assert np.isfinite(as_real[2]) and as_real[2] > 64000


def test_numbers_that_look_like_noise_cost_no_more_than_their_bits():
    # Codes of whole bits are the best there are for shares of 1/2, 1/4, 1/8 and so on: 2 bits each.
    noise = np.random.default_rng(0).geometric(0.5, 100_000).astype(np.uint8)
    assert len(pack(noise)) < 1.05 * 2 / 8 * 4 / 3 * 100_000


# Rows


def test_rows_are_images_in_natural_order_by_classifiers(gallery):
    ids = json.loads(plain(gallery["columns"]["id"]))
    assert ids == [f"g{k}" for k in range(COUNT)]
    assert sorted(ids) != ids
    assert unpacked(gallery["columns"]["label"]).tolist() == [k % 3 for k in range(COUNT)]
    names = [*gallery["groups"], None]
    places = unpacked(gallery["columns"]["group"])
    groups = [names[min(place, len(names) - 1)] for place in places.tolist()]
    assert {place for place in places if place >= len(names)} == {MISSING}
    assert groups[:3] == [None, HOSTILE, "even"]
    assert len(unpacked(gallery["columns"]["prediction"])) == COUNT * len(NAMES)


def test_every_row_has_the_numbers_of_the_run(run, gallery):
    columns, labels = gallery["columns"], unpacked(gallery["columns"]["label"])
    for k, name in enumerate(NAMES):
        mine = slice(k, None, len(NAMES))
        standard = run.columns("standard", name)
        order = np.argsort([int(i[1:]) for i in standard["id"]])
        said = unpacked(columns["prediction"])[mine] + labels
        assert said.tolist() == standard["prediction"][order].tolist()
        assert reals(columns["margin"])[mine] == pytest.approx(standard["margin"][order], rel=1e-3)
        sure = unpacked(columns["confidence"], np.uint8)[mine] / 254
        assert sure == pytest.approx(standard["confidence"][order], abs=0.0021)
        for spec, packed, (_, unit) in zip(
            THREATS, columns["threats"], gallery["threats"], strict=True
        ):
            found = run.columns(spec, name)
            radius = reals(packed["radius"])[mine] * unit
            assert radius == pytest.approx(found["radius"][order], rel=1e-3)
            attacked = unpacked(packed["prediction"])[mine] + labels
            assert attacked.tolist() == found["adversarial_prediction"][order].tolist()
        asked = run.columns(run.probes[3], name)
        assert unpacked(columns["made"]).tolist() == asked["counterfactuals"][order].tolist()
        assert unpacked(columns["followed"])[mine] == pytest.approx(
            (asked["accuracy"] * asked["counterfactuals"])[order], abs=1e-3
        )
        assert reals(columns["proximity"]) == pytest.approx(asked["proximity"][order], rel=1e-3)


def test_outcomes_are_told_apart(run, reading):
    answers = Answers(reading)
    seen = set()
    for spec in THREATS:
        outcomes = answers.outcomes(spec)
        for k, name in enumerate(NAMES):
            columns = run.columns(spec, name)
            right = dict(zip(columns["id"], run.columns("standard", name)["correct"], strict=True))
            for key, success in zip(columns["id"], columns["success"], strict=True):
                expected = (FOOLED if success else WITHSTOOD) if right[key] else WRONG
                assert outcomes[answers.places[key], k] == expected
                seen.add(expected)
    assert seen == {FOOLED, WITHSTOOD, WRONG}


def test_what_was_not_measured_is_missing(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    whole = eq.Run(tmp_path / "run")
    for spec in (THREATS[0], "standard", run.probes[3]):
        whole.shards(spec, NAMES[1])[0].unlink()
    unfinished = eq.Run(tmp_path / "run")
    gallery = json.loads(hang(Reading(unfinished)).data)
    columns = gallery["columns"]
    outcomes = unpacked(columns["threats"][0]["outcome"], np.uint8)
    assert set(outcomes[1::2]) == {UNASKED} and UNASKED not in outcomes[::2]
    # Without a prediction of the image as it is, a radius of 0 says that it was misread.
    others = unpacked(columns["threats"][1]["outcome"], np.uint8)
    radius = reals(columns["threats"][1]["radius"])
    assert ((others == WRONG) == (radius == 0)).all() and (others == WRONG).any()
    assert set(unpacked(columns["followed"])[1::2]) == {MISSING}
    assert np.isnan(reals(columns["margin"])[1::2]).all()
    assert not np.isnan(reals(columns["proximity"])).any()
    assert all("0,1" not in exhibit["attacked"] for exhibit in gallery["exhibits"])
    for path in unfinished.folder.glob("shards/**/*.parquet"):
        path.unlink()
    assert hang(Reading(eq.Run(unfinished.folder))).rows == 0


# Pictures


def test_every_pictured_image_has_all_its_pictures(run, reading, gallery):
    answers = Answers(reading)
    assert len(gallery["exhibits"]) == PICTURED
    for exhibit, shown in zip(gather(reading, answers), gallery["exhibits"], strict=True):
        assert set(exhibit.gradients) == {0, 1}
        assert set(exhibit.attacked) == {(t, c) for t in (0, 1) for c in (0, 1)}
        assert len(list(exhibit.pictures())) == 1 + 1 + 2 + 2 * 4
        assert shown["image"] == exhibit.image
        address = gallery["pictures"][shown["original"]]
        assert base64.b64decode(address.partition(",")[2]) == exhibit.original
        for picture, change, *_ in shown["attacked"].values():
            assert max(picture, change) < len(gallery["pictures"])
    assert len(set(gallery["pictures"])) == len(gallery["pictures"])


def test_the_counterfactual_shown_is_the_nearest_of_another_class(run, reading):
    answers = Answers(reading)
    strips = {
        answers.places[key]: (strip, classes)
        for key, strip, classes in run.pictures(run.probes[3])
        .select("id", "picture", "strip")
        .fetchall()
    }
    for exhibit in gather(reading, answers):
        strip, classes = strips[exhibit.image]
        original = np.asarray(Image.open(BytesIO(exhibit.original)), float) / 255
        tiles = np.split(np.asarray(Image.open(BytesIO(strip)), float) / 255, len(classes), axis=1)
        distances = {
            c: np.linalg.norm(tile - original)
            for c, tile in zip(classes, tiles, strict=True)
            if c != answers.labels[exhibit.image]
        }
        assert exhibit.other
        nearest = min(distances, key=lambda c: distances[c])
        assert exhibit.other.label == nearest
        assert exhibit.other.distance == pytest.approx(distances[nearest])
        shown = np.asarray(Image.open(BytesIO(exhibit.other.picture)), float) / 255
        assert (shown == tiles[classes.index(nearest)]).all()


def test_a_cut_of_the_whole_picture_is_the_picture(reading):
    (first, *_) = gather(reading, Answers(reading))
    assert cut(first.original, 0, 4) is first.original
    assert Image.open(BytesIO(cut(first.original, 1, 2))).size == (2, 4)


def test_too_many_pictures_are_compressed_and_then_thinned(reading):
    exhibits = gather(reading, Answers(reading))
    whole = inside(exhibits, 10_000_000)
    assert not whole.note and whole.side == 4
    assert all(a.startswith("data:image/png;base64,") for a in whole.addresses())
    few = inside(exhibits, 600)
    assert 0 < len(few.exhibits) < PICTURED
    assert f"{len(few.exhibits)} of {PICTURED} pictured images are shown" in few.note
    assert "--bundle" in few.note
    assert all(a.startswith("data:image/webp;base64,") for a in few.addresses())
    assert {p for e in few.exhibits for p in e.pictures()} == set(few.pictures)


def test_numbers_leave_room_for_pictures(reading, run, tmp_path, monkeypatch):
    rooms = []

    def remember(exhibits, room):
        rooms.append(room)
        return inside(exhibits, room)

    monkeypatch.setattr("equipoise.report.gallery.inside", remember)
    hang(reading)
    monkeypatch.setattr("equipoise.report.gallery.ROOM", 0)
    monkeypatch.setattr("equipoise.report.gallery.LEAST", 600)
    written = write(run, tmp_path / "page.html")
    assert 5_000_000 < rooms[0] < 5_250_000 and rooms[1] == 600
    assert "pictured images are shown" in written.note
    assert written.note in written.path.read_text(encoding="utf-8")


def test_many_rows_keep_fewer_digits_and_say_so(reading, monkeypatch):
    assert hang(reading).rounded == "0.05%"
    monkeypatch.setattr("equipoise.report.answers.MANY", 5)
    coarse = hang(reading)
    assert coarse.rounded == "0.4%"
    margin = unpacked(json.loads(coarse.data)["columns"]["margin"])
    assert not (margin & 7).any()


# The page


def test_filters_offer_what_there_is(reading):
    page = render(reading)
    start = page.index('<form class="filters" id="filters"')
    form = page[start : page.index("</form>", start)]
    fields = set(re.findall(r'<select name="(\w+)"', form))
    assert fields == {
        "classifier",
        "threat",
        "label",
        "group",
        "outcome",
        "pictures",
        "sort",
        "order",
    }
    assert HOSTILE not in page and "&lt;/script&gt;&lt;img src=x" in form
    assert 'value="followed"' in form and 'value="proximity"' in form
    assert 'role="status"' in page and 'id="cards"' in page


# Bundles


def test_a_bundle_has_the_page_its_data_and_every_picture_as_it_was(run, reading, tmp_path):
    page = bundle(run, tmp_path / "out" / "b")
    assert page == tmp_path / "out" / "b" / "index.html"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b"]
    text = page.read_text(encoding="utf-8")
    assert '<script type="application/json" id="gallery-data" data-source="data/gallery.js">' in text  # fmt: skip
    script = (page.parent / "data" / "gallery.js").read_text(encoding="ascii")
    data = json.loads(json.loads(script[script.index(" = ") + 3 :].rstrip(";\n")))
    expected = {p for e in gather(reading, Answers(reading)) for p in e.pictures()}
    assert {(page.parent / address).read_bytes() for address in data["pictures"]} == expected
    files = [p for p in (page.parent / "pictures").rglob("*") if p.is_file()]
    assert len(files) == len(expected)
    assert not any(address.startswith(("/", ".", "http")) for address in data["pictures"])
    # The page of one file may load nothing; this one from its own folder only.
    assert "img-src data: 'self' file:;" in text and "img-src data:;" in render(reading)


def test_a_bundle_replaces_a_bundle_and_nothing_else(run, tmp_path, monkeypatch):
    page = bundle(run, tmp_path / "b")
    (page.parent / "pictures" / "old.png").write_bytes(b"old")
    again = bundle(run, tmp_path / "b")
    assert again.is_file() and not (again.parent / "pictures" / "old.png").exists()
    (tmp_path / "empty").mkdir()
    assert bundle(run, tmp_path / "empty").is_file()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("words")
    (tmp_path / "file").write_text("words")
    for place in (precious, run.folder, tmp_path / "file"):
        with pytest.raises(EquipoiseError, match="Cannot write a bundle"):
            bundle(run, place)
    assert (precious / "thesis.tex").read_text() == "words" and (run.folder / "run.json").exists()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("equipoise.report.bundling.render", full)
    with pytest.raises(EquipoiseError, match="No space left"):
        bundle(run, tmp_path / "b")
    assert again.is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "empty", "file", "precious"]


def test_the_command_writes_a_bundle_or_mentions_it(run, tmp_path, monkeypatch, capsys):
    from equipoise.cli.audit import report

    report(run.folder, bundle=tmp_path / "b")
    assert (tmp_path / "b" / "index.html").is_file()
    assert not (run.folder / "report.html").exists()
    assert "--bundle" not in capsys.readouterr().out
    monkeypatch.setattr("equipoise.report.gallery.ROOM", 0)
    monkeypatch.setattr("equipoise.report.gallery.LEAST", 600)
    report(run.folder, out=tmp_path / "page.html")
    assert "--bundle FOLDER" in capsys.readouterr().out
