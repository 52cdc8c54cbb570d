"""What does the classifier say about the image as it is?

prediction = argmax z; confidence = the softmax probability of the prediction; margin = z_y - max_{j != y} z_j, positive
exactly when the prediction is right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from equipoise.attacks.losses import margin
from equipoise.classifiers import Classifier
from equipoise.images import Batch
from equipoise.probes.metric import Metric
from equipoise.probes.probe import Answers, Columns, Probe, Request

__all__ = ["Standard"]


@dataclass(frozen=True)
class Standard(Probe):
    """Prediction, confidence and margin on the clean image."""

    name: ClassVar[str] = "standard"
    types: ClassVar[Mapping[str, str]] = {
        "prediction": "INTEGER",
        "correct": "BOOLEAN",
        "confidence": "FLOAT",
        "margin": "FLOAT",
    }

    def __str__(self) -> str:
        return self.name

    @torch.no_grad()
    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        logits = classifier(batch.images).float()
        prediction = logits.argmax(1)
        return Answers(
            {
                "prediction": prediction.cpu().numpy(),
                "correct": (prediction == batch.labels).cpu().numpy(),
                "confidence": logits.softmax(1).amax(1).cpu().numpy(),
                "margin": -margin(logits, batch.labels).cpu().numpy(),
            }
        )

    def metrics(self, columns: Columns) -> list[Metric]:
        return [
            Metric("standard accuracy", columns["correct"], "share"),
            Metric("confidence", columns["confidence"], "mean", better="neither"),
        ]
