"""The embedded set: 1,797 handwritten digits of 8 x 8 pixels, real ones, which come with
scikit-learn.

Values 0..16 become value / 16. The split is fixed: 600 digits for the test, 1,197 for training,
each class in proportion (to within one image), both in an order that was shuffled once, so that
any prefix is mixed.

References:
    Optical recognition of handwritten digits (Alpaydin and Kaynak, 1998),
    https://doi.org/10.24432/C50P49
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.images.source import Example, Images
from equipoise.specs import Spec
from equipoise.streams import digest

__all__ = ["Digits"]

TEST = 600


@dataclass(frozen=True, repr=False, eq=False)
class Digits(Images):
    """Images with shape (1, 8, 8), values k/16; the id ``digits/0123`` is row 123 of
    `sklearn.datasets.load_digits`.

    Arguments:
        pixels: uint8 in 0..16, with shape (n, 8, 8).
        targets: n labels.
        rows: n row numbers in the original table.
    """

    spec: str
    split: str
    classes: tuple[str, ...]
    pixels: np.ndarray = field(repr=False)
    targets: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)

    @classmethod
    def open(cls, spec: Spec, split: str) -> "Digits":
        """Loads `split`: "train", "test" or "all".

        Raises:
            EquipoiseError: for any other split, or an option.
        """
        from sklearn.datasets import load_digits  # noqa: PLC0415  slow, and only needed here

        spec.only()
        if split not in ("train", "test", "all"):
            raise EquipoiseError(
                f"'digits' has no split {split!r}. {did_you_mean(split, ('train', 'test', 'all'))}"
            )
        data, target = (np.asarray(part) for part in load_digits(return_X_y=True))
        order, is_test = _shuffle(target)
        keep = np.ones(len(order), dtype=bool) if split == "all" else is_test == (split == "test")
        rows = order[keep]
        return cls(
            spec=spec.text,
            split=split,
            classes=tuple("0123456789"),
            pixels=data[rows].astype(np.uint8).reshape(-1, 8, 8),
            targets=target[rows],
            rows=rows,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Example:
        image = torch.from_numpy(self.pixels[index].astype(np.float32) / 16).unsqueeze(0)
        return Example(image, int(self.targets[index]), f"digits/{self.rows[index]:04d}")

    def groups(self) -> tuple[None, ...]:
        return (None,) * len(self)

    def all_labels(self) -> tuple[int, ...]:
        return tuple(self.targets.tolist())

    def fingerprint(self, indices: Sequence[int]) -> str:
        chosen = np.asarray(indices, dtype=np.int64)
        parts = (self.rows[chosen], self.targets[chosen], self.pixels[chosen])
        return digest("digits", *(part.astype("<i8").tobytes() for part in parts))


def _shuffle(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A fixed order of the rows, and which of the rows in that order belong to the test."""
    order = np.random.RandomState(0).permutation(len(labels))  # frozen by NumPy: the same for ever
    depth = np.empty(len(labels))  # how far down its class an image lies, in (0, 1)
    for label in np.unique(labels):
        (places,) = np.nonzero(labels[order] == label)
        depth[places] = (np.arange(len(places)) + 0.5) / len(places)
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[np.argsort(depth, kind="stable")[:TEST]] = True
    return order, is_test
