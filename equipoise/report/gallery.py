"""The gallery: every pictured image as it is, as the attack left it, and the change between the two, amplified.

The page holds each picture once, as a data URI: the clean one per image, the other two per classifier and threat. PNGs
go in as the run stored them while they are few and small; beyond BUDGET they are shrunk and stored as lossy WebP, and
if that is still too much, fewer images are shown. The script of the page builds the cards from the rows given here.
"""

import base64
import math
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from equipoise.report.reading import Reading
from equipoise.report.words import number

__all__ = ["Gallery", "data_uri", "hang", "webp"]

BUDGET = 5_000_000
"""Bytes of pictures in the page."""

SIDES = (224, 160, 128, 96, 64)
"""Longest sides that pictures are shrunk to, tried in turn while the budget is exceeded."""

OUTCOMES = ("fooled", "withstood", "wrong")


@dataclass(frozen=True)
class Gallery:
    """What the page's script gets.

    Attributes:
        rows: one a card.
        pictures: data URIs that the rows point into.
        note: what was left out, or nothing.
        side: the longest side of a picture, in pixels.
    """

    rows: list[dict[str, Any]]
    pictures: list[str]
    note: str
    side: int


def hang(reading: Reading) -> Gallery:
    """The gallery of a run; empty when nothing is pictured."""
    run = reading.run
    clean = dict(
        run.images().filter("picture IS NOT NULL").select("id", "picture").fetchall()
        if run.shards("images")
        else []
    )
    said = {j.name: _predictions(reading, j.name) for j in reading.classifiers}
    names = [j.name for j in reading.classifiers]
    rows: list[dict[str, Any]] = []
    bytes_of: list[tuple[bytes, bytes, bytes]] = []
    for index, under in enumerate(reading.threats):
        if not run.shards(under.spec):
            continue
        answers = run.pictures(under.spec).select(
            "classifier", "id", "label", "group", "success", "distance", "radius",
            "adversarial_prediction", "amplification", "picture", "change",
        )  # fmt: skip
        for (
            name,
            key,
            label,
            group,
            success,
            distance,
            radius,
            prediction,
            factor,
            *pair,
        ) in answers.fetchall():
            if key not in clean or name not in names:
                continue
            before = said[name].get(key)
            wrong = radius == 0 if before is None else before != label
            rows.append(
                {
                    "classifier": names.index(name),
                    "threat": index,
                    "id": str(key),
                    "group": None if group is None else str(group),
                    "label": label,
                    "before": before,
                    "after": prediction,
                    "outcome": OUTCOMES[2 if wrong else 0 if success else 1],
                    "distance": number(distance),
                    "radius": number(radius),
                    "sort": radius if math.isfinite(radius) else None,
                    "factor": f"{factor:.2g}" if factor < 100 else f"{factor:.0f}",
                }
            )
            bytes_of.append((clean[key], pair[0], pair[1]))
    return _store(rows, bytes_of)


def _predictions(reading: Reading, classifier: str) -> dict[str, int]:
    columns = reading.columns(reading.standard, classifier) if reading.standard else {}
    if not columns:
        return {}
    return dict(zip(columns["id"].tolist(), columns["prediction"].tolist(), strict=True))


def _store(rows: list[dict[str, Any]], bytes_of: list[tuple[bytes, bytes, bytes]]) -> Gallery:
    """Puts the pictures of the rows into one list without repeats, within the budget."""
    note = ""
    pictures = list(dict.fromkeys(p for three in bytes_of for p in three))
    stored: dict[bytes, tuple[str, bytes]] = {p: ("png", p) for p in pictures}
    size = max((_side(p) for p in pictures[:1]), default=0)
    for side in SIDES if sum(map(len, pictures)) > BUDGET else ():
        # A sample tells the size of all, so that only the last attempt encodes every picture.
        sample = pictures[:: max(1, len(pictures) // 50)]
        expected = sum(len(webp(p, side, side)) for p in sample) * len(pictures) / len(sample)
        if expected <= BUDGET or side == SIDES[-1]:
            if expected > BUDGET:
                ids = list(dict.fromkeys(row["id"] for row in rows))
                kept = max(1, int(len(ids) * BUDGET / expected))
                shown = {ids[round(k * (len(ids) - 1) / max(1, kept - 1))] for k in range(kept)}
                pairs = [(r, b) for r, b in zip(rows, bytes_of, strict=True) if r["id"] in shown]
                rows, bytes_of = [r for r, _ in pairs], [b for _, b in pairs]
                pictures = list(dict.fromkeys(p for three in bytes_of for p in three))
                note = f"{kept} of {len(ids)} pictured images are shown, so that the page stays small. "
            stored = {p: ("webp", webp(p, side, side)) for p in pictures}
            note += f"Pictures are compressed, and at most {side} pixels wide and high."
            size = min(size, side)
            break
    position = {p: i for i, p in enumerate(pictures)}
    placed = [
        row
        | dict(zip(("clean", "adversarial", "change"), (position[p] for p in three), strict=True))
        for row, three in zip(rows, bytes_of, strict=True)
    ]
    uris = [data_uri(kind, data) for kind, data in (stored[p] for p in pictures)]
    return Gallery(placed, uris, note, size)


def _side(picture: bytes) -> int:
    with Image.open(BytesIO(picture)) as image:
        return max(image.size)


def data_uri(kind: str, picture: bytes) -> str:
    """A picture of the kind "png" or "webp" as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def webp(picture: bytes, width: int | None, height: int) -> bytes:
    """The picture as lossy WebP, no wider, unless that is None, and no higher than that."""
    file = BytesIO()
    with Image.open(BytesIO(picture)) as image:
        shrunk = image.convert("RGB")
        shrunk.thumbnail((width or shrunk.width, height), Image.Resampling.LANCZOS)
        shrunk.save(file, "WEBP", quality=82, method=2)
    return file.getvalue()
