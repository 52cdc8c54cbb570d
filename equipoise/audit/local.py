"""The in-process executor: shard after shard, one at a time.

The unit of work is a range of images: they are decoded once and shown to every classifier and probe that still lacks
them. It is idempotent, so any executor may run ranges in any order, on any machine, and again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from equipoise.audit.plan import Plan, Shard
from equipoise.devices import enough_threads
from equipoise.images import Batch, encode_png
from equipoise.probes import Request
from equipoise.store import write_shard
from equipoise.streams import digest

__all__ = ["COMMON_TYPES", "IMAGE_TYPES", "measure_range", "run_local"]

IMAGE_TYPES = {
    "id": "VARCHAR",
    "label": "INTEGER",
    "group": "VARCHAR",
    "digest": "VARCHAR",
    "picture": "BLOB",
}
"""The columns of the images' own shards."""

COMMON_TYPES = {
    "classifier": "VARCHAR",
    "probe": "VARCHAR",
    "id": "VARCHAR",
    "label": "INTEGER",
    "group": "VARCHAR",
}
"""The columns that every measurement begins with."""


def run_local(
    plan: Plan,
    folder: Path,
    missing: Sequence[Shard],
    done: Callable[[Shard], None],
    *,
    device: torch.device,
    batch: int,
    skip_broken: bool,
) -> None:
    """Measures every missing shard here and now, calling `done` after each."""
    ranges = dict.fromkeys((shard.first, shard.last) for shard in missing)
    for first, last in ranges:
        shards = [shard for shard in missing if (shard.first, shard.last) == (first, last)]
        measure_range(
            plan, folder, shards, done, device=device, batch=batch, skip_broken=skip_broken
        )


def measure_range(
    plan: Plan,
    folder: Path,
    shards: Sequence[Shard],
    done: Callable[[Shard], None],
    *,
    device: torch.device,
    batch: int,
    skip_broken: bool,
) -> None:
    """Measures the given shards, which all cover one range of images, and writes each as soon as it is complete."""
    rows = range(shards[0].first, shards[0].last)
    batches = [
        plan.data.batch(rows[start : start + batch], skip_broken, plan.shape)
        for start in range(0, len(rows), batch)
    ]
    broken = [[item.id, item.reason] for b in batches for item in b.broken]
    batches = [b for b in batches if b.ids]
    pictured = [[row in plan.pictured for row in b.indices] for b in batches]
    for shard in shards:
        started = time.monotonic()
        if shard.classifier is None:
            columns = [_describe(b, flags) for b, flags in zip(batches, pictured, strict=True)]
            facts: dict[str, object] = {"broken": broken}
            types = IMAGE_TYPES
        else:
            classifier, probe = plan.classifiers[shard.classifier], plan.probes[shard.probe]
            others = {n: c for n, c in plan.classifiers.items() if n != shard.classifier}
            columns, notes = [], []
            for b, flags in zip(batches, pictured, strict=True):
                here = replace(b, images=b.images.to(device), labels=b.labels.to(device))
                request = Request(
                    seed=plan.seed,
                    pictured=flags,
                    examined=[row in plan.examined for row in b.indices],
                    others=others if probe.compares else {},
                )
                with enough_threads(classifier, here.images):
                    answers = probe.measure(classifier, here, request)
                columns.append(_common(shard, b) | answers.columns)
                notes += answers.notes
            types = COMMON_TYPES | dict(probe.types)
            facts = {"notes": list(dict.fromkeys(notes))}
        facts |= {
            "seconds": round(time.monotonic() - started, 3),
            "device": str(device),
            "equipoise": version("equipoise"),
        }
        empty = np.empty(0, dtype=object)
        whole = {
            name: np.concatenate([c[name] for c in columns]) if columns else empty
            for name in types
        }
        write_shard(folder / shard.file, types, whole, facts)
        done(shard)


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
