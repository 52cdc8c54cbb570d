"""Is the classifier as good for every group of images as it is on average?

Notation. Image i has a group g, such as class and background together; acc(g) is the accuracy on the images of g. With
n_g training images of group g, n of all,

    worst group         min_g acc(g)
    adjusted average    sum_g (n_g / n) acc(g): the average accuracy if test images were as common as those of training
    minority gap        the mean of acc over majorities less that over minorities: of each class, the group with most
                        training images is its majority, all others are minorities

Waterbirds' test images are half majority, half minority by design, and only 5 % of its training images are minority: an
unadjusted average would answer another question.

References:
    Distributionally robust neural networks for group shifts (Sagawa et al., 2020), https://arxiv.org/abs/1911.08731
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from equipoise.classifiers import Classifier
from equipoise.errors import EquipoiseError
from equipoise.images import Batch, Images, load_images
from equipoise.probes.metric import Contrast, Metric, Quoted, WorstGroup
from equipoise.probes.probe import Answers, Columns, Probe, Request

__all__ = ["Groups"]


@dataclass(frozen=True)
class Groups(Probe):
    """Accuracy of every group.

    Arguments:
        training: spec of the images whose split "train" says how common groups are; averages and gaps need it.
        known: what a run kept of those images, which are then not opened; see `facts`.
    """

    training: str = ""
    known: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    name: ClassVar[str] = "groups"
    types: ClassVar[Mapping[str, str]] = {"correct": "BOOLEAN"}

    def __str__(self) -> str:
        return f"{self.name}:{self.training}" if self.training else self.name

    @cached_property
    def _images(self) -> Images:
        return load_images(self.training, "train")

    @cached_property
    def _common(self) -> Counter[tuple[int, str]]:
        """How many training images each pair of label and group has."""
        found = zip(self._images.all_labels(), self._images.groups(), strict=True)
        return Counter((label, group) for label, group in found if group is not None)

    def facts(self) -> dict[str, Any]:
        """How many training images each group has, and which groups are the majority of some class."""
        if self.known is not None:
            return dict(self.known)
        if not self.training:
            return {}
        counts: Counter[str] = Counter()
        for (_, group), count in self._common.items():
            counts[group] += count
        if not counts:
            raise EquipoiseError(
                f"Cannot weigh groups by {self.training!r}: no image of its split 'train' has a group. Give the images "
                "that the classifiers were trained on, such as groups:waterbirds:PATH, or write groups alone."
            )
        majorities = {
            max(
                sorted(g for k, g in self._common if k == label),
                key=lambda g: self._common[label, g],
            )
            for label, _ in self._common
        }
        return {"training": dict(sorted(counts.items())), "majorities": sorted(majorities)}

    def recalled(self, facts: Mapping[str, Any]) -> "Groups":
        return replace(self, known=facts)

    def nature(self) -> str:
        # The training images change what is made of the answers, not the answers.
        return type(self).__name__

    @torch.no_grad()
    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        if None in batch.groups:
            lone = batch.ids[batch.groups.index(None)]
            raise EquipoiseError(
                f"The probe {str(self)!r} needs images with groups, and {lone!r} has none. Audit images whose source "
                "knows groups, such as waterbirds:PATH or a metadata.csv with a column group."
            )
        right = classifier(batch.images).argmax(1) == batch.labels
        return Answers({"correct": right.cpu().numpy()})

    def metrics(self, columns: Columns) -> Sequence[Quoted]:
        correct, groups = columns["correct"].astype(bool), columns["group"]
        found: list[Quoted] = [
            Metric(f"accuracy on {group}", correct[groups == group], "share")
            for group in sorted(set(groups.tolist()))
        ]
        expected = tuple(self.facts()["training"]) if self.training else ()
        found.append(WorstGroup("worst-group accuracy", correct, groups, expected))
        if self.training:
            found += self._weighed(correct, groups)
        return found

    def _weighed(self, correct: np.ndarray, groups: np.ndarray) -> list[Quoted]:
        facts = self.facts()
        counts, majorities = facts["training"], facts["majorities"]
        weights = {group: count / sum(counts.values()) for group, count in counts.items()}
        minorities = [group for group in counts if group not in majorities]
        gap = {group: 1 / len(majorities) for group in majorities}
        gap |= {group: -1 / len(minorities) for group in minorities}
        average = "average accuracy, groups as common as in training"
        found: list[Quoted] = [Contrast(average, correct, groups, weights, "share", "high")]
        if minorities:
            found.append(Contrast("majority less minority groups", correct, groups, gap))
        return found
