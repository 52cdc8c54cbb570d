"""From a few measured batches to what a whole audit takes.

Notation. A probe asked about n images makes calls of a classifier, call i on w_i images. A call of width w costs c(w)
seconds, forward alone or with the way back, which was measured apart. The n images took t seconds, of which
C = sum_i c(w_i) were calls and o = t - C everything else. p are passes per image, P those of the sample.

A batch of w images, s = w / n times as many, makes the same calls, only wider, or, by a probe that asks about its
images one by one, s times as many of the same width:

    together      t(w) = o + (p w) / (s P) sum_i c(s w_i)
    one by one    t(w) = s o + (p w) / P C

The factor before the calls puts the mean over all samples of a classifier and probe in the place of this sample's own.

Images of the audit's random sample are looked at twice, and some keep pictures: such images are marked. Batches with
and without marked images are measured apart, as the second look of a single image makes as many calls as that of
many.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.padding import ROWS

__all__ = ["CallCost", "Calls", "Sample", "extrapolate", "one_by_one", "relative_error"]

Calls = Mapping[tuple[str, bool], NDArray]
"""Widths of calls, by classifier and by whether they went back to the images."""


@dataclass(frozen=True)
class CallCost:
    """Seconds of a call of one classifier: straight between the widths that were measured, and on beyond them.

    Arguments:
        widths: at which calls were measured, increasing.
        forward: seconds of a call.
        both: seconds of a call and the way back to the images.
    """

    widths: Sequence[int]
    forward: Sequence[float]
    both: Sequence[float]

    def __call__(self, widths: NDArray, back: bool) -> NDArray:
        """Seconds of calls of these widths, which need not be whole."""
        known, seconds = np.array(self.widths), np.array(self.both if back else self.forward)
        # The least width there is on the network's side.
        w = np.maximum(widths, ROWS)
        if len(known) == 1:
            return seconds[0] * w / max(known[0], ROWS)
        slope = max(0.0, (seconds[-1] - seconds[-2]) / (known[-1] - known[-2]))
        return np.interp(w, known, seconds) + slope * np.maximum(w - known[-1], 0)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One measurement of one probe of one classifier.

    Attributes:
        images: n.
        marked: how many of them were looked at twice or pictured.
        seconds: t.
        calls: w_i.
        forwards: passes of each image, those that are not marked first.
        backwards: the same on the way back.
    """

    images: int
    marked: int
    seconds: float
    calls: Calls
    forwards: NDArray
    backwards: NDArray

    @property
    def passes(self) -> NDArray:
        return self.forwards + self.backwards


def extrapolate(
    sample: Sample,
    costs: Mapping[str, CallCost],
    width: int,
    passes: float,
    *,
    apart: bool,
    scale: Mapping[str, str] | None = None,
) -> float:
    """Seconds that a batch will take.

    Arguments:
        sample: a measurement.
        costs: c of every classifier.
        width: w, the images of the batch.
        passes: p w, those expected of the batch.
        apart: whether the probe asks about images one by one.
        scale: another classifier for some, whose calls are to be paid instead: the sample is borrowed.
    """
    s = width / sample.images
    named = scale or {}
    before = sum(
        float(costs[name](_padded(w), back).sum()) for (name, back), w in sample.calls.items()
    )
    rest = max(0.0, sample.seconds - before)
    after = sum(
        float(costs[named.get(name, name)](_padded(w) if apart else s * w, back).sum())
        for (name, back), w in sample.calls.items()
    )
    told = float(sample.passes.sum())
    share = passes / (s * told) if told > 0 else 1.0
    return share * s * after + s * rest if apart else share * after + rest


def one_by_one(samples: Sequence[Sample]) -> bool:
    """Whether a probe asks about its images one by one: calls grow in number as images do, and not in width."""
    sizes = sorted({sample.images for sample in samples})
    if len(sizes) < 2:
        return False
    calls, widths = [], []
    # Of one size, some images take far more calls than others: their mean says what the size does.
    for size in (sizes[0], sizes[-1]):
        made = [w for s in samples if s.images == size for w in s.calls.values()]
        count = sum(len(w) for w in made)
        if not count:
            return False
        calls.append(count / sum(s.images == size for s in samples))
        widths.append(float(sum(w.sum() for w in made)) / count)
    longer = math.log(sizes[-1] / sizes[0])
    return (
        math.log(calls[1] / calls[0]) > 0.75 * longer
        and math.log(widths[1] / widths[0]) < 0.25 * longer
    )


def relative_error(
    samples: Sequence[Sample], total: int, width: int, *, borrowed: bool = False
) -> float:
    """The standard error of the time of all images as a share of it.

    From the spread of passes between images, a twentieth for the clock, a tenth for each doubling of the batch beyond
    what was measured, and half for what was only seen of another classifier.

    Arguments:
        samples: of one classifier and probe.
        total: how many images there are.
        width: of the audit's batches.
        borrowed: whether they are another classifier's.
    """
    n = sum(sample.images for sample in samples)
    passes = np.concatenate([sample.passes for sample in samples])
    mean = passes.mean()
    spread = float(passes.std() / mean) ** 2 if mean > 0 else 0.0
    # A few images that happen to agree say little: their spread could as well be the mean.
    between = (spread + 1 / n) / n * max(0.0, 1 - n / total)
    doublings = math.log2(max(1.0, width / max(sample.images for sample in samples)))
    return math.sqrt(between + 0.05**2 + (0.1 * doublings) ** 2 + (0.25 if borrowed else 0.0))


def _padded(widths: NDArray) -> NDArray:
    return np.ceil(widths / ROWS) * ROWS
