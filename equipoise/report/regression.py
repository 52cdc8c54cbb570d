"""What the page of core and spurious features says: the paper's claims, each with numbers of the model.

References:
    Explicit tradeoffs between adversarial and natural distributional robustness (Moayeri, Banihashem, Feizi, 2022),
    https://arxiv.org/abs/2209.07592
"""

import math
from collections.abc import Sequence
from pathlib import Path

from equipoise.report.making import cite
from equipoise.report.reliance import (
    COLOURS,
    against_radius,
    against_scale,
    against_shift,
    called,
)
from equipoise.report.sheet import Row, Sheet, write_sheet
from equipoise.report.words import MINUS, percent
from equipoise.theory import PairedDesign, Regression

__all__ = ["statements", "write_regression"]


def statements(design: PairedDesign, trained: Sequence[Regression]) -> list[str]:
    """The paper's three claims and what the model says of each.

    Arguments:
        design: what was trained.
        trained: its regressions.
    """
    return [
        "(i) The paper: adversarial training against l1 and l2 raises reliance on spurious features. Here: "
        + _raised(design, [one for one in trained if one.p in (1, 2)]),
        "(ii) The paper: training against l∞ does so only where spurious features have the larger scale. Here: "
        + _onset(design, [one for one in trained if one.p == math.inf]),
        "(iii) The paper: so error grows when the correlation breaks. Here: "
        + _shifted(design, trained),
    ]


def write_regression(
    design: PairedDesign, trained: Sequence[Regression], out: str | Path, *, command: str = ""
) -> Path:
    """Writes the page of core and spurious features, or its charts as a picture, by the ending of `out`.

    Arguments:
        design: what was trained.
        trained: its regressions, the rows of the table.
        out: .html for the page; .svg, .png or .pdf for the charts.
        command: that the page says it was made with.

    Returns:
        the file.

    Raises:
        EquipoiseError: for another ending, more than four scales, or when the file cannot be written.
    """
    rhos = [_number(rho) for rho in (design.rho, 0.0, -design.rho)]
    sheet = Sheet(
        title="Adversarial training and spurious features",
        subject="The linear regression of arXiv 2209.07592, solved exactly",
        facts=[
            ("ρ, correlation of twins", _number(design.rho)),
            ("Scales of spurious features", ", ".join(f"{scale:g}" for scale in design.scales)),
            ("σ, noise of the label", f"{design.noise:g}"),
            ("ε, radius of training", f"{design.eps:.4g}"),
            ("Pairs of features", f"{design.pairs}"),
        ],
        sentences=[_lead(design, trained), *statements(design, trained)],
        warnings=[],
        charts=[
            (
                against_radius(design),
                "Up, more of the weights are spurious. Lines end where the adversary leaves no weight at all.",
            ),
            (
                against_scale(design),
                "Each core feature has scale 1 and a spurious twin. Training against l∞ leaves the twin alone up to "
                "the dotted line, whatever the radius. Features of small scale take large weights to do anything.",
            ),
            (
                against_shift(design),
                "Left, the correlation is that of training; in the middle it is gone, right it is reversed. Core "
                "features stay as they were.",
            ),
        ],
        heads=[
            "Training",
            "Core weights",
            "Spurious weights",
            "Share that is spurious",
            "Adversarial error",
            "Core features alone",
            *(f"Error at {rho}" for rho in rhos),
        ],
        rows=[_row(one) for one in trained],
        note="Weights are l2 norms. “Adversarial error” is the mean squared error that training minimises, “core "
        "features alone” the least that weights without spurious features have: where it is larger, the kept "
        "correlation helps against the adversary. “Error at” is the standard mean squared error at that correlation. "
        "Every number is exact. The settings are our choice, not the paper’s.",
        command=command,
        references=cite("moayeri2022"),
    )
    return write_sheet(sheet, out)


def _lead(design: PairedDesign, trained: Sequence[Regression]) -> str:
    most = max(trained, key=lambda one: one.reliance.share)
    if not most.relies:
        return "Here no training relies on spurious features, and none pays when their correlation breaks."
    return (
        "Standard training gives spurious features no weight. Adversarial training at "
        f"ε\u00a0=\u00a0{design.eps:.4g} gives them up to {percent(most.reliance.share)} of it, and pays when their "
        "correlation breaks."
    )


def _raised(design: PairedDesign, trained: Sequence[Regression]) -> str:
    if not design.rho:
        return "without correlation there is nothing to rely on."
    if not design.eps:
        return "at radius 0 training is standard."
    relying = [one for one in trained if one.relies]
    if len(relying) < len(trained):
        found = "not at every scale" if relying else "not at this radius"
    else:
        found = "it does, at every scale"
        found += " and every radius that leaves weights" if design.noise else ""
    return f"{found}. {_shares(design, trained)}"


def _onset(design: PairedDesign, trained: Sequence[Regression]) -> str:
    if not design.rho:
        return "never, without correlation."
    return (
        "a larger scale is needed, and not enough: |ρ| times it must be larger than the core features’, so that "
        f"reliance begins above scale 1 / |ρ| = {design.onset:.4g}. {_shares(design, trained)}"
    )


def _shares(design: PairedDesign, trained: Sequence[Regression]) -> str:
    """What each training relies on, norm by norm."""
    said = []
    for p in dict.fromkeys(one.p for one in trained):
        each = [f"{_share(one)} at scale {one.scale:g}" for one in trained if one.p == p]
        said.append(f"{called(p)}: {', '.join(each)}")
    unchanged = "" if design.noise else " Without noise small radii change nothing."
    return f"Spurious share of the weights: {'; '.join(said)}.{unchanged}"


def _share(one: Regression) -> str:
    if one.collapsed:
        return "no weights left"
    if one.relies and one.reliance.share < 5e-4:
        return "under 0.1%"
    return percent(one.reliance.share) if one.relies else "0"


def _shifted(design: PairedDesign, trained: Sequence[Regression]) -> str:
    standard = next(one for one in trained if one.p is None)
    stays = f"standard training keeps its error of {standard.errors[0]:.4f}"
    relying = [one for one in trained if one.relies]
    if not relying:
        return f"{stays}, and no other training relies on spurious features, so that its error stays too."
    said = []
    for scale in design.scales:
        each = [
            f"{called(one.p)} from {one.errors[0]:.4f} to {one.errors[2]:.4f}"
            for one in relying
            if one.scale == scale
        ]
        said += [f"at scale {scale:g}, {', '.join(each)}"] if each else []
    found = (
        f"{stays}. From correlation {_number(design.rho)} to {_number(-design.rho)} that of adversarial training "
        f"grows: {'; '.join(said)}."
    )
    others = [one for one in trained if one.p is not None and not one.relies]
    return found + (" Where no spurious feature is relied on, it stays." if others else "")


def _row(one: Regression) -> Row:
    errors = [f"{error:.4f}" for error in one.errors]
    if one.p is None:
        values = [f"{one.core:.4f}", "0", "0", "–", "–", *errors]
        return Row("standard", values, COLOURS[None], "●")
    name = f"{called(one.p)}, scale {one.scale:g}"
    spurious = f"{one.reliance.norm:.4f}" if one.relies else "0"
    values = [f"{one.core:.4f}", spurious, _share(one), f"{one.risk:.4f}", f"{one.alone:.4f}"]
    return Row(name, [*values, *errors], COLOURS[one.p], "●")


def _number(value: float) -> str:
    return f"{value + 0.0:g}".replace("-", MINUS)
