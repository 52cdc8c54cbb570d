"""Originals beside their counterfactuals: a row an image, a column a class.

A run keeps, of each pictured image, the counterfactuals of all classes side by side in one picture. The page holds that
strip once a row and shows a part of it in each cell. Rows are the first pictured images of every class in turn, ordered
by class, so that each image's own class runs down the diagonal.
"""

from dataclasses import dataclass
from io import BytesIO
from itertools import zip_longest

from PIL import Image

from equipoise.report.gallery import data_uri, webp
from equipoise.report.reading import Drawn, Reading

__all__ = ["Grid", "Row", "Tile", "lay"]

ROWS = 10
COLUMNS = 12
"""With more classes than that among the rows, every picture bears the name of its class instead of every column."""

SIDE = 96
"""Height in pixels that larger pictures are shrunk to."""

BUDGET = 1_200_000
"""Bytes of strips in the page, for all sets together."""


@dataclass(frozen=True)
class Tile:
    """One counterfactual: its class, its place in the strip in per cent, and whether the class is the image's own."""

    name: str
    place: float
    own: bool


@dataclass(frozen=True)
class Row:
    """An image: its class, the picture as it is, the strip as data URIs, and the tiles, None where there is none."""

    truth: str
    original: str
    strip: str
    length: int
    tiles: list[Tile | None]


@dataclass(frozen=True)
class Grid:
    """Rows under the names of the columns' classes, or under none where the tiles bear them.

    Attributes:
        ratio: width of a picture over its height.
        pixelated: whether pictures are so small that their pixels should show.
    """

    heads: list[str]
    rows: list[Row]
    ratio: float
    pixelated: bool


def lay(reading: Reading, drawn: Drawn) -> Grid | None:
    """The grid of a set; None when nothing is pictured."""
    run = reading.run
    if not run.shards("images") or not run.shards(drawn.spec):
        return None
    # What a strip shows is the same for all classifiers.
    listed = run.pictures(drawn.spec).select("id", "classifier", "label").fetchall()
    names = {key: classifier for key, classifier, _ in reversed(listed)}
    by_class: dict[int, list[str]] = {}
    for key, label in dict.fromkeys((key, label) for key, _, label in listed):
        by_class.setdefault(label, []).append(key)
    turns = zip_longest(*(by_class[label] for label in sorted(by_class)))
    chosen = [key for turn in turns for key in turn if key is not None][:ROWS]
    found = {
        key: (label, strip, picture)
        for key, classifier, label, strip, picture in run.pictures(drawn.spec)
        .filter(f"id IN ({_listed(chosen)})")
        .select("id", "classifier", "label", "strip", "picture")
        .fetchall()
        if names[key] == classifier
    }
    originals = dict(
        run.images()
        .filter(f"picture IS NOT NULL AND id IN ({_listed(chosen)})")
        .select("id", "picture")
        .fetchall()
    )
    chosen = sorted((k for k in chosen if k in originals), key=lambda key: found[key][0])
    if not chosen:
        return None
    columns = sorted({label for key in chosen for label in found[key][1]})
    in_columns = len(columns) <= COLUMNS
    with Image.open(BytesIO(originals[chosen[0]])) as image:
        width, height = image.size
    rows, spent = [], 0
    for key in chosen:
        label, strip, picture = found[key]
        pair = [originals[key], picture]
        kind = "png"
        if height > SIDE:
            pair = [webp(p, width * max(1, len(strip)), SIDE) for p in pair]
            kind = "webp"
        spent += sum(map(len, pair))
        if rows and spent > BUDGET / len(reading.counterfactuals):
            break
        tiles = {
            c: Tile(reading.class_name(c), 100 * k / max(1, len(strip) - 1), c == label)
            for k, c in enumerate(strip)
        }
        shown = columns if in_columns else strip
        rows.append(
            Row(
                reading.class_name(label),
                data_uri(kind, pair[0]),
                data_uri(kind, pair[1]),
                len(strip),
                [tiles.get(c) for c in shown],
            )
        )
    heads = [reading.class_name(c) for c in columns] if in_columns else []
    return Grid(heads, rows, width / height, height <= 64)


def _listed(ids: list[str]) -> str:
    return ", ".join("'" + str(key).replace("'", "''") + "'" for key in ids) or "NULL"
