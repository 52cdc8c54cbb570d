"""RIVAL10: labels from names, the frame that image and mask share, and the words for copies that are wrong."""

import shutil

import numpy as np
import pytest
import torch
from layouts import (
    copied,
    disc,
    everything,
    mask_of,
    noise,
    rewrite,
    save,
    truncate,
    write_rival10,
)
from PIL import Image

import equipoise as eq
from equipoise.images import BrokenImageError, Images
from equipoise.images.rival10 import SYNSETS

WNIDS = [wnid for wnids in SYNSETS.values() for wnid in wnids]


@pytest.fixture(scope="module")
def rival10(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_rival10(root / "RIVAL10", WNIDS)
    return root


def test_rival10_labels():
    names = "truck car plane ship cat dog equine deer frog bird"
    assert list(SYNSETS) == names.split()
    assert len(set(WNIDS)) == 20
    assert [tuple(wnids.values()) for wnids in SYNSETS.values()] == [
        *((675, 867), (436, 511), (404, 895), (510, 628), (283, 285)),
        *((207, 208), (339, 340), (352, 353), (31, 32), (11, 12)),
    ]
    # The indices of ImageNet are those of its wnids in order.
    assert sorted(WNIDS) == sorted(
        WNIDS, key=lambda w: max(s.get(w, -1) for s in SYNSETS.values())
    )


@pytest.mark.parametrize("split", ["train", "test"])
def test_rival10(rival10, split):
    spec = f"rival10:{rival10}"
    images = eq.load_images(spec, split)
    assert (images.spec, images.split, images.classes) == (spec, split, tuple(SYNSETS))
    assert (len(images), images.shape) == (40, (3, 224, 224))
    assert images.outputs is not None
    assert images.groups() == Images.groups(images) == (None,) * 40
    batch = images.batch(range(40))
    assert batch.labels.bincount().tolist() == [4] * 10
    assert list(batch.ids) == sorted(batch.ids)
    for id, label in zip(batch.ids, batch.labels.tolist(), strict=True):
        wnid = id.removeprefix(f"{split}/ordinary/").partition("_")[0]
        assert wnid in SYNSETS[images.classes[label]]
        assert SYNSETS[images.classes[label]][wnid] in images.outputs[label]


def test_rival10_masks_are_exact_and_lie_on_their_objects(rival10):
    path = next((rival10 / "RIVAL10/test/entire_object_masks").iterdir())
    rings = np.unique(np.asarray(Image.open(path)))
    assert len(rings) > 2  # what JPEG made of a mask of 0 and 255
    for example in eq.load_images(f"rival10:{rival10}"):
        mask = mask_of(example)
        assert (mask.shape, mask.dtype) == ((1, 224, 224), torch.float32)
        assert set(mask.unique().tolist()) == {0, 1}
        bright = (example.image.mean(0, keepdim=True) > 0.5).float()
        assert (bright != mask).float().mean() < 0.01


def test_rival10_squeezes_the_whole_image(rival10, tmp_path):
    images = eq.load_images(f"rival10:{rival10}?size=32")
    example = images[0]
    assert example.image.shape == (3, 32, 32)
    file = rival10 / "RIVAL10" / example.id
    whole = Image.open(file).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(
        example.image.movedim(0, -1).numpy(), np.asarray(whole, np.float32) / np.float32(255)
    )
    # Unresized, the cut at 0.5 gives back the mask that the JPEG was made of.
    inside = disc(64, 64)
    name = "n02099601_n02099601_3004.JPEG"
    save(tmp_path / "RIVAL10/test/ordinary" / name, noise(np.random.default_rng(0), 64, 64))
    mask = np.repeat(255 * inside[..., None], 3, axis=2)
    save(tmp_path / "RIVAL10/test/entire_object_masks" / name, mask, quality=50)
    found = mask_of(eq.load_images(f"rival10:{tmp_path}?size=64")[0])
    np.testing.assert_array_equal(found[0].numpy(), inside)


def test_rival10_is_the_same_from_its_folder_and_its_parent(rival10):
    outer, inner = (eq.load_images(f"rival10:{path}") for path in (rival10, rival10 / "RIVAL10"))
    assert [e.id for e in outer.entries] == [e.id for e in inner.entries]
    assert everything(outer) == everything(inner)
    assert everything(outer) != everything(eq.load_images(f"rival10:{rival10}?size=32"))


@pytest.mark.parametrize("folder", ["ordinary", "entire_object_masks"])
def test_rival10_fingerprint(rival10, tmp_path, folder):
    root = copied(rival10, tmp_path)
    images = eq.load_images(f"rival10:{root}")
    before = [images.fingerprint([0]), images.fingerprint([1])]
    rewrite(root / "RIVAL10/test" / folder / images[0].id.rpartition("/")[2])
    after = eq.load_images(f"rival10:{root}")
    assert images.fingerprint([0]) == after.fingerprint([0]) != before[0]
    assert after.fingerprint([1]) == before[1]


def test_rival10_masks_of_attributes_only_on_request(rival10, tmp_path):
    root = copied(rival10, tmp_path)
    shutil.rmtree(root / "RIVAL10/test/entire_object_masks")
    with pytest.raises(
        eq.EquipoiseError, match=r"no folder .*entire_object_masks\. Unpack .*masks=attributes"
    ):
        eq.load_images(f"rival10:{root}")
    mask = mask_of(eq.load_images(f"rival10:{root}?masks=attributes")[0])
    assert mask.shape == (1, 224, 224)
    assert mask.sum() == 0  # as the copy has them
    with pytest.raises(eq.EquipoiseError, match=r"masks=all of .*: write masks=object or"):
        eq.load_images(f"rival10:{root}?masks=all")


def test_rival10_broken_files(rival10, tmp_path):
    root = copied(rival10, tmp_path) / "RIVAL10"
    images = eq.load_images(f"rival10:{root}")
    names = [entry.id.rpartition("/")[2] for entry in images.entries]
    (root / "test/entire_object_masks" / names[0]).unlink()
    truncate(root / "test/entire_object_masks" / names[1])
    truncate(root / "test/ordinary" / names[2])
    (root / "test/ordinary" / names[3]).write_bytes(b"")
    batch = images.batch(range(5), skip_broken=True)
    assert batch.indices == (4,)
    assert [broken.id for broken in batch.broken] == [entry.id for entry in images.entries[:4]]
    reasons = [broken.reason for broken in batch.broken]
    assert (
        reasons[0] == f"its mask 'test/entire_object_masks/{names[0]}': no such file or directory"
    )
    assert reasons[1].startswith(f"its mask 'test/entire_object_masks/{names[1]}': ")
    assert "truncated" in reasons[1]
    assert "truncated" in reasons[2]
    assert reasons[3] == "it is empty"
    with pytest.raises(BrokenImageError, match=rf"{names[0]}.*Repair or remove it, or leave"):
        images.read(0)


def test_rival10_refusals(rival10, tmp_path):
    for spec, message in {
        "rival10:": "no folder ''. Write rival10:PATH .*train/ordinary or test/ordinary",
        f"rival10:{tmp_path / 'none'}": "no folder .*train/ordinary or test/ordinary",
        f"rival10:{tmp_path}": "neither .* holds train/ordinary or test/ordinary .*or with its parent",
        f"rival10:{rival10}?size=0": "size=0",
        f"rival10:{rival10}?channels=3": "unknown option 'channels'",
    }.items():
        with pytest.raises(eq.EquipoiseError, match=message):
            eq.load_images(spec)
    with pytest.raises(eq.EquipoiseError, match=r"no split 'val'. Known: test, train"):
        eq.load_images(f"rival10:{rival10}", "val")
    root = copied(rival10, tmp_path) / "RIVAL10"
    (root / "test/ordinary/n02123045_n02123045_1.JPEG").write_bytes(b"")
    with pytest.raises(
        eq.EquipoiseError, match=r"Cannot label .*n02123045_1.JPEG: .*20 wnids.*Remove"
    ):
        eq.load_images(f"rival10:{root}")
    for file in (root / "test/ordinary").glob("*.JPEG"):
        file.unlink()
    with pytest.raises(
        eq.EquipoiseError, match=r"Cannot find an image in .*test/ordinary. Put files"
    ):
        eq.load_images(f"rival10:{root}")
    shutil.rmtree(root / "train")
    with pytest.raises(eq.EquipoiseError, match=r"Cannot list .*train/ordinary: No such file"):
        eq.load_images(f"rival10:{root}", "train")
