"""What run.json must hold before anything is done with it: a run may come from anybody.

What is checked is what the rest would be led astray by: shards that lie outside the folder or are no ranges, counts
that would fill the memory, and lists where there should be names. What is left is shown as text or as a number.
"""

from pathlib import Path
from typing import Any

from equipoise.audit.plan import SCHEMA
from equipoise.bounds import is_within
from equipoise.errors import EquipoiseError
from equipoise.files import NotJSONError, read_json

__all__ = ["read_record", "stays"]

_EVERY = {
    "status": str,
    "created": str,
    "seed": int,
    "data": dict,
    "probes": dict,
    "classifiers": dict,
    "shards": list,
}
"""What every run.json has, and of which kind it is."""

_MOST_PICTURES = 10**6
_LONGEST_NAME = 4096
"""Letters of the name of a classifier, of a probe with what it is made of, and of a class."""


def read_record(folder: Path) -> dict[str, Any]:
    """run.json of the run in `folder`.

    Raises:
        EquipoiseError: when there is none, when it is of another schema, lacks what every run has, or holds something
            else than an audit writes.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise EquipoiseError(
            f"Cannot open the run {str(folder)!r}: there is no run.json in it. Give the folder that an audit wrote."
        )
    try:
        record = read_json(path)
    except NotJSONError as error:
        raise EquipoiseError(
            f"{error} Repeat the audit that wrote it: run.json is written again, and sound shards are kept."
        ) from None
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise EquipoiseError(
            f"Cannot open the run {str(folder)!r}: its schema is {schema!r:.40}, this version of equipoise reads "
            f"{SCHEMA}. Audit into another folder with --out."
        )
    lacking = _EVERY.keys() - record.keys()
    if lacking:
        raise EquipoiseError(
            f"Cannot open the run {str(folder)!r}: its run.json lacks {', '.join(sorted(lacking))}. Delete that file "
            "and repeat the audit: it is written again, and sound shards are kept."
        )
    wrong = _wrong(record)
    if wrong:
        raise EquipoiseError(
            f"Cannot open the run {str(folder)!r}: {wrong} in its run.json is not what an audit writes. Take the "
            "folder from whoever made it once more, or repeat the audit."
        )
    return record


def stays(path: Path, folder: Path, known: dict[Path, bool]) -> bool:
    """Whether a file below `folder` is not behind a link that leads out of it.

    Arguments:
        path: of the file, below `folder`.
        folder: of the run.
        known: what was found of the folders of earlier files.
    """
    place = path.parent
    if place not in known:
        known[place] = place.resolve().is_relative_to(folder.resolve())
    return known[place] and not path.is_symlink()


def _wrong(record: dict[str, Any]) -> str | None:
    """What is wrong, in words; None when all is well."""
    for name, kind in _EVERY.items():
        if not isinstance(record[name], kind) or isinstance(record[name], bool):
            return repr(name)
    wrong = next((k for k, shard in enumerate(record["shards"]) if not _is_shard(shard)), None)
    named = (record["probes"], record["classifiers"], record.get("probe_facts", {}))
    right = {
        "its seed": -(2**63) <= record["seed"] < 2**63,
        f"shard {wrong}": wrong is None,
        "a name": all(isinstance(names, dict) and all(map(_is_name, names)) for names in named),
        "a probe": all(map(_is_name, record["probes"].values())),
        "a classifier": all(isinstance(about, dict) for about in record["classifiers"].values()),
        "'data'": _is_data(record["data"]),
    }
    return next((what for what, holds in right.items() if not holds), None)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_NAME


def _is_count(value: Any, most: int = 2**53) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _is_shard(shard: Any) -> bool:
    return (
        isinstance(shard, dict)
        and (shard.get("classifier", 0) is None or _is_name(shard.get("classifier")))
        and _is_name(shard.get("probe"))
        and _is_count(shard.get("first"))
        and _is_count(shard.get("last"))
        and shard["first"] < shard["last"]
        # What DuckDB would take for a pattern is in the name of no shard.
        and is_within(shard.get("file"))
        and not set(shard["file"]) & set("*?[")
    )


def _is_data(data: dict[str, Any]) -> bool:
    """Whether what is said of the images is of the right kinds; what is missing is none of them."""
    shape, classes = data.get("shape", [1, 1, 1]), data.get("classes", [])
    return (
        _is_count(data.get("images", 0))
        and _is_count(data.get("pictures", 0))
        and min(data.get("pictures", 0), data.get("images", 0)) <= _MOST_PICTURES
        and isinstance(shape, list)
        and len(shape) == 3
        and all(_is_count(side, 2**20) and side for side in shape)
        and isinstance(classes, list)
        and all(map(_is_name, classes))
        and all(_is_name(data.get(name, "")) for name in ("spec", "split"))
    )
