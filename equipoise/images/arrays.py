"""Images that are in memory already: tensors with labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from equipoise.errors import EquipoiseError
from equipoise.images.source import Example, Images
from equipoise.streams import digest

__all__ = ["Arrays"]


@dataclass(frozen=True, repr=False, eq=False)
class Arrays(Images):
    """Tensors as a set of images.

    Arguments:
        pixels: float32 in [0, 1], with shape (N, C, H, W).
        labels: N indices into `classes`.
        classes: names of the labels.
        ids: N different names; row numbers when None.
        spec: what to call the set.
        split: what to call its part.

    Raises:
        EquipoiseError: for images outside [0, 1], shapes or labels that do not fit, names that repeat.
    """

    pixels: Tensor = field(repr=False)
    labels: Sequence[int] = field(repr=False)
    classes: tuple[str, ...]
    ids: Sequence[str] | None = field(default=None, repr=False)
    spec: str = "arrays"
    split: str = "test"

    def __post_init__(self) -> None:
        count = len(self.pixels)
        if self.pixels.ndim != 4 or len(self.labels) != count:
            raise EquipoiseError(
                f"A set of images needs pixels of shape (N, C, H, W) and N labels, not {tuple(self.pixels.shape)} and "
                f"{len(self.labels)}."
            )
        if count and not (self.pixels.amin() >= 0 and self.pixels.amax() <= 1):
            raise EquipoiseError(
                f"A set of images needs pixels in [0, 1]; these span [{self.pixels.amin().item():g}, "
                f"{self.pixels.amax().item():g}]. Divide 8-bit images by 255."
            )
        if count and not 0 <= min(self.labels) <= max(self.labels) < len(self.classes):
            raise EquipoiseError(
                f"A set of images of {len(self.classes)} classes needs labels 0..{len(self.classes) - 1}; these span "
                f"{min(self.labels)}..{max(self.labels)}."
            )
        if self.ids is not None and len(set(self.ids)) != count:
            raise EquipoiseError(
                f"A set of {count} images needs as many different ids, not {len(set(self.ids))}."
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> Example:
        name = str(index) if self.ids is None else self.ids[index]
        return Example(self.pixels[index].float().cpu(), int(self.labels[index]), name)

    def fingerprint(self, indices: Sequence[int]) -> str:
        chosen = [self.read(index) for index in indices]
        parts = [(e.id, e.label, digest(e.image.contiguous().numpy().tobytes())) for e in chosen]
        return digest("arrays", self.classes, parts)
