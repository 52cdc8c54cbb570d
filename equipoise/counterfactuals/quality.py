"""Is a set of counterfactuals any good? What to know before believing anything that was measured with it.

    agreement   share that the oracles read as its label; the same by the denoiser as a classifier, on a sample
    spread      mean distance between counterfactuals of one original and class, over their mean distance to the
                original: near 0 when a sampler's seeds collapse
    high        share of the spectral power above half the highest frequency; the same for the originals
    nearest     median L2 distance to the nearest reference image (training data): of the counterfactuals, of the
                originals, and of other real images; a set of memorised images has counterfactuals at distance 0
    frechet     distance of Frechet between Gaussians fitted to features of the counterfactuals and of real images,
                |m - m'|^2 + tr(S + S' - 2 (S S')^1/2), for features that the user gives
    rounding    mean L2 distance that storing 8 bits adds, sqrt(d / 12) / 255

Shares and means carry 95 % intervals from a bootstrap over originals, since the counterfactuals of one original are no
independent sample.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor

from equipoise.counterfactuals.collection import CounterfactualSet
from equipoise.counterfactuals.oracle import DiffusionClassifier
from equipoise.files import write_json
from equipoise.images import Images
from equipoise.streams import stream

__all__ = ["Finding", "frechet_distance", "high_frequencies", "measure_quality"]

RESAMPLES = 1000
ROWS = 20_000
"""Counterfactuals looked at, about: those of a random sample of the originals, when there are more."""

CHUNK = 256
"""Images in one call for features."""

SAMPLE = 512
"""Images that the slow questions are asked about."""


@dataclass(frozen=True)
class Finding:
    """One number about a set: what it is, of which split, its value and, where it has one, its 95 % interval."""

    name: str
    split: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0


def measure_quality(
    made: CounterfactualSet,
    originals: Images,
    reference: Images,
    *,
    classify: DiffusionClassifier | None = None,
    features: Callable[[Tensor], Tensor] | None = None,
) -> list[Finding]:
    """Everything above, written to quality.json as well.

    Arguments:
        made: a finished set.
        originals: the images that it was made of.
        reference: training data of the denoiser, to look for memorised images.
        classify: the denoiser as a classifier; asked about a sample.
        features: of images in [0, 1], with shape (B, F), for the Frechet distance.
    """
    found: list[Finding] = []
    per_original = (made.record["settings"]["targets"] + 1) * made.record["settings"]["per_class"]
    originals = originals.subset(max(1, ROWS // per_original))
    batch = originals.batch(range(len(originals)), skip_broken=True)
    ids = list(batch.ids)
    known = _tensor(reference, ROWS)
    for split in ("test", "same"):
        rows = made.rows(split, ids)
        sources = rows.columns["source_id"].astype(str)
        if made.record["made_by"]["oracles"]:
            valid = rows.columns["valid"].astype(float)
            found.append(_mean("read as its label by the oracles", split, valid, sources))
        if classify is not None:
            picked = _sample(len(rows))
            read = classify(rows.images[picked], rows.columns["id"][picked].tolist()).argmax(1)
            right = (read.numpy() == rows.columns["label"][picked]).astype(float)
            name = "read as its label by the denoiser"
            found.append(_mean(name, split, right, sources[picked]))
        for name, column in (("L2 distance", "l2"), ("share of changed pixels", "changed")):
            found.append(_mean(name, split, rows.columns[column].astype(float), sources))
        found.append(_spread(rows.images, rows.columns, split))
        power = high_frequencies(rows.images).double().numpy()
        found.append(_mean("high-frequency share", split, power, sources))
        found.append(_nearest(rows.images, known, split))
        if features is not None:
            made_of, real = (
                torch.cat([features(part) for part in images.split(CHUNK)])
                for images in (rows.images, batch.images)
            )
            value = frechet_distance(made_of, real)
            found.append(Finding("Frechet distance", split, value, n=len(rows)))
    power = high_frequencies(batch.images).double().numpy()
    found.append(_mean("high-frequency share", "originals", power, np.array(batch.ids)))
    found.append(_nearest(batch.images, known, "originals", leave_out=True))
    found.append(Finding("rounding", "all", math.sqrt(math.prod(originals.shape) / 12) / 255))
    rows = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(f).items()}
        for f in found
    ]
    write_json(made.folder / "quality.json", rows)
    return found


def high_frequencies(images: Tensor) -> Tensor:
    """The share of each image's spectral power, its mean left out, that lies above half the highest frequency.

    Arguments:
        images: with shape (B, C, H, W).

    Returns:
        shares with shape (B,).
    """
    power = torch.fft.fft2(images - images.mean((2, 3), keepdim=True)).abs().square().sum(1)
    rows, columns = (torch.fft.fftfreq(n).abs() for n in images.shape[2:])
    above = torch.maximum(rows[:, None], columns[None, :]) > 0.25
    total = power.sum((1, 2)).clamp(min=torch.finfo(images.dtype).tiny)
    return (power * above).sum((1, 2)) / total


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Between the normal laws fitted to two sets of features with shapes (N, F) and (M, F)."""
    a, b = a.double(), b.double()
    mean = (a.mean(0) - b.mean(0)).square().sum()
    first, second = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    # tr (S S')^1/2 is the sum of the singular values of S^1/2 S'^1/2, which stays real whatever the rounding.
    cross = torch.linalg.svdvals(_root(first) @ _root(second)).sum()
    return (mean + first.trace() + second.trace() - 2 * cross).clamp(min=0).item()


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _tensor(images: Images, limit: int) -> Tensor:
    rows = images.subset(limit)
    return rows.batch(range(len(rows)), skip_broken=True).images


def _sample(count: int) -> NDArray[np.int64]:
    order = torch.randperm(count, generator=stream("quality"))[:SAMPLE]
    return np.sort(order.numpy())


def _mean(name: str, split: str, values: NDArray, sources: NDArray) -> Finding:
    """The mean over all rows, with an interval from resampling whole originals."""
    _, owner = np.unique(sources, return_inverse=True)
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    if not len(values):
        return Finding(name, split, math.nan)
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    if (values == 1).all() or (values == 0).all():
        # Resampling knows nothing else then; Clopper and Pearson do, with as many trials as originals.
        low = betaincinv(len(sums), 1, 0.025) if values[0] else 0.0
        high = 1.0 if values[0] else betaincinv(1, len(sums), 0.975)
    return Finding(name, split, float(values.mean()), float(low), float(high), len(values))


def _spread(images: Tensor, columns: dict[str, NDArray], split: str) -> Finding:
    """Distance between the counterfactuals of one original and class, over their distance to the original."""
    groups: dict[tuple[str, int], list[int]] = {}
    keys = zip(columns["source_id"].tolist(), columns["target"].tolist(), strict=True)
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    pairs = [(a, b) for rows in groups.values() for i, a in enumerate(rows) for b in rows[:i]]
    name = "spread between seeds"
    if not pairs:
        return Finding(name, split, math.nan)
    first, second = torch.tensor(pairs).unbind(1)
    between = (images[first] - images[second]).flatten(1).norm(dim=1).double().numpy()
    length = float(columns["l2"].mean())
    return _mean(name, split, between / length, columns["source_id"][first.numpy()].astype(str))


def _nearest(images: Tensor, known: Tensor, split: str, *, leave_out: bool = False) -> Finding:
    """Median distance to the nearest reference image; of originals, that are reference images, to the next one."""
    picked = images[torch.from_numpy(_sample(len(images)))].flatten(1)
    distance = torch.cdist(picked, known.flatten(1))
    if leave_out:
        distance = distance.masked_fill(distance < 1e-6, math.inf)
    value = distance.amin(1).median().item() if len(picked) else math.nan
    return Finding("median distance to the nearest reference image", split, value, n=len(picked))
