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
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32.
    probe
        A question to ask, several times if you like: standard, adversarial:linf:8/255, adversarial:l2:0.5?steps=100.
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
    limit: int = 0,
    steps: int = 7,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Train a ladder: one classifier for each radius, into OUT/NORM-RADIUS.

    Finished rungs are kept and an interrupted one goes on when the command is repeated. Under torchrun every process
    takes its share of each batch.

    Parameters
    ----------
    data
        Images: digits, folder:PATH or parquet:PATH, with options such as ?size=32.
    split
        Which part of the images to train on.
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
    limit
        Train on at most so many images, a random sample; 0 for all.
    steps
        Of projected gradient descent in each step of adversarial training.
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
            limit=limit,
            seed=seed,
        ),
        out,
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
    names = list(dict.fromkeys(row.name for row in rows if row.better == "high"))
    cells = {(row.classifier, row.name): row for row in rows}
    caption = "with 95 % intervals; robust accuracy is an upper bound"
    layout: dict[str, Any] = {"pad_edge": False, "padding": (0, 2, 0, 0), "show_edge": False}
    table = Table("classifier", box=SIMPLE_HEAD, caption=caption, caption_justify="left", **layout)
    for name in names:
        table.add_column(name, min_width=len("0.000–0.000"))
    for classifier in run.classifiers:
        found = [cells.get((classifier, name)) for name in names]
        shown = [f"{s.value:.3f}\n[dim]{s.low:.3f}–{s.high:.3f}[/dim]" if s else "" for s in found]
        table.add_row(escape(classifier), *shown)
    Console().print(table)


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
    verbs = {"audit", "train", "check", "report"}
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
