"""Does a change within the threat fool the classifier, and how small a change does?

First `MinimumNorm` looks for the smallest change of each image, without a bound on its size; images it fools only
beyond the threat's radius are then attacked within the threat by `WorstCase`. An image counts as fooled when either
succeeds, and `radius` is the smaller of the two distances, so that the robustness curve passes through the verdict:

    robust accuracy at r = share of images with radius > r,    mean radius = area under that curve,

a misclassified image counting with radius 0.

With `budget="standard"` the order is turned round, and `WorstCase` spends AutoAttack's standard schedule on every image
first; the share of images that this schedule left is a metric of its own, to be quoted.

Every attack errs on one side: it can miss a change that exists. Robust accuracy is an upper bound.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from equipoise.attacks import MinimumNorm, WorstCase
from equipoise.attacks.worst_case import Budget
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
        steps: gradient steps of `MinimumNorm`.
        budget: of `WorstCase`: "adaptive" or "standard".
    """

    threat: Threat
    steps: int = 50
    budget: Budget = "adaptive"

    name: ClassVar[str] = "adversarial"
    types: ClassVar[Mapping[str, str]] = {
        "success": "BOOLEAN",
        "distance": "FLOAT",
        "radius": "FLOAT",
        "broken_by": "VARCHAR",
        "margin": "FLOAT",
        "adversarial_prediction": "INTEGER",
        "forwards": "INTEGER",
        "backwards": "INTEGER",
        "picture": "BLOB",
        "change": "BLOB",
        "amplification": "FLOAT",
    }

    def __str__(self) -> str:
        given = {
            "steps": self.steps if self.steps != type(self).steps else None,
            "budget": self.budget if self.budget != type(self).budget else None,
        }
        options = "&".join(f"{key}={value}" for key, value in given.items() if value is not None)
        return f"{self.name}:{self.threat}" + (f"?{options}" if options else "")

    def measure(
        self, classifier: Classifier, batch: Batch, *, seed: int, pictured: Sequence[bool]
    ) -> Answers:
        images, labels, threat = batch.images, batch.labels, self.threat
        widest = replace(threat, radius=_diameter(threat.norm, images[0].numel()))
        least = MinimumNorm(steps=self.steps)(
            classifier, images, labels, widest, seed=seed, ids=batch.ids
        )
        near = least.distance <= threat.radius
        # The schedule that is quoted is asked about every image.
        rows = (~near if self.budget == "adaptive" else least.distance > 0).nonzero().squeeze(1)
        within = WorstCase(budget=self.budget)(
            classifier,
            images[rows],
            labels[rows],
            threat,
            seed=seed,
            ids=[batch.ids[row] for row in rows.tolist()],
        )
        forwards, backwards = least.forwards.clone(), least.backwards.clone()
        forwards[rows] += within.forwards
        backwards[rows] += within.backwards
        broken_by = np.array(least.broken_by, dtype=object)
        broken_by[(~near).cpu().numpy()] = ""
        # Beyond the threat the nearest image found is of no use as a picture of the threat; the attempt within it is.
        adversarial, radius, margin = (
            part.clone() for part in (least.images, least.distance, least.margin)
        )
        for k, row in enumerate(rows.tolist()):
            found = bool(within.success[k])
            if found:
                broken_by[row] = within.broken_by[k]
            if found and within.distance[k] < radius[row]:
                radius[row] = within.distance[k]
            if radius[row] == within.distance[k] or not near[row]:
                adversarial[row], margin[row] = within.images[k], within.margin[k]
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
                "broken_by": broken_by,
                "margin": margin.cpu().numpy(),
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
        robust = ~columns["success"].astype(bool)
        found = [
            Metric(f"robust accuracy at {self.threat}", robust, "share"),
            Metric(f"mean {self.threat.norm} radius", columns["radius"], "mean", unit="distance"),
        ]
        if self.budget == "standard":
            quoted = robust | (columns["broken_by"] == MinimumNorm.__name__)
            name = f"robust accuracy at {self.threat} by AutoAttack's schedule"
            found.append(Metric(name, quoted, "share"))
        return found


def _diameter(norm: Norm, pixels: int) -> float:
    """The largest distance between two images in [0, 1] with that many pixels."""
    return {Norm.L1: float(pixels), Norm.L2: math.sqrt(pixels), Norm.LINF: 1.0}[norm]


def _pictures(clean: Tensor, adversarial: Tensor) -> tuple[bytes, bytes, float]:
    """The adversarial image and the change, amplified to fill the grey levels around mid-grey, with the factor."""
    change = adversarial - clean
    largest = change.abs().max().item()
    factor = 0.5 / largest if largest > 0 else 1.0
    return encode_png(adversarial), encode_png((0.5 + factor * change).clamp(0, 1)), factor
