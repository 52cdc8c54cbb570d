"""The denoiser of a study by itself: a sentence, a table, and its samples nearest to training images."""

import math
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from equipoise.audit import Estimate
from equipoise.errors import EquipoiseError
from equipoise.images import Decoding
from equipoise.report.pictures import data_uri, webp
from equipoise.report.reading import Reading
from equipoise.report.table import Cell, cell
from equipoise.report.words import apart, count, percent

__all__ = ["Judged", "lay_denoiser"]

MEASURES = {
    "read": ("Read as their class", True),
    "distance": ("Fréchet distance from held-out images", False),
    "excess": ("The one less the other", False),
    "copied": ("Copies of a training image", True),
    "nearer": ("Nearer to training images, in pixels", True),
    "nearer_features": ("Nearer to training images, in features", True),
}
"""What each is called, and whether it reads in per cent."""

TALLEST = 1200
"""Pixels of the picture."""


@dataclass(frozen=True)
class Judged:
    """The section.

    Attributes:
        sentences: what was found.
        rows: name of a measure, and its cells for samples and held-out images, each with its number of images.
        classes: name of a class, and the share of its samples that are read as it.
        picture: of the nearest pairs, as a data URI.
        note: how it was measured.
    """

    sentences: list[str]
    rows: list[tuple[str, list[tuple[Cell, str] | None]]]
    classes: list[tuple[str, Cell]]
    picture: str
    note: str


def lay_denoiser(reading: Reading) -> Judged | None:
    """The section; None for a run without such exhibits.

    Raises:
        EquipoiseError: for exhibits that are not what a study writes.
    """
    names = ("denoiser", "denoiser_about", "denoiser_classes")
    rows, about, classes = (reading.exhibits.get(name, []) for name in names)
    if not rows or not about:
        return None
    try:
        return _laid({str(row["measure"]): row for row in rows}, about[0], classes)
    except (ArithmeticError, KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, EquipoiseError):
            raise
        raise EquipoiseError(
            f"Cannot show the denoiser of the run {reading.run.folder}: its exhibits are not what a study writes "
            f"({str(error)[:80]}). Repeat the study."
        ) from None


def _laid(
    rows: dict[str, dict[str, Any]], about: dict[str, Any], classes: list[dict[str, Any]]
) -> Judged:
    picture = b64decode(about["picture"])
    # Refuses what is no picture, or a huge one.
    Decoding(3)(picture, "of the denoiser's samples")
    laid = []
    for measure, (name, share) in MEASURES.items():
        pair = [_estimate(rows[measure], end) for end in ("samples", "held_out")]
        laid.append(
            (name, [(cell(e, share=share), count(e.n)) if e is not None else None for e in pair])
        )
    read, nearer, copied = (_known(rows[name]) for name in ("read", "nearer", "copied"))
    unseen = rows["read"]["held_out"], rows["copied"]["held_out"]
    sentences = [
        f"Of {count(read.n)} samples drawn from pure noise {percent(read.value)} are read as the class asked for by "
        f"{apart(str(about['judge']))}, which reads {percent(unseen[0])} of real held-out images rightly.",
        f"{percent(copied.value)} are copies of a training image, three times nearer to it than to every other one "
        f"({percent(unseen[1])} of held-out images); a sample lies nearer to its nearest training image than a "
        f"held-out image to its own with probability {percent(nearer.value)}: "
        f"{_meaning(nearer)}.",
    ]
    note = (
        f"{int(about['steps'])} steps, guidance {about['guidance']:g}, seed {int(about['seed'])}; real images: "
        f"{apart(str(about['held_out']))}, which neither the denoiser nor the judge was trained on. Fréchet distances "
        "are in the penultimate features of that classifier, not in Inception’s, and cannot be compared with published "
        "FIDs; both are too large for so few images, by about the same, and the second column is that of other real "
        "images. Intervals: Wilson’s of shares, the jackknife’s of distances, the bootstrap’s of probabilities."
    )
    return Judged(
        sentences,
        laid,
        [(str(row["class"]), cell(_known(row))) for row in classes],
        data_uri("webp", webp(picture, None, TALLEST)),
        note,
    )


def _meaning(nearer: Estimate) -> str:
    if nearer.low > 0.5:
        return "samples lie nearer to training images than unseen images do"
    if nearer.high < 0.5:
        return "samples lie farther from training images than unseen images do"
    return "samples lie no nearer to training images than unseen images do"


def _known(row: dict[str, Any]) -> Estimate:
    found = _estimate(row, "samples")
    if found is None:
        raise KeyError("samples")
    return found


def _estimate(row: dict[str, Any], name: str) -> Estimate | None:
    if name not in row:
        return None
    value, low, high = (
        math.nan if row[key] is None else float(row[key])
        for key in (name, f"{name}_low", f"{name}_high")
    )
    return Estimate(value, low, high, int(row[f"{name}_n"]), "")
