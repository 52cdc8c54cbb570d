"""ImageNet-9: variants and their masks, what counts as each class, and the words for copies that are wrong."""

import json
import shutil

import numpy as np
import pytest
import torch
from layouts import (
    INSIDE,
    OUTSIDE,
    copied,
    disc,
    everything,
    mask_of,
    rewrite,
    save,
    truncate,
    write_imagenet9,
    write_mapping,
)

import equipoise as eq
from equipoise.images import BrokenImageError, Images
from equipoise.images.imagenet9 import FOLDERS


@pytest.fixture(scope="module")
def imagenet9(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_imagenet9(root, FOLDERS)
    return root


def test_imagenet9(imagenet9):
    spec = f"imagenet9:{imagenet9}"
    images = eq.load_images(spec)
    names = (
        "dog",
        "bird",
        "wheeled vehicle",
        "reptile",
        "carnivore",
        "insect",
        "musical instrument",
    )
    assert (images.spec, images.split, images.outputs) == (spec, "test", None)
    assert images.classes == (*names, "primate", "fish")
    assert (len(images), images.shape) == (18, (3, 16, 16))
    assert images.groups() == Images.groups(images) == ("original",) * 18
    found = [(example.id, example.label) for example in images]
    assert found == sorted(found)
    assert found[4:6] == [
        ("original/val/02_wheeled vehicle/fg_0.JPEG", 2),
        ("original/val/02_wheeled vehicle/fg_1.jpeg", 2),
    ]
    assert [label for _, label in found] == [label for label in range(9) for _ in range(2)]


def test_imagenet9_masks_are_those_of_the_files(imagenet9):
    for example in eq.load_images(f"imagenet9:{imagenet9}"):
        folder, name = example.id.split("/")[2:]
        file = imagenet9 / f"bg_challenge/fg_mask/val/{folder}" / f"{name.partition('.')[0]}.npy"
        assert mask_of(example).dtype == torch.float32
        np.testing.assert_array_equal(mask_of(example).numpy(), np.load(file)[None])


def test_an_original_whose_mask_is_missing_is_broken(imagenet9, tmp_path):
    root = copied(imagenet9, tmp_path)
    mask = root / "bg_challenge/fg_mask/val/08_fish/fg_1.npy"
    mask.unlink()
    images = eq.load_images(f"imagenet9:{root}")
    with pytest.raises(
        BrokenImageError, match=r"its mask 'fg_mask/val/08_fish/fg_1\.npy' is missing"
    ):
        images[17]
    # Without any masks there is nothing to miss; other variants bear other names.
    (mask.parent / "fg_0.npy").unlink()
    mask.parent.rmdir()
    assert images[17].mask is None
    mixed = eq.load_images(f"imagenet9:{root}?variant=mixed_same")
    assert {example.mask is None for example in mixed} == {True, False}


@pytest.mark.parametrize(
    ("variant", "groups"),
    [
        ("original", ["original"]),
        ("mixed_same", ["mixed_same"]),
        ("Mixed-Same", ["mixed_same"]),
        ("mixed-same,mixed_rand", ["mixed_rand", "mixed_same"]),
        ("mixed_rand, original,mixed-rand", ["mixed_rand", "original"]),
        ("all", ["mixed_rand", "mixed_same", "only_bg_t", "original"]),
    ],
)
def test_imagenet9_variants(imagenet9, variant, groups):
    images = eq.load_images(f"imagenet9:{imagenet9}?variant={variant}")
    assert images.groups() == Images.groups(images)
    assert images.groups() == tuple(group for group in groups for _ in range(18))
    assert all(e.id.startswith(f"{e.group}/val/") for e in images)
    assert len({e.id for e in images}) == len(images)
    # All variants of the copy have an fg_0, but no object is in only_bg_t.
    masked = {e.group for e in images if e.mask is not None}
    assert masked == set(groups) - {"only_bg_t"}


def test_imagenet9_splits_and_places(imagenet9, tmp_path):
    inner = imagenet9 / "bg_challenge"
    test, val = (eq.load_images(f"imagenet9:{inner}", split) for split in ("test", "val"))
    assert (
        everything(test) == everything(val) == everything(eq.load_images(f"imagenet9:{imagenet9}"))
    )
    with pytest.raises(eq.EquipoiseError, match=r"Cannot list .*original/train: No such file"):
        eq.load_images(f"imagenet9:{imagenet9}", "train")
    # Folders of other sets beside it are no variants.
    root = copied(imagenet9, tmp_path)
    save(root / "imagenet/val/n01440764/a.JPEG", np.zeros((4, 4)))
    save(root / "bg_challenge/original/train/00_dog/fg_0.JPEG", np.zeros((4, 4)))
    assert len(eq.load_images(f"imagenet9:{root}?variant=all")) == 72
    [example] = eq.load_images(f"imagenet9:{root}", "train")
    assert (example.id, example.mask) == ("original/train/00_dog/fg_0.JPEG", None)


def test_imagenet9_resizes_images_and_masks_alike(tmp_path):
    root = tmp_path / "bg_challenge"
    inside = disc(24, 32)
    save(
        root / "original/val/00_dog/a.jpg",
        np.repeat(255 * inside[..., None], 3, axis=2),
        quality=95,
    )
    file = root / "fg_mask/val/00_dog/a.npy"
    file.parent.mkdir(parents=True)
    np.save(file, inside)
    for size, side in (("", None), ("?size=12", 12)):
        [example] = eq.load_images(f"imagenet9:{tmp_path}{size}")
        assert example.image.shape == ((3, side, side) if side else (3, 24, 32))
        mask = mask_of(example)
        assert mask.shape == (1, *example.image.shape[1:])
        assert set(mask.unique().tolist()) == {0, 1}
        assert ((example.image[:1] > 0.5).float() != mask).float().mean() < 0.03


def test_imagenet9_outputs(imagenet9, tmp_path):
    root = copied(imagenet9, tmp_path)
    labels = write_mapping(root / "elsewhere.json")
    given = eq.load_images(f"imagenet9:{root}?mapping={root / 'elsewhere.json'}")
    assert given.outputs is not None
    assert [len(outputs) for outputs in given.outputs] == list(INSIDE)
    assert sum(INSIDE) + OUTSIDE == 1000
    for label, outputs in enumerate(given.outputs):
        assert list(outputs) == sorted(outputs)
        assert [labels[k] for k in outputs] == [label] * len(outputs)
    plain = everything(eq.load_images(f"imagenet9:{root}"))
    assert everything(given) != plain
    assert given.subset(3).outputs == given.outputs
    for place in (root, root / "bg_challenge"):
        write_mapping(place / "in_to_in9.json")
        for path in (root, root / "bg_challenge"):
            assert eq.load_images(f"imagenet9:{path}").outputs == given.outputs
        (place / "in_to_in9.json").unlink()


def test_imagenet9_fingerprint(imagenet9, tmp_path):
    root = copied(imagenet9, tmp_path)
    images = eq.load_images(f"imagenet9:{root}?variant=all")
    ids = [entry.id for entry in images.entries]
    index = ids.index("original/val/02_wheeled vehicle/fg_0.JPEG")
    seen = [images.fingerprint([index])]
    rest = images.fingerprint([i for i in range(len(images)) if "02_wheeled" not in ids[i]])
    rewrite(root / "bg_challenge" / ids[index])
    seen.append(images.fingerprint([index]))
    mask = root / "bg_challenge/fg_mask/val/02_wheeled vehicle/fg_0.npy"
    rewrite(mask)
    seen.append(images.fingerprint([index]))
    mask.unlink()
    seen.append(images.fingerprint([index]))
    assert len(set(seen)) == 4
    assert (
        images.fingerprint([i for i in range(len(images)) if "02_wheeled" not in ids[i]]) == rest
    )


def test_imagenet9_broken_files(imagenet9, tmp_path):
    root = copied(imagenet9, tmp_path) / "bg_challenge"
    images = eq.load_images(f"imagenet9:{root}")
    masks = [root / f"fg_mask/val/{folder}/fg_0.npy" for folder in FOLDERS]
    np.save(masks[0], np.array([{}], dtype=object), allow_pickle=True)
    truncate(masks[1])
    np.save(masks[2], np.zeros((16, 17)))
    np.save(masks[3], np.full((16, 16), 2))
    np.save(masks[4], np.full((16, 16), np.nan))
    np.save(masks[5], np.zeros((16, 16, 1)))
    with masks[6].open("wb") as file:
        np.savez(file, np.zeros((16, 16)))
    np.save(masks[7], np.full((16, 16), "1"))
    truncate(root / "original/val/08_fish/fg_0.JPEG")
    batch = images.batch(range(18), skip_broken=True)
    assert batch.indices == tuple(range(1, 18, 2))
    reasons = {broken.id: broken.reason for broken in batch.broken}
    assert list(reasons) == [f"original/val/{folder}/fg_0.JPEG" for folder in FOLDERS]
    expected = [
        "allow_pickle=False",
        "",
        r"has the shape \(16, 17\), not \(16, 16\)",
        "holds other values than 0 and 1",
        "holds other values than 0 and 1",
        r"has the shape \(16, 16, 1\), not \(16, 16\)",
        r"has the shape None, not \(16, 16\)",
        "holds other values than 0 and 1",
    ]
    for folder, reason, words in zip(
        FOLDERS[:-1], list(reasons.values())[:-1], expected, strict=True
    ):
        with pytest.raises(
            BrokenImageError, match=f"its mask 'fg_mask/val/{folder}/fg_0.npy'.*{words}"
        ):
            raise BrokenImageError("x", reason)
    assert "truncated" in reasons["original/val/08_fish/fg_0.JPEG"]


def whole_mapping(**changes):
    return {str(k): k % 10 - 1 for k in range(1000)} | changes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is not JSON .*Restore the authors' in_to_in9.json"),
        ("[]", "it must map the texts '0'..'999' to labels 0..8"),
        ("{}", "it must map"),
        (json.dumps(whole_mapping(**{"7": 9})), "it must map"),
        (json.dumps(whole_mapping(**{"7": -2})), "it must map"),
        (json.dumps(whole_mapping(**{"7": "1"})), "it must map"),
        (json.dumps(whole_mapping(**{"7": 1.0})), "it must map"),
        (json.dumps(whole_mapping(**{"7": True})), "it must map"),
        (json.dumps(whole_mapping(**{"1000": 1})), "it must map"),
        (json.dumps(dict.fromkeys(whole_mapping(), -1)), "it must map .*each of them"),
    ],
)
def test_wrong_mappings(imagenet9, tmp_path, text, message):
    path = tmp_path / "in_to_in9.json"
    path.write_text(json.dumps(whole_mapping()))
    assert eq.load_images(f"imagenet9:{imagenet9}?mapping={path}").outputs is not None
    path.write_text(text)
    with pytest.raises(eq.EquipoiseError, match=f"Cannot read .*in_to_in9.json: {message}"):
        eq.load_images(f"imagenet9:{imagenet9}?mapping={path}")


def test_imagenet9_refusals(imagenet9, tmp_path):
    for spec, message in {
        f"imagenet9:{tmp_path}": "neither .* holds VARIANT/val/00_dog/NAME.JPEG",
        f"imagenet9:{tmp_path / 'x'}": "there is no folder .*VARIANT/val/00_dog",
        f"imagenet9:{imagenet9}?variant=mixed_some": "variant 'mixed_some' .*Did you mean 'mixed_same'",
        f"imagenet9:{imagenet9}?variant=no_fg": "variant 'no_fg' of ",
        f"imagenet9:{imagenet9}?variant=": "variant ''",
        f"imagenet9:{imagenet9}?variant=fg_mask": "variant 'fg_mask'",
        f"imagenet9:{imagenet9}?mapping={tmp_path / 'none.json'}": "none.json: there is no such file. Restore",
        f"imagenet9:{imagenet9}?mapping=": "Cannot read .* Restore",
    }.items():
        with pytest.raises(eq.EquipoiseError, match=message):
            eq.load_images(spec)
    with pytest.raises(eq.EquipoiseError, match=r"no split 'all'. Did you mean 'val'"):
        eq.load_images(f"imagenet9:{imagenet9}", "all")
    root = copied(imagenet9, tmp_path) / "bg_challenge"
    (root / "original/val/08_fish").rename(root / "original/val/08_fishes")
    with pytest.raises(
        eq.EquipoiseError, match="08_fishes: '08_fishes' is none of the class folders 00_dog"
    ):
        eq.load_images(f"imagenet9:{root}")
    assert len(eq.load_images(f"imagenet9:{root}?variant=mixed_same")) == 18
    shutil.rmtree(root / "original/val")
    (root / "original/val").mkdir()
    with pytest.raises(
        eq.EquipoiseError, match=r"Cannot find an image of .*Put files there as VARIANT/val"
    ):
        eq.load_images(f"imagenet9:{root}")


def test_some_classes_of_imagenet9_keep_their_labels(imagenet9, tmp_path):
    root = copied(imagenet9, tmp_path) / "bg_challenge"
    shutil.rmtree(root / "original/val/00_dog")
    images = eq.load_images(f"imagenet9:{root}")
    assert images.classes[0] == "dog"
    assert sorted({example.label for example in images}) == list(range(1, 9))
