"""The audit: classifiers x probes x images, resumed by repeating it."""

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from equipoise.audit.local import run_local
from equipoise.audit.plan import SCHEMA, Plan, Shard, make_plan
from equipoise.audit.run import Run, read_record
from equipoise.classifiers import (
    IMAGENET,
    Check,
    Classifier,
    load_classifier,
    preflight,
    read_as,
)
from equipoise.devices import choose_device
from equipoise.errors import EquipoiseError
from equipoise.files import write_json
from equipoise.images import Images, load_images
from equipoise.probes import Probe, load_probe
from equipoise.progress import Progress
from equipoise.remote import Here, Mirror, place
from equipoise.store import is_whole, read_facts

__all__ = ["audit", "check"]

_PREFLIGHT_IMAGES = 64


def audit(
    classifiers: Classifier | str | Iterable[Classifier | str],
    data: Images | str,
    probes: Iterable[Probe | str] = ("standard", "adversarial:l2:0.5"),
    out: str | Path = "runs/audit",
    on: Literal["local"] = "local",
    *,
    limit: int | None = None,
    seed: int = 0,
    batch: int = 128,
    pictures: int = 48,
    examined: int = 64,
    skip_broken: bool = False,
    device: str = "auto",
    command: str | None = None,
    shown: bool = True,
) -> Run:
    """Asks every probe about every classifier and image, and keeps the answers in the folder `out`.

    Repeating the call goes on where it stopped; with another classifier or probe added, only what is missing is
    measured. The run then holds what the latest call asked for.

    Where the images say which of ImageNet's 1,000 outputs count as their classes, a classifier with so many is read as
    one of these classes (`equipoise.classifiers.read_as`).

    Arguments:
        classifiers: classifiers or their specs.
        data: images or their spec, whose split "test" is taken.
        probes: probes or their specs.
        out: the run's folder, of this machine or behind an address such as ``s3://bucket/run`` (`equipoise.remote`).
        on: where the work is done; in this process.
        limit: at most so many images, a random sample; all when None.
        seed: of the random streams and of the sample.
        batch: images in a network call; changes speed and memory, no result.
        pictures: how many images, spread evenly over the set, keep pictures for the page.
        examined: how many images, a random sample, probes look at a second time to see how far their answers can be
            trusted: attacks that failed are tried twice as long, for one.
        skip_broken: leave out images that cannot be read, and record them, instead of stopping.
        device: "auto", "cpu", "cuda" or "cuda:1".
        command: how the user asked, for the record; the process's own command line when None.
        shown: whether to show progress.

    Raises:
        EquipoiseError: for a classifier that fails its preflight, an image that cannot be read, a folder that holds
            something else, a full disk.
    """
    if on != "local":
        raise EquipoiseError(f"Cannot audit on {on!r}: this version runs on 'local'.")
    for name, value, least in (
        ("batch", batch, 1),
        ("pictures", pictures, 0),
        ("examined", examined, 0),
    ):
        if value < least:
            raise EquipoiseError(f"Cannot audit with {name}={value}: it is at least {least}.")
    home = place(out)
    folder = home.pull(shown=shown)
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
    where = choose_device(device)
    judged = {name: _read(classifier.to(where), images) for name, classifier in judged.items()}
    plan = make_plan(images, judged, asked, seed=seed, pictures=pictures, examined=examined)
    if not skip_broken:
        _refuse_broken(plan, folder)
    record = _record(plan, limit=limit, pictures=pictures, device=where, command=command)
    before = _earlier(home, record)
    record["classifiers"] = {
        name: _describe(name, classifier, plan, where, before)
        for name, classifier in judged.items()
    }
    home.resend(is_whole)
    missing = [shard for shard in plan.shards if not is_whole(folder / shard.file)]
    if before:
        record["created"] = before["created"]
    if not missing and before and before["status"] == "complete":
        record |= {key: before[key] for key in ("finished", "command", "versions", "machine")}
    _keep(home, record | {"status": "running" if missing else "complete"})
    if missing:
        finished = len(plan.shards) - len(missing)
        with Progress(
            f"Auditing {home}", total=len(plan.shards), done=finished, shown=shown
        ) as progress:

            def done(shard: Shard) -> None:
                progress.advance(f"{shard.classifier or ''} {shard.probe}".strip())

            def send(shard: Shard) -> None:
                home.push(shard.file)
                done(shard)

            run_local(
                plan,
                home.drafts,
                missing,
                send,
                device=where,
                batch=batch,
                skip_broken=skip_broken,
            )
        record |= {"status": "complete", "finished": _now()}
        _keep(home, record)
    return Run(str(home))


def check(
    classifier: Classifier | str, data: Images | str, *, device: str = "auto"
) -> tuple[Check, ...]:
    """Preflight of one classifier on a random sample of 64 of the images; see `equipoise.classifiers.preflight`."""
    judged = load_classifier(classifier) if isinstance(classifier, str) else classifier
    images = load_images(data) if isinstance(data, str) else data
    where = choose_device(device)
    return _check(_read(judged.to(where), images), images, where, seed=0)


def _check(
    classifier: Classifier, images: Images, device: torch.device, seed: int
) -> tuple[Check, ...]:
    sample = images.subset(_PREFLIGHT_IMAGES, seed)
    batch = sample.batch(range(len(sample)), skip_broken=True)
    if not batch.ids:
        raise EquipoiseError(
            f"Cannot check on {images.spec!r}: none of {len(sample)} sampled images can be read."
        )
    return preflight(classifier, batch.images.to(device), batch.labels.to(device), images.classes)


@torch.no_grad()
def _read(classifier: Classifier, images: Images) -> Classifier:
    """The classifier read as the classes of the images, where they say how and it has ImageNet's outputs."""
    training = any(module.training for module in classifier.modules())
    # Reading puts it into eval mode; what was not in it fails the preflight.
    if images.outputs is None or training:
        return classifier
    try:
        shown = torch.zeros(1, *images.shape, device=classifier.mean.device)
        count = classifier.logits(shown).shape[-1]
    except Exception:  # the preflight reports it
        return classifier
    if count != IMAGENET or count == len(images.classes):
        return classifier
    return read_as(classifier, images.classes, images.outputs)


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


def _refuse_broken(plan: Plan, folder: Path) -> None:
    """Stops when an earlier call left images out, which this call does not allow."""
    described = [folder / shard.file for shard in plan.shards if shard.classifier is None]
    for facts in read_facts([path for path in described if is_whole(path)]):
        for name, reason in facts["broken"]:
            raise EquipoiseError(
                f"Cannot read the image {name!r}, which an earlier call left out: {reason}. Repair or remove it, or "
                "pass skip_broken=True (--skip-broken)."
            )


def _command() -> str:
    """The command line of this process, `python -m equipoise` by its usual name."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


def _keep(home: Here | Mirror, record: dict[str, Any]) -> None:
    write_json(home.drafts / "run.json", record)
    home.push("run.json")


def _now() -> str:
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
        "created": _now(),
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


def _earlier(home: Here | Mirror, record: dict[str, Any]) -> dict[str, Any] | None:
    """run.json of an earlier call on the same images and seed.

    Raises:
        EquipoiseError: when the folder holds anything else.
    """
    folder = home.local
    if folder.exists() and not folder.is_dir():
        raise EquipoiseError(f"Cannot audit into {folder}: it is a file. Choose another --out.")
    if not (folder / "run.json").exists():
        strangers = [path.name for path in folder.iterdir()] if folder.exists() else []
        if strangers and "shards" not in strangers:
            raise EquipoiseError(
                f"Cannot audit into {folder}: it holds {len(strangers)} other files, such as {sorted(strangers)[0]!r}. "
                "Choose an empty or new folder with --out."
            )
        return None
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
    checks = _check(classifier, plan.data, device, plan.seed)
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
