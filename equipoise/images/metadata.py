"""``metadata.csv``: a table that says which image has which label.

Two dialects are read. Hugging Face: ``file_name, label`` and, if wanted, ``split`` and ``group``.
Waterbirds: ``img_filename, y, split, place`` with splits 0, 1, 2 = train, val, test; the group is
then label and place together, ``y0-place1``. File names are relative to the folder of the table.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath

from equipoise.bounds import is_within, read_bounded
from equipoise.errors import EquipoiseError

__all__ = ["LARGEST_TABLE", "METADATA", "Row", "read_metadata"]

LARGEST_TABLE = 2**28
"""Bytes: more than a line for each of three million images."""

METADATA = "metadata.csv"
WATERBIRDS_SPLITS = {"0": "train", "1": "val", "2": "test"}


@dataclass(frozen=True)
class Row:
    """One line: `name` is the file relative to the table's folder, with forward slashes."""

    name: str
    label: str
    split: str | None
    group: str | None


def read_metadata(path: Path) -> list[Row]:
    """Reads the table at `path`, in its own order.

    Raises:
        EquipoiseError: when it cannot be read, has more than `LARGEST_TABLE` bytes, lacks a column,
            names a file twice or one outside its folder.
    """
    try:
        text = read_bounded(path, LARGEST_TABLE).decode("utf-8-sig")
        rows = list(_rows(path, csv.DictReader(StringIO(text, newline=""))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise EquipoiseError(
            f"Cannot read {path}: {reason}. Save it as a UTF-8 CSV table."
        ) from error
    seen: set[str] = set()
    for row in rows:
        if row.name in seen:
            raise EquipoiseError(f"{path} lists {row.name!r} twice. Remove one of the lines.")
        seen.add(row.name)
    return rows


def _rows(path: Path, table: csv.DictReader) -> Iterator[Row]:
    columns = set(table.fieldnames or ())
    waterbirds = {"img_filename", "y", "place"} <= columns
    if not waterbirds and not {"file_name", "label"} <= columns:
        raise EquipoiseError(
            f"Cannot read {path}: it has the columns {sorted(columns)}. It needs 'file_name' and "
            "'label', or Waterbirds' 'img_filename', 'y', 'split' and 'place'."
        )
    for line in table:
        cell = {
            key: (value or "").strip()
            for key, value in line.items()
            if isinstance(key, str)  # what is too many stands under None, as a list
        }
        name = cell["img_filename" if waterbirds else "file_name"]
        split = cell.get("split") or None
        if waterbirds:
            label, group = cell["y"], f"y{cell['y']}-place{cell['place']}"
            split = WATERBIRDS_SPLITS.get(split or "", split)
        else:
            label, group = cell["label"], cell.get("group") or None
        yield Row(_inside(name, path), label, split, group)


def _inside(name: str, path: Path) -> str:
    """`name` in its plain form, once it is known to stay in the table's folder."""
    if not is_within(name):
        raise EquipoiseError(
            f"{path} names the file {name!r}, which is not inside its folder. Write paths "
            f"relative to {path.parent}."
        )
    return PurePosixPath(name).as_posix()
