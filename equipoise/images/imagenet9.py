"""ImageNet-9, the Backgrounds Challenge: photographs of nine classes, with the background kept, exchanged or removed:
``imagenet9:PATH?variant=mixed_same,mixed_rand&mapping=FILE.json&size=224``.

PATH is the folder bg_challenge or its parent:

    bg_challenge/VARIANT/val/CLASS/NAME.JPEG    such as original/val/02_wheeled vehicle/
    bg_challenge/fg_mask/val/CLASS/NAME.npy     1 where the object of original/val/CLASS/NAME.JPEG is, else 0

``variant=`` is original when not given, one name, several with commas between, or ``all`` that PATH has;
``mixed-same`` is read as ``mixed_same``. The group of an image is its variant. The folder ``val`` serves as "test" and
as "val", a folder ``train`` as "train".

An image has a mask where there is a file of its name, of its size, in ``fg_mask``; an original without one counts as
broken where others of its class have theirs. Variants without an object
(only_bg_t, only_bg_b, no_fg) have none. Nothing is resized unless `size` is given; the centre square is then kept, of
the mask too, which is cut at 0.5 again.

The outputs of an ImageNet classifier that count as each class are in the authors' in_to_in9.json, which is not part of
equipoise: ``mapping=`` names it, and without that it is looked for in PATH, in bg_challenge and beside it. When there
is none, `Images.outputs` is `None`, and only classifiers of the nine classes can be judged.

References:
    Noise or Signal: The Role of Image Backgrounds in Object Recognition (Xiao et al., 2020), arXiv 2006.09994; layout
    as in https://github.com/MadryLab/backgrounds_challenge
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from equipoise.bounds import parse_path, read_bounded
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.files import read_json
from equipoise.images.decode import LARGEST_IMAGE, BrokenImageError, Decoding
from equipoise.images.folder import file_state
from equipoise.images.layout import find_root, image_files, subfolders
from equipoise.images.source import Example, Images
from equipoise.specs import Spec
from equipoise.streams import digest

__all__ = ["FOLDERS", "ImageNet9"]

FOLDERS = (
    "00_dog",
    "01_bird",
    "02_wheeled vehicle",
    "03_reptile",
    "04_carnivore",
    "05_insect",
    "06_musical instrument",
    "07_primate",
    "08_fish",
)
"""The folder of each class, in the order of the labels."""

PARTS = {"test": "val", "val": "val", "train": "train"}
MASKS = "fg_mask"
ORIGINAL = "original"
WITHOUT_OBJECT = ("only_bg_t", "only_bg_b", "no_fg")
MAPPING = "in_to_in9.json"
OUTPUTS = 1000


class Entry(NamedTuple):
    """One image: its path relative to the root, its label, its variant and the path its mask would have."""

    id: str
    label: int
    group: str
    mask: str | None


@dataclass(frozen=True, repr=False, eq=False)
class ImageNet9(Images):
    """The images of one or more variants under `root`, the folder bg_challenge."""

    spec: str
    split: str
    classes: tuple[str, ...]
    root: Path
    decoding: Decoding
    entries: tuple[Entry, ...] = field(repr=False)
    outputs: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def open(cls, spec: Spec, split: str) -> "ImageNet9":
        """Lists the images of `split`: "test" or "val", which are the same, or "train".

        Raises:
            EquipoiseError: when the folder, a variant, the split or every image is missing, a class folder is none of
                the nine, or the mapping is missing where it was asked for, or wrong.
        """
        decoding = Decoding.in_colour(spec, "variant", "mapping")
        if split not in PARTS:
            raise EquipoiseError(
                f"ImageNet-9 has no split {split!r}. {did_you_mean(split, PARTS)}"
            )
        part = PARTS[split]
        layout = "VARIANT/val/00_dog/NAME.JPEG"
        root = find_root(spec, "bg_challenge", lambda path: bool(_variants(path)), layout)
        entries = [
            entry
            for group, folder in _chosen(spec, root).items()
            for entry in _entries(root, f"{folder}/{part}", group, part)
        ]
        if not entries:
            raise EquipoiseError(
                f"Cannot find an image of {spec.text!r} in {root}. Put files there as {layout}."
            )
        return cls(
            spec=spec.text,
            split=split,
            classes=tuple(name.partition("_")[2] for name in FOLDERS),
            outputs=_outputs(spec, root),
            root=root,
            decoding=decoding,
            entries=tuple(sorted(entries)),
        )

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> Example:
        id, label, group, mask = self.entries[index]
        image = self.decoding(self.root / id, id)
        if mask is None or not (self.root / mask).exists():
            # Others than originals may have files of other names, whose masks nobody has.
            if mask is not None and group == ORIGINAL and (self.root / mask).parent.is_dir():
                raise BrokenImageError(id, f"its mask {mask!r} is missing")
            return Example(image, label, id, group)
        if self.decoding.size is None:
            return Example(image, label, id, group, _read_mask(self.root, mask, image, id))
        whole = replace(self.decoding, size=None)(self.root / id, id)
        grey = Image.fromarray(_read_mask(self.root, mask, whole, id)[0].numpy())
        region = torch.from_numpy(np.array(self.decoding.frame(grey)))[None] > 0.5
        return Example(image, label, id, group, region.float())

    def fingerprint(self, indices: Sequence[int]) -> str:
        states = []
        for index in indices:
            entry = self.entries[index]
            files = [self.root / name for name in (entry.id, entry.mask) if name is not None]
            states.append((*entry, *map(file_state, files)))
        return digest("imagenet9", self.decoding, self.outputs, states)

    def all_labels(self) -> tuple[int, ...]:
        return tuple(entry.label for entry in self.entries)

    def groups(self) -> tuple[str | None, ...]:
        return tuple(entry.group for entry in self.entries)


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _variants(root: Path) -> dict[str, str]:
    """The folders that hold variants, by the plain names of these."""
    return {
        _plain(name): name
        for name in subfolders(root)
        if _plain(name) != MASKS and any((root / name / part).is_dir() for part in PARTS.values())
    }


def _chosen(spec: Spec, root: Path) -> dict[str, str]:
    """What ``variant=`` asks for, from plain names to folders."""
    known, asked = _variants(root), spec.options.get("variant", "original")
    if asked == "all":
        return known
    chosen = dict.fromkeys(map(_plain, asked.split(",")))
    for name in chosen:
        if name not in known:
            raise EquipoiseError(
                f"Cannot find the variant {name!r} of {spec.text!r} in {root}. {did_you_mean(name, (*known, 'all'))}"
            )
    return {name: known[name] for name in chosen}


def _entries(root: Path, place: str, group: str, part: str) -> list[Entry]:
    """The images of one variant."""
    found = []
    for folder in subfolders(root / place):
        if folder not in FOLDERS:
            raise EquipoiseError(
                f"Cannot label the images of {root / place / folder}: {folder!r} is none of the class folders "
                f"{', '.join(FOLDERS)}. Rename or remove it."
            )
        for name in image_files(root / place / folder):
            mask = f"{MASKS}/{part}/{folder}/{Path(name).stem}.npy"
            shown = None if group in WITHOUT_OBJECT else mask
            found.append(Entry(f"{place}/{folder}/{name}", FOLDERS.index(folder), group, shown))
    return found


def _outputs(spec: Spec, root: Path) -> tuple[tuple[int, ...], ...] | None:
    """The outputs of an ImageNet classifier that count as each class; `None` without a mapping."""
    top, remedy = spec.path, f"Restore the authors' {MAPPING}."
    places = [place / MAPPING for place in (top, root, root.parent)]
    if "mapping" in spec.options:
        path = parse_path(spec.options["mapping"], spec.text)
    else:
        path = next((path for path in places if path.is_file()), None)
    if path is None:
        return None
    try:
        mapping = read_json(path)
    except EquipoiseError as error:
        raise EquipoiseError(f"{error} {remedy}") from error
    allowed = range(-1, len(FOLDERS))
    if (
        not isinstance(mapping, dict)
        or mapping.keys() != {str(k) for k in range(OUTPUTS)}
        or not all(type(label) is int and label in allowed for label in mapping.values())
        or not set(range(len(FOLDERS))) <= set(mapping.values())
    ):
        raise EquipoiseError(
            f"Cannot read {path}: it must map the texts '0'..'{OUTPUTS - 1}' to labels 0..{len(FOLDERS) - 1}, each of "
            f"them, or to -1. {remedy}"
        )
    return tuple(
        tuple(k for k in range(OUTPUTS) if mapping[str(k)] == label)
        for label in range(len(FOLDERS))
    )


def _read_mask(root: Path, name: str, image: Tensor, id: str) -> Tensor:
    """The mask of `image`, 0 and 1 in float32, with shape (1, H, W)."""
    try:
        values = np.load(BytesIO(read_bounded(root / name, LARGEST_IMAGE)), allow_pickle=False)
    except Exception as error:  # on malformed bytes, NumPy raises almost anything
        words = " ".join(str(error).split()) or type(error).__name__
        raise BrokenImageError(id, f"its mask {name!r}: {words}") from error
    height, width = image.shape[1:]
    if not isinstance(values, np.ndarray) or values.shape != (height, width):
        shape = getattr(values, "shape", None)
        raise BrokenImageError(
            id, f"its mask {name!r} has the shape {shape}, not {(height, width)}"
        )
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise BrokenImageError(id, f"its mask {name!r} holds other values than 0 and 1")
    return torch.from_numpy(values.astype(np.float32))[None]
