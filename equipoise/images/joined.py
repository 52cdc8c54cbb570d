"""Several sets of images as one: each of them is a group, so that one audit compares them."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby

from equipoise.errors import EquipoiseError
from equipoise.images.decode import BrokenImageError
from equipoise.images.source import Example, Images
from equipoise.streams import digest

__all__ = ["Joined"]


class Joined(Images):
    """The images of several sets of the same classes, one set after the other.

    The group of an image is the name of its set, whatever group it had there; its id is that name, a slash and its id
    in the set. What is only for tests in one set is so in the whole.

    Arguments:
        parts: the sets by name; names without a slash.
        spec: what to call the whole; made of the sets' own when None.

    Raises:
        EquipoiseError: for no set, a name with a slash, or sets of other classes or outputs.
    """

    def __init__(self, parts: Mapping[str, Images], *, spec: str | None = None) -> None:
        if not parts:
            raise EquipoiseError("Cannot join no sets of images: give at least one, by name.")
        self.parts = dict(parts)
        self.names = tuple(parts)
        first = parts[self.names[0]]
        for name, images in parts.items():
            if not name or "/" in name:
                raise EquipoiseError(
                    f"Cannot join images under the name {name!r}: ids begin with it. Write one without a slash."
                )
            if images.classes != first.classes or images.outputs != first.outputs:
                raise EquipoiseError(
                    f"Cannot join {images.spec!r} with {first.spec!r}: labels mean other classes there "
                    f"({_shown(images)} and {_shown(first)}), or other outputs of ImageNet's. Give sets that agree."
                )
        listed = parts.values()
        own = " + ".join(f"{name}={images.spec}" for name, images in parts.items())
        self.spec = own if spec is None else spec
        self.split = " + ".join(dict.fromkeys(images.split for images in listed))
        self.classes, self.outputs = first.classes, first.outputs
        reasons = dict.fromkeys(images.only_for_tests for images in listed)
        self.only_for_tests = " ".join(reason for reason in reasons if reason) or None
        self.ends = tuple(accumulate(len(images) for images in listed))

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, index: int) -> Example:
        part, row = self._place(index)
        name = self.names[part]
        try:
            found = self.parts[name][row]
        except BrokenImageError as error:
            raise BrokenImageError(f"{name}/{error.id}", error.reason) from error
        return Example(found.image, found.label, f"{name}/{found.id}", name, found.mask)

    def fingerprint(self, indices: Sequence[int]) -> str:
        places = groupby(map(self._place, indices), key=lambda place: place[0])
        runs = [(self.names[part], [row for _, row in run]) for part, run in places]
        return digest("joined", *((n, self.parts[n].fingerprint(rows)) for n, rows in runs))

    def groups(self) -> tuple[str | None, ...]:
        return tuple(name for name, images in self.parts.items() for _ in range(len(images)))

    def all_labels(self) -> tuple[int, ...]:
        return tuple(label for images in self.parts.values() for label in images.all_labels())

    def _place(self, index: int) -> tuple[int, int]:
        """Which set the image is in, and where there."""
        part = bisect_right(self.ends, index)
        return part, index - (self.ends[part - 1] if part else 0)


def _shown(images: Images) -> str:
    return f"{len(images.classes)}, {', '.join(images.classes[:3])}, ..."
