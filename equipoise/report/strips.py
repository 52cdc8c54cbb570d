"""Originals beside their counterfactuals: a row an image, a column a class.

A run keeps, of each pictured image, the counterfactuals of all classes side by side in one picture. The page holds that
strip once a row and shows a part of it in each cell. As rows are ordered by class, each image's own class runs down the
diagonal.
"""

from dataclasses import dataclass

from equipoise.report.reading import Drawn, Reading
from equipoise.report.rows import arrange, listed, shared
from equipoise.store import fetch_rows

__all__ = ["Grid", "Strip", "Tile", "lay"]

COLUMNS = 12
"""With more classes than that among the rows, every picture bears the name of its class instead of every column."""

BUDGET = 1_200_000
"""Bytes of strips in the page, for all sets together."""


@dataclass(frozen=True)
class Tile:
    """One counterfactual: its class, its place in the strip in per cent, and whether the class is the image's own."""

    name: str
    place: float
    own: bool


@dataclass(frozen=True)
class Strip:
    """An image: its class, the picture as it is, the strip, both as data URIs, how many pictures are in the strip, and
    the tiles, None where there is none.
    """

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
    rows: list[Strip]
    ratio: float
    pixelated: bool


def lay(reading: Reading, drawn: Drawn) -> Grid | None:
    """The grid of a set; None when nothing is pictured."""
    run = reading.run
    # What a strip shows is the same for all classifiers.
    names = shared(reading, drawn.spec)
    picked = arrange(reading, drawn.spec, names, BUDGET // len(reading.counterfactuals))
    if not picked.rows:
        return None
    shown = run.pictures(drawn.spec, names)
    shown = shown.filter(f"id IN ({listed([row.id for row in picked.rows])})")
    classes: dict[str, list[int]] = dict(fetch_rows(shown.select("id", "strip")))
    columns = sorted({c for strip in classes.values() for c in strip})
    in_columns = len(columns) <= COLUMNS
    rows = []
    for row in picked.rows:
        strip = classes[row.id]
        tiles = {
            c: Tile(reading.class_name(c), 100 * k / max(1, len(strip) - 1), c == row.label)
            for k, c in enumerate(strip)
        }
        cells = [tiles.get(c) for c in (columns if in_columns else strip)]
        rows.append(Strip(row.truth, row.original, row.pictures[0], len(strip), cells))
    heads = [reading.class_name(c) for c in columns] if in_columns else []
    return Grid(heads, rows, picked.ratio, picked.pixelated)
