"""Digits on photos: exact masks, paired sets, places as often as asked, and no pixel shared by train and test."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from equipoise.errors import EquipoiseError
from equipoise.images import load_images
from equipoise.images.digits_on_photos import COLOURS
from equipoise.images.photographs import PLACES, SIDE, corners, patches, photographs

VARIANTS = ("original", "only-fg", "only-bg", "mixed-same", "mixed-rand")
DIGIT = ("original", "only-fg", "mixed-same", "mixed-rand")


def drawn(split="test", **options):
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return load_images(f"digits-on-photos?{query}" if query else "digits-on-photos", split)


def places(data):
    """1 for flower, 0 for china."""
    return np.array([PLACES.index(group.split(" on ")[1]) for group in data.groups()])


def homes(data):
    return data.targets // 5


def numbers(data):
    return [name.split("/")[1] for name in data.names]


# Images and masks -------------------------------------------------------------------------------


@pytest.mark.parametrize("split, size", [("train", 1197), ("test", 600)])
def test_digits_are_those_of_the_source_digits(split, size):
    data, digits = drawn(split), load_images("digits", split)
    assert len(data) == size
    assert data.shape == (3, 32, 32)
    assert data.classes == digits.classes == tuple("0123456789")
    for index in (0, 7, size - 1):
        example, digit = data[index], digits[index]
        assert (example.label, example.id) == (digit.label, digit.id.replace("digits", data.spec))
        assert example.image.dtype == torch.float32
        assert torch.equal(example.image, (example.image * 255).round() / 255)


@pytest.mark.parametrize("variant", DIGIT)
def test_pixels_in_the_mask_show_the_digit_and_the_others_the_background(variant):
    data, alone = drawn(variant=variant), drawn(variant="only-fg")
    inside = np.broadcast_to(data.masks, data.pixels.shape)
    assert np.array_equal(data.masks, alone.masks)
    assert np.array_equal(data.pixels[inside], alone.pixels[inside])
    assert (alone.pixels[~inside] == 128).all()
    if variant == "original":
        behind = drawn(variant="only-bg").pixels
        assert np.array_equal(data.pixels[~inside], behind[~inside])
        assert (data.pixels[inside] != behind[inside]).mean() > 0.9


def test_a_mask_is_one_or_zero_and_covers_the_digit():
    data, digits = drawn(), load_images("digits")
    for index in range(0, 600, 40):
        mask = data[index].mask
        assert mask is not None
        assert mask.shape == (1, 32, 32)
        assert set(mask.unique().tolist()) == {0, 1}
        # The middle of each of the digit's pixels, blown up threefold from row and column 4 on.
        middles = mask[0, 5:28:3, 5:28:3]
        assert (middles[digits[index].image[0] >= 0.75] == 1).all()
        assert 0.1 < mask.mean() < 0.6


def test_a_background_alone_has_no_mask_and_the_label_of_its_digit():
    data, original = drawn(variant="only-bg"), drawn()
    assert all(example.mask is None for example in data)
    assert np.array_equal(data.targets, original.targets)
    assert data.groups() == original.groups()


def test_colours_say_nothing_of_the_label():
    alone = drawn("train", variant="only-fg")
    brightest = alone.pixels.sum(1, dtype=int).reshape(len(alone), -1).argmax(1)
    strokes = alone.pixels.reshape(len(alone), 3, -1)[np.arange(len(alone)), :, brightest]
    distances = np.linalg.norm(strokes[:, None].astype(float) - COLOURS, axis=2)
    assert distances.min(1).max() < 40
    colours = distances.argmin(1)
    table = np.array(
        [[(colours[alone.targets == k] == c).mean() for c in range(4)] for k in range(10)]
    )
    assert np.abs(table - 0.25).max() < 0.14  # 3.5 standard deviations of 120 draws


# Places -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation", ["0", "0.5", "4/5", "0.95", "1"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_digit_is_at_home_as_often_as_asked(split, correlation):
    data = drawn(split, correlation=correlation)
    at_home = int((places(data) == homes(data)).sum())
    chance = {"4/5": 0.8}.get(correlation) or float(correlation)
    if chance in (0, 1):
        assert at_home == chance * len(data)
    else:
        assert binomtest(at_home, len(data), chance).pvalue > 1e-3


def test_correlations_change_only_what_lies_between_them_and_only_the_place():
    first = drawn(correlation=0)
    away = np.ones(len(first), dtype=bool)
    for correlation in (0.2, 0.5, 0.8, 0.95, 1):
        data = drawn(correlation=correlation)
        still = places(data) != homes(data)
        assert not (still & ~away).any()  # who is at home stays there
        assert np.array_equal(data.pixels[still], first.pixels[still])
        away = still
    assert not away.any()


def test_correlation_leaves_the_mixed_variants_alone():
    for variant in ("only-fg", "mixed-same", "mixed-rand"):
        few, many = drawn(variant=variant, correlation=0.5), drawn(variant=variant, correlation=1)
        assert few.fingerprint(range(600)) == many.fingerprint(range(600))


def test_mixed_same_is_at_home_and_mixed_rand_anywhere():
    same, rand = (drawn("train", variant=variant) for variant in ("mixed-same", "mixed-rand"))
    assert np.array_equal(places(same), homes(same))
    for home in (0, 1):
        flowers = places(rand)[homes(rand) == home]
        assert binomtest(int(flowers.sum()), len(flowers), 0.5).pvalue > 1e-3
    moved = (same.pixels != drawn("train", correlation=1).pixels).any((1, 2, 3))
    assert moved.mean() > 0.98  # another patch of the same place


def test_groups_say_half_and_place():
    data = drawn("train", correlation=0.5)
    assert set(data.groups()) == {
        "0-4 on china",
        "0-4 on flower",
        "5-9 on china",
        "5-9 on flower",
    }
    assert [example.group for example in data] == list(data.groups())
    assert set(drawn(variant="only-fg").groups()) == {"0-4 on grey", "5-9 on grey"}


def test_both_halves_have_about_as_many_digits():
    for split in ("train", "test"):
        assert abs(homes(drawn(split)).mean() - 0.5) < 0.01


# Patches ----------------------------------------------------------------------------------------


def test_patches_of_train_and_test_share_no_pixel_and_reach_every_column():
    _, _, height, width = photographs().shape
    seen = {}
    for test in (False, True):
        draws = np.random.default_rng(0).random((5000, 3))
        draws[0], draws[1] = 0, np.nextafter(1, 0)
        rows, columns = corners(draws, test=test)
        assert rows.min() == 0
        assert rows.max() == height - SIDE
        touched = np.zeros((height, width), dtype=bool)
        for row, column in zip(rows, columns, strict=True):
            touched[row : row + SIDE, column : column + SIDE] = True
        seen[test] = touched
    assert not (seen[False] & seen[True]).any()
    assert (seen[False] | seen[True]).any(0).all()


@pytest.mark.parametrize("split", ["train", "test"])
def test_backgrounds_come_from_the_bands_of_their_split(split):
    data = drawn(split, variant="only-bg")
    for index in range(0, len(data), 97):
        photograph = photographs()[places(data)[index]]
        windows = np.lib.stride_tricks.sliding_window_view(photograph, (32, 32), axis=(1, 2))
        sought = data.pixels[index]
        match = (windows[..., 0, 0] == sought[:, None, None, 0, 0]).all(0)
        found = [c for r, c in np.argwhere(match) if np.array_equal(windows[:, r, c], sought)]
        assert any(column // 40 % 2 == (split == "test") for column in found)
        assert all(column % 40 <= 8 for column in found[:1])


def test_patches_are_cut_from_the_place_at_the_corner():
    cut = patches(np.array([1, 0]), np.array([5, 181]), np.array([80, 288]))
    assert np.array_equal(cut[0], photographs()[1][:, 5:37, 80:112])
    assert np.array_equal(cut[1], photographs()[0][:, 181:213, 288:320])


def test_photographs_are_halved_by_means():
    from sklearn.datasets import load_sample_image

    whole = load_sample_image("flower.jpg").astype(float)
    square = whole[100:102, 300:302].mean((0, 1))
    assert np.array_equal(photographs()[1][:, 50, 150], np.floor(square))


# Determinism ------------------------------------------------------------------------------------


def test_the_same_spec_gives_the_same_images_and_another_seed_others():
    first, again, other = drawn(), drawn(), drawn(seed=1)
    everything = range(600)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.fingerprint(everything) == again.fingerprint(everything)
    assert first.fingerprint(everything) != other.fingerprint(everything)
    assert first.names == other.names
    assert np.array_equal(first.masks, other.masks)


def test_an_image_does_not_depend_on_the_others_in_the_set():
    together = drawn(variant="all", correlation=0.7)
    for start, variant in enumerate(VARIANTS):
        alone = drawn(variant=variant, correlation=0.7)
        part = slice(600 * start, 600 * (start + 1))
        assert np.array_equal(together.pixels[part], alone.pixels)
        assert together.names[part] == alone.names
    turned = drawn(variant="mixed-rand,original", correlation=0.7)
    assert np.array_equal(turned.pixels[600:], together.pixels[:600])


def test_fingerprints_see_order_groups_and_pixels():
    data, mixed = drawn(), drawn(variant="original,only-fg")
    assert data.fingerprint([0, 1]) != data.fingerprint([1, 0])
    assert data.fingerprint([0, 1]) != mixed.fingerprint([0, 1])  # only the groups differ
    moved = int(np.flatnonzero(places(data) != homes(data))[0])
    assert data.fingerprint([moved]) != drawn(correlation=1).fingerprint([moved])


def test_several_variants_are_paired_by_number_and_grouped_by_variant():
    data = drawn(variant="all")
    assert len(data) == 3000
    assert len(set(data.names)) == 3000
    assert numbers(data) == numbers(drawn()) * 5
    assert data.groups() == tuple(variant for variant in VARIANTS for _ in range(600))
    ids = {name.removeprefix(f"digits-on-photos/{numbers(data)[0]}") for name in data.names[::600]}
    assert ids == {"", "/only-fg", "/only-bg", "/mixed-same", "/mixed-rand"}


# What can be learnt -----------------------------------------------------------------------------


def pixels(data):
    return data.pixels.reshape(len(data), -1) / 255


def colours(data):
    """Mean and standard deviation of each channel."""
    return np.concatenate([data.pixels.mean((2, 3)), data.pixels.std((2, 3))], 1) / 255


def linear(features, labels, train, test, strength=1e-3):
    rule = LogisticRegression(C=strength, max_iter=500).fit(features(train), labels(train))
    return float((rule.predict(features(test)) == labels(test)).mean())


def digit(data):
    return data.targets


def test_places_are_learnt_from_backgrounds_and_digits_no_better_than_places_allow():
    train, test = (drawn(split, variant="only-bg", correlation=1) for split in ("train", "test"))
    assert linear(pixels, places, train, test) > 0.68
    assert linear(colours, places, train, test, strength=100) > 0.88
    # Five classes share a place, so that even a known place gives each digit away in a fifth of cases.
    assert linear(colours, digit, train, test, strength=100) < 0.26


def test_without_correlation_backgrounds_say_nothing_of_the_label():
    train, test = (drawn(split, variant="only-bg", correlation=0.5) for split in ("train", "test"))
    assert abs(linear(colours, homes, train, test, strength=100) - 0.5) < 0.08
    assert linear(colours, places, train, test, strength=100) > 0.88


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec, message",
    [
        ("correlation=1.5", "correlation=1.5: give a probability from 0 to 1"),
        ("correlation=-0.1", "give a probability from 0 to 1"),
        ("correlation=much", "the correlation 'much'"),
        ("variant=mixed-ran", "no variant 'mixed-ran'. Did you mean 'mixed-rand'?"),
        ("variant=original,all", "no variant 'all'"),
        ("variant=only-bg,only-bg", "name each variant once"),
        ("variant=", "no variant ''"),
        ("seed=-1", "seed=-1: give a whole number from 0"),
        ("seed=1.5", "give a whole number from 0"),
        ("corelation=1", "unknown option 'corelation'. Did you mean 'correlation'?"),
    ],
)
def test_refusals_name_the_value_and_the_remedy(spec, message):
    with pytest.raises(EquipoiseError) as raised:
        load_images(f"digits-on-photos?{spec}")
    assert message in str(raised.value)


def test_only_train_and_test_exist():
    with pytest.raises(EquipoiseError, match="no split 'val'"):
        drawn("val")
