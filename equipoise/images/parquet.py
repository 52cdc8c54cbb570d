"""Images in Parquet files: ``parquet:PATH?size=32&channels=3``.

PATH is a file, or a folder with ``SPLIT.parquet``, ``SPLIT-*.parquet`` or ``data/SPLIT-*.parquet``
(several files are taken in sorted order). Columns:

    image        the bytes of an image file, or Hugging Face's struct {bytes, path}
    label        a whole number or a word
    id or name   if present, the image's id; with its row number attached where names repeat
    group        if present

Class names come from the metadata key ``classes`` (names with commas between), else from Hugging
Face's own key, else from the labels. A file given by name serves as "test", or as the split that
it is named after. Ids and groups count up to their first 1,000 letters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equipoise.bounds import parse_json
from equipoise.errors import EquipoiseError
from equipoise.images.blocks import TABLE, Blocks, query
from equipoise.images.decode import LARGEST_IMAGE, BrokenImageError, Decoding
from equipoise.images.folder import SPLITS
from equipoise.images.labels import MOST_CLASSES, index_labels
from equipoise.images.source import Example, Images
from equipoise.specs import Spec
from equipoise.streams import digest

__all__ = ["Parquet"]

LONGEST = 1000
"""Letters of an id, a group or a label."""


@dataclass(frozen=True, repr=False, eq=False)
class Parquet(Images):
    """The rows of one split, read in blocks and decoded when they are asked for.

    Arguments:
        decoding: how bytes become tensors.
        blocks: rows (image bytes or `None`, label, group or `None`, id or `None`).
        index: from labels in the files to indices into `classes`.
        unique: whether the ids of the rows need no row number.
    """

    spec: str
    split: str
    classes: tuple[str, ...]
    decoding: Decoding
    blocks: Blocks
    index: dict[Any, int] = field(repr=False)
    unique: bool = True

    @classmethod
    def open(cls, spec: Spec, split: str) -> "Parquet":
        """Finds the files of `split` and checks their columns and labels.

        Raises:
            EquipoiseError: when the path, the split, a column or every row is missing, a file is
                damaged, or a label is missing or out of range.
        """
        files, siblings = _find(spec, split)
        columns = {
            name: kind for name, kind, *_ in query(files, f"DESCRIBE SELECT * FROM {TABLE}")
        }
        for needed in ("image", "label"):
            if needed not in columns:
                has = ", ".join(name for name in columns if name != "file_row_number")
                raise EquipoiseError(
                    f"Cannot read images from {files[0]}: it has no column {needed!r} but {has}. "
                    "Rename the column."
                )
        names = _class_names(files)
        # Without names, the labels of every split decide together, so that all splits agree.
        label = f"left(label, {LONGEST + 1})" if columns["label"] == "VARCHAR" else "label"
        labels = query(
            files if names else siblings,
            f"SELECT DISTINCT {label} FROM {TABLE} LIMIT {MOST_CLASSES + 1}",
        )
        if any(isinstance(label, str) and len(label) > LONGEST for (label,) in labels):
            raise EquipoiseError(
                f"Cannot use the labels of {files[0]}: some have more than {LONGEST} letters. Are they captions?"
            )
        classes, index = index_labels((label for (label,) in labels), names, str(files[0]))
        image = "image.bytes" if columns["image"].startswith("STRUCT") else "image"
        image = f"CASE WHEN octet_length({image}::BLOB) <= {LARGEST_IMAGE} THEN {image}::BLOB END"
        group = _text("group") if "group" in columns else "NULL"
        id = next((_text(name) for name in ("id", "name") if name in columns), None)
        counts = dict(query(files, "SELECT file_name, num_rows FROM parquet_file_metadata(?)"))
        [(size,)] = query(files, "SELECT sum(total_uncompressed_size) FROM parquet_metadata(?)")
        blocks = Blocks(
            files,
            tuple(counts[str(file)] for file in files),
            f"{image}, label, {group}, {id or 'NULL'}",
            int(size or 0),
        )
        if not len(blocks):
            raise EquipoiseError(
                f"Cannot read images from {files[0]}: it has no rows. Write some."
            )
        # Hashes instead of names keep a million distinct ones in a few megabytes.
        distinct = (
            query(files, f"SELECT count(DISTINCT hash({id})) FROM {TABLE}")[0][0] if id else 0
        )
        decoding = Decoding.of(spec, lambda: _sample(blocks))
        return cls(spec.text, split, classes, decoding, blocks, index, distinct == len(blocks))

    def __len__(self) -> int:
        return len(self.blocks)

    def read(self, index: int) -> Example:
        data, label, group, name = self.blocks.row(index)
        id = name if name and self.unique else f"{name or self.split}#{index}"
        if data is None:
            raise BrokenImageError(id, f"its row holds no bytes, or more than {LARGEST_IMAGE}")
        return Example(self.decoding(data, id), self.index[label], id, group)

    def fingerprint(self, indices: Sequence[int]) -> str:
        # Neighbouring rows are kept as one run, so that a million of them take no memory.
        runs: list[tuple[Path, int, int, int]] = []
        for index in indices:
            file, row = self.blocks.place(index)
            if runs and (file, row, index) == (runs[-1][0], *(end + 1 for end in runs[-1][2:])):
                runs[-1] = (*runs[-1][:2], row, index)
            else:
                runs.append((file, row, row, index))
        rows = [(file.name, *ends) for file, *ends in runs]
        states = [(file.name, file.stat()) for file in sorted({file for file, *_ in runs})]
        files = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
        return digest(self.decoding, self.classes, files, rows)


def _find(spec: Spec, split: str) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files of `split`, and those of all splits beside them."""
    path = spec.path.absolute()
    if not spec.target or not path.exists():
        raise EquipoiseError(
            f"Cannot open {spec.text!r}: there is no {spec.target!r}. Write parquet:PATH with a "
            "file or folder that exists."
        )
    found: dict[str, list[Path]] = {}
    if path.is_file():
        found = {name: [path] for name in {"test", _split_of(path)} if name in ("test", *SPLITS)}
    else:
        for folder in (path, path / "data"):
            files = sorted(file for file in folder.glob("*.parquet") if file.name[0] != ".")
            here = {_split_of(file) for file in files} - found.keys()
            found |= {name: [file for file in files if _split_of(file) == name] for name in here}
    if not found:
        raise EquipoiseError(
            f"Cannot find SPLIT.parquet or SPLIT-*.parquet in {path}. Name its files so."
        )
    if split not in found:
        names = ", ".join(sorted(found))
        raise EquipoiseError(
            f"Cannot find the split {split!r} in {path}: it has {names}. Ask for one of these."
        )
    siblings = [files for name, files in found.items() if name in (*SPLITS, split)]
    return tuple(found[split]), tuple(file for files in siblings for file in files)


def _text(column: str) -> str:
    """SQL of a column as text of bounded length."""
    return f'left("{column}"::VARCHAR, {LONGEST})'


def _split_of(file: Path) -> str:
    return file.stem.partition("-")[0]


def _class_names(files: Sequence[Path]) -> tuple[str, ...] | None:
    """The class names in the files' metadata, `None` when there are none."""
    found: dict[bytes, set[bytes]] = {}
    for key, value in query(files, "SELECT key, value FROM parquet_kv_metadata(?)"):
        found.setdefault(key, set()).add(value)
    try:
        names = {tuple(value.decode().split(",")) for value in found.get(b"classes", ())}
        if not names:
            infos = [parse_json(value) for value in found.get(b"huggingface", ())]
            features = [info["info"]["features"].get("label", {}) for info in infos]
            names = {tuple(feature["names"]) for feature in features if "names" in feature}
        if not all(isinstance(name, str) for classes in names for name in classes):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EquipoiseError(
            f"Cannot read the class names in the metadata of {files[0]}: they are neither names "
            "with commas between (key 'classes') nor Hugging Face's JSON. Write the file again."
        ) from error
    if len(names) > 1:
        raise EquipoiseError(
            f"Cannot name the classes of {files[0]}: other files of the split have other names. "
            "Write them again with the same ones."
        )
    return names.pop() if names else None


def _sample(blocks: Blocks) -> Iterator[bytes]:
    """Up to 64 images from four places, whose headers tell whether the set is coloured."""
    starts = range(0, len(blocks), -(-len(blocks) // 4))
    rows = {row for start in starts for row in range(start, min(start + 16, len(blocks)))}
    images = (blocks.row(row)[0] for row in sorted(rows))
    return (image for image in images if image is not None)
