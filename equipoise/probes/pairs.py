"""Images and what was made of them: what the probes of counterfactual sets share.

Image x0 of class y has counterfactuals x_c of other classes c and controls. The lead of c is m_c = z_c - z_y, and the
gradient of m_c at x0 is what the classifier takes for the way from y to c.
"""

import numpy as np
import torch
from torch import Tensor

from equipoise.attacks.input_gradient import input_gradient
from equipoise.classifiers import Classifier
from equipoise.counterfactuals import CounterfactualSet, Rows
from equipoise.errors import EquipoiseError
from equipoise.images import Batch
from equipoise.streams import content_ids

__all__ = ["CHUNK", "alignment", "check_classes", "lead", "made_of", "open_set"]

CHUNK = 256
"""Images in a classifier call."""


def open_set(folder: str) -> CounterfactualSet:
    """The set in `folder`, once it is known to be finished.

    Raises:
        EquipoiseError: when there is none, or it is unfinished.
    """
    made = CounterfactualSet(folder)
    made.files("test")
    if made.record["status"] != "complete":
        raise EquipoiseError(
            f"Cannot probe with the counterfactuals {folder!r}: they are unfinished. Repeat the command that makes "
            "them."
        )
    return made


def made_of(made: CounterfactualSet, batch: Batch) -> list[dict[str, Rows]]:
    """For each image of the batch its rows of the splits "test", "same" and "noise".

    Raises:
        EquipoiseError: for images of another shape than the set's, or other images of the same names.
    """
    ids = list(batch.ids)
    found = {split: made.rows(split, ids) for split in ("test", "same", "noise")}
    shape, theirs = tuple(batch.images.shape[1:]), tuple(found["test"].images.shape[1:])
    if theirs != shape:
        raise EquipoiseError(
            f"Cannot probe images of shape {shape} with the counterfactuals {str(made.folder)!r}, whose shape is "
            f"{theirs}. Make them of these images."
        )
    _check_originals(made, batch, found["same"])
    return [{split: _of(table, name) for split, table in found.items()} for name in ids]


def _check_originals(made: CounterfactualSet, batch: Batch, same: Rows) -> None:
    """Refuses counterfactuals of other images that happen to have the same names."""
    pixels = dict(zip(batch.ids, content_ids(batch.images), strict=True))
    labels = dict(zip(batch.ids, batch.labels.tolist(), strict=True))
    for name, label, made_from in zip(
        same.columns["source_id"],
        same.columns["source_label"],
        same.columns["source_digest"],
        strict=True,
    ):
        if pixels[name] != made_from or labels[name] != label:
            raise EquipoiseError(
                f"Cannot probe with the counterfactuals {str(made.folder)!r}: their {name!r} is another image, or has "
                "another label, than that of the audit. Make them of the images that are audited."
            )


def _of(table: Rows, name: str) -> Rows:
    """The rows of one original."""
    mine = table.columns["source_id"] == name
    return Rows(
        table.images[torch.from_numpy(np.asarray(mine, dtype=bool))],
        {key: values[mine] for key, values in table.columns.items()},
    )


def check_classes(classifier: Classifier, logits: Tensor, target: Tensor) -> None:
    """Refuses counterfactuals of classes that the classifier does not have."""
    if len(target) and int(target.max()) >= logits.shape[1]:
        raise EquipoiseError(
            f"The classifier {classifier.name!r} has {logits.shape[1]} classes, and a counterfactual is of class "
            f"{int(target.max())}. Make counterfactuals of this classifier's classes."
        )


def lead(logits: Tensor, target: Tensor, label: int) -> Tensor:
    """m_c = z_c - z_y for each row's target, with shape (B,); one row of logits serves all targets."""
    return logits.expand(len(target), -1).gather(1, target[:, None]).squeeze(1) - logits[:, label]


def alignment(
    classifier: Classifier,
    image: Tensor,
    label: int,
    *,
    step: Tensor,
    target: Tensor,
    notes: list[str],
) -> Tensor:
    """The cosine between the gradient of m_c at x0 and each step, with shape (n,): n forward and n backward passes.

    Arguments:
        classifier: on the device of the rest.
        image: x0, with shape (C, H, W).
        label: y.
        step: with shape (n, C, H, W), such as x_c - x0.
        target: c for each step, with shape (n,).
        notes: gets a sentence where gradients are not there.
    """
    cosines = []
    for part, to in zip(step.split(CHUNK), target.split(CHUNK), strict=True):
        *_, gradient = input_gradient(
            classifier.logits,
            image[None].expand_as(part),
            lambda z, c=to: lead(z, c, label),
            notes,
        )
        cosines.append(torch.cosine_similarity(gradient.flatten(1), part.flatten(1), dim=1))
    return torch.cat(cosines)
