"""What an audit will cost: shards, network passes, time, memory and disk, before anything is begun.

The audit is loaded and planned exactly as `audit` does; then a few of its batches are measured for some seconds
(`equipoise.cost.calibration`) and carried over to all of them (`equipoise.cost.extrapolation`).
"""

import math
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from equipoise.audit.plan import Plan, Shard
from equipoise.audit.preparing import arrive, look_around, prepare
from equipoise.classifiers import Classifier
from equipoise.cost.calibration import Batches, Calibration, Size, Unit
from equipoise.errors import EquipoiseError
from equipoise.images import Images
from equipoise.probes import Probe

__all__ = ["Cost", "Expense", "estimate_cost"]

ENOUGH = 0.25
"""How far the ends of an estimate may lie from it, as a share."""


@dataclass(frozen=True, kw_only=True)
class Expense:
    """What one probe of one classifier will cost.

    Attributes:
        classifier: its name.
        probe: its spec.
        images: how many are still to be measured.
        shards: in the plan.
        done: of these, those that the folder has.
        forwards: passes of an image, on average.
        backwards: the same on the way back.
        seconds: of all images; NaN when the calibration was too short for a single measurement.
        error: standard error of `seconds`.
        sample: on how many images it was measured; 0 where others speak for it.
    """

    classifier: str
    probe: str
    images: int
    shards: int
    done: int
    forwards: float
    backwards: float
    seconds: float
    error: float
    sample: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an audit will cost.

    Attributes:
        rows: one for each classifier and probe.
        images: in the audit.
        shards: in the plan, those of the images themselves among them.
        done: of these, those that the folder has.
        preparing: seconds of loading, planning and preflight.
        reading: seconds of reading and describing the images, for each classifier and probe together.
        writing: seconds of writing shards.
        seconds: of everything but the page; NaN where a probe could not be measured once.
        low: the lower end of what `seconds` may come to.
        high: the upper end.
        memory: bytes of this process's memory at its peak.
        device_memory: bytes on the GPU at the peak; 0 on the CPU.
        disk: bytes of the shards that are still to be written.
        workers: by how many the time of measuring was divided.
        device: where.
        calibrated: seconds that the calibration took.
    """

    rows: tuple[Expense, ...]
    images: int
    shards: int
    done: int
    preparing: float
    reading: float
    writing: float
    seconds: float
    low: float
    high: float
    memory: int
    device_memory: int
    disk: int
    workers: int
    device: str
    calibrated: float

    @property
    def enough(self) -> bool:
        """Whether the calibration was long enough to tell the time within a quarter."""
        return self.high - self.seconds <= ENOUGH * self.seconds

    @property
    def advice(self) -> float:
        """Seconds of calibration that would be long enough, as far as is known."""
        if math.isnan(self.seconds):
            return 10 * self.calibrated
        wide = (self.high - self.seconds) / (ENOUGH * self.seconds or 1.0)
        return math.ceil(self.calibrated * max(1.0, wide**2) / 10) * 10


def estimate_cost(
    classifiers: Classifier | str | Iterable[Classifier | str],
    data: Images | str,
    probes: Iterable[Probe | str] = ("standard", "adversarial:l2:0.5"),
    out: str | Path = "runs/audit",
    *,
    limit: int | None = None,
    seed: int = 0,
    batch: int = 128,
    pictures: int = 48,
    examined: int = 64,
    skip_broken: bool = False,
    device: str = "auto",
    workers: int = 1,
    calibrate: float = 10.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Cost:
    """What `audit` with the same arguments will cost, once some of its batches have been measured; writes nothing into
    `out`.

    Where `out` holds a part of the run, what is left of it is estimated.

    Arguments:
        classifiers: classifiers or their specs.
        data: images or their spec, whose split "test" is taken.
        probes: probes or their specs.
        out: the run's folder.
        limit: at most so many images, a random sample; all when None.
        seed: of the random streams and of the sample.
        batch: images in a network call.
        pictures: how many images keep pictures for the page.
        examined: how many images are looked at a second time.
        skip_broken: leave out images that cannot be read.
        device: "auto", "cpu", "cuda" or "cuda:1".
        workers: how many machines or processes will share the work. That each of them is as fast as this one is an
            assumption.
        calibrate: seconds that measuring may take, about; a probe whose first measurement takes three times as long is
            given up.
        clock: what seconds are; `time.process_time` leaves out what other programs do on a busy machine.

    Raises:
        EquipoiseError: whatever `audit` would refuse, seconds that are not positive, fewer workers than one.
    """
    if not calibrate > 0 or workers < 1:
        raise EquipoiseError(
            f"Cannot estimate a cost in {calibrate:g} s for {workers} workers: give more than 0 seconds and at least "
            "one worker."
        )
    began = clock()
    asked = prepare(
        classifiers,
        data,
        probes,
        arrive(out),
        "local",
        limit=limit,
        seed=seed,
        batch=batch,
        pictures=pictures,
        examined=examined,
        skip_broken=skip_broken,
        device=device,
    )
    missing, _ = look_around(asked)
    preparing, plan = clock() - began, asked.plan
    batches = _batches(plan, missing, batch)
    before, started = _resident(), clock()
    with tempfile.TemporaryDirectory(prefix="equipoise-") as folder:
        found = Calibration(
            plan, batches, Path(folder), device=asked.device, seconds=calibrate, clock=clock
        )
        ranges = list(dict.fromkeys((shard.first, shard.last) for shard in missing))
        opening = each = 0.0
        if ranges:
            first, last = ranges[len(ranges) // 2]
            opening, each = found.reading(range(first, min(last, first + batch)))
        found.run()
    rows = tuple(
        _expense(plan, missing, found, name, key)
        for name in plan.classifiers
        for key in plan.probes
    )
    reading = each * sum(last - first for first, last in ranges)
    writing = sum(found.shard_seconds(s.probe) if s.classifier else opening for s in missing)
    measuring = sum(row.seconds for row in rows) + reading + writing
    error = math.hypot(*(row.error for row in rows)) / workers
    seconds = preparing + measuring / workers
    # A time is uncertain by a factor: however wide, it does not reach 0.
    factor = 1 + max(2 * error / seconds, 0.1) if missing else 1.0
    largest = max((last - first for first, last in ranges), default=0)
    # One range is measured while the next one is read.
    held = 2 * largest * 4 * math.prod(plan.shape)
    wider = min(batch, largest) / (found.widest or 1)
    return Cost(
        rows=rows,
        images=len(plan.data),
        shards=len(plan.shards),
        done=len(plan.shards) - len(missing),
        preparing=preparing,
        reading=reading,
        writing=writing,
        seconds=seconds,
        low=max(preparing, seconds / factor),
        high=seconds * factor,
        memory=round(before + (_peak() - before) * max(1.0, wider) + held),
        device_memory=_device_peak(asked.device, wider),
        disk=_disk(plan, missing, found.sizes),
        workers=workers,
        device=str(asked.device),
        calibrated=clock() - started,
    )


def _batches(plan: Plan, missing: Iterable[Shard], batch: int) -> dict[Unit, Batches]:
    """The batches that are still to be measured, by unit, classifier after classifier."""
    kinds: dict[tuple[int, int], Batches] = {}
    for first, last in plan.ranges():
        found = kinds[first, last] = Counter()
        for start in range(first, last, batch):
            rows = range(start, min(start + batch, last))
            marked = max(
                sum(row in flagged for row in rows) for flagged in (plan.examined, plan.pictured)
            )
            found[len(rows), marked] += 1
    units: dict[Unit, Batches] = {}
    for shard in missing:
        if shard.classifier is None:
            continue
        for kind, count in kinds[shard.first, shard.last].items():
            unit = Unit(shard.classifier, shard.probe, kind[1] > 0)
            units.setdefault(unit, Counter())[kind] += count
    return units


def _expense(plan: Plan, missing: list[Shard], found: Calibration, name: str, key: str) -> Expense:
    own = [s for s in plan.shards if (s.classifier, s.probe) == (name, key)]
    left = [s for s in missing if (s.classifier, s.probe) == (name, key)]
    units = [u for u in found.batches if (u.classifier, u.probe) == (name, key)]
    images = sum(shard.last - shard.first for shard in left)
    passes = [found.mean_passes(units, back=back) if units else 0.0 for back in (False, True)]
    return Expense(
        classifier=name,
        probe=key,
        images=images,
        shards=len(own),
        done=len(own) - len(left),
        forwards=passes[0],
        backwards=passes[1],
        seconds=sum(found.total(unit) for unit in units),
        error=math.hypot(*(found.error(unit) for unit in units)) if units else 0.0,
        sample=sum(s.images for unit in units for s in found.samples[unit]),
    )


def _disk(plan: Plan, missing: Iterable[Shard], sizes: dict[str, Size]) -> int:
    total = 0.0
    for shard in missing:
        pictured = sum(row in plan.pictured for row in range(shard.first, shard.last))
        size = sizes.get(shard.probe, Size())
        total += size.of(shard.last - shard.first, pictured)
    return round(total)


def _resident() -> int:
    """Bytes of memory that this process has now, where the system says so; at its peak elsewhere."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return _peak()
    return pages * resource.getpagesize()


def _peak() -> int:
    """Bytes of memory of this process at its peak."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _device_peak(device: torch.device, wider: float) -> int:
    if device.type != "cuda":
        return 0
    return round(torch.cuda.max_memory_allocated(device) * max(1.0, wider))
