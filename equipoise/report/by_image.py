"""One answer about each of many images, and the answers of two classifiers about the same images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ByImage", "both", "paired"]


@dataclass(frozen=True, eq=False)
class ByImage(Mapping[str, Any]):
    """Answers by the id of the image.

    Attributes:
        ids: of images, with shape (N,), each once.
        column: their answers, with shape (N,); NaN for those that have none, which are left out.
    """

    ids: NDArray = field(default_factory=lambda: np.empty(0, dtype=object))
    column: NDArray = field(default_factory=lambda: np.empty(0))

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which images have an answer."""
        return ~np.isnan(self.column)

    @property
    def answers(self) -> NDArray:
        """What there is, in the order of the images."""
        return self.column[self.known]

    @cached_property
    def _found(self) -> dict[str, Any]:
        return dict(zip(self.ids[self.known].tolist(), self.answers.tolist(), strict=True))

    def __getitem__(self, key: str) -> Any:
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return int(self.known.sum())


def both(a: ByImage, b: ByImage) -> ByImage:
    """The answers of `a` about the images that `b` has answers about too."""
    if _alike(a, b):
        return ByImage(a.ids, np.where(b.known, a.column, np.nan))
    there = np.array([key in b for key in a.ids.tolist()], dtype=bool)
    return ByImage(a.ids[there], a.column[there])


def paired(a: ByImage, b: ByImage) -> tuple[NDArray, NDArray]:
    """The answers about the images that are in both, in one order."""
    if _alike(a, b):
        known = a.known & b.known
        return a.column[known], b.column[known]
    keys = [key for key in a if key in b]
    return np.array([a[key] for key in keys]), np.array([b[key] for key in keys])


def _alike(a: ByImage, b: ByImage) -> bool:
    """Whether both are about the same images in the same order, as they nearly always are: then a look at each of
    50,000 can be spared."""
    return a.ids is b.ids or np.array_equal(a.ids, b.ids)
