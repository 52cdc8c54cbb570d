"""The claims of a study: what was tested, what came out, and the verdicts, grouped by the study's own numbers.

Claims of one id that say the same of several classifiers stand together and share one scale, on which each interval is
drawn against the bound that it must exceed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from equipoise.audit import Claim
from equipoise.report.reading import Reading
from equipoise.report.words import count, number

__all__ = ["Claims", "Group", "Part", "Test", "lay_out"]

MANY = 12
"""Above so many claims the groups start closed."""

MARKS = {"holds": "✓", "fails": "✗", "undecided": "~"}
SOURCES = {
    "paper": "stated in the paper",
    "measure": "stated in the paper, which shows it in pictures or words; how it is measured is ours",
    "later": "stated in a later paper, see the references",
    "recalled": "at second hand, not checked against the paper",
    "ours": "our own question",
}


@dataclass(frozen=True)
class Test:
    """One claim: its verdict, numbers in words, and their places on the part's scale in per cent."""

    verdict: str
    mark: str
    classifier: str
    colour: str
    value: str
    interval: str
    images: str
    control: str
    at: float | None
    left: float
    width: float


@dataclass(frozen=True)
class Part:
    """One statement of a group with all its tests; `bound` is where it stands on the scale."""

    text: str
    statistic: str
    source: str
    above: str
    bound: float
    tests: list[Test]


@dataclass(frozen=True)
class Group:
    """All claims of one id."""

    id: str
    parts: list[Part]


@dataclass(frozen=True)
class Claims:
    """The section: its sentence, the groups, whether they start open, and what the sources in it mean."""

    sentence: str
    groups: list[Group]
    open: bool
    sources: list[tuple[str, str]]


def lay_out(reading: Reading) -> Claims | None:
    """The claims of a run; None when there are none."""
    claims = reading.run.claims()
    if not claims:
        return None
    colours = {judged.name: f"var(--c{k})" for k, judged in enumerate(reading.classifiers)}
    groups: dict[str, dict[tuple[str, str, str, float], list[Claim]]] = {}
    for claim in claims:
        part = (claim.text, claim.statistic, claim.source, claim.bound)
        groups.setdefault(claim.id, {}).setdefault(part, []).append(claim)
    laid = [
        Group(name, [_part(tests, colours) for tests in parts.values()])
        for name, parts in groups.items()
    ]
    sources = {claim.source for claim in claims}
    return Claims(
        _count(claims),
        laid,
        len(claims) <= MANY,
        [(source, meaning) for source, meaning in SOURCES.items() if source in sources],
    )


def _part(claims: Sequence[Claim], colours: dict[str, str]) -> Part:
    first = claims[0]
    ends = [v for c in claims for v in (c.low, c.high, c.value) if math.isfinite(v)] + [
        first.bound
    ]
    room = 0.06 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - room, max(ends) + room

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    tests = []
    for c in claims:
        known = math.isfinite(c.value)
        bounded = math.isfinite(c.low) and math.isfinite(c.high)
        tests.append(
            Test(
                c.verdict,
                MARKS[c.verdict],
                c.classifier or "",
                colours.get(c.classifier or "", "var(--muted)"),
                _number(c.value),
                f"{_number(c.low)} to {_number(c.high)}" if bounded else "",
                count(c.n),
                c.control,
                place(c.value) if known else None,
                place(c.low) if bounded else 0.0,
                round(place(c.high) - place(c.low), 2) if bounded else 0.0,
            )
        )
    return Part(
        first.text, first.statistic, first.source, _bound(first.bound), place(first.bound), tests
    )


def _count(claims: Sequence[Claim]) -> str:
    total = len(claims)
    tally = {verdict: sum(c.verdict == verdict for c in claims) for verdict in MARKS}
    if total == 1:
        only = {"holds": "holds", "fails": "fails", "undecided": "is undecided"}
        return f"The one claim {only[claims[0].verdict]} on these images."
    holding, failing, open_ = tally.values()
    return (
        f"{holding} of {total} claims {'holds' if holding == 1 else 'hold'} on these images, "
        f"{failing or 'none'} {'fail' if failing > 1 else 'fails'}, "
        f"{open_ or 'none'} {'are' if open_ > 1 else 'is'} undecided."
    )


def _number(value: float) -> str:
    """Three decimals: most statistics are shares, correlations, or differences of them."""
    return number(value, 3) if math.isfinite(value) else "–"


def _bound(value: float) -> str:
    return f"{value:g}".replace("-", "−")
