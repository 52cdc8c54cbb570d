"""Do images made to fool the audit's other classifiers fool this one, where direct attacks should do better?

For images of the audit's random sample, and each other classifier in turn, `equipoise.attacks.Transfer` starts from the
images within the threat that the other answers as wrongly as it can be made to. The direct verdict is the adversarial
probe's; an image that withstands it and falls here says that the classifier hides its gradients.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from equipoise.attacks import Transfer as TransferAttack
from equipoise.classifiers import Classifier
from equipoise.images import Batch
from equipoise.norms import Threat
from equipoise.probes.metric import Metric
from equipoise.probes.probe import Answers, Columns, Probe, Request

__all__ = ["Transfer"]


@dataclass(frozen=True)
class Transfer(Probe):
    """Which other classifier's adversarial images fool this one.

    Arguments:
        threat: which changes are allowed.
    """

    threat: Threat

    name: ClassVar[str] = "transfer"
    compares: ClassVar[bool] = True
    types: ClassVar[Mapping[str, str]] = {
        "fooled_by": "VARCHAR",
        "forwards": "INTEGER",
        "backwards": "INTEGER",
    }

    def __str__(self) -> str:
        return f"{self.name}:{self.threat}"

    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        sample = np.flatnonzero(request.examined)
        fooled_by = np.full(len(batch.ids), None, dtype=object)
        fooled_by[sample] = ""
        forwards, backwards = (np.zeros(len(batch.ids), dtype=np.int64) for _ in range(2))
        for name, other in request.others.items():
            rows = np.array([row for row in sample if not fooled_by[row]], dtype=np.int64)
            if not len(rows):
                break
            result = TransferAttack(surrogate=other)(
                classifier,
                batch.images[rows],
                batch.labels[rows],
                self.threat,
                seed=request.seed,
                ids=[batch.ids[row] for row in rows],
            )
            fooled_by[rows[result.success.cpu().numpy()]] = name
            forwards[rows] += result.forwards.cpu().numpy()
            backwards[rows] += result.backwards.cpu().numpy()
        return Answers({"fooled_by": fooled_by, "forwards": forwards, "backwards": backwards})

    def metrics(self, columns: Columns) -> list[Metric]:
        found = [name for name in columns["fooled_by"] if name is not None]
        stood = np.array([not name for name in found], dtype=bool)
        name = f"accuracy on others' adversarial images at {self.threat}"
        return [Metric(name, stood, "share", better="neither")]
