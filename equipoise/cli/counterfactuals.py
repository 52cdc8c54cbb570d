"""The verb that makes counterfactuals."""

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from equipoise.cli.app import app, say

__all__ = ["counterfactuals"]


@app.command
def counterfactuals(
    data: str,
    *,
    denoiser: str,
    out: Path = Path("runs/counterfactuals"),
    split: str = "test",
    neighbourhood: str = "gaussian:18%",
    guidance: float = 2.0,
    method: str | None = None,
    steps: int = 18,
    churn: float = 0.0,
    per_class: int = 2,
    best_of: int = 1,
    by: Literal["proximity", "confidence"] = "proximity",
    targets: int | None = None,
    oracle: list[str] | None = None,
    features: str | None = None,
    reference: str | None = None,
    reference_split: str = "train",
    limit: int | None = None,
    seed: int = 0,
    batch: int = 256,
    skip_broken: bool = False,
    device: str = "auto",
    on: str = "local",
    workers: int | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float | None = None,
) -> None:
    """Make counterfactuals of images: what each would look like if it were of another class.

    OUT then opens as images (parquet:OUT), can be audited against (--probe counterfactual:OUT), trained on, and is a
    Hugging Face data set folder. Same-class counterfactuals and noise of the same length are made alongside as
    controls, and the set's quality is measured. Repeating a command goes on where it stopped.

    Parameters
    ----------
    data
        The originals: digits, folder:PATH or parquet:PATH, with options such as ?size=32.
    denoiser
        What draws them: local:DIR, asset:NAME, edm:FILE.pkl?unconditional=FILE.pkl or diffusers:FOLDER.
    out
        The set's folder.
    split
        Which part of the images.
    neighbourhood
        How near to stay: gaussian:0.2 or laplace:0.2, the standard deviation of a pixel for images in [-1, 1], or
        gaussian:18%, a share of the data's own L2 size.
    guidance
        1 draws from what the denoiser learnt; more pushes further towards the class.
    method
        exact, reverse or sum for gaussian; particles, tilted, metropolis or sum for laplace; the first of them when
        left out. Tilted takes a twentieth of the time of particles.
    steps
        Noise levels of the method.
    churn
        Of the method sum.
    per_class
        Counterfactuals of each image and class.
    best_of
        Draws of which each is the best.
    by
        What makes a draw the best.
    targets
        How many other classes for each image, a random choice; all when left out.
    oracle
        A classifier that says whether a counterfactual is of its class, several times if you like; best one that is
        used for nothing else.
    features
        A classifier whose logits are the features of a Frechet distance.
    reference
        Images the denoiser was trained on, to look for memorised ones.
    reference_split
        Which part of them.
    limit
        At most so many originals, a random sample.
    seed
        Of everything random.
    batch
        Counterfactuals in a denoiser call; changes speed and memory, no result.
    skip_broken
        Leave out images that cannot be read, and record them, instead of stopping.
    device
        auto, cpu, cuda or cuda:1.
    on
        Where the work is done: local, in this process; ray, by Ray on this machine or the cluster it is part of; or
        ray://HOST:PORT.
    workers
        Of Ray, at most; as many as there is room for when left out.
    cpus_per_worker
        Threads of each.
    gpus_per_worker
        GPUs of each, 0.25 for four on one. [default: 1 where there are any]
    """
    from equipoise.classifiers import load_classifier
    from equipoise.counterfactuals import (
        DiffusionClassifier,
        Sampler,
        make_set,
        measure_quality,
        parse_neighbourhood,
    )
    from equipoise.diffusion import load_denoiser
    from equipoise.images import load_images

    drawn_from = load_denoiser(denoiser)
    images = load_images(data, split).subset(limit, seed)
    sampler = Sampler(
        drawn_from,
        parse_neighbourhood(neighbourhood, drawn_from.scale),
        guidance=guidance,
        steps=steps,
        method=method,
        churn=churn,
    )
    described = load_classifier(features) if features else None
    known = load_images(reference, reference_split) if reference else None
    made = make_set(
        images,
        sampler,
        out,
        oracles=[load_classifier(spec) for spec in oracle or ()],
        per_class=per_class,
        best_of=best_of,
        by=by,
        targets=targets,
        seed=seed,
        batch=batch,
        device=device,
        skip_broken=skip_broken,
        on=on,
        workers=workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
    )
    classify = DiffusionClassifier(drawn_from)
    measure_quality(made, images, known, classify=classify, features=described)
    table = Table("quality", "of", "value", "95% interval")
    for finding in made.quality or ():
        low, high = finding["low"], finding["high"]
        span = "" if low is None else f"{low:.3f} to {high:.3f}"
        value = "" if finding["value"] is None else f"{finding['value']:.3f}"
        table.add_row(finding["name"], finding["split"], value, span)
    Console().print(table)
    total = sum(shard["test"]["rows"] for shard in made.record["shards"].values())
    say(
        f"{total} counterfactuals of {len(images)} images, {sampler.evaluations} denoiser evaluations each, in {out}: "
        f"open them as parquet:{out}, audit with --probe counterfactual:{out}"
    )
