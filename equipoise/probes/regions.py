"""Does noise on the object harm the classifier more than noise on the background?

Notation. Image x has a mask m in [0, 1], 1 where the object is. For one draw z of standard Gaussian noise, the same for
both regions, and a level s, the noisy images are

    gaussian    x + s m z                    and x + s (1 - m) z: noise of standard deviation s
    l2          x + s m z / |m z|            and x + s (1 - m) z / |(1 - m) z|: noise of one length, whatever the area

clipped to [0, 1]. Over levels and draws, a_i is the share of right answers of image i with noise on the object, b_i
with noise on the background. With a and b their means over the images of each class, averaged over classes,

    sensitivity = (b - a) / (2 min(m, 1 - m)),  m = (a + b) / 2,

in [-1, 1] and 0 where m is 0 or 1: high for classifiers that lean on the object. RIVAL10 calls it relative foreground
sensitivity (RFS); with soft masks of core features, Gaussian noise of level 0.25 and several draws it is the relative
core sensitivity (RCS) of Salient ImageNet-1M, where b is core accuracy and a is spurious accuracy. The same of the mean
probabilities of the true class of one image is that image's own (iRFS).

Levels are those of RIVAL10's authors: standard deviations 30/255 to 210/255, lengths 25 to 200 on 224 x 224 pixels in
three channels; on images of n pixels and channels the lengths are multiplied by sqrt(n / 150528), which keeps the
noise of a pixel. They call Gaussian noise "linf", though no norm is bounded. Images without a mask, and with one that
leaves no object or no background, are left out: there is nothing to compare.

References:
    A comprehensive study of image classification model sensitivity to foregrounds, backgrounds, and visual attributes
    (Moayeri, Pope, Balaji and Feizi, 2022), https://arxiv.org/abs/2201.10766
    Core risk minimization using Salient ImageNet (Singla, Moayeri and Feizi, 2022), https://arxiv.org/abs/2203.15566
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.images import Batch, encode_png
from equipoise.probes.metric import Metric, Quoted, Sensitivity, relative_sensitivity
from equipoise.probes.probe import Answers, Columns, Probe, Request
from equipoise.store import lists
from equipoise.streams import stream

__all__ = ["LEVELS", "Noise", "Regions"]

Noise = Literal["gaussian", "l2"]

LEVELS: dict[Noise, tuple[float, ...]] = {
    "gaussian": tuple(k / 255 for k in range(30, 240, 30)),
    "l2": tuple(float(k) for k in range(25, 225, 25)),
}
"""Standard deviations, and lengths on 3 x 224 x 224 inputs."""

SIDE = 3 * 224 * 224


@dataclass(frozen=True)
class Regions(Probe):
    """Accuracy under noise on the object alone and on the background alone.

    Arguments:
        noise: its kind.
        levels: standard deviations, or lengths on 3 x 224 x 224 inputs, all positive; the kind's own when empty.
        trials: draws for each image.
    """

    noise: Noise = "gaussian"
    levels: tuple[float, ...] = ()
    trials: int = 1

    name: ClassVar[str] = "regions"
    types: ClassVar[Mapping[str, str]] = {
        "levels": "FLOAT[]",
        "object": "DOUBLE[]",
        "background": "DOUBLE[]",
        "sensitivity": "DOUBLE",
        "area": "DOUBLE",
        "forwards": "INTEGER",
        "picture": "BLOB",
    }

    def __str__(self) -> str:
        options = []
        if self.levels:
            options.append(f"levels={','.join(map(repr, self.levels))}")
        if self.trials != type(self).trials:
            options.append(f"trials={self.trials}")
        return f"{self.name}:{self.noise}" + (f"?{'&'.join(options)}" if options else "")

    @torch.no_grad()
    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        count = len(batch.ids)
        kept = [i for i, mask in enumerate(batch.masks) if mask is not None and _parts(mask)]
        levels = self.levels or LEVELS[self.noise]
        columns: dict[str, NDArray] = {
            name: np.full(count, None, dtype=object)
            for name in ("levels", "object", "background", "sensitivity", "area", "picture")
        }
        columns["forwards"] = np.zeros(count, dtype=np.int64)
        notes = ()
        if len(kept) < count:
            notes = ("images without a mask, an object or a background were left out",)
        if not kept:
            return Answers(columns, notes)
        images, labels = batch.images[kept], batch.labels[kept]
        masks = torch.stack([m for i in kept if (m := batch.masks[i]) is not None]).to(images)
        # Sums over levels and draws, in the order object, background.
        right = torch.zeros(2, len(levels), len(kept), dtype=torch.float64, device=images.device)
        sure = torch.zeros(2, len(kept), dtype=torch.float64, device=images.device)
        shown: list[Tensor] = []
        for trial in range(self.trials):
            draws = [
                torch.randn(
                    images.shape[1:],
                    generator=stream(self.name, request.seed, batch.ids[i], trial),
                )
                for i in kept
            ]
            noise = torch.stack(draws).to(images)
            for side, region in enumerate((masks, 1 - masks)):
                change = self._scaled(region * noise)
                for k, level in enumerate(levels):
                    noisy = (images + level * change).clamp(0, 1)
                    logits = classifier.logits(noisy).float()
                    right[side, k] += logits.argmax(1) == labels
                    sure[side] += logits.softmax(1).gather(1, labels[:, None])[:, 0]
                    if trial == 0 and k == len(levels) // 2:
                        shown.append(noisy)
        share = (right / self.trials).cpu().numpy()
        chance = (sure / (self.trials * len(levels))).cpu().numpy()
        own = relative_sensitivity(chance[0], chance[1])
        for place, i in enumerate(kept):
            columns["levels"][i] = list(levels)
            columns["object"][i] = share[0, :, place].tolist()
            columns["background"][i] = share[1, :, place].tolist()
            columns["sensitivity"][i] = float(own[place])
            columns["area"][i] = float(masks[place].double().mean())
            columns["forwards"][i] = 2 * self.trials * len(levels)
            if request.pictured[i]:
                columns["picture"][i] = encode_png(torch.cat([part[place] for part in shown], 2))
        return Answers(columns, notes)

    def _scaled(self, change: Tensor) -> Tensor:
        """The noise at level 1."""
        if self.noise == "gaussian":
            return change
        # One image at a time: sums over a batch may round with its size.
        lengths = torch.stack([torch.linalg.vector_norm(one.double()) for one in change])
        scale = math.sqrt(change[0].numel() / SIDE)
        return change * (scale / lengths).to(change).view(-1, 1, 1, 1)

    def metrics(self, columns: Columns) -> list[Quoted]:
        asked, shares = lists(columns["object"])
        first, second = shares.mean(1), lists(columns["background"])[1].mean(1)
        own = np.asarray(columns["sensitivity"], dtype=float)[asked]
        noise = f"{'Gaussian' if self.noise == 'gaussian' else 'L2'} noise"
        return [
            Metric(f"accuracy with {noise} on the object", first, "mean"),
            Metric(f"accuracy with {noise} on the background", second, "mean"),
            Sensitivity(
                f"relative sensitivity to the object, {noise}",
                first,
                second,
                np.asarray(columns["label"])[asked],
            ),
            Metric(f"sensitivity of single images, {noise}", own, "mean", unit="number"),
        ]


def _parts(mask: Tensor) -> bool:
    """Whether the mask leaves some object and some background."""
    return bool((mask > 0).any()) and bool((mask < 1).any())
