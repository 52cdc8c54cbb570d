"""What does the classifier do when the background changes and the object stays?

The images are several variants of one set, and the group of an image says which (`imagenet9:PATH?variant=all`,
`digits-on-photos?variant=all`):

    original      as photographed
    mixed-same    the object on the background of another image of its class
    mixed-rand    the object on the background of an image of a random class
    only-fg, only-bg, ...    the object alone, the background alone, and whatever else the set has

Names are taken with - for _, as some sets write them.

    background gap = accuracy on mixed-same - accuracy on mixed-rand,

which the pasting itself does not change, since both are pasted. Its interval takes the images of the two variants for
independent; where they show the same objects it is wider than it need be.

The adversarial-background challenge puts the object of an original image onto other backgrounds, x' = m x + (1 - m) b
with the image's mask m, and asks whether any of them changes the answer. An image stands when it is classified rightly
as it is and on every background that was tried.

References:
    Noise or signal: the role of image backgrounds in object recognition (Xiao, Engstrom, Ilyas and Madry, 2021),
    https://arxiv.org/abs/2006.09994
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.errors import EquipoiseError
from equipoise.images import Batch, Images, load_images
from equipoise.probes.metric import Contrast, Metric, Quoted
from equipoise.probes.probe import Answers, Columns, Probe, Request
from equipoise.streams import stream

__all__ = ["Backgrounds"]

SAME, RANDOM, ORIGINAL = "mixed-same", "mixed-rand", "original"

CHUNK = 64
"""Backgrounds in one call of the network."""


@dataclass(frozen=True)
class Backgrounds(Probe):
    """Accuracy on every variant, and against backgrounds chosen to mislead.

    Arguments:
        backgrounds: spec of the images to put objects onto; no challenge when empty.
        limit: at most so many of these, a random sample for each image; all when 0.
    """

    backgrounds: str = ""
    limit: int = 0

    name: ClassVar[str] = "backgrounds"
    types: ClassVar[Mapping[str, str]] = {
        "correct": "BOOLEAN",
        "stands": "BOOLEAN",
        "tried": "INTEGER",
        "forwards": "INTEGER",
    }

    def __str__(self) -> str:
        options = [f"limit={self.limit}"] if self.limit else []
        options += [f"onto={quote(self.backgrounds, safe='/:')}"] if self.backgrounds else []
        return self.name + (f"?{'&'.join(options)}" if options else "")

    @cached_property
    def _scenes(self) -> Images:
        return load_images(self.backgrounds)

    @cached_property
    def _pixels(self) -> Tensor:
        """All backgrounds with shape (n, C, H, W), k for each k/255 where they are all such: a quarter of the memory.

        They are read a few at a time, since all of them as numbers in [0, 1] may not fit.
        """
        shape, read = self._scenes.shape, []
        for start in range(0, len(self._scenes), CHUNK):
            rows = range(start, min(start + CHUNK, len(self._scenes)))
            part = self._scenes.batch(rows, shape=shape).images
            levels = (part * 255).round().to(torch.uint8)
            read.append(levels if torch.equal(_values(levels), part) else part)
        if len({part.dtype for part in read}) > 1:
            read = [_values(part) for part in read]
        return torch.cat(read)

    @cached_property
    def _fingerprint(self) -> str:
        return self._scenes.fingerprint(range(len(self._scenes))) if self.backgrounds else ""

    def nature(self) -> str:
        return f"{type(self).__name__}(backgrounds {self._fingerprint}, limit {self.limit})"

    def facts(self) -> dict[str, Any]:
        return {"backgrounds": len(self._scenes)} if self.backgrounds else {}

    @torch.no_grad()
    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        if None in batch.groups:
            lone = batch.ids[batch.groups.index(None)]
            raise EquipoiseError(
                f"The probe {str(self)!r} needs images whose groups are variants, and {lone!r} has no group. Audit "
                "imagenet9:PATH?variant=all or digits-on-photos?variant=all."
            )
        right = (classifier(batch.images).argmax(1) == batch.labels).cpu().numpy()
        stands = np.full(len(right), None, dtype=object)
        tried = np.zeros(len(right), dtype=np.int64)
        for i, (group, mask) in enumerate(zip(batch.groups, batch.masks, strict=True)):
            if self.backgrounds and mask is not None and _variant(group) == ORIGINAL:
                name = (request.seed, batch.ids[i])
                stands[i] = bool(right[i])
                if right[i]:
                    stands[i], tried[i] = self._challenge(
                        classifier, batch.images[i], mask, int(batch.labels[i]), name
                    )
        return Answers({"correct": right, "stands": stands, "tried": tried, "forwards": 1 + tried})

    def _challenge(
        self,
        classifier: Classifier,
        image: Tensor,
        mask: Tensor,
        label: int,
        name: tuple[Any, ...],
    ) -> tuple[bool, int]:
        """Whether the image stands on all backgrounds in random order, and how many were tried until it fell."""
        scenes = self._pixels
        if scenes.shape[1:] != image.shape:
            raise EquipoiseError(
                f"Cannot put an image of shape {tuple(image.shape)} onto the backgrounds {self.backgrounds!r}, whose "
                f"shape is {tuple(scenes.shape[1:])}. Give backgrounds of the same size and channels."
            )
        order = torch.randperm(len(scenes), generator=stream(self.name, *name))
        order = order[: self.limit or len(scenes)]
        mask = mask.to(image)
        for start in range(0, len(order), CHUNK):
            part = _values(scenes[order[start : start + CHUNK]]).to(image)
            pasted = torch.lerp(part, image.expand_as(part), mask.expand_as(part))
            wrong = classifier.logits(pasted).argmax(1) != label
            if wrong.any():
                return False, min(start + CHUNK, len(order))
        return True, len(order)

    def metrics(self, columns: Columns) -> Sequence[Quoted]:
        correct = columns["correct"].astype(bool)
        groups = np.array([_variant(group) for group in columns["group"]], dtype=object)
        variants = set(groups.tolist())
        found: list[Quoted] = [
            Metric(f"accuracy on {variant}", correct[groups == variant], "share")
            for variant in sorted(variants)
        ]
        if {SAME, RANDOM} <= variants:
            found.append(Contrast("background gap", correct, groups, {SAME: 1, RANDOM: -1}))
        asked = np.array([value is not None for value in columns["stands"]])
        if self.backgrounds and asked.any():
            stands = columns["stands"][asked].astype(bool)
            found.append(Metric("accuracy against backgrounds", stands, "share"))
        return found


def _values(pixels: Tensor) -> Tensor:
    """Numbers in [0, 1] of pixels that may be kept as k for k/255."""
    # On the processor, where dividing by 255 rounds as it did when the images were decoded.
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def _variant(group: str | None) -> str:
    return (group or "").replace("_", "-")
