"""What the page of the dichotomy says."""

from collections.abc import Sequence
from pathlib import Path

from equipoise.report.dichotomy import KINDS, frontier_figure
from equipoise.report.frontier import is_bounded, is_exact
from equipoise.report.making import cite
from equipoise.report.sheet import Row, Sheet, write_sheet
from equipoise.theory import Dichotomy, Rule

__all__ = ["write_dichotomy"]


def write_dichotomy(
    model: Dichotomy,
    rules: Sequence[Rule],
    eps: float,
    out: str | Path,
    *,
    command: str = "",
    warnings: Sequence[str] = (),
) -> Path:
    """Writes the page of the dichotomy, or its chart as a picture, by the ending of `out`.

    Arguments:
        model: whose frontier and bound are shown.
        rules: judged at `eps`.
        eps: radius of the adversary.
        out: .html for the page; .svg, .png or .pdf for the chart.
        command: that the page says it was made with.
        warnings: of the rules' training.

    Returns:
        the file.

    Raises:
        EquipoiseError: for another ending, a negative radius, weak features without a signal, or when the file cannot
            be written.
    """
    figure = frontier_figure(model, rules, eps)
    beyond = "the exact frontier" if is_exact(model, eps) else "what is possible"
    intro = (
        f"Up is more accurate on inputs as they are, right is more robust. Grey lies beyond {beyond}: no rule of any "
        "kind gets there. Support vector machines are joined in order of their radius of training."
    )
    heads = ["Rule", "Standard accuracy", f"Robust accuracy at ε\u00a0=\u00a0{eps:g}"]
    if is_bounded(model, eps):
        heads.append("Bound of Theorem 2.1")
    sheet = Sheet(
        title="Accuracy at odds with robustness",
        subject="The dichotomy of arXiv 1805.12152, in closed form",
        facts=[
            ("p, the robust feature’s accuracy", f"{model.p:g}"),
            ("η, mean of a weak feature", f"{model.eta:g}"),
            ("d, weak features", f"{model.d:,}"),
            ("ε, radius of the adversary", f"{eps:g}"),
            ("Best robust accuracy of all rules", _share(model.best_robust_accuracy(eps))),
        ],
        sentences=_sentences(model, eps),
        warnings=warnings,
        charts=[(figure, intro)],
        heads=heads,
        rows=[_row(model, rule, len(heads) > 3) for rule in rules],
        note="“At” gives the radius of training. Every number is exact, also those of rules fitted to samples: the "
        "model knows them from the weights. A margin of 0 counts as wrong.",
        command=command,
        references=cite("tsipras2019"),
    )
    return write_sheet(sheet, out)


def _sentences(model: Dichotomy, eps: float) -> list[str]:
    bayes = model.bayes()
    standard, robust = model.accuracy(bayes), model.accuracy(bayes, eps)
    first = (
        f"The most accurate rule of all is right on {_share(standard)} of inputs as they are, and on {_share(robust)} "
        f"when an adversary moves each feature by {eps:g}. No rule of any kind is then right on more than "
        f"{_share(model.best_robust_accuracy(eps))}."
    )
    if not is_bounded(model, eps):
        second = (
            f"Theorem 2.1 bounds what is possible from ε = 2η = {2 * model.eta:g} on; below that radius weak features "
            "keep some of their use."
        )
    else:
        second = (
            "No training mends this: by Theorem 2.1 a rule of that accuracy is right on at most "
            f"{_share(model.bound(1 - standard))} of inputs so moved"
        )
        if is_exact(model, eps):
            most = model.frontier(model.log_odds, eps)[1]
            second += f", and by the exact frontier on at most {_share(most)}"
        second += "."
    sentences = [first, second]
    if eps >= 1:
        sentences.append(
            "From ε = 1 on the adversary changes the sign of the robust feature too, and nothing is left to rely on."
        )
    return sentences


def _row(model: Dichotomy, rule: Rule, bounded: bool) -> Row:
    colour, mark, *_ = KINDS[rule.kind]
    if rule.standard == 0:
        return Row(rule.name, ["answers nothing", *["–"] * (1 + bounded)], colour, mark)
    shares = [rule.standard, rule.robust, *[model.bound(1 - rule.standard)] * bounded]
    return Row(rule.name, [_share(share) for share in shares], colour, mark)


def _share(value: float) -> str:
    """A share that is known exactly: ``99.19%``; what would be rounded to none or all says so."""
    if 0 < value < 5e-5:
        return "under 0.01%"
    if 1 - 5e-5 <= value < 1:
        return "over 99.99%"
    return f"{100 * value:.2f}%"
