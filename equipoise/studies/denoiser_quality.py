"""The denoiser of a study by itself, as exhibits: a study that draws images owes the reader how good they are."""

from base64 import b64encode
from pathlib import Path
from typing import Any

from equipoise.audit import Estimate
from equipoise.classifiers import Classifier
from equipoise.diffusion import Denoiser
from equipoise.errors import EquipoiseError
from equipoise.images import Images, load_images
from equipoise.quality import Kept, assess
from equipoise.quality.denoiser import COUNT

__all__ = ["denoiser_exhibits"]


def denoiser_exhibits(
    denoiser: Denoiser,
    judge: Classifier,
    train: Images,
    folder: Path,
    *,
    count: int = COUNT,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, list[dict[str, Any]]]:
    """What `equipoise.quality` finds of the denoiser, kept in `folder`; nothing for images without a split "test".

    Arguments:
        denoiser: trained on `train`.
        judge: trained on it as well, and for nothing else.
        train: whose split "test" is the held-out images.
        folder: of quality.json and the picture.
        count: samples.
        seed: of the samples.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """
    try:
        held_out = load_images(train.spec, "test")
    except EquipoiseError:
        return {}
    kept = assess(denoiser, judge, train, held_out, folder, count=count, seed=seed, device=device)
    return _rows(kept)


def _rows(kept: Kept) -> dict[str, list[dict[str, Any]]]:
    found = kept.quality
    pairs = {
        "read": (found.read, found.read_held_out),
        "distance": (found.distance, found.floor),
        "excess": (found.excess, None),
        "copied": (found.copied, found.copied_held_out),
        "nearer": (found.nearer, None),
        "nearer_features": (found.nearer_features, None),
    }
    rows = [
        {"measure": name} | _flat("samples", first) | (_flat("held_out", second) if second else {})
        for name, (first, second) in pairs.items()
    ]
    classes = [
        {"class": name} | _flat("samples", share)
        for name, share in zip(kept.about["classes"], found.by_class, strict=True)
    ]
    about = {name: value for name, value in kept.about.items() if name != "classes"}
    picture = b64encode(found.picture).decode("ascii")
    return {
        "denoiser": rows,
        "denoiser_classes": classes,
        "denoiser_about": [about | {"picture": picture}],
    }


def _flat(name: str, found: Estimate) -> dict[str, float]:
    return {
        name: found.value,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        f"{name}_n": found.n,
    }
