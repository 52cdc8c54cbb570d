"""Whether what was written is still as it was written: a run, a set of images, or all of them that a study keeps.

Every file that a record lists is read from its first byte to its last, where it is kept: at an address, not in the copy
of it that this machine may have.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equipoise.audit.record import read_record, stays
from equipoise.errors import EquipoiseError
from equipoise.files import read_json
from equipoise.images.resuming import listed_files
from equipoise.remote import FilesHere, FilesThere, place
from equipoise.seals import GONE
from equipoise.store import find_damage

__all__ = ["Verified", "damaged_shards", "verify"]

RECORDS = {"run.json": "run", "set.json": "counterfactuals", "features.json": "features"}
"""Files that list others, and what they are the record of."""


@dataclass(frozen=True)
class Verified:
    """What became of one run or set.

    Attributes:
        folder: below the one that was asked about; "." is that one.
        kind: "run", "counterfactuals" or "features".
        files: how many its record lists.
        damaged: files that are not as they were written, below `folder`, and what is wrong with each.
        trouble: why its record cannot be read, and so no file was; None when it can.
    """

    folder: str
    kind: str
    files: int
    damaged: Mapping[str, str]
    trouble: str | None = None


def verify(where: str | Path) -> Iterator[Verified]:
    """Reads every file of each run and set in a folder and below it, one after the other. Nothing there is changed.

    Arguments:
        where: the folder of a run, a set or a study, or its address.

    Raises:
        EquipoiseError: when there is no record of any in it, or an address cannot be read.
    """
    home = place(where)
    files = home.files()
    records = files.named(RECORDS)
    if not records:
        raise EquipoiseError(
            f"Cannot verify {home}: there is no run.json, set.json or features.json in it or below it. Give the folder "
            "or the address that a command of equipoise wrote."
        )
    for record in records:
        folder, _, name = record.rpartition("/")
        yield _verified(files, record, folder, RECORDS[name])


def _verified(files: FilesHere | FilesThere, record: str, folder: str, kind: str) -> Verified:
    try:
        with files.lent(record) as lent:
            if kind == "run":
                about = read_record(lent / folder)
                listed = [shard["file"] for shard in about["shards"]]
            else:
                about = read_json(lent / record)
                listed = listed_files(lent / folder, about)
    except EquipoiseError as error:
        return Verified(folder or ".", kind, 0, {}, str(error))
    run = kind == "run"
    damaged = damaged_shards(files, folder, about) if run else _damaged(files, folder, listed)
    return Verified(folder or ".", kind, len(listed), damaged)


def damaged_shards(
    files: FilesHere | FilesThere, folder: str, record: Mapping[str, Any]
) -> dict[str, str]:
    """The shards of a run that are not as they were written, and what is wrong with each. What an unfinished run lacks
    is no damage.

    Arguments:
        files: among which they are.
        folder: of the run, among these; empty for all of it.
        record: run.json.
    """
    names = [shard["file"] for shard in record["shards"]]
    outside = dict[str, str]()
    if isinstance(files, FilesHere):
        run, known = files.folder / folder, dict[Path, bool]()
        outside = {
            n: "it lies outside the folder" for n in names if not stays(run / n, run, known)
        }
    found = _damaged(files, folder, [name for name in names if name not in outside])
    whole = record["status"] == "complete"
    return {name: why for name, why in found.items() if whole or why != GONE} | outside


def _damaged(files: FilesHere | FilesThere, folder: str, names: list[str]) -> dict[str, str]:
    paths = {f"{folder}/{name}" if folder else name: name for name in names}
    return {paths[path]: why for path, why in files.examine(list(paths), find_damage).items()}
