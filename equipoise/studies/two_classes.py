"""Two classes, a linear rule, and an adversary that is exact: where its robustness comes from.

Notation. x are the pixels of images of two classes, y = -1 for the first and +1 for the second, and the rule answers
sign(w . x + b). An l_inf adversary moves every pixel by up to eps and stays inside [0, 1]; what it can do to a linear
rule is known in closed form (`equipoise.theory.LinearRule`). An input's correlation with the label is |corr(x_i, y)|
on the training images. Training knows no box, and its weight decay is our choice.

References:
    Robustness may be at odds with accuracy (Tsipras et al., 2019), section 4, https://arxiv.org/abs/1805.12152
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Estimate
from equipoise.audit.statistics import estimate
from equipoise.images import Images
from equipoise.norms import format_radius
from equipoise.probes import Metric
from equipoise.progress import Progress
from equipoise.theory import LinearRule, fit_linear, label_correlations, top_inputs

__all__ = ["TwoClasses", "attack_two_classes"]

BOX = (0.0, 1.0)
USED = 0.01
"""A weight counts as used above this share of the largest."""

MOST = 500
"""Training images at most, a random sample."""

RESAMPLES = 200
SHOWN = 400
"""Inputs whose weights the page shows, evenly by correlation."""


@dataclass(frozen=True)
class TwoClasses:
    """What the experiment gave.

    Attributes:
        pair: names of the classes.
        radii: of training, the first one 0.
        radius: of the attack.
        rules: one for each radius of training.
        kept: numbers of inputs, rising to all of them.
        top: the rule of standard training on so many inputs, for each of `kept`.
        correlations: of each input with the label, with shape (n,).
        x, y: test images and labels.
        images: how many training images there are.
        weak: for each resample of them the share of the weight that standard training puts on inputs below the median
            correlation, minus that of training at the attack's radius.
    """

    pair: tuple[str, str]
    radii: Sequence[float]
    radius: float
    rules: Sequence[LinearRule]
    kept: Sequence[int]
    top: Sequence[LinearRule]
    correlations: NDArray
    x: NDArray
    y: NDArray
    images: int
    weak: NDArray

    @property
    def standard(self) -> LinearRule:
        """The rule of standard training."""
        return self.rules[0]

    @property
    def robust(self) -> LinearRule:
        """The rule trained at the radius of the attack."""
        return self.rules[self.radii.index(self.radius)]

    def right(self, rule: LinearRule, eps: float = 0.0, *, boxed: bool = True) -> NDArray:
        """Which test images withstand, with shape (N,)."""
        return rule.margins(self.x, self.y, eps, box=BOX if boxed else None) > 0

    def exhibits(self) -> dict[str, list[dict[str, Any]]]:
        """Rows by radius of training, by number of inputs kept, and by input."""
        order = np.argsort(-self.correlations, kind="stable")
        shown = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int)]
        return {
            "two-classes": [
                {
                    "first": self.pair[0],
                    "second": self.pair[1],
                    "images": len(self.y),
                    "radius": self.radius,
                    "attacked": format_radius(self.radius),
                    "trained": format_radius(radius),
                    "inputs": len(rule.weights),
                    **self._about(rule),
                }
                for radius, rule in zip(self.radii, self.rules, strict=True)
            ],
            "two-classes-kept": [
                {
                    "kept": kept,
                    "weakest": float(np.sort(self.correlations)[::-1][kept - 1]),
                    **self._accuracies(rule),
                }
                for kept, rule in zip(self.kept, self.top, strict=True)
            ],
            "two-classes-weights": [
                {
                    "trained": format_radius(radius),
                    "correlation": round(float(self.correlations[i]), 4),
                    "weight": round(float(size[i]), 5),
                }
                for radius, rule in ((0.0, self.standard), (self.radius, self.robust))
                for size in [_relative(rule)]
                for i in shown
            ],
        }

    def _about(self, rule: LinearRule) -> dict[str, Any]:
        used = _relative(rule) > USED
        return {
            "used": int(used.sum()),
            "weakest": float(self.correlations[used].min()) if used.any() else float("nan"),
            "length": float(np.abs(rule.weights).sum()),
            "robust_unboxed": float(self.right(rule, self.radius, boxed=False).mean()),
            **self._accuracies(rule),
        }

    def _accuracies(self, rule: LinearRule) -> dict[str, float]:
        found = {}
        for name, eps in (("standard", 0.0), ("robust", self.radius)):
            share = estimate(Metric(name, self.right(rule, eps), "share"))
            found |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
        return found

    def moved(self) -> Estimate:
        """By how much more of its weight standard training puts on weakly correlated inputs, over training images."""
        low, high = np.quantile(self.weak, [0.025, 0.975])
        value = _weak(self.standard, self.correlations) - _weak(self.robust, self.correlations)
        return Estimate(value, float(low), float(high), self.images, "bootstrap")


def attack_two_classes(
    train: Images,
    test: Images,
    pair: tuple[str, str],
    radii: Sequence[float],
    radius: float,
    *,
    seed: int = 0,
) -> TwoClasses:
    """Fits rules for each of the radii on the images of two classes, and attacks them exactly on the test images.

    Arguments:
        train: images to fit on, at most 500 of the two classes.
        test: images to attack.
        pair: names of the classes.
        radii: of training, the first one 0, that of the attack among them.
        radius: of the attack.
        seed: of the sample and of the resamples.

    Raises:
        EquipoiseError: for training images that are for tests alone.
    """
    train.refuse_fitting("fit linear rules to")
    x, y = _two(train, pair, seed, MOST)
    at, label = _two(test, pair, seed, len(test))
    correlations = label_correlations(x, y)
    kept = [k for k in (2**p for p in range(1, 20)) if k < x.shape[1]] + [x.shape[1]]
    rng = np.random.default_rng(seed)
    weak = []
    with Progress("Fitting two classes", total=RESAMPLES) as progress:
        for _ in range(RESAMPLES):
            rows = rng.integers(0, len(y), len(y))
            standard, robust = (fit_linear(x[rows], y[rows], eps) for eps in (0.0, radius))
            found = label_correlations(x[rows], y[rows])
            weak.append(_weak(standard, found) - _weak(robust, found))
            progress.advance()
    return TwoClasses(
        pair,
        list(radii),
        radius,
        [fit_linear(x, y, eps) for eps in radii],
        kept,
        [top_inputs(x, y, k) for k in kept],
        correlations,
        at,
        label,
        len(y),
        np.array(weak),
    )


def _two(images: Images, pair: tuple[str, str], seed: int, most: int) -> tuple[NDArray, NDArray]:
    """Pixels with shape (N, n) and labels -1 and +1 of at most so many images of two classes."""
    pixels, labels = [], []
    wanted = {images.classes.index(name): sign for name, sign in zip(pair, (-1, 1), strict=True)}
    for start in range(0, len(images), 1000):
        batch = images.batch(range(start, min(start + 1000, len(images))))
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            if label in wanted:
                pixels.append(image.flatten().numpy())
                labels.append(wanted[label])
    rows = np.random.default_rng(seed).permutation(len(labels))[:most]
    return np.array(pixels, dtype=float)[rows], np.array(labels)[rows]


def _relative(rule: LinearRule) -> NDArray:
    """|w_i| over the largest of them."""
    size = np.abs(rule.weights)
    return size / max(float(size.max()), 1e-12)


def _weak(rule: LinearRule, correlations: NDArray) -> float:
    """The share of the weight on inputs below the median correlation."""
    size = np.abs(rule.weights)
    return float(size[correlations < np.median(correlations)].sum() / max(size.sum(), 1e-12))
