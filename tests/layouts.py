"""Tiny copies of published benchmarks, as they lie on disk: folders, names and tables are real, pixels are made up.

Each function writes a copy into a folder and returns what it wrote that a test cannot read off the names.
"""

import csv
import json
import shutil

import numpy as np
from PIL import Image

# What the authors' table of ImageNet-9 holds, as counts: outputs that are none of the nine, then those of each class.
OUTSIDE, INSIDE = 630, (116, 52, 42, 36, 35, 27, 26, 20, 16)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, "JPEG", **options)


def rewrite(path):
    """Other bytes of another length under the same name."""
    path.write_bytes(path.read_bytes() + b"\0")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def copied(source, folder):
    """A copy of a whole tree in `folder`, for a test to damage."""
    return shutil.copytree(source, folder / "copy")


def everything(images):
    """The fingerprint of a whole set."""
    return images.fingerprint(range(len(images)))


def mask_of(example):
    """The mask of an image that has one."""
    assert example.mask is not None
    return example.mask


def disc(height, width, centre=(0.5, 0.5), radius=0.3):
    """True in an ellipse; centre and radius are shares of the sides."""
    rows, columns = np.indices((height, width))
    down, right = (rows + 0.5) / height - centre[0], (columns + 0.5) / width - centre[1]
    return down**2 + right**2 < radius**2


def noise(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_rival10(root, wnids, height=48, width=64):
    """ROOT/{train,test} with two images a wnid: bright discs on a dark ground, and masks as JPEGs that ring."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for wnid in wnids:
            for name in (
                f"{wnid}_{rng.integers(10**5)}",
                f"ILSVRC2012_val_{rng.integers(10**8):08d}",
            ):
                stem = f"{wnid}_{name}"
                inside = disc(height, width, rng.uniform(0.35, 0.65, 2))
                picture = np.where(inside, 220, 30)[..., None] + np.array([5, 0, -5])
                mask = np.repeat(255 * inside[..., None], 3, axis=2)
                folder = root / split
                save(folder / "ordinary" / f"{stem}.JPEG", picture, quality=95)
                save(folder / "ordinary" / f"{stem}_merged_mask.JPEG", 0 * mask)
                save(folder / "entire_object_masks" / f"{stem}.JPEG", mask, quality=50)
                np.save(folder / "ordinary" / f"{stem}_attr_labels.npy", np.zeros((2, 18)))
                # Nothing may open this one.
                (folder / "ordinary" / f"{stem}_attr_dict.pkl").write_bytes(
                    b"cos\nsystem\n(S'false'\ntR."
                )


SALIENT = {"n01440764": 0, "n02099601": 207, "n04356056": 837}
"""The classes of `write_salient_imagenet`, with their indices; the last has no core feature."""

ANSWERS = {
    # (wnid, feature): what the five workers said of it
    ("n01440764", 59): ["main_object"] * 5,
    ("n01440764", 686): ["background"] * 2 + ["separate_object"] + ["main_object"] * 2,
    ("n02099601", 7): ["background", "separate_object"] + ["main_object"] * 3,
    ("n02099601", 1200): ["main_object"] * 4 + ["background"],
    ("n04356056", 3): ["separate_object"] * 3 + ["main_object"] * 2,
    ("n04356056", 4): ["background"] * 5,
}


def write_answers(path, answers=None):
    columns = "WorkerId Input.wordnet_id Input.class_index Input.feature_index Input.feature_rank"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*columns.split(), "Answer.main", "Answer.confidence", "Answer.reasons"])
        for (wnid, feature), words in (answers or ANSWERS).items():
            for worker, word in enumerate(words):
                reason = 'a "red" region,\nin two lines'
                table.writerow([worker, wnid, SALIENT[wnid], feature, 1, word, 5.0, reason])


def write_salient_imagenet(root, imagenet, pixels=(300, 260)):
    """ROOT/salient_imagenet_dataset, ROOT/mturk_results and the images: three a class, of which the first shows both
    features of its class, the second the first one, the third the second one.

    Returns:
        the soft mask of each (wnid, feature, name), 8-bit, 224 x 224
    """
    rng = np.random.default_rng(0)
    masks = {}
    data = root / "salient_imagenet_dataset"
    data.mkdir(parents=True)
    (data / "wordnet_dict.py").write_text(repr({index: wnid for wnid, index in SALIENT.items()}))
    write_answers(root / "mturk_results" / "discover_spurious_features.csv")
    for wnid in SALIENT:
        names = [f"{wnid}_{k}" for k in range(3)]
        first, second = (feature for of, feature in ANSWERS if of == wnid)
        shown = {first: [names[0], names[1]], second: [names[0], names[2]]}
        for name in names:
            save(imagenet / "train" / wnid / f"{name}.JPEG", noise(rng, *pixels))
        folder = data / wnid
        for feature, of in shown.items():
            for name in of:
                row, column, peak = *rng.integers(40, 184, 2), rng.integers(120, 250)
                rows, columns = np.indices((224, 224))
                soft = peak * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 200)
                path = folder / f"feature_{feature}" / f"{name}.JPEG"
                save(path, soft, quality=90)
                masks[wnid, feature, name] = np.asarray(Image.open(path))
        lines = [f"{first},{second}", *(f"{a},{b}" for a, b in zip(*shown.values(), strict=True))]
        (folder / "image_names_map.csv").write_text("\n".join(lines) + "\n")
    return masks


def write_imagenet9(root, folders, side=16):
    """ROOT/bg_challenge with four variants, and masks of the originals."""
    rng = np.random.default_rng(0)
    base = root / "bg_challenge"
    for folder in folders:
        for variant in ("original", "mixed_same", "mixed_rand", "only_bg_t"):
            place = base / variant / "val" / folder
            names = (
                ["fg_0.JPEG", "fg_1.jpeg"]
                if variant == "original"
                else [f"{variant}_0.JPEG", "fg_0.JPEG"]
            )
            for name in names:
                save(place / name, noise(rng, side, side))
        masks = base / "fg_mask" / "val" / folder
        masks.mkdir(parents=True)
        for name in ("fg_0", "fg_1"):
            found = disc(side, side, rng.uniform(0.4, 0.6, 2)).astype(np.int64)
            np.save(masks / f"{name}.npy", found)


def write_mapping(path):
    """A table of the published form and counts, its keys in the order of texts: "0", "1", "10", "100", ...

    Returns:
        the label of each of the 1,000 outputs, or -1
    """
    labels = np.repeat(np.arange(-1, 9), [OUTSIDE, *INSIDE])
    labels = np.random.default_rng(0).permutation(labels).tolist()
    path.write_text(json.dumps({key: labels[int(key)] for key in sorted(map(str, range(1000)))}))
    return labels
