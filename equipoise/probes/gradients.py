"""What in an image does the classifier's loss listen to, and would a person call that the object?

g is the gradient of the cross-entropy of the true label y with respect to the n inputs (pixels and channels) of an
image, as it is: one pass, no smoothing. Robust classifiers are said to have gradients on edges of the object, standard
ones gradients that look like noise. With the log-odds l = log sum_{j != y} exp z_j - z_y against the label,

    g = (1 - p_y) grad l,

which is how it is computed: from softmax, g would point elsewhere once p_y rounds to 1.

    length      |g|_2
    sparsity    Gini index of |g|: sum_k (2k - n - 1) a_(k) / (n sum_k a_(k)), a_(k) ascending: 0 for all alike, 1 - 1/n
                for one input alone
    inside      share of sum |g| inside the image's mask;  area: share of inputs inside, which chance would give
    alignment   mean cosine of grad(z_c - z_y) and the way to the image's counterfactual of class c;
                noise_alignment: to noise as far away

Pictures: g of each image clipped to three of its standard deviations s over all pixels and channels, (1 + g / 3s) / 2,
so that zero is mid-grey, as in the paper. For one channel the paper has a diverging map of blue and red; white at zero
is our choice, as is mid-grey for gradients that vanish everywhere.

References:
    Robustness may be at odds with accuracy (Tsipras et al., 2019), https://arxiv.org/abs/1805.12152
    Concise explanations of neural networks using adversarial training (Chalasani et al., 2020),
    https://arxiv.org/abs/1810.06583, for the Gini index
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.attacks.input_gradient import input_gradient
from equipoise.attacks.losses import log_odds
from equipoise.classifiers import Classifier
from equipoise.counterfactuals import Rows
from equipoise.images import Batch, encode_png
from equipoise.probes.counterfactual import Counterfactual
from equipoise.probes.metric import Metric
from equipoise.probes.pairs import alignment, check_classes, made_of
from equipoise.probes.probe import Answers, Columns, Probe, Request

__all__ = ["Gradients", "gini"]


@dataclass(frozen=True)
class Gradients(Probe):
    """Length, sparsity and place of the loss's gradient.

    Arguments:
        folder: of a set of counterfactuals to compare directions with; none when empty.
    """

    folder: str = ""

    name: ClassVar[str] = "gradients"
    types: ClassVar[Mapping[str, str]] = {
        "length": "FLOAT",
        "sparsity": "FLOAT",
        "inside": "FLOAT",
        "area": "FLOAT",
        "alignment": "FLOAT",
        "noise_alignment": "FLOAT",
        "forwards": "INTEGER",
        "backwards": "INTEGER",
        "picture": "BLOB",
    }

    def __str__(self) -> str:
        return f"{self.name}:{self.folder}" if self.folder else self.name

    @cached_property
    def _counterfactual(self) -> Counterfactual:
        return Counterfactual(self.folder)

    def nature(self) -> str:
        of_set = self._counterfactual.nature() if self.folder else "no set"
        return f"{type(self).__name__}({of_set})"

    def facts(self) -> dict[str, Any]:
        return self._counterfactual.facts() if self.folder else {}

    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        count, notes = len(batch.ids), []
        logits, odds, slope = input_gradient(
            classifier.logits, batch.images, lambda z: log_odds(z, batch.labels), notes
        )
        doubt = odds.double().sigmoid().cpu().numpy()
        gradients = slope.flatten(1).cpu().numpy()
        # One image at a time, in double precision: sums over a batch may round with its size.
        sizes = [np.abs(gradient.astype(np.float64)) for gradient in gradients]
        nothing: NDArray = np.full(count, None, dtype=object)
        columns = {
            "length": doubt * np.array([np.linalg.norm(size) for size in sizes]),
            "sparsity": np.array([gini(size) for size in sizes]),
            "inside": nothing,
            "area": nothing,
            "alignment": nothing,
            "noise_alignment": nothing,
            "forwards": np.ones(count, dtype=np.int64),
            "backwards": np.ones(count, dtype=np.int64),
        }
        if any(mask is not None for mask in batch.masks):
            columns |= {name: np.full(count, np.nan) for name in ("inside", "area")}
        for i, mask in enumerate(batch.masks):
            if mask is not None:
                weights = mask.expand_as(slope[i]).flatten().numpy()
                columns["inside"][i] = _share(sizes[i], weights)
                columns["area"][i] = weights.mean(dtype=np.float64)
        if self.folder:
            made = made_of(self._counterfactual.made, batch)
            for parts in made:
                target = torch.from_numpy(parts["test"].columns["target"].astype(np.int64))
                check_classes(classifier, logits, target)
            found = [
                _alignments(classifier, batch.images[i], int(batch.labels[i]), parts, notes)
                for i, parts in enumerate(made)
            ]
            columns["alignment"], columns["noise_alignment"], asked = (
                np.array(part) for part in zip(*found, strict=True)
            )
            columns["forwards"] = columns["backwards"] = 1 + asked
        pictures = [
            _picture(gradient) if flag else None
            for gradient, flag in zip(slope, request.pictured, strict=True)
        ]
        columns["picture"] = np.array(pictures, dtype=object)
        return Answers(columns, notes=tuple(notes))

    def metrics(self, columns: Columns) -> list[Metric]:
        names = {
            "gradient sparsity": "sparsity",
            "gradient inside the mask": "inside",
            "gradient alignment with counterfactuals": "alignment",
        }
        found = []
        for name, column in names.items():
            values = np.asarray(columns[column], dtype=float)
            values = values[~np.isnan(values)]
            if len(values) or column == "sparsity" or (column == "alignment" and self.folder):
                unit = "share" if column == "inside" else "number"
                found.append(Metric(name, values, "mean", unit=unit, better="neither"))
        return found


def gini(sizes: NDArray) -> float:
    """The Gini index of numbers >= 0: 0 for all alike, 1 - 1/n for one of n alone, NaN where all are 0."""
    total, n = sizes.sum(), len(sizes)
    if not total > 0:
        return float("nan")
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float((weights * np.sort(sizes)).sum() / (n * total))


def _share(sizes: NDArray, mask: NDArray) -> float:
    """The share of the sizes' sum inside the mask; NaN where all are 0."""
    total = sizes.sum()
    return float((sizes * mask).sum() / total) if total > 0 else float("nan")


def _alignments(
    classifier: Classifier, image: Tensor, label: int, made: dict[str, Rows], notes: list[str]
) -> tuple[float, float, int]:
    """Mean cosine towards an image's first counterfactual of each other class and towards the noise beside them, and
    how many passes of each kind they took; NaN without counterfactuals."""
    steps, targets = [], []
    for split in ("test", "noise"):
        rows = made[split]
        first = rows.columns["number"] == 0
        steps.append(rows.images[torch.from_numpy(first)].to(image.device) - image)
        targets.append(torch.from_numpy(rows.columns["target"][first].astype(np.int64)))
    if not len(steps[0]):
        return float("nan"), float("nan"), 0
    towards, beside = alignment(
        classifier,
        image,
        label,
        step=torch.cat(steps),
        target=torch.cat(targets).to(image.device),
        notes=notes,
    ).split([len(step) for step in steps])
    return towards.mean().item(), beside.mean().item(), len(towards) + len(beside)


def _picture(gradient: Tensor) -> bytes:
    """The gradient of one image in grey or, with one channel, in blue, white and red."""
    if not gradient.any():
        return encode_png(torch.full_like(gradient, 0.5))
    # Tiny gradients would underflow when squared.
    scaled = gradient.double() / gradient.abs().max()
    share = (scaled / (3 * scaled.std(correction=0))).clamp(-1, 1)
    if len(share) > 1:
        return encode_png((1 + share) / 2)
    white = 1 - share.abs()
    red, blue = torch.where(share < 0, white, 1), torch.where(share > 0, white, 1)
    return encode_png(torch.cat([red, white, blue]))
