"""The images that a calibration measures on: some of an audit's, in a random order, read when they are first needed."""

from collections.abc import Sequence

import torch

from equipoise.images import Example, Images
from equipoise.images.decode import BrokenImageError
from equipoise.streams import stream

__all__ = ["Chosen", "Pool"]


class Pool(Images):
    """Some of the images in a random order, read when they are first needed and kept."""

    def __init__(self, data: Images, shape: tuple[int, int, int], seed: int) -> None:
        self.data, self.spec, self.split, self.classes = data, data.spec, data.split, data.classes
        self.outputs = data.outputs
        self._shape = shape
        self._rows = torch.randperm(len(data), generator=stream("calibration", seed)).tolist()
        self._kept: list[Example] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._shape

    def read(self, index: int) -> Example:
        return self._kept[index]

    def fingerprint(self, indices: Sequence[int]) -> str:
        return ""

    def fill(self, count: int) -> None:
        """Reads until there are `count` images, or no more."""
        while len(self) < count and self._next < len(self._rows):
            row = self._rows[self._next]
            self._next += 1
            try:
                example = self.data[row]
            except BrokenImageError:
                continue
            if example.image.shape == self._shape:
                self._kept.append(example)


class Chosen(Images):
    """Images of a pool, one after the other; the same one can come twice, under another name."""

    def __init__(self, pool: Pool, rows: Sequence[int]) -> None:
        self.pool, self.rows = pool, rows
        self.spec, self.split, self.classes = pool.spec, pool.split, pool.classes
        self.outputs = pool.outputs

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Example:
        return self.pool[self.rows[index]]

    def fingerprint(self, indices: Sequence[int]) -> str:
        return ""
