"""The in-process executor: shard after shard, one at a time.

The unit of work is a range of images: they are decoded once and shown to every classifier and probe that still lacks
them. It is idempotent, so any executor may run ranges in any order, on any machine, and again. While one range is
measured the next one is decoded, and while one shard is measured the one before is written.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from equipoise.audit.answers import COMMON_TYPES, IMAGE_TYPES
from equipoise.audit.memory import Room, say
from equipoise.audit.overlap import Reader, Writer
from equipoise.audit.plan import Plan, Shard
from equipoise.devices import enough_threads
from equipoise.images import Batch, encode_png
from equipoise.probes import Request
from equipoise.store import write_shard
from equipoise.streams import digest

__all__ = ["measure_range", "run_local"]


def run_local(
    plan: Plan,
    folder: Path,
    missing: Sequence[Shard],
    done: Callable[[Shard], object],
    *,
    device: torch.device,
    batch: int,
    skip_broken: bool,
) -> None:
    """Measures every missing shard here and now, calling `done` after each is on disk.

    A command that is killed loses the shard in hand and at most the one that is just being written; one that is stopped
    by Ctrl-C or by an error, the shard in hand.

    Arguments:
        plan: what is asked of whom.
        folder: the run's.
        missing: shards of the plan.
        done: called in this thread.
        device: where classifiers are.
        batch: images in a network call; half of it, and half again, from where memory does not do.
        skip_broken: leave out images that cannot be read.
    """
    ranges: dict[tuple[int, int], list[Shard]] = {}
    for shard in missing:
        ranges.setdefault((shard.first, shard.last), []).append(shard)
    room = Room(batch)

    def read(bounds: tuple[int, int]) -> Iterator[Batch]:
        return _read(plan, range(*bounds), batch, skip_broken)

    with Writer(done) as writer, Reader(read, list(ranges)) as reader:
        for bounds, batches in reader:
            for shard in ranges[bounds]:
                _measure(plan, folder, shard, batches, writer, device=device, room=room)
                reader.check()


def measure_range(
    plan: Plan,
    folder: Path,
    shards: Sequence[Shard],
    done: Callable[[Shard], object],
    *,
    device: torch.device,
    batch: int,
    skip_broken: bool,
    tell: Callable[[str], object] = say,
) -> int:
    """Measures the given shards, which all cover one range of images, and writes each as soon as it is complete.

    `tell` hears where memory runs out, in a sentence each time.

    Returns:
        how many images fit a network call: `batch`, or less where memory ran out.
    """
    rows, room = range(shards[0].first, shards[0].last), Room(batch, tell)
    batches = list(_read(plan, rows, batch, skip_broken))
    with Writer(done) as writer:
        for shard in shards:
            _measure(plan, folder, shard, batches, writer, device=device, room=room)
    return room.batch


def _read(plan: Plan, rows: range, batch: int, skip_broken: bool) -> Iterator[Batch]:
    for start in range(0, len(rows), batch):
        yield plan.data.batch(rows[start : start + batch], skip_broken, plan.shape)


def _measure(
    plan: Plan,
    folder: Path,
    shard: Shard,
    batches: Sequence[Batch],
    writer: Writer[Shard],
    *,
    device: torch.device,
    room: Room,
) -> None:
    """Measures one shard and hands it to the writer."""
    started = time.monotonic()
    readable = [b for b in batches if b.ids]
    if shard.classifier is None:
        columns = [_describe(b, [row in plan.pictured for row in b.indices]) for b in readable]
        types = IMAGE_TYPES
        facts: dict[str, object] = {
            "broken": [[item.id, item.reason] for b in batches for item in b.broken]
        }
    else:
        ask = _question(plan, shard, device)
        columns, notes = [], []
        for b in readable:
            for found, said in room.ask(b, ask, notes):
                columns.append(found)
                notes += said
            writer.check()
        types = COMMON_TYPES | dict(plan.probes[shard.probe].types)
        facts = {"notes": list(dict.fromkeys(notes))} | _engine(plan, shard)
    facts |= {
        "seconds": round(time.monotonic() - started, 3),
        "device": str(device),
        "equipoise": version("equipoise"),
    }

    def write() -> None:
        empty = np.empty(0, dtype=object)
        whole = {
            name: np.concatenate([c[name] for c in columns]) if columns else empty
            for name in types
        }
        write_shard(folder / shard.file, types, whole, facts)

    writer.write(shard, write)


def _question(
    plan: Plan, shard: Shard, device: torch.device
) -> Callable[[Batch], tuple[dict[str, NDArray], tuple[str, ...]]]:
    """A shard's probe as a function of images, to its columns and notes."""
    assert shard.classifier is not None
    classifier, probe = plan.classifiers[shard.classifier], plan.probes[shard.probe]
    if probe.searches:
        classifier = plan.quick.get(shard.classifier, classifier)
    others = {n: c for n, c in plan.classifiers.items() if n != shard.classifier}

    def ask(batch: Batch) -> tuple[dict[str, NDArray], tuple[str, ...]]:
        here = replace(batch, images=batch.images.to(device), labels=batch.labels.to(device))
        request = Request(
            seed=plan.seed,
            pictured=[row in plan.pictured for row in batch.indices],
            examined=[row in plan.examined for row in batch.indices],
            others=others if probe.compares else {},
        )
        with enough_threads(classifier, here.images):
            answers = probe.measure(classifier, here, request)
        return _common(shard, batch) | answers.columns, answers.notes

    return ask


def _engine(plan: Plan, shard: Shard) -> dict[str, object]:
    """The engine of the shard's searches, where it is not the classifier itself."""
    quick = plan.quick.get(shard.classifier or "")
    if quick is None or not plan.probes[shard.probe].searches:
        return {}
    return {"engine": str(quick.engine)}


def _common(shard: Shard, batch: Batch) -> dict[str, NDArray]:
    """The columns that every measurement begins with."""
    n = len(batch.ids)
    return {
        "classifier": np.full(n, shard.classifier, dtype=object),
        "probe": np.full(n, shard.probe, dtype=object),
        "id": np.array(batch.ids, dtype=object),
        "label": batch.labels.cpu().numpy(),
        "group": np.array(batch.groups, dtype=object),
    }


def _describe(batch: Batch, pictured: Sequence[bool]) -> dict[str, NDArray]:
    """The images themselves: what they are, a digest of their pixels, and thumbnails of those that are pictured."""
    pictures = [
        encode_png(image) if flag else None
        for image, flag in zip(batch.images, pictured, strict=True)
    ]
    return {
        "id": np.array(batch.ids, dtype=object),
        "label": batch.labels.cpu().numpy(),
        "group": np.array(batch.groups, dtype=object),
        "digest": np.array(
            [digest(image.numpy().tobytes(), size=8) for image in batch.images], dtype=object
        ),
        "picture": np.array(pictures, dtype=object),
    }
