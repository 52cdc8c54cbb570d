"""A feature set on disk: made shard by shard, resumed by repeating.

    DIR/features.json           what was asked, and every finished shard with its SHA-256
    DIR/data/train-*.parquet    the images, which ``parquet:DIR`` opens as the split "train"
    DIR/README.md               a card, with which the folder is a data set of the Hugging Face hub

A shard is written under a temporary name and renamed; features.json then gets its checksum. What features.json does
not know, or whose bytes have changed since, is made again. Pixels are 8-bit.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.errors import EquipoiseError
from equipoise.files import checksum, read_json, write_atomically, write_json
from equipoise.images import Images, encode_png, hugging_face_metadata, load_images
from equipoise.progress import Progress
from equipoise.store import write_shard
from equipoise.streams import digest

__all__ = ["Made", "write_set"]

FORMAT = 1
RECORD = "features.json"
ROWS = 512
"""Images in a shard."""

TYPES = {
    "image": "STRUCT(bytes BLOB, path VARCHAR)",
    "label": "INTEGER",
    "id": "VARCHAR",
    "source_id": "VARCHAR",
    "source_label": "INTEGER",
    "l1": "FLOAT",
    "l2": "FLOAT",
    "linf": "FLOAT",
    "before": "FLOAT",
    "after": "FLOAT",
    "prediction": "INTEGER",
}
"""The SQL type of each column."""


@dataclass(frozen=True)
class Made:
    """N images that a search made.

    Attributes:
        images: 8-bit, in [0, 1], with shape (N, C, H, W).
        labels: what to train them for, with shape (N,).
        ids: of the images they stand for.
        sources: the images where the searches began, 8-bit, with shape (N, C, H, W).
        source_ids: of those.
        source_labels: of those, with shape (N,).
        before: what the search lowers, at the source, with shape (N,).
        after: the same at `images`.
        predictions: what the classifier answers at `images`, with shape (N,).
    """

    images: Tensor
    labels: Tensor
    ids: Sequence[str]
    sources: Tensor
    source_ids: Sequence[str]
    source_labels: Tensor
    before: Tensor
    after: Tensor
    predictions: Tensor


def write_set(
    images: Images,
    classifier: Classifier,
    folder: Path,
    *,
    kind: str,
    settings: Mapping[str, Any],
    make: Callable[[range], Made],
    batch: int,
) -> Images:
    """Makes every shard that `folder` lacks, and opens the set.

    Arguments:
        images: what the set is made of.
        classifier: whose features it holds.
        folder: of the set.
        kind: the function that makes it.
        settings: of that function, everything that determines the content.
        make: makes the images of some rows.
        batch: how many rows at once.

    Raises:
        EquipoiseError: for a folder that holds something else, an image that cannot be read, a full disk.
    """
    record = _record(images, classifier, kind, settings)
    shards = _earlier(folder, record)
    starts = range(0, len(images), ROWS)
    missing = [n for n in range(len(starts)) if str(n) not in shards]
    total = len(starts)
    _write(folder, record, shards, total)
    with Progress(f"Making {folder}", total=total, done=total - len(missing)) as progress:
        for n in missing:
            started = time.monotonic()
            rows = range(starts[n], min(starts[n] + ROWS, len(images)))
            parts = [_columns(make(rows[k : k + batch])) for k in range(0, len(rows), batch)]
            columns = {name: np.concatenate([part[name] for part in parts]) for name in TYPES}
            file = f"data/train-{n:05d}-of-{total:05d}.parquet"
            facts = {"identity": record["identity"]}
            metadata = hugging_face_metadata(TYPES, images.classes)
            write_shard(folder / file, TYPES, columns, facts, metadata)
            shards[str(n)] = {
                "file": file,
                "sha256": checksum(folder / file),
                "rows": len(rows),
                "read_as_label": int((columns["prediction"] == columns["label"]).sum()),
                "seconds": round(time.monotonic() - started, 3),
            }
            _write(folder, record, shards, total)
            progress.advance()
    card = _card(record, shards)
    write_atomically(folder / "README.md", lambda path: path.write_text(card, encoding="utf-8"))
    return load_images(f"parquet:{folder}", "train")


def _columns(made: Made) -> dict[str, NDArray]:
    stored, change = made.images.cpu(), (made.images - made.sources).flatten(1)
    pictures = np.empty(len(stored), dtype=object)
    pictures[:] = [{"bytes": encode_png(image), "path": None} for image in stored]
    numbers = {
        "label": made.labels,
        "source_label": made.source_labels,
        "l1": change.abs().sum(1),
        "l2": change.norm(dim=1),
        "linf": change.abs().amax(1),
        "before": made.before,
        "after": made.after,
        "prediction": made.predictions,
    }
    names = {"id": made.ids, "source_id": made.source_ids}
    return (
        {"image": pictures}
        | {name: values.cpu().numpy() for name, values in numbers.items()}
        | {name: np.array(values, dtype=object) for name, values in names.items()}
    )


def _record(
    images: Images, classifier: Classifier, kind: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """features.json but for its shards."""
    content, judge = images.fingerprint(range(len(images))), classifier.fingerprint()
    return {
        "format": FORMAT,
        "kind": kind,
        "identity": digest(FORMAT, kind, content, judge, sorted(settings.items())),
        "data": {
            "spec": images.spec,
            "split": images.split,
            "images": len(images),
            "fingerprint": content,
        },
        "classes": list(images.classes),
        "settings": dict(settings),
        "classifier": {
            "name": classifier.name,
            "fingerprint": judge,
            "facts": classifier.facts,
        },
        "version": version("equipoise"),
    }


def _earlier(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The shards that an earlier call finished and whose bytes are still what was written.

    Raises:
        EquipoiseError: when the folder holds anything else.
    """
    if folder.is_file():
        raise EquipoiseError(
            f"Cannot make images in {folder}: it is a file. Choose another folder."
        )
    if not (folder / RECORD).exists():
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        # What a kill leaves of the first write is no stranger.
        strangers = {name for name in found if not name.startswith(f".{RECORD}.")}
        if strangers:
            raise EquipoiseError(
                f"Cannot make images in {folder}: it holds other files, such as {min(strangers)!r}. Choose an empty "
                "or new folder."
            )
        return {}
    before = dict(read_json(folder / RECORD))
    if before.get("identity") != record["identity"]:
        earlier = before.get("settings", {})
        changed = [
            f"{key} is {earlier.get(key)!r} there and {value!r} now"
            for key, value in record["settings"].items()
            if earlier.get(key) != value
        ]
        if before.get("kind") != record["kind"]:
            changed = [f"made by {before.get('kind')}"]
        what = "; ".join(changed) or "of other images or another classifier"
        raise EquipoiseError(
            f"Cannot make images in {folder}: it holds another set ({what}). Choose another folder, or delete that "
            "one."
        )
    return {
        n: shard
        for n, shard in before["shards"].items()
        if (folder / shard["file"]).is_file()
        and checksum(folder / shard["file"]) == shard["sha256"]
    }


def _write(folder: Path, record: dict[str, Any], shards: dict[str, Any], total: int) -> None:
    status = "complete" if len(shards) == total else "running"
    ordered = dict(sorted(shards.items(), key=lambda item: int(item[0])))
    write_json(folder / RECORD, record | {"status": status, "shards": ordered})


def _card(record: dict[str, Any], shards: dict[str, Any]) -> str:
    settings = "\n".join(f"| {key} | {value} |" for key, value in record["settings"].items())
    agreed = sum(shard["read_as_label"] for shard in shards.values())
    data = record["data"]
    return f"""---
configs:
  - config_name: default
    data_files:
      - split: train
        path: data/train-*.parquet
tags:
  - adversarial-features
---
# {record["kind"]} of {data["spec"]} ({data["split"]})

Made by equipoise {record["version"]} from {data["images"]} images, whose terms of use apply, with the classifier
{record["classifier"]["name"]!r}, which reads {agreed} of them as their label. The labels are for training only: they
are not what a person sees.

| setting | value |
|---|---|
{settings}

`id` names the image that a row stands for, `source_id` and `source_label` the one where its search began; `l1`, `l2`
and `linf` are how far the stored pixels, in [0, 1], are from that; `before` and `after` are what the search lowers,
there and here; `prediction` is the classifier's answer.
"""
