"""The command line: verbs only. Each parses its arguments and calls one function; nothing heavy is imported before."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from equipoise.errors import EquipoiseError

app = App(
    name="equipoise",
    help="Measures what adversarial robustness costs an image classifier.\n\n"
    "Options of a verb can stand in a file, under the verb's name: equipoise audit --config FILE.yaml",
    version_flags=["--version"],
    default_parameter=Parameter(negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Folder = Annotated[Path, Parameter(allow_leading_hyphen=False)]


@app.command
def audit(
    classifiers: list[str] | None = None,
    *,
    data: str | None = None,
    probe: list[str] | None = None,
    out: Path | None = None,
    on: Literal["local"] = "local",
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    batch: int = 128,
    pictures: int = 48,
    skip_broken: bool = False,
    device: str = "auto",
) -> None:
    """Measure classifiers on images, and write a page.

    Without arguments: trains a ladder of small networks on real handwritten digits, audits every rung, and writes
    runs/digits/report.html. Repeating a command goes on where it stopped.

    Parameters
    ----------
    classifiers
        What to judge: local:DIR, package.module:function, hf-hub:OWNER/NAME, timm:NAME or torchvision:NAME.
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also with
        ?classes=restricted-imagenet or restricted-imagenet-11-dogs.
    probe
        A question to ask, several times if you like: standard, adversarial:linf:8/255, adversarial:l2:0.5?steps=100,
        transfer:l2:0.5, counterfactual:DIR, gradients or gradients:DIR, large_eps:l2:4?judge=local:DIR,
        feature_use:digits.
        When left out: standard and adversarial:l2:0.5.
    out
        The run's folder; the page is written beside its shards as report.html. [default: runs/audit]
    on
        Where the work is done.
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
    """
    if not classifiers and data is None:
        from equipoise.studies import embedded

        asked = {
            "--probe": probe is not None,
            "--split": split != "test",
            "--limit": limit is not None,
            "--seed": seed != 0,
            "--batch": batch != 128,
            "--pictures": pictures != 48,
            "--skip-broken": skip_broken,
            "--device": device != "auto",
        }
        for flag in (name for name, given in asked.items() if given):
            raise EquipoiseError(
                f"{flag} needs classifiers and --data: the embedded default has its own settings."
            )
        run, page = embedded(out or Path("runs/digits"))
    else:
        if not classifiers or data is None:
            missing = "a classifier" if data is not None else "--data"
            raise EquipoiseError(
                f"An audit needs {missing} as well: equipoise audit local:runs/digits/ladder/l2-1 --data digits"
            )
        from equipoise.audit import audit as run_audit
        from equipoise.images import load_images
        from equipoise.report import report as write_page

        run = run_audit(
            classifiers,
            load_images(data, split),
            probe or ("standard", "adversarial:l2:0.5"),
            out or Path("runs/audit"),
            on,
            limit=limit,
            seed=seed,
            batch=batch,
            pictures=pictures,
            skip_broken=skip_broken,
            device=device,
        )
        page = write_page(run, run.folder / "report.html")
    _print_summary(run)
    _say(f"Page: {page}")


@app.command
def train(
    *,
    data: str = "digits",
    split: str = "train",
    objective: Literal["standard", "pgd", "trades", "half-and-half", "random-noise"] = "pgd",
    norm: Literal["l2", "linf", "l1"] = "l2",
    radii: Annotated[list[str], Parameter(consume_multiple=True)] = ["0", "0.5", "1"],  # noqa: B006
    out: Path = Path("runs/ladder"),
    net: Literal["mlp", "residual"] = "residual",
    widths: Annotated[list[int], Parameter(consume_multiple=True)] = [],  # noqa: B006
    blocks: int = 1,
    epochs: int = 30,
    batch: int = 128,
    rate: float = 4e-3,
    decay: float = 5e-4,
    average: float = 0.99,
    shift: int = 0,
    flip: bool = False,
    held_out: float = 0.15,
    judgements: int = 50,
    limit: int = 0,
    steps: int = 7,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Train a ladder: one classifier for each radius, into OUT/NORM-RADIUS or OUT/OBJECTIVE-NORM-RADIUS.

    Finished rungs are kept and an interrupted one goes on when the command is repeated. Under torchrun every process
    takes its share of each batch.

    Parameters
    ----------
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also with
        ?classes=restricted-imagenet or restricted-imagenet-11-dogs.
    split
        Which part of the images to train on.
    objective
        What rungs above radius 0 minimise: pgd (the loss on attacked images), trades (the loss on images as they are,
        and what attacks change in the answer), half-and-half (pgd for half of the images), random-noise (the loss on
        images with noise of that size); standard goes with --radii 0 alone.
    norm
        Of the adversary.
    radii
        One rung each, in units of images in [0, 1]; 8/255 may be written so. 0 is standard training.
    out
        Folder of the ladder.
    net
        mlp, or residual for images of 8x8 to 64x64 pixels.
    widths
        Of the network's layers or stages; the network's own when left out.
    blocks
        Residual blocks in each stage.
    epochs
        Passes over the training images.
    batch
        Images in each step.
    rate
        Peak learning rate.
    decay
        Weight decay.
    average
        Decay of the moving average of the weights, per step.
    shift
        Random shifts by up to so many pixels.
    flip
        Mirror images at random.
    held_out
        Share of the images kept for choosing the checkpoint.
    judgements
        How many times the held-out images are asked, at most.
    limit
        Train on at most so many images, a random sample; 0 for all.
    steps
        Of projected gradient ascent in each step of adversarial training; random-noise takes none.
    seed
        Of everything random.
    device
        auto, cpu or cuda.
    """
    from equipoise.images import load_images
    from equipoise.norms import parse_threat
    from equipoise.training import Recipe, train_ladder

    rungs = train_ladder(
        load_images(data, split),
        [parse_threat(f"{norm}:{radius}") for radius in radii],
        Recipe(
            net=net,
            widths=tuple(widths),
            blocks=blocks,
            epochs=epochs,
            batch=batch,
            rate=rate,
            decay=decay,
            average=average,
            shift=shift,
            flip=flip,
            held_out=held_out,
            judgements=judgements,
            limit=limit,
            seed=seed,
        ),
        out,
        objective=objective,
        steps=steps,
        accelerator=device,
    )
    if os.environ.get("RANK", "0") != "0":
        return
    table = Table("rung", "chosen epoch", "held-out accuracy", "under attack")
    for rung in rungs:
        chosen = rung.facts["selected"]
        table.add_row(
            f"local:{escape(str(out / rung.name))}",
            str(chosen["epoch"]),
            f"{chosen['held_out_accuracy']:.1%}",
            f"{chosen['score']:.1%}",
        )
    Console().print(table)


@app.command
def denoise(
    *,
    data: str = "digits",
    split: str = "train",
    out: Path = Path("runs/denoiser"),
    width: int | None = None,
    multipliers: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    blocks: int | None = None,
    attention: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    dropout: float | None = None,
    patch: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    warm_up: int | None = None,
    decay: float | None = None,
    mean: float | None = None,
    std: float | None = None,
    withheld: float | None = None,
    average: float | None = None,
    flip: Annotated[bool | None, Parameter(negative="--no-flip")] = None,
    limit: int | None = None,
    seed: int | None = None,
    precision: Literal["float32", "bf16"] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Train a denoiser, from which counterfactual images are made, into OUT.

    What is left out follows from the size of the images: 8x8 digits take under a minute on two CPU cores, 28x28 grey
    images some minutes; photographs want a GPU, or a small --width and few --steps. OUT/samples shows what the network
    can do so far, a row for each class. Repeating a command goes on where it stopped. Under torchrun every process
    takes its share of each batch.

    Parameters
    ----------
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; folder:PATH also with
        ?classes=restricted-imagenet or restricted-imagenet-11-dogs.
    split
        Which part of the images to train on.
    out
        Folder of the denoiser.
    width
        Channels of the network at its first level.
    multipliers
        Of the width, one for each level: 1 2 2.
    blocks
        In each level, on the way down and again on the way up.
    attention
        Sizes of feature maps at which the network attends, besides the middle: 16.
    dropout
        Share of activations dropped in training.
    patch
        Side of the squares of pixels that the network sees as one.
    steps
        Of the optimiser.
    batch
        Images in each step.
    rate
        Peak learning rate.
    warm_up
        Steps over which it rises.
    decay
        Share of the steps over which it falls to 0.
    mean
        Of the logarithm of the noise level, for images in [-1, 1].
    std
        Of the same.
    withheld
        Share of the images that are shown without their label, which guidance needs.
    average
        Relative width of the average of the weights over time.
    flip
        Mirror images at random.
    limit
        Train on at most so many images, a random sample; 0 for all.
    seed
        Of everything random.
    precision
        bf16 for mixed precision on a GPU.
    device
        auto, cpu or cuda.
    """
    given = {
        "width": width,
        "multipliers": multipliers and tuple(multipliers),
        "blocks": blocks,
        "attention": None if attention is None else tuple(attention),
        "dropout": dropout,
        "patch": patch,
        "steps": steps,
        "batch": batch,
        "rate": rate,
        "warm_up": warm_up,
        "decay": decay,
        "mean": mean,
        "std": std,
        "withheld": withheld,
        "average": average,
        "flip": flip,
        "limit": limit,
        "seed": seed,
        "precision": precision,
    }
    from dataclasses import replace

    from equipoise.images import load_images
    from equipoise.training import fit_denoiser, suited_recipe

    images = load_images(data, split)
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    recipe = replace(suited_recipe(images.shape), **changes)
    denoiser = fit_denoiser(images, recipe, out, accelerator=device)
    if os.environ.get("RANK", "0") != "0":
        return
    _say(f"Denoiser: local:{out}, loss {denoiser.facts['loss']:.3f}")
    _say(f"Samples: {out / 'samples' / f'step-{recipe.steps:06d}.png'}")


@app.command
def check(classifier: str, *, data: str, split: str = "test", device: str = "auto") -> None:
    """Look a classifier over before an hour is spent on it; exits with 1 when something is wrong.

    Parameters
    ----------
    classifier
        What to look over: local:DIR, package.module:function, timm:NAME, ...
    data
        Images with labels: digits, folder:PATH or parquet:PATH.
    split
        Which part of the images.
    device
        auto, cpu, cuda or cuda:1.
    """
    from equipoise.audit import check as run_check
    from equipoise.images import load_images

    checks = run_check(classifier, load_images(data, split), device=device)
    colours = {"pass": "green", "warn": "yellow", "fail": "red"}
    table = Table("check", "", "finding", "remedy")
    for item in checks:
        status = f"[{colours[item.status]}]{item.status}[/]"
        table.add_row(item.name, status, escape(item.finding), escape(item.remedy))
    Console().print(table)
    if any(item.status == "fail" for item in checks):
        sys.exit(1)


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
        What draws them: local:DIR, edm:FILE.pkl?unconditional=FILE.pkl or diffusers:FOLDER.
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
    )
    classify = DiffusionClassifier(drawn_from)
    measure_quality(made, images, known, classify=classify, features=described)
    table = Table("quality", "of", "value", "95 % interval")
    for finding in made.quality or ():
        low, high = finding["low"], finding["high"]
        span = "" if low is None else f"{low:.3f} to {high:.3f}"
        value = "" if finding["value"] is None else f"{finding['value']:.3f}"
        table.add_row(finding["name"], finding["split"], value, span)
    Console().print(table)
    total = sum(shard["test"]["rows"] for shard in made.record["shards"].values())
    _say(
        f"{total} counterfactuals of {len(images)} images, {sampler.evaluations} denoiser evaluations each, in {out}: "
        f"open them as parquet:{out}, audit with --probe counterfactual:{out}"
    )


@app.command
def study(
    name: Literal["counterfactual"],
    *,
    out: Path | None = None,
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
) -> None:
    """Reproduce a paper: train, make, measure, test every claim, and write a page.

    counterfactual: arXiv 2404.10588. Without options on the embedded digits, in a few minutes on two CPU cores.
    Repeating a command goes on where it stopped.

    Parameters
    ----------
    name
        Which study.
    out
        Its folder. [default: runs/NAME]
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32; the split train is used.
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
    """
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
        out or Path("runs") / name,
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
    table = Table("claim", "classifier", "statistic", "value", "95 % interval", "verdict")
    colours = {"holds": "green", "fails": "red", "undecided": "yellow"}
    for claim in run.claims():
        table.add_row(
            claim.id,
            escape(claim.classifier or ""),
            f"{claim.statistic} > {claim.bound:g}",
            f"{claim.value:.3f}",
            f"{claim.low:.3f} to {claim.high:.3f}",
            f"[{colours[claim.verdict]}]{claim.verdict}[/]",
        )
    Console().print(table)
    _say(f"Page: {page}")


theory = App(name="theory", help="Models of papers in closed form, as tables, pages and pictures.")
app.command(theory)


@theory.command
def dichotomy(
    *,
    p: float = 0.95,
    eta: float = 0.2,
    d: int = 100,
    eps: float | None = None,
    eps_train: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    decay: float | None = None,
    samples: Annotated[list[int], Parameter(consume_multiple=True)] = [50, 500],  # noqa: B006
    seed: int = 0,
    out: Path = Path("runs/theory/dichotomy.html"),
) -> None:
    """Accuracy at odds with robustness, exactly: rules, their bound and the frontier (arXiv 1805.12152).

    Parameters
    ----------
    p
        How often the robust feature is right, at least 0.5 and below 1.
    eta
        Mean of each weak feature.
    d
        How many weak features.
    eps
        Radius of the adversary. [default: 2 eta]
    eps_train
        Radii at which support vector machines are trained besides 0. [default: eta/4 3eta/8 2eta]
    decay
        Their weight decay; when left out, the one that gives weights of unit norm.
    samples
        Logistic rules are fitted to so many samples, at radius 0 and at the adversary's.
    seed
        Of the samples.
    out
        The page (.html), or its chart alone (.svg, .png, .pdf).
    """
    import warnings

    from equipoise.report.frontier import is_bounded
    from equipoise.report.sheet import check_ending
    from equipoise.report.theory import write_dichotomy
    from equipoise.theory import (
        CollapseWarning,
        Dichotomy,
        fitted_rules,
        known_rules,
        machines,
    )

    check_ending(out)
    model = Dichotomy(p=p, eta=eta, d=d)
    eps = 2 * eta if eps is None else eps
    radii = sorted({0.0, *([eta / 4, 3 * eta / 8, 2 * eta] if eps_train is None else eps_train)})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        rules = [
            *known_rules(model, eps),
            *machines(model, eps, radii, decay),
            *fitted_rules(model, eps, samples, sorted({0.0, eps}), seed),
        ]
    collapsed = [str(warning.message) for warning in caught]
    options = {"p": [p], "eta": [eta], "d": [d], "eps": [eps], "eps-train": radii}
    options |= {"decay": [] if decay is None else [decay], "samples": samples, "seed": [seed]}
    command = "equipoise theory dichotomy" + "".join(
        f" --{name} {' '.join(f'{number:.12g}' for number in numbers)}"
        for name, numbers in options.items()
        if numbers
    )
    page = write_dichotomy(model, rules, eps, out, command=command, warnings=collapsed)
    caption = f"no rule of any kind is right on more than {model.best_robust_accuracy(eps):.4f} at {eps:g}"
    table = _plain_table("rule", caption)
    bounded = is_bounded(model, eps)
    for head in ("standard accuracy", f"robust accuracy at {eps:g}", "at most")[: 2 + bounded]:
        table.add_column(head, justify="right")
    for rule in rules:
        if rule.standard == 0:
            table.add_row(rule.name, "answers nothing")
        else:
            values = (rule.standard, rule.robust, model.bound(1 - rule.standard))
            table.add_row(rule.name, *(f"{value:.4f}" for value in values[: 2 + bounded]))
    Console().print(table)
    for warning in collapsed:
        _say(f"Warning: {warning}")
    _say(f"{'Page' if out.suffix.lower() == '.html' else 'Picture'}: {page}")


@app.command
def report(run: Path, *, out: Path | None = None) -> None:
    """Write the page of a run.

    Parameters
    ----------
    run
        The folder that an audit wrote.
    out
        The page. [default: report.html in the run's folder]
    """
    from equipoise.report import report as write_page

    _say(f"Page: {write_page(run, out or run / 'report.html')}")


def _print_summary(run: Any) -> None:
    rows = run.summary()
    shown = [row for row in rows if row.better == "high" and row.unit == "share"]
    names = list(dict.fromkeys(row.name for row in shown))
    cells = {(row.classifier, row.name): row for row in rows}
    caption = "with 95 % intervals; robust accuracy is an upper bound"
    table = _plain_table("classifier", caption)
    for name in names:
        table.add_column(name, min_width=len("0.000–0.000"))
    for classifier in run.classifiers:
        found = [cells.get((classifier, name)) for name in names]
        shown = [f"{s.value:.3f}\n[dim]{s.low:.3f}–{s.high:.3f}[/dim]" if s else "" for s in found]
        table.add_row(escape(classifier), *shown)
    Console().print(table)
    for check in run.soundness():
        if check.warns:
            _say(f"Warning: {check.classifier}, {check.probe}: {check.finding}. {check.remedy}")


def _plain_table(head: str, caption: str) -> Table:
    layout: dict[str, Any] = {"pad_edge": False, "padding": (0, 2, 0, 0), "show_edge": False}
    return Table(head, box=SIMPLE_HEAD, caption=caption, caption_justify="left", **layout)


def _say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: a mistake of the user's becomes one line on standard error and exit code 2; Ctrl-C gives 130."""
    tokens = sys.argv[1:] if arguments is None else arguments
    try:
        _with_config(tokens)
    except (EquipoiseError, cyclopts.CycloptsError) as error:
        line = " ".join(str(error).split())
        print(f"equipoise: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        _interrupted()
    except RuntimeError as error:
        # What DuckDB makes of Ctrl-C in the middle of a query.
        if str(error) != "Query interrupted":
            raise
        _interrupted()


def _interrupted() -> None:
    print(
        "\nequipoise: interrupted. What was finished is kept: repeat the command to go on.",
        file=sys.stderr,
    )
    sys.exit(130)


def _check_yaml(path: Path) -> None:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EquipoiseError(
            f"Cannot read the configuration {str(path)!r}: it is not YAML ({error})."
        ) from None
    verbs = {"audit", "train", "denoise", "counterfactuals", "study", "theory", "check", "report"}
    if not isinstance(content, dict) or not content.keys() <= verbs:
        raise EquipoiseError(
            f"Cannot use the configuration {str(path)!r}: at its top it needs a verb ({', '.join(sorted(verbs))}) with "
            "the options below it."
        )


def _with_config(tokens: list[str]) -> None:
    """Takes ``--config FILE.yaml`` out of the arguments; it holds the options of a verb under the verb's name."""
    app.config = ()
    tokens = [
        part
        for token in tokens
        for part in (token.split("=", 1) if token.startswith("--config=") else [token])
    ]
    if "--config" in tokens:
        place = tokens.index("--config")
        if place + 1 == len(tokens):
            raise EquipoiseError("--config needs a file: --config run.yaml")
        path = Path(tokens[place + 1])
        if not path.is_file():
            raise EquipoiseError(
                f"Cannot read the configuration {str(path)!r}: there is no such file."
            )
        _check_yaml(path)
        app.config = (cyclopts.config.Yaml(path, must_exist=True),)
        tokens = tokens[:place] + tokens[place + 2 :]
    app(tokens, exit_on_error=False, print_error=False)
