"""Waterbirds: ``waterbirds:PATH?size=224&masks=FOLDER``. Which way does a bird's background pull the answer?

Birds were cut out of CUB-200-2011 and pasted onto backgrounds from Places. The label says what the bird is, the place
what is behind it, and in training 95 % of the birds are where their kind lives. Four groups, in the order
2 label + place:

    landbird on land, landbird on water, waterbird on land, waterbird on water

The table of the set, ``metadata.csv``, is in PATH or in one of the folders that the two published archives unpack to;
an id is its ``img_filename``. With ``masks=``, FOLDER holds CUB's segmentations, a grey PNG at the same relative path
for each image; the mask of an image is 1 where the segmentation, framed like the image, is at least one half.

References:
    Distributionally Robust Neural Networks for Group Shifts (Sagawa et al., 2020), arXiv 1911.08731;
    https://github.com/kohpangwei/group_DRO and https://github.com/p-lambda/wilds for the two layouts
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from equipoise.bounds import parse_path
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.images.decode import BrokenImageError
from equipoise.images.folder import Entry, Folder, file_state
from equipoise.images.framing import SqueezedAndCropped
from equipoise.images.metadata import METADATA, read_metadata
from equipoise.images.source import Example
from equipoise.specs import Spec
from equipoise.streams import digest

__all__ = ["Waterbirds"]

CLASSES = ("landbird", "waterbird")
SPLITS = ("train", "val", "test")
FOLDERS = (
    ".",
    "waterbirds_v1.0",
    "waterbird_complete95_forest2water2",
    "cub/data/waterbird_complete95_forest2water2",
)
"""Where a table may be, below PATH: there, as WILDS has it, and as group_DRO has it."""

GROUPS = {
    f"y{label}-place{place}": (label, f"{bird} on {where}")
    for label, bird in enumerate(CLASSES)
    for place, where in enumerate(("land", "water"))
}
"""Label and group of each group of the table."""


@dataclass(frozen=True, repr=False, eq=False)
class Waterbirds(Folder):
    """The images of one split, decoded when they are read.

    Arguments:
        masks: folder of the segmentations; images have no mask when None.
    """

    masks: Path | None = None

    @classmethod
    def open(cls, spec: Spec, split: str) -> "Waterbirds":
        """Reads the table.

        Raises:
            EquipoiseError: for a missing table or more than one, an unknown split or option, a row without label, split
                or place, or a missing folder of masks.
        """
        decoding = SqueezedAndCropped.in_colour(spec, "masks")
        options, root = spec.options, _root(spec)
        masks = parse_path(options["masks"], spec.text) if "masks" in options else None
        if masks is not None and not masks.is_dir():
            raise EquipoiseError(
                f"Cannot open {spec.text!r}: there is no folder {str(masks)!r} of masks. Give CUB's folder of "
                "segmentations, or leave masks= out."
            )
        if split not in SPLITS:
            raise EquipoiseError(
                f"Cannot find the split {split!r} in {spec.text!r}. {did_you_mean(split, SPLITS)}"
            )
        entries = tuple(entry for part, entry in _rows(root / METADATA) if part == split)
        if not entries:
            raise EquipoiseError(
                f"Cannot find an image in the split {split!r} of {root / METADATA}. Take the published table."
            )
        return cls(spec.text, split, CLASSES, root, decoding, entries, masks)

    def read(self, index: int) -> Example:
        example = super().read(index)
        if self.masks is None:
            return example
        return replace(example, mask=self._mask(self._mask_file(self.masks, index), example.id))

    def fingerprint(self, indices: Sequence[int]) -> str:
        images = super().fingerprint(indices)
        if self.masks is None:
            return images
        return digest(
            images, *(file_state(self._mask_file(self.masks, index)) for index in indices)
        )

    def _mask_file(self, masks: Path, index: int) -> Path:
        return masks / Path(self.entries[index].id).with_suffix(".png")

    def _mask(self, file: Path, id: str) -> Tensor:
        framed = SqueezedAndCropped(1, self.decoding.size or 224)
        try:
            return (framed(file, id) >= 0.5).float()
        except EquipoiseError as error:
            reason = error.reason if isinstance(error, BrokenImageError) else "it is coloured"
            raise BrokenImageError(id, f"its mask is {file}, and {reason}") from error


def _root(spec: Spec) -> Path:
    """The folder of the table."""
    root = spec.path
    found = [root / name for name in FOLDERS if (root / name / METADATA).is_file()]
    if not spec.target or not found:
        raise EquipoiseError(
            f"Cannot open {spec.text!r}: there is no {METADATA} in it, nor in {', '.join(FOLDERS[1:])}. Write "
            "waterbirds:PATH with the folder that holds the table of the images."
        )
    if len(found) > 1:
        raise EquipoiseError(
            f"Cannot open {spec.text!r}: there is a {METADATA} in {' and in '.join(map(str, found))}. Write one of "
            "these folders as PATH."
        )
    return found[0]


def _rows(table: Path) -> list[tuple[str, Entry]]:
    """Split and entry of each row, in the order of the table."""
    found = []
    for row in read_metadata(table):
        if row.split not in SPLITS or row.group not in GROUPS:
            raise EquipoiseError(
                f"{table} does not say what {row.name!r} is: 'y' and 'place' must be 0 or 1 and 'split' 0, 1 or 2. "
                "Correct that row, or take the published table."
            )
        label, group = GROUPS[row.group]
        found.append((row.split, Entry(row.name, label, group)))
    return found
