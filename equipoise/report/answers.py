"""What every classifier said of every image, as columns: the numbers of the gallery.

Images are in the natural order of their ids (2 before 10), and a row is an image and a classifier: row = image x
classifiers + classifier. Columns have a value for each image or for each row.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.report.packing import MISSING, halves, pack, pack_texts
from equipoise.report.reading import Reading
from equipoise.store import fetch_rows

__all__ = ["FOOLED", "UNASKED", "WITHSTOOD", "WRONG", "Answers"]

FOOLED, WITHSTOOD, WRONG, UNASKED = range(4)
"""Outcomes of an attack on a row: an image that is misread as it is counts as wrong, not as fooled."""

MANY = 100_000
"""Rows beyond which real numbers are kept to two digits instead of three."""

UNSURE = 255
"""Stands for a confidence that was not measured; 254 is certainty."""


@dataclass(frozen=True)
class Answers:
    """The numbers of a run's gallery.

    Arguments:
        reading: of a run that has images.
    """

    reading: Reading

    @cached_property
    def _images(self) -> list[tuple[str, int, str | None]]:
        """Id, label and group of every image, in the natural order of ids."""
        found = fetch_rows(self.reading.run.images().select("id", "label", "group"))
        return sorted(found, key=lambda image: (_natural(str(image[0])), str(image[0])))

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each image by its id."""
        return {key: place for place, (key, _, _) in enumerate(self._images)}

    @cached_property
    def labels(self) -> NDArray[np.uint16]:
        """True classes."""
        return np.array([label for _, label, _ in self._images], dtype=np.uint16)

    @cached_property
    def groups(self) -> list[str]:
        """Names of the groups that images are in."""
        return sorted({str(group) for _, _, group in self._images if group is not None})

    @property
    def rows(self) -> int:
        """How many there are, measured or not."""
        return len(self._images) * len(self.reading.classifiers)

    @property
    def fraction(self) -> int:
        """Bits of the fraction that real numbers keep."""
        return 10 if self.rows <= MANY else 7

    def spread(self, spec: str | None, column: str, missing: float = np.nan) -> NDArray:
        """A column of a probe with shape (images, classifiers); `missing` where nothing was measured."""
        names = [judged.name for judged in self.reading.classifiers]
        found = np.full((len(self._images), len(names)), missing, dtype=float)
        for k, name in enumerate(names):
            columns = self.reading.columns(spec, name) if spec else {}
            if columns:
                places = self._placed(spec, name, columns)
                known = places >= 0
                found[places[known], k] = np.asarray(columns[column], dtype=float)[known]
        return found

    def _placed(
        self, spec: str | None, name: str, columns: Mapping[str, NDArray]
    ) -> NDArray[np.int64]:
        """The place of the image of each measurement, -1 where the run does not describe it."""
        key = (spec, name)
        if key not in self._seen:
            ids = columns["id"].tolist()
            # Finished probes were asked about the same images in the same order.
            known = next((placed for other, placed in self._seen.values() if other == ids), None)
            if known is None:
                known = np.array([self.places.get(i, -1) for i in ids], dtype=np.int64)
            self._seen[key] = (ids, known)
        return self._seen[key][1]

    @cached_property
    def _seen(self) -> dict[tuple[str | None, str], tuple[list[str], NDArray[np.int64]]]:
        return {}

    @cached_property
    def _before(self) -> NDArray:
        return self.spread(self.reading.standard, "prediction")

    def outcomes(self, spec: str) -> NDArray[np.uint8]:
        """FOOLED, WITHSTOOD, WRONG or UNASKED under an adversarial probe, with shape (images, classifiers)."""
        success, radius = self.spread(spec, "success"), self.spread(spec, "radius")
        before = self._before
        wrong = np.where(np.isnan(before), radius == 0, before != self.labels[:, None])
        found = np.where(wrong, WRONG, np.where(success == 1, FOOLED, WITHSTOOD))
        return np.where(np.isnan(success), UNASKED, found).astype(np.uint8)

    def proximity(self) -> NDArray:
        """Mean L2 distance to the counterfactuals of other classes; NaN where an image has none."""
        drawn = next(iter(self.reading.counterfactuals), None)
        found = self.spread(drawn.spec if drawn else None, "proximity")
        # A fact about the image, whichever classifier was asked.
        return np.fmin.reduce(found, axis=1, initial=np.nan)

    def columns(self) -> dict[str, Any]:
        """Everything for the page: `pack`ed columns by name.

        Real numbers are `halves`, radii in units of their threat's own. Predictions are written as their difference
        from the label modulo 65536, most of which are 0; counterfactuals as how many were made and followed.
        """
        reading, standard = self.reading, self.reading.standard
        drawn = next(iter(reading.counterfactuals), None)
        drawn = drawn.spec if drawn else None
        made, share = self.spread(drawn, "counterfactuals"), self.spread(drawn, "accuracy")
        sure = np.rint(254 * self.spread(standard, "confidence"))
        groups = {name: place for place, name in enumerate(self.groups)}
        group = [MISSING if g is None else groups[str(g)] for _, _, g in self._images]
        return {
            "id": pack_texts([str(key) for key, _, _ in self._images]),
            "label": pack(self.labels),
            "group": pack(np.array(group, dtype=np.uint16)),
            "proximity": self._real(self.proximity()),
            "prediction": self._beside_labels(self._before),
            "confidence": pack(np.where(np.isnan(sure), UNSURE, sure).astype(np.uint8)),
            "margin": self._real(self.spread(standard, "margin")),
            "made": pack(_whole(np.fmax.reduce(made, axis=1, initial=0))),
            "followed": pack(_whole(np.rint(made * share))),
            "threats": [
                {
                    "outcome": pack(self.outcomes(under.spec)),
                    "radius": self._real(self.spread(under.spec, "radius") / under.threat.radius),
                    "prediction": self._beside_labels(
                        self.spread(under.spec, "adversarial_prediction")
                    ),
                }
                for under in reading.threats
            ],
        }

    def _real(self, values: NDArray) -> str:
        return pack(halves(values, self.fraction))

    def _beside_labels(self, predictions: NDArray) -> str:
        return pack(_whole(predictions) - self.labels[:, None])


def _whole(values: NDArray) -> NDArray[np.uint16]:
    """Whole numbers of 16 bits, `MISSING` for NaN."""
    return np.where(np.isnan(values), MISSING, values).astype(np.uint16)


def _natural(key: str) -> str:
    """A key that orders numbers inside names by their size."""
    return re.sub("[0-9]+", lambda digits: digits[0].lstrip("0").rjust(20, "0"), key)
