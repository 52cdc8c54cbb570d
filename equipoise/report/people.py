"""What people saw in the run's pictures, as sentences and a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from equipoise.audit.agreement import Reliability
from equipoise.audit.human import Group, Human, human
from equipoise.report.reading import Reading
from equipoise.report.table import Cell, cell
from equipoise.report.words import count, number, percent, span

__all__ = ["People", "Row", "lay_people"]

NAMES = {
    "original": "Originals",
    "same": "Same-class controls",
    "counterfactual": "Counterfactuals",
    "accepted": "of them, accepted by the oracles",
    "adversarial": "Adversarial images",
}
FEW = 4
"""With fewer people than that, what they have in common is little known."""

PARTS = (
    ("the original’s class", "var(--s8)"),
    ("the target class", "var(--s1)"),
    ("another class", "var(--muted)"),
    ("cannot tell", "var(--line)"),
)


@dataclass(frozen=True)
class Row:
    """One kind of pictures: its name, counts, shares as cells and as parts of a bar in per cent, sureness and alpha;
    the target's cell is None where it is the original's class."""

    name: str
    inner: bool
    pictures: str
    answers: str
    original: Cell
    target: Cell | None
    other: Cell
    untold: Cell
    parts: list[tuple[float, str, str]]
    sureness: str
    alpha: Cell


@dataclass(frozen=True)
class People:
    """The section: a sentence for the summary, an introduction, the rows, the bars' key, and notes."""

    sentence: str
    intro: str
    rows: list[Row]
    key: Sequence[tuple[str, str]]
    notes: list[str]


def lay_people(reading: Reading) -> People | None:
    """What people saw; None where nobody answered."""
    seen = reading.run.people()
    if not seen:
        return None
    found = human(seen, seed=reading.record["seed"])
    return People(
        _sentence(found),
        _intro(found),
        [_row(group) for group in found.groups],
        PARTS,
        _notes(found),
    )


def _row(group: Group) -> Row:
    apart = group.kind in ("counterfactual", "accepted", "adversarial")
    shares = (group.original, group.target if apart else None, group.other, group.untold)
    parts = [
        (round(100 * share.value, 3), colour, f"{name} {percent(share.value)}")
        for share, (name, colour) in zip(shares, PARTS, strict=True)
        if share and share.value
    ]
    original, target, other, untold = (share and cell(share) for share in shares)
    assert original and other and untold
    return Row(
        NAMES[group.kind],
        group.kind == "accepted",
        count(group.pictures),
        count(group.answers),
        original,
        target,
        other,
        untold,
        parts,
        number(group.sureness, 1),
        _alpha(group.alpha),
    )


def _alpha(alpha: Reliability) -> Cell:
    bounded = math.isfinite(alpha.low)
    interval = f"{number(alpha.low, 2)} to {number(alpha.high, 2)}" if bounded else ""
    return Cell(number(alpha.value, 2), interval, best=False, exact=False)


def _who(found: Human) -> str:
    return "one person" if found.people == 1 else f"{count(found.people)} people"


def _sentence(found: Human) -> str:
    parts = []
    if made := found.of("counterfactual"):
        among = f"{_who(found)}, {count(made.pictures)} pictures"
        text = (
            f"In counterfactuals people see the target class in {percent(made.target.value)} of answers (95% interval "
            f"{span(made.target.low, made.target.high)}; {among}) and the original’s class in "
            f"{percent(made.original.value)}"
        )
        if same := found.of("same"):
            text += f"; in same-class controls they see that class in {percent(same.target.value)}"
        parts.append(text + ".")
    if attacked := found.of("adversarial"):
        low, high = attacked.original.low, attacked.original.high
        parts.append(
            f"In adversarial images people see the original’s class in {percent(attacked.original.value)} of answers "
            f"({span(low, high)}), the class that the classifier sees in {percent(attacked.target.value)}."
        )
    return " ".join(parts)


def _intro(found: Human) -> str:
    pictures = sum(group.pictures for group in found.groups if group.kind != "accepted")
    answers = sum(group.answers for group in found.groups if group.kind != "accepted")
    alpha = found.alpha
    if math.isnan(alpha.value):
        agree = f"Whether people agree cannot be said: {alpha.reason}."
    else:
        bounded = math.isfinite(alpha.low)
        between = f" (95% interval {number(alpha.low, 2)} to {number(alpha.high, 2)})"
        agree = (
            f"Krippendorff’s alpha over all pictures is {number(alpha.value, 2)}{between if bounded else ''}: 1 means "
            "that people always agree, 0 that they agree as chance has it."
        )
    return (
        f"{_who(found).capitalize()} looked at {count(pictures)} pictures in random order, without being told what "
        f"kind they are, and gave {count(answers)} answers. {agree}"
    )


def _notes(found: Human) -> list[str]:
    notes = [
        "The target is the class that a counterfactual was made for, or the class that the attacked classifier sees in "
        "an adversarial image; only images that the attack turned to another class were shown. “Cannot tell” counts as "
        "seeing no class, and for alpha as a class of its own. Intervals take both people and images as drawn at "
        "random (Korn and Graubard’s for shares, a bootstrap over images for alpha). Sureness goes from 1, guessing, "
        "to 4, certain."
    ]
    if change := found.change:
        low, high = (number(100 * end, 1) for end in (change.low, change.high))
        notes.append(
            "The share that sees what a picture was made to show, counterfactuals minus same-class controls: "
            f"{number(100 * change.value, 1)} points ({low} to {high})."
        )
    if found.people == 1:
        notes.append(
            "One person answered: intervals are about the images alone, and what others would see stays open."
        )
    elif found.people < FEW:
        notes.append(
            f"With {found.people} people, little is known of how people differ; the intervals are wide for it."
        )
    if found.repeated:
        notes.append(
            f"Of {count(found.repeated)} pictures that somebody was shown twice, {percent(found.steady)} got the same "
            "class again."
        )
    return notes
