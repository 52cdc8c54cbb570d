"""Drawing the counterfactuals of a few originals, with their controls, as the columns that a set stores.

For each original and each class c there are `per_class` counterfactuals. Each is the best of `best_of` draws: first
those that the oracles read as c, among them the nearest or the one they are surest of. Draw j of counterfactual k has
the number k * best_of + j, and all classes of an original share its noise. Nothing is dropped: a counterfactual that
the oracles read as something else says so in `valid` and `reason`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.counterfactuals.oracle import Opinion, ask
from equipoise.counterfactuals.sampler import Sampler
from equipoise.images import Batch, eight_bit, encode_png
from equipoise.streams import content_ids, stream

__all__ = ["TYPES", "VISIBLE", "Drawing"]

VISIBLE = 8 / 255
"""A pixel counts as changed when any of its channels moved by more than this, in [0, 1]: our choice."""

TYPES = {
    "image": "STRUCT(bytes BLOB, path VARCHAR)",
    "label": "INTEGER",
    "id": "VARCHAR",
    "group": "VARCHAR",
    "source_id": "VARCHAR",
    "source_label": "INTEGER",
    "source_digest": "VARCHAR",
    "target": "INTEGER",
    "number": "INTEGER",
    "seed": "BIGINT",
    "draw": "INTEGER",
    "l1": "FLOAT",
    "l2": "FLOAT",
    "linf": "FLOAT",
    "changed": "FLOAT",
    "valid": "BOOLEAN",
    "reason": "VARCHAR",
    "oracle": "INTEGER",
    "confidence": "FLOAT",
}
"""The SQL type of each column of a set."""


@dataclass(frozen=True)
class _Made:
    """N images made from originals.

    Attributes:
        images: 8-bit, in [0, 1], with shape (N, C, H, W).
        originals: the same of the images they were made from.
        ids: of the originals.
        digests: of the originals' pixels, so that another image of the same name is told apart.
        source: labels of the originals, with shape (N,).
        target: the class each was made for, or stands beside.
        label: the class each should be read as.
        number: which of its original and class.
        draw: number of the draw that it is.
        opinion: what the oracles see, when there are any.
    """

    images: Tensor
    originals: Tensor
    ids: list[str]
    digests: list[str]
    source: Tensor
    target: Tensor
    label: Tensor
    number: Tensor
    draw: Tensor
    opinion: Opinion | None

    def of(self, rows: Tensor) -> "_Made":
        parts = {
            name: value[rows] for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        opinion = self.opinion
        if opinion is not None:
            opinion = Opinion(opinion.prediction[rows], opinion.probability[rows])
        ids, digests = ([names[i] for i in rows.tolist()] for names in (self.ids, self.digests))
        return replace(self, **parts, ids=ids, digests=digests, opinion=opinion)


@dataclass(frozen=True)
class Drawing:
    """How counterfactuals are drawn and judged.

    Arguments:
        sampler: of the draws.
        oracles: classifiers that say what they see.
        classes: names of the labels.
        per_class: counterfactuals of each original and class.
        best_of: draws of which each is the best.
        by: what makes a draw the best among those the oracles accept.
        targets: how many other classes, a random choice for each original.
        seed: of the streams.
    """

    sampler: Sampler
    oracles: tuple[Classifier, ...]
    classes: tuple[str, ...]
    per_class: int
    best_of: int
    by: Literal["proximity", "confidence"]
    targets: int
    seed: int

    def __call__(
        self, originals: Batch, device: torch.device, batch: int
    ) -> dict[str, dict[str, NDArray]]:
        """The columns of the splits "test" (other classes), "same" (the original's own) and "noise"."""
        asked = [
            (row, target, number)
            for row in range(len(originals.ids))
            for target in self._targets(originals, row)
            for number in range(self.per_class)
        ]
        row, target, number = torch.tensor(asked, dtype=torch.int64).reshape(-1, 3).unbind(1)
        repeat = self.best_of
        again = torch.arange(len(row)).repeat_interleave(repeat)
        draw = number[again] * repeat + torch.arange(len(again)) % repeat
        ids = [originals.ids[i] for i in row[again].tolist()]
        images, digests = originals.images[row[again]], list(content_ids(originals.images))
        parts = [
            self.sampler(
                images[part].to(device),
                target[again[part]].to(device),
                seed=self.seed,
                ids=[ids[i] for i in part.tolist()],
                draws=draw[part].tolist(),
            ).cpu()
            for part in torch.arange(len(again)).split(batch)
        ]
        made = _Made(
            images=eight_bit(torch.cat(parts)) if parts else images,
            originals=eight_bit(images),
            ids=ids,
            digests=[digests[i] for i in row[again].tolist()],
            source=originals.labels[row[again]],
            target=target[again],
            label=target[again],
            number=number[again],
            draw=draw,
            opinion=None,
        )
        made = self._best(replace(made, opinion=self._ask(made.images, device, batch)))
        other = (made.target != made.source).nonzero().squeeze(1)
        same = (made.target == made.source).nonzero().squeeze(1)
        noise = self._noise(made.of(other), device, batch)
        return {
            "test": self._columns(made.of(other)),
            "same": self._columns(made.of(same)),
            "noise": self._columns(noise),
        }

    def _targets(self, originals: Batch, row: int) -> Iterator[int]:
        """The original's own class first, then the others asked for."""
        own = int(originals.labels[row])
        others = [c for c in range(len(self.classes)) if c != own]
        if self.targets < len(others):
            order = stream(self.seed, originals.ids[row], "targets")
            chosen = torch.randperm(len(others), generator=order)[: self.targets].tolist()
            others = sorted(others[i] for i in chosen)
        yield own
        yield from others

    def _ask(self, images: Tensor, device: torch.device, batch: int) -> Opinion | None:
        if not self.oracles:
            return None
        opinions = [ask(self.oracles, part.to(device)) for part in images.split(batch)]
        if not opinions:
            nothing = torch.empty(0, dtype=torch.int64)
            return Opinion(nothing, torch.empty(0, len(self.classes)))
        return Opinion(
            torch.cat([o.prediction for o in opinions]).cpu(),
            torch.cat([o.probability for o in opinions]).cpu(),
        )

    def _best(self, made: _Made) -> _Made:
        """The best of each `best_of` draws."""
        if self.best_of == 1:
            return made
        nearness = -(made.images - made.originals).flatten(1).norm(dim=1)
        merit = nearness
        if made.opinion is not None:
            accepted = made.opinion.prediction == made.target
            sure = made.opinion.probability.gather(1, made.target[:, None]).squeeze(1)
            merit = sure if self.by == "confidence" else nearness
            # Below every accepted draw, in their own order.
            merit = torch.where(accepted, merit, merit - merit.max() + merit.min() - 1)
        groups = merit.view(-1, self.best_of)
        return made.of(groups.argmax(1) + torch.arange(len(groups)) * self.best_of)

    def _noise(self, made: _Made, device: torch.device, batch: int) -> _Made:
        """Random noise around the originals, each as long as the counterfactual it stands beside."""
        images = torch.empty_like(made.images)
        for i, name in enumerate(made.ids):
            key = (self.seed, name, made.target[i].item(), made.number[i].item(), "noise")
            noise = torch.randn(made.images[i].shape, generator=stream(*key))
            length = (made.images[i] - made.originals[i]).norm()
            images[i] = _at_distance(made.originals[i], noise, length.item())
        return replace(
            made, images=images, label=made.source, opinion=self._ask(images, device, batch)
        )

    def _columns(self, made: _Made) -> dict[str, NDArray]:
        change = (made.images - made.originals).flatten(1)
        pixels = (made.images - made.originals).abs().amax(1).flatten(1)
        pictures = np.empty(len(made.ids), dtype=object)
        pictures[:] = [{"bytes": encode_png(image), "path": None} for image in made.images]
        own = [self.classes[c] for c in made.source.tolist()]
        names = [
            f"{name}>{self.classes[c]}#{k}"
            for name, c, k in zip(
                made.ids, made.target.tolist(), made.number.tolist(), strict=True
            )
        ]
        judged: dict[str, Sequence[object]] = {
            "valid": [None] * len(names),
            "reason": ["no oracle was asked"] * len(names),
            "oracle": [None] * len(names),
            "confidence": [None] * len(names),
        }
        if made.opinion is not None:
            read = made.opinion.prediction
            sure = made.opinion.probability.amax(1).tolist()
            judged = {
                "valid": (read == made.label).tolist(),
                "reason": [
                    "" if c == wanted else f"read as {self.classes[c]} ({p:.2f})"
                    for c, wanted, p in zip(read.tolist(), made.label.tolist(), sure, strict=True)
                ],
                "oracle": read.tolist(),
                "confidence": made.opinion.probability.gather(1, made.label[:, None])
                .squeeze(1)
                .tolist(),
            }
        return {
            "image": pictures,
            "label": made.label.numpy(),
            "id": np.array(names, dtype=object),
            "group": np.array(own, dtype=object),
            "source_id": np.array(made.ids, dtype=object),
            "source_label": made.source.numpy(),
            "source_digest": np.array(made.digests, dtype=object),
            "target": made.target.numpy(),
            "number": made.number.numpy(),
            "seed": np.full(len(names), self.seed),
            "draw": made.draw.numpy(),
            "l1": change.abs().sum(1).numpy(),
            "l2": change.norm(dim=1).numpy(),
            "linf": change.abs().amax(1).numpy() if names else np.empty(0),
            "changed": (pixels > VISIBLE).float().mean(1).numpy(),
        } | {name: np.array(values, dtype=object) for name, values in judged.items()}


def _at_distance(original: Tensor, noise: Tensor, length: float) -> Tensor:
    """An 8-bit image in the direction of `noise`, up to rounding at the L2 distance `length` from `original`, or in the
    corner of [0, 1] that lies that way, when it is nearer.

    Clipping to [0, 1] shortens a step, so that the step is found by bisection.
    """
    low, high = 0.0, 1.0
    noise = noise / noise.norm()

    def there(step: float) -> Tensor:
        return eight_bit((original + step * noise).clamp(0, 1))

    while (there(high) - original).norm() < length and high < 1e4:
        high *= 2
    for _ in range(20):
        middle = (low + high) / 2
        if (there(middle) - original).norm() < length:
            low = middle
        else:
            high = middle
    return there(high)
