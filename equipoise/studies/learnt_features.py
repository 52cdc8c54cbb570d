"""What is learnt from training sets that hold only robust, or only non-robust, features.

    robust           every image replaced by one that a robust classifier represents alike; labels kept
    non-robust       the same with a standard classifier
    random           images changed within the threat into what a standard classifier takes for a random other class,
                     which is the label
    deterministic    likewise for the next class
    real             the images as they are, for comparison

Standard training on each gives a classifier that is judged on real test images: as they are, and attacked.

References:
    Adversarial examples are not bugs, they are features (Ilyas et al., 2019), https://arxiv.org/abs/1905.02175
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equipoise.audit import Run, audit
from equipoise.audit.statistics import estimate
from equipoise.classifiers import Classifier, load_classifier
from equipoise.images import Images
from equipoise.norms import Threat
from equipoise.probes import Adversarial, Metric
from equipoise.training import Recipe, Standard, fit, match_features, relabel

__all__ = ["LearntFeatures", "learn_from_features"]

MEANINGS = {
    "robust": "other images, changed until a robust classifier represents them as it does these",
    "non-robust": "the same with the standard classifier",
    "random": "these images, changed within {changes} towards a random other class, which is the label",
    "deterministic": "the same towards the next class",
    "real": "the images themselves",
}


@dataclass(frozen=True)
class LearntFeatures:
    """An audit of the classifiers that learnt from each set, named like it.

    Attributes:
        run: with the standard probe and an adversarial one.
        threat: of the latter.
        changes: within which the sets "random" and "deterministic" were changed.
        visible: of each set which images a robust judge reads as the original's class, which is not always the label:
            where most are, what tells that class was not taken away.
    """

    run: Run
    threat: Threat
    changes: Threat
    visible: Mapping[str, NDArray]

    def right(self, name: str) -> NDArray:
        """Which test images what learnt from the set gets right."""
        return self.run.columns("standard", name)["correct"].astype(bool)

    def withstood(self, name: str) -> NDArray:
        """Which of them it still gets right under attack."""
        return ~self.run.columns(str(Adversarial(self.threat)), name)["success"].astype(bool)

    def exhibits(self) -> dict[str, list[dict[str, Any]]]:
        """A row for each set."""
        rows = []
        for name, meaning in MEANINGS.items():
            row: dict[str, Any] = {"set": name, "attacked": str(self.threat)}
            row["what"] = meaning.format(changes=self.changes)
            for key, values in (
                ("visible", self.visible[name]),
                ("standard", self.right(name)),
                ("robust", self.withstood(name)),
            ):
                found = estimate(Metric(key, values, "share"))
                row |= {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}
            rows.append(row)
        return {"features": rows}


def learn_from_features(
    train: Images,
    test: Images,
    *,
    standard: Classifier,
    robust: Classifier,
    judge: str,
    changes: Threat,
    threat: Threat,
    recipe: Recipe,
    out: Path,
    seed: int,
    device: str,
) -> LearntFeatures:
    """Makes the four sets of the training images into `out`, trains on each, and audits what was learnt.

    Arguments:
        train: images the sets are made of.
        test: images to judge on.
        standard: the standard classifier.
        robust: a robust one.
        judge: spec of another robust classifier, that says what can still be seen in each set.
        changes: how far images of "random" and "deterministic" may go.
        threat: of the attack on what was learnt.
        recipe: of standard training, on every set.
        out: folder.
        seed: of the sets.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """
    common: dict[str, Any] = {"seed": seed, "device": device}
    makers: dict[str, Callable[[Path], Images]] = {
        "robust": lambda folder: match_features(train, robust, folder, **common),
        "non-robust": lambda folder: match_features(train, standard, folder, **common),
        "random": lambda folder: relabel(train, standard, folder, threat=changes, **common),
        "deterministic": lambda folder: relabel(
            train, standard, folder, threat=changes, targets="next", **common
        ),
        "real": lambda folder: train,
    }
    learnt, visible, eye = [], {}, load_classifier(judge)
    truth = {example.id: example.label for example in train}
    for name, make in makers.items():
        images = make(out / name / "images")
        accelerator = device.partition(":")[0]
        learner = fit(images, Standard(), recipe, out / name / "learner", accelerator=accelerator)
        learner.name = name
        learnt.append(learner)
        visible[name] = _seen(eye, images, truth)
    probes = ["standard", Adversarial(threat)]
    run = audit(learnt, test, probes, out / "audit", seed=seed, pictures=0, device=device)
    return LearntFeatures(run, threat, changes, visible)


@torch.no_grad()
def _seen(judge: Classifier, images: Images, truth: Mapping[str, int]) -> NDArray:
    """Which images the judge reads as the class of the original of the same id."""
    found = []
    for start in range(0, len(images), 500):
        batch = images.batch(range(start, min(start + 500, len(images))))
        read = judge(batch.images).argmax(1).tolist()
        found += [r == truth[name] for r, name in zip(read, batch.ids, strict=True)]
    return np.array(found)
