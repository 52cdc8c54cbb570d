"""Salient ImageNet: which features are core, the region that their masks make, and the words for wrong copies."""

import shutil

import numpy as np
import pytest
import torch
from layouts import (
    SALIENT,
    copied,
    everything,
    mask_of,
    rewrite,
    save,
    truncate,
    write_answers,
    write_salient_imagenet,
)
from PIL import Image
from scipy.ndimage import grey_dilation

import equipoise as eq
from equipoise.images import Images
from equipoise.images.salient_features import read_core_features, read_image_names, read_wnids
from equipoise.images.salient_imagenet import core_region


@pytest.fixture(scope="module")
def salient(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    masks = write_salient_imagenet(root / "salient", root / "ILSVRC2012")
    return root, masks


def salient_spec(root, **options):
    options = {"images": root / "ILSVRC2012", **options}
    return f"salient-imagenet:{root / 'salient'}?" + "&".join(
        f"{k}={v}" for k, v in options.items()
    )


@pytest.mark.parametrize("against", range(6))
def test_three_of_five_answers_decide(tmp_path, against):
    path = tmp_path / "answers.csv"
    for doubt in (["background"], ["separate_object"], ["separate_object", "background"]):
        words = [*(doubt * 5)[:against], *["main_object"] * (5 - against)]
        write_answers(path, {("n01440764", 3): words})
        assert read_core_features(path, SALIENT) == {("n01440764", 3): against < 3}


def test_salient_imagenet(salient):
    root, _ = salient
    spec = salient_spec(root)
    images = eq.load_images(spec)
    assert (images.spec, images.split) == (spec, "test")
    assert images.classes == tuple(SALIENT)
    assert images.outputs == ((0,), (207,), (837,))
    assert (len(images), images.shape) == (9, (3, 224, 224))
    assert images.groups() == Images.groups(images) == (None,) * 9
    assert [(e.id, e.label) for e in images] == [
        (f"train/{wnid}/{wnid}_{k}.JPEG", label)
        for label, wnid in enumerate(SALIENT)
        for k in range(3)
    ]
    # Core: feature 59 of the first class; both of the second; none of the third.
    masks = [example.mask is not None for example in images]
    assert masks == [True, True, False, True, True, True, False, False, False]
    assert images.batch([2, 0]).masks[0] is None


def test_the_core_region_is_the_dilated_maximum_of_core_masks(salient):
    root, soft = salient
    wnid = "n02099601"
    [example] = [e for e in eq.load_images(salient_spec(root)) if e.id.endswith(f"{wnid}_0.JPEG")]
    both = np.maximum(*(soft[wnid, feature, f"{wnid}_0"] for feature in (7, 1200))) / 255
    expected = both
    for _ in range(15):
        expected = grey_dilation(expected, size=(5, 5))
    mask = mask_of(example)
    np.testing.assert_allclose(mask[0].numpy(), expected / both.max(), rtol=1e-6)
    assert mask.max() == 1
    assert (mask.shape, mask.dtype) == ((1, 224, 224), torch.float32)


def test_spurious_features_are_not_in_the_core_region(salient):
    root, soft = salient
    example = eq.load_images(salient_spec(root))[0]
    alone = torch.from_numpy(soft["n01440764", 59, "n01440764_0"] / np.float32(255))
    region = core_region(alone[None], 224)
    assert region is not None
    assert torch.equal(mask_of(example), region)


@pytest.mark.parametrize(("size", "slack"), [(224, 0), (112, 1), (448, 2)])
def test_masks_are_resized_but_not_cropped_again(size, slack):
    row, column = 60, 160
    masks = torch.zeros(2, 224, 224)
    masks[1, row, column] = 0.25
    region = core_region(masks, size)
    assert region is not None
    assert region.shape == (1, size, size)
    assert region.min() == 0
    assert region.max() == 1
    rows, columns = (
        axis.amax().item() + axis.amin().item() + 1 for axis in torch.where(region[0] > 0.5)
    )
    # A square of 61 pixels round the one; cropping again would move its centre away from the middle by an eighth.
    assert abs(rows / 2 - (row + 0.5) * size / 224) <= slack
    assert abs(columns / 2 - (column + 0.5) * size / 224) <= slack
    assert (region > 0.5).sum().sqrt() == pytest.approx(61 * size / 224, abs=2 * slack)
    assert core_region(torch.zeros(1, 224, 224), size) is None


def test_images_of_imagenet_are_cropped(salient):
    root, _ = salient
    example = eq.load_images(salient_spec(root, size=56))[0]
    assert mask_of(example).shape == (1, 56, 56)
    file = Image.open(root / "ILSVRC2012" / example.id)
    assert file.size == (260, 300)
    small = file.resize((64, 73), Image.Resampling.BILINEAR).crop((4, 8, 60, 64))
    np.testing.assert_array_equal(
        (example.image * 255).round().byte().movedim(0, -1), np.asarray(small)
    )


def test_an_empty_core_mask_is_none(salient, tmp_path):
    root = copied(salient[0], tmp_path)
    data = root / "salient/salient_imagenet_dataset"
    save(data / "n01440764/feature_59/n01440764_1.JPEG", np.zeros((224, 224)))
    assert eq.load_images(salient_spec(root))[1].mask is None


def test_salient_imagenet_is_found_from_inside_and_outside(salient, tmp_path):
    root = salient[0]
    inner = root / "salient/salient_imagenet_dataset"
    table = root / "salient/mturk_results/discover_spurious_features.csv"
    with pytest.raises(
        eq.EquipoiseError, match=r"Cannot tell the core features .* or add &labels=FILE"
    ):
        eq.load_images(f"salient-imagenet:{inner}?images={root / 'ILSVRC2012'}")
    given = eq.load_images(f"salient-imagenet:{inner}?images={root / 'ILSVRC2012'}&labels={table}")
    assert everything(given) == everything(eq.load_images(salient_spec(root)))
    moved = copied(root, tmp_path)
    shutil.copy(table, moved / "salient/salient_imagenet_dataset")
    found = eq.load_images(
        f"salient-imagenet:{moved / 'salient/salient_imagenet_dataset'}?images={moved / 'ILSVRC2012'}"
    )
    assert len(found) == 9


def test_salient_imagenet_fingerprint(salient, tmp_path):
    root = copied(salient[0], tmp_path)
    data = root / "salient/salient_imagenet_dataset"
    images = eq.load_images(salient_spec(root))
    names = ["n01440764/feature_59/n01440764_0.JPEG", "n01440764/feature_686/n01440764_0.JPEG"]
    seen = [images.fingerprint([0])]
    rewrite(root / "ILSVRC2012" / images[0].id)
    seen.append(images.fingerprint([0]))
    rewrite(data / names[0])
    seen.append(images.fingerprint([0]))
    assert len(set(seen)) == 3
    rewrite(data / names[1])  # of a spurious feature, which nothing is made of
    assert images.fingerprint([0]) == seen[-1]
    table = root / "salient/mturk_results/discover_spurious_features.csv"
    table.write_text(table.read_text().replace("background", "main_object"))
    assert eq.load_images(salient_spec(root)).fingerprint([0]) != seen[-1]


def test_salient_imagenet_broken_files(salient, tmp_path):
    root = copied(salient[0], tmp_path)
    data = root / "salient/salient_imagenet_dataset"
    images = eq.load_images(salient_spec(root))
    features = {e.id: images.masks(k) for k, e in enumerate(images.entries)}
    ids = list(features)
    (data / features[ids[0]][0]).unlink()
    truncate(data / features[ids[1]][0])
    truncate(root / "ILSVRC2012" / ids[2])
    (root / "ILSVRC2012" / ids[3]).unlink()
    save(data / features[ids[4]][0], np.zeros((224, 256)))
    batch = images.batch(range(9), skip_broken=True)
    assert batch.indices == (5, 6, 7, 8)
    reasons = [broken.reason for broken in batch.broken]
    assert [broken.id for broken in batch.broken] == ids[:5]
    assert (
        reasons[0] == "its mask 'n01440764/feature_59/n01440764_0.JPEG': no such file or directory"
    )
    assert reasons[1].startswith("its mask 'n01440764/feature_59/n01440764_1.JPEG': ")
    assert "truncated" in reasons[2]
    assert reasons[3] == "no such file or directory"
    assert reasons[4].endswith("has 256 x 224 pixels, not 224 x 224")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "[]",
        "{0: 1}",
        "{'0': 'n01440764'}",
        "{1000: 'n01440764'}",
        "{-1: 'n01440764'}",
        "{True: 'n01440764'}",
        "{0: 'tench'}",
        "{0: 'n01440764', 1: 'n01440764'}",
        "dict([(0, 'n01440764')])",
        "{0: __import__('os').sep}",
        "import os\n{0: 'n01440764'}",
        "(" * 500 + ")" * 500,
        "\0",
    ],
)
def test_wordnet_dict_is_read_as_a_literal(tmp_path, text):
    path = tmp_path / "wordnet_dict.py"
    path.write_text(text)
    with pytest.raises(
        eq.EquipoiseError, match=r"wordnet_dict.py: it is not one dict literal .*Restore"
    ):
        read_wnids(path)
    for good in ("{0: 'n01440764'}\n", "# of\nwordnet_dict = {\n  0: 'n01440764',\n}"):
        path.write_text(good)
        assert read_wnids(path) == {"n01440764": 0}


def test_tables_of_names(tmp_path):
    path = tmp_path / "image_names_map.csv"
    path.write_text("\ufeff59, 686\nb,a\nb,\n c ,a\n", encoding="utf-8")
    assert read_image_names(path) == {59: ["b", "c"], 686: ["a"]}
    for text, message in {
        "59\na,b\n": "line 2 of .*stands in the column None",
        "name\na\n": "line 2 of .*'a' stands in the column 'name', which is not the number of a feature. Restore",
        "59\na\n../a\n": "line 3 of .*'../a' is no name of an image",
        "59\n.a\n": "line 2",
        '59\n"' + "a" * 200_000: "after line .*field larger",
    }.items():
        path.write_text(text)
        with pytest.raises(eq.EquipoiseError, match=message):
            read_image_names(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Answer.main", "Answer", "lacks the column 'Answer.main'. Restore"),
        ("main_object", "object", "line 3 of .*is called 'object'. It needs .*separate_object"),
        (",59,", ",fifty,", "line 3 of .*feature 'fifty' of class '0'"),
        (",59,", ",,", "line 3 of .*feature '' of class"),
        (
            "n01440764,0",
            "n01440764,1",
            "calls 'n01440764' class 1, while in wordnet_dict.py its index is 0",
        ),
        (
            "n01440764,0",
            "n01440765,0",
            "'n01440765' class 0, while in wordnet_dict.py it is unknown",
        ),
        (
            "0,n01440764,0,59,1,main_object",
            "0,n01440764,0,60,1,main_object",
            "has (1|4) answers to it, not 5",
        ),
    ],
)
def test_wrong_answers(salient, tmp_path, old, new, message):
    root = copied(salient[0], tmp_path)
    table = root / "salient/mturk_results/discover_spurious_features.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(eq.EquipoiseError, match=message) as error:
        eq.load_images(salient_spec(root))
    assert str(table) in str(error.value)


def test_salient_imagenet_refusals(salient, tmp_path):
    root = salient[0]
    data = root / "salient"
    for spec, message in {
        f"salient-imagenet:{tmp_path}?images={tmp_path}": "neither .* holds wordnet_dict.py and WNID/image_names",
        f"salient-imagenet:{tmp_path / 'x'}": "there is no folder .*wordnet_dict.py",
        f"salient-imagenet:{data}": r"Add \?images=FOLDER, the folder of ILSVRC 2012 with train/WNID",
        f"salient-imagenet:{data}?images={data}": r"Add \?images=FOLDER",
        salient_spec(root, labels=data / "none.csv"): "Cannot read .*none.csv: No such file",
        salient_spec(root, channels=3): "unknown option 'channels'",
    }.items():
        with pytest.raises(eq.EquipoiseError, match=message):
            eq.load_images(spec)
    for split in ("train", "val"):
        with pytest.raises(
            eq.EquipoiseError, match=f"no split '{split}': .*training images.*'test'"
        ):
            eq.load_images(salient_spec(root), split)
    moved = copied(root, tmp_path)
    data = moved / "salient/salient_imagenet_dataset"
    (data / "n01443537").mkdir()  # a folder without masks is no class
    assert len(eq.load_images(salient_spec(moved)).classes) == 3
    (data / "n01443537/image_names_map.csv").write_text("59\na\n")
    with pytest.raises(
        eq.EquipoiseError, match=r"n01443537: wordnet_dict.py has no class 'n01443537'. Take"
    ):
        eq.load_images(salient_spec(moved))
    shutil.rmtree(data / "n01443537")
    (data / "n01440764/image_names_map.csv").write_text("58\nn01440764_0\n")
    with pytest.raises(
        eq.EquipoiseError, match=r"feature 58 of .*n01440764/image_names_map.csv is core: .*Take"
    ):
        eq.load_images(salient_spec(moved))
    (data / "n01440764/image_names_map.csv").unlink()
    with pytest.raises(
        eq.EquipoiseError, match=r"Cannot read .*n01440764/image_names_map.csv: No such file"
    ):
        eq.load_images(salient_spec(moved))
    for wnid in SALIENT:
        shutil.rmtree(data / wnid)
    with pytest.raises(
        eq.EquipoiseError, match=r"Cannot find a class in .*Put folders such as n01440764"
    ):
        eq.load_images(salient_spec(moved))
