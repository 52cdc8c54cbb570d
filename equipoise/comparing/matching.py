"""Which images several runs have in common: those of one name, one label and the same pixels.

An image's random streams are named by its id and the seed, so that answers about it are the same whatever other images
were audited with it. Runs of different samples of a set are therefore compared on the images that are in all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.audit.plan import IMAGES
from equipoise.audit.run import Run
from equipoise.errors import EquipoiseError
from equipoise.store import arrays
from equipoise.streams import digest

__all__ = ["Pool", "pool", "rows_of"]

Known = Mapping[str, tuple[int, str, str | None]]
"""Label, digest of the pixels and group of each image, by id."""

PARTS = ("classes", "shape", "spec", "split", "limit", "images", "fingerprint")
"""What run.json says of the images, in the order in which it explains best why none are shared."""


@dataclass(frozen=True)
class Pool:
    """Runs that are compared on the same images.

    Attributes:
        runs: their places among all runs.
        ids: of the images that all have, sorted.
        groups: whether all give these images the same groups.
    """

    runs: tuple[int, ...]
    ids: tuple[str, ...]
    digests: Mapping[int, tuple[str, str]]

    def digest(self, run: int, *, grouped: bool) -> str:
        """A digest of the images as a run has them: names, labels and pixels, and their groups where they count."""
        return self.digests[run][grouped]


def pool(
    runs: Sequence[Run], names: Sequence[str], first: int
) -> tuple[list[Pool], dict[int, str]]:
    """The runs that share images with that in place `first`, and each other one by itself with the reason.

    Arguments:
        runs: all of them.
        names: what to call them.
        first: the place of the run that the others are compared with.

    Raises:
        EquipoiseError: for a run without measurements.
    """
    known = [_images(run) for run in runs]
    shared, members, reasons = set(known[first]), [first], {}
    for k, run in enumerate(runs):
        if k == first:
            continue
        same = {
            key for key in shared if key in known[k] and known[k][key][:2] == known[first][key][:2]
        }
        classes = run.record["data"]["classes"] == runs[first].record["data"]["classes"]
        if same and classes:
            shared = same
            members.append(k)
        else:
            reasons[k] = _reason(
                runs[first].record["data"], run.record["data"], names[first], names[k]
            )
    pools = [_pool(tuple(sorted(members)), shared, known)]
    return pools + [_pool((k,), known[k], known) for k in reasons], reasons


def rows_of(ids: Sequence[str], columns: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The columns of those images, in that order; images without an answer are left out."""
    place = {key: row for row, key in enumerate(columns["id"].tolist())}
    rows = np.array([place[key] for key in ids if key in place], dtype=np.int64)
    return {name: column[rows] for name, column in columns.items()}


def _images(run: Run) -> Known:
    if not run.shards(IMAGES):
        raise EquipoiseError(
            f"Cannot compare the run {run.where!r}: it has no measurements yet. Repeat its audit to finish it."
        )
    found = arrays(run.images().select("id", "label", "digest", '"group"'))
    rows = (found[name].tolist() for name in ("id", "label", "digest", "group"))
    return {
        key: (int(label), pixels, group) for key, label, pixels, group in zip(*rows, strict=True)
    }


def _pool(
    members: tuple[int, ...], shared: Mapping[str, Any] | set[str], known: Sequence[Known]
) -> Pool:
    ids = tuple(sorted(shared))
    digests = {
        k: (
            digest([(key, *known[k][key][:2]) for key in ids]),
            digest([(key, *known[k][key]) for key in ids]),
        )
        for k in members
    }
    return Pool(members, ids, digests)


def _reason(ours: Mapping[str, Any], theirs: Mapping[str, Any], us: str, them: str) -> str:
    """Which setting of the images differs, the most telling one or two."""
    found = [
        f"{part} is {_short(ours.get(part))} in {us} and {_short(theirs.get(part))} in {them}"
        for part in PARTS
        if ours.get(part) != theirs.get(part)
    ]
    return "; ".join(found[:2]) or "no image has the same name, label and pixels in both"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
