"""What the claims of arXiv 2404.10588 are tested on, and how their sentences say numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from equipoise.audit import Estimate, Run
from equipoise.counterfactuals import nearest_distances
from equipoise.images import Images
from equipoise.norms import Threat

__all__ = ["Confounders", "Evidence", "Ladder", "confounders", "known", "said", "share"]


@dataclass(frozen=True)
class Confounders:
    """What else could explain a correlation, one value an image.

    Attributes:
        label: class.
        contrast: standard deviation of the pixels.
        nearest: L2 distance to the nearest real image of another class.
        typical: the same for each other class by itself, on average over them.
    """

    label: NDArray
    contrast: NDArray
    nearest: NDArray
    typical: NDArray


def confounders(train: Images, images: Images) -> Confounders:
    """Of each image: its class, its contrast, and how near the nearest training images of other classes are."""
    mine = images.batch(range(len(images)))
    nearest = nearest_distances(mine.images, train)
    other = torch.arange(len(images.classes)) != mine.labels[:, None]
    return Confounders(
        mine.labels.numpy(),
        mine.images.flatten(1).std(dim=1).numpy(),
        nearest.masked_fill(~other, torch.inf).amin(1).numpy(),
        (nearest * other).sum(1).div(other.sum(1)).numpy(),
    )


@dataclass(frozen=True)
class Ladder:
    """A ladder, and what it answered about counterfactuals.

    Attributes:
        run: its audit, with the standard probe and one probe for each set.
        rungs: names of the classifiers, the standard one first, then by radius, norm after norm.
        threats: that they were trained for; the norm of the first, of radius 0, is the main one.
        probes: specs of the counterfactual probes by arm: "exact", "laplace", "published".
    """

    run: Run
    rungs: Sequence[str]
    threats: Sequence[Threat]
    probes: Mapping[str, str]

    @property
    def first(self) -> str:
        """The standard rung."""
        return self.rungs[0]

    @property
    def robust(self) -> list[tuple[str, Threat]]:
        """All other rungs."""
        return list(zip(self.rungs, self.threats, strict=True))[1:]

    @property
    def top(self) -> str:
        """The most robust rung: that of the largest radius of the main norm."""
        main = self.threats[0].norm
        return [rung for rung, threat in self.robust if threat.norm == main][-1]

    def of(self, arm: str, rung: str) -> dict[str, NDArray]:
        """The columns of an arm's probe, images without counterfactuals as NaN."""
        columns = self.run.columns(self.probes[arm], rung)
        return {k: v if v.dtype == object else v.astype(float) for k, v in columns.items()}

    def right(self, rung: str) -> NDArray:
        """Which images the rung classifies correctly."""
        return self.run.columns("standard", rung)["correct"].astype(float)


@dataclass(frozen=True)
class Evidence(Ladder):
    """What the claims are tested on: a ladder that was asked about the images that it was trained on.

    Attributes:
        confounders: in the order of the run's images.
        own: the audit of the images that the most robust rung made itself, and its probe.
    """

    confounders: Confounders
    own: tuple[Run, str] | None


def known(values: NDArray) -> NDArray:
    """Without those that are missing."""
    return values[~np.isnan(values)]


def share(values: NDArray) -> str:
    """Their mean in per cent."""
    return f"{100 * np.mean(values):.1f}%" if len(values) else "none"


def said(found: Estimate) -> str:
    """``0.12 (0.10 to 0.15)``."""
    if math.isnan(found.value):
        return "too few to tell"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
