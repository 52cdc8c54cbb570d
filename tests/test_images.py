"""Sources of images: pixel values computed by hand, order, memory, and the words of refusals."""

import os
import pickle
import re
import subprocess
import sys
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.errors import EquipoiseError
from equipoise.images import (
    BrokenImageError,
    Decoding,
    Example,
    Images,
    Subset,
    encode_png,
    load_images,
)
from equipoise.images import blocks as blocks_module
from equipoise.images import decode as decoding_module
from equipoise.images.blocks import KEPT


def encoded(pixels, format="PNG", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = {".jpg": "JPEG", ".tif": "TIFF"}.get(path.suffix.lower(), "PNG")
    path.write_bytes(encoded(pixels, suffix, **options))


def grey(value, side=4):
    return np.full((side, side), value, np.uint8)


def colour(red, green, blue, side=4):
    return np.full((side, side, 3), (red, green, blue), np.uint8)


def quoted(path):
    return "'" + str(path).replace("'", "''") + "'"


def write_parquet(path, rows, columns, options=""):
    """Writes `rows` with the SQL `columns`, such as ``label TINYINT, image BLOB``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({columns})")
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO t VALUES ({marks})", rows)
        connection.execute(f"COPY t TO {quoted(path)} (FORMAT parquet {options})")


# Decoding ---------------------------------------------------------------------------------------


def test_8_bits_are_divided_by_255():
    pixels = np.array([[[0, 51, 255], [1, 2, 3]]], np.uint8)
    image = Decoding(3)(encoded(pixels), "x")
    assert image.dtype == torch.float32
    assert image.shape == (3, 1, 2)
    assert image.is_contiguous()
    expected = torch.tensor([[[0, 1]], [[51, 2]], [[255, 3]]]) / 255
    torch.testing.assert_close(image, expected, atol=0, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_repeated_for_three_channels(channels):
    image = Decoding(channels)(encoded(np.array([[0, 102]], np.uint8)), "x")
    assert image.tolist() == [[[0.0, pytest.approx(0.4)]]] * channels


@pytest.mark.parametrize(
    ("values", "format", "mode"),
    [
        (np.array([[0, 65535], [32768, 257]], "<u2"), "PNG", "I;16"),
        (np.array([[0, 65535], [32768, 257]], "<u2"), "TIFF", "I;16"),
        (np.array([[0, 65535], [32768, 257]], "<i4"), "TIFF", "I"),
        (np.array([[0, 65535], [32768, 257]], "<u2"), "PPM", "I"),
    ],
)
def test_16_bit_grey_is_divided_by_65535(values, format, mode):
    data = encoded(values, format)
    assert Image.open(BytesIO(data)).mode == mode
    image = Decoding(1)(data, "x")
    torch.testing.assert_close(image, torch.tensor([[[0, 1], [32768 / 65535, 257 / 65535]]]))


def test_big_endian_16_bit_grey():
    values = np.array([[0, 65535], [32768, 257]], ">u2")
    image = Image.frombytes("I;16B", (2, 2), values.tobytes())
    data = encoded(image, "TIFF")
    torch.testing.assert_close(
        Decoding(1)(data, "x"), torch.tensor([[[0, 1], [32768 / 65535, 257 / 65535]]])
    )


def test_16_bit_grey_resizes_without_clipping():
    values = np.array([[1000, 3000], [5000, 60000]], np.uint16)
    image = Decoding(1, size=1)(encoded(values), "x")
    assert image.item() == pytest.approx((1000 + 3000 + 5000 + 60000) / 4 / 65535, rel=1e-6)


def test_float_pixels_must_be_in_range():
    image = Decoding(1)(encoded(np.array([[0.0, 0.25, 1.0]], np.float32), "TIFF"), "x")
    assert image.tolist() == [[[0.0, 0.25, 1.0]]]
    for bad in (1.5, -0.1, np.nan):
        with pytest.raises(BrokenImageError, match=r"its pixels span .*, not \[0, 1\]"):
            Decoding(1)(encoded(np.array([[0.5, bad]], np.float32), "TIFF"), "x")


def test_one_bit():
    assert Decoding(1)(encoded(np.array([[True, False]])), "x").tolist() == [[[1.0, 0.0]]]


def over_white(value, alpha):
    return round(value * alpha / 255 + 255 - alpha) / 255


def test_alpha_is_composited_over_white():
    rgba = np.array([[[200, 0, 100, 128], [9, 9, 9, 0], [1, 2, 3, 255]]], np.uint8)
    image = Decoding(3)(encoded(rgba), "x")
    expected = [over_white(value, 128) for value in (200, 0, 100)]
    torch.testing.assert_close(image[:, 0, 0], torch.tensor(expected), atol=1e-6, rtol=0)
    assert image[:, 0, 1].tolist() == [1, 1, 1]
    torch.testing.assert_close(image[:, 0, 2], torch.tensor([1, 2, 3]) / 255)


def test_grey_alpha_and_transparent_colours():
    la = Image.new("LA", (1, 1), (100, 128))
    assert Decoding(1)(encoded(la), "x").item() == pytest.approx(over_white(100, 128))
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 51, 0])
    palette.putpixel((1, 0), 1)
    image = Decoding(3)(encoded(palette, transparency=b"\x00\xff"), "x")
    torch.testing.assert_close(image[:, 0, 0], torch.ones(3))
    torch.testing.assert_close(image[:, 0, 1], torch.tensor([0, 0.2, 0]))
    deep = np.array([[257, 65535 // 5]], np.uint16)
    assert Decoding(1)(encoded(deep, transparency=257), "x").flatten().tolist() == [
        1,
        pytest.approx(0.2),
    ]


def test_palette_and_cmyk_become_rgb():
    palette = Image.new("P", (1, 1))
    palette.putpalette([10, 20, 30])
    torch.testing.assert_close(
        Decoding(3)(encoded(palette), "x").flatten(), torch.tensor([10, 20, 30]) / 255
    )
    cmyk = Image.new("CMYK", (1, 1), (0, 255, 255, 0))
    assert Decoding(3)(encoded(cmyk, "TIFF"), "x").flatten().tolist() == [1, 0, 0]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
def test_exif_orientation(orientation, expected, dtype, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.array([[1, 2, 3], [4, 5, 6]], dtype), format, exif=exif)
    image = Decoding(1)(data, "x") * (255 if dtype == np.uint8 else 65535)
    assert image[0].round().int().tolist() == expected


def test_resizing_is_antialiased_and_keeps_the_centre():
    stripes = np.zeros((4, 8), np.uint8)
    stripes[:, ::2] = 200  # every other column: without antialiasing, 4 of 8 would see one colour
    halved = Decoding(1, size=2)(encoded(stripes), "x")
    assert halved.shape == (1, 2, 2)
    assert (halved * 255 - 100).abs().max() <= 15
    wide = np.tile(np.arange(7, dtype=np.uint8) * 30, (3, 1))
    cropped = Decoding(1, size=3)(encoded(wide), "x")  # nothing to resize: columns 2, 3, 4
    assert (cropped[0, 0] * 255).round().tolist() == [60, 90, 120]
    assert Decoding(1, size=5)(encoded(np.zeros((2, 3), np.uint8)), "x").shape == (1, 5, 5)


def test_resizing_by_hand():
    # Halving: weights 1, 3, 3, 1 over 8 at distances 1.5, 0.5, 0.5, 1.5, cut off at the border.
    image = Decoding(1, size=2)(encoded(np.tile(np.array([0, 0, 0, 240], np.uint8), (4, 1))), "x")
    assert (image[0, 0] * 255).round().tolist() == [0, round(240 * 3 / 7)]


def test_a_coloured_image_is_refused_for_one_channel():
    assert Decoding(1)(encoded(colour(9, 9, 9)), "x").shape == (1, 4, 4)
    with pytest.raises(EquipoiseError, match=r"'cat.png' .* coloured.*Add \?channels=3") as error:
        Decoding(1)(encoded(colour(9, 9, 8)), "cat.png")
    assert not isinstance(error.value, BrokenImageError)


def huge_png():
    """The header of a PNG of 100,000 x 100,000 pixels."""
    data = bytearray(encoded(grey(0)))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


NOISE = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"hello", r"it is no image of a known format \(PNG, JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a known format"),
        (encoded(NOISE, "JPEG")[:-300], "truncated"),
        (encoded(NOISE)[:-300], "truncated|broken"),
        (encoded(NOISE)[:20], "."),
        (huge_png(), "exceeds limit"),
    ],
)
def test_broken_images_are_one_error(data, reason):
    with pytest.raises(BrokenImageError, match=r"^Cannot read the image 'a/b.png': ") as error:
        Decoding(3)(data, "a/b.png")
    assert re.search(reason, error.value.reason)
    assert "\n" not in str(error.value)
    assert "--skip-broken" in str(error.value)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_many_pixels_are_refused_whatever_the_warning_filter(monkeypatch):
    monkeypatch.setattr(decoding_module, "MOST_PIXELS", 15)
    with pytest.raises(BrokenImageError, match="it claims 4 x 4 pixels"):
        Decoding(1)(encoded(grey(0)), "x")


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 3, 5)])
def test_encode_png_rounds(shape):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    image = Decoding(shape[0])(encode_png(values), "x")
    assert torch.equal(image, (values * 255).round() / 255)
    assert encode_png(torch.tensor([[[-1e-7, 1 + 1e-6]]])) == encode_png(
        torch.tensor([[[0.0, 1]]])
    )


@pytest.mark.parametrize("shape", [(2, 3, 3), (3, 3), (1, 3, 4, 4), (1, 0, 3)])
def test_encode_png_refuses_other_shapes(shape):
    with pytest.raises(EquipoiseError, match="one image with shape"):
        encode_png(torch.zeros(shape))


def test_encode_png_refuses_nan():
    with pytest.raises(EquipoiseError, match="NaN"):
        encode_png(torch.full((1, 2, 2), torch.nan))


# Digits -----------------------------------------------------------------------------------------


def test_digits_split_is_fixed_stratified_and_mixed():
    train, test, everything = (load_images("digits", split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(everything)) == (1197, 600, 1797)
    assert train.shape == (1, 8, 8)
    assert train.classes == tuple("0123456789")
    ids = [example.id for example in train], [example.id for example in test]
    assert set(ids[0]) | set(ids[1]) == {f"digits/{row:04d}" for row in range(1797)}
    labels = test.batch(range(600)).labels
    share = everything.batch(range(1797)).labels.bincount() * 600 / 1797
    assert (labels.bincount() - share).abs().max() < 1
    assert len(set(labels[:40].tolist())) == 10
    # The split is part of every published number: it must never move.
    assert ids[1][:4] == ["digits/1081", "digits/1707", "digits/0927", "digits/0713"]
    assert test.fingerprint(range(600)) == load_images("digits").fingerprint(range(600))


def test_digits_values_are_the_original_ones():
    from sklearn.datasets import load_digits

    data, _ = load_digits(return_X_y=True)
    data = np.asarray(data).reshape(-1, 8, 8)
    test = load_images("digits")
    for example in (test[0], test[-1]):
        row = int(example.id.removeprefix("digits/"))
        assert torch.equal(example.image[0], torch.tensor(data[row] / 16, dtype=torch.float32))


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("digits", "tset", "'digits' has no split 'tset'. Did you mean 'test'"),
        ("digits?size=32", "test", "unknown option 'size'. It takes no options"),
    ],
)
def test_digits_refusals(spec, split, message):
    with pytest.raises(EquipoiseError, match=message):
        load_images(spec, split)


# What every set can do --------------------------------------------------------------------------


class Made(Images):
    """Images from a list, `None` for a broken one."""

    def __init__(self, examples):
        self.spec, self.split, self.classes = "made", "test", ("a", "b")
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def read(self, index):
        if self.examples[index] is None:
            raise BrokenImageError(str(index), "rotten")
        return self.examples[index]

    def fingerprint(self, indices):
        return ",".join(map(str, indices))


def example(name, shape=(1, 2, 2), **more):
    return Example(torch.zeros(shape), 1, name, **more)


def test_indexing_and_iteration():
    images = Made([example(name) for name in "abc"])
    assert images[-1].id == "c"
    assert [item.id for item in images] == list("abc")
    for outside in (3, -4):
        with pytest.raises(IndexError):
            images[outside]
    assert repr(images) == "Made('made', split='test', 3 images)"


def test_batch_collects_what_is_known():
    mask = torch.ones(1, 2, 2)
    images = Made([example("a", group="g", mask=mask), example("b", mask=mask), example("c")])
    batch = images.batch([1, 0])
    assert batch.images.shape == (2, 1, 2, 2)
    assert batch.labels.dtype == torch.int64
    assert (batch.ids, batch.groups, batch.broken) == (("b", "a"), (None, "g"), ())
    assert [mask is not None and tuple(mask.shape) for mask in batch.masks] == [(1, 2, 2)] * 2
    assert images.batch([0, 2]).masks[1] is None


def test_broken_images_are_skipped_only_on_request():
    images = Made([None, example("a"), None])
    with pytest.raises(BrokenImageError, match="'0': rotten"):
        images.batch(range(3))
    batch = images.batch(range(3), skip_broken=True)
    assert batch.ids == ("a",)
    assert [(item.id, item.reason) for item in batch.broken] == [("0", "rotten"), ("2", "rotten")]
    empty = images.batch([0, 2], skip_broken=True)
    assert empty.images.shape == (0, 1, 2, 2)
    assert empty.labels.shape == (0,)
    assert images.shape == (1, 2, 2)
    with pytest.raises(BrokenImageError, match="'0': rotten"):
        _ = Made([None]).shape


def test_mixed_shapes_name_both_and_the_remedy():
    images = Made([example("a"), example("b", (1, 3, 2))])
    with pytest.raises(EquipoiseError, match=r"'b' .*\(1, 3, 2\).*\(1, 2, 2\).*made\?size=32"):
        images.batch([0, 1])


def test_subset_is_seeded_ordered_and_nested():
    images = Made([example(str(i)) for i in range(100)])
    ids = [item.id for item in images.subset(10, seed=1)]
    assert ids == sorted(ids, key=int)
    assert ids == [item.id for item in images.subset(10, seed=1)]
    assert ids != [item.id for item in images.subset(10, seed=2)]
    assert set(ids) < {item.id for item in images.subset(30, seed=1)}
    assert images.subset(100) is images
    assert images.subset(None) is images
    with pytest.raises(EquipoiseError, match="at least 1"):
        images.subset(0)


def test_subset_of_a_subset():
    images = Subset(Subset(Made([example(c) for c in "abcde"]), [4, 2, 0]), [2, 0])
    assert [item.id for item in images] == ["a", "e"]
    assert images.fingerprint([0, 1]) == "0,4"
    assert (images.spec, images.split, images.classes) == ("made", "test", ("a", "b"))


# Folders ----------------------------------------------------------------------------------------


def test_split_folders(tmp_path):
    save(tmp_path / "test/dog/2.PNG", grey(102))
    save(tmp_path / "test/dog/deep/er/1.png", grey(51))
    save(tmp_path / "test/cat/10.jpg", grey(0))
    save(tmp_path / "train/ant/1.png", grey(0))
    save(tmp_path / "test/dog/.hidden.png", grey(0))
    save(tmp_path / "test/dog/.git/1.png", grey(0))
    (tmp_path / "test/dog/notes.txt").write_text("no image")
    images = load_images(f"folder:{tmp_path}")
    assert images.classes == ("ant", "cat", "dog")  # of both splits, so labels agree
    assert [item.id for item in images] == [
        "test/cat/10.jpg",
        "test/dog/2.PNG",
        "test/dog/deep/er/1.png",
    ]
    assert [item.label for item in images] == [1, 2, 2]
    assert images.shape == (1, 4, 4)
    assert images[1].image.unique().item() == pytest.approx(0.4)
    assert load_images(f"folder:{tmp_path}", "train").classes == images.classes
    with pytest.raises(EquipoiseError, match=r"the split 'val' in .*: it has test, train\."):
        load_images(f"folder:{tmp_path}", "val")


def test_class_folders_alone_serve_only_as_test(tmp_path):
    save(tmp_path / "b/1.png", grey(0))
    save(tmp_path / "a/1.png", grey(0))
    images = load_images(f"folder:{tmp_path}?size=2&channels=3")
    assert [item.id for item in images] == ["a/1.png", "b/1.png"]
    assert images.shape == (3, 2, 2)
    with pytest.raises(EquipoiseError, match=r"'train' .* it has test\..*put the images into"):
        load_images(f"folder:{tmp_path}", "train")


def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    for name in ("3.png", "1.png", "x/2.png", "2.png"):
        save(tmp_path / "a" / name, grey(0))
    before = [item.id for item in load_images(f"folder:{tmp_path}")]
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *a, **k: ((f, d, sorted(n, reverse=True)) for f, d, n in walk(*a, **k))
    )
    assert before == [item.id for item in load_images(f"folder:{tmp_path}")]
    assert before == ["a/1.png", "a/2.png", "a/3.png", "a/x/2.png"]


def test_channels_are_found_from_the_headers(tmp_path):
    for i in range(200):
        save(tmp_path / f"a/{i:03d}.png", grey(i))
    assert load_images(f"folder:{tmp_path}").shape[0] == 1
    save(tmp_path / "a/000.png", colour(1, 2, 3))
    images = load_images(f"folder:{tmp_path}")
    assert images.shape[0] == 3
    assert images[199].image.shape == (3, 4, 4)


def test_hugging_face_table(tmp_path):
    for name in ("x/1.png", "2.png", "3.png"):
        save(tmp_path / name, grey(0))
    (tmp_path / "metadata.csv").write_text(
        "\ufefffile_name,label,split,group\n"
        "x/1.png,zebra,test,g1\n./2.png,ant,test,\n3.png,bee,train,g2\n",
        encoding="utf-8",
    )
    images = load_images(f"folder:{tmp_path}")
    assert images.classes == ("ant", "bee", "zebra")
    found = [(item.id, item.label, item.group) for item in images]
    assert found == [("2.png", 0, None), ("x/1.png", 2, "g1")]
    assert [item.id for item in load_images(f"folder:{tmp_path}", "train")] == ["3.png"]


def test_table_in_each_split(tmp_path):
    for split, label in (("train", "0"), ("test", "2")):
        save(tmp_path / split / "1.png", grey(0))
        (tmp_path / split / "metadata.csv").write_text(f"file_name,label\n1.png,{label}\n")
    images = load_images(f"folder:{tmp_path}")
    assert images.classes == ("0", "1", "2")
    assert (images[0].id, images[0].label, len(images)) == ("test/1.png", 2, 1)
    with pytest.raises(EquipoiseError, match="it has test, train"):
        load_images(f"folder:{tmp_path}", "val")


def test_waterbirds_table(tmp_path):
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for i, (y, split, place) in enumerate([(0, 0, 1), (1, 1, 0), (1, 2, 0), (0, 2, 1)]):
        save(tmp_path / f"{i:03d}.bird/{i}.png", colour(1, 2, 3))
        lines.append(f"{i},{i:03d}.bird/{i}.png,{y},{split},{place},/b/bamboo/1.jpg")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    images = load_images(f"folder:{tmp_path}", "test")
    assert [(item.id, item.label, item.group) for item in images] == [
        ("002.bird/2.png", 1, "y1-place0"),
        ("003.bird/3.png", 0, "y0-place1"),
    ]
    assert len(load_images(f"folder:{tmp_path}", "train")) == 1
    assert len(load_images(f"folder:{tmp_path}", "val")) == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file_name,label\n../1.png,a\n", r"'../1.png', which is not inside its folder"),
        ("file_name,label\n/etc/1.png,a\n", "'/etc/1.png', which is not inside"),
        ("file_name,label\na\\..\\..\\1.png,a\n", "not inside its folder"),
        ("file_name,label\nC:\\1.png,a\n", "not inside its folder"),
        ("file_name,label\n,a\n", "the file '', which is not inside"),
        ("file_name,label\n1.png,a\n1.png,b\n", "lists '1.png' twice"),
        ("name,label\n1.png,a\n", r"columns \['label', 'name'\]\. It needs 'file_name'"),
        ("", "It needs 'file_name' and 'label'"),
        ("file_name,label\n1.png,\n", "some rows have no label"),
        ("file_name,label\n1.png,-1\n", "label '-1' .*labels must be 0"),
        ("file_name,label\n1.png,99999999999\n", "label '99999999999'"),
        ("file_name,label\n", "Cannot find an image in the split 'test'"),
        ("file_name,label,split\n1.png,a,train\n", "the split 'test' .*: it has train"),
    ],
)
def test_table_refusals(tmp_path, table, message):
    save(tmp_path / "1.png", grey(0))
    (tmp_path / "metadata.csv").write_text(table)
    with pytest.raises(EquipoiseError, match=message) as error:
        load_images(f"folder:{tmp_path}")
    assert "\n" not in str(error.value)


def test_table_that_is_no_text(tmp_path):
    (tmp_path / "metadata.csv").write_bytes(b"\xff\xfe\x00\x01file_name")
    with pytest.raises(EquipoiseError, match="Save it as a UTF-8 CSV table"):
        load_images(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ([], "", "Cannot find an image in the split 'test'"),
        (["test/1.png"], "", r"has no class folders\. Put the images into .*test/CLASS"),
        (["a/1.png"], "?size=x", r"Cannot use size=x .*as in \?size=32"),
        (["a/1.png"], "?size=0", "Cannot use size=0"),
        (["a/1.png"], "?channels=4", "Cannot use channels=4"),
        (["a/1.png"], "?sise=4", "unknown option 'sise'. Did you mean 'size'"),
    ],
)
def test_folder_refusals(tmp_path, files, options, message):
    for name in files:
        save(tmp_path / name, grey(0))
    with pytest.raises(EquipoiseError, match=message):
        load_images(f"folder:{tmp_path}{options}")


def test_a_broken_file_is_named(tmp_path):
    save(tmp_path / "a/1.png", grey(0))
    save(tmp_path / "a/2.png", NOISE)
    (tmp_path / "a/2.png").write_bytes((tmp_path / "a/2.png").read_bytes()[:-200])
    (tmp_path / "a/3.png").touch()
    save(tmp_path / "a/4.png", grey(0))
    images = load_images(f"folder:{tmp_path}")
    (tmp_path / "a/4.png").unlink()
    with pytest.raises(BrokenImageError, match=r"'a/2.png': .*Repair or remove it"):
        images.batch(range(4))
    batch = images.batch(range(4), skip_broken=True)
    assert batch.ids == ("a/1.png",)
    assert [item.id for item in batch.broken] == ["a/2.png", "a/3.png", "a/4.png"]
    assert [item.reason for item in batch.broken][1:] == [
        "it is empty",
        "no such file or directory",
    ]


def test_folder_fingerprint_follows_what_matters(tmp_path):
    for name in ("1.png", "2.png"):
        save(tmp_path / "a" / name, grey(0))
    images = load_images(f"folder:{tmp_path}")
    before = images.fingerprint([0, 1])
    assert before == load_images(f"folder:{tmp_path}").fingerprint([0, 1])
    assert before != images.fingerprint([0])
    assert before != load_images(f"folder:{tmp_path}?size=2").fingerprint([0, 1])
    one = images.fingerprint([0])
    os.utime(tmp_path / "a/2.png", ns=(1, 1))
    assert before != images.fingerprint([0, 1])
    assert one == images.fingerprint([0])


# Parquet ----------------------------------------------------------------------------------------

COLUMNS = "name VARCHAR, label TINYINT, image BLOB"
CLASSES = ", KV_METADATA {classes: 'cat,dog'}"


def test_parquet_as_in_our_own_files(tmp_path):
    rows = [(f"{i}.png", i % 2, encoded(grey(i))) for i in range(5)]
    write_parquet(tmp_path / "test.parquet", rows, COLUMNS, CLASSES)
    images = load_images(f"parquet:{tmp_path}")
    assert images.classes == ("cat", "dog")
    assert images.shape == (1, 4, 4)
    assert [item.id for item in images] == [f"{i}.png" for i in range(5)]
    assert images.batch(range(5)).labels.tolist() == [0, 1, 0, 1, 0]
    assert images[-1].image.mul(255).unique().tolist() == [4]
    assert load_images(f"parquet:{tmp_path}?size=2&channels=3").shape == (3, 2, 2)
    assert [item.id for item in pickle.loads(pickle.dumps(images))] == [item.id for item in images]


def test_parquet_as_in_hugging_face(tmp_path):
    info = '{"info": {"features": {"label": {"names": ["ant", "bee"], "_type": "ClassLabel"}}}}'
    for part in (1, 0):  # written in the wrong order
        rows = [({"bytes": encoded(colour(part, i, 0)), "path": "x.png"}, i % 2) for i in range(3)]
        write_parquet(
            tmp_path / f"data/test-{part:05d}-of-00002.parquet",
            rows,
            "image STRUCT(bytes BLOB, path VARCHAR), label BIGINT",
            f", KV_METADATA {{huggingface: '{info}'}}",
        )
    images = load_images(f"parquet:{tmp_path}")
    assert images.classes == ("ant", "bee")
    assert [item.id for item in images] == [f"test#{i}" for i in range(6)]
    reds = images.batch(range(6)).images[:, :2, 0, 0] * 255
    assert reds.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_parquet_labels_without_names(tmp_path):
    image = encoded(grey(0))
    columns = 'label VARCHAR, image BLOB, "group" INTEGER'
    write_parquet(tmp_path / "test.parquet", [("dog", image, 7), ("bee", image, None)], columns)
    write_parquet(tmp_path / "train.parquet", [("ant", image, 7)], columns)
    images = load_images(f"parquet:{tmp_path}")
    assert images.classes == ("ant", "bee", "dog")
    assert [(item.label, item.group) for item in images] == [(2, "7"), (1, None)]
    write_parquet(tmp_path / "numbers/test.parquet", [(3, image)], "label TINYINT, image BLOB")
    assert load_images(f"parquet:{tmp_path}/numbers").classes == ("0", "1", "2", "3")


def test_parquet_ids_are_made_unique(tmp_path):
    rows = [(name, 0, encoded(grey(0))) for name in ("a", "a", "b")]
    write_parquet(tmp_path / "test.parquet", rows, COLUMNS)
    assert [item.id for item in load_images(f"parquet:{tmp_path}")] == ["a#0", "a#1", "b#2"]


@pytest.mark.parametrize("folder", ["it's", "a[1]", "x*y", "label=3", "data set; DROP"])
def test_parquet_paths_are_taken_literally(tmp_path, folder):
    write_parquet(tmp_path / folder / "test.parquet", [("a", 1, encoded(grey(0)))], COLUMNS)
    write_parquet(tmp_path / "a1/test.parquet", [("decoy", 0, encoded(grey(0)))], COLUMNS)
    images = load_images(f"parquet:{tmp_path}/{folder}")
    assert [(item.id, item.label) for item in images] == [("a", 1)]


def test_a_parquet_file_serves_as_what_it_is_named(tmp_path):
    path = tmp_path / "train-00000.parquet"
    write_parquet(path, [("a", 0, encoded(grey(0)))], COLUMNS)
    assert len(load_images(f"parquet:{path}", "train")) == len(load_images(f"parquet:{path}")) == 1
    with pytest.raises(EquipoiseError, match=r"split 'val' in .*: it has test, train"):
        load_images(f"parquet:{path}", "val")


def test_a_parquet_row_without_an_image_is_broken(tmp_path):
    rows = [("a", 0, None), ("b", 0, b"junk"), ("c", 0, encoded(grey(0)))]
    write_parquet(tmp_path / "test.parquet", rows, COLUMNS)
    batch = load_images(f"parquet:{tmp_path}").batch(range(3), skip_broken=True)
    assert batch.ids == ("c",)
    assert [(item.id, item.reason[:20]) for item in batch.broken] == [
        ("a", "its row holds no byt"),
        ("b", "it is no image of a "),
    ]


@pytest.mark.parametrize(
    ("rows", "columns", "options", "message"),
    [
        ([("a", 2, b"")], COLUMNS, CLASSES, r"label 2 .*labels must be 0\.\.1 or class names"),
        ([("a", -1, b"")], COLUMNS, "", "Cannot use the label -1"),
        ([("a", None, b"")], COLUMNS, "", "some rows have no label"),
        ([("a", 0)], "name VARCHAR, label INT", "", "no column 'image' but name, label"),
        ([(b"",)], "image BLOB", "", "no column 'label' but image"),
        ([], COLUMNS, CLASSES, "it has no rows"),
        ([("a", 0, b"")], COLUMNS, ", KV_METADATA {huggingface: '[1'}", "nor Hugging Face's JSON"),
    ],
)
def test_parquet_refusals(tmp_path, rows, columns, options, message):
    write_parquet(tmp_path / "test.parquet", rows, columns, options)
    with pytest.raises(EquipoiseError, match=message) as error:
        load_images(f"parquet:{tmp_path}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"PAR1 and then nothing of use PAR1"])
def test_a_damaged_parquet_file(tmp_path, data):
    (tmp_path / "test.parquet").write_bytes(data)
    with pytest.raises(EquipoiseError, match=r"Cannot read .*test.parquet as Parquet: ") as error:
        load_images(f"parquet:{tmp_path}")
    assert "\n" not in str(error.value)


def test_parquet_split_refusals(tmp_path):
    with pytest.raises(EquipoiseError, match=r"Cannot find SPLIT.parquet or SPLIT-\*.parquet in"):
        load_images(f"parquet:{tmp_path}")
    write_parquet(tmp_path / "train.parquet", [("a", 0, encoded(grey(0)))], COLUMNS)
    with pytest.raises(EquipoiseError, match=r"Cannot find the split 'test' .*: it has train"):
        load_images(f"parquet:{tmp_path}")


def test_parquet_fingerprint_follows_what_matters(tmp_path):
    path = tmp_path / "test.parquet"
    write_parquet(path, [(f"{i}", 0, encoded(grey(i))) for i in range(4)], COLUMNS)
    images = load_images(f"parquet:{tmp_path}")
    before = images.fingerprint([0, 1])
    assert before == load_images(f"parquet:{tmp_path}").fingerprint([0, 1])
    assert before != images.fingerprint([0, 2])
    assert before != load_images(f"parquet:{tmp_path}?size=2").fingerprint([0, 1])
    os.utime(path, ns=(1, 1))
    assert before != images.fingerprint([0, 1])


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """24 MiB of rows in two files, read in blocks of 512 KiB: row i holds i, then 4 KiB."""
    folder = tmp_path_factory.mktemp("large")
    with duckdb.connect() as connection:
        for part in range(2):
            path = quoted(folder / f"test-{part}.parquet")
            connection.execute(
                "COPY (SELECT 0 label, (i || '|' || repeat(md5(i::VARCHAR), 128))::BLOB AS image "
                f"FROM range({3072 * part}, {3072 * (part + 1)}) t(i)) TO {path} "
                "(FORMAT parquet, ROW_GROUP_SIZE 2048, COMPRESSION uncompressed)"
            )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "BLOCK_BYTES", 2**19)
        return load_images(f"parquet:{folder}")


def test_random_access_finds_the_right_rows(large):
    order = [0, 6143, 3071, 3072, 2047, 2048, *np.random.RandomState(0).randint(0, 6144, 20)]
    assert [int(large.blocks.row(int(i))[0].split(b"|")[0]) for i in order] == order


def test_memory_does_not_grow_with_the_rows(large):
    assert len(large) == 6144
    tracemalloc.start()
    for index in range(len(large)):
        large.blocks.row(index)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(large.blocks.held) == KEPT
    assert held < 1.1 * KEPT * 2**19
    assert peak < 1.2 * KEPT * 2**19


# Specs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", "'digit' is no kind of source. Did you mean 'digits'"),
        (
            "zip:x",
            "'zip' is no kind of source. Known: digits, digits-on-photos, folder, imagenet9",
        ),
        ("folder:/no/such", "Cannot open 'folder:/no/such': there is no folder '/no/such'"),
        ("parquet:/no/such", "Cannot open 'parquet:/no/such': there is no '/no/such'"),
        ("folder", "Write folder:PATH"),
        ("parquet", "Write parquet:PATH"),
    ],
)
def test_spec_refusals(spec, message):
    with pytest.raises(EquipoiseError, match=message):
        load_images(spec)


def test_a_bare_path_gets_its_kind(tmp_path):
    with pytest.raises(EquipoiseError, match=f"Did you mean 'folder:{tmp_path}'"):
        load_images(str(tmp_path))


def test_heavy_imports_wait():
    code = (
        "import sys, equipoise.images\n"
        "print(*{'duckdb', 'sklearn', 'pandas', 'pyarrow'} & set(sys.modules))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
