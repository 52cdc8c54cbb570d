"""Verbs about the papers' models in closed form."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from equipoise.cli.app import app, plain_table, say

__all__ = ["dichotomy", "regression", "theory"]

theory = App(name="theory", help="Models of papers in closed form, as tables, pages and pictures.")
app.command(theory)


@theory.command
def dichotomy(
    *,
    p: float = 0.95,
    eta: float = 0.2,
    d: int = 100,
    eps: str | None = None,
    eps_train: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
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
        Radius of the adversary; 8/255 may be written so. [default: 2 eta]
    eps_train
        Radii at which support vector machines are trained besides 0; 8/255 may be written so. [default: eta/4 3eta/8
        2eta]
    decay
        Their weight decay; when left out, the one that gives weights of unit norm.
    samples
        Logistic rules are fitted to so many samples, at radius 0 and at the adversary's; up to 10 million numbers,
        features of all samples counted.
    seed
        Of the samples.
    out
        The page (.html), or its chart alone (.svg, .png, .pdf).
    """
    import warnings

    from equipoise.report.frontier import is_bounded
    from equipoise.report.sheet import check_ending
    from equipoise.report.theory import write_dichotomy
    from equipoise.specs import parse_number
    from equipoise.theory import (
        CollapseWarning,
        Dichotomy,
        fitted_rules,
        known_rules,
        machines,
    )

    check_ending(out)
    model = Dichotomy(p=p, eta=eta, d=d)
    radius = 2 * eta if eps is None else parse_number(eps, "the radius --eps")
    given = [parse_number(text, "the radius --eps-train") for text in eps_train or []]
    radii = sorted({0.0, *([eta / 4, 3 * eta / 8, 2 * eta] if eps_train is None else given)})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        rules = [
            *known_rules(model, radius),
            *machines(model, radius, radii, decay),
            *fitted_rules(model, radius, samples, sorted({0.0, radius}), seed),
        ]
    collapsed = [str(warning.message) for warning in caught]
    options = {"p": [p], "eta": [eta], "d": [d], "eps": [radius], "eps-train": radii}
    options |= {"decay": [] if decay is None else [decay], "samples": samples, "seed": [seed]}
    command = "equipoise theory dichotomy" + "".join(
        f" --{name} {' '.join(f'{number:.12g}' for number in numbers)}"
        for name, numbers in options.items()
        if numbers
    )
    page = write_dichotomy(model, rules, radius, out, command=command, warnings=collapsed)
    caption = f"no rule of any kind is right on more than {model.best_robust_accuracy(radius):.4f} at {radius:g}"
    table = plain_table("rule", caption)
    bounded = is_bounded(model, radius)
    for head in ("standard accuracy", f"robust accuracy at {radius:g}", "at most")[: 2 + bounded]:
        table.add_column(head, justify="right")
    for rule in rules:
        if rule.standard == 0:
            table.add_row(rule.name, "answers nothing")
        else:
            values = (rule.standard, rule.robust, model.bound(1 - rule.standard))
            table.add_row(rule.name, *(f"{value:.4f}" for value in values[: 2 + bounded]))
    Console().print(table)
    for warning in collapsed:
        say(f"Warning: {warning}")
    say(f"{'Page' if out.suffix.lower() == '.html' else 'Picture'}: {page}")


@theory.command
def regression(
    *,
    rho: float = 0.8,
    scales: Annotated[list[float], Parameter(consume_multiple=True)] = [1.0, 2.0],  # noqa: B006
    noise: float = 0.5,
    eps: str = "0.25",
    pairs: int = 1,
    out: Path = Path("runs/theory/regression.html"),
) -> None:
    """Reliance on spurious features, exactly: linear regression against l1, l2 and l_inf (arXiv 2209.07592).

    Prints the paper's three claims with what this model says of each. The settings are our choice.

    Parameters
    ----------
    rho
        Correlation of each core feature with its spurious twin in training, above -1 and below 1.
    scales
        Standard deviations of spurious features, where that of core features is 1; up to four.
    noise
        Standard deviation of what no feature tells of the label.
    eps
        Radius of training, in units of a core feature's standard deviation; 8/255 may be written so.
    pairs
        How many core features, each with a twin.
    out
        The page (.html), or its charts alone (.svg, .png, .pdf).
    """
    from equipoise.report.regression import statements, write_regression
    from equipoise.report.reliance import called
    from equipoise.report.sheet import check_ending
    from equipoise.specs import parse_number
    from equipoise.theory import PairedDesign

    check_ending(out)
    radius = parse_number(eps, "the radius --eps")
    design = PairedDesign(rho=rho, scales=tuple(scales), noise=noise, eps=radius, pairs=pairs)
    trained = design.regressions()
    sizes = " ".join(f"{scale:.12g}" for scale in scales)
    command = (
        f"equipoise theory regression --rho={rho:.12g} --scales {sizes} --noise {noise:.12g} --eps {eps} "
        f"--pairs {pairs}"
    )
    page = write_regression(design, trained, out, command=command)
    caption = f"adversarial: error at radius {radius:g}; at: error at that correlation"
    table = plain_table("training", caption)
    for head in (
        "spurious",
        "adversarial",
        *(f"at {number:g}" for number in (rho, 0.0, 0.0 - rho)),
    ):
        table.add_column(head, justify="right")
    for one in trained:
        errors = [f"{error:.4f}" for error in one.errors]
        if one.p is None:
            table.add_row("standard", "0", "–", *errors)
        else:
            numbers = (f"{one.reliance.share:.4f}", f"{one.risk:.4f}", *errors)
            table.add_row(f"{called(one.p)}, scale {one.scale:g}", *numbers)
    Console().print(table)
    for statement in statements(design, trained):
        say(statement)
    say(f"{'Page' if out.suffix.lower() == '.html' else 'Pictures'}: {page}")
