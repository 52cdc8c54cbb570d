"""The plan of an audit: classifiers x probes x ranges of images, cut into shards with an identity each.

A shard's identity is a digest of the classifier's weights, code and behaviour, the probe's settings, the fingerprint of
the images in the range, which of them are pictured or examined twice, the seed, the version of the schema and, for
probes that search, an engine other than the classifier itself. What has
the same identity has the same content, whoever computed it; the size of a batch and the order of work are not part of
it, since they change nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from equipoise.classifiers import Classifier, Quick
from equipoise.images import Images
from equipoise.probes import Probe
from equipoise.streams import digest

__all__ = ["IMAGES", "SCHEMA", "Plan", "Shard", "make_plan", "pictured_rows", "shard_size"]

SCHEMA = 3
"""Version of the columns, of run.json and of what shards say of themselves; a change of meaning raises it."""

IMAGES = "images"
"""The name under which the images themselves are kept: ids, labels, groups, digests, thumbnails."""


@dataclass(frozen=True)
class Shard:
    """The measurements of one probe of one classifier on images first..last-1, or those images themselves."""

    classifier: str | None
    probe: str
    first: int
    last: int
    identity: str

    @property
    def file(self) -> str:
        """Path below the run's folder. Names are for people; the identity alone says what is inside."""
        where = f"{self.first:07d}-{self.last:07d}-{self.identity}.parquet"
        if self.classifier is None:
            return f"shards/{IMAGES}/{where}"
        apart = digest(self.probe, self.classifier, size=3)
        return f"shards/{_readable(self.probe)}/{_readable(self.classifier)}-{apart}/{where}"


def _readable(name: str) -> str:
    """The name with whatever a file system could mind replaced, no longer than file systems like."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "_" for c in name)[:80]


@dataclass(frozen=True)
class Plan:
    """What is to be measured: `shards` by range, first the images of the range, then every classifier and probe.

    `quick` has the classifiers whose searches have an engine.
    """

    data: Images
    shape: tuple[int, int, int]
    classifiers: dict[str, Classifier]
    probes: dict[str, Probe]
    pictured: frozenset[int]
    examined: frozenset[int]
    seed: int
    natures: dict[str, str]
    shards: tuple[Shard, ...]
    quick: Mapping[str, Quick] = field(default_factory=dict)

    def ranges(self) -> list[tuple[int, int]]:
        return list(dict.fromkeys((shard.first, shard.last) for shard in self.shards))


def pictured_rows(images: int, pictures: int) -> frozenset[int]:
    """Which of the images are pictured: spread evenly, so that a set sorted by class is pictured class by class."""
    shown = min(pictures, images)
    return frozenset(round(k * (images - 1) / max(1, shown - 1)) for k in range(shown))


def shard_size(images: int) -> int:
    """Images in a shard of an audit of so many: a hundredth of them, but 256 to 512.

    Small ones lose less when a command is killed, and a range of large images has to fit in memory; many slow down
    whoever reads the run, since opening one takes longer than reading what is in it.
    """
    return min(512, max(256, math.ceil(images / 100)))


def make_plan(
    data: Images,
    classifiers: dict[str, Classifier],
    probes: Sequence[Probe],
    *,
    seed: int,
    pictures: int,
    examined: int = 64,
    size: int | None = None,
    quick: Mapping[str, Quick] | None = None,
) -> Plan:
    """Cuts the audit into shards of `size` images, of `shard_size` when None; nothing is computed but fingerprints."""
    n, quick = len(data), quick or {}
    size = size or shard_size(n)
    pictured = pictured_rows(n, pictures)
    sample = np.random.default_rng(seed).choice(n, min(n, examined), replace=False)
    twice = frozenset(sample.tolist())
    named = {str(probe): probe for probe in probes}
    shape = data.shape
    nature = {name: digest(c.fingerprint(), c.behaviour(shape)) for name, c in classifiers.items()}
    shards = []
    for first in range(0, n, size):
        last = min(first + size, n)
        rows = range(first, last)
        marked = [sorted(flagged & set(rows)) for flagged in (pictured, twice)]
        images = digest(data.fingerprint(rows), *marked, SCHEMA)
        shards.append(Shard(None, IMAGES, first, last, images[:16]))
        for name, fingerprint in nature.items():
            for key, probe in named.items():
                others = [f for f in nature.values() if f != fingerprint] if probe.compares else []
                engine = [str(quick[name].engine)] if probe.searches and name in quick else []
                identity = digest(
                    images, fingerprint, probe.nature(), seed, *sorted(others), *engine
                )
                shards.append(Shard(name, key, first, last, identity[:16]))
    return Plan(
        data, shape, classifiers, named, pictured, twice, seed, nature, tuple(shards), quick
    )
