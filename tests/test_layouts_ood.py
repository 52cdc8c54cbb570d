"""Waterbirds and ObjectNet: what is read of the published layouts, and the words for copies that are not whole."""

import json
import shutil

import pytest
import torch
from layouts_ood import (
    CLASSES,
    COLOURS,
    DRO,
    OUTPUTS,
    WILDS,
    imagenet_val,
    line_of,
    objectnet,
    waterbirds,
)
from PIL import Image

import equipoise as eq
from equipoise.images import Arrays, BrokenImageError, Joined, Subset
from equipoise.images.framing import Cropped

GROUPS = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
MAPPINGS = "objectnet-1.0/mappings"


@pytest.mark.parametrize("layout", [".", WILDS, DRO, "waterbird_complete95_forest2water2"])
def test_every_published_layout_of_waterbirds(tmp_path, layout):
    waterbirds(tmp_path, layout)
    for split, number in (("train", 0), ("val", 1), ("test", 2)):
        data = eq.load_images(f"waterbirds:{tmp_path}?size=16", split=split)
        assert (len(data), data.shape, data.classes) == (8, (3, 16, 16), ("landbird", "waterbird"))
        assert data.outputs is None and data.only_for_tests is None
        assert data.groups() == tuple(group for group in GROUPS for _ in range(2))
        assert data[5].id == f"003.Some_Bird/Some_Bird_{number}_1.jpg"
        for example in data:
            assert example.label == GROUPS.index(example.group) // 2
            assert example.mask is None
            assert example.group is not None
            red, green, blue = example.image[:, 8, 2]  # the place
            assert (blue > green + 0.5) == example.group.endswith("water")
            red, green, _ = example.image[:, 8, 13]  # the bird
            assert (red > green + 0.5) == example.group.startswith("waterbird")


def test_waterbirds_are_224_pixels_wide_and_their_groups_need_no_images(tmp_path):
    waterbirds(tmp_path)
    data = eq.load_images(f"waterbirds:{tmp_path}", split="val")
    assert data.shape == (3, 224, 224)
    for path in tmp_path.glob("*/*.jpg"):
        path.unlink()
    assert data.groups() == tuple(group for group in GROUPS for _ in range(2))
    assert Subset(data, [7, 0]).groups() == (GROUPS[3], GROUPS[0])


def test_masks_are_framed_like_their_images(tmp_path):
    waterbirds(tmp_path / "set", masks=tmp_path / "masks")
    name = "001.Some_Bird/Some_Bird_2_0"
    ramp = Image.linear_gradient("L").resize((40, 24))
    # As PNG, so that the image is the segmentation to the last digit.
    ramp.save(tmp_path / "set" / f"{name}.jpg", "PNG")
    ramp.save(tmp_path / "masks" / f"{name}.png")
    data = eq.load_images(f"waterbirds:{tmp_path / 'set'}?size=20&masks={tmp_path / 'masks'}")
    first, second = data[0], data[1]
    assert first.mask is not None and second.mask is not None
    assert first.mask.shape == (1, 20, 20)
    assert torch.equal(first.mask, (first.image[:1] >= 0.5).float())
    assert 0 < first.mask.mean() < 1
    # 20 x 12 pixels become 23 x 23, of which the middle 20 stay: the right half of them.
    assert torch.equal(second.mask[0, 0], (torch.arange(20) >= 10).float())


def test_masks_count_in_the_fingerprint(tmp_path):
    waterbirds(tmp_path / "set", masks=tmp_path / "masks")
    spec = f"waterbirds:{tmp_path / 'set'}?size=20"
    masked = f"{spec}&masks={tmp_path / 'masks'}"
    plain, before = (eq.load_images(text).fingerprint([0, 1]) for text in (spec, masked))
    assert plain != before
    Image.new("L", (21, 12)).save(tmp_path / "masks" / "001.Some_Bird/Some_Bird_2_0.png")
    assert eq.load_images(spec).fingerprint([0, 1]) == plain
    assert eq.load_images(masked).fingerprint([0, 1]) != before
    assert eq.load_images(f"{spec[:-2]}24").fingerprint([0, 1]) != plain


def test_an_image_without_a_mask_is_broken_and_names_it(tmp_path):
    waterbirds(tmp_path / "set", masks=tmp_path / "masks")
    lost = tmp_path / "masks" / "001.Some_Bird/Some_Bird_2_0.png"
    lost.unlink()
    coloured = tmp_path / "masks" / "001.Some_Bird/Some_Bird_2_1.png"
    Image.new("RGB", (20, 12), "green").save(coloured)
    data = eq.load_images(f"waterbirds:{tmp_path / 'set'}?size=20&masks={tmp_path / 'masks'}")
    batch = data.batch(range(3), skip_broken=True)
    assert batch.indices == (2,)
    assert [item.id for item in batch.broken] == [
        f"001.Some_Bird/Some_Bird_2_{k}.jpg" for k in (0, 1)
    ]
    assert str(lost) in batch.broken[0].reason and "no such file" in batch.broken[0].reason
    assert batch.broken[1].reason == f"its mask is {coloured}, and it is coloured"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            ",0,0,0,",
            ",2,0,0,",
            r"metadata.csv does not say what '001.*_0_0.jpg' is.*Correct that row",
        ),
        (",0,0,0,", ",0,0,5,", r"metadata.csv does not say what '001"),
        (",0,0,0,", ",0,7,0,", r"metadata.csv does not say what '001"),
        (",0,0,0,", ",0,,0,", r"metadata.csv does not say what '001"),
        (
            "img_filename,y,split,place",
            "img_filename,y,split,where",
            r"metadata.csv: it has the columns",
        ),
        ("001.Some_Bird/Some_Bird_0_1.jpg", "001.Some_Bird/Some_Bird_0_0.jpg", "twice"),
        ("001.Some_Bird/Some_Bird_0_0.jpg", "../0.jpg", "not inside its folder"),
    ],
)
def test_wrong_tables_of_waterbirds(tmp_path, old, new, words):
    table = waterbirds(tmp_path) / "metadata.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(eq.EquipoiseError, match=words):
        eq.load_images(f"waterbirds:{tmp_path}")


@pytest.mark.parametrize(
    ("options", "split", "words"),
    [
        ("", "validation", "Cannot find the split 'validation'.*Known|Did you mean"),
        ("?size=x", "test", "size=x.*whole number of pixels"),
        ("?size=99999", "test", "size=99999.*whole number of pixels"),
        ("?channels=1", "test", "unknown option 'channels'"),
        (
            "?masks=/no/such/folder",
            "test",
            "no folder '/no/such/folder' of masks.*leave masks= out",
        ),
    ],
)
def test_refusals_of_waterbirds(tmp_path, options, split, words):
    waterbirds(tmp_path)
    with pytest.raises(eq.EquipoiseError, match=words):
        eq.load_images(f"waterbirds:{tmp_path}{options}", split=split)


def test_no_table_or_two_of_them_are_refused(tmp_path):
    with pytest.raises(eq.EquipoiseError, match=r"no metadata.csv in it, nor in waterbirds_v1.0"):
        eq.load_images(f"waterbirds:{tmp_path}")
    waterbirds(tmp_path, WILDS)
    waterbirds(tmp_path, DRO)
    with pytest.raises(
        eq.EquipoiseError, match=f"in .*{WILDS} and in .*{DRO}. Write one of these"
    ):
        eq.load_images(f"waterbirds:{tmp_path}")


@pytest.fixture(scope="module")
def on(tmp_path_factory):
    """Root of a tiny ObjectNet."""
    return objectnet(tmp_path_factory.mktemp("objectnet"))


def test_objectnet_has_the_classes_of_the_overlap(on):
    data = eq.load_images(f"objectnet:{on}?size=8")
    assert data.classes == CLASSES
    assert data.outputs == OUTPUTS
    assert data.shape == (3, 8, 8)
    assert data.only_for_tests is not None and "licence" in data.only_for_tests
    found = [(e.id, data.classes[e.label], e.group) for e in data]
    assert found == [
        (f"{folder}/{k:02d}.png", label, None)
        for folder, label in (
            ("a_fish", "Tench"),
            ("banana", "Banana"),
            ("chair_x", "Chair"),
            ("tie", "Tie"),
        )
        for k in range(2)
    ]
    below = eq.load_images(f"objectnet:{on / 'objectnet-1.0'}?size=8")
    assert below.fingerprint(range(8)) == data.fingerprint(range(8))
    assert Subset(data, [0]).only_for_tests == data.only_for_tests


def test_no_red_is_left_of_the_frame(on):
    for size in (8, 14, 224):
        data = eq.load_images(f"objectnet:{on}?size={size}")
        for example in data:
            colour = torch.tensor(COLOURS[data.classes[example.label]]) / 255
            assert torch.equal(example.image, colour.view(3, 1, 1).expand(3, size, size))
    # Framed without the cut, the same file shows red.
    framed = Cropped(3, 14)(on / "objectnet-1.0/images/a_fish/00.png", "a_fish")
    assert (framed[0] > 0.9).any()


def test_only_the_frame_is_cut_off(on, tmp_path):
    copy = shutil.copytree(on, tmp_path / "copy")
    inside = Image.radial_gradient("L").resize((31, 26)).convert("RGB")
    whole = Image.new("RGB", (35, 30), (255, 0, 0))
    whole.paste(inside, (2, 2))
    whole.save(copy / "objectnet-1.0/images/a_fish/00.png")
    inside.save(tmp_path / "inside.png")
    expected = Cropped(3, 20)(tmp_path / "inside.png", "inside")
    assert torch.equal(eq.load_images(f"objectnet:{copy}?size=20")[0].image, expected)


def test_the_chain_of_mappings_counts_lines_from_0(on):
    lines = (on / MAPPINGS / "imagenet_to_label_2012_v2").read_text().splitlines()
    assert line_of(0) == 355 and lines[355].startswith("tench")
    assert lines.count("crane") == 2  # texts of two classes, which no label uses
    data = eq.load_images(f"objectnet:{on}")
    assert data.outputs is not None
    assert data.outputs[CLASSES.index("Tench")] == (0,)
    shifted = next(k for k in range(1000) if line_of(k) == 356)
    assert all(shifted not in outputs for outputs in data.outputs)


def test_objectnet_is_only_for_tests(on):
    with pytest.raises(
        eq.EquipoiseError, match=r"split 'train'.*licence forbids.*only split is 'test'"
    ):
        eq.load_images(f"objectnet:{on}", split="train")


def _edit(name, change):
    def edit(root):
        path = root / MAPPINGS / name
        path.write_text(change(path.read_text()))

    return edit


def _json(name, **new):
    return _edit(name, lambda text: json.dumps(json.loads(text) | new))


OVERLAP, LINES = "objectnet_to_imagenet_1k.json", "pytorch_to_imagenet_2012_id.json"
TEXTS, LABELS = "imagenet_to_label_2012_v2", "folder_to_objectnet_label.json"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        *[
            (lambda root, name=name: (root / MAPPINGS / name).unlink(), f"there is no .*{name}. Unpack")
            for name in (OVERLAP, LINES, TEXTS, LABELS)
        ],
        (_json(OVERLAP, Chair="armchair"), f"{OVERLAP}: 'armchair', of the label 'Chair', stands on 0 lines"),
        (_json(OVERLAP, Chair="crane"), f"{OVERLAP}: 'crane', of the label 'Chair', stands on 2 lines"),
        (_json(OVERLAP, Stool="crane"), f"{OVERLAP}: no folder has its label 'Stool'"),
        (_json(OVERLAP, Chair=3), f"{OVERLAP}: it does not map texts to texts"),
        (_json(LINES, **{"5": 1000}), f"{LINES}: it does not map 0..999 to 0..999"),
        (_json(LINES, **{"1000": 1000}), f"{LINES}: it does not map"),
        (_edit(TEXTS, lambda text: text + "one more\n"), f"{TEXTS}: it has 1001 lines, not 1000"),
        (_edit(LABELS, lambda text: text[:-1]), LABELS),
        (
            lambda root: (root / "objectnet-1.0/images/stool").mkdir(),
            "images of .*stool: folder_to_objectnet_label.json does not know that folder. Remove it",
        ),
        (lambda root: shutil.rmtree(root / "objectnet-1.0/images"), "no folder 'images' in"),
        (
            lambda root: [p.unlink() for p in root.glob("objectnet-1.0/images/*/*.png")],
            "Cannot find an image of the 4 labels",
        ),
    ],
)  # fmt: skip
def test_copies_of_objectnet_that_are_not_whole(on, tmp_path, spoil, words):
    copy = shutil.copytree(on, tmp_path / "copy")
    spoil(copy)
    with pytest.raises(eq.EquipoiseError, match=words):
        eq.load_images(f"objectnet:{copy}")


@pytest.mark.parametrize("spec", ["objectnet:", "objectnet:{}?masks=x", "objectnet:{}?size=0"])
def test_refusals_of_objectnet(on, spec):
    with pytest.raises(eq.EquipoiseError, match="objectnet:"):
        eq.load_images(spec.format(on))


def test_a_truncated_image_is_broken(on, tmp_path):
    copy = shutil.copytree(on, tmp_path / "copy")
    path = copy / "objectnet-1.0/images/tie/01.png"
    path.write_bytes(path.read_bytes()[:-30])
    data = eq.load_images(f"objectnet:{copy}?size=8")
    with pytest.raises(BrokenImageError, match=r"'tie/01.png'.*Repair or remove it"):
        data.batch(range(8))
    assert [item.id for item in data.batch(range(8), skip_broken=True).broken] == ["tie/01.png"]


@pytest.mark.parametrize("names", ["wnids", "outputs"])
def test_a_source_joins_the_same_classes_of_imagenet(on, tmp_path, names):
    val = imagenet_val(tmp_path / "val", names)
    spec = f"objectnet:{on}?size=8&source={val}"
    data = eq.load_images(spec)
    assert (data.spec, data.split, data.classes, data.outputs) == (spec, "test", CLASSES, OUTPUTS)
    assert data.only_for_tests is not None
    assert data.groups() == ("source",) * 7 + ("target",) * 8
    assert len({example.id for example in data}) == 15
    seen = {}
    for example in data:
        assert example.id.startswith(f"{example.group}/")
        colour = torch.tensor(COLOURS[data.classes[example.label]]) / 255
        assert torch.allclose(example.image.mean((1, 2)), colour, atol=1e-6)
        seen.setdefault(example.group, []).append(data.classes[example.label])
    assert sorted(seen["source"]) == ["Banana", "Chair", "Chair", "Chair", "Tench", "Tie", "Tie"]


def test_sources_that_cannot_be_told_apart_are_refused(on, tmp_path):
    val = imagenet_val(tmp_path / "val")
    with pytest.raises(eq.EquipoiseError, match="no such folder"):
        eq.load_images(f"objectnet:{on}?source={tmp_path / 'lost'}")
    (next(val.iterdir()) if not any(next(val.iterdir()).iterdir()) else val / "n10000017").rmdir()
    with pytest.raises(eq.EquipoiseError, match="its 999 folders are neither the 1000 wnids"):
        eq.load_images(f"objectnet:{on}?source={val}")
    (tmp_path / "few" / "1").mkdir(parents=True)
    with pytest.raises(eq.EquipoiseError, match="no image of the 7 outputs"):
        eq.load_images(f"objectnet:{on}?source={tmp_path / 'few'}")
    copy = shutil.copytree(on, tmp_path / "copy")
    text = json.loads((copy / MAPPINGS / OVERLAP).read_text())
    _json(OVERLAP, Tie=text["Banana"])(copy)
    assert eq.load_images(f"objectnet:{copy}").outputs == (*OUTPUTS[:3], OUTPUTS[0])
    with pytest.raises(eq.EquipoiseError, match="output 954 counts as 'Banana' and 'Tie'"):
        eq.load_images(f"objectnet:{copy}?source={tmp_path / 'few'}")


def arrays(value, count, **options):
    pixels = torch.full((count, 1, 2, 2), value)
    return Arrays(pixels, [k % 2 for k in range(count)], ("a", "b"), **options)


def test_joined_sets_are_groups_of_one():
    a, b = arrays(0.25, 3), arrays(0.75, 2, ids=["x", "2"], spec="other", split="val")
    both = Joined({"one": a, "two": b})
    assert (len(both), both.classes, both.outputs) == (5, ("a", "b"), None)
    assert (both.spec, both.split) == ("one=arrays + two=other", "test + val")
    assert [e.id for e in both] == ["one/0", "one/1", "one/2", "two/x", "two/2"]
    assert [e.label for e in both] == [0, 1, 0, 0, 1]
    assert both.groups() == tuple(e.group for e in both) == ("one",) * 3 + ("two",) * 2
    assert both[-1].image.mean() == 0.75 and both[2].image.mean() == 0.25
    with pytest.raises(IndexError):
        both[5]
    assert both.only_for_tests is None


def test_a_joined_fingerprint_follows_images_and_order():
    both = Joined({"one": arrays(0.25, 3), "two": arrays(0.75, 2)})
    same = Joined({"one": arrays(0.25, 3), "two": arrays(0.75, 2)})
    asked = [[0, 3], [3, 0], [0, 1], [1, 0], [0, 3, 1], [0, 1, 3], [2], [4]]
    prints = [both.fingerprint(rows) for rows in asked]
    assert len(set(prints)) == len(asked)
    assert [same.fingerprint(rows) for rows in asked] == prints
    renamed = Joined({"one": arrays(0.25, 3), "three": arrays(0.75, 2)})
    assert renamed.fingerprint([0, 3]) != prints[0]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "no sets of images"),
        ({"a/b": arrays(0.5, 1)}, "'a/b'.*without a slash"),
        ({"": arrays(0.5, 1)}, "''.*without a slash"),
        (
            {"a": arrays(0.5, 1), "b": Arrays(torch.zeros(1, 1, 2, 2), [0], ("a", "c"))},
            "labels mean other classes",
        ),
    ],
)
def test_what_cannot_be_joined(parts, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        Joined(parts)


def test_sets_of_other_outputs_cannot_be_joined_and_rules_spread(on):
    target = eq.load_images(f"objectnet:{on}?size=8")
    own = Arrays(torch.zeros(1, 3, 8, 8), [0], CLASSES)
    with pytest.raises(eq.EquipoiseError, match="other outputs"):
        Joined({"a": target, "b": own})
    both = Joined({"a": target, "b": target})
    assert both.only_for_tests == target.only_for_tests


def test_a_broken_image_of_a_joined_set_has_its_whole_id(tmp_path):
    waterbirds(tmp_path)
    (tmp_path / "001.Some_Bird/Some_Bird_2_0.jpg").write_bytes(b"")
    data = eq.load_images(f"waterbirds:{tmp_path}?size=8")
    both = Joined({"one": data, "two": data})
    broken = both.batch(range(16), skip_broken=True).broken
    assert [item.id for item in broken] == [
        f"{n}/001.Some_Bird/Some_Bird_2_0.jpg" for n in ("one", "two")
    ]
