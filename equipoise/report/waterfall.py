"""How each verdict was reached: how many images are left after each member of the attack, and what that took."""

from dataclasses import dataclass

import numpy as np

from equipoise.report.reading import Reading, Under
from equipoise.report.words import count, number

__all__ = ["Waterfall", "waterfalls"]

ORDER = (
    "clean",
    "MinimumNorm",
    "descent",
    "smallest",
    "targets",
    "focus",
    "again",
    "APGD-CE",
    "APGD-T",
    "FAB-T",
    "Square",
    "BPDA",
    "Square 5000",
)
"""Members in the order in which they are tried."""

TITLES = {"clean": "right as they are", "MinimumNorm": "minimum norm"}
"""Heads that say more than the member's name."""


@dataclass(frozen=True)
class Waterfall:
    """One threat: heads of the members, and rows of (classifier, images, images left after each, passes, gap)."""

    title: str
    heads: list[str]
    rows: list[tuple[str, str, list[str], str, str]]


def waterfalls(reading: Reading) -> list[Waterfall]:
    """One for each adversarial probe that has answers."""
    found = [_fall(reading, under) for under in reading.threats]
    return [fall for fall in found if fall.rows]


def _fall(reading: Reading, under: Under) -> Waterfall:
    columns = {j.name: reading.columns(under.spec, j.name) for j in reading.classifiers}
    columns = {name: found for name, found in columns.items() if found}
    used = {member for found in columns.values() for member in found["broken_by"].tolist()}
    members = ["clean", *(m for m in ORDER[1:] if m in used)]
    # A schedule that is quoted comes before the attack that only adds to it.
    if "APGD-CE" in used and "MinimumNorm" in used:
        members.remove("MinimumNorm")
        members.append("MinimumNorm")
    rows = []
    for name, found in columns.items():
        by, left, remaining = found["broken_by"], [], len(found["broken_by"])
        for member in members:
            remaining -= int((by == member).sum())
            left.append(count(remaining))
        passes = (found["forwards"] + found["backwards"]).mean()
        stood = found["margin"][by == ""]
        gap = number(float(np.median(-stood))) if len(stood) else "–"
        rows.append((name, count(len(by)), left, count(round(float(passes))), gap))
    return Waterfall(under.title, [TITLES.get(m, m) for m in members], rows)
