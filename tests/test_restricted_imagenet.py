"""Restricted ImageNet: which synset is in which class, in both variants, and which trees are refused."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import equipoise as eq
from equipoise.images.restricted_imagenet import SUPER_CLASSES, SYNSETS, VARIANTS, label_synsets
from equipoise.training import Recipe

FULL, FEW_DOGS = "restricted-imagenet", "restricted-imagenet-11-dogs"
NAMES = ("dog", "cat", "frog", "turtle", "bird", "primate", "fish", "crab", "insect")
# Ends of the ranges of 0-based indices of ILSVRC 2012, and the synsets at these ends.
RANGES = {
    "dog": (151, 268, "n02085620", "n02113978"),
    "cat": (281, 285, "n02123045", "n02124075"),
    "frog": (30, 32, "n01641577", "n01644900"),
    "turtle": (33, 37, "n01664065", "n01669191"),
    "bird": (80, 100, "n01795545", "n01860187"),
    "primate": (365, 382, "n02480495", "n02494079"),
    "fish": (389, 397, "n02514041", "n02655020"),
    "crab": (118, 121, "n01978287", "n01981276"),
    "insect": (300, 319, "n02165105", "n02268443"),
}
# The synsets of ILSVRC 2012 just before and just after each range, where they are in no other.
NEIGHBOURS = (
    *("n02077923", "n02114367", "n02120505", "n02125311", "n01632777", "n01675722", "n01784675"),
    *("n01871265", "n02457408", "n02497673", "n02510455", "n02666196", "n01968897", "n01983481"),
    *("n02138441", "n02268853"),
)
HUNTING_DOG = "n02087122"  # in ImageNet-21k, between two dogs of ILSVRC 2012, but not in that


def tree(root, **splits):
    """Writes ROOT/SPLIT/WNID/WNID_1.JPEG: one image of 8 x 8 pixels for each synset of a split."""
    rng = np.random.default_rng(0)
    for split, wnids in splits.items():
        for wnid in wnids:
            path = root / split / wnid / f"{wnid}_1.JPEG"
            path.parent.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return root


def everything():
    return [*(wnid for wnids in SYNSETS.values() for wnid in wnids), *NEIGHBOURS]


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Every synset of the nine classes and their neighbours; the training split has few of them."""
    train = ("n02085620", "n02086646", "n02123045", "n02077923")
    return tree(tmp_path_factory.mktemp("imagenet"), train=train, val=everything())


def test_ranges():
    assert SUPER_CLASSES == NAMES == tuple(RANGES)
    assert [len(SYNSETS[name]) for name in NAMES] == [118, 5, 3, 5, 21, 18, 9, 4, 20]
    for name, (first, last, low, high) in RANGES.items():
        wnids = SYNSETS[name]
        assert len(set(wnids)) == last - first + 1
        assert (wnids[0], wnids[-1]) == (low, high)
        assert list(wnids) == sorted(wnids)
    # Of the same ranges cut from three public lists of the 1,000 synsets.
    text = " ".join(wnid for name in NAMES for wnid in SYNSETS[name])
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "322f0b6d86b1de8d92ee655b1f4a043b5aea1976a2060dd5b82fdd080bd5a910"
    )


def test_the_variants_differ_in_dogs_alone():
    full, few = VARIANTS[FULL], VARIANTS[FEW_DOGS]
    assert sum(map(len, full.values())) == 203
    # 50 validation images a synset: the authors' list has 4,800, in these numbers for each class.
    validation = [50 * len(wnids) for wnids in few.values()]
    assert validation == [550, 250, 150, 250, 1050, 900, 450, 200, 1000]
    assert sum(validation) == 4800
    assert set(few["dog"]) < set(full["dog"])
    assert {name for name in NAMES if full[name] != few[name]} == {"dog"}


@pytest.mark.parametrize(("variant", "dogs"), [(FULL, 118), (FEW_DOGS, 11)])
def test_a_whole_tree(imagenet, variant, dogs):
    spec = f"folder:{imagenet}?size=4&classes={variant}"
    images = eq.load_images(spec, split="val")
    assert (images.spec, images.classes, images.shape) == (spec, NAMES, (3, 4, 4))
    labels = images.batch(range(len(images))).labels
    assert labels.bincount().tolist() == [dogs, 5, 3, 5, 21, 18, 9, 4, 20]
    for example in images:
        assert example.group is not None
        assert example.group in VARIANTS[variant][NAMES[example.label]]
        assert example.id == f"val/{example.group}/{example.group}_1.JPEG"
    assert [example.id for example in images] == sorted(example.id for example in images)


def test_without_the_option_every_synset_is_a_class(imagenet):
    images = eq.load_images(f"folder:{imagenet}", split="val")
    assert images.classes == tuple(sorted(everything()))
    assert images[0].group is None


def test_some_of_the_synsets_keep_their_labels(imagenet):
    images = eq.load_images(f"folder:{imagenet}?classes={FULL}", split="train")
    assert images.classes == NAMES
    assert [(item.label, item.group) for item in images] == [
        (0, "n02085620"),
        (0, "n02086646"),
        (1, "n02123045"),
    ]
    few = eq.load_images(f"folder:{imagenet}?classes={FEW_DOGS}", split="train")
    assert [item.group for item in few] == ["n02086646", "n02123045"]


def test_synsets_without_split_folders_serve_as_test(tmp_path):
    tree(tmp_path, **{".": ["n02268443", "n02123045", "n02114367"]})
    images = eq.load_images(f"folder:{tmp_path}?classes={FULL}")
    assert [(item.id, item.label) for item in images] == [
        ("n02123045/n02123045_1.JPEG", 1),
        ("n02268443/n02268443_1.JPEG", 8),
    ]


@pytest.mark.parametrize(
    ("wnids", "option", "message"),
    [
        (["n02085620"], "restricted", "classes=restricted: there is no such grouping. Did you"),
        (["n02085620"], "", "there is no such grouping"),
        (["dog", "cat"], FULL, r"of .*/val by .*: 'cat' is no WordNet id such as 'n02085620'"),
        (["0", "1"], FULL, "'0' is no WordNet id"),
        (["n02085620", "n2085782"], FULL, "'n2085782' is no WordNet id"),
        (["n02085620", "n02085782-Japanese_spaniel"], FULL, "'n02085782-Japanese_spaniel' is no"),
        (["n02085620", HUNTING_DOG], FULL, f"{HUNTING_DOG}.* range of dog .*ImageNet-21k"),
        (["n02085620", HUNTING_DOG], FEW_DOGS, f"{HUNTING_DOG}.* range of dog .*ImageNet-21k"),
        (NEIGHBOURS, FULL, r"none of its 16 .* one of the 203 synsets of dog \(n02085620, \.\.\."),
        (["n02085620"], FEW_DOGS, r"none of its 1 .* one of the 96 synsets of dog \(n02086646, "),
    ],
)
def test_other_folders_are_refused(tmp_path, wnids, option, message):
    tree(tmp_path, val=wnids)
    with pytest.raises(eq.EquipoiseError, match=message) as error:
        eq.load_images(f"folder:{tmp_path}?classes={option}", split="val")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("train", [["n02085620"], []])
def test_validation_images_that_are_not_in_folders_are_refused(tmp_path, train):
    tree(tmp_path, train=train)
    (tmp_path / "val").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "val/ILSVRC2012_val_00000001.JPEG")
    message = r"/val has no class folders\. Put the images into .*/val/WNID\.$"
    with pytest.raises(eq.EquipoiseError, match=message):
        eq.load_images(f"folder:{tmp_path}?classes={FULL}", split="val")


def test_a_missing_split_an_empty_synset_and_a_table_are_refused(imagenet, tmp_path):
    with pytest.raises(eq.EquipoiseError, match=r"the split 'test' .*: it has train, val"):
        eq.load_images(f"folder:{imagenet}?classes={FULL}")
    (tmp_path / "val/n02085620").mkdir(parents=True)
    with pytest.raises(eq.EquipoiseError, match="Cannot find an image in the split 'val'"):
        eq.load_images(f"folder:{tmp_path}?classes={FULL}", split="val")
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.JPEG,n02085620\n")
    with pytest.raises(eq.EquipoiseError, match=r"metadata\.csv\. Remove the table or the option"):
        eq.load_images(f"folder:{tmp_path}?classes={FULL}", split="val")


def test_labels_are_those_of_the_named_class():
    for variant, members in VARIANTS.items():
        found = label_synsets(variant, everything(), Path("there"))
        assert len(found) == sum(map(len, members.values()))
        assert all(wnid in members[NAMES[label]] for wnid, label in found.items())


def test_training_and_auditing(imagenet, tmp_path):
    spec = f"folder:{imagenet}?size=8&classes={FEW_DOGS}"
    data = eq.load_images(spec, split="val")
    recipe = Recipe(net="mlp", widths=(8,), epochs=1)
    rungs = eq.train_ladder(data, [eq.L2(0)], recipe, tmp_path / "ladder", accelerator="cpu")
    assert rungs[0].classes == NAMES
    run = eq.audit(rungs, data, ["standard"], tmp_path / "run")
    assert len(run.table()) == 96
    assert (run.record["data"]["spec"], run.record["data"]["classes"]) == (spec, list(NAMES))
    page = tmp_path / "page.html"
    eq.report(run, page)
    assert f"classes={FEW_DOGS}" in page.read_text(encoding="utf-8")
