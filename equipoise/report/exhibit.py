"""The pictures that a gallery shows of an image: what the probes kept of it, brought together.

Beside the image as it is there may be its nearest counterfactual of another class, cut from the strip of all of them;
the input gradient of each classifier; and what each classifier's attack left of it, with the change amplified.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equipoise.probes import Gradients, Saliency
from equipoise.processes import cores
from equipoise.report.answers import Answers
from equipoise.report.pictures import cut, size
from equipoise.report.reading import Reading
from equipoise.report.rows import shared
from equipoise.store import fetch_rows

__all__ = ["Attacked", "Exhibit", "Other", "gather"]


@dataclass(frozen=True)
class Other:
    """The nearest pictured counterfactual of another class: that class, its L2 distance, and the picture."""

    label: int
    distance: float
    picture: bytes


@dataclass(frozen=True)
class Attacked:
    """What an attack left of an image.

    Attributes:
        factor: by which the change is amplified.
        distance: of the adversarial image, in the threat's norm.
        margin: of the true class there, in logits; negative where it is misread.
        by: the attack that broke the image, or nothing.
    """

    picture: bytes
    change: bytes
    factor: float
    distance: float
    margin: float
    by: str


@dataclass
class Exhibit:
    """The pictures of one image.

    Attributes:
        image: its place among all images.
        original: as it is.
        other: a counterfactual, where there is one.
        gradients: by classifier.
        attacked: by threat and classifier.
    """

    image: int
    original: bytes
    other: Other | None = None
    gradients: dict[int, bytes] = field(default_factory=dict)
    attacked: dict[tuple[int, int], Attacked] = field(default_factory=dict)

    def pictures(self) -> Iterator[bytes]:
        """All of them."""
        yield self.original
        if self.other:
            yield self.other.picture
        yield from self.gradients.values()
        for found in self.attacked.values():
            yield from (found.picture, found.change)


def gather(reading: Reading, answers: Answers) -> list[Exhibit]:
    """The exhibits of all pictured images, in the order of `answers`."""
    run = reading.run
    kept = fetch_rows(run.images().filter("picture IS NOT NULL").select("id", "picture"))
    exhibits = {key: Exhibit(answers.places[key], picture) for key, picture in kept}
    places = {judged.name: place for place, judged in enumerate(reading.classifiers)}

    def look(found: tuple[str, bytes, list[int]]) -> None:
        key, strip, classes = found
        if key in exhibits:
            label = int(answers.labels[exhibits[key].image])
            exhibits[key].other = _nearest(exhibits[key].original, strip, classes, label)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(look, _strips(reading)))
    for name, key, picture in _gradients(reading):
        if key in exhibits and name in places:
            width, _ = size(exhibits[key].original)
            exhibits[key].gradients[places[name]] = cut(picture, 0, width)
    for threat, under in enumerate(reading.threats):
        if not run.shards(under.spec):
            continue
        found = run.pictures(under.spec).select(
            "classifier", "id", "picture", "change", "amplification", "distance", "margin", "broken_by"
        )  # fmt: skip
        for name, key, picture, change, factor, distance, lead, by in fetch_rows(found):
            if key in exhibits and name in places:
                left = Attacked(picture, change, factor, distance, -lead, by or "")
                exhibits[key].attacked[threat, places[name]] = left
    return sorted(exhibits.values(), key=lambda exhibit: exhibit.image)


def _strips(reading: Reading) -> list[tuple[str, bytes, list[int]]]:
    """Id, strip and the classes in it of the images that the first set pictures."""
    drawn = next(iter(reading.counterfactuals), None)
    if drawn is None or not reading.run.shards(drawn.spec):
        return []
    # Strips are the same for all classifiers.
    shown = reading.run.pictures(drawn.spec, shared(reading, drawn.spec))
    return fetch_rows(shown.select("id", "picture", "strip"))


def _gradients(reading: Reading) -> list[tuple[str, str, bytes]]:
    """Classifier, id and picture of the input gradients; maps of the probe `saliency` begin with it, too."""
    specs = reading.specs(Gradients) + reading.specs(Saliency)
    spec = next((spec for spec in specs if reading.run.shards(spec)), None)
    if spec is None:
        return []
    return fetch_rows(reading.run.pictures(spec).select("classifier", "id", "picture"))


def _nearest(original: bytes, strip: bytes, classes: list[int], label: int) -> Other | None:
    """The counterfactual of a class other than `label` that lies nearest, of those side by side in the strip."""
    start, tiles = _pixels(original), _pixels(strip)
    width = start.shape[1]
    best: tuple[float, int] = (math.inf, -1)
    for k, other in enumerate(classes):
        if other != label:
            tile = tiles[:, k * width : (k + 1) * width]
            best = min(best, (float(np.linalg.norm(tile - start)), k))
    distance, k = best
    if k < 0:
        return None
    return Other(classes[k], distance, cut(strip, k * width, width))


def _pixels(picture: bytes) -> NDArray[np.float32]:
    """Pixels in [0, 1] with shape (H, W) or (H, W, 3)."""
    with Image.open(BytesIO(picture)) as image:
        return np.asarray(image, dtype=np.float32) / np.float32(255)
