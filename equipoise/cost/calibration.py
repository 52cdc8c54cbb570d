"""Measuring what an audit's work costs on this device: a few batches of each classifier and probe, in a given time.

The batches go through the very executor that measures shards, in a temporary folder, on a random sample of the images
(`equipoise.cost.pool`), spread evenly over the classifier's margins. Which classifier and probe is measured next, and
on how many images, is what lowers the variance of the total most for the seconds it takes. Where the seconds do not
reach, a unit borrows another classifier's measurements with the same probe, each call paid at its own price
(`equipoise.cost.pricing`, `equipoise.cost.extrapolation`).
"""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from equipoise.attacks.losses import margin
from equipoise.audit.local import run_local
from equipoise.audit.plan import IMAGES, Plan, Shard
from equipoise.cost.extrapolation import Sample, extrapolate, one_by_one, relative_error
from equipoise.cost.pool import Chosen, Pool
from equipoise.cost.pricing import Prices
from equipoise.cost.watching import OutOfTimeError, watched
from equipoise.padding import ROWS
from equipoise.store import arrays, connect, read_alike

__all__ = ["Batches", "Calibration", "Size", "Unit"]

FIRST = 4
"""Images of the first measurement of a probe."""

LONGEST = 3
"""How many times the seconds that are given the first measurement of a probe may go on before it is broken off."""

MOST = 512
"""Images among which samples are spread."""

Batches = Counter[tuple[int, int]]
"""How many batches there are of so many images, so many of which are marked."""


@dataclass(frozen=True)
class Unit:
    """What is measured apart: a probe of a classifier, on batches with marked images or on those without."""

    classifier: str
    probe: str
    marked: bool


@dataclass(frozen=True)
class Size:
    """Bytes of a probe's shards.

    Attributes:
        rows: how many were looked at.
        first: bytes of a shard with one row.
        row: bytes of every further row.
        picture: bytes of a row's pictures, where it has any.
    """

    rows: int = 0
    first: float = 0.0
    row: float = 0.0
    picture: float = 0.0

    def of(self, rows: int, pictured: int) -> float:
        """Bytes of a shard."""
        return self.first + (rows - 1) * self.row + pictured * self.picture


class Calibration:
    """Measurements of a plan's units, and what they say about its batches.

    Arguments:
        plan: of the audit.
        batches: those that are to be measured, by unit.
        folder: an empty one for what is written on the way.
        device: where the audit will be.
        seconds: how long this may take, about.
        clock: what seconds are.
    """

    def __init__(
        self,
        plan: Plan,
        batches: dict[Unit, Batches],
        folder: Path,
        *,
        device: torch.device,
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.plan, self.batches, self.folder = plan, batches, folder
        self.device, self.seconds, self.clock = device, seconds, clock
        self.samples: dict[Unit, list[Sample]] = {unit: [] for unit in batches}
        self.sizes: dict[str, Size] = {}
        self.rest: dict[str, list[float]] = {}
        """Seconds beside the probe that a shard takes, by probe: writing it."""
        self._pool = Pool(plan.data, plan.shape, plan.seed)
        self.prices = Prices(
            plan.classifiers,
            self._pool,
            width=max((self.width(unit) for unit in batches), default=1),
            device=device,
            seconds=0.02 * seconds,
            clock=clock,
        )
        self._widest = 0
        self._ordered: dict[str, NDArray] = {}
        self._drawn: Counter[Unit] = Counter()
        self._files = 0

    @property
    def widest(self) -> int:
        """Images in the widest call so far."""
        return max(self._widest, self.prices.widest)

    def run(self) -> None:
        """Measures until the time is over; every probe at least once, if that ends in three times the time."""
        self._end = self.clock() + self.seconds
        self._last = self.clock() + LONGEST * self.seconds
        seen: set[tuple[str, bool]] = set()
        for unit in self.batches:
            if (unit.probe, unit.marked) not in seen:
                seen.add((unit.probe, unit.marked))
                self._measure(unit, min(FIRST, self.width(unit)))
        while self._step():
            pass

    def _step(self) -> bool:
        """Measures what lowers the variance most for its seconds; False when nothing fits the time that is left."""
        left = self._end - self.clock()
        best, chosen = 0.0, None
        for unit in self.batches:
            here, error = self.lenders(unit), self.error(unit)
            if not here:
                continue
            known = sum(s.images for s in self.samples[unit]) or 1
            for images in self._offers(unit):
                takes = self.batch_seconds(unit, images, self._marks(unit, images))
                if takes > left:
                    continue
                worth = error**2 * images / (images + known) / max(takes, 1e-3)
                if worth > best:
                    best, chosen = worth, (unit, images)
        if chosen is None or left <= 0:
            return False
        self._measure(*chosen)
        return True

    def _offers(self, unit: Unit) -> list[int]:
        """How many images a measurement could be of."""
        width = self.width(unit)
        return sorted({min(width, FIRST), min(width, ROWS), min(width, 4 * ROWS), width})

    def width(self, unit: Unit) -> int:
        """Images in the unit's largest batches."""
        return max(images for images, _ in self.batches[unit])

    def images(self, unit: Unit) -> int:
        return sum(images * count for (images, _), count in self.batches[unit].items())

    def _marks(self, unit: Unit, images: int) -> int:
        """Marked images in a sample of so many: as large a share as in the unit's batches, but at least one."""
        if not unit.marked:
            return 0
        marked = sum(k * count for (_, k), count in self.batches[unit].items())
        return min(images, max(1, round(images * marked / self.images(unit))))

    def _measure(self, unit: Unit, images: int) -> None:
        marks = self._marks(unit, images)
        rows = self._draw(unit, images, marks)
        if not rows:
            return
        # The last ones are marked: looked at twice, pictured, or both, in the audit's proportion.
        twice, shown = (
            frozenset(range(images - round(marks * share), images)) for share in self._shares
        )
        shard = Shard(unit.classifier, unit.probe, 0, images, str(self._files))
        self._files += 1
        plan = replace(
            self.plan,
            data=Chosen(self._pool, rows),
            pictured=shown,
            examined=twice,
            shards=(shard,),
        )
        self.prices.of(unit.classifier)
        with watched(plan, self._last, self.clock) as (plan, seen):
            before = self.clock()
            try:
                run_local(
                    plan,
                    self.folder,
                    [shard],
                    lambda _: None,
                    device=self.device,
                    batch=images,
                    skip_broken=True,
                )
            except OutOfTimeError:
                return
            whole = self.clock() - before
        found = self._read(shard)
        calls = {key: np.array(widths, dtype=float) for key, widths in seen.calls.items()}
        told = [
            found.get(name, np.full(images, sum(w.sum() for w in own) / images))
            for name, own in (
                ("forwards", calls.values()),
                ("backwards", [w for (_, back), w in calls.items() if back]),
            )
        ]
        self.samples[unit].append(
            Sample(
                images=images,
                marked=marks,
                seconds=seen.seconds,
                calls=calls,
                forwards=told[0],
                backwards=told[1],
            )
        )
        self._widest = max(self._widest, *(int(w.max()) for w in calls.values() if len(w)), 0)
        self.rest.setdefault(unit.probe, []).append(max(0.0, whole - seen.seconds))

    def _draw(self, unit: Unit, images: int, marks: int) -> list[int]:
        """Images of the pool, evenly over the classifier's margins, so that a few of them are like all: an image that
        is wrong anyway costs an attack nothing, and one far from any boundary the most. The marked ones come last, and
        are spread in the same way.
        """
        order = self._order(unit.classifier)
        # Multiples of the golden ratio fall far from each other: every draw is of other images.
        shift = self._drawn[unit] * 0.6180339887 % 1
        self._drawn[unit] += 1
        places = ((np.arange(images) + shift) * len(order) / images).astype(int) % max(
            1, len(order)
        )
        last = np.zeros(images, dtype=bool)
        last[((np.arange(marks) + 0.5) * images / max(1, marks)).astype(int)] = True
        return [int(order[k]) for k in (*places[~last], *places[last])] if len(order) else []

    def _order(self, name: str) -> NDArray:
        """Indices of the pool by the margin z_y - max_{j != y} z_j, of as many images as a twentieth of the time
        shows."""
        if name not in self._ordered:
            width = max(self.width(unit) for unit in self.batches)
            few, began, found = 0.05 * self.seconds, self.clock(), []
            while self.clock() - began < few and len(found) < MOST:
                self._pool.fill(len(found) + width)
                new = range(len(found), min(len(found) + width, len(self._pool)))
                if not new:
                    break
                shown = self._pool.batch(new)
                with torch.no_grad():
                    logits = self.plan.classifiers[name].logits(shown.images.to(self.device))
                found += (-margin(logits.float().cpu(), shown.labels)).tolist()
                # Twice that much would be too long.
                if 2 * (self.clock() - began) > few:
                    break
            self._ordered[name] = np.argsort(found, kind="stable")
        return self._ordered[name]

    @cached_property
    def _shares(self) -> tuple[float, float]:
        """Which share of the marked images is looked at twice, and which pictured."""
        counts = len(self.plan.examined), len(self.plan.pictured)
        return counts[0] / max(*counts, 1), counts[1] / max(*counts, 1)

    def _read(self, shard: Shard) -> dict[str, NDArray]:
        """Columns of passes from a shard, whose size is noted on the way."""
        path = self.folder / shard.file
        with connect() as connection:
            relation = read_alike(connection, [path])
            names = dict(zip(relation.columns, map(str, relation.types), strict=True))
            blobs = [f'coalesce(octet_length("{n}"), 0)' for n, k in names.items() if k == "BLOB"]
            asked = [f'"{n}"' for n in ("forwards", "backwards") if n in names]
            sql = ", ".join([*asked, f"{' + '.join(blobs) or '0'} AS bytes"])
            found = arrays(relation.project(sql))
            first = self.folder / "first.parquet"
            relation.limit(1).write_parquet(str(first), compression="zstd")
        pictures = found.pop("bytes")
        shown = pictures[pictures > 0]
        before = self.sizes.get(shard.probe, Size())
        if len(pictures) > before.rows:
            one = first.stat().st_size - int(pictures[0])
            row = (path.stat().st_size - int(pictures.sum()) - one) / max(1, len(pictures) - 1)
            picture = float(shown.mean()) if len(shown) else before.picture
            self.sizes[shard.probe] = Size(len(pictures), one, max(0.0, row), picture)
        return found

    def reading(self, rows: range) -> tuple[float, float]:
        """Seconds that a shard of images takes whatever is in it, and those of reading and describing an image.

        Arguments:
            rows: neighbours, as in a shard.
        """
        # The first shard of a process warms up.
        taken = [self._read_images(part) for part in (rows[:1], rows[:1], rows)]
        each = max(0.0, taken[2] - taken[1]) / max(1, len(rows) - 1)
        return max(0.0, taken[1] - each), each

    def _read_images(self, rows: range) -> float:
        shard = Shard(None, IMAGES, rows.start, rows.stop, "images")
        before = self.clock()
        run_local(
            self.plan,
            self.folder,
            [shard],
            lambda _: None,
            device=self.device,
            batch=len(rows),
            skip_broken=True,
        )
        taken = self.clock() - before
        self._read(shard)
        return taken

    def lenders(self, unit: Unit) -> dict[Unit, list[Sample]]:
        """Whose samples speak for the unit: its own; else those of other classifiers; else those of its other
        batches."""
        if self.samples[unit]:
            return {unit: self.samples[unit]}
        asked = {u: found for u, found in self.samples.items() if u.probe == unit.probe and found}
        alike = {u: found for u, found in asked.items() if u.marked == unit.marked}
        return alike or asked

    def passes(self, unit: Unit, *, back: bool | None = None) -> tuple[float, float]:
        """Passes of an image that is not marked, and of one that is; of both kinds when `back` is None."""
        own = replace(unit, marked=True), replace(unit, marked=False)
        found = [s for u in own for s in self.samples.get(u, [])]
        found = found or [s for samples in self.lenders(unit).values() for s in samples]
        plain, marked = [], []
        for s in found:
            told = s.passes if back is None else s.backwards if back else s.forwards
            plain.append(told[: s.images - s.marked])
            marked.append(told[s.images - s.marked :])
        parts = [np.concatenate(part) for part in (plain, marked)]
        means = [float(part.mean()) if len(part) else float("nan") for part in parts]
        first = means[0] if len(parts[0]) else means[1]
        return first, means[1] if len(parts[1]) else first

    def mean_passes(self, units: Sequence[Unit], *, back: bool) -> float:
        """Passes of an image on average over all batches of a classifier and probe; NaN where nothing is known."""
        if not self.lenders(units[0]):
            return float("nan")
        plain, twice = self.passes(units[0], back=back)
        kinds = [(*kind, count) for unit in units for kind, count in self.batches[unit].items()]
        marked = sum(k * count for _, k, count in kinds) / sum(w * count for w, _, count in kinds)
        return (1 - marked) * plain + marked * twice

    def shard_seconds(self, probe: str) -> float:
        """Seconds that a shard takes beside the probe: to write it, mostly."""
        found = self.rest.get(probe) or [s for rest in self.rest.values() for s in rest]
        return statistics.median(found) if found else 0.0

    def batch_seconds(self, unit: Unit, images: int, marked: int) -> float:
        """Seconds of one batch, the probe alone."""
        plain, twice = self.passes(unit)
        told = (images - marked) * plain + marked * twice
        apart = one_by_one(
            [s for u, f in self.samples.items() if u.probe == unit.probe for s in f]
        )
        found, weights = [], []
        for lender, samples in self.lenders(unit).items():
            names = {lender.classifier: unit.classifier}
            for s in samples:
                called = {name for name, _ in s.calls} | {unit.classifier}
                prices = {name: self.prices.of(name) for name in called}
                found.append(extrapolate(s, prices, images, told, apart=apart, scale=names))
                weights.append(s.images)
        return float(np.average(found, weights=weights))

    def total(self, unit: Unit) -> float:
        """Seconds of all batches of the unit; NaN where nothing is known."""
        if not self.lenders(unit):
            return float("nan")
        return sum(
            count * self.batch_seconds(unit, *kind) for kind, count in self.batches[unit].items()
        )

    def error(self, unit: Unit) -> float:
        """The standard error of `total`."""
        lent = self.lenders(unit)
        if not lent:
            return float("nan")
        samples = [s for found in lent.values() for s in found]
        borrowed = unit not in lent
        width, images = self.width(unit), self.images(unit)
        return self.total(unit) * relative_error(samples, images, width, borrowed=borrowed)
