"""Pictures that a probe kept of the same images: a row an image, a column a classifier.

Rows are the first pictured images of every class in turn, ordered by class, as everywhere on the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import zip_longest

from PIL import Image

from equipoise.report.pictures import data_uri, webps
from equipoise.report.reading import Reading
from equipoise.store import fetch_rows

__all__ = ["Picked", "Pictured", "arrange", "listed", "pick", "shared"]

ROWS = 10
SIDE = 96
"""Height in pixels that larger pictures are shrunk to."""

BUDGET = 900_000
"""Bytes of pictures in one grid."""


@dataclass(frozen=True)
class Pictured:
    """An image: its id and class, the picture as it is, and one picture for each classifier, as data URIs."""

    id: str
    label: int
    truth: str
    original: str
    pictures: list[str]


@dataclass(frozen=True)
class Picked:
    """Rows, and the names of the classifiers above them.

    Attributes:
        ratio: width of an original over its height.
        pixelated: whether pictures are so small that their pixels should show.
        heads: names of the classifiers; none where pictures are the same for all of them.
    """

    rows: list[Pictured]
    ratio: float
    pixelated: bool
    heads: Sequence[str] = ()


def pick(reading: Reading, spec: str) -> Picked:
    """Some images that every classifier has a picture of under the probe `spec`."""
    names = [
        judged.name for judged in reading.classifiers if reading.run.shards(spec, judged.name)
    ]
    return replace(arrange(reading, spec, names), heads=names)


def arrange(
    reading: Reading,
    spec: str,
    names: Sequence[str],
    budget: int = BUDGET,
    *,
    most: int = ROWS,
) -> Picked:
    """Some pictured images with what the probe `spec` kept of them.

    Arguments:
        reading: of the run.
        spec: of a probe that has pictures.
        names: of the classifiers whose pictures are shown, of images that have one of each.
        budget: bytes of pictures, which only the first row may exceed.
        most: rows.
    """
    run = reading.run
    if not run.shards("images") or not names:
        return Picked([], 1, pixelated=False)
    originals = reading.originals
    labels: dict[str, int] = {}
    kept: dict[str, dict[str, bytes]] = {}
    about = run.pictures(spec, names).select("id", "label", "classifier", "picture")
    for key, label, name, picture in fetch_rows(about):
        labels[key] = label
        kept.setdefault(key, {})[name] = picture
    by_class: dict[int, list[str]] = {}
    for key, found in kept.items():
        if key in originals and len(found) == len(names):
            by_class.setdefault(labels[key], []).append(key)
    turns = zip_longest(*(by_class[label] for label in sorted(by_class)))
    chosen = [key for turn in turns for key in turn if key is not None][:most]
    rows: list[Pictured] = []
    width, height, spent = 1, 1, 0
    for key in sorted(chosen, key=labels.__getitem__):
        with Image.open(BytesIO(originals[key])) as image:
            width, height = image.size
        row = [originals[key], *(kept[key][name] for name in names)]
        kind = "png"
        if height > SIDE:
            row = webps(row, None, SIDE)
            kind = "webp"
        spent += sum(map(len, row))
        if rows and spent > budget:
            break
        original, *others = (data_uri(kind, picture) for picture in row)
        rows.append(Pictured(key, labels[key], reading.class_name(labels[key]), original, others))
    return Picked(rows, width / height, height <= 64)


def shared(reading: Reading, spec: str) -> list[str]:
    """The classifier asked most, whose pictures stand for all where they are the same for all."""
    asked = {
        judged.name: len(reading.run.shards(spec, judged.name)) for judged in reading.classifiers
    }
    return [max(asked, key=asked.__getitem__)] if any(asked.values()) else []


def listed(ids: Sequence[str]) -> str:
    """The ids as a list of SQL."""
    return ", ".join("'" + str(key).replace("'", "''") + "'" for key in ids) or "NULL"
