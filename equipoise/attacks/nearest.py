"""The nearest misclassified point of each row so far, which attacks keep that look for the smallest change."""

import torch
from torch import Tensor

from equipoise.attacks.attack import Search
from equipoise.attacks.losses import margin

__all__ = ["Nearest"]


class Nearest:
    """The nearest misclassified points `x` of some rows of a search, inside the threat's radius or not.

    `logits` are the classifier's there, and `distance` is how far they lie from the `clean` images; until a row's first
    point, `x` is its clean image and the distance inf.

    Arguments:
        rows: n of them.
    """

    def __init__(self, search: Search, rows: Tensor) -> None:
        self.search, self.rows, self.clean = search, rows, search.images[rows]
        self.x, self.logits = self.clean.clone(), search.clean_logits[rows]
        self.distance = torch.full((len(rows),), torch.inf, device=rows.device)

    def offer(self, x: Tensor, logits: Tensor) -> Tensor:
        """Keeps `x` where it is misclassified and nearer; returns where it is misclassified, with shape (n,)."""
        distance = self.search.threat.distance(self.clean, x)
        nearer = self._fooled(logits) & (distance < self.distance)
        logits = self.search.confirm(self.rows, x, logits, nearer)
        fooled = self._fooled(logits)
        nearer &= fooled
        self.x[nearer], self.logits[nearer] = x[nearer], logits[nearer]
        self.distance = torch.where(nearer, distance, self.distance)
        return fooled

    def _fooled(self, logits: Tensor) -> Tensor:
        # Logits that are no numbers are no answer.
        return (margin(logits, self.search.labels[self.rows]) > 0) & logits.isfinite().all(1)
