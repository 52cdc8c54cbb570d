"""Writing a set of images on disk: shard by shard, resumed by repeating.

    DIR/RECORD                    what was asked, every finished shard, and what had to be made again
    DIR/data/SPLIT-*.parquet      the images, which ``parquet:DIR`` opens
    DIR/README.md                 a card, with which the folder is a data set of the Hugging Face hub

A shard holds what was made of a few source images, in one file a split. Each file says which set it belongs to and what
the record says of its shard, and has a checksum (`equipoise.seals`): what is missing or damaged is made again, and a
record that is lost is written again from the files.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from equipoise.cluster import Cluster
from equipoise.files import read_json, remove_leftovers, write_atomically, write_json
from equipoise.images.hugging_face import hugging_face_card, hugging_face_metadata
from equipoise.images.resuming import SetKind, earlier, refuse_strangers, shard_file, survey
from equipoise.images.source import Images
from equipoise.locks import exclusive
from equipoise.progress import Progress
from equipoise.store import write_shard

__all__ = ["SetKind", "WriteSplit", "source_facts", "write_set"]

WriteSplit = Callable[[str, Mapping[str, NDArray]], dict[str, Any]]
"""Puts the columns of a split into a shard; gives the file's name and number of rows, for the record."""


def write_set(
    images: Images,
    folder: Path,
    kind: SetKind,
    record: Mapping[str, Any],
    *,
    size: int,
    make: Callable[[range, WriteSplit], dict[str, Any]],
    card: Callable[[Mapping[str, Any]], str],
    cluster: Cluster | None = None,
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
        cluster: whose workers make the shards, each with a copy of `make`; this process when None.

    Raises:
        EquipoiseError: for a folder that holds something else or that another process works in, a full disk, a lost
            cluster, and what `make` raises.
    """
    refuse_strangers(folder, kind)
    with exclusive(folder, f"make {kind.holds} in"):
        remove_leftovers(folder)
        _fill(images, folder, kind, record, size=size, make=make, cluster=cluster)
    text = hugging_face_card(kind.splits, kind.tag, card(read_json(folder / kind.record)))
    write_atomically(folder / "README.md", lambda path: path.write_text(text, encoding="utf-8"))


def _fill(
    images: Images,
    folder: Path,
    kind: SetKind,
    record: Mapping[str, Any],
    *,
    size: int,
    make: Callable[[range, WriteSplit], dict[str, Any]],
    cluster: Cluster | None,
) -> None:
    """Makes the shards, and keeps the record."""
    total = len(range(0, len(images), size))
    before = earlier(folder, kind, record)
    shards, repaired = survey(folder, kind, record, before, total)
    missing = [n for n in range(total) if str(n) not in shards]
    shard = _Shard(
        folder=folder,
        types=kind.types,
        identity=record["identity"],
        metadata=hugging_face_metadata(kind.types, images.classes),
        images=len(images),
        size=size,
        make=make,
    )

    def save() -> None:
        status = "complete" if len(shards) == total else "running"
        ordered = dict(sorted(shards.items(), key=lambda item: int(item[0])))
        said = {**record, "status": status, "repaired": repaired, "shards": ordered}
        write_json(folder / kind.record, said)

    save()
    title = f"Making {kind.holds} in {folder}"
    with Progress(title, total=total, done=total - len(missing)) as progress:
        for n, made in _made(shard, missing, cluster, folder / kind.record):
            shards[str(n)] = made
            save()
            progress.advance()


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """Makes and writes the shard of a number, in any process that sees the folder."""

    folder: Path
    types: Mapping[str, str]
    identity: str
    metadata: Mapping[str, str]
    images: int
    size: int
    make: Callable[[range, WriteSplit], dict[str, Any]]

    def __call__(self, n: int) -> dict[str, Any]:
        started = time.monotonic()
        total = len(range(0, self.images, self.size))
        parts: dict[str, Mapping[str, NDArray]] = {}

        def take(split: str, columns: Mapping[str, NDArray]) -> dict[str, Any]:
            # Files say what the record says, and wait until that is known.
            parts[split] = columns
            return {"file": shard_file(split, n, total), "rows": len(columns["id"])}

        made = self.make(range(n * self.size, min((n + 1) * self.size, self.images)), take)
        made |= {"seconds": round(time.monotonic() - started, 3)}
        facts = {"identity": self.identity, "made": made}
        for split, columns in parts.items():
            file = self.folder / shard_file(split, n, total)
            write_shard(file, self.types, columns, facts, self.metadata)
        return made


def _made(
    shard: _Shard, missing: Sequence[int], cluster: Cluster | None, record: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What each of the missing shards is, in the order in which they are done."""
    if cluster is None:
        yield from ((n, shard(n)) for n in missing)
    elif missing:
        yield from cluster.spread(shard, missing, near=hash, shared=record)


def source_facts(images: Images) -> dict[str, Any]:
    """What the record of a set says of the images that it was made of."""
    return {
        "spec": images.spec,
        "split": images.split,
        "images": len(images),
        "fingerprint": images.fingerprint(range(len(images))),
    }
