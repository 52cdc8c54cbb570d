"""Does the classifier use the inputs that tell the classes apart, or all of them?

Notation. An image has n inputs x_i (pixels and channels). Over training images with label y, input i has mean m_i and
the correlation ratio

    r_i = sqrt(variance of the class means of x_i, each weighed by its class / variance of x_i),

which for two classes is |corr(x_i, y)|; 0 where x_i never changes. Inputs are ordered by falling r_i, and by number
where they tie. For k = 2, 4, 8, ... below n, and n:

    correct           whether the classifier is right when the first k inputs keep their values and the others are m_i
    mass              share of sum |g_i| on the first k inputs, g being the gradient of the cross-entropy of y
    rank_correlation  Spearman's, of |g_i| and r_i over all inputs

The paper trains linear classifiers on MNIST, and anew on the best inputs alone. This probe trains nothing: it asks a
classifier as it is, of any kind, about images whose other inputs say nothing. The correlation ratio for more than two
classes, the k and the means are our choices, as is the random sample of at most 5,000 training images. With few of
them r is too large: of pure noise about sqrt((K - 1) / (N - 1)), for K classes and N images.

References:
    Robustness may be at odds with accuracy (Tsipras et al., 2019), https://arxiv.org/abs/1805.12152
    Statistical methods for research workers (Fisher, 1925), for the correlation ratio
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from equipoise.attacks.input_gradient import input_gradient
from equipoise.attacks.losses import log_odds
from equipoise.classifiers import Classifier
from equipoise.errors import EquipoiseError
from equipoise.images import Batch, Images, load_images
from equipoise.probes.metric import Metric
from equipoise.probes.probe import Answers, Columns, Probe, Request

__all__ = ["FeatureUse", "LabelCorrelation", "correlate"]

LIMIT = 5_000
"""Training images that correlations are computed from, at most."""

CHUNK = 256
"""Images in memory at once."""


@dataclass(frozen=True)
class LabelCorrelation:
    """How each input of some images goes with their label.

    Attributes:
        shape: (C, H, W); the n inputs are numbered in this order.
        images: how many there were.
        broken: how many could not be read and are not among them.
        mean: of each input, with shape (n,).
        ratio: correlation ratios in [0, 1], with shape (n,).
    """

    shape: tuple[int, ...]
    images: int
    broken: int
    mean: NDArray
    ratio: NDArray

    @cached_property
    def order(self) -> NDArray:
        """The inputs by falling ratio, and by number where they tie."""
        return np.argsort(-self.ratio, kind="stable")

    @cached_property
    def ranks(self) -> NDArray:
        """Of the ratios, from 1; those that tie share their mean rank."""
        return _ranks(self.ratio)

    @property
    def counts(self) -> list[int]:
        """k: powers of two from 2 below n, then n."""
        n = len(self.ratio)
        return [2**power for power in range(1, n.bit_length()) if 2**power < n] + [n]


@dataclass(frozen=True)
class FeatureUse(Probe):
    """How accuracy and gradient spread over inputs, ordered by their correlation with the label.

    Arguments:
        data: spec of the images whose split "train" the correlations are taken from.
    """

    data: str

    name: ClassVar[str] = "feature_use"
    types: ClassVar[Mapping[str, str]] = {
        "inputs": "INTEGER[]",
        "correct": "BOOLEAN[]",
        "mass": "FLOAT[]",
        "rank_correlation": "FLOAT",
        "forwards": "INTEGER",
        "backwards": "INTEGER",
    }

    def __str__(self) -> str:
        return f"{self.name}:{self.data}"

    @cached_property
    def _images(self) -> Images:
        return load_images(self.data, "train").subset(LIMIT, seed=0)

    @cached_property
    def _fingerprint(self) -> str:
        return self._images.fingerprint(range(len(self._images)))

    @cached_property
    def correlation(self) -> LabelCorrelation:
        """Of the training images, computed when it is first asked for."""
        return correlate(self._images)

    def nature(self) -> str:
        return f"{type(self).__name__}(images {self._fingerprint})"

    def facts(self) -> dict[str, Any]:
        found = self.correlation
        return {
            "images": found.images,
            "broken": found.broken,
            "inputs": found.counts,
            "weakest": [float(found.ratio[found.order[k - 1]]) for k in found.counts],
        }

    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        found, images, labels = self.correlation, batch.images, batch.labels
        if tuple(images.shape[1:]) != found.shape:
            raise EquipoiseError(
                f"Cannot probe images of shape {tuple(images.shape[1:])} with the correlations of {self.data!r}, whose "
                f"images have shape {found.shape}. Give training images of the same size and channels."
            )
        notes: list[str] = []
        *_, slope = input_gradient(classifier.logits, images, lambda z: log_odds(z, labels), notes)
        mean = torch.from_numpy(found.mean).to(images).view(1, *found.shape)
        place = torch.empty(len(found.order), dtype=torch.int64)
        place[torch.from_numpy(found.order)] = torch.arange(len(found.order))
        place = place.to(images.device).view(1, *found.shape)
        correct = []
        with torch.no_grad():
            for k in found.counts:
                kept = torch.where(place < k, images, mean)
                correct.append(classifier(kept).argmax(1) == labels)
        # One image at a time, in double precision: sums over a batch may round with its size.
        sizes = slope.flatten(1).abs().cpu().numpy().astype(np.float64)
        columns = {
            "inputs": [found.counts] * len(images),
            "correct": torch.stack(correct, 1).tolist(),
            "mass": [_mass(size, found) for size in sizes],
        }
        lists = {name: np.empty(len(images), dtype=object) for name in columns}
        for name, values in columns.items():
            lists[name][:] = values
        return Answers(
            lists
            | {
                "rank_correlation": np.array([_agreement(size, found) for size in sizes]),
                "forwards": np.full(len(images), 1 + len(found.counts)),
                "backwards": np.ones(len(images), dtype=np.int64),
            },
            notes=tuple(notes),
        )

    def metrics(self, columns: Columns) -> list[Metric]:
        values = np.asarray(columns["rank_correlation"], dtype=float)
        name = "rank correlation of gradient and label correlation"
        return [Metric(name, values[~np.isnan(values)], "mean", unit="number", better="neither")]


def correlate(images: Images) -> LabelCorrelation:
    """The correlation ratio of each input with the label, in one pass over the images.

    Raises:
        EquipoiseError: for images that are for tests alone, or when fewer than two can be read.
    """
    images.refuse_fitting("correlate inputs with labels on")
    shape, classes, total, broken = images.shape, len(images.classes), 0, 0
    n = math.prod(shape)
    first, squares = np.zeros(n), np.zeros(n)
    sums, counts = np.zeros((classes, n)), np.zeros(classes)
    for start in range(0, len(images), CHUNK):
        rows = range(start, min(start + CHUNK, len(images)))
        batch = images.batch(rows, skip_broken=True, shape=shape)
        broken += len(batch.broken)
        x, labels = batch.images.flatten(1).double().numpy(), batch.labels.numpy()
        # Sums of differences from one image keep their digits, and are exactly 0 where nothing changes.
        if not total and len(x):
            first = x[0]
        total += len(x)
        x = x - first
        squares += np.square(x).sum(0)
        np.add.at(sums, labels, x)
        np.add.at(counts, labels, 1)
    if total < 2:
        raise EquipoiseError(
            f"Cannot correlate the inputs of {images.spec!r} with the label: {total} of its images in the split "
            f"{images.split!r} can be read. Give two or more."
        )
    mean = sums.sum(0) / total
    between = np.zeros(n)
    for label in np.flatnonzero(counts):
        between += counts[label] * np.square(sums[label] / counts[label] - mean)
    spread = squares - total * mean**2
    share = np.divide(between, spread, out=np.zeros(n), where=spread > 0)
    return LabelCorrelation(shape, total, broken, first + mean, np.sqrt(share.clip(0, 1)))


def _mass(sizes: NDArray, found: LabelCorrelation) -> list[float] | None:
    """The share of the sizes' sum on the first k inputs; None where all are 0."""
    sums = sizes[found.order].cumsum()
    return [float(sums[k - 1] / sums[-1]) for k in found.counts] if sums[-1] > 0 else None


def _agreement(sizes: NDArray, found: LabelCorrelation) -> float:
    """Spearman's correlation of sizes and ratios; NaN where either are all alike."""
    ranks, others = _ranks(sizes) - (len(sizes) + 1) / 2, found.ranks - (len(sizes) + 1) / 2
    scale = np.linalg.norm(ranks) * np.linalg.norm(others)
    return float(ranks @ others / scale) if scale > 0 else float("nan")


def _ranks(values: NDArray) -> NDArray:
    from scipy.stats import rankdata  # noqa: PLC0415  half a second that every other command would take longer

    return rankdata(values)
