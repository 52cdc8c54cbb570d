"""Files and texts of somebody else's, made by spoiling honest ones, for every reader of the package.

A reader either reads what it is given or refuses it with the package's one error, or where that is its promise with one
line. Nothing else may come of it: no other exception, no file written outside its folder, no process, no connection, no
module that was not there, no end of time or memory. `try_one` asks that of one input; test_fuzz.py does so for some
hundred of each reader, and

    python tests/fuzzing.py --seconds 600

for as many as fit into the time, and prints how many there were. The table in SECURITY.md is what it printed.
"""

import argparse
import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

import equipoise as eq
from equipoise.cli.configuration import check_config
from equipoise.errors import EquipoiseError

MOST_SECONDS = 60
"""For one input; most take milliseconds, and machines may be slow."""

MOST_BYTES = 5 * 2**30
"""By which memory may grow over all inputs of a process."""

# What must not happen

_TEMPORARY = str(Path(tempfile.gettempdir()).resolve())
_WRITES = ("w", "a", "x", "+")
_FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile", "subprocess.Popen"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "ctypes.dlopen", "pty.spawn"),
    *("os.chmod", "os.chown", "os.link", "os.symlink", "webbrowser.open", "pickle.find_class"),
}
_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}
_watching: list[Path] = []
_seen: list[str] = []
_loaded: set[str] = set(sys.stdlib_module_names)


def _hook(event: str, args: tuple) -> None:
    if not _watching:
        return
    if event in _FORBIDDEN:
        _seen.append(f"{event}{args!r:.200}")
    elif event == "import" and args[0].partition(".")[0] not in _loaded:
        _seen.append(f"import {args[0]}")
    elif event == "open" and isinstance(args[0], str | bytes) and isinstance(args[1], str):
        path = Path(args[0] if isinstance(args[0], str) else args[0].decode(errors="replace"))
        if any(mark in args[1] for mark in _WRITES) and not _inside(path, _watching[-1]):
            _seen.append(f"open {path} for {args[1]!r}")
    elif event in _CHANGES and not _inside(Path(str(args[0])), _watching[-1]):
        _seen.append(f"{event} {args[0]!r}")


def _inside(path: Path, folder: Path) -> bool:
    return str(path.absolute()).startswith(str(folder)) or str(path) == "/dev/null"


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Fails when what runs inside does what no reader may."""
    _seen.clear()
    # SQLite's own files of a database would come from compiled code, which no hook sees; a folder shows them.
    beside = {path.name for path in folder.parent.iterdir()}

    def late(*_: object) -> None:
        raise AssertionError(f"it took more than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(MOST_SECONDS)
    _watching.append(folder)
    try:
        yield
    finally:
        _watching.pop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not _seen, _seen
    assert {path.name for path in folder.parent.iterdir()} == beside, "it wrote beside its folder"


# How inputs are made

_HOSTILE = (
    *(None, True, -1, 0, 2**31, 2**63, 10**400, -1e308, 1e308, float("nan"), float("inf")),
    *(
        "",
        "x" * 5000,
        "../../../etc/passwd",
        "/etc/passwd",
        "C:\\x",
        "a\0b",
        "\ud800",
        "~nobody/x",
    ),
    *(
        "</script><script>alert(1)</script>",
        '"; DROP TABLE people; --',
        "{{7*7}}",
        "*?[",
        "é" * 300,
    ),
    *([], {}, [[]], [None] * 300, {"": {"": {}}}, "HUGE NUMBER", "DEEP LIST"),
)


def spoil_json(value: object, random: random.Random) -> bytes:
    """A JSON text with some of its values replaced, taken out, doubled or put elsewhere."""
    value = json.loads(json.dumps(value))
    places: list[tuple] = []

    def walk(node: object) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, item in list(items):
            places.append((node, key))
            if isinstance(item, dict | list):
                walk(item)

    if isinstance(value, dict | list):
        walk(value)
    for _ in range(random.randint(1, 3)):
        if not places:
            break
        node, key = random.choice(places)
        action = random.randrange(4)
        with contextlib.suppress(KeyError, IndexError):
            if action == 0:
                del node[key]
            elif action == 1:
                other, name = random.choice(places)
                node[key] = json.loads(json.dumps(other[name]))
            else:
                node[key] = random.choice(_HOSTILE)
    text = json.dumps(value)
    text = text.replace('"HUGE NUMBER"', "9" * 6000).replace(
        '"DEEP LIST"', "[" * 5000 + "]" * 5000
    )
    return text.encode("utf-8", "surrogatepass")


def spoil(data: bytes, random: random.Random, others: list[bytes] = ()) -> bytes:
    """Bytes with bits turned, pieces cut, repeated, filled or taken from another input."""
    spoilt = bytearray(data)
    for _ in range(random.randint(1, 4)):
        if not spoilt:
            break
        # Heads and tails say more than the numbers between.
        near = random.choice((len(spoilt), len(spoilt), min(len(spoilt), 400)))
        place = random.randrange(near)
        place = len(spoilt) - 1 - place if random.randrange(4) == 0 else place
        length = random.choice((1, 1, 2, 4, 8, 64, 1000))
        action = random.randrange(7)
        if action == 0:
            spoilt[place] ^= 1 << random.randrange(8)
        elif action == 1:
            spoilt[place] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
        elif action == 2:
            del spoilt[place : place + length]
        elif action == 3:
            spoilt[place:place] = spoilt[place : place + length] * random.choice((1, 2, 50))
        elif action == 4:
            filled = random.choice((b"\0", b"\xff", b"\x7f", b"A", b"["))
            spoilt[place : place + length] = filled * length
        elif action == 5:
            other = random.choice([*others, data])
            start = random.randrange(len(other)) if other else 0
            spoilt[place : place + length] = other[start : start + length]
        elif random.randrange(8) == 0:
            del spoilt[place:]
    return bytes(spoilt)


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: for the table.
        make: an input, given a seed of chance and what `prepare` gave.
        read: reads it, in a folder of its own.
        prepare: what inputs are made of; made once.
        weight: share of the time.
        warm: whether what `prepare` gave is read first, as it is.
    """

    name: str
    make: Callable[[random.Random, Any], bytes]
    read: Callable[[bytes, Path], object]
    prepare: Callable[[], Any] = lambda: None
    weight: float = 1.0
    warm: bool = True


def try_one(reader: Reader, seed: random.Random, folder: Path) -> None:
    """Makes one input and reads it.

    Raises:
        AssertionError, or whatever else must not come of it.
    """
    data = reader.make(seed, prepared(reader.name))
    place = folder / "inside"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    said = io.StringIO()
    with (
        watched(place),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        contextlib.suppress(EquipoiseError),
    ):
        reader.read(data, place)


@cache
def prepared(name: str) -> object:
    """What the inputs of a reader are made of, once honest ones have had imported what they need."""
    reader = READERS[name]
    made = reader.prepare()
    with tempfile.TemporaryDirectory() as folder:
        honest = made if isinstance(made, list) else [pickle.dumps(made)]
        for data in honest if reader.warm else []:
            with contextlib.suppress(EquipoiseError):
                reader.read(
                    data if isinstance(data, bytes) else json.dumps(data).encode(), Path(folder)
                )
    _loaded.update(module.partition(".")[0] for module in list(sys.modules))
    return made


def _of_bytes(seed: random.Random, made: Any) -> bytes:
    data = seed.choice(made)
    return data if seed.randrange(50) == 0 else spoil(data, seed, made)


def _of_json(seed: random.Random, made: Any) -> bytes:
    value = seed.choice(made)
    if seed.randrange(4):
        return spoil_json(value, seed)
    return spoil(json.dumps(value).encode(), seed)


# Checkpoints


def _edm() -> list[bytes]:
    from test_edm import VARIANTS, content

    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: object) -> None:
        raise AssertionError("the reader ran what the file names")

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    package.persistence = module
    sys.modules |= {"torch_utils": package, "torch_utils.persistence": module}
    try:
        return [pickle.dumps(content(kind)) for kind in VARIANTS]
    finally:
        del sys.modules["torch_utils"], sys.modules["torch_utils.persistence"]


def _read_edm(data: bytes, folder: Path) -> None:
    from equipoise.diffusion.edm import load_edm

    (folder / "net.pkl").write_bytes(data)
    load_edm(folder / "net.pkl")


def _checkpoints() -> list[bytes]:
    weights = {
        "module.model.conv1.weight": torch.ones(4, 3, 7, 7),
        "module.model.layer1.0.conv1.weight": torch.ones(4, 4, 3, 3).half(),
        "module.model.bn1.num_batches_tracked": torch.tensor(3),
        "module.model.fc.weight": torch.nn.Parameter(torch.ones(5, 4)),
        "module.normalizer.new_mean": torch.ones(3, 1, 1),
        "module.normalizer.new_std": torch.ones(3, 1, 1),
        "module.attacker.model.fc.weight": torch.ones(4, 5).T,
    }
    saved = {
        "model": weights,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 9,
    }
    found = []
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(saved, file, _use_new_zipfile_serialization=zipped)
        found.append(file.getvalue())
    return found


def _make_checkpoint(seed: random.Random, made: Any) -> bytes:
    """Also with the pickle in the zip spoilt rather than the zip, and with names that lead out of it."""
    data = seed.choice(made)
    if data[:2] != b"PK" or seed.randrange(2):
        return spoil(data, seed, made)
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(file, "w") as after:
        for entry in before.infolist():
            content = before.read(entry)
            if entry.filename.endswith("data.pkl") and seed.randrange(3):
                content = spoil(content, seed)
            if seed.randrange(12) == 0:
                entry.filename = seed.choice(
                    ("../../evil", "/evil", "archive/data/../../../evil", "x")
                )
            if seed.randrange(12) == 0:
                content *= 2
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kind = zipfile.ZIP_DEFLATED if seed.randrange(20) == 0 else zipfile.ZIP_STORED
                after.writestr(entry.filename, content, kind)
    return file.getvalue()


def _read_checkpoint(data: bytes, folder: Path) -> None:
    """With the network's own table left out: every tensor of the file is read."""
    from equipoise.classifiers.robust_imagenet import _MEANINGS, load_robust_imagenet
    from equipoise.classifiers.torch_files import Stored, TorchFile

    path = folder / "resnet18_l2_eps1.ckpt"
    path.write_bytes(data)
    # Damaged bytes may raise anything here, says its docstring; only memory, time and place count.
    with contextlib.suppress(Exception):
        file = TorchFile(path, _MEANINGS)
        for value in file.content["model"].values():
            if isinstance(value, Stored):
                with contextlib.suppress(Exception):
                    file.tensor(value)
    load_robust_imagenet(path)


def _made_folder(save: Callable[[Path], object]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "it")
        root = Path(folder) / "it"
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


def _classifier() -> dict[str, bytes]:
    from equipoise.classifiers import MLP, save_classifier

    net = MLP(shape=(1, 4, 4), classes=3, widths=(5,))
    return _made_folder(lambda to: save_classifier(eq.wrap(net, classes=("a", "b", "c")), to))


def _denoiser() -> dict[str, bytes]:
    from equipoise.diffusion import Preconditioned, UNet, save_denoiser

    net = UNet(shape=(1, 8, 8), classes=2, width=4)
    made = Preconditioned(net, sigma_data=0.5, shape=(1, 8, 8), classes=("a", "b"), scale=1.0)
    return _made_folder(lambda to: save_denoiser(made, to))


def _make_folder(seed: random.Random, made: Any) -> bytes:
    """One or two of the files of a folder spoilt, the others as they were, as one text."""
    spoilt = dict(made)
    for _ in range(seed.choice((1, 1, 2))):
        # JSON says more than the rest.
        names = sorted(spoilt)
        name = seed.choice(names + [name for name in names if name.endswith(".json")] * 3)
        data = made[name]
        if name.endswith(".json") and seed.randrange(5):
            spoilt[name] = spoil_json(json.loads(data), seed)
        else:
            spoilt[name] = spoil(data, seed, list(made.values()))
    return pickle.dumps(spoilt)


def _put(data: bytes, folder: Path) -> None:
    for name, content in pickle.loads(data).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _read_classifier(data: bytes, folder: Path) -> None:
    _put(data, folder)
    found = eq.load_classifier(f"local:{folder}")
    with contextlib.suppress(RuntimeError):
        found.fingerprint()


def _read_denoiser(data: bytes, folder: Path) -> None:
    _put(data, folder)
    eq.load_denoiser(f"local:{folder}")


def _asset() -> dict[str, bytes]:
    """A whole one: most of what is spoilt is found by its checksums."""
    from equipoise.images import Arrays
    from equipoise.packing import pack_classifier

    with tempfile.TemporaryDirectory() as folder:
        _put(pickle.dumps(_classifier()), Path(folder))
        classifier = eq.load_classifier(f"local:{folder}")
    images = Arrays(torch.zeros(1, 1, 4, 4), [0], ("a", "b", "c"))
    attacks = ["adversarial:linf:1?steps=1"]
    return _made_folder(lambda to: pack_classifier(classifier, images, to, attacks=attacks))


def _read_asset(data: bytes, folder: Path) -> None:
    from equipoise.assets import asset_names

    _put(data, folder)
    before = os.environ.get("EQUIPOISE_ASSETS")
    os.environ["EQUIPOISE_ASSETS"] = str(folder.parent)
    try:
        asset_names()
        eq.load_classifier(f"asset:{folder.name}")
    finally:
        os.environ.pop("EQUIPOISE_ASSETS")
        os.environ |= {} if before is None else {"EQUIPOISE_ASSETS": before}


def _quality() -> dict[str, bytes]:
    from test_denoiser_quality import HELD_OUT, JUDGE, LAW, TRAIN

    from equipoise.quality import assess

    return _made_folder(lambda to: assess(LAW, JUDGE, TRAIN, HELD_OUT, to, count=6, steps=2))


def _read_quality(data: bytes, folder: Path) -> None:
    from equipoise.quality import read_quality

    _put(data, folder)
    read_quality(folder)


def _training() -> list[bytes]:
    from equipoise.training.checkpoint import save_checkpoint

    net, facts = torch.nn.Linear(2, 2), {"identity": "x", "epoch": 3}
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    groups = {"weights": dict(net.state_dict()), "best": dict(net.state_dict())}
    made = _made_folder(lambda to: save_checkpoint(to / "c", groups, optimizer, facts))
    return list(made.values())


def _read_training(data: bytes, folder: Path) -> None:
    from equipoise.training.checkpoint import load_checkpoint

    (folder / "c").write_bytes(data)
    load_checkpoint(folder / "c", torch.optim.Adam(torch.nn.Linear(2, 2).parameters()))


# Images


def _pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    coloured = Image.fromarray(rng.integers(0, 256, (12, 14, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (5, 6), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for image, kind, settings in (
        (coloured, "PNG", {}),
        (coloured, "PNG", {"exif": exif}),
        (coloured.convert("P"), "PNG", {"transparency": 0}),
        (deep, "PNG", {}),
        (coloured, "JPEG", {"exif": exif}),
        (coloured.convert("CMYK"), "JPEG", {}),
        (coloured, "BMP", {}),
        (coloured, "GIF", {"save_all": True, "append_images": [coloured.rotate(90)] * 3}),
        (coloured, "WEBP", {"save_all": True, "append_images": [coloured] * 2}),
        (coloured, "TIFF", {"compression": "tiff_lzw"}),
        (coloured, "TIFF", {"save_all": True, "append_images": [coloured] * 2}),
        (deep, "TIFF", {}),
        (coloured, "PPM", {}),
        (coloured, "JPEG2000", {}),
    ):
        file = io.BytesIO()
        with contextlib.suppress(OSError, KeyError):  # formats that this Pillow was built without
            image.save(file, kind, **settings)
            found.append(file.getvalue())
    return found


def _read_picture(data: bytes, folder: Path) -> None:
    from equipoise.images import Decoding
    from equipoise.images.framing import Trimmed

    for decoding in (Decoding(3), Decoding(1, 8), Trimmed(3, 8)):
        with contextlib.suppress(EquipoiseError):
            image = decoding(data, "x")
            assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1


def _parquets() -> list[bytes]:
    from equipoise.images import hugging_face_metadata
    from equipoise.store import write_shard

    png = _pictures()[0]
    kinds = {"image": "STRUCT(bytes BLOB, path VARCHAR)", "label": "INTEGER", "id": "VARCHAR"}
    cells = np.empty(6, dtype=object)
    cells[:] = [{"bytes": png, "path": None}] * 6
    columns = {
        "image": cells,
        "label": np.arange(6) % 2,
        "id": np.array([f"i{k}" for k in range(6)], dtype=object),
    }
    metadata = hugging_face_metadata(kinds, ("a", "b"))

    def save(to: Path) -> None:
        write_shard(to / "a.parquet", kinds, columns, {"x": 1}, metadata)
        words = columns | {"label": np.array(["cat", "dog"] * 3, dtype=object)}
        write_shard(to / "b.parquet", kinds | {"label": "VARCHAR"}, words, {"x": 1})

    return list(_made_folder(save).values())


def _read_parquet(data: bytes, folder: Path) -> None:
    (folder / "test.parquet").write_bytes(data)
    images = eq.load_images(f"parquet:{folder}")
    images.fingerprint(range(len(images)))
    images.batch(range(min(len(images), 4)), skip_broken=True)


_TABLES = (
    b"file_name,label,split,group\na.png,cat,test,x\nb/c.png,dog,train,\n",
    b"img_id,img_filename,y,split,place,place_filename\n1,a/b.jpg,0,0,1,x\n2,a/c.jpg,1,2,0,y\n",
    'file_name,label,extra\n"a\nb.png",1,2,3,4\n../x.png,0\n/etc/passwd,1\n'.encode("utf-16"),
)


def _read_table(data: bytes, folder: Path) -> None:
    (folder / "metadata.csv").write_bytes(data)
    with contextlib.suppress(EquipoiseError):
        images = eq.load_images(f"folder:{folder}")
        images.fingerprint(range(len(images)))
        images.batch(range(len(images)), skip_broken=True)
    eq.load_images(f"waterbirds:{folder}")


def _mappings() -> dict[str, bytes]:
    from layouts import write_answers
    from layouts_ood import mappings

    def save(to: Path) -> None:
        to.mkdir()
        mappings(to / "mappings") if not (to / "mappings").exists() else None
        numbers = {str(k): k % 10 - 1 for k in range(1000)}
        (to / "in_to_in9.json").write_text(json.dumps(numbers))
        (to / "wordnet_dict.py").write_text(repr({k: f"n{k:08d}" for k in range(50)}))
        write_answers(to / "discover_spurious_features.csv")
        (to / "image_names_map.csv").write_text(",0,1\n0,a,b\n1,c,d\n")

    return _made_folder(save)


def _read_mappings(data: bytes, folder: Path) -> None:
    from equipoise.images.imagenet9 import _outputs
    from equipoise.images.objectnet_labels import read_labels
    from equipoise.images.salient_features import (
        read_core_features,
        read_image_names,
        read_wnids,
    )
    from equipoise.specs import parse_spec

    _put(data, folder)
    for read in (
        lambda: _outputs(parse_spec(f"imagenet9:{folder}"), folder),
        lambda: next(map(read_labels, (p.parent for p in folder.rglob("folder_to_*.json"))), None),
        lambda: read_wnids(folder / "wordnet_dict.py"),
        lambda: read_core_features(folder / "discover_spurious_features.csv", {"n00000001": 1}),
        lambda: read_image_names(folder / "image_names_map.csv"),
    ):
        with contextlib.suppress(EquipoiseError):
            read()


# Runs, sets and people


def _run() -> dict[str, bytes]:
    from conftest import linear

    from equipoise.audit.claims import judge, write_claims
    from equipoise.audit.exhibits import write_exhibits
    from equipoise.audit.intervals import Estimate

    def save(to: Path) -> None:
        judged = [
            eq.wrap(linear(10, (1, 8, 8), seed=k).net, name=name) for k, name in enumerate("ab")
        ]
        eq.audit(
            judged, "digits", ["standard", "adversarial:l2:0.5?steps=2"], to, limit=12, pictures=2
        )
        claim = judge("H1", "It holds.", "a share", Estimate(0.5, 0.4, 0.6, 12, "exact"))
        write_claims(to, "odds", [claim])
        write_exhibits(to, "odds", {"curve": [{"x": 0.5, "y": None, "name": "a"}]})

    return _made_folder(save)


def _read_run(data: bytes, folder: Path) -> None:
    _put(data, folder)
    run = eq.Run(folder)
    for read in (run.claims, run.study, run.exhibits, run.people, lambda: run.finished):
        with contextlib.suppress(EquipoiseError):
            read()


def _make_run_json(seed: random.Random, made: Any) -> bytes:
    """Records spoilt, shards as they are."""
    names = [name for name in made if name.endswith(".json")]
    spoilt = dict(made)
    for name in {seed.choice([*names, "run.json"]) for _ in range(2)}:
        spoilt[name] = spoil_json(json.loads(made[name]), seed)
    return pickle.dumps(spoilt)


def _make_shards(seed: random.Random, made: Any) -> bytes:
    from spoilt_shards import spoil_shards

    return spoil_shards(seed, made, spoil, spoil_json)


def _spoilable() -> dict[str, bytes]:
    from spoilt_shards import made_run

    return made_run()


def _read_shards(data: bytes, folder: Path) -> None:
    from spoilt_shards import read_everything

    _put(data, folder)
    read_everything(folder)


def _read_page(data: bytes, folder: Path) -> None:
    """From the command line: a page, or one line."""
    _put(data, folder)
    _say_one_line(["report", str(folder), "--out", str(folder / "page.html")])


def _say_one_line(arguments: list[str]) -> None:
    from equipoise.cli import main

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            main(arguments)
    except SystemExit as end:
        assert end.code in (1, 2), end.code
        assert said.getvalue().count("\n") == 1, said.getvalue()
        assert "Traceback" not in said.getvalue()


def _set() -> dict[str, bytes]:
    from test_counterfactual_sets import brightness_oracle, grey_set, sampler

    from equipoise.counterfactuals import make_set

    return _made_folder(
        lambda to: make_set(
            grey_set(3), sampler(steps=2), to, oracles=[brightness_oracle()], per_class=1
        )
    )


def _make_set_json(seed: random.Random, made: Any) -> bytes:
    return pickle.dumps(dict(made) | {"set.json": spoil_json(json.loads(made["set.json"]), seed)})


def _read_set(data: bytes, folder: Path) -> None:
    from equipoise.counterfactuals import CounterfactualSet

    _put(data, folder)
    found = CounterfactualSet(folder)
    for read in (found.verify, lambda: found.columns("same"), lambda: found.rows("test", ["g0"])):
        with contextlib.suppress(EquipoiseError):
            read()


def _people() -> list[bytes]:
    from equipoise.audit.people import create
    from equipoise.view.answers import Asking

    png = _pictures()[0]
    kinds = ("original", "same", "counterfactual", "adversarial")

    def save(to: Path) -> None:
        to.mkdir()
        path = to / "people.sqlite"
        rows = [(kinds[k % 4], f"i{k}", k % 2, 1 - k % 2, "x", None, png) for k in range(8)]
        create(path, ["a", "b"], 0, rows)
        asking = Asking(path)
        key = asking.join("somebody")
        for _ in range(4):
            turn = asking.turn(key)
            asking.answer(key, str(turn.token), 1, 2, 1.5)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")

    return [_made_folder(save)["people.sqlite"]]


def _make_people(seed: random.Random, made: Any) -> bytes:
    """Bytes spoilt, or values of other types and new definitions put in by SQLite itself."""
    if seed.randrange(2):
        return _of_bytes(seed, made)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(made[0])
        statements = (
            "UPDATE questions SET label = 'x' WHERE number = 1",
            "UPDATE questions SET label = 99, target = -5",
            "UPDATE questions SET picture = zeroblob(1000000)",
            "UPDATE facts SET value = '[[[[' WHERE name = 'classes'",
            "UPDATE facts SET value = x'ff00' WHERE name = 'classes'",
            "DELETE FROM facts",
            "UPDATE answers SET class = 1e300",
            "UPDATE answers SET seconds = 9e999",
            "UPDATE answers SET at = NULL",
            "UPDATE asked SET place = 'x' || place",
            "CREATE TRIGGER t AFTER INSERT ON answers BEGIN DELETE FROM answers; END",
            "DROP VIEW given",
            "CREATE VIEW more AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
            "PRAGMA user_version = 7",
            "PRAGMA application_id = 7",
            "DROP TABLE people",
        )
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for _ in range(seed.randint(1, 3)):
                with contextlib.suppress(sqlite3.Error):
                    connection.execute(seed.choice(statements))
        return path.read_bytes()


def _read_people(data: bytes, folder: Path) -> None:
    from equipoise.audit.people import read_people
    from equipoise.view.answers import Asking

    (folder / "people.sqlite").write_bytes(data)
    with contextlib.suppress(EquipoiseError):
        read_people(folder)
    asking = Asking(folder / "people.sqlite")
    asking.classes()
    turn = asking.turn(asking.join("somebody else"))
    asking.picture(str(turn.token))


@cache
def _server() -> tuple:
    from test_people import Browser

    folder = Path(tempfile.mkdtemp())
    _put(pickle.dumps(prepared("run.json, claims, exhibits")), folder)
    (folder / "people.sqlite").write_bytes(_people()[0])
    browser = Browser(folder)
    place = browser.join("anybody", same=True)
    return folder, browser, place, browser.turn(place)["token"]


def _bodies() -> list:
    _server()
    answer = {"token": "TOKEN", "seen": 1, "sureness": 2, "seconds": 1.5}
    return [answer, {"name": "Ann", "same": False}, {"name": "\u202e<b>", "same": True}]


def _read_body(data: bytes, folder: Path) -> None:
    place, browser, at, token = _server()
    _watching[-1] = place
    body = data.replace(b"TOKEN", token.encode())
    for path in ("/people/", f"{at}/turn"):
        status, _, _ = browser("POST", path, body, **{"content-type": "application/json"})
        assert status in (200, 400, 413), (status, body)
    browser.heard.clear()


# Texts

_SPECS = (
    *("digits", "digits-on-photos?correlation=0.95&variant=all&seed=3", "folder:/nowhere?size=32"),
    *(
        "parquet:/nowhere?channels=3",
        "imagenet9:/x?variant=all&mapping=/y",
        "waterbirds:/x?masks=/y",
    ),
    *(
        "asset:a/b",
        "local:/nowhere",
        "robust-imagenet:/nowhere.ckpt",
        "edm:/a.pkl?unconditional=/b.pkl",
    ),
    *(
        "diffusers:/x?null=10",
        "adversarial:linf:8/255?steps=100&budget=standard",
        "transfer:l2:0.5",
    ),
    *("regions:l2?levels=25,50&trials=5", "backgrounds?onto=imagenet9:PATH&limit=500", "shift"),
    *("large_eps:l2:4?steps=100&judge=local:DIR", "feature_use:digits", "groups:waterbirds:PATH"),
    *(
        "counterfactual:DIR",
        "saliency",
        "l1:12",
        "linf:8/255",
        "salient-imagenet:/x?images=/y&labels=/z",
    ),
)
_PIECES = (
    *(":", "?", "&", "=", "/", "~", "~nobody/", "\0", "%00", "..", "%", "\ud800", "é", "9" * 5000),
    *("x" * 300, "1e400", "nan", "-1", "١", "²", "8/0", "\n", "?size=" + "9" * 5000, "?null=0"),
)


def _make_spec(seed: random.Random, made: Any) -> bytes:
    text = seed.choice(_SPECS)
    for _ in range(seed.randint(0, 3)):
        place = seed.randrange(len(text) + 1)
        action = seed.randrange(4)
        piece = seed.choice((*_PIECES, *_SPECS))
        text = {
            0: text[:place] + piece + text[place:],
            1: text[:place] + text[place + seed.randrange(1, 5) :],
            2: text[:place] + piece,
            3: text.replace(seed.choice(":?=&/"), piece, 1),
        }[action]
    return text.encode("utf-8", "surrogatepass")


def _read_spec(data: bytes, folder: Path) -> None:
    from equipoise.classifiers import foreign
    from equipoise.norms import parse_threat
    from equipoise.probes import load_probe
    from equipoise.specs import parse_number, parse_spec, parse_whole_number

    text = data.decode("utf-8", "surrogatepass")
    # A spec may name a function of the user's, and that is run.
    kept = foreign.from_function, foreign.from_timm, foreign.from_torchvision, foreign.from_hub

    def ours(*_: object) -> None:
        raise EquipoiseError("a function of the user's")

    foreign.from_function = foreign.from_timm = foreign.from_torchvision = foreign.from_hub = ours
    try:
        for read in (
            *(
                parse_spec,
                eq.load_images,
                eq.load_classifier,
                eq.load_denoiser,
                load_probe,
                parse_threat,
            ),
            *(lambda t: parse_number(t, "x"), lambda t: parse_whole_number(t, "x")),
        ):
            with contextlib.suppress(EquipoiseError):
                read(text)
    finally:
        foreign.from_function, foreign.from_timm, foreign.from_torchvision, foreign.from_hub = kept


_CONFIGS = (
    b"audit:\n  data: digits\n  limit: 20\n  probe: [standard, 'adversarial:l2:0.5']\n  seed: 3\n",
    b"theory:\n  dichotomy:\n    p: 0.95\n    eta: 0.2\n    d: 100\n",
    b"a: &a [x, x]\naudit: {data: *a, limit: 1_000, out: ~, when: 2020-01-02, more: !!python/name:os.system }\n",
    b"x0: &x0 [a,a,a,a,a,a,a,a,a]\n"
    + b"".join(
        b"x%d: &x%d [%s]\n" % (k, k, b",".join([b"*x%d" % (k - 1)] * 9)) for k in range(1, 9)
    )
    + b"audit: {data: *x8}\n",
    b"audit: &a {data: *a}\n",
    b"audit: " + b"[" * 900 + b"]" * 900,
    b"audit: !!python/object/apply:os.system ['true']\n",
    b"audit: {limit: "
    + b"9" * 5000
    + b", data: 2020-13-45, x: !!binary '=', y: !!set {a}, 3: 4}\n",
)


def _read_config(data: bytes, folder: Path) -> None:
    from equipoise.cli import app

    path = folder / "run.yaml"
    path.write_bytes(data)
    check_config(path)
    content = yaml.safe_load(data)
    import cyclopts

    app.config = (cyclopts.config.Yaml(path, must_exist=True),)
    try:
        for verb in content:
            with contextlib.suppress(cyclopts.CycloptsError, EquipoiseError):
                app.parse_args([verb], exit_on_error=False, print_error=False)
    finally:
        app.config = ()


READERS = {
    reader.name: reader
    for reader in (
        Reader("edm: (pickles)", _of_bytes, _read_edm, _edm),
        Reader(
            "robust-imagenet: (zip and legacy)", _make_checkpoint, _read_checkpoint, _checkpoints
        ),
        Reader("local: classifier", _make_folder, _read_classifier, _classifier),
        Reader("local: denoiser", _make_folder, _read_denoiser, _denoiser),
        Reader("asset:", _make_folder, _read_asset, _asset),
        Reader("quality.json", _make_folder, _read_quality, _quality),
        Reader("checkpoint of a training", _of_bytes, _read_training, _training),
        Reader("images", _of_bytes, _read_picture, _pictures),
        Reader("parquet:", _of_bytes, _read_parquet, _parquets),
        Reader("metadata.csv", _of_bytes, _read_table, lambda: list(_TABLES)),
        Reader("mappings of benchmarks", _make_folder, _read_mappings, _mappings),
        Reader("run.json, claims, exhibits", _make_run_json, _read_run, _run),
        Reader("pages of runs", _make_run_json, _read_page, _run, 0.5),
        Reader("shards of runs", _make_shards, _read_shards, _spoilable),
        Reader("pages of spoilt shards", _make_shards, _read_page, _spoilable, 0.5),
        Reader("set.json", _make_set_json, _read_set, _set),
        Reader("people.sqlite", _make_people, _read_people, _people),
        Reader("what browsers send", _of_json, _read_body, _bodies, warm=False),
        Reader("specs", _make_spec, _read_spec, warm=False),
        Reader("--config", _of_bytes, _read_config, lambda: list(_CONFIGS), warm=False),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Tries spoilt inputs and prints how many.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    readers = [reader for name, reader in READERS.items() if asked.only in name]
    whole = sum(reader.weight for reader in readers)
    faults: dict[str, str] = {}
    print("| reader | inputs | faults | peak memory |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for reader in readers:
            prepared(reader.name)
            ends = time.monotonic() + asked.seconds * reader.weight / whole
            tried = found = 0
            while time.monotonic() < ends:
                seed = f"{asked.seed} {reader.name} {tried}"
                tried += 1
                try:
                    try_one(reader, random.Random(seed), Path(folder) / "all")
                except Exception as error:
                    found += 1
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    key = (
                        f"{reader.name}: {type(error).__name__} in {where.filename}:{where.lineno}"
                    )
                    faults.setdefault(key, f"{seed!r}\n{traceback.format_exc()}")
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            print(f"| {reader.name} | {tried:,} | {found} | {peak:,.0f} MB |", flush=True)
    for key, text in faults.items():
        print(f"\n{key}\n{text}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    # Readers are looked up in one copy of this module, whatever imports it.
    sys.modules["fuzzing"] = sys.modules["__main__"]
    main()
