"""What people quote of a probe: statistics of its columns. Their intervals are computed by `equipoise.audit`.

Notation. Image i has a value v_i, often 1 where the classifier is right and 0 where not, and belongs to a group g_i:
its class and place together, its variant, its domain. acc(g) is the mean of v_i over the images of group g.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Contrast", "Metric", "Quoted", "Sensitivity", "WorstGroup", "relative_sensitivity"]

Unit = Literal["share", "distance", "number"]
Better = Literal["high", "neither"]


@dataclass(frozen=True)
class Metric:
    """A statistic people quote: the mean or the median of `values` over images.

    Attributes:
        name: in words, for tables and pages.
        values: with shape (N,).
        kind: "share" for the mean of zeros and ones, "mean" or "median" of numbers.
        unit: "share" for what is between 0 and 1 and read in per cent, "distance" for what is measured in pixel units,
            "number" for anything else, such as a correlation.
        better: whether people want it "high", or "neither" high nor low.
        about: "images" where it is the same whatever the classifier, so that there is nothing to compare.
    """

    name: str
    values: NDArray
    kind: Literal["share", "mean", "median"]
    unit: Unit = "share"
    better: Better = "high"
    about: Literal["classifier", "images"] = "classifier"


@dataclass(frozen=True)
class Contrast:
    """sum_g weight_g acc(g): a difference between groups, or their average at other shares than the images'.

    Attributes:
        name: in words.
        correct: zeros and ones, with shape (N,).
        groups: the group of each image, with shape (N,).
        weights: of the groups that take part.
        unit: "share" for an average, "number" for a difference, which may be negative.
    """

    name: str
    correct: NDArray
    groups: NDArray
    weights: Mapping[str, float]
    unit: Unit = "number"
    better: Better = "neither"


@dataclass(frozen=True)
class WorstGroup:
    """min_g acc(g).

    Attributes:
        name: in words.
        correct: zeros and ones, with shape (N,).
        groups: the group of each image, with shape (N,).
        expected: groups without which the worst is not known; those of the images when empty.
    """

    name: str
    correct: NDArray
    groups: NDArray
    expected: tuple[str, ...] = ()
    unit: Unit = field(default="share", init=False)
    better: Better = field(default="high", init=False)


@dataclass(frozen=True)
class Sensitivity:
    """(b - a) / (2 min(m, 1 - m)) with m = (a + b) / 2, where a and b are the means of `first` and `second` over the
    images of each class, averaged over classes: how much more the first disturbance harms than the second.

    Attributes:
        name: in words.
        first: in [0, 1], with shape (N,): shares of right answers where the object is disturbed.
        second: the same where the background is.
        classes: the class of each image, with shape (N,).
    """

    name: str
    first: NDArray
    second: NDArray
    classes: NDArray
    unit: Unit = field(default="number", init=False)
    better: Better = field(default="high", init=False)


Quoted = Metric | Contrast | WorstGroup | Sensitivity


def relative_sensitivity(a: ArrayLike, b: ArrayLike) -> NDArray:
    """(b - a) / (2 min(m, 1 - m)) with m = (a + b) / 2, in [-1, 1], and 0 where m is 0 or 1.

    With m fixed, |b - a| can be no larger than 2 min(m, 1 - m): the difference as a share of what accuracy allows. It
    rises with b and falls with a.

    Arguments:
        a: numbers in [0, 1].
        b: likewise, of the same shape.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    # a + b and (1 - a) + (1 - b) keep their digits near 0 and 1, where 2 - (a + b) would not.
    room = np.minimum(a + b, (1 - a) + (1 - b))
    return np.divide(b - a, room, out=np.zeros(np.broadcast(a, b).shape), where=room > 0)
