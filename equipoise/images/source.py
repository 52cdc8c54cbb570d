"""What is looked at: labelled images with names, of which only those asked for are ever in memory.

Notation. A set has n images; image i, 0 <= i < n, is float32 in [0, 1] with shape (C, H, W), has a
label y_i, an index into `classes`, and an id that is unique within the set and does not depend on
where the set lies. Some sets also give images a group (such as class and background together) or a
mask in [0, 1] with shape (1, H, W): 1 where the object is, 0 where it is not, soft in between.

A source is one file that overrides `__len__`, `read` and `fingerprint`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.errors import EquipoiseError
from equipoise.images.decode import BrokenImageError
from equipoise.streams import stream

__all__ = ["Batch", "Broken", "Example", "Images", "Subset"]


@dataclass(frozen=True)
class Example:
    """One image, float32 in [0, 1] with shape (C, H, W); its mask, if any, has shape (1, H, W)."""

    image: Tensor
    label: int
    id: str
    group: str | None = None
    mask: Tensor | None = None


@dataclass(frozen=True)
class Broken:
    """An image that was left out of a batch, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """B images and what is known of each.

    Arguments:
        indices: which images of the set they are.
        images: float32 in [0, 1], with shape (B, C, H, W).
        labels: int64, with shape (B,).
        ids: B names.
        groups: B names or `None`s.
        masks: B masks with shape (1, H, W), `None` for an image without one.
        broken: the images that were asked for and could not be read; they are in none of the
            above.
    """

    indices: tuple[int, ...]
    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    masks: tuple[Tensor | None, ...]
    broken: tuple[Broken, ...]


class Images(ABC):
    """A set of labelled images: `spec` and `split` say where it comes from, `classes` what its
    labels mean.

    A benchmark of ImageNet's classes also says in `outputs` which of the 1,000 outputs of an
    ImageNet classifier count as each class; every other output is none of them. One whose licence
    forbids fitting anything on it says in `only_for_tests` why, in a sentence; whatever fits something calls
    `refuse_fitting` first.
    """

    spec: str
    split: str
    classes: tuple[str, ...]
    outputs: tuple[tuple[int, ...], ...] | None = None
    only_for_tests: str | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, index: int) -> Example:
        """Image `index`, 0 <= index < len.

        Raises:
            BrokenImageError: when it cannot be decoded.
        """

    @abstractmethod
    def fingerprint(self, indices: Sequence[int]) -> str:
        """A hexadecimal digest of what determines these images and labels, without decoding."""

    def __getitem__(self, index: int) -> Example:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self!r} has no image {index}.")
        return self.read(index % len(self))

    def __iter__(self) -> Iterator[Example]:
        return (self.read(index) for index in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.spec!r}, split={self.split!r}, {len(self)} images)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the first image that can be read.

        Raises:
            BrokenImageError: when none can.
        """
        problem: BrokenImageError | None = None
        for index in range(len(self)):
            try:
                channels, height, width = self.read(index).image.shape
            except BrokenImageError as error:
                problem = problem or error
            else:
                return channels, height, width
        raise problem or EquipoiseError(
            f"Cannot tell the shape of the images of {self!r}: it is empty."
        )

    def batch(
        self,
        indices: Sequence[int],
        skip_broken: bool = False,
        shape: tuple[int, int, int] | None = None,
    ) -> Batch:
        """Reads several images.

        Arguments:
            indices: which ones, in this order; negative ones count from the end.
            skip_broken: leaves images that cannot be decoded out, and lists them in
                `Batch.broken`.
            shape: (C, H, W) that every image must have; that of the first of them when `None`.

        Raises:
            BrokenImageError: for the first image that cannot be decoded, unless `skip_broken`.
            EquipoiseError: for an image of another shape.
        """
        kept: list[int] = []
        examples: list[Example] = []
        broken: list[Broken] = []
        for index in indices:
            try:
                example = self[index]
            except BrokenImageError as error:
                if not skip_broken:
                    raise
                broken.append(Broken(error.id, error.reason))
                continue
            if shape is None:
                channels, height, width = example.image.shape
                shape = channels, height, width
            if example.image.shape != shape:
                raise EquipoiseError(self._mixed(example, shape))
            kept.append(index)
            examples.append(example)
        return Batch(
            indices=tuple(kept),
            images=torch.stack([example.image for example in examples])
            if examples
            else torch.empty(0, *self.shape),
            labels=torch.tensor([example.label for example in examples], dtype=torch.int64),
            ids=tuple(example.id for example in examples),
            groups=tuple(example.group for example in examples),
            masks=tuple(example.mask for example in examples),
            broken=tuple(broken),
        )

    def groups(self) -> tuple[str | None, ...]:
        """The group of every image. Sources that know groups without decoding override this."""
        return tuple(example.group for example in self)

    def all_labels(self) -> tuple[int, ...]:
        """The label of every image. Sources that know labels without decoding override this."""
        return tuple(example.label for example in self)

    def refuse_fitting(self, operation: str) -> None:
        """Stops whatever would fit something on a set that is for tests alone.

        Arguments:
            operation: completes "Cannot ... 'objectnet:PATH'".

        Raises:
            EquipoiseError: when `only_for_tests` gives a reason.
        """
        if self.only_for_tests is not None:
            raise EquipoiseError(
                f"Cannot {operation} {self.spec!r}: {self.only_for_tests} Take other images for that, and only audit "
                "on these."
            )

    def subset(self, limit: int | None, seed: int = 0) -> "Images":
        """A random `limit` of the images, in their natural order; for `None`, all of them.

        With one seed, a larger subset contains the smaller ones.

        Raises:
            EquipoiseError: when `limit` is not positive.
        """
        if limit is None or limit >= len(self):
            return self
        if limit < 1:
            raise EquipoiseError(
                f"Cannot take {limit} images of {self!r}: the limit must be at least 1."
            )
        order = torch.randperm(len(self), generator=stream("subset", seed))
        return Subset(self, sorted(order[:limit].tolist()))

    def _mixed(self, example: Example, shape: tuple[int, int, int]) -> str:
        sign = "&" if "?" in self.spec else "?"
        return (
            f"Cannot put {example.id!r} with shape {tuple(example.image.shape)} into one batch with "
            f"images of shape {shape}. Give all images one size, as in {self.spec}{sign}size=32."
        )


class Subset(Images):
    """The images of another set at `indices`, in that order."""

    def __init__(self, images: Images, indices: Sequence[int]) -> None:
        self.images = images
        self.indices = tuple(indices)
        self.spec = images.spec
        self.split = images.split
        self.classes = images.classes
        self.outputs = images.outputs
        self.only_for_tests = images.only_for_tests

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> Example:
        return self.images[self.indices[index]]

    def fingerprint(self, indices: Sequence[int]) -> str:
        return self.images.fingerprint([self.indices[index] for index in indices])

    def groups(self) -> tuple[str | None, ...]:
        known = self.images.groups()
        return tuple(known[index] for index in self.indices)

    def all_labels(self) -> tuple[int, ...]:
        known = self.images.all_labels()
        return tuple(known[index] for index in self.indices)
