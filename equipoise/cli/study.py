"""Verbs that reproduce a paper: train, make, measure, test every claim, and write a page."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

from equipoise.cli.app import app, plain_table, say
from equipoise.cli.tracking import check_loggers, tell

__all__ = ["counterfactual", "odds", "spurious", "study"]

study = App(
    name="study",
    help="Reproduce a paper: train, make, measure, test every claim, and write a page.\n\n"
    "Repeating a command goes on where it stopped.",
)
app.command(study)


@study.command
def counterfactual(
    *,
    out: Path = Path("runs/counterfactual"),
    data: str = "digits",
    norm: Literal["l2", "linf"] = "l2",
    radii: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    net: Literal["mlp", "residual"] = "mlp",
    widths: Annotated[list[int], Parameter(consume_multiple=True)] = [],  # noqa: B006
    blocks: int = 1,
    epochs: int = 100,
    batch: int = 128,
    rate: float = 4e-3,
    shift: int = 0,
    flip: bool = False,
    limit: int = 0,
    attack_steps: int = 7,
    denoiser: str = "",
    denoiser_steps: int | None = None,
    width: str = "18%",
    guidance: float = 2.0,
    originals: int = 300,
    published_originals: int = 100,
    per_class: int = 2,
    seed: int = 0,
    device: str = "auto",
    log: list[str] | None = None,
) -> None:
    """Do counterfactual examples complicate adversarial training? arXiv 2404.10588.

    Without options on the embedded digits, in a few minutes on two CPU cores.

    Parameters
    ----------
    out
        The study's folder.
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also with
        ?classes=restricted-imagenet or restricted-imagenet-11-dogs. The split train is used.
    norm
        Of the adversary.
    radii
        One classifier each, rising from 0, in units of images in [0, 1]; 8/255 may be written so. [default: 0 0.25
        0.5 1 1.5]
    net
        mlp, or residual for images of 8x8 to 64x64 pixels.
    widths
        Of the network's layers or stages; the network's own when left out.
    blocks
        Residual blocks in each stage.
    epochs
        Passes over the training images.
    batch
        Images in each training step.
    rate
        Peak learning rate.
    shift
        Random shifts by up to so many pixels.
    flip
        Mirror images at random.
    limit
        Train classifiers on at most so many images, a random sample; 0 for all.
    attack_steps
        Of projected gradient descent in each step of adversarial training.
    denoiser
        A denoiser to use instead of training one: local:DIR, edm:FILE.pkl?unconditional=FILE.pkl, diffusers:FOLDER.
    denoiser_steps
        Steps of the denoiser's training; what suits the size of the images when left out.
    width
        Of the neighbourhoods: 0.3 for images in [-1, 1], or 18%, a share of the data's own L2 size.
    guidance
        Of the sampler.
    originals
        How many images get counterfactuals.
    published_originals
        How many of them also with the published sampler, which takes five times as many passes.
    per_class
        Counterfactuals of each image and class.
    seed
        Of everything random.
    device
        auto, cpu, cuda or cuda:1.
    log
        Whom to tell the summary at the end, several times if you like: tensorboard[:FOLDER], wandb[:PROJECT] or
        mlflow[:URI].
    """
    check_loggers(log)
    from equipoise.studies import Settings
    from equipoise.studies import counterfactual as run_study
    from equipoise.training import Recipe

    recipe = Recipe(
        net=net,
        widths=tuple(widths),
        blocks=blocks,
        epochs=epochs,
        batch=batch,
        rate=rate,
        shift=shift,
        flip=flip,
        limit=limit,
        seed=seed,
    )
    run, page = run_study(
        out,
        Settings(
            data=data,
            norm=norm,
            radii=tuple(radii or Settings.radii),
            recipe=recipe,
            attack_steps=attack_steps,
            denoiser=denoiser,
            denoiser_steps=denoiser_steps,
            width=width,
            guidance=guidance,
            originals=originals,
            published_originals=published_originals,
            per_class=per_class,
            seed=seed,
            device=device,
        ),
    )
    tell(run, log)
    _print_claims(run, page)


Words = Annotated[list[str] | None, Parameter(consume_multiple=True)]


@study.command
def odds(
    *,
    out: Path = Path("runs/odds"),
    data: str = "digits",
    radii: Words = None,
    linf_radii: Words = None,
    half_radii: Words = None,
    sizes: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    seeds: int = 3,
    net: Literal["mlp", "residual"] = "mlp",
    widths: Annotated[list[int], Parameter(consume_multiple=True)] = [],  # noqa: B006
    blocks: int = 1,
    batch: int = 128,
    rate: float = 1e-2,
    shift: int = 0,
    flip: bool = False,
    steps: int = 600,
    attack_steps: int = 7,
    far: str = "3",
    test: int = 0,
    attacked: int = 300,
    originals: int = 100,
    denoiser: str = "",
    pair: Words = None,
    linear_radii: Words = None,
    linear_radius: str = "0.2",
    feature_images: int = 0,
    feature_changes: str = "0.75",
    feature_radius: str = "0.25",
    seed: int = 0,
    device: str = "auto",
    log: list[str] | None = None,
) -> None:
    """Is robustness at odds with accuracy? arXiv 1805.12152.

    Without options on the embedded digits, in some minutes on two CPU cores.

    Parameters
    ----------
    out
        The study's folder.
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also with
        ?classes=restricted-imagenet or restricted-imagenet-11-dogs. The splits train and test are used.
    radii
        Of L2 training, rising, in units of images in [0, 1]. [default: 0.5 1 1.5]
    linf_radii
        Of Linf training; 8/255 may be written so. [default: 0.1 0.2 0.3]
    half_radii
        Of L2 training where each image is natural half of the time. [default: 1 1.5]
    sizes
        Numbers of training images, rising; 0 for all of them. [default: 50 150 400 0]
    seeds
        Trainings of each kind and size.
    net
        mlp, or residual for images of 8x8 to 64x64 pixels.
    widths
        Of the network's layers or stages; the network's own when left out.
    blocks
        Residual blocks in each stage.
    batch
        Images in each training step.
    rate
        Peak learning rate.
    shift
        Random shifts by up to so many pixels.
    flip
        Mirror images at random.
    steps
        Of the optimiser in every training.
    attack_steps
        Of projected gradient ascent in each step of adversarial training.
    far
        L2 radius of adversarial examples, beyond any change of training.
    test
        At most so many test images, a random sample; 0 for all.
    attacked
        At most so many of them for all but standard accuracy, since attacks take long; 0 for all.
    originals
        Test images that get counterfactuals, which gradients are compared with; 0 for none.
    denoiser
        What draws them, instead of training one: local:DIR, edm:FILE.pkl?unconditional=FILE.pkl, diffusers:FOLDER.
    pair
        Two classes for the linear experiment. [default: 5 7, or the first two]
    linear_radii
        Linf radii that its rules are trained for, rising from 0. [default: 0 0.1 0.2 0.3]
    linear_radius
        Linf radius it is attacked with, one of them.
    feature_images
        Training images that feature sets are made of, a random sample; 0 for all.
    feature_changes
        L2 radius within which images are changed into other classes for the feature sets.
    feature_radius
        L2 radius of the attack on what was learnt from these sets.
    seed
        Of everything random.
    device
        auto, cpu, cuda or cuda:1.
    log
        Whom to tell the summary at the end, several times if you like: tensorboard[:FOLDER], wandb[:PROJECT] or
        mlflow[:URI].
    """
    check_loggers(log)
    from equipoise.studies import OddsSettings
    from equipoise.studies import odds as run_study
    from equipoise.training import Recipe

    given = {
        "radii": radii,
        "linf_radii": linf_radii,
        "half_radii": half_radii,
        "sizes": sizes,
        "pair": pair,
        "linear_radii": linear_radii,
    }
    recipe = Recipe(
        net=net,
        widths=tuple(widths),
        blocks=blocks,
        batch=batch,
        rate=rate,
        shift=shift,
        flip=flip,
    )
    chosen: dict[str, Any] = {k: tuple(v) for k, v in given.items() if v is not None}
    run, page = run_study(
        out,
        OddsSettings(
            data=data,
            seeds=seeds,
            recipe=recipe,
            steps=steps,
            attack_steps=attack_steps,
            far=far,
            test=test,
            attacked=attacked,
            originals=originals,
            denoiser=denoiser,
            linear_radius=linear_radius,
            feature_images=feature_images,
            feature_changes=feature_changes,
            feature_radius=feature_radius,
            seed=seed,
            device=device,
            **chosen,
        ),
    )
    tell(run, log)
    _print_claims(run, page)


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
    attacked: int = 100,
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
    _print_claims(run, page)


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
            _print_claims(run, page)
        else:
            say(f"Page: {page}")


def _print_claims(run: Any, page: Path) -> None:
    """Each statement once, with the classifiers that it holds of and those that it fails of."""
    said: dict[tuple[str, str], dict[str, list[str]]] = {}
    for claim in run.claims():
        verdicts = said.setdefault((claim.id, claim.text), {})
        verdicts.setdefault(claim.verdict, []).append(claim.classifier or "")
    table = plain_table(
        "claim", "holds, fails or is undecided by its 95 % interval; numbers are on the page"
    )
    table.add_column("statement")
    table.add_column("verdict")
    colours = {"holds": "green", "fails": "red", "undecided": "yellow"}
    for (name, text), verdicts in said.items():
        found = []
        for verdict in (v for v in colours if v in verdicts):
            of = ", ".join(filter(None, verdicts[verdict])) if len(verdicts) > 1 else ""
            found.append(f"[{colours[verdict]}]{verdict}[/] {escape(of)}".rstrip())
        table.add_row(name, escape(text), "\n".join(found))
    Console().print(table)
    say(f"Page: {page}")
