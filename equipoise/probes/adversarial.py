"""Does a change within the threat fool the classifier, and how small a change does?

First `MinimumNorm` looks for the smallest change of each image, without a bound on its size; images it fools only
beyond the threat's radius are then attacked within the threat by `WorstCase`. An image counts as fooled when either
succeeds, and `radius` is the smaller of the two distances, so that the robustness curve passes through the verdict:

    robust accuracy at r = share of images with radius > r,    mean radius = area under that curve,

a misclassified image counting with radius 0.

With `budget="standard"` the order is turned round, and `WorstCase` spends AutoAttack's standard schedule on every image
first; the share of images that this schedule left is a metric of its own, to be quoted. `BPDA` comes after it, where
gradients mislead.

Columns beside the verdict say how far it can be trusted:

    agreement    of gradients with small changes, for images that withstood (`equipoise.attacks.agreement`)
    steady       whether the classifier answers the same twice, about the image and about the adversarial one
    confirmed    success, for a random classifier the share of 20 further answers that are wrong
    doubled      for a random sample of images, success once `WorstCase` has been tried again twice as long

Every attack errs on one side: it can miss a change that exists. Robust accuracy is an upper bound.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from equipoise.attacks import BPDA, AttackResult, MinimumNorm, WorstCase
from equipoise.attacks.agreement import MISLEADING
from equipoise.attacks.worst_case import Budget
from equipoise.classifiers import Classifier
from equipoise.images import Batch, encode_png
from equipoise.norms import Norm, Threat
from equipoise.probes.metric import Metric
from equipoise.probes.probe import Answers, Columns, Probe, Request
from equipoise.probes.second_look import (
    DRAWS,
    attack_rows,
    attack_twice_as_long,
    fool_again,
    repeats,
)

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
    searches: ClassVar[bool] = True
    types: ClassVar[Mapping[str, str]] = {
        "success": "BOOLEAN",
        "distance": "FLOAT",
        "radius": "FLOAT",
        "broken_by": "VARCHAR",
        "margin": "FLOAT",
        "agreement": "FLOAT",
        "steady": "BOOLEAN",
        "confirmed": "FLOAT",
        "doubled": "BOOLEAN",
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

    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        images, labels, threat, seed = batch.images, batch.labels, self.threat, request.seed
        attack = WorstCase(budget=self.budget)
        widest = replace(threat, radius=_diameter(threat.norm, images[0].numel()))
        least = MinimumNorm(steps=self.steps)(
            classifier, images, labels, widest, seed=seed, ids=batch.ids
        )
        near = least.distance <= threat.radius
        # The schedule that is quoted is asked about every image.
        rows = (~near if self.budget == "adaptive" else least.distance > 0).nonzero().squeeze(1)
        within = attack_rows(attack, classifier, batch, rows, threat=threat, seed=seed)
        if self.budget == "standard":
            within = _with_bpda(within, classifier, batch, rows, threat=threat, seed=seed)
        best = _merge(least, within, rows, near)
        success = best.distance <= threat.radius
        steady = repeats(classifier, images, best.images)
        confirmed = success.float()
        confirmed[~steady] = fool_again(classifier, best.images[~steady], labels[~steady])
        forwards = best.forwards + torch.where(steady, 4, 4 + DRAWS)
        doubled = success.cpu().numpy().astype(object)
        doubled[~np.array(request.examined)] = None
        again = torch.tensor(request.examined, device=rows.device) & ~success
        again = again.nonzero().squeeze(1)
        longer = attack_twice_as_long(attack, classifier, batch, again, threat=threat, seed=seed)
        doubled[again.cpu().numpy()] = longer.success.cpu().numpy()
        forwards[again] += longer.forwards
        backwards = best.backwards.index_add(0, again, longer.backwards)
        with torch.no_grad():
            prediction = classifier(best.images).argmax(1)
        pictures = [
            _pictures(a, b) if p else (None, None, None)
            for a, b, p in zip(images, best.images, request.pictured, strict=True)
        ]
        picture, change, amplification = (
            np.array(part, dtype=object) for part in zip(*pictures, strict=True)
        )
        found = {
            "success": success,
            "distance": threat.distance(images, best.images),
            "radius": best.distance,
            "margin": best.margin,
            "agreement": best.agreement,
            "steady": steady,
            "confirmed": confirmed,
            "adversarial_prediction": prediction,
            "forwards": forwards + 1,
            "backwards": backwards,
        }
        return Answers(
            {name: column.cpu().numpy() for name, column in found.items()}
            | {
                "broken_by": np.array(best.broken_by, dtype=object),
                "doubled": doubled,
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
            ours = [MinimumNorm.__name__, BPDA.__name__]
            quoted = robust | np.isin(columns["broken_by"].astype(str), ours)
            name = f"robust accuracy at {self.threat} by AutoAttack's schedule"
            found.append(Metric(name, quoted, "share"))
        return found


def _with_bpda(
    within: AttackResult,
    classifier: Classifier,
    batch: Batch,
    rows: Tensor,
    *,
    threat: Threat,
    seed: int,
) -> AttackResult:
    """AutoAttack's schedule and, where gradients mislead, `BPDA` after it, as the adaptive budget has it inside."""
    misled = (within.agreement < MISLEADING).nonzero().squeeze(1)
    found = attack_rows(BPDA(), classifier, batch, rows[misled], threat=threat, seed=seed)
    broken_by, won = list(within.broken_by), misled[found.success]
    for row in won.tolist():
        broken_by[row] = BPDA.__name__
    return replace(
        within,
        images=within.images.index_copy(0, won, found.images[found.success]),
        success=within.success.index_fill(0, won, True),
        distance=within.distance.index_copy(0, won, found.distance[found.success]),
        margin=within.margin.index_copy(0, won, found.margin[found.success]),
        broken_by=tuple(broken_by),
        forwards=within.forwards.index_add(0, misled, found.forwards),
        backwards=within.backwards.index_add(0, misled, found.backwards),
        notes=(*within.notes, *found.notes),
    )


def _merge(least: AttackResult, within: AttackResult, rows: Tensor, near: Tensor) -> AttackResult:
    """Both attacks as one: the smaller distance, and the image that belongs to the verdict about the threat.

    Arguments:
        least: of `MinimumNorm`, about every image.
        within: of `WorstCase`, about `rows`.
        near: which images `least` fooled within the threat.
    """
    images, distance, margin = (
        part.clone() for part in (least.images, least.distance, least.margin)
    )
    agreement = torch.full_like(margin, torch.nan)
    broken_by = [b if n else "" for b, n in zip(least.broken_by, near.tolist(), strict=True)]
    for k, row in enumerate(rows.tolist()):
        agreement[row] = within.agreement[k]
        found = bool(within.success[k])
        if found:
            broken_by[row] = within.broken_by[k]
        if found and within.distance[k] < distance[row]:
            distance[row] = within.distance[k]
        # Beyond the threat the nearest image found is no picture of the threat; the attempt within it is.
        if distance[row] == within.distance[k] or not near[row]:
            images[row], margin[row] = within.images[k], within.margin[k]
    return AttackResult(
        images=images,
        success=near.index_put((rows,), near[rows] | within.success),
        distance=distance,
        margin=margin,
        broken_by=tuple(broken_by),
        agreement=agreement,
        forwards=least.forwards.index_add(0, rows, within.forwards),
        backwards=least.backwards.index_add(0, rows, within.backwards),
    )


def _diameter(norm: Norm, pixels: int) -> float:
    """The largest distance between two images in [0, 1] with that many pixels."""
    return {Norm.L1: float(pixels), Norm.L2: math.sqrt(pixels), Norm.LINF: 1.0}[norm]


def _pictures(clean: Tensor, adversarial: Tensor) -> tuple[bytes, bytes, float]:
    """The adversarial image and the change, amplified to fill the grey levels around mid-grey, with the factor."""
    change = adversarial - clean
    largest = change.abs().max().item()
    factor = 0.5 / largest if largest > 0 else 1.0
    return encode_png(adversarial), encode_png((0.5 + factor * change).clamp(0, 1)), factor
