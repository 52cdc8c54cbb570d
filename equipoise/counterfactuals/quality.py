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
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.counterfactuals.collection import CounterfactualSet
from equipoise.counterfactuals.frechet import frechet_distance
from equipoise.counterfactuals.oracle import DiffusionClassifier
from equipoise.files import read_json, write_json
from equipoise.images import Images
from equipoise.streams import digest, stream

__all__ = [
    "Finding",
    "high_frequencies",
    "measure_quality",
    "nearest_distances",
]

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
    reference: Images | None,
    *,
    classify: DiffusionClassifier | None = None,
    features: Classifier | None = None,
) -> list[Finding]:
    """Everything above, kept in quality.json as well: asking the same again reads it.

    Arguments:
        made: a finished set.
        originals: the images that it was made of.
        reference: training data of the denoiser, to look for memorised images; nothing is said of them when None.
        classify: the denoiser as a classifier; asked about a sample.
        features: a classifier whose logits are the features of the Frechet distance.
    """
    identity = digest(
        made.identity,
        None if reference is None else reference.fingerprint(range(len(reference))),
        classify and (classify.draws, classify.lowest, classify.highest),
        features and features.fingerprint(),
    )
    path = made.folder / "quality.json"
    if (
        path.is_file()
        and isinstance(before := read_json(path), dict)
        and before.get("identity") == identity
    ):
        return [
            Finding(**row | {"value": math.nan if row["value"] is None else row["value"]})
            for row in before["findings"]
        ]
    found = _measure(made, originals, reference, classify, features)
    rows = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(f).items()}
        for f in found
    ]
    write_json(path, {"identity": identity, "findings": rows})
    return found


def _measure(
    made: CounterfactualSet,
    originals: Images,
    reference: Images | None,
    classify: DiffusionClassifier | None,
    features: Classifier | None,
) -> list[Finding]:
    found: list[Finding] = []
    per_original = (made.record["settings"]["targets"] + 1) * made.record["settings"]["per_class"]
    originals = originals.subset(max(1, ROWS // per_original))
    batch = originals.batch(range(len(originals)), skip_broken=True)
    for split in ("test", "same"):
        rows = made.rows(split, list(batch.ids))
        sources = rows.columns["source_id"].astype(str)
        if made.record["made_by"]["oracles"]:
            valid = rows.columns["valid"].astype(float)
            found.append(_mean("read as its label by the oracles", split, valid, sources))
        if classify is not None:
            picked = _sample(len(rows), SAMPLE * 10 // max(10, len(made.classes)))
            ids = rows.columns["id"][picked].tolist()
            read = torch.cat(
                [
                    classify(rows.images[picked[i : i + CHUNK]], ids[i : i + CHUNK]).argmax(1)
                    for i in range(0, len(picked), CHUNK)
                ]
            )
            right = (read.numpy() == rows.columns["label"][picked]).astype(float)
            name = "read as its label by the denoiser"
            found.append(_mean(name, split, right, sources[picked]))
        for name, column in (("L2 distance", "l2"), ("share of changed pixels", "changed")):
            found.append(_mean(name, split, rows.columns[column].astype(float), sources))
        found.append(_spread(rows.images, rows.columns, split))
        power = high_frequencies(rows.images).double().numpy()
        found.append(_mean("high-frequency share", split, power, sources))
        if reference is not None:
            found.append(_nearest(rows.images, reference, split))
        if features is not None:
            made_of, real = (
                torch.cat([features.logits(part) for part in images.split(CHUNK)])
                for images in (rows.images, batch.images)
            )
            value = frechet_distance(made_of, real)
            found.append(Finding("Frechet distance", split, value, n=len(rows)))
    power = high_frequencies(batch.images).double().numpy()
    found.append(_mean("high-frequency share", "originals", power, np.array(batch.ids)))
    if reference is not None:
        found.append(_nearest(batch.images, reference, "originals", leave_out=True))
    found.append(Finding("rounding", "all", math.sqrt(math.prod(originals.shape) / 12) / 255))
    return found


def nearest_distances(images: Tensor, reference: Images, *, leave_out: bool = False) -> Tensor:
    """L2 distance of each image to the nearest reference image of each class, with shape (N, K), inf where none is.

    Arguments:
        images: in [0, 1], with shape (N, C, H, W).
        reference: read a thousand at a time, so that a set of any length takes no more memory.
        leave_out: pass over a reference image that is the image itself.
    """
    nearest = torch.full((len(images), len(reference.classes)), math.inf)
    channels, height, width = images.shape[1:]
    for start in range(0, len(reference), 1024):
        rows = range(start, min(start + 1024, len(reference)))
        known = reference.batch(rows, skip_broken=True, shape=(channels, height, width))
        if not known.ids:
            continue
        # The faster form by matrix products loses the digits that tell a copy from a neighbour.
        exact = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(images.flatten(1), known.images.flatten(1), compute_mode=exact)
        if leave_out:
            distance = distance.masked_fill(distance < 1e-6, math.inf)
        nearest.scatter_reduce_(1, known.labels.expand(len(images), -1), distance, "amin")
    return nearest


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


def _sample(count: int, most: int = SAMPLE) -> NDArray[np.int64]:
    order = torch.randperm(count, generator=stream("quality"))[:most]
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


def _nearest(images: Tensor, reference: Images, split: str, *, leave_out: bool = False) -> Finding:
    """Median distance to the nearest reference image; of originals, that are reference images, to the next one."""
    picked = images[torch.from_numpy(_sample(len(images)))]
    nearest = nearest_distances(picked, reference, leave_out=leave_out).amin(1)
    value = nearest.median().item() if len(picked) else math.nan
    return Finding("median distance to the nearest reference image", split, value, n=len(picked))
