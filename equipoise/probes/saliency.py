"""Does the classifier look at the object?

Notation. Image x has a mask m in [0, 1] over its P pixels, 1 where the object is. A map s >= 0 over pixels says where
the classifier looks. Two maps are measured:

    gradient    sum over channels of |d l / d x|, l being the log-odds against the predicted class
    cam         Grad-CAM of the predicted class c at the last convolution, or the last part of the network that is made
                of some, whose activations A_k have a height and a width: relu(sum_k alpha_k A_k), alpha_k the mean over
                positions of d z_c / d A_k, resized to the image. Networks without convolutions have none; of a vision
                transformer it is the layer that cuts patches.

and of each

    inside      sum m s / sum s: the share of the map on the object; `area`, sum m / P, is what chance would give
    precision   average precision of the map as a score of the pixels with m >= 1/2
    overlap     of cam alone: intersection over union of s >= max s / 2 and m >= 1/2
    contrast    of cam alone: mean of s / max s on the object less that off it

Images without a mask, and with one that leaves no object or no background, are left out, and so are maps that are 0
everywhere. The gradient of the log-odds keeps its direction where the probability rounds to 1.

References:
    Grad-CAM (Selvaraju et al., 2017), https://arxiv.org/abs/1610.02391
    A comprehensive study of image classification model sensitivity to foregrounds, backgrounds, and visual attributes
    (Moayeri, Pope, Balaji and Feizi, 2022), https://arxiv.org/abs/2201.10766
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from equipoise.attacks.input_gradient import finite, gradient_of
from equipoise.attacks.losses import log_odds
from equipoise.classifiers import Classifier
from equipoise.images import Batch, encode_png
from equipoise.probes.metric import Metric, Quoted
from equipoise.probes.probe import Answers, Columns, Probe, Request

__all__ = ["Saliency"]

NAMES = {
    "gradient_inside": "share of the input gradient on the object",
    "cam_inside": "share of Grad-CAM on the object",
    "gradient_precision": "average precision of the input gradient",
    "cam_precision": "average precision of Grad-CAM",
    "cam_overlap": "overlap of Grad-CAM and object",
    "cam_contrast": "contrast of Grad-CAM on and off the object",
    "area": "share of the image on the object",
}
"""Columns, and what their means are called."""


@dataclass(frozen=True)
class Saliency(Probe):
    """How much of the input gradient and of Grad-CAM falls on the object."""

    name: ClassVar[str] = "saliency"
    types: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(NAMES, "DOUBLE"),
        "forwards": "INTEGER",
        "backwards": "INTEGER",
        "picture": "BLOB",
    }

    def __str__(self) -> str:
        return self.name

    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        count, notes = len(batch.ids), []
        gradients, cams = _maps(classifier, batch.images, notes)
        columns: dict[str, NDArray] = {name: np.full(count, np.nan) for name in NAMES}
        columns |= {name: np.ones(count, dtype=np.int64) for name in ("forwards", "backwards")}
        columns["picture"] = np.full(count, None, dtype=object)
        for i, mask in enumerate(batch.masks):
            if mask is None or not ((mask > 0).any() and (mask < 1).any()):
                notes.append("images without a mask, an object or a background were left out")
                continue
            weights = mask[0].cpu().numpy().astype(np.float64)
            columns["area"][i] = weights.mean()
            gradient = gradients[i].cpu().numpy().astype(np.float64)
            columns["gradient_inside"][i] = _inside(gradient, weights)
            columns["gradient_precision"][i] = _precision(gradient, weights)
            cam = None if cams is None else cams[i].cpu().numpy().astype(np.float64)
            if cam is not None:
                columns["cam_inside"][i] = _inside(cam, weights)
                columns["cam_precision"][i] = _precision(cam, weights)
                columns["cam_overlap"][i], columns["cam_contrast"][i] = _matched(cam, weights)
            if request.pictured[i]:
                columns["picture"][i] = _picture([gradient] if cam is None else [gradient, cam])
        return Answers(columns, tuple(dict.fromkeys(notes)))

    def metrics(self, columns: Columns) -> Sequence[Quoted]:
        found = []
        for column, name in NAMES.items():
            values = np.asarray(columns[column], dtype=float)
            values = values[~np.isnan(values)]
            if len(values):
                unit = "number" if column == "cam_contrast" else "share"
                found.append(Metric(name, values, "mean", unit=unit, better="neither"))
        return found


def _maps(
    classifier: Classifier, images: Tensor, notes: list[str]
) -> tuple[Tensor, Tensor | None]:
    """Gradient map and Grad-CAM of each image with shape (B, H, W), from one forward and one backward pass."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if (
            isinstance(output, Tensor)
            and output.dim() == 4
            and output.shape[-1] * output.shape[-2] > 1
        ):
            seen[:] = [output]

    hooks = [
        module.register_forward_hook(keep)
        for module in classifier.net.modules()
        if any(isinstance(part, nn.Conv2d) for part in module.modules())
    ]
    try:
        with torch.enable_grad():
            pixels = images.detach().clone().requires_grad_(True)
            logits = classifier.logits(pixels).float()
            predicted = logits.detach().argmax(1)
            top = logits.gather(1, predicted[:, None])
            odds = log_odds(logits, predicted)
            # The rows that padding added have no loss, and no gradient.
            slope = finite(gradient_of(odds, pixels, notes, keep=True), notes)
            layer, rise = (seen[-1] if seen else None), None
            if layer is not None and layer.requires_grad and top.requires_grad:
                (rise,) = torch.autograd.grad(top.sum(), layer, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    maps = slope.abs().sum(1)
    if layer is None or rise is None:
        return maps, None
    weights = finite(rise, notes).float().mean((2, 3), keepdim=True)
    cam = (weights * layer.detach().float()).sum(1, keepdim=True).relu()[: len(images)]
    cam = F.interpolate(cam, images.shape[-2:], mode="bilinear", align_corners=False)
    return maps, cam[:, 0]


def _inside(found: NDArray, mask: NDArray) -> float:
    """The share of a map on the object; NaN where the map is 0."""
    total = found.sum()
    return float((found * mask).sum() / total) if total > 0 else float("nan")


def _precision(found: NDArray, mask: NDArray) -> float:
    """Average precision: sum_k (R_k - R_{k-1}) P_k over the map's distinct values, highest first; NaN where it is 0
    or the object has no pixel."""
    wanted = (mask >= 0.5).ravel()
    if not (wanted.any() and (found > 0).any()):
        return float("nan")
    order = np.argsort(-found.ravel(), kind="stable")
    score, hits = found.ravel()[order], wanted[order].cumsum()
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    recall, precision = hits[last] / hits[-1], hits[last] / (last + 1)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _matched(cam: NDArray, mask: NDArray) -> tuple[float, float]:
    """Overlap and contrast; NaN where the map is 0, and contrast where all or nothing is object."""
    top = cam.max()
    if not top > 0:
        return float("nan"), float("nan")
    wanted, bright = mask >= 0.5, cam >= top / 2
    overlap = float((wanted & bright).sum() / (wanted | bright).sum())
    if wanted.all() or not wanted.any():
        return overlap, float("nan")
    return overlap, float((cam[wanted].mean() - cam[~wanted].mean()) / top)


def _picture(maps: Sequence[NDArray]) -> bytes:
    """The maps side by side, brightest white."""
    grey = [torch.from_numpy(m / m.max() if m.max() > 0 else m).float()[None] for m in maps]
    return encode_png(torch.cat(grey, 2))
