"""Verbs about the papers' models in closed form."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from equipoise.cli.app import app, plain_table, say

__all__ = ["dichotomy", "theory"]

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
    table = plain_table("rule", caption)
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
        say(f"Warning: {warning}")
    say(f"{'Page' if out.suffix.lower() == '.html' else 'Picture'}: {page}")
