"""Verbs about classifiers that exist: audit, report."""

from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from equipoise.cli.app import app, plain_table, say
from equipoise.cli.dry_run import print_cost
from equipoise.cli.tracking import check_loggers, tell
from equipoise.errors import EquipoiseError
from equipoise.remote import is_address, place

__all__ = ["audit", "print_summary", "report"]


@app.command
def audit(
    classifiers: list[str] | None = None,
    *,
    data: str | None = None,
    probe: list[str] | None = None,
    out: str | None = None,
    on: str = "local",
    workers: int | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float | None = None,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    batch: int = 128,
    pictures: int = 48,
    skip_broken: bool = False,
    device: str = "auto",
    precision: Literal["exact", "fast"] = "exact",
    log: list[str] | None = None,
    dry_run: bool = False,
    calibrate: float = 10.0,
) -> None:
    """Measure classifiers on images, and write a page.

    Without arguments: trains a ladder of small networks on real handwritten digits, audits every rung, and writes
    runs/digits/report.html. Repeating a command goes on where it stopped.

    Parameters
    ----------
    classifiers
        What to judge: local:DIR, asset:NAME, package.module:function, hf-hub:OWNER/NAME, timm:NAME, torchvision:NAME
        or robust-imagenet:FILE.ckpt.
    data
        Images: digits, digits-on-photos, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also
        with ?classes=restricted-imagenet or restricted-imagenet-11-dogs; or a benchmark: rival10:PATH,
        salient-imagenet:PATH?images=FOLDER, imagenet9:PATH, waterbirds:PATH, objectnet:PATH.
    probe
        A question to ask, several times if you like: standard, adversarial:linf:8/255, adversarial:l2:0.5?steps=100,
        transfer:l2:0.5, counterfactual:DIR, gradients or gradients:DIR, large_eps:l2:4?judge=local:DIR,
        feature_use:digits, regions:gaussian or regions:l2, saliency, backgrounds, groups or groups:IMAGES,
        shift.
        When left out: standard and adversarial:l2:0.5.
    out
        The run's folder, or an address such as s3://bucket/run; the page is written beside its shards as report.html.
        [default: runs/audit]
    on
        Where the work is done: local, in this process; ray, by Ray on this machine or the cluster it is part of; or
        ray://HOST:PORT.
    workers
        Of Ray, at most; as many as there is room for when left out.
    cpus_per_worker
        Threads of each.
    gpus_per_worker
        GPUs of each, 0.25 for four on one. [default: 1 where there are any]
    split
        Which part of the images.
    limit
        At most so many images, a random sample.
    seed
        Of everything random.
    batch
        Images in a network call; changes speed and memory, no result.
    pictures
        How many images keep pictures for the page.
    skip_broken
        Leave out images that cannot be read, and say so on the page, instead of stopping.
    device
        auto, cpu, cuda or cuda:1.
    precision
        Of attacks' searches: exact for each classifier's own arithmetic, fast for the fastest found by trying. What an
        attack finds is judged in the classifier's own either way.
    log
        Whom to tell the summary at the end, several times if you like: tensorboard[:FOLDER], wandb[:PROJECT] or
        mlflow[:URI].
    dry_run
        Only say what the audit would cost: shards, network passes, time, memory and disk.
    calibrate
        Seconds that --dry-run may measure for; more make it surer.
    """
    check_loggers(log)
    if not classifiers and data is None:
        from equipoise.studies import embedded

        asked = {
            f"--out {out}": out is not None and is_address(out),
            "--probe": probe is not None,
            "--on": on != "local",
            "--workers": workers is not None,
            "--cpus-per-worker": cpus_per_worker != 1,
            "--gpus-per-worker": gpus_per_worker is not None,
            "--calibrate": calibrate != 10,
            "--split": split != "test",
            "--limit": limit is not None,
            "--seed": seed != 0,
            "--batch": batch != 128,
            "--pictures": pictures != 48,
            "--skip-broken": skip_broken,
            "--device": device != "auto",
            "--precision": precision != "exact",
            "--dry-run": dry_run,
        }
        for flag in (name for name, given in asked.items() if given):
            raise EquipoiseError(
                f"{flag} needs classifiers and --data: the embedded default has its own settings."
            )
        (run, page), note = embedded(Path(out or "runs/digits")), ""
    else:
        if not classifiers or data is None:
            missing = "a classifier" if data is not None else "--data"
            raise EquipoiseError(
                f"An audit needs {missing} as well: equipoise audit local:runs/digits/ladder/l2-1 --data digits"
            )
        from equipoise.audit import audit as run_audit
        from equipoise.cluster import find_cluster
        from equipoise.cost import estimate_cost
        from equipoise.images import load_images
        from equipoise.report.page import write

        home = place(out or "runs/audit")
        asked = (
            classifiers,
            load_images(data, split),
            probe or ("standard", "adversarial:l2:0.5"),
            str(home),
        )
        settings: dict[str, Any] = {
            "limit": limit,
            "seed": seed,
            "batch": batch,
            "pictures": pictures,
            "skip_broken": skip_broken,
            "device": device,
        }
        if dry_run:
            if precision != "exact":
                raise EquipoiseError(
                    "Cannot estimate what --precision fast will take: what it gains is found by trying. Leave it out: "
                    "an exact audit takes as long, or longer."
                )
            cluster = find_cluster(
                on, workers=workers, cpus=cpus_per_worker, gpus=gpus_per_worker, device=device
            )
            shared = 1 if cluster is None else workers or 1
            cost = estimate_cost(*asked, workers=shared, calibrate=calibrate, **settings)
            print_cost(cost, str(home))
            return
        run = run_audit(
            *asked,
            on,
            precision=precision,
            workers=workers,
            cpus_per_worker=cpus_per_worker,
            gpus_per_worker=gpus_per_worker,
            **settings,
        )
        note = write(run, home.drafts / "report.html").note
        page = home.push("report.html")
    tell(run, log)
    print_summary(run)
    _say_page(page, note)


@app.command
def report(run: str, *, out: Path | None = None, bundle: Path | None = None) -> None:
    """Write the page of a run: one file, or a folder.

    Parameters
    ----------
    run
        The folder that an audit or a study wrote, or its address.
    out
        The page. [default: report.html in that folder]
    bundle
        A folder to write instead, with all pictures at full size as files: for runs too large for one file.
    """
    if bundle is not None:
        from equipoise.report import bundle as write_bundle

        say(f"Page: {write_bundle(run, bundle)}")
    if out is not None or bundle is None:
        from equipoise.report.page import write

        home = place(run)
        written = write(run, out or home.drafts / "report.html")
        _say_page(written.path if out else home.push("report.html"), written.note)


def _say_page(page: Path | str, note: str) -> None:
    say(f"Page: {page}")
    if note:
        say(note)


def print_summary(run: Any) -> None:
    rows = run.summary()
    shown = [row for row in rows if row.better == "high" and row.unit == "share"]
    names = list(dict.fromkeys(row.name for row in shown))
    cells = {(row.classifier, row.name): row for row in rows}
    caption = "with 95% intervals; robust accuracy is an upper bound"
    table = plain_table("classifier", caption)
    for name in names:
        table.add_column(name, min_width=len("0.000–0.000"))
    for classifier in run.classifiers:
        found = [cells.get((classifier, name)) for name in names]
        shown = [f"{s.value:.3f}\n[dim]{s.low:.3f}–{s.high:.3f}[/dim]" if s else "" for s in found]
        table.add_row(escape(classifier), *shown)
    Console().print(table)
    for check in run.soundness():
        if check.warns:
            say(f"Warning: {check.classifier}, {check.probe}: {check.finding}. {check.remedy}")
