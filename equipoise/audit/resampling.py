"""The bootstrap of metrics of several classifiers on the same images, all from the same resamples.

Images are resampled within strata, which keep their sizes: the groups of a contrast or a worst group, the classes of a
sensitivity, all images at once otherwise. Of n images of a stratum n - 1 are drawn, so that the spread of resamples is
that of the stratum's mean also where n is small (Rao and Wu's bootstrap); of a single one nothing can be said.

References:
    Resampling inference with complex survey data (Rao and Wu, 1988), https://doi.org/10.1080/01621459.1988.10478591
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equipoise.audit.intervals import RESAMPLES
from equipoise.errors import EquipoiseError
from equipoise.probes import (
    Contrast,
    Metric,
    Quoted,
    Sensitivity,
    WorstGroup,
    relative_sensitivity,
)

__all__ = ["answers", "resample"]


def answers(metric: Quoted) -> NDArray:
    """What the metric is computed from, with shape (N, 1), or (N, 2) for a sensitivity."""
    if isinstance(metric, Sensitivity):
        return np.stack([metric.first, metric.second], 1).astype(np.float64)
    values = metric.values if isinstance(metric, Metric) else metric.correct
    return np.asarray(values, dtype=np.float64)[:, None]


def resample(metrics: Sequence[Quoted], *, seed: int = 0) -> NDArray:
    """The metrics on each of 2,000 resamples of their images, with shape (2000, metrics).

    Arguments:
        metrics: one metric of several classifiers, of the same images in the same order.
        seed: of the resamples.

    Raises:
        EquipoiseError: for a median, which no mean gives.
    """
    first = metrics[0]
    if isinstance(first, Metric) and first.kind == "median":
        raise EquipoiseError(f"Cannot resample {first.name!r}: it is a median. Take a mean.")
    values = np.stack([answers(metric) for metric in metrics], 1)
    rng, strata = np.random.default_rng(seed), _strata(first)
    lowest = isinstance(first, WorstGroup)
    found = np.full((RESAMPLES, *values.shape[1:]), np.inf if lowest else 0.0)
    for weight, rows in strata:
        own, size = values[rows].reshape(len(rows), -1), len(rows)
        drawn = max(1, size - 1)
        # How often each image is drawn is all that a mean needs; a few resamples at a time.
        chunk = max(1, 1_000_000 // size)
        for start in range(0, RESAMPLES, chunk):
            part = found[start : start + chunk]
            picked = rng.integers(0, size, (len(part), drawn))
            picked += size * np.arange(len(part))[:, None]
            counts = np.bincount(picked.ravel(), minlength=len(part) * size).reshape(-1, size)
            means = (counts.astype(np.float64) @ own / drawn).reshape(part.shape)
            if lowest:
                np.minimum(part, means, out=part)
            else:
                part += weight * means
    if isinstance(first, Sensitivity):
        return relative_sensitivity(found[..., 0], found[..., 1])
    return found[..., 0]


def _strata(metric: Quoted) -> list[tuple[float, NDArray]]:
    """The weight of each stratum's mean in the metric, and which images are in it."""
    if isinstance(metric, Metric):
        return [(1.0, np.arange(len(metric.values)))]
    found = np.asarray(metric.classes if isinstance(metric, Sensitivity) else metric.groups)
    names = sorted(set(found.tolist()))
    if isinstance(metric, Contrast):
        return [(weight, np.flatnonzero(found == name)) for name, weight in metric.weights.items()]
    return [(1 / len(names), np.flatnonzero(found == name)) for name in names]
