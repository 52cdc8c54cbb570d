"""How much accuracy does the classifier lose from one set of images to another of the same classes?

The images are two sets in one, and the group of an image says which: "source", such as ImageNet's validation images, or
"target", such as ObjectNet's (`objectnet:PATH?source=FOLDER`, or `equipoise.images.Joined`).

    drop = accuracy on the source - accuracy on the target

A classifier of ImageNet's 1,000 outputs is scored by three rules on both sets, see `equipoise.classifiers.mapped`:

    strict    the largest of all outputs belongs to the label
    among     the largest of the outputs that belong to any class belongs to the label
    pooled    the label has the largest of the classes' logits, each the largest of its outputs'

Public code for ObjectNet uses all three; the last two agree where no output belongs to two classes. For a classifier of
the images' own classes all three are one, and only "strict" is given.

References:
    ObjectNet: A large-scale bias-controlled dataset for pushing the limits of object recognition models
    (Barbu et al., 2019), https://objectnet.dev
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from equipoise.classifiers import Classifier, Mapped, Rule, is_right, unread
from equipoise.errors import EquipoiseError
from equipoise.images import Batch
from equipoise.probes.metric import Contrast, Metric, Quoted
from equipoise.probes.probe import Answers, Columns, Probe, Request

__all__ = ["SOURCE", "TARGET", "Shift"]

SOURCE, TARGET = "source", "target"
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Shift(Probe):
    """Accuracy on a source and on a target, and the drop between them."""

    name: ClassVar[str] = "shift"
    types: ClassVar[Mapping[str, str]] = dict.fromkeys(RULES, "BOOLEAN")

    def __str__(self) -> str:
        return self.name

    @torch.no_grad()
    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        for id, group in zip(batch.ids, batch.groups, strict=True):
            if group not in (SOURCE, TARGET):
                raise EquipoiseError(
                    f"The probe {str(self)!r} needs images in the groups {SOURCE!r} and {TARGET!r}, and {id!r} is in "
                    f"{group!r}. Audit objectnet:PATH?source=FOLDER, or two sets joined by equipoise.images.Joined."
                )
        if isinstance(classifier.net, Mapped):
            outputs = classifier.net.outputs
            logits = unread(classifier)(batch.images).float()
            right = {rule: is_right(logits, batch.labels, outputs, rule) for rule in RULES}
            return Answers({rule: values.cpu().numpy() for rule, values in right.items()})
        nothing: NDArray = np.full(len(batch.ids), None, dtype=object)
        strict = (classifier(batch.images).argmax(1) == batch.labels).cpu().numpy()
        return Answers(dict.fromkeys(RULES, nothing) | {"strict": strict})

    def metrics(self, columns: Columns) -> Sequence[Quoted]:
        groups = columns["group"]
        asked = [rule for rule in RULES if all(value is not None for value in columns[rule])]
        found: list[Quoted] = []
        for rule in asked:
            by = f" ({rule})" if len(asked) > 1 else ""
            right = columns[rule].astype(bool)
            found += [
                Metric(f"accuracy on the {domain}{by}", right[groups == domain], "share")
                for domain in (SOURCE, TARGET)
            ]
            found.append(Contrast(f"drop{by}", right, groups, {SOURCE: 1, TARGET: -1}))
        return found
