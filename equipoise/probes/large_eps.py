"""Where does the classifier's loss lead, far beyond any radius it was trained for: to an image of another class?

From the clean image x of class y, steps of steepest ascent on the cross-entropy, each followed by projection on the
threat's ball and [0, 1], end at x'. As in the paper: untargeted, no random start, one radius for all classifiers, and
the last iterate, whether it is the worst or not. The step of 2.5 radius / steps and 100 steps are ours; the paper's
authors took 40 steps of 1.5 at the L2 radius 40 on ImageNet.

The paper shows the images, and people see that those of robust classifiers look like the class they are taken for. A
judge, another classifier, can be asked instead, which is our addition:

    agrees        the judge reads x' as the attacked classifier does; asked where that reads x as y and x' not, `moved`
    noise_agrees  the judge reads a random image so too that is as far from x: the control for distance alone

Images made to fool one classifier fool others, too, so that a judge may agree without seeing any class; noise does not
control for that. Compare classifiers at a radius where they differ, under a judge of other training.

The way there: clip(x + t (x' - x), 0, 1) for t = 0, 1/20, ..., 1, the paper's straight line in pixels.

References:
    Robustness may be at odds with accuracy (Tsipras et al., 2019), https://arxiv.org/abs/1805.12152
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.attacks import Search
from equipoise.attacks.losses import log_odds
from equipoise.classifiers import Classifier, load_classifier
from equipoise.errors import EquipoiseError
from equipoise.images import Batch, encode_png
from equipoise.norms import Threat
from equipoise.probes.metric import Metric
from equipoise.probes.probe import Answers, Columns, Probe, Request

__all__ = ["FRAMES", "POINTS", "LargeEps"]

POINTS = 21
"""Of the way from an image to where the loss leads."""

FRAMES = 6
"""Of these that a picture shows, evenly spread."""

FAR = 1e4
"""How far out a random direction is followed before it is brought back to its distance: beyond [0, 1] everywhere."""


@dataclass(frozen=True)
class LargeEps(Probe):
    """Where ascent on the loss ends at a large radius, what a judge sees there, and the straight way to it.

    Arguments:
        threat: the norm, and a radius far above that of training.
        steps: of gradient ascent.
        judge: spec of the classifier that judges; none when empty.
    """

    threat: Threat
    steps: int = 100
    judge: str = ""

    name: ClassVar[str] = "large_eps"
    types: ClassVar[Mapping[str, str]] = {
        "prediction": "INTEGER",
        "moved": "BOOLEAN",
        "confidence": "FLOAT",
        "distance": "FLOAT",
        "judged": "INTEGER",
        "agrees": "BOOLEAN",
        "noise_agrees": "BOOLEAN",
        "judge_before": "BOOLEAN",
        "own_path": "FLOAT[]",
        "judge_path": "FLOAT[]",
        "forwards": "INTEGER",
        "backwards": "INTEGER",
        "picture": "BLOB",
    }

    def __str__(self) -> str:
        options = [f"steps={self.steps}"] if self.steps != type(self).steps else []
        # What means something else in options, such as & or +, is written as %26 or %2B.
        options += [f"judge={quote(self.judge, safe='/:')}"] if self.judge else []
        return f"{self.name}:{self.threat}" + (f"?{'&'.join(options)}" if options else "")

    @cached_property
    def _judge(self) -> Classifier | None:
        return load_classifier(self.judge) if self.judge else None

    @cached_property
    def _fingerprint(self) -> str:
        return self._judge.fingerprint() if self._judge else ""

    def nature(self) -> str:
        return repr(replace(self, judge=self._fingerprint))

    def facts(self) -> dict[str, Any]:
        return {"judge": {"name": self._judge.name, "spec": self.judge}} if self._judge else {}

    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        images, labels = batch.images, batch.labels
        search = Search(
            net=classifier.logits,
            images=images,
            labels=labels,
            threat=self.threat,
            stream_names=[(request.seed, name) for name in batch.ids],
            stage=type(self).__name__,
            width=len(images),
        )
        rows = torch.arange(len(images), device=images.device)
        before = search.logits(rows, images)
        judge = None if self._judge is None else self._judge.to(images.device)
        if judge is not None:
            self._check(judge, classifier, images, classes=before.shape[1])
        end = self._ascend(search, rows)
        after = [search.logits(rows, _between(images, end, k)) for k in range(1, POINTS)]
        prediction = after[-1].argmax(1)
        moved = (before.argmax(1) == labels) & (prediction != labels)
        own_path = _probability([before, *after], prediction)
        distance = self.threat.distance(images, end)
        nothing: NDArray = np.full(len(images), None, dtype=object)
        columns = {
            "prediction": prediction.cpu().numpy(),
            "moved": moved.cpu().numpy(),
            "confidence": own_path[:, -1].cpu().numpy(),
            "distance": distance.cpu().numpy(),
            **dict.fromkeys(("judged", "agrees", "noise_agrees", "judge_before"), nothing),
            "own_path": _lists(own_path),
            "judge_path": nothing,
            "forwards": search.forwards.cpu().numpy(),
            "backwards": search.backwards.cpu().numpy(),
        }
        if judge is not None:
            with torch.no_grad():
                seen = [judge(_between(images, end, k)).float() for k in range(POINTS)]
                noise = judge(_random(search, rows, distance)).argmax(1)
            judged = seen[-1].argmax(1)
            columns |= {
                "judged": judged.cpu().numpy(),
                "agrees": _where(moved, judged == prediction),
                "noise_agrees": _where(moved, noise == prediction),
                "judge_before": (seen[0].argmax(1) == labels).cpu().numpy(),
                "judge_path": _lists(_probability(seen, prediction)),
            }
        pictures = [
            _strip(start, last) if flag else None
            for start, last, flag in zip(images, end, request.pictured, strict=True)
        ]
        columns["picture"] = np.array(pictures, dtype=object)
        return Answers(columns, notes=tuple(dict.fromkeys(search.notes)))

    @torch.no_grad()
    def _check(
        self, judge: Classifier, classifier: Classifier, images: Tensor, *, classes: int
    ) -> None:
        """Refuses a judge of other classes, before the long ascent."""
        theirs = judge(images[:1]).shape[1]
        if theirs != classes:
            raise EquipoiseError(
                f"Cannot judge the classifier {classifier.name!r} by {self.judge!r}, which has {theirs} classes, not "
                f"{classes}. Give a judge of the same classes."
            )

    def _ascend(self, search: Search, rows: Tensor) -> Tensor:
        """x', on which the classifier may answer rightly in the end."""
        x, labels = search.images, search.labels
        # Cross-entropy rises as the log-odds do, and steps are normalised: only underflow differs.
        for _ in range(self.steps):
            *_, gradient = search.gradient(rows, x, lambda z: log_odds(z, labels))
            size = 2.5 * self.threat.radius / self.steps
            x = search.inside(rows, self.threat.ascend(x, gradient, size))
        return x

    def metrics(self, columns: Columns) -> list[Metric]:
        if not self.judge:
            return []
        agrees, noise = (
            np.array([bool(value) for value in columns[name] if value is not None], dtype=bool)
            for name in ("agrees", "noise_agrees")
        )
        # The last part of its spec names the judge as well as loading it would.
        by = f"at {self.threat} read as their class by {self.judge.rstrip('/').rpartition('/')[2]}"
        return [
            Metric(f"examples {by}", agrees, "share", better="neither"),
            Metric(f"noise {by}", noise, "share", better="neither"),
        ]


def _between(images: Tensor, end: Tensor, point: int) -> Tensor:
    """Point 0, ..., POINTS - 1 of the way, the ends being the images themselves."""
    return images.lerp(end, point / (POINTS - 1)).clamp(0, 1)


def _random(search: Search, rows: Tensor, distance: Tensor) -> Tensor:
    """Images in random directions from the clean ones, at the given distances or in the corners of [0, 1] that lie that
    way, when they are nearer."""
    noise = [
        torch.randn(search.images.shape[1:], generator=generator)
        for generator in search.generators(rows, "noise")
    ]
    far = FAR * torch.stack(noise).to(search.images)
    return search.threat.nearest(search.images, far, distance)


def _probability(logits: Sequence[Tensor], prediction: Tensor) -> Tensor:
    """The probability of each image's `prediction` along its way, with shape (B, POINTS), from POINTS times (B, K)."""
    return torch.cat([z.softmax(1).gather(1, prediction[:, None]) for z in logits], 1)


def _where(asked: Tensor, values: Tensor) -> NDArray:
    """The values of the images that were asked about, None elsewhere."""
    column = values.cpu().numpy().astype(object)
    column[~asked.cpu().numpy()] = None
    return column


def _lists(paths: Tensor) -> NDArray:
    column: NDArray = np.empty(len(paths), dtype=object)
    column[:] = paths.tolist()
    return column


def _strip(start: Tensor, last: Tensor) -> bytes:
    """Frames of the way side by side."""
    points = range(0, POINTS, (POINTS - 1) // (FRAMES - 1))
    return encode_png(torch.cat([_between(start, last, k) for k in points], dim=2))
