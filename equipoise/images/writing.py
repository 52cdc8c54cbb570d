"""Writing a set of images on disk: shard by shard, resumed by repeating.

    DIR/RECORD                    what was asked, and every finished shard with the SHA-256 of its files
    DIR/data/SPLIT-*.parquet      the images, which ``parquet:DIR`` opens
    DIR/README.md                 a card, with which the folder is a data set of the Hugging Face hub

A shard holds what was made of a few source images, in one file a split. A file is written under a temporary name and
renamed; the record then gets its checksum. What the record does not know, or whose bytes have changed since, is made
again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from equipoise.bounds import is_within
from equipoise.errors import EquipoiseError
from equipoise.files import checksum, read_json, write_atomically, write_json
from equipoise.images.hugging_face import hugging_face_card, hugging_face_metadata
from equipoise.images.source import Images
from equipoise.progress import Progress
from equipoise.store import write_shard

__all__ = ["SetKind", "WriteSplit", "is_unchanged", "source_facts", "write_set"]

WriteSplit = Callable[[str, Mapping[str, NDArray]], dict[str, Any]]
"""Writes the columns of a split into a shard; gives the file's name, SHA-256 and number of rows, for the record."""


@dataclass(frozen=True, kw_only=True)
class SetKind:
    """What sets of one kind have in common.

    Arguments:
        holds: what is in them, for messages.
        record: name of the record.
        splits: names of the splits, of which each shard has a file.
        types: the SQL type of each column; ``image``, ``label`` and ``id`` are among them.
        tag: under which the hub of Hugging Face lists them.
        out: what to choose another of when a folder cannot be used, for messages.
        apart: how two sets differ when their settings do not, for messages.
    """

    holds: str
    record: str
    splits: Sequence[str]
    types: Mapping[str, str]
    tag: str
    out: str
    apart: str


def write_set(
    images: Images,
    folder: Path,
    kind: SetKind,
    record: Mapping[str, Any],
    *,
    size: int,
    make: Callable[[range, WriteSplit], dict[str, Any]],
    card: Callable[[Mapping[str, Any]], str],
) -> None:
    """Makes every shard that `folder` lacks.

    Arguments:
        images: what the set is made of.
        folder: of the set.
        kind: of the set.
        record: what was asked; its ``identity`` determines the content, and its ``settings`` say how sets differ.
        size: images that a shard is made of.
        make: makes of some rows of `images` what is written, and gives what the record says of the shard.
        card: the text of README.md, from the finished record.

    Raises:
        EquipoiseError: for a folder that holds something else, a full disk, and what `make` raises.
    """
    shards = _earlier(folder, kind, record)
    starts = range(0, len(images), size)
    total = len(starts)
    missing = [n for n in range(total) if str(n) not in shards]
    facts = {"identity": record["identity"]}
    metadata = hugging_face_metadata(kind.types, images.classes)

    def write(n: int, split: str, columns: Mapping[str, NDArray]) -> dict[str, Any]:
        file = f"data/{split}-{n:05d}-of-{total:05d}.parquet"
        write_shard(folder / file, kind.types, columns, facts, metadata)
        return {"file": file, "sha256": checksum(folder / file), "rows": len(columns["id"])}

    def save() -> None:
        status = "complete" if len(shards) == total else "running"
        ordered = dict(sorted(shards.items(), key=lambda item: int(item[0])))
        write_json(folder / kind.record, {**record, "status": status, "shards": ordered})

    save()
    title = f"Making {kind.holds} in {folder}"
    with Progress(title, total=total, done=total - len(missing)) as progress:
        for n in missing:
            started = time.monotonic()
            rows = range(starts[n], min(starts[n] + size, len(images)))
            made = make(rows, partial(write, n))
            shards[str(n)] = made | {"seconds": round(time.monotonic() - started, 3)}
            save()
            progress.advance()
    text = hugging_face_card(kind.splits, kind.tag, card({**record, "shards": shards}))
    write_atomically(folder / "README.md", lambda path: path.write_text(text, encoding="utf-8"))


def source_facts(images: Images) -> dict[str, Any]:
    """What the record of a set says of the images that it was made of."""
    return {
        "spec": images.spec,
        "split": images.split,
        "images": len(images),
        "fingerprint": images.fingerprint(range(len(images))),
    }


def is_unchanged(folder: Path, written: Mapping[str, Any]) -> bool:
    """Whether the bytes of a file, as a `WriteSplit` described it, are still what was written."""
    if not is_within(written.get("file")):
        return False
    path = folder / written["file"]
    return path.is_file() and checksum(path) == written.get("sha256")


def _earlier(folder: Path, kind: SetKind, record: Mapping[str, Any]) -> dict[str, Any]:
    """The shards that an earlier call finished and whose bytes are still what was written.

    Raises:
        EquipoiseError: when the folder holds anything else.
    """
    refusal = f"Cannot make {kind.holds} in {folder}: it"
    if folder.is_file():
        raise EquipoiseError(f"{refusal} is a file. Choose another {kind.out}.")
    if not (folder / kind.record).exists():
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        # What a kill leaves of the first write is no stranger.
        strangers = {name for name in found if not name.startswith(f".{kind.record}.")}
        if strangers:
            raise EquipoiseError(
                f"{refusal} holds other files, such as {min(strangers)!r}. Choose an empty or new {kind.out}."
            )
        return {}
    before = read_json(folder / kind.record)
    if not isinstance(before, dict) or not isinstance(before.get("shards"), dict):
        raise EquipoiseError(
            f"{refusal} holds a {kind.record} of something else. Choose another {kind.out}."
        )
    # A call that failed in its first shard leaves nothing to protect.
    empty = before.get("shards") == {} and not (folder / "data").exists()
    if before.get("identity") != record["identity"] and not empty:
        earlier = before.get("settings", {})
        changed = [
            f"{key} is {earlier.get(key)!r} there and {value!r} now"
            for key, value in record["settings"].items()
            if earlier.get(key) != value
        ]
        if before.get("kind") != record.get("kind"):
            changed = [f"made by {before.get('kind')}"]
        raise EquipoiseError(
            f"{refusal} holds another set ({'; '.join(changed) or kind.apart}). Choose another {kind.out}, or delete "
            "that one."
        )
    return {
        n: shard
        for n, shard in before["shards"].items()
        if n.isdecimal() and _is_kept(folder, kind, shard)
    }


def _is_kept(folder: Path, kind: SetKind, shard: Any) -> bool:
    if not isinstance(shard, dict):
        return False
    # Of an only split the record says all in one place.
    files = [shard.get(split, shard) for split in kind.splits]
    return all(isinstance(file, dict) and is_unchanged(folder, file) for file in files)
