"""Preparing an audit: loading and planning it, and looking at the folder that it goes into; nothing is written."""

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from equipoise.audit.checking import look_over, read_for
from equipoise.audit.engines import Precision, choose_engines
from equipoise.audit.plan import SCHEMA, Plan, Shard, make_plan
from equipoise.audit.repair import survey
from equipoise.audit.run import read_record
from equipoise.classifiers import Classifier, load_classifier
from equipoise.cluster import Cluster, find_cluster
from equipoise.devices import choose_device
from equipoise.errors import EquipoiseError
from equipoise.files import NotJSONError, read_json
from equipoise.images import Images, load_images
from equipoise.locks import NAME as LOCK
from equipoise.probes import Probe, load_probe
from equipoise.remote import Here, Mirror, place
from equipoise.store import read_facts

__all__ = ["Asked", "arrive", "look_around", "now", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An audit that was asked for and not begun.

    Attributes:
        plan: what is to be measured.
        home: where the run is kept.
        cluster: whose workers measure; this process when None.
        device: where this process works.
        batch: images in a network call.
        skip_broken: whether images that cannot be read are left out.
        record: run.json but for the classifiers, repairs, status and end.
    """

    plan: Plan
    home: Here | Mirror
    cluster: Cluster | None
    device: torch.device
    batch: int
    skip_broken: bool
    record: dict[str, Any]


def arrive(out: str | Path) -> Here | Mirror:
    """Where a run is to be kept, up to date, once it is known to hold nothing else.

    Raises:
        EquipoiseError: saying what it holds, or that an address cannot be read.
    """
    home = place(out)
    _refuse_strangers(home, home.pull())
    return home


def prepare(
    classifiers: Classifier | str | Iterable[Classifier | str],
    data: Images | str,
    probes: Iterable[Probe | str],
    home: Here | Mirror,
    on: str,
    *,
    workers: int | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch: int = 128,
    pictures: int = 48,
    examined: int = 64,
    skip_broken: bool = False,
    device: str = "auto",
    precision: Precision = "exact",
    command: str | None = None,
) -> Asked:
    """Loads and plans what `equipoise.audit.audit` asks for, from the same arguments but for `home`, of `arrive`.

    Raises:
        EquipoiseError: for arguments out of range and whatever cannot be loaded.
    """
    cluster = find_cluster(
        on, workers=workers, cpus=cpus_per_worker, gpus=gpus_per_worker, device=device
    )
    if cluster is not None and precision != "exact":
        raise EquipoiseError(
            f"Cannot audit on {on!r} with precision={precision!r}: which arithmetic is fastest is tried on this "
            "machine. Leave one of the two out."
        )
    for name, value, least in (
        ("batch", batch, 1),
        ("pictures", pictures, 0),
        ("examined", examined, 0),
    ):
        if value < least:
            raise EquipoiseError(f"Cannot audit with {name}={value}: it is at least {least}.")
    images = load_images(data) if isinstance(data, str) else data
    images = images.subset(limit, seed)
    if not len(images):
        raise EquipoiseError(f"Cannot audit on {images.spec!r}: it has no images.")
    judged = _named(classifiers)
    asked = [load_probe(probe) if isinstance(probe, str) else probe for probe in probes]
    for probe in asked:
        if load_probe(str(probe)) != probe:
            raise EquipoiseError(
                f"Cannot audit with {probe!r}: its spec {str(probe)!r} reads as another probe."
            )
    if not asked:
        raise EquipoiseError(
            "Cannot audit without a probe: give at least one, such as 'standard'."
        )
    where = choose_device(device if cluster is None or device == "cpu" else "auto")
    judged = {name: read_for(classifier.to(where), images) for name, classifier in judged.items()}
    searched = judged if any(probe.searches for probe in asked) else {}
    quick, engine = choose_engines(
        precision, searched, images, device=where, batch=batch, seed=seed, folder=home.local
    )
    plan = make_plan(
        images, judged, asked, seed=seed, pictures=pictures, examined=examined, quick=quick
    )
    record = _record(plan, limit=limit, pictures=pictures, device=where, command=command)
    record["engine"] = engine
    record["machine"] |= {} if cluster is None else cluster.record()
    return Asked(
        plan=plan,
        home=home,
        cluster=cluster,
        device=where,
        batch=batch,
        skip_broken=skip_broken,
        record=record,
    )


def look_around(asked: Asked) -> tuple[list[Shard], dict[str, Any] | None]:
    """The shards that the folder lacks or holds damaged, and what run.json says there; `asked.record` gets what is to
    be said of repairs and classifiers.

    Raises:
        EquipoiseError: for a folder with another run, images left out that may not be, a classifier that fails its
            preflight.
    """
    plan, home, record = asked.plan, asked.home, asked.record
    with home.named():
        before = _earlier(home, record)
        missing, record["repaired"] = survey(plan, home, before)
        if not asked.skip_broken:
            _refuse_broken(plan, home.local, missing)
    record["classifiers"] = {
        name: _describe(name, classifier, plan, asked.device, before)
        for name, classifier in plan.classifiers.items()
    }
    return missing, before


def _named(classifiers: Classifier | str | Iterable[Classifier | str]) -> dict[str, Classifier]:
    if isinstance(classifiers, torch.nn.Module | str):
        classifiers = [classifiers]
    named: dict[str, Classifier] = {}
    for item in classifiers:
        classifier = _load(item) if isinstance(item, str) else item
        if not isinstance(classifier, Classifier):
            raise EquipoiseError(
                f"Cannot audit a {type(classifier).__name__}: pass it through equipoise.wrap(net, mean=, std=) first."
            )
        if classifier.name in named:
            raise EquipoiseError(
                f"Cannot audit two classifiers called {classifier.name!r}: give one another name, as in "
                "other=local:DIR, or with equipoise.wrap(..., name=)."
            )
        named[classifier.name] = classifier
    if not named:
        raise EquipoiseError("Cannot audit without a classifier: give at least one.")
    return named


def _load(text: str) -> Classifier:
    """The classifier of a spec, or of ``name=spec``, which renames it."""
    name, equals, spec = text.partition("=")
    if not equals or ":" in name or "?" in name:
        return load_classifier(text)
    classifier = load_classifier(spec)
    classifier.name = name
    return classifier


def _refuse_broken(plan: Plan, folder: Path, missing: Sequence[Shard]) -> None:
    """Stops when an earlier call left images out, which this call does not allow."""
    lacking = set(missing)
    described = [s for s in plan.shards if s.classifier is None and s not in lacking]
    for facts in read_facts([folder / shard.file for shard in described]):
        for name, reason in facts.get("broken", ()):
            raise EquipoiseError(
                f"Cannot read the image {name!r}, which an earlier call left out: {reason}. Repair or remove it, or "
                "pass skip_broken=True (--skip-broken)."
            )


def _command() -> str:
    """The command line of this process, `python -m equipoise` by its usual name."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


def now() -> str:
    """The time, as run.json has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _record(
    plan: Plan, *, limit: int | None, pictures: int, device: torch.device, command: str | None
) -> dict[str, Any]:
    """run.json but for the classifiers, status and end."""
    data = plan.data
    packages = ("equipoise", "torch", "numpy", "duckdb", "pillow")
    return {
        "schema": SCHEMA,
        "command": command or _command(),
        "created": now(),
        "finished": None,
        "seed": plan.seed,
        "data": {
            "spec": data.spec,
            "split": data.split,
            "images": len(data),
            "limit": limit,
            "classes": list(data.classes),
            "shape": list(plan.shape),
            "fingerprint": data.fingerprint(range(len(data))),
            "pictures": pictures,
            "examined": len(plan.examined),
        },
        "probes": {key: probe.nature() for key, probe in plan.probes.items()},
        "probe_facts": {key: probe.facts() for key, probe in plan.probes.items()},
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages},
        "machine": {
            "device": str(device),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "system": platform.platform(terse=True),
        },
        "shards": [
            {
                "classifier": s.classifier,
                "probe": s.probe,
                "first": s.first,
                "last": s.last,
                "file": s.file,
            }
            for s in plan.shards
        ],
    }


def _refuse_strangers(home: Here | Mirror, folder: Path) -> None:
    """Refuses a folder that holds anything but a run, or the beginning of one."""
    if folder.exists() and not folder.is_dir():
        raise EquipoiseError(f"Cannot audit into {home}: it is a file. Choose another --out.")
    if not folder.exists() or (folder / "run.json").exists():
        return
    found = [path.name for path in folder.iterdir()]
    # What a kill leaves of the first write is no stranger, and neither is the lock of another audit.
    strangers = [name for name in found if name != LOCK and not name.startswith(".run.json.")]
    if strangers and "shards" not in strangers:
        raise EquipoiseError(
            f"Cannot audit into {home}: it holds {len(strangers)} other files, such as {sorted(strangers)[0]!r}. "
            "Choose an empty or new folder with --out."
        )


def _earlier(home: Here | Mirror, record: dict[str, Any]) -> dict[str, Any] | None:
    """run.json of an earlier call on the same images and seed; None where there is none, or only what is left of one.

    Raises:
        EquipoiseError: when it is that of another run.
    """
    folder = home.local
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        read_json(path)
    except NotJSONError as error:
        # It says nothing that this call does not know: shards are told apart by their names.
        if (folder / "shards").is_dir():
            return None
        raise EquipoiseError(f"{error} Delete it, or choose another --out.") from None
    before = read_record(folder)
    for what, old, new in (
        (
            "the images",
            f"{before['data']['spec']} ({before['data']['split']})",
            f"{record['data']['spec']} ({record['data']['split']})",
        ),
        ("the limit", before["data"]["limit"], record["data"]["limit"]),
        (
            "the content of the images",
            before["data"]["fingerprint"],
            record["data"]["fingerprint"],
        ),
        ("the seed", before["seed"], record["seed"]),
    ):
        if old != new:
            raise EquipoiseError(
                f"Cannot audit into {home}: it holds another run, in which {what} is {old}, not {new}. Choose "
                "another --out, or delete that folder."
            )
    return before


def _describe(
    name: str,
    classifier: Classifier,
    plan: Plan,
    device: torch.device,
    before: dict[str, Any] | None,
) -> dict[str, Any]:
    """What run.json says about a classifier, once its preflight has no failure.

    Raises:
        EquipoiseError: when the preflight fails.
    """
    fingerprint = plan.natures[name]
    known = (before or {}).get("classifiers", {}).get(name, {})
    if known.get("fingerprint") == fingerprint:
        return known
    checks = look_over(classifier, plan.data, device, plan.seed)
    failed = [c for c in checks if c.status == "fail"]
    if failed:
        raise EquipoiseError(
            f"The classifier {name!r} failed its preflight ({failed[0].name}): {failed[0].finding}. {failed[0].remedy}"
        )
    return {
        "fingerprint": fingerprint,
        "parameters": sum(p.numel() for p in classifier.parameters()),
        "facts": classifier.facts,
        "beyond": list((classifier.classes or ())[len(plan.data.classes) :]),
        "preflight": [
            {"name": c.name, "status": c.status, "finding": c.finding, "remedy": c.remedy}
            for c in checks
        ],
    }
