"""RIVAL10: ImageNet's photographs of ten classes, each with the mask of its object: ``rival10:PATH?size=224``.

PATH is the folder RIVAL10 or its parent. Read are

    RIVAL10/{train,test}/ordinary/WNID_FILE.JPEG
    RIVAL10/{train,test}/entire_object_masks/WNID_FILE.JPEG

Each class is made of two synsets of ImageNet, and the WordNet id (wnid) that begins a file's name decides. Image and
mask are squeezed into a square of side `size`. The mask, a JPEG, is then cut at 0.5: it holds 0 and 1 alone.

Beside an image lies also WNID_FILE_merged_mask.JPEG, which covers its marked attributes (wheels, wings, ...) and not
the whole object. A copy without ``entire_object_masks`` is read with these only when ``masks=attributes`` asks for it.

An ImageNet classifier's outputs for a class are the indices of its two synsets. Most of the test images are training
images of ImageNet, so its accuracy there flatters an ImageNet classifier.

References:
    A Comprehensive Study of Image Classification Model Sensitivity to Foregrounds, Backgrounds, and Visual Attributes
    (Moayeri et al., 2022), arXiv 2201.10766; layout and synsets as in https://github.com/mmoayeri/RIVAL10
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.images.folder import file_state
from equipoise.images.framing import Squeezed
from equipoise.images.layout import find_root, image_files, read_mask
from equipoise.images.source import Example, Images
from equipoise.specs import Spec
from equipoise.streams import digest

__all__ = ["SYNSETS", "Rival10"]

SYNSETS = {
    "truck": {"n03796401": 675, "n04467665": 867},
    "car": {"n02814533": 436, "n03100240": 511},
    "plane": {"n02690373": 404, "n04552348": 895},
    "ship": {"n03095699": 510, "n03673027": 628},
    "cat": {"n02123394": 283, "n02124075": 285},
    "dog": {"n02099601": 207, "n02099712": 208},
    "equine": {"n02389026": 339, "n02391049": 340},
    "deer": {"n02422699": 352, "n02423022": 353},
    "frog": {"n01644373": 31, "n01644900": 32},
    "bird": {"n01531178": 11, "n01532829": 12},
}
"""The wnids of each class, with their indices among ImageNet's 1,000 classes; in the order of the labels."""

SPLITS = ("train", "test")
OBJECTS, ATTRIBUTES = "entire_object_masks", "_merged_mask"
LAYOUT = "train/ordinary or test/ordinary with files such as n02099601_n02099601_3004.JPEG"

_LABELS = {wnid: label for label, wnids in enumerate(SYNSETS.values()) for wnid in wnids}


class Entry(NamedTuple):
    """One image: its path relative to the root, its label and the path of its mask."""

    id: str
    label: int
    mask: str


@dataclass(frozen=True, repr=False, eq=False)
class Rival10(Images):
    """The images of one split under `root`, the folder RIVAL10; each is read with its mask, 0 or 1."""

    spec: str
    split: str
    classes: tuple[str, ...]
    root: Path
    decoding: Squeezed
    entries: tuple[Entry, ...] = field(repr=False)
    outputs: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def open(cls, spec: Spec, split: str) -> "Rival10":
        """Lists the images of `split`, "train" or "test".

        Raises:
            EquipoiseError: when the folder, the split, its images or the folder of their masks are missing, or the
                name of an image begins with none of the 20 wnids.
        """
        decoding = Squeezed.in_colour(spec, "masks")
        masks = spec.options.get("masks", "object")
        if masks not in ("object", "attributes"):
            raise EquipoiseError(
                f"Cannot use masks={masks} of {spec.text!r}: write masks=object or masks=attributes."
            )
        root = find_root(
            spec,
            "RIVAL10",
            lambda path: any((path / name / "ordinary").is_dir() for name in SPLITS),
            LAYOUT,
        )
        if split not in SPLITS:
            raise EquipoiseError(f"RIVAL10 has no split {split!r}. {did_you_mean(split, SPLITS)}")
        return cls(
            spec=spec.text,
            split=split,
            classes=tuple(SYNSETS),
            outputs=tuple(tuple(wnids.values()) for wnids in SYNSETS.values()),
            root=root,
            decoding=decoding,
            entries=_entries(root, split, masks),
        )

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> Example:
        id, label, mask = self.entries[index]
        image = self.decoding(self.root / id, id)
        soft = read_mask(self.root, mask, self.decoding, id)
        return Example(image, label, id, mask=(soft > 0.5).float())

    def fingerprint(self, indices: Sequence[int]) -> str:
        chosen = [self.entries[index] for index in indices]
        states = [(*e, *(file_state(self.root / name) for name in (e.id, e.mask))) for e in chosen]
        return digest("rival10", self.decoding, *states)

    def all_labels(self) -> tuple[int, ...]:
        return tuple(entry.label for entry in self.entries)

    def groups(self) -> tuple[str | None, ...]:
        return (None,) * len(self)


def _entries(root: Path, split: str, masks: str) -> tuple[Entry, ...]:
    folder, objects = f"{split}/ordinary", f"{split}/{OBJECTS}"
    names = [name for name in image_files(root / folder) if ATTRIBUTES not in name]
    if not names:
        raise EquipoiseError(
            f"Cannot find an image in {root / folder}. Put files such as n02099601_n02099601_3004.JPEG there."
        )
    if masks == "object" and not (root / objects).is_dir():
        raise EquipoiseError(
            f"Cannot find the masks of {root / folder}: there is no folder {root / objects}. Unpack the whole of "
            "RIVAL10, or ask for the masks of attributes beside the images with masks=attributes."
        )
    found = []
    for name in names:
        wnid = name.partition("_")[0]
        if wnid not in _LABELS:
            raise EquipoiseError(
                f"Cannot label {root / folder / name}: its name begins with none of RIVAL10's {len(_LABELS)} wnids, "
                "such as 'n02099601_'. Remove the file or restore its name."
            )
        beside = f"{folder}/{Path(name).stem}{ATTRIBUTES}.JPEG"
        mask = f"{objects}/{name}" if masks == "object" else beside
        found.append(Entry(f"{folder}/{name}", _LABELS[wnid], mask))
    return tuple(found)
