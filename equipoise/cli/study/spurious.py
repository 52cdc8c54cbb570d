"""What does adversarial training do to robustness against natural shifts?"""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from equipoise.cli.app import say
from equipoise.cli.study.app import Words, print_claims, study
from equipoise.cli.tracking import check_loggers, tell

__all__ = ["spurious"]


@study.command
def spurious(
    *,
    out: Path = Path("runs/spurious"),
    correlations: Words = None,
    radii: Words = None,
    linf_radii: Words = None,
    radius: str = "2",
    linf_radius: str = "16/255",
    seeds: int = 3,
    net: Literal["mlp", "residual"] = "mlp",
    widths: Annotated[list[int], Parameter(consume_multiple=True)] = [],  # noqa: B006
    blocks: int = 1,
    batch: int = 128,
    rate: float = 2e-3,
    steps: int = 300,
    attack_steps: int = 4,
    attacked: int = 80,
    models: Path | None = None,
    benchmarks: Words = None,
    heads: Words = None,
    limit: int = 0,
    backgrounds: int = 20,
    skip_broken: bool = False,
    seed: int = 0,
    device: str = "auto",
    log: list[str] | None = None,
) -> None:
    """What does adversarial training do to robustness against natural shifts? arXiv 2209.07592.

    Without options on the embedded digits on photographs, in some minutes on two CPU cores. With --models and
    --benchmarks it trains nothing, audits a folder of classifiers on published benchmarks and writes a page for each;
    the options from --correlations to --attacked then have no use, but for --batch.

    Parameters
    ----------
    out
        The study's folder.
    correlations
        Of backgrounds and labels in training, rising from 0.5, where there is none. [default: 0.5 0.8 0.95]
    radii
        Of L2 training, rising, in units of images in [0, 1]. [default: 1 2 4]
    linf_radii
        Of Linf training; 8/255 may be written so. [default: 8/255 16/255 32/255]
    radius
        L2 radius that robust accuracy is measured at.
    linf_radius
        Linf radius that it is measured at.
    seeds
        Trainings of each kind at each correlation.
    net
        mlp or residual.
    widths
        Of the network's layers or stages; the network's own when left out.
    blocks
        Residual blocks in each stage.
    batch
        Images in each training step.
    rate
        Peak learning rate.
    steps
        Of the optimiser in every training.
    attack_steps
        Of projected gradient ascent in each step of adversarial training.
    attacked
        At most so many test images for attacks, noise and gradients, which take long.
    models
        Folder of *.ckpt files of the robust ImageNet ResNets, and of folders with a classifier.json.
    benchmarks
        rival10:PATH, salient-imagenet:PATH?images=PATH, imagenet9:PATH, waterbirds:PATH, objectnet:PATH?source=PATH or
        digits-on-photos, with their options; each kind once.
    heads
        Kinds of benchmarks for which every classifier gets a new linear head; none for none. [default: waterbirds]
    limit
        At most so many images of each benchmark, a random sample; 0 for all.
    backgrounds
        How many backgrounds each object is put onto where a benchmark has some, a random sample; 0 for all.
    skip_broken
        Leave out images of a benchmark that cannot be read, and record them, instead of stopping.
    seed
        Of everything random.
    device
        auto, cpu, cuda or cuda:1.
    log
        Whom to tell the summary at the end, several times if you like: tensorboard[:FOLDER], wandb[:PROJECT] or
        mlflow[:URI].
    """
    check_loggers(log)
    if models or benchmarks:
        kept = {"batch": batch, "skip_broken": skip_broken, "seed": seed, "device": device}
        run_models(
            models,
            benchmarks,
            out,
            heads=heads,
            limit=limit,
            backgrounds=backgrounds,
            log=log,
            **kept,
        )
        return
    from equipoise.specs import parse_number
    from equipoise.studies import SpuriousSettings
    from equipoise.studies import spurious as run_study
    from equipoise.training import Recipe

    chosen: dict[str, Any] = {
        name: tuple(given)
        for name, given in (("radii", radii), ("linf_radii", linf_radii))
        if given is not None
    }
    if correlations is not None:
        chosen["correlations"] = tuple(
            parse_number(text, "the option --correlations") for text in correlations
        )
    run, page = run_study(
        out,
        SpuriousSettings(
            radius=radius,
            linf_radius=linf_radius,
            seeds=seeds,
            recipe=Recipe(net=net, widths=tuple(widths), blocks=blocks, batch=batch, rate=rate),
            steps=steps,
            attack_steps=attack_steps,
            attacked=attacked,
            seed=seed,
            device=device,
            **chosen,
        ),
    )
    tell(run, log)
    print_claims(run, page)


def run_models(
    models: Path | None,
    benchmarks: list[str] | None,
    out: Path,
    *,
    heads: list[str] | None = None,
    limit: int = 0,
    backgrounds: int = 20,
    batch: int = 64,
    skip_broken: bool = False,
    seed: int = 0,
    device: str = "auto",
    log: list[str] | None = None,
) -> None:
    """Audits a folder of classifiers on benchmarks, and prints the claims of each as soon as it is done."""
    from equipoise.errors import EquipoiseError
    from equipoise.studies import HEADS, audit_benchmarks, without_standard

    if not models or not benchmarks:
        given, lacking = ("--models", "--benchmarks") if models else ("--benchmarks", "--models")
        raise EquipoiseError(
            f"The option {given} needs {lacking} too: classifiers, and images to audit them on."
        )
    found = audit_benchmarks(
        models,
        benchmarks,
        out,
        heads=() if heads == ["none"] else heads or HEADS,
        limit=limit or None,
        backgrounds=backgrounds,
        batch=batch,
        skip_broken=skip_broken,
        seed=seed,
        device=device,
    )
    for run, page in found:
        tell(run, log)
        say(f"{run.record['data']['spec']}: {len(run.classifiers)} classifiers")
        for network in without_standard(run):
            of = f" of {network}" if network else ""
            say(f"No claims{of}: a standard classifier, of radius 0, is needed to compare with.")
        if run.claims():
            print_claims(run, page)
        else:
            say(f"Page: {page}")
