"""What a call of a network costs on this device, by how many images are in it."""

import statistics
from collections.abc import Callable, Mapping

import torch

from equipoise.classifiers import Classifier
from equipoise.cost.extrapolation import CallCost
from equipoise.cost.pool import Pool
from equipoise.devices import enough_threads
from equipoise.padding import ROWS

__all__ = ["Prices"]


class Prices:
    """Prices of the calls of classifiers, each measured when it is first asked for.

    Arguments:
        classifiers: by name.
        pool: of images to show them.
        width: images in the widest calls to come.
        device: where.
        seconds: how long the calls of one classifier and width may take, about.
        clock: what seconds are.

    Attributes:
        widest: images in the widest call so far.
    """

    def __init__(
        self,
        classifiers: Mapping[str, Classifier],
        pool: Pool,
        *,
        width: int,
        device: torch.device,
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.classifiers, self.pool, self.width = classifiers, pool, width
        self.device, self.seconds, self.clock = device, seconds, clock
        self.widest = 0
        self._known: dict[str, CallCost] = {}

    def of(self, name: str) -> CallCost:
        """What calls of a classifier cost."""
        if name not in self._known:
            classifier = self.classifiers[name]
            with enough_threads(classifier, self._some(self.width)):
                self._known[name] = self._price(classifier)
        return self._known[name]

    def _some(self, width: int) -> torch.Tensor:
        self.pool.fill(width)
        rows = range(min(width, len(self.pool)))
        images = torch.stack([self.pool[row].image for row in rows]).to(self.device)
        return images[torch.arange(width) % len(images)]

    def _price(self, classifier: Classifier) -> CallCost:
        widths = sorted({ROWS, 4 * ROWS, self.width} - set(range(ROWS)))
        known: list[int] = []
        prices: list[tuple[float, float]] = []
        for w in widths:
            if known and sum(prices[-1]) * w / known[-1] > self.seconds:
                break
            known.append(w)
            prices.append(self._call(classifier, self._some(w)))
        self.widest = max(self.widest, known[-1])
        forward, both = zip(*prices, strict=True)
        return CallCost(known, forward, both)

    def _call(self, classifier: Classifier, images: torch.Tensor) -> tuple[float, float]:
        """Median seconds of a call, and of one with the way back."""
        taken: list[tuple[float, float]] = []
        began = self.clock()
        while len(taken) < 2 or (len(taken) < 6 and self.clock() - began < self.seconds):
            marks = [self._now()]
            with torch.no_grad():
                classifier.logits(images)
            marks.append(self._now())
            x = images.clone().requires_grad_(True)
            logits = classifier.logits(x)
            if logits.requires_grad:
                torch.autograd.grad(logits.logsumexp(1).sum(), x)
            marks.append(self._now())
            taken.append((marks[1] - marks[0], marks[2] - marks[1]))
            if sum(taken[0]) > self.seconds:
                return taken[0]
        # The first call warms up.
        forward, both = (statistics.median(part) for part in zip(*taken[1:], strict=True))
        return forward, both

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()
