"""Does a change within the threat fool the classifier, and how small a change does?

First `MinimumNorm` looks for the smallest change of each image, without a bound on its size; images it fools beyond the
threat's radius are then attacked within the threat by `APGD`. An image counts as fooled when either succeeds, and
`radius` is the smaller of the two distances, so that the robustness curve passes through the verdict:

    robust accuracy at r = share of images with radius > r,    mean radius = area under that curve,

a misclassified image counting with radius 0.

Every attack errs on one side: it can miss a change that exists. Robust accuracy is an upper bound.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from equipoise.attacks import APGD, MinimumNorm
from equipoise.classifiers import Classifier
from equipoise.images import Batch, encode_png
from equipoise.norms import Norm, Threat
from equipoise.probes.probe import Answers, Columns, Metric, Probe

__all__ = ["Adversarial"]


@dataclass(frozen=True)
class Adversarial(Probe):
    """Success, distance, passes and smallest radius under one threat.

    Arguments:
        threat: which changes are allowed.
        steps: gradient steps of each of the two attacks.
    """

    threat: Threat
    steps: int = 50

    name: ClassVar[str] = "adversarial"
    types: ClassVar[Mapping[str, str]] = {
        "success": "BOOLEAN",
        "distance": "FLOAT",
        "radius": "FLOAT",
        "adversarial_prediction": "INTEGER",
        "forwards": "INTEGER",
        "backwards": "INTEGER",
        "picture": "BLOB",
        "change": "BLOB",
        "amplification": "FLOAT",
    }

    def __str__(self) -> str:
        default = self.steps == type(self).steps
        return f"{self.name}:{self.threat}" + ("" if default else f"?steps={self.steps}")

    def measure(
        self, classifier: Classifier, batch: Batch, *, seed: int, pictured: Sequence[bool]
    ) -> Answers:
        images, labels, threat = batch.images, batch.labels, self.threat
        widest = replace(threat, radius=_diameter(threat.norm, images[0].numel()))
        least = MinimumNorm(steps=self.steps)(
            classifier, images, labels, widest, seed=seed, ids=batch.ids
        )
        adversarial, radius = least.images.clone(), least.distance.clone()
        forwards, backwards = least.forwards.clone(), least.backwards.clone()
        rows = (radius > threat.radius).nonzero().squeeze(1)
        ids = [batch.ids[row] for row in rows.tolist()]
        within = APGD(steps=self.steps)(
            classifier, images[rows], labels[rows], threat, seed=seed, ids=ids
        )
        forwards[rows] += within.forwards
        backwards[rows] += within.backwards
        # Beyond the threat the nearest image found is of no use as a picture of the threat; the attempt within it is.
        adversarial[rows] = within.images
        radius[rows] = torch.where(within.success, within.distance, radius[rows])
        with torch.no_grad():
            prediction = classifier(adversarial).argmax(1)
        forwards += 1
        pictures = [
            _pictures(a, b) if p else (None, None, None)
            for a, b, p in zip(images, adversarial, pictured, strict=True)
        ]
        picture, change, amplification = (
            np.array(part, dtype=object) for part in zip(*pictures, strict=True)
        )
        return Answers(
            {
                "success": (radius <= threat.radius).cpu().numpy(),
                "distance": threat.distance(images, adversarial).cpu().numpy(),
                "radius": radius.cpu().numpy(),
                "adversarial_prediction": prediction.cpu().numpy(),
                "forwards": forwards.cpu().numpy(),
                "backwards": backwards.cpu().numpy(),
                "picture": picture,
                "change": change,
                "amplification": amplification,
            },
            notes=(*least.notes, *within.notes),
        )

    def metrics(self, columns: Columns) -> list[Metric]:
        return [
            Metric(f"robust accuracy at {self.threat}", ~columns["success"].astype(bool), "share"),
            Metric(f"mean {self.threat.norm} radius", columns["radius"], "mean", unit="distance"),
        ]


def _diameter(norm: Norm, pixels: int) -> float:
    """The largest distance between two images in [0, 1] with that many pixels."""
    return {Norm.L1: float(pixels), Norm.L2: math.sqrt(pixels), Norm.LINF: 1.0}[norm]


def _pictures(clean: Tensor, adversarial: Tensor) -> tuple[bytes, bytes, float]:
    """The adversarial image and the change, amplified to fill the grey levels around mid-grey, with the factor."""
    change = adversarial - clean
    largest = change.abs().max().item()
    factor = 0.5 / largest if largest > 0 else 1.0
    return encode_png(adversarial), encode_png((0.5 + factor * change).clamp(0, 1)), factor
