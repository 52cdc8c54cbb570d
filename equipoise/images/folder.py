"""Images in a folder: ``folder:PATH?size=32&channels=3&classes=restricted-imagenet``.

Three layouts are read, the first that fits:

    PATH/SPLIT/metadata.csv or PATH/metadata.csv      a table, see `equipoise.images.metadata`
    PATH/SPLIT/CLASS/.../image.jpg                    a folder a class, under a folder a split
    PATH/CLASS/.../image.jpg                          a folder a class; serves only as "test"

Classes are those of all splits together, so that a class missing from one does not shift the
labels. Images are sorted by name; an id is the path relative to PATH, with forward slashes. Hidden
files are ignored. Only names are held in memory.

With ``classes=``, the folders are synsets of ImageNet, and those that
`equipoise.images.restricted_imagenet` groups are read: the label is the group's, and the group of an
image its synset.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from equipoise.errors import EquipoiseError
from equipoise.images.decode import Decoding
from equipoise.images.labels import index_labels
from equipoise.images.metadata import METADATA, Row, read_metadata
from equipoise.images.restricted_imagenet import SUPER_CLASSES, label_synsets
from equipoise.images.source import Example, Images
from equipoise.specs import Spec
from equipoise.streams import digest

__all__ = ["SPLITS", "Entry", "Folder", "folders", "file_state", "walk"]

SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval")
RASTER = ("bmp", "gif", "jp2", "jpe", "jpeg", "jpg", "jfif", "png", "tif", "tiff", "webp")
SUFFIXES = frozenset((*RASTER, "pbm", "pgm", "pnm", "ppm"))


class Entry(NamedTuple):
    """One image: its path relative to the root, its label and its group."""

    id: str
    label: int
    group: str | None


@dataclass(frozen=True, repr=False, eq=False)
class Folder(Images):
    """The images of one split under `root`, decoded when they are read."""

    spec: str
    split: str
    classes: tuple[str, ...]
    root: Path
    decoding: Decoding
    entries: tuple[Entry, ...] = field(repr=False)

    @classmethod
    def open(cls, spec: Spec, split: str) -> Images:
        """Lists the images of `split`.

        Raises:
            EquipoiseError: when the folder, the split or every image is missing, the table is
                wrong, or ``classes=`` does not fit the folders.
        """
        root, variant = spec.path, spec.options.get("classes")
        if not spec.target or not root.is_dir():
            raise EquipoiseError(
                f"Cannot open {spec.text!r}: there is no folder {spec.target!r}. Write "
                "folder:PATH with a folder that exists."
            )
        try:
            if any((folder / METADATA).is_file() for folder in (root, *folders(root))):
                if variant is not None:
                    raise EquipoiseError(
                        f"Cannot use classes={variant} of {spec.text!r}: it groups folders, and "
                        f"{root} has a {METADATA}. Remove the table or the option."
                    )
                classes, entries = _from_tables(root, split)
            else:
                classes, entries = _from_folders(root, split, variant)
        except OSError as error:
            raise EquipoiseError(
                f"Cannot list {error.filename}: {error.strerror}. Make it readable."
            ) from error
        if not entries:
            raise EquipoiseError(
                f"Cannot find an image in the split {split!r} of {root}. Put files such as "
                "CLASS/1.png there."
            )
        sample = entries[:: -(-len(entries) // 64)]
        decoding = Decoding.of(spec, lambda: [root / entry.id for entry in sample], "classes")
        return cls(spec.text, split, classes, root, decoding, entries)

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> Example:
        entry = self.entries[index]
        return Example(
            self.decoding(self.root / entry.id, entry.id), entry.label, entry.id, entry.group
        )

    def groups(self) -> tuple[str | None, ...]:
        return tuple(entry.group for entry in self.entries)

    def all_labels(self) -> tuple[int, ...]:
        return tuple(entry.label for entry in self.entries)

    def fingerprint(self, indices: Sequence[int]) -> str:
        entries = [self.entries[index] for index in indices]
        return digest(
            self.decoding, *((*entry, *file_state(self.root / entry.id)) for entry in entries)
        )


def file_state(path: Path) -> tuple[int | None, ...]:
    """Size and time of the last change of a file, which its content does not change without."""
    try:
        found = path.stat()
    except OSError:
        return (None,)  # it will be reported as broken when it is read
    return found.st_size, found.st_mtime_ns


def _from_tables(root: Path, split: str) -> tuple[tuple[str, ...], tuple[Entry, ...]]:
    """Classes and entries from ``metadata.csv`` in the root or in each split's folder."""
    rows: list[Row] = []  # with names relative to the root, and a split each
    for folder in [root] if (root / METADATA).is_file() else folders(root):
        table = folder / METADATA
        if not table.is_file():
            continue
        prefix = "" if folder == root else f"{folder.name}/"
        for row in read_metadata(table):
            name = prefix + row.name
            first = name.partition("/")[0]
            where = row.split or (first if first in (*SPLITS, split) else "test")
            rows.append(replace(row, name=name, split=where))
    _check_split(root, split, {row.split for row in rows if row.split})
    classes, index = index_labels((row.label for row in rows), None, f"the {METADATA} of {root}")
    entries = [Entry(row.name, index[row.label], row.group) for row in rows if row.split == split]
    return classes, tuple(sorted(entries))


def _from_folders(
    root: Path, split: str, variant: str | None
) -> tuple[tuple[str, ...], tuple[Entry, ...]]:
    """Classes and entries from a folder a class, or a folder a synset if there is a `variant`."""
    splits = [
        folder for folder in folders(root) if folder.name in (*SPLITS, split) and folders(folder)
    ]
    flat = {folder.name for folder in folders(root)} - {folder.name for folder in splits}
    if flat and (split in flat if splits else flat <= set(SPLITS)):
        place = root / (split if split in flat else min(flat))
        into = "WNID" if variant else f"CLASS, or write a {METADATA}"
        raise EquipoiseError(
            f"Cannot label the images of {root}: {place} has no class folders. Put the images "
            f"into {place}/{into}."
        )
    _check_split(root, split, {folder.name for folder in splits} or {"test"})
    top = root / split if splits else root
    if variant is None:
        classes = tuple(sorted({f.name for part in splits or [root] for f in folders(part)}))
        label = {name: index for index, name in enumerate(classes)}
    else:
        classes, label = (
            SUPER_CLASSES,
            label_synsets(variant, [f.name for f in folders(top)], top),
        )
    return classes, tuple(
        Entry(id, label[folder.name], folder.name if variant else None)
        for folder in folders(top)
        if folder.name in label
        for id in sorted(walk(folder, root))
    )


def _check_split(root: Path, split: str, found: set[str]) -> None:
    if found and split not in found:
        names = ", ".join(sorted(found))
        raise EquipoiseError(
            f"Cannot find the split {split!r} in {root}: it has {names}. Ask for one of these, or "
            f"put the images into {root / split}/CLASS."
        )


def folders(path: Path) -> list[Path]:
    """The folders in `path` that are not hidden, by name."""
    return sorted(
        item for item in path.iterdir() if item.is_dir() and not item.name.startswith(".")
    )


def _fail(error: OSError) -> None:
    raise error  # os.walk would pass over a folder it cannot read


def walk(top: Path, root: Path) -> list[str]:
    """The images at any depth under `top`, as paths relative to `root`."""
    found = []
    for folder, below, files in os.walk(top, onerror=_fail):
        below[:] = [name for name in below if not name.startswith(".")]
        place = Path(folder).relative_to(root)
        found += [
            (place / name).as_posix()
            for name in files
            if not name.startswith(".") and name.rpartition(".")[2].lower() in SUFFIXES
        ]
    return found
