"""What people's answers come to: by kind of picture, over all of them, and as a claim.

The first showing of a picture counts; repeated ones say how steady people are. "Cannot tell" counts as seeing neither
the original's class nor the target.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.audit.agreement import Reliability, gap, reliability, share
from equipoise.audit.claims import Claim, judge
from equipoise.audit.intervals import Estimate
from equipoise.audit.people import CANNOT_TELL, KINDS, Seen

__all__ = ["Group", "Human", "human", "human_claims"]


@dataclass(frozen=True)
class Group:
    """What was answered about one kind of pictures.

    Attributes:
        kind: one of `KINDS`, or "accepted": the counterfactuals in which the oracles see the target, too.
        people: who answered.
        pictures: asked about.
        answers: in all.
        original: the share that are the original's class.
        target: the share that are the class that the picture was made for, or that the classifier sees in it; for
            originals and same-class controls the same as `original`.
        other: the share that are any other class.
        untold: the share that could not be told.
        sureness: mean, from 1 to 4, of those that could.
        alpha: how far people agree with one another.
    """

    kind: str
    people: int
    pictures: int
    answers: int
    original: Estimate
    target: Estimate
    other: Estimate
    untold: Estimate
    sureness: float
    alpha: Reliability


@dataclass(frozen=True)
class Human:
    """What was answered in all.

    Attributes:
        people: who answered at least one question.
        groups: by kind, those alone that were answered about.
        alpha: over all pictures.
        repeated: how many pictures were shown to somebody again.
        steady: the share of those with the same answer again.
    """

    people: int
    groups: tuple[Group, ...]
    alpha: Reliability
    repeated: int
    steady: float

    def of(self, kind: str) -> Group | None:
        """The group of a kind; None where nothing was answered about it."""
        return next((group for group in self.groups if group.kind == kind), None)

    @property
    def change(self) -> Estimate | None:
        """How much less often people see what a counterfactual was made for than what a same-class control was."""
        one, other = self.of("counterfactual"), self.of("same")
        return gap(one.target, other.target) if one and other else None


def human(seen: Seen, *, seed: int = 0) -> Human:
    """Shares with intervals, and agreement.

    Arguments:
        seen: the answers.
        seed: of the bootstrap of alpha.
    """
    first = seen.where(~seen.again)
    rows = []
    for kind in KINDS:
        mine = first.kind == kind
        rows.append((kind, mine))
        accepted = mine & (first.accepted == 1)
        # Where the oracles accept all of them, or were not asked, the row would say nothing new.
        if kind == "counterfactual" and 0 < accepted.sum() < mine.sum():
            rows.append(("accepted", accepted))
    groups = tuple(_group(kind, first.where(mine), seed) for kind, mine in rows if mine.any())
    before = {(person, question): answer for person, question, answer in _listed(first)}
    same = [
        before[person, question] == answer
        for person, question, answer in _listed(seen.where(seen.again))
        if (person, question) in before
    ]
    return Human(
        len(np.unique(seen.person)),
        groups,
        reliability(first.answer, first.person, first.question, seed=seed),
        len(same),
        float(np.mean(same)) if same else math.nan,
    )


def _listed(seen: Seen) -> list[tuple[int, int, int]]:
    """Who said what about which picture."""
    columns = (seen.person, seen.question, seen.answer)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _group(kind: str, seen: Seen, seed: int) -> Group:
    original, target = seen.answer == seen.label, seen.answer == seen.target
    untold = seen.answer == CANNOT_TELL
    sureness = seen.sureness[~untold]

    def found(hit: NDArray) -> Estimate:
        return share(hit, seen.person, seen.image)

    return Group(
        kind,
        len(np.unique(seen.person)),
        len(np.unique(seen.question)),
        len(seen),
        found(original),
        found(target),
        found(~(original | target | untold)),
        found(untold),
        float(sureness.mean()) if len(sureness) else math.nan,
        reliability(seen.answer, seen.person, seen.question, seed=seed),
    )


def human_claims(seen: Seen) -> tuple[Claim, ...]:
    """What people's answers say about counterfactuals; nothing where nobody answered about them."""
    found = human(seen)
    made = found.of("counterfactual")
    if made is None:
        return ()
    who = "one person" if found.people == 1 else f"{found.people} people"
    control = [
        f"{who[0].upper()}{who[1:]}, {made.pictures} pictures; they see the original’s class in "
        f"{_said(made.original)}."
    ]
    if same := found.of("same"):
        control.append(f"In same-class controls they see that class in {_said(same.original)}.")
    if accepted := found.of("accepted"):
        control.append(f"Where the oracles see the target: {_said(accepted.target)}.")
    if found.people == 1:
        control.append("What others would see stays open.")
    return (
        judge(
            "P1",
            "People see the target class in most counterfactuals.",
            "share of people’s answers that are the target class",
            made.target,
            bound=0.5,
            control=" ".join(control),
            source="ours",
        ),
    )


def _said(found: Estimate) -> str:
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.value:.1f}% ({low:.1f} to {high:.1f})"
