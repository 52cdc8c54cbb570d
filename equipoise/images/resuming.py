"""What an earlier call left of a set of images on disk: whose it is, which shards are sound, what to make again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equipoise.bounds import is_within
from equipoise.errors import EquipoiseError
from equipoise.files import NotJSONError, read_json
from equipoise.locks import NAME as LOCK
from equipoise.repairs import note_repairs
from equipoise.store import find_damage, read_facts

__all__ = [
    "SetKind",
    "earlier",
    "listed_files",
    "refuse_strangers",
    "shard_file",
    "survey",
    "verify_set",
]


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


def shard_file(split: str, n: int, total: int) -> str:
    """Path of a shard below the folder of its set."""
    return f"data/{split}-{n:05d}-of-{total:05d}.parquet"


def verify_set(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """Files of a set that are not as they were written, and what is wrong with each; none when all is well.

    Raises:
        EquipoiseError: what `listed_files` raises.
    """
    listed = listed_files(folder, record)
    found = find_damage([folder / file for file in listed])
    return {file: found[folder / file] for file in listed if folder / file in found}


def listed_files(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """The files that the record of a set lists, below its folder.

    Raises:
        EquipoiseError: for a record that is none of a set, or names files outside the folder.
    """
    shards = record.get("shards") if isinstance(record, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(s, dict) for s in shards.values()):
        raise EquipoiseError(f"Cannot verify {folder}: its record is of something else.")
    listed = [
        part["file"]
        for shard in shards.values()
        # Of an only split the record says all in one place.
        for part in (shard, *shard.values())
        if isinstance(part, dict) and "file" in part
    ]
    for file in listed:
        if not is_within(file):
            raise EquipoiseError(
                f"Cannot verify {folder}: its record names {str(file)[:100]!r}, which lies outside the folder."
            )
    return listed


def refuse_strangers(folder: Path, kind: SetKind) -> None:
    """Refuses a folder that holds anything but a set of this kind, or the beginning of one."""
    refusal = f"Cannot make {kind.holds} in {folder}: it"
    if folder.is_file():
        raise EquipoiseError(f"{refusal} is a file. Choose another {kind.out}.")
    if (folder / kind.record).exists():
        return
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    # What a kill leaves of the first write is no stranger, and neither is the lock of another process.
    strangers = {
        name for name in found if name != LOCK and not name.startswith(f".{kind.record}.")
    }
    if strangers:
        raise EquipoiseError(
            f"{refusal} holds other files, such as {min(strangers)!r}. Choose an empty or new {kind.out}."
        )


def earlier(folder: Path, kind: SetKind, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of an earlier call that asked for the same; None where there is none, or only what is left of one.

    Raises:
        EquipoiseError: when it is that of another set.
    """
    if not (folder / kind.record).exists():
        return None
    try:
        before = read_json(folder / kind.record)
    except NotJSONError as error:
        # The files beside it say what it said.
        if (folder / "data").is_dir():
            return None
        raise EquipoiseError(f"{error} Delete it, or choose another {kind.out}.") from None
    if not isinstance(before, dict) or not isinstance(before.get("shards"), dict):
        raise EquipoiseError(
            f"Cannot make {kind.holds} in {folder}: it holds a {kind.record} of something else. Choose another "
            f"{kind.out}."
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
        if before.get("format") != record["format"]:
            changed = [f"its format is {before.get('format')}, this version's {record['format']}"]
        raise _another(folder, kind, "; ".join(changed) or kind.apart)
    return before


def _another(folder: Path, kind: SetKind, how: str) -> EquipoiseError:
    return EquipoiseError(
        f"Cannot make {kind.holds} in {folder}: it holds another set ({how}). Choose another {kind.out}, or delete "
        "that one."
    )


def survey(
    folder: Path,
    kind: SetKind,
    record: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    total: int,
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The shards whose files are all sound, as the record has them, and what it says of repairs, earlier ones
    included."""
    shards: dict[str, Any] = {}
    damaged: dict[str, str] = {}
    known = before or {}
    parts = [[shard_file(split, n, total) for split in kind.splits] for n in range(total)]
    found = find_damage([folder / file for files in parts for file in files])
    for n, files in enumerate(parts):
        wrong = {file: found[folder / file] for file in files if folder / file in found}
        sound = [file for file in files if file not in wrong]
        facts = read_facts([folder / file for file in sound])
        for file, said in zip(sound, facts, strict=True):
            if said.get("identity") != record["identity"]:
                if before is None:
                    raise _another(folder, kind, f"{file} belongs to it")
                wrong[file] = "it belongs to another set"
        if not wrong:
            shards[str(n)] = facts[0]["made"]
        had = str(n) in known.get("shards", {})
        damaged |= {file: why for file, why in wrong.items() if had or (folder / file).exists()}
    if before is None and (folder / kind.record).exists():
        damaged[kind.record] = "it is not JSON"
    return shards, note_repairs(folder, damaged, before)
