"""The executor on Ray: the unit of work is what one classifier still lacks on one range of images.

A worker keeps the classifiers that it was asked about on its device, and the images of the range that it had last. It
writes the shards itself, into a folder that every machine shares, or sends them to an address. What a worker has to say
comes back with its answer, since nobody reads its standard error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from equipoise.audit.local import measure_range
from equipoise.audit.memory import say
from equipoise.audit.plan import Plan, Shard
from equipoise.cluster import Cluster
from equipoise.devices import choose_device
from equipoise.images import Batch, Images, Subset
from equipoise.remote import Here, Mirror

__all__ = ["run_on_ray"]


def run_on_ray(
    plan: Plan,
    home: Here | Mirror,
    missing: Sequence[Shard],
    done: Callable[[Shard], None],
    *,
    cluster: Cluster,
    batch: int,
    skip_broken: bool,
) -> set[str]:
    """Measures every missing shard on the workers of `cluster`, calling `done` after each; gives the devices that
    they were measured on.

    Arguments:
        plan: its classifiers are moved to the CPU.
        home: where the run is kept; run.json is there.
        missing: shards.
        done: called in this process.
        cluster: where.
        batch: images in a network call.
        skip_broken: leave out images that cannot be read.

    Raises:
        EquipoiseError: when Ray is lost, or three workers died of one unit; and whatever measuring raises.
    """
    units: dict[_Unit, list[Shard]] = {}
    for shard in missing:
        units.setdefault(_Unit(shard.first, shard.last, shard.classifier), []).append(shard)
    for classifier in plan.classifiers.values():
        classifier.to("cpu")
    measure = _Measure(plan, home, units, batch, skip_broken)
    devices, heard = set[str](), set[str]()
    seen = home.local / "run.json" if isinstance(home, Here) else None
    for unit, (device, notes) in cluster.spread(
        measure, list(units), near=_Unit.images, shared=seen
    ):
        devices.add(device)
        # Every worker finds for itself how much it can take; most of them find the same.
        for note in notes:
            if note not in heard:
                heard.add(note)
                say(note)
        for shard in units[unit]:
            done(shard)
    return devices


@dataclass(frozen=True)
class _Unit:
    first: int
    last: int
    classifier: str | None

    def images(self) -> tuple[int, int]:
        return self.first, self.last

    def __str__(self) -> str:
        who = "" if self.classifier is None else f" with {self.classifier!r}"
        return f"images {self.first} to {self.last - 1}{who}"


@dataclass
class _Measure:
    """What every worker has."""

    plan: Plan
    home: Here | Mirror
    units: dict[_Unit, list[Shard]]
    batch: int
    skip_broken: bool

    def __post_init__(self) -> None:
        self.images = _Kept(self.plan.data)

    def __call__(self, unit: _Unit) -> tuple[str, list[str]]:
        shards, notes = self.units[unit], list[str]()
        # Ray shows a worker the GPUs that it was given.
        where = choose_device("auto")
        asked = {shard.classifier for shard in shards}
        compared = any(self.plan.probes[s.probe].compares for s in shards if s.classifier)
        for name, classifier in self.plan.classifiers.items():
            if name in asked or compared:
                classifier.to(where)
        self.images.keep(unit.images())
        # Where memory ran out, the smaller batch stays.
        self.batch = measure_range(
            replace(self.plan, data=self.images),
            self.home.drafts,
            shards,
            lambda shard: self.home.push(shard.file),
            device=where,
            batch=self.batch,
            skip_broken=self.skip_broken,
            tell=notes.append,
        )
        return str(where), notes


class _Kept(Subset):
    """All of some images, of which those that were read of one range stay in memory."""

    def __init__(self, images: Images) -> None:
        super().__init__(images, range(len(images)))
        self.range: tuple[int, int] | None = None
        self.batches: dict[tuple[object, ...], Batch] = {}

    def keep(self, images: tuple[int, int]) -> None:
        """Forgets what was read, unless it was of these."""
        if images != self.range:
            self.range, self.batches = images, {}

    def batch(
        self,
        indices: Sequence[int],
        skip_broken: bool = False,
        shape: tuple[int, int, int] | None = None,
    ) -> Batch:
        asked = (tuple(indices), skip_broken, shape)
        if asked not in self.batches:
            self.batches[asked] = self.images.batch(indices, skip_broken, shape)
        return self.batches[asked]
