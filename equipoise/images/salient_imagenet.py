"""Salient ImageNet: training images of ImageNet with soft masks of the features that their class is known by:
``salient-imagenet:PATH?images=ILSVRC2012&labels=FILE.csv&size=224``.

PATH is the folder of the masks or its parent, ``images=`` that of ImageNet:

    PATH/wordnet_dict.py, PATH/WNID/image_names_map.csv     see `equipoise.images.salient_features`
    PATH/WNID/feature_K/NAME.JPEG                           the soft mask of feature K, grey, 224 x 224
    ILSVRC2012/train/WNID/NAME.JPEG                         the image

``labels=`` is the table of the workers' answers; without it, discover_spurious_features.csv is looked for in PATH and
in PATH/mturk_results.

The mask of an image is the core region of its class. With m_k the soft masks of the core features k that the tables
give the image, and a 5 x 5 square that is passed over them 15 times, each pixel becoming the largest one under it,

    m = max_k m_k,    mask = dilated(m) / max(m)

in [0, 1]. The core region as a dilated mask, with these numbers, is known to us at second hand, from reports of how
the 1M version was evaluated; that we follow them is our choice. An image without core features, as those of a class
that has none, has no mask, and neither has one whose m is 0 everywhere.

The masks are of ImageNet's centre crop already, at 224 pixels: with another `size` they are resized, never cropped
again. Images are cropped as usual, 256 to 224 in proportion.

Classes are the wnids with a folder in PATH, by their index. All images are training images of ImageNet, so an ImageNet
classifier has seen them. They are here to be looked at, not to fit anything, and serve as "test" alone.

References:
    Core Risk Minimization using Salient ImageNet (Singla et al., 2022), arXiv 2203.15566; layout and the rule of three
    answers in five as in https://github.com/singlasahil14/salient_imagenet
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from equipoise.bounds import parse_path
from equipoise.errors import EquipoiseError
from equipoise.images.decode import BrokenImageError, Decoding
from equipoise.images.folder import file_state
from equipoise.images.framing import Cropped
from equipoise.images.layout import find_root, read_mask, subfolders
from equipoise.images.salient_features import read_core_features, read_image_names, read_wnids
from equipoise.images.source import Example, Images
from equipoise.specs import Spec
from equipoise.streams import digest

__all__ = ["SalientImageNet", "core_region"]

SIDE = 224
SQUARE, PASSES = 5, 15
WNIDS, NAMES, ANSWERS = "wordnet_dict.py", "image_names_map.csv", "discover_spurious_features.csv"


class Entry(NamedTuple):
    """One image: its path relative to ImageNet's folder, its label and the core features that it has masks of."""

    id: str
    label: int
    core: tuple[int, ...]


@dataclass(frozen=True, repr=False, eq=False)
class SalientImageNet(Images):
    """The images that have masks under `root`, read from `imagenet`; the mask of each is its core region."""

    spec: str
    split: str
    classes: tuple[str, ...]
    root: Path
    imagenet: Path
    decoding: Cropped
    entries: tuple[Entry, ...] = field(repr=False)
    outputs: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def open(cls, spec: Spec, split: str) -> "SalientImageNet":
        """Reads the tables; `split` is "test".

        Raises:
            EquipoiseError: when a folder or a table is missing or wrong, a folder is named after an unknown wnid, a
                feature has no answers, there is no image, or another split is asked for.
        """
        decoding = Cropped.in_colour(spec, "images", "labels")
        root = find_root(
            spec,
            "salient_imagenet_dataset",
            lambda path: (path / WNIDS).is_file(),
            f"{WNIDS} and WNID/{NAMES}",
        )
        imagenet = parse_path(spec.options.get("images", ""), spec.text)
        if not spec.options.get("images") or not (imagenet / "train").is_dir():
            raise EquipoiseError(
                f"Cannot find the images of {spec.text!r}: it has only masks of ImageNet's. Add ?images=FOLDER, the "
                "folder of ILSVRC 2012 with train/WNID/NAME.JPEG."
            )
        if split != "test":
            raise EquipoiseError(
                f"Salient ImageNet has no split {split!r}: all of its masks are of ImageNet's training images, which "
                "serve as 'test'. Ask for that."
            )
        index = read_wnids(root / WNIDS)
        core = read_core_features(_answers(spec, root), index)
        folders = [
            name for name in subfolders(root) if name in index or (root / name / NAMES).is_file()
        ]
        for name in folders:
            if name not in index:
                raise EquipoiseError(
                    f"Cannot label the images of {root / name}: {WNIDS} has no class {name!r}. Take both from one "
                    "release, or remove the folder."
                )
        classes = tuple(sorted(folders, key=lambda wnid: index[wnid]))
        entries = [
            entry
            for label, wnid in enumerate(classes)
            for entry in _entries(root, wnid, label, core)
        ]
        if not entries:
            raise EquipoiseError(
                f"Cannot find a class in {root}. Put folders such as n01440764 with an {NAMES} there."
            )
        return cls(
            spec=spec.text,
            split=split,
            classes=classes,
            outputs=tuple((index[wnid],) for wnid in classes),
            root=root,
            imagenet=imagenet,
            decoding=decoding,
            entries=tuple(sorted(entries)),
        )

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> Example:
        id, label, _ = self.entries[index]
        names = self.masks(index)
        image = self.decoding(self.imagenet / id, id)
        masks = [read_mask(self.root, name, Decoding(3), id) for name in names]
        for name, mask in zip(names, masks, strict=True):
            if mask.shape != (1, SIDE, SIDE):
                width, height = mask.shape[2], mask.shape[1]
                raise BrokenImageError(
                    id, f"its mask {name!r} has {width} x {height} pixels, not {SIDE} x {SIDE}"
                )
        region = core_region(torch.cat(masks), self.decoding.size) if masks else None
        return Example(image, label, id, mask=region)

    def fingerprint(self, indices: Sequence[int]) -> str:
        states = []
        for index in indices:
            entry = self.entries[index]
            files = (self.imagenet / entry.id, *(self.root / name for name in self.masks(index)))
            states.append((*entry, *map(file_state, files)))
        return digest("salient-imagenet", self.decoding, self.classes, self.outputs, states)

    def masks(self, index: int) -> list[str]:
        """The files of the core masks of image `index`, relative to the root."""
        id, _, core = self.entries[index]
        wnid, name = id.split("/")[1:]
        return [f"{wnid}/feature_{feature}/{name}" for feature in core]

    def all_labels(self) -> tuple[int, ...]:
        return tuple(entry.label for entry in self.entries)

    def groups(self) -> tuple[str | None, ...]:
        return (None,) * len(self)


def core_region(masks: Tensor, size: int) -> Tensor | None:
    """dilated(m) / max(m) with m = max_k m_k, resized to a square of side `size`.

    Arguments:
        masks: the soft masks m_k in [0, 1], with shape (K, 224, 224).
        size: in pixels.

    Returns:
        float32 in [0, 1], with shape (1, size, size); `None` when m is 0 everywhere.
    """
    soft = masks.amax(0, keepdim=True)
    top = soft.max()
    if top == 0:
        return None
    # Fifteen passes of a square of 5 are one of a square of 61, and a square is a row and then a column.
    reach = PASSES * (SQUARE // 2)
    for window in ((1, 2 * reach + 1), (2 * reach + 1, 1)):
        soft = F.max_pool2d(soft, window, stride=1, padding=(window[0] // 2, window[1] // 2))
    region = soft / top
    if size == SIDE:
        return region
    grey = Image.fromarray(region[0].numpy()).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(grey))[None].clamp(0, 1)


def _answers(spec: Spec, root: Path) -> Path:
    """The table of the workers' answers."""
    if "labels" in spec.options:
        return parse_path(spec.options["labels"], spec.text)
    top = spec.path
    places = [place / part / ANSWERS for place in (root, top) for part in ("", "mturk_results")]
    for path in places:
        if path.is_file():
            return path
    raise EquipoiseError(
        f"Cannot tell the core features of {spec.text!r}: there is no {places[0]} and no {places[1]}. Put the file "
        "there, or add &labels=FILE."
    )


def _entries(root: Path, wnid: str, label: int, core: dict[tuple[str, int], bool]) -> list[Entry]:
    """The images of one class."""
    shown: dict[str, list[int]] = {}
    for feature, names in sorted(read_image_names(root / wnid / NAMES).items()):
        if (wnid, feature) not in core:
            raise EquipoiseError(
                f"Cannot tell whether feature {feature} of {root / wnid / NAMES} is core: the table of answers does "
                "not have it. Take both files from one release."
            )
        for name in names:
            found = shown.setdefault(name, [])
            if core[wnid, feature]:
                found.append(feature)
    return [
        Entry(f"train/{wnid}/{name}.JPEG", label, tuple(found)) for name, found in shown.items()
    ]
