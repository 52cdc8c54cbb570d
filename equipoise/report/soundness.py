"""What speaks against each robust accuracy: the checks of a run's soundness as a table, and its warnings in words."""

from dataclasses import dataclass

from equipoise.audit import Soundness
from equipoise.report.finding import Finding
from equipoise.report.reading import Reading, Under
from equipoise.report.words import apart, count, span

__all__ = ["Cell", "Panel", "panels", "unsound"]

HEADS = {
    "gradients": "gradients that mislead",
    "queries": "gradients not needed",
    "distance": "stands at any distance",
    "twice as long": "falls to twice the passes",
    "repeats": "answers at random",
    "clean": "wrong as it is",
    "transfer": "falls to others’ images",
}
"""What the images of a check have in common, by its name."""


@dataclass(frozen=True)
class Cell:
    """Images that speak against a verdict, of how many, with the interval of their share."""

    count: str
    of: str
    interval: str
    warns: bool


@dataclass(frozen=True)
class Panel:
    """One threat: heads of the checks, and rows of a classifier and its cells, None where nothing was looked at."""

    title: str
    heads: list[str]
    rows: list[tuple[str, list[Cell | None]]]

    @property
    def warnings(self) -> int:
        """How many cells warn."""
        return sum(cell.warns for _, cells in self.rows for cell in cells if cell)


def panels(reading: Reading) -> list[Panel]:
    """One for each adversarial probe that has answers."""
    found = [_panel(reading, under) for under in reading.threats]
    return [panel for panel in found if panel.rows]


def _panel(reading: Reading, under: Under) -> Panel:
    checks = {(s.classifier, s.name): s for s in reading.run.soundness() if s.probe == under.spec}
    names = [name for name in HEADS if any(key[1] == name for key in checks)]
    judged = [j.name for j in reading.classifiers if any(key[0] == j.name for key in checks)]
    rows = [(name, [_cell(checks.get((name, check))) for check in names]) for name in judged]
    return Panel(under.title, [HEADS[name] for name in names], rows)


def _cell(check: Soundness | None) -> Cell | None:
    if check is None or not check.n:
        return None
    return Cell(count(check.count), count(check.n), span(check.low, check.high), check.warns)


def unsound(reading: Reading) -> list[Finding]:
    """A finding for each check that warns."""
    titles = {under.spec: under.title for under in reading.threats}
    return [
        Finding(
            f"{apart(s.classifier)} at {titles[s.probe]}",
            f"{s.finding[0].upper()}{s.finding[1:]}.",
            s.remedy,
        )
        for s in reading.run.soundness()
        if s.warns
    ]
