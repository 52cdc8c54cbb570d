"""The audit: classifiers x probes x images, resumed by repeating it."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from equipoise.audit.engines import Precision
from equipoise.audit.local import run_local
from equipoise.audit.on_ray import run_on_ray
from equipoise.audit.plan import Shard
from equipoise.audit.preparing import Asked, arrive, look_around, now, prepare
from equipoise.audit.repair import refuse_vanished
from equipoise.audit.run import Run
from equipoise.classifiers import Classifier
from equipoise.files import remove_leftovers, write_json
from equipoise.images import Images
from equipoise.locks import exclusive
from equipoise.probes import Probe
from equipoise.progress import Progress
from equipoise.remote import Here, Mirror
from equipoise.store import find_damage, is_whole

__all__ = ["audit"]


def audit(
    classifiers: Classifier | str | Iterable[Classifier | str],
    data: Images | str,
    probes: Iterable[Probe | str] = ("standard", "adversarial:l2:0.5"),
    out: str | Path = "runs/audit",
    on: str = "local",
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
    shown: bool = True,
) -> Run:
    """Asks every probe about every classifier and image, and keeps the answers in the folder `out`.

    Repeating the call goes on where it stopped; with another classifier or probe added, only what is missing is
    measured. The run then holds what the latest call asked for. Every shard that is there is read in full: those that
    are damaged are measured again, which a line on standard error and ``repaired`` in run.json say.

    Where the images say which of ImageNet's 1,000 outputs count as their classes, a classifier with so many is read as
    one of these classes (`equipoise.classifiers.read_as`).

    Arguments:
        classifiers: classifiers or their specs.
        data: images or their spec, whose split "test" is taken.
        probes: probes or their specs.
        out: the run's folder, of this machine or behind an address such as ``s3://bucket/run`` (`equipoise.remote`).
        on: where the work is done: "local", in this process; "ray", by Ray on this machine or the cluster that it is
            part of; or "ray://HOST:PORT", a cluster elsewhere. The answers are the same.
        workers: of Ray, at most; as many as there is room for when None.
        cpus_per_worker: of each, its threads.
        gpus_per_worker: of each, 0.25 for four on a GPU; one where there are any when None.
        limit: at most so many images, a random sample; all when None.
        seed: of the random streams and of the sample.
        batch: images in a network call; changes speed and memory, no result. Halved where memory runs out.
        pictures: how many images, spread evenly over the set, keep pictures for the page.
        examined: how many images, a random sample, probes look at a second time to see how far their answers can be
            trusted: attacks that failed are tried twice as long, for one.
        skip_broken: leave out images that cannot be read, and record them, instead of stopping.
        device: "auto", "cpu", "cuda" or "cuda:1".
        precision: of searches: "exact" for the classifier's own arithmetic, "fast" for the fastest that a trial on this
            machine finds. What is found is judged by the classifier itself either way.
        command: how the user asked, for the record; the process's own command line when None.
        shown: whether to show progress.

    Raises:
        EquipoiseError: for a classifier that fails its preflight, an image that cannot be read, a folder that holds
            something else or that another audit works in, a full disk, a Ray that does not answer or has no room for a
            worker.
    """
    home = arrive(out)
    # Before anything is loaded, which can take minutes.
    with exclusive(home.local, "audit into", home):
        asked = prepare(
            classifiers,
            data,
            probes,
            home,
            on,
            workers=workers,
            cpus_per_worker=cpus_per_worker,
            gpus_per_worker=gpus_per_worker,
            limit=limit,
            seed=seed,
            batch=batch,
            pictures=pictures,
            examined=examined,
            skip_broken=skip_broken,
            device=device,
            precision=precision,
            command=command,
        )
        _carry_out(asked, shown=shown)
    return Run(str(home))


def _carry_out(asked: Asked, *, shown: bool) -> None:
    """Measures what the folder lacks of the plan or holds damaged."""
    plan, home, record = asked.plan, asked.home, asked.record
    for folder in dict.fromkeys((home.local, home.drafts)):
        remove_leftovers(folder)
    home.resend(is_whole)
    home.mend(find_damage)
    missing, before = look_around(asked)
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
                refuse_vanished(home)
                progress.advance(f"{shard.classifier or ''} {shard.probe}".strip())

            record["machine"] |= _measure(asked, missing, done)
        # What workers elsewhere have sent is not here yet.
        home.pull(shown=shown)
        refuse_vanished(home, plan)
        _keep(home, record | {"status": "complete", "finished": now()})


def _keep(home: Here | Mirror, record: dict[str, Any]) -> None:
    write_json(home.drafts / "run.json", record)
    home.push("run.json")


def _measure(
    asked: Asked, missing: Sequence[Shard], done: Callable[[Shard], None]
) -> dict[str, str]:
    """Measures what is missing; gives what the record of the machine has to correct."""
    plan, home = asked.plan, asked.home
    settings = {"batch": asked.batch, "skip_broken": asked.skip_broken}
    if asked.cluster is None:

        def send(shard: Shard) -> None:
            home.push(shard.file)
            done(shard)

        run_local(plan, home.drafts, missing, send, device=asked.device, **settings)
        return {}
    devices = run_on_ray(plan, home, missing, done, cluster=asked.cluster, **settings)
    return {"device": ", ".join(sorted(devices))}
