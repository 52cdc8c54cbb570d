"""The gallery: a row for every image and classifier, with pictures of those images that the run keeps some of.

The page holds the numbers of all rows as compressed columns, and each picture once, as a data URI. PNGs go in as the
run stored them while they are few and small; beyond the room that the numbers leave they are shrunk and stored as lossy
WebP, and if that is still too much, fewer images are pictured. The page's script makes the rows that are in view.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from equipoise.processes import cores
from equipoise.report.answers import Answers
from equipoise.report.exhibit import Attacked, Exhibit, gather
from equipoise.report.offline import embed
from equipoise.report.pictures import data_uri, longest_side, webp, webps
from equipoise.report.reading import Reading
from equipoise.report.words import count

__all__ = ["Gallery", "Hung", "apart", "hang"]

ROOM = 7_000_000
"""Characters of the page for the whole gallery."""

LEAST = 1_000_000
"""Bytes of pictures that the numbers of a very large run must leave."""

SIDES = (224, 160, 128, 96, 64)
"""Longest sides that pictures are shrunk to, tried in turn while the room is exceeded."""


@dataclass(frozen=True)
class Hung:
    """Where pictures went.

    Attributes:
        exhibits: those that are shown.
        pictures: theirs, each once.
        addresses: gives that of each picture, once they are all made.
        note: what was left out or shrunk, or nothing.
        side: the longest side of a picture, in pixels; 0 without any.
    """

    exhibits: Sequence[Exhibit]
    pictures: Sequence[bytes]
    addresses: Callable[[], list[str]]
    note: str
    side: int


@dataclass(frozen=True)
class Gallery:
    """What the page shows.

    Attributes:
        rows: how many there are.
        labels: classes that images have, for a filter.
        groups: names of their groups, likewise.
        shown: how many images are pictured.
        kinds: what there are pictures of beside the original: "other", "gradient" and "attacked".
        note: what was left out or shrunk, or nothing.
        ratio: width of an image over its height.
        rounded: by how much numbers may be, as people write it.
        described: what the script is told of rows and exhibits.
        addresses: gives those of the pictures.
        source: the file that has the data, where the page does not.
    """

    rows: int
    labels: list[int]
    groups: list[str]
    shown: int
    kinds: set[str]
    note: str
    ratio: float
    rounded: str
    described: dict[str, Any]
    addresses: Callable[[], list[str]]
    source: str = ""

    @cached_property
    def data(self) -> str:
        """JSON for the script."""
        return embed(self.described | {"pictures": self.addresses()})


def hang(
    reading: Reading, place: Callable[[Sequence[Exhibit], int], Hung] | None = None
) -> Gallery:
    """The gallery of a run; without rows when it has no images yet.

    Arguments:
        reading: of the run.
        place: where pictures go, given the exhibits and the bytes they may take; into the page when None.
    """
    _, height, width = reading.record["data"]["shape"]
    if not reading.run.shards("images"):
        return Gallery(0, [], [], 0, set(), "", width / height, "", {}, list)
    answers = Answers(reading)
    columns = answers.columns()
    numbers = len(embed(columns))
    hung = (place or inside)(gather(reading, answers), max(LEAST, (ROOM - numbers) * 3 // 4))
    kinds = {
        name
        for exhibit in hung.exhibits
        for name, has in (
            ("other", exhibit.other),
            ("gradient", exhibit.gradients),
            ("attacked", exhibit.attacked),
        )
        if has
    }
    position = {picture: place for place, picture in enumerate(hung.pictures)}
    data = {
        "classifiers": [judged.name for judged in reading.classifiers],
        "classes": reading.classes,
        "beyond": [reading.beyond(judged.name) for judged in reading.classifiers],
        "groups": answers.groups,
        "threats": [[under.title, under.threat.radius] for under in reading.threats],
        "columns": columns,
        "exhibits": [_described(exhibit, position) for exhibit in hung.exhibits],
        "pixelated": hung.side <= 64,
        "shows": {"made": bool(reading.counterfactuals)} | dict.fromkeys(sorted(kinds), True),
    }

    return Gallery(
        rows=answers.rows,
        labels=sorted(set(answers.labels.tolist())),
        groups=answers.groups,
        shown=len(hung.exhibits),
        kinds=kinds,
        note=hung.note,
        ratio=width / height,
        rounded=f"{100 / 2 ** (answers.fraction + 1):.1g}%",
        described=data,
        addresses=hung.addresses,
    )


def inside(exhibits: Sequence[Exhibit], room: int) -> Hung:
    """Pictures as data URIs, within `room` bytes."""
    pictures = apart(exhibits)
    size = max((longest_side(picture) for picture in pictures[:1]), default=0)
    if sum(map(len, pictures)) <= room:
        whole = [data_uri("png", picture) for picture in pictures]
        return Hung(exhibits, pictures, lambda: whole, "", size)
    # A sample tells the size of all, so that every picture is encoded once.
    sample = pictures[:: max(1, len(pictures) // 50)]

    def expected(side: int) -> float:
        return sum(map(len, webps(sample, side, side))) * len(pictures) / len(sample)

    place = bisect_left(SIDES, True, key=lambda side: expected(side) <= room)
    side, note = SIDES[min(place, len(SIDES) - 1)], ""
    if place == len(SIDES):
        kept = max(1, int(len(exhibits) * room / expected(side)))
        chosen = {round(k * (len(exhibits) - 1) / max(1, kept - 1)) for k in range(kept)}
        note = f"{count(kept)} of {count(len(exhibits))} pictured images are shown, so that the page stays small. "
        exhibits = [exhibits[k] for k in sorted(chosen)]
        pictures = apart(exhibits)
    smaller = f", and at most {side} pixels wide and high" if side < size else ""
    note += f"Pictures are compressed{smaller}; equipoise report with --bundle FOLDER keeps all as they are."
    # Nobody waits for them until the page is put together, which has a core for itself.
    pool = ThreadPoolExecutor(max(1, cores() - 1))
    coming = [pool.submit(webp, picture, side, side) for picture in pictures]
    pool.shutdown(wait=False)
    return Hung(
        exhibits,
        pictures,
        lambda: [data_uri("webp", shrunk.result()) for shrunk in coming],
        note,
        min(size, side),
    )


def apart(exhibits: Sequence[Exhibit]) -> list[bytes]:
    """The pictures, each once."""
    return list(dict.fromkeys(chain.from_iterable(e.pictures() for e in exhibits)))


def _described(exhibit: Exhibit, position: dict[bytes, int]) -> dict[str, Any]:
    """Which pictures are shown, by their `position`, and what is known of those alone."""
    other = exhibit.other
    return {
        "image": exhibit.image,
        "original": position[exhibit.original],
        "other": other and [position[other.picture], other.label, round(other.distance, 4)],
        "gradients": {k: position[picture] for k, picture in exhibit.gradients.items()},
        "attacked": {
            f"{threat},{classifier}": _attack(found, position)
            for (threat, classifier), found in exhibit.attacked.items()
        },
    }


def _attack(found: Attacked, position: dict[bytes, int]) -> list[Any]:
    """Pictures of the attacked image and of the change, its factor, distance and margin, and the attack's name."""
    numbers = (
        float(f"{value:.4g}") if math.isfinite(value) else None
        for value in (found.factor, found.distance, found.margin)
    )
    return [position[found.picture], position[found.change], *numbers, found.by]
