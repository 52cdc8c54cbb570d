"""What is in a file of somebody else's stays data: each test is a fault that there was, or a bound that
SECURITY.md states.

The readers of checkpoints have tests of their own in test_edm.py and test_robust_imagenet.py, the server in
test_view.py and test_people.py, names on pages in test_report.py.
"""

import io
import json
import os
import resource
import shutil
import sqlite3
import struct
import zipfile
import zlib
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from conftest import linear
from PIL import Image
from test_people import Browser

import equipoise as eq
from equipoise import bounds
from equipoise.audit.people import create, read_people
from equipoise.classifiers import MLP, save_classifier, torch_files
from equipoise.cli import entry, main
from equipoise.counterfactuals import CounterfactualSet
from equipoise.diffusion import Preconditioned, UNet, save_denoiser
from equipoise.errors import EquipoiseError
from equipoise.files import read_json
from equipoise.images import BrokenImageError, Decoding, blocks
from equipoise.images import decode as decoding_module
from equipoise.probes import Standard
from equipoise.report.export import tables
from equipoise.seals import BLANK, seal
from equipoise.specs import parse_whole_number
from equipoise.store import arrays, fetch_rows, read_facts
from equipoise.view.answers import Asking

HUGE = "9" * 5000


def line_of(arguments, capsys, code=2):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == code and said.count("\n") == 1 and "Traceback" not in said
    return said


# JSON and paths


@pytest.mark.parametrize(
    "text, words",
    [
        ("[" * 100_000, "nested more than 64"),
        ("[" * 65 + "]" * 65, "nested more than 64"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested more than 64"),
        (HUGE, "not JSON"),
        ("NaN", "not finite"),
        ('{"a": [1, -Infinity]}', "not finite"),
        ("1e999", "not finite"),
        ("\ufeff{}", "not JSON"),
    ],
)
def test_json_that_would_exhaust_a_reader_is_refused(text, words, tmp_path):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(EquipoiseError, match=words):
        read_json(tmp_path / "x.json")


def test_honest_json_is_read(tmp_path):
    deep = json.loads("[" * 60 + "]" * 60)
    (tmp_path / "x.json").write_text(json.dumps({"a": [1, 2.5, None, "\udcff"], "deep": deep}))
    assert read_json(tmp_path / "x.json") == {"a": [1, 2.5, None, "\udcff"], "deep": deep}
    (tmp_path / "x.json").write_text('{"a": 1, "a": 2}')
    assert read_json(tmp_path / "x.json") == {"a": 2}


def test_large_files_and_pipes_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text("[1, 2, 3]")
    monkeypatch.setattr("equipoise.files.LARGEST_JSON", 8)
    with pytest.raises(EquipoiseError, match="9 bytes are more than the 8"):
        read_json(tmp_path / "x.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EquipoiseError, match="no regular file"):
        read_json(tmp_path / "pipe")
    with pytest.raises(BrokenImageError, match="no regular file"):
        Decoding(3)(tmp_path / "pipe", "pipe")


@pytest.mark.parametrize(
    "spec",
    [
        f"digits-on-photos?seed={HUGE}",
        f"folder:.?size={HUGE}",
        "folder:~nobody-of-that-name/x",
        "folder:a\0b",
        f"folder:{'x' * 300}",
        f"parquet:{'é' * 200}",
        "x" * 5000,
        "\ud800",
    ],
)
def test_specs_that_no_file_can_have_are_one_error(spec):
    for load in (eq.load_images, eq.load_classifier, eq.load_denoiser):
        with pytest.raises(EquipoiseError):
            load(spec)


def test_whole_numbers_have_few_digits():
    assert parse_whole_number("9" * 18, "x") == 10**18 - 1
    with pytest.raises(EquipoiseError, match="at most 18 digits"):
        parse_whole_number(HUGE, "x")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/x", "C:\\x", "\\\\host\\x", "a\\..\\..\\x", "", "a\0", "\ud800", 3],
)
def test_names_that_leave_their_folder(name):
    assert not bounds.is_within(name)


def test_names_that_stay_in_their_folder():
    assert all(map(bounds.is_within, ("a", "a/b.png", "a/..b/c", "~x", "é/\u202e.png")))


# Images


def png_of(width, height, depth=8, colour=2):
    """A PNG of that size with nothing in it."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packer = zlib.compressobj(9)
    lines = b"".join(
        packer.compress(b"\0" * (1 + (width * depth + 7) // 8)) for _ in range(height)
    )
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", lines + packer.flush()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_large_photograph_is_read_and_a_bomb_is_not():
    # One bit a pixel: 18 MB in memory, and 18 kB as a file.
    large = png_of(12_000, 12_000, depth=1, colour=0)
    assert len(large) < 100_000
    assert Decoding(1, 8)(large, "x").shape == (1, 8, 8)
    for size in ((12_289, 12_288), (65_500, 65_500), (2**31 - 1, 1)):
        head = png_of(1, 1)
        bomb = head[:16] + struct.pack(">II", *size) + head[24:]
        bomb = bomb[:29] + struct.pack(">I", zlib.crc32(bomb[12:29])) + bomb[33:]
        with pytest.raises(BrokenImageError, match=r"pixels|exceeds limit"):
            Decoding(3)(bomb, "x")


def test_a_long_and_thin_image_is_not_blown_up():
    """224 pixels high it would be 4,480,000 wide: 3 GB in colour."""
    file = io.BytesIO()
    Image.new("RGB", (20_000, 1)).save(file, "PNG")
    assert Decoding(3)(file.getvalue(), "x").shape == (3, 1, 20_000)
    with pytest.raises(BrokenImageError, match="too long and thin"):
        Decoding(3, 224)(file.getvalue(), "x")


def test_large_image_files_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(png_of(2, 2))
    monkeypatch.setattr(decoding_module, "LARGEST_IMAGE", 40)
    with pytest.raises(BrokenImageError, match="more than 40 bytes"):
        Decoding(3)(tmp_path / "x.png", "x")


def test_an_animation_is_its_first_frame():
    file = io.BytesIO()
    frames = [Image.new("L", (4, 4), k) for k in range(0, 250, 5)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert Decoding(1)(file.getvalue(), "x").max() == 0


# Tables of images


def test_too_many_cells_and_names_that_no_file_has(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,1,2,3\n")
    assert len(eq.load_images(f"folder:{tmp_path}")) == 1
    (tmp_path / "metadata.csv").write_text("file_name,label\na\0b.png,1\n")
    with pytest.raises(EquipoiseError, match=r"not inside its folder|line contains NUL"):
        eq.load_images(f"folder:{tmp_path}")


def test_large_tables_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "metadata.csv").write_text("file_name,label\na.png,1\n")
    monkeypatch.setattr("equipoise.images.metadata.LARGEST_TABLE", 10)
    with pytest.raises(EquipoiseError, match="bytes are more than the 10"):
        eq.load_images(f"folder:{tmp_path}")


def parquet(folder, select, metadata=""):
    path = folder / "test.parquet"
    kept = f", KV_METADATA {{{metadata}}}" if metadata else ""
    duckdb.sql(f"COPY (SELECT {select}) TO '{path}' (FORMAT parquet{kept})")
    return f"parquet:{path}"


PIXEL = "'\\xAA'::BLOB AS image"


@pytest.mark.parametrize(
    "select, metadata",
    [
        (f"{PIXEL}, [1, 2] AS label", ""),
        (f"{PIXEL}, {{'a': 1}} AS label", ""),
        (f"{PIXEL}, 'nan'::DOUBLE AS label", ""),
        (f"{PIXEL}, repeat('x', 100000) AS label", ""),
        (f"{PIXEL}, INTERVAL 3000000 MONTH AS label", ""),
        (f"[{PIXEL.partition(' AS')[0]}] AS image, 1 AS label", ""),
        (f"{PIXEL}, 1 AS label", f"huggingface: '{'[' * 5000}'"),
        (f"{PIXEL}, 1 AS label", f"huggingface: '{HUGE}'"),
        (
            f"{PIXEL}, 1 AS label",
            """huggingface: '{"info": {"features": {"label": {"names": [1, 2]}}}}'""",
        ),
        (f"{PIXEL}, range AS label FROM range(100002)", ""),
    ],
)
def test_cells_that_are_no_labels(select, metadata, tmp_path):
    try:
        eq.load_images(parquet(tmp_path, select, metadata)).read(0)
    except EquipoiseError as error:
        assert "\n" not in str(error)
    else:
        raise AssertionError("a byte is no image")


def test_long_ids_are_cut_and_large_cells_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.images.parquet.LARGEST_IMAGE", 1000)
    select = "repeat('x', 100000)::BLOB AS image, 1 AS label, repeat('y', 100000) AS id"
    images = eq.load_images(parquet(tmp_path, select) + "?channels=1")
    with pytest.raises(BrokenImageError) as error:
        images.read(0)
    assert error.value.id == "y" * 1000 and "more than 1000" in error.value.reason


def test_a_file_that_holds_more_than_it_says_is_not_kept_in_memory(tmp_path, monkeypatch):
    spec = parquet(tmp_path, "repeat('x', 500)::BLOB AS image, range AS label FROM range(90)")
    images = eq.load_images(f"{spec}?channels=1")
    images.blocks.rows = 10
    monkeypatch.setattr(blocks, "KEPT_BYTES", 12_000)
    for index in range(90):
        assert images.blocks.row(index)[1] == index
    assert len(images.blocks.held) == 2
    images.blocks.held.clear()
    with pytest.raises(EquipoiseError, match="more than 4000 bytes"):
        blocks.query(images.blocks.files, f"SELECT image FROM {blocks.TABLE}", most=4000)


# Weights and checkpoints


@pytest.fixture
def classifier(tmp_path):
    net = MLP(shape=(1, 4, 4), classes=3, widths=(5,))
    save_classifier(eq.wrap(net), tmp_path / "net")
    return tmp_path / "net"


def edit(path, **changes):
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | changes))


@pytest.mark.parametrize(
    "net",
    [
        {"kind": "mlp", "shape": [1, 4, 4], "classes": 3, "widths": [10**9]},
        {"kind": "mlp", "shape": [1, 2**40, 4], "classes": 3, "widths": [5]},
        {"kind": "mlp", "shape": [1, 4, 4], "classes": 3, "widths": [1] * 10**6},
        {"kind": "residual", "shape": [1, 4, 4], "classes": 3, "widths": [4], "blocks": 10**9},
        {"kind": "nearest", "shape": [3, 10**4, 10**4], "classes": 3, "count": 10**6},
        {"kind": "resnet", "shape": [3, 8, 8], "classes": 3, "depth": 50, "width": 10**4},
        {"kind": ["mlp"]},
    ],
)
def test_a_line_of_json_cannot_ask_for_a_large_network(net, classifier):
    edit(classifier / "classifier.json", net=net)
    with pytest.raises(EquipoiseError):
        eq.load_classifier(f"local:{classifier}")


@pytest.mark.parametrize(
    "changes",
    [{"width": 10**7}, {"blocks": 10**9}, {"multipliers": [1] * 10**6}, {"shape": [1, 2**40, 8]}],
)
def test_nor_can_that_of_a_denoiser(changes, tmp_path):
    settings = {"shape": (1, 8, 8), "classes": 2, "width": 4}
    made = Preconditioned(UNet(**settings), sigma_data=0.5, shape=(1, 8, 8), classes="ab", scale=1)
    save_denoiser(made, tmp_path / "net")
    assert eq.load_denoiser(f"local:{tmp_path / 'net'}").classes == ("a", "b")
    record = json.loads((tmp_path / "net" / "denoiser.json").read_text())
    edit(tmp_path / "net" / "denoiser.json", net=record["net"] | changes)
    with pytest.raises(EquipoiseError):
        eq.load_denoiser(f"local:{tmp_path / 'net'}")
    edit(tmp_path / "net" / "denoiser.json", net=record["net"], sigma_data=10**400)
    with pytest.raises(EquipoiseError):
        eq.load_denoiser(f"local:{tmp_path / 'net'}")


@pytest.mark.parametrize(
    "head",
    [
        b"{}",
        b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,400000000000]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
        b'{"a":' * 5000,
    ],
)
@pytest.mark.parametrize("stated", [None, 2**60])
def test_heads_of_weights_that_lie(head, stated, classifier):
    length = len(head) if stated is None else stated
    (classifier / "weights.safetensors").write_bytes(struct.pack("<Q", length) + head + b"\0" * 4)
    with pytest.raises(EquipoiseError, match="weights"):
        eq.load_classifier(f"local:{classifier}")


def checkpoint(names, tmp_path):
    """A zip file as torch.save writes one, with further members."""
    path = tmp_path / "resnet18_l2_eps1.ckpt"
    torch.save({"model": {"x": torch.ones(3)}}, path)
    with zipfile.ZipFile(path, "a") as archive:
        for name in names:
            archive.writestr(name, b"evil")
    return path


def test_nothing_of_an_archive_is_written_by_name(tmp_path, monkeypatch):
    """Names that lead out of the folder, and links: no member of an archive becomes a file."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = checkpoint(["../evil", "/tmp/evil-equipoise", "C:\\evil", "a/../../evil"], tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("resnet18_l2_eps1/data/9")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(EquipoiseError, match="None of it was run"):
        eq.load_classifier(f"robust-imagenet:{path}")
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/evil-equipoise").exists()


def test_an_archive_of_many_members_is_refused_before_they_are_listed(tmp_path, monkeypatch):
    path = checkpoint([f"{k:0200d}" for k in range(100)], tmp_path)
    monkeypatch.setattr(torch_files._Sparing, "most", 10_000)
    with pytest.raises(EquipoiseError, match="more than 10000 bytes read at once"):
        eq.load_classifier(f"robust-imagenet:{path}")


def test_a_tar_file_is_no_checkpoint(tmp_path):
    import tarfile

    path = tmp_path / "resnet18_l2_eps1.ckpt"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("../evil"))
    with pytest.raises(EquipoiseError, match=r"no file of torch\.save"):
        eq.load_classifier(f"robust-imagenet:{path}")


# Runs


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    out = tmp_path_factory.mktemp("foreign") / "run"
    net = eq.wrap(linear(10, (1, 8, 8)).net, name="a")
    eq.audit([net], "digits", ["standard"], out, limit=8, pictures=2)
    return out


@pytest.fixture
def run(audited, tmp_path):
    return shutil.copytree(audited, tmp_path / "run")


def first_shard(run):
    return json.loads((run / "run.json").read_text())["shards"][0]


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"file": name}
            for name in ("../x.parquet", "/x.parquet", "a/../../x", "shards/*.parquet")
        ),
        *({"first": -1}, {"first": 8}, {"last": 10**30}, {"first": "0"}, {"last": True}),
        *({"classifier": 3}, {"probe": None}, {"file": None}),
    ],
)
def test_shards_stay_in_the_folder_and_are_ranges(change, run):
    shard = first_shard(run)
    edit(run / "run.json", shards=[shard | change])
    with pytest.raises(EquipoiseError, match=r"shard 0 in its run\.json"):
        eq.Run(run)
    # A shard that lacks the same thing.
    edit(run / "run.json", shards=[{k: v for k, v in shard.items() if k not in change}])
    with pytest.raises(EquipoiseError, match=r"shard 0 in its run\.json"):
        eq.Run(run)


@pytest.mark.parametrize(
    "changes",
    [
        *({"shards": {}}, {"shards": [3]}, {"probes": []}, {"probes": {"standard": 3}}),
        *({"classifiers": {"a": []}}, {"classifiers": [1]}, {"seed": 10**30}, {"seed": "0"}),
        *({"status": None}, {"data": {"images": 10**15, "pictures": 10**15}}),
        *({"data": {"shape": [1, 2]}}, {"data": {"classes": "abc"}}, {"probe_facts": 3}),
    ],
)
def test_other_records_are_refused(changes, run):
    edit(run / "run.json", **changes)
    with pytest.raises(EquipoiseError, match=r"in its run\.json is not what an audit writes"):
        eq.Run(run)


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_out_of_the_folder_is_refused(linked, run, tmp_path):
    place = run / first_shard(run)["file"]
    moved = place if linked == "file" else place.parent
    moved.rename(tmp_path / "elsewhere")
    moved.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EquipoiseError, match="link out of the folder"):
        eq.Run(run).images()


def test_a_linked_run_is_read(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    assert eq.Run(tmp_path / "link").images().fetchall()


SECRET = "of the user's"


def rewrite(path, select, changes=None):
    """Puts another table into a shard's place, with its facts and a seal that fits; `select` reads the old one as t."""
    facts = json.dumps(read_facts([path])[0] | (changes or {})).replace("'", "''")
    pairs = f"equipoise: '{facts}', shard: '{path.name}', checksum: '{BLANK}'"
    fresh = path.with_name("fresh")
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT * FROM read_parquet(?)", [str(path)])
        connection.execute(
            f"COPY ({select}) TO '{fresh}' (FORMAT parquet, KV_METADATA {{{pairs}}})"
        )
    fresh.replace(path)
    seal(path)


def add_column(path, secret):
    """A column whose name closes its quotes and reads a file of the user's."""
    name = f"x\", (SELECT content FROM read_text('{secret}')) AS \"y"
    quoted = name.replace('"', '""')
    rewrite(path, f'SELECT *, 1 AS "{quoted}" FROM t')
    return name


def test_names_of_columns_are_no_sql(run, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    for shard in eq.Run(run).record["shards"]:
        add_column(run / shard["file"], tmp_path / "secret")
    found = eq.Run(run)
    for ask in (found.table, found.images, found.summary, lambda: tables(found)["images"]):
        with pytest.raises(EquipoiseError, match=r"column .*none at all") as raised:
            ask()
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("SELECT * EXCLUDE correct FROM t", "'correct' is missing, where it should be BOOLEAN"),
        ("SELECT * REPLACE (correct::VARCHAR AS correct) FROM t", "'correct' is VARCHAR"),
        ("SELECT * REPLACE ({'a': 1} AS margin) FROM t", r"'margin' is STRUCT\(a INTEGER\)"),
        ("SELECT * REPLACE (NULL::VARCHAR AS id) FROM t", "without an id"),
        ("SELECT * REPLACE (99::INTEGER AS label) FROM t", "labels from 99 to 99.*10 classes"),
        ("SELECT * REPLACE (-1::INTEGER AS label) FROM t", "labels from -1 to -1"),
        ("SELECT * REPLACE (NULL::INTEGER AS label) FROM t", "labels from nan to nan"),
        ("SELECT * REPLACE (repeat('x', 70000) AS id) FROM t", "longer texts, than a shard"),
        ("SELECT t.* FROM t, range(9000)", "more rows"),
    ],
)
def test_shards_of_another_kind_are_refused(select, words, run):
    (path,) = eq.Run(run).shards("standard")
    rewrite(path, select)
    assert eq.Run(run).verify() == {}  # whoever forges a shard can forge its seal
    with pytest.raises(EquipoiseError, match=rf"Cannot read the shards: .*{words}"):
        eq.Run(run).summary()


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        *(("images", {"broken": broken}) for broken in (3, [["a"]], [["a", 1]], {"a": "b"})),
        *(("standard", {name: None}) for name in ("notes", "seconds", "device", "equipoise")),
        *(("standard", {"seconds": value}) for value in (-1, 1e300, "1", [1])),
    ],
)
def test_facts_of_another_kind_are_refused(kind, facts, run):
    (path,) = eq.Run(run).shards(kind)
    rewrite(path, "FROM t", facts)
    found = eq.Run(run)
    with pytest.raises(EquipoiseError, match=f"says of '{next(iter(facts))}'"):
        found.facts(kind)
    with pytest.raises(EquipoiseError, match="is not what an audit writes"):
        eq.report(found, run / "page.html")


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("no\nnumber"), ZeroDivisionError()])
def test_what_answers_lead_astray_is_said_of_the_shards(error, run, monkeypatch):
    def metrics(self, columns):
        raise error

    monkeypatch.setattr(Standard, "metrics", metrics)
    words = f"Cannot compute the metrics of 'standard' about 'a': .*{type(error).__name__}"
    with pytest.raises(EquipoiseError, match=words) as raised:
        eq.Run(run).summary()
    assert "\n" not in str(raised.value) and raised.value.__cause__ is error


def test_a_shard_of_millions_of_rows_is_not_read_into_memory(run):
    """Rows that are all the same take a few bytes."""
    (path,) = eq.Run(run).shards("standard")
    rewrite(path, "SELECT t.* FROM (FROM t LIMIT 1) AS t, range(5000000)")
    assert path.stat().st_size < 2_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for ask in (eq.Run(run).summary, lambda: arrays(eq.Run(run).table())):
        with pytest.raises(EquipoiseError, match="more rows"):
            ask()
    # As texts the ids alone would take 0.3 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


def test_a_page_that_only_its_reader_finds_damaged_is_one_line(run):
    """What is fetched of a run, as pages are made of it, fails when it is fetched and not before."""
    (path,) = eq.Run(run).shards("images")
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56
    path.write_bytes(data)
    seal(path)
    shown = eq.Run(run).images()
    with pytest.raises(EquipoiseError, match="Cannot read the shards"):
        fetch_rows(shown)
    with pytest.raises(EquipoiseError, match="Cannot read the shards"):
        eq.report(run, run / "page.html")


def test_pictures_of_a_probe_without_any_are_refused(run):
    with pytest.raises(EquipoiseError, match="Cannot show pictures of the probe 'standard'"):
        eq.Run(run).pictures("standard")


@pytest.mark.parametrize(
    "row",
    [
        *({"value": "0.5"}, {"n": 1.5}, {"text": ["x"]}, {"verdict": "perhaps"}, {"id": None}),
        *({"bound": None}, {"classifier": 3}, {"more": 1}, {"value": True}),
    ],
)
def test_claims_are_of_their_kinds(row, run):
    from equipoise.audit.claims import judge, write_claims
    from equipoise.audit.intervals import Estimate

    write_claims(run, "odds", [judge("H1", "t", "s", Estimate(0.5, 0.4, 0.6, 9, "exact"))])
    record = json.loads((run / "claims.json").read_text())
    assert eq.Run(run).claims()[0].verdict == "holds"
    record["claims"][0] |= row
    (run / "claims.json").write_text(json.dumps(record))
    with pytest.raises(EquipoiseError, match="Cannot read the claims"):
        eq.Run(run).claims()


def test_what_nobody_thought_of_is_one_line(run, capsys, monkeypatch):
    arguments = ["report", str(run), "--out", str(run / "x.html")]

    def broken(*_, **__):
        raise KeyError("some\nfield")

    monkeypatch.setattr("equipoise.report.page.hang", broken)
    said = line_of(arguments, capsys, code=1)
    assert "KeyError" in said and "EQUIPOISE_TRACEBACK=1" in said
    monkeypatch.setenv("EQUIPOISE_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(arguments)


# Counterfactual sets


def test_a_set_stays_in_its_folder(tmp_path):
    from test_counterfactual_sets import grey_set, sampler

    from equipoise.counterfactuals import make_set

    made = make_set(grey_set(1), sampler(steps=2), tmp_path / "set", per_class=1)
    record = json.loads((made.folder / "set.json").read_text())
    for shard in ({}, [], {"test": {"file": "../x"}}, {"test": {}}):
        edit(made.folder / "set.json", shards={"0": record["shards"]["0"] | {"same": shard}})
        with pytest.raises(EquipoiseError, match=r"set\.json is not what"):
            CounterfactualSet(made.folder)
    edit(made.folder / "set.json", shards=record["shards"], shape=[7, 4, 4])
    with pytest.raises(EquipoiseError, match=r"set\.json is not what"):
        CounterfactualSet(made.folder)
    edit(made.folder / "set.json", shape=[1, 5, 5])
    with pytest.raises(EquipoiseError, match=r"not of the shape \(1, 5, 5\)"):
        CounterfactualSet(made.folder).rows("test")
    edit(made.folder / "set.json", shape=record["shape"])
    (tmp_path / "secret").write_text(SECRET)
    name = add_column(made.files("test")[0], tmp_path / "secret")
    found = CounterfactualSet(made.folder).rows("test").columns
    assert name in found and "y" not in found
    duckdb.sql(f"COPY (SELECT 1 AS id) TO '{made.files('test')[0]}'")
    with pytest.raises(EquipoiseError, match="Cannot read the counterfactuals"):
        CounterfactualSet(made.folder).rows("test")


# What people answered


@pytest.fixture
def people(run):
    path = run / "people.sqlite"
    questions = [("original", f"i{k}", k, k, "", None, png_of(2, 2)) for k in range(4)]
    create(path, [str(k) for k in range(10)], 0, questions)
    asking = Asking(path)
    key = asking.join("Ann")
    asking.answer(key, str(asking.turn(key).token), 3, 2, 1.0)
    assert len(read_people(run)) == 1
    return path


@pytest.mark.parametrize(
    "statement",
    [
        "DROP VIEW given",
        "CREATE TRIGGER t AFTER INSERT ON answers BEGIN DELETE FROM answers; END",
        "CREATE VIEW more AS SELECT 1",
        "DROP TABLE facts",
        "DELETE FROM facts WHERE name = 'seed'",
        "UPDATE facts SET value = '[[' WHERE name = 'classes'",
        "UPDATE answers SET class = 10",
        "UPDATE answers SET class = 'cat'",
        "UPDATE answers SET seconds = 9e999",
        "UPDATE questions SET label = -1",
        "UPDATE questions SET image = x'00'",
    ],
)
def test_other_files_of_answers_are_refused(statement, people, run):
    with sqlite3.connect(people) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(EquipoiseError):
        read_people(run)


def test_definitions_that_are_no_text_are_refused(people, run):
    with sqlite3.connect(people) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    people.write_bytes(
        people.read_bytes().replace(b"CREATE TABLE facts (", b"CREATE TABL\x80 \xff\xfe (")
    )
    with pytest.raises(EquipoiseError, match="what people answered"):
        read_people(run)


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_answers_are_not_written_behind_a_link(suffix, run, tmp_path):
    path = run / "people.sqlite"
    path.with_name(path.name + suffix).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EquipoiseError, match="it is a link"):
        create(path, ["a"], 0, [])
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 9000,
        b'{"name": "\\ud800", "same": false}',
        b'{"name": "Ann", "same": NaN}',
        b"\xff\xfe{",
        b'{"token": "T", "seen": 1, "sureness": 2, "seconds": 1' + b"0" * 4000 + b"}",
        b'{"token": "\\udfff", "seen": 1, "sureness": 2, "seconds": 1}',
        b'{"token": "T", "seen": 1' + b"0" * 4000 + b', "sureness": 2, "seconds": 1}',
    ],
)
def test_what_a_browser_sends_is_never_a_fault_of_the_server(body, people, run):
    browser = Browser(run)
    place = browser.join("Ann", same=True)
    body = body.replace(b'"T"', json.dumps(browser.turn(place)["token"]).encode())
    for path in ("/people/", f"{place}/turn"):
        status, _, _ = browser("POST", path, body, **{"content-type": "application/json"})
        assert status == 400


# Configurations


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "x0: &x0 [a,a,a,a,a,a,a,a,a]\n"
            + "".join(f"x{k}: &x{k} [{','.join([f'*x{k - 1}'] * 9)}]\n" for k in range(1, 12))
            + "audit: {data: *x11}\n",
            "nested|holds more",
        ),
        ("audit: &a {data: *a}\n", "nested"),
        ("audit: {data: " + "[" * 5000 + "]" * 5000 + "}", "nested"),
        ("audit: !!python/object/apply:os.system ['true']", "not YAML"),
        ("audit: {limit: 2020-13-45}", "not YAML"),
        ("audit: {limit: 2020-12-24}", "between quotes"),
        (f"audit: {{limit: {HUGE}}}", "not YAML"),
        ("audit: {3: 4}", "no word"),
        ("#" * 2**18 + "\n", "bytes are more than"),
    ],
)
def test_configurations_that_ask_for_too_much_are_one_line(text, words, tmp_path, capsys):
    import re

    (tmp_path / "x.yaml").write_text(text)
    assert re.search(words, line_of(["audit", "--config", str(tmp_path / "x.yaml")], capsys))


def test_aliases_are_read(tmp_path, monkeypatch):
    (tmp_path / "x.yaml").write_text("theory: &t {dichotomy: {p: 0.9}}\nstudy: *t\n")
    seen = []
    monkeypatch.setattr(entry, "app", lambda *tokens, **_: seen.append(tokens))
    main(["theory", "dichotomy", "--config", str(tmp_path / "x.yaml")])
    assert seen == [(["theory", "dichotomy"],)]


def test_arrays_of_masks_cannot_claim_more_than_they_have(tmp_path):
    from equipoise.images.imagenet9 import _read_mask

    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    text = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    (tmp_path / "m.npy").write_bytes(text)
    with pytest.raises(BrokenImageError, match="its mask"):
        _read_mask(tmp_path, "m.npy", torch.zeros(3, 2, 2), "x")
    np.save(tmp_path / "p.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(BrokenImageError, match="allow_pickle"):
        _read_mask(tmp_path, "p.npy", torch.zeros(3, 2, 2), "x")
