"""Fixed-feature transfer, or linear probing: a new linear head on the features of a classifier that stays as it is.

Notation. g(x), with D numbers, is what the last linear layer of the classifier sees of an image x; z is g(x) with each
number shifted and scaled to mean 0 and standard deviation 1 over the images. The head of K classes is the multinomial
logistic regression

    min over W, b of  mean over images of -log softmax(W z + b)_y + decay / 2 ||W||_2^2,

whose minimum is unique but for a constant added to b, which starts at 0 and is kept at mean 0 by the descent. Shift and
scale then go into W and b, so that the head is an ordinary linear layer on g(x). Images weigh alike, whatever their
class or group.

Choices of ours: the decay is the one of `DECAYS` whose head, fitted without them, has the lowest mean loss on held-out
images, a fifth of each class; the search goes from strong to weak and ends where the loss rises. The final head is
fitted to all images. No images are augmented.

References:
    Do adversarially robust ImageNet models transfer better? (Salman et al., 2020), https://arxiv.org/abs/2007.08489
"""

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F

from equipoise.classifiers import (
    NETS,
    Classifier,
    Penultimate,
    load_classifier,
    save_classifier,
    wrap,
)
from equipoise.devices import choose_device, enough_threads
from equipoise.errors import EquipoiseError
from equipoise.images import Images
from equipoise.progress import Progress
from equipoise.streams import digest
from equipoise.training import engine

__all__ = ["DECAYS", "fit_head", "transfer"]

DECAYS = (1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5)
"""Strengths of the penalty that are tried."""

HELD_OUT = 0.2
"""Share of each class that chooses among them."""


def fit_head(
    classifier: Classifier,
    images: Images,
    *,
    decays: Sequence[float] = DECAYS,
    seed: int = 0,
    batch: int = 128,
    device: str = "auto",
    shown: bool = True,
) -> Classifier:
    """A classifier of the classes of `images`: the features of `classifier`, and a head fitted to them.

    Its facts keep the `norm`, `radius`, `objective` and `network` of `classifier`, which place it on a ladder.

    Arguments:
        classifier: of any classes; it ends in an `nn.Linear` and is left as it is.
        images: to fit to; all of them are looked at once.
        decays: strengths of the penalty; one is taken as it is, among several the held-out images choose.
        seed: of the choice of held-out images.
        batch: images in a network call; changes speed and memory, no result.
        device: "auto", "cpu", "cuda" or "cuda:1"; what is returned is on the CPU.
        shown: whether to show progress.

    Raises:
        EquipoiseError: for images that nothing may be fitted to, a class of fewer than two images, a decay that is not
            positive, a classifier that ends in no `nn.Linear` or does not take the images.
    """
    _check(images, decays)
    where, shape = choose_device(device), images.shape
    copy = deepcopy(classifier).to(where)
    represent = Penultimate.of(copy, shape)
    seen = _look(represent, images, batch, where, shown=shown)
    head, chosen = _fit(seen, images, decays, seed)
    layer = nn.Linear(
        head.weight.shape[1], len(images.classes), device=where, dtype=represent.layer.weight.dtype
    )
    layer.load_state_dict({"weight": head.weight, "bias": head.bias})
    placed = ("norm", "radius", "objective", "network")
    kept = {k: v for k, v in classifier.facts.items() if k in placed}
    return wrap(
        _with_head(copy.net, represent.layer, layer).cpu(),
        mean=classifier.mean.flatten().tolist(),
        std=classifier.std.flatten().tolist(),
        classes=images.classes,
        name=classifier.name,
        facts={
            "identity": _identity(classifier, images, decays, seed),
            "data": images.spec,
            "split": images.split,
            "images": len(images),
            **kept,
            "fitted": "linear head on fixed features",
            "backbone": {
                "name": classifier.name,
                "fingerprint": classifier.fingerprint(),
                "facts": classifier.facts,
            },
            "selected": chosen,
        },
    )


def transfer(
    classifier: Classifier,
    images: Images,
    folder: Path,
    *,
    decays: Sequence[float] = DECAYS,
    seed: int = 0,
    batch: int = 128,
    device: str = "auto",
    shown: bool = True,
) -> Classifier:
    """What `fit_head` makes of the same arguments, written into `folder`, or loaded from there when it was made before.

    Raises:
        EquipoiseError: for whatever `fit_head` refuses, for a classifier whose network cannot be written, and when
            `folder` holds another classifier or another process works in it.
    """
    _check(images, decays)
    if type(classifier.net) not in NETS.values():
        raise EquipoiseError(
            f"Cannot write the transfer of {classifier.name!r} into {folder}: its network is a "
            f"{type(classifier.net).__name__}, and only {', '.join(sorted(NETS))} can be rebuilt from a file. Call "
            "equipoise.training.fit_head from Python, in a function of yours that builds the classifier."
        )
    identity = _identity(classifier, images, decays, seed)
    if not engine.is_finished(folder / "classifier.json", identity, "classifier"):
        with engine.alone(folder):
            fitted = fit_head(
                classifier,
                images,
                decays=decays,
                seed=seed,
                batch=batch,
                device=device,
                shown=shown,
            )
            save_classifier(fitted, folder)
    return load_classifier(f"local:{folder}")


@dataclass(frozen=True)
class _Seen:
    """Features with shape (N, D), float32; labels with shape (N,); ids of the N images."""

    features: Tensor
    labels: Tensor
    ids: Sequence[str]


@dataclass(frozen=True)
class _Head:
    """Logits W g + b: W with shape (K, D), b with shape (K,), float64."""

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        return features.double() @ self.weight.T + self.bias


def _check(images: Images, decays: Sequence[float]) -> None:
    images.refuse_fitting("fit a head to")
    if not decays or not all(0 < decay < float("inf") for decay in decays):
        raise EquipoiseError(
            f"Cannot fit a head with the decays {tuple(decays)}: give one or more above 0."
        )


def _identity(classifier: Classifier, images: Images, decays: Sequence[float], seed: int) -> str:
    seen = images.fingerprint(range(len(images)))
    return digest("head", seen, classifier.fingerprint(), HELD_OUT, *decays, seed)


@torch.no_grad()
def _look(
    represent: Penultimate, images: Images, batch: int, device: torch.device, *, shown: bool
) -> _Seen:
    """The features of all images, decoded once."""
    features, labels, ids, shape = [], [], [], images.shape
    rows = [range(k, min(k + batch, len(images))) for k in range(0, len(images), batch)]
    first = images.batch(rows[0], shape=shape).images.to(device)
    with (
        enough_threads(represent.classifier, first),
        Progress("Looking at images", len(rows), shown=shown) as progress,
    ):
        for part in rows:
            read = images.batch(part, shape=shape)
            features.append(represent(read.images.to(device)))
            labels.append(read.labels)
            ids += read.ids
            progress.advance()
    return _Seen(torch.cat(features), torch.cat(labels).to(device), ids)


def _fit(
    seen: _Seen, images: Images, decays: Sequence[float], seed: int
) -> tuple[_Head, dict[str, Any]]:
    """The head of the decay that held-out images choose, fitted to all, and what spoke for it."""
    classes, rows = len(images.classes), defaultdict[int, list[int]](list)
    for row, label in enumerate(seen.labels.tolist()):
        rows[label].append(row)
    rare = [name for k, name in enumerate(images.classes) if len(rows[k]) < 2]
    if rare:
        raise EquipoiseError(
            f"Cannot fit a head to {images.spec!r}: it has fewer than two images of the class {rare[0]!r}, one of "
            f"{len(rare)}. Add images, or leave these classes out."
        )
    if len(decays) == 1:
        return _solve(seen.features, seen.labels, classes, decays[0])[0], {"decay": decays[0]}
    held: list[int] = []
    for group in rows.values():
        # By id, so that the choice does not depend on the order of the images.
        order = sorted(group, key=lambda row: digest(seed, "held out", seen.ids[row]))
        held += order[: max(1, round(HELD_OUT * len(order)))]
    out = torch.zeros(len(seen.labels), dtype=torch.bool, device=seen.labels.device)
    out[held] = True
    tried, start = [], None
    for decay in sorted(decays, reverse=True):
        head, start = _solve(seen.features[~out], seen.labels[~out], classes, decay, start)
        logits = head.logits(seen.features[out])
        loss = F.cross_entropy(logits, seen.labels[out]).item()
        correct = int((logits.argmax(1) == seen.labels[out]).sum())
        tried.append(
            {"decay": decay, "held_out_loss": loss, "held_out_accuracy": correct / len(held)}
        )
        if loss > min(other["held_out_loss"] for other in tried):
            break
    chosen = min(tried, key=lambda other: other["held_out_loss"])
    head, _ = _solve(seen.features, seen.labels, classes, chosen["decay"], start)
    return head, chosen


def _solve(
    features: Tensor,
    labels: Tensor,
    classes: int,
    decay: float,
    start: NDArray[np.float64] | None = None,
) -> tuple[_Head, NDArray[np.float64]]:
    """The head at the minimum, and the same as a point from which to begin the search for another."""
    z = features.double()
    std, mean = torch.std_mean(z, dim=0, correction=0)
    # A feature that never changes is left out: its z is 0.
    scale = torch.where(std > 1e-7 * mean.abs().clamp(min=1e-30), std, torch.inf)
    z = (z - mean).div_(scale)
    width = z.shape[1]

    def split(point: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        both = torch.from_numpy(point).to(z.device).view(classes, width + 1)
        return both[:, :-1], both[:, -1]

    def objective(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = split(point)
        logs = (z @ weight.T + bias).log_softmax(1)
        loss = F.nll_loss(logs, labels) + decay / 2 * weight.square().sum()
        wrong = (logs.exp() - F.one_hot(labels, classes)) / len(labels)
        slope = torch.cat([wrong.T @ z + decay * weight, wrong.sum(0)[:, None]], 1)
        return loss.item(), slope.flatten().cpu().numpy()

    found = minimize(
        objective,
        np.zeros(classes * (width + 1)) if start is None else start,
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-8, "maxiter": 3000, "maxfun": 6000, "maxcor": 20},
    )
    weight, bias = split(found.x)
    weight = weight / scale
    return _Head(weight, bias - weight @ mean), found.x


def _with_head(net: nn.Module, old: nn.Linear, new: nn.Linear) -> nn.Module:
    """`net` with its layer `old` replaced, and its settings, if it has any, told so."""
    name = next(name for name, module in net.named_modules() if module is old)
    if not name:
        return new
    net.set_submodule(name, new)
    if isinstance(net, tuple(NETS.values())):
        net.settings = {**net.settings, "classes": new.out_features}
    return net
