"""Pictures that a probe kept of the same images under every classifier: a row an image, a column a classifier.

Rows are the first pictured images of every class in turn, ordered by class, as everywhere on the page.
"""

from dataclasses import dataclass
from io import BytesIO
from itertools import zip_longest

from PIL import Image

from equipoise.report.gallery import data_uri, webp
from equipoise.report.reading import Reading

__all__ = ["Picked", "Row", "pick"]

ROWS = 10
SIDE = 96
"""Height in pixels that larger pictures are shrunk to."""

BUDGET = 900_000
"""Bytes of pictures in one grid."""


@dataclass(frozen=True)
class Row:
    """An image: its id and class, the picture as it is, and one picture for each classifier, as data URIs."""

    id: str
    truth: str
    original: str
    pictures: list[str]


@dataclass(frozen=True)
class Picked:
    """Rows under the names of the classifiers.

    Attributes:
        ratio: width of an original over its height.
        pixelated: whether pictures are so small that their pixels should show.
    """

    heads: list[str]
    rows: list[Row]
    ratio: float
    pixelated: bool


def pick(reading: Reading, spec: str, most: int = ROWS) -> Picked:
    """At most `most` images that every classifier has a picture of under the probe `spec`."""
    run = reading.run
    found: dict[str, dict[str, bytes]] = {}
    labels: dict[str, int] = {}
    for key, name, label, picture in (
        run.pictures(spec).select("id", "classifier", "label", "picture").fetchall()
    ):
        found.setdefault(key, {})[name] = picture
        labels[key] = label
    names = [judged.name for judged in reading.classifiers if run.shards(spec, judged.name)]
    originals = dict(run.images().filter("picture IS NOT NULL").select("id", "picture").fetchall())
    by_class: dict[int, list[str]] = {}
    for key, pictures in found.items():
        if key in originals and all(name in pictures for name in names):
            by_class.setdefault(labels[key], []).append(key)
    turns = zip_longest(*(by_class[label] for label in sorted(by_class)))
    chosen = [key for turn in turns for key in turn if key is not None][:most]
    rows: list[Row] = []
    size, spent = (1, 1), 0
    for key in sorted(chosen, key=labels.__getitem__):
        with Image.open(BytesIO(originals[key])) as image:
            size = image.size
        pictures = [originals[key], *(found[key][name] for name in names)]
        kind = "png"
        if size[1] > SIDE:
            pictures = [webp(p, 6 * SIDE, SIDE) for p in pictures]
            kind = "webp"
        spent += sum(map(len, pictures))
        if rows and spent > BUDGET:
            break
        original, *others = (data_uri(kind, p) for p in pictures)
        rows.append(Row(key, reading.class_name(labels[key]), original, others))
    return Picked(names, rows, size[0] / size[1], size[1] <= 64)
