"""What speaks against each robust accuracy: the checks of a run's soundness as a table, and its warnings in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from equipoise.audit import Soundness
from equipoise.report.finding import Finding
from equipoise.report.reading import Reading, Under
from equipoise.report.words import apart, count, span

__all__ = ["Cell", "Panel", "meanings", "panels", "unsound"]

HEADS = {
    "gradients": (
        "gradients that mislead",
        "left by gradient attacks, where the gradient does not say what small changes do",
    ),
    "queries": (
        "gradients not needed",
        "broken by BPDA or by queries, after every gradient attack had failed",
    ),
    "distance": (
        "stands at any distance",
        "withstood a search that may change the image beyond recognition",
    ),
    "twice as long": (
        "falls to twice the passes",
        "of a random sample, stood until then; the interval is by how much robust accuracy may still be too high",
    ),
    "repeats": ("answers at random", "gets other logits when the classifier is asked again"),
    "clean": ("wrong as it is", "counts as robust, and is misclassified without any change"),
    "transfer": (
        "falls to others’ images",
        "of a random sample, stood, and falls to images made to fool another classifier",
    ),
}
"""What the images of a check have in common, by its name: in a few words, and as the note explains it."""


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


def meanings(panels: Sequence[Panel]) -> list[tuple[str, str]]:
    """The heads that stand in the panels, each with what it counts."""
    used = {head for panel in panels for head in panel.heads}
    return [(head, meaning) for head, meaning in HEADS.values() if head in used]


def _panel(reading: Reading, under: Under) -> Panel:
    checks = {(s.classifier, s.name): s for s in reading.run.soundness() if s.probe == under.spec}
    names = [name for name in HEADS if any(key[1] == name for key in checks)]
    judged = [j.name for j in reading.classifiers if any(key[0] == j.name for key in checks)]
    rows = [(name, [_cell(checks.get((name, check))) for check in names]) for name in judged]
    return Panel(under.title, [HEADS[name][0] for name in names], rows)


def _cell(check: Soundness | None) -> Cell | None:
    if check is None or not check.n:
        return None
    return Cell(count(check.count), count(check.n), span(check.low, check.high), check.warns)


def unsound(reading: Reading) -> list[Finding]:
    """One finding for each verdict that checks speak against, the highest robust accuracy first: it misleads most."""
    found = []
    for under in reading.threats:
        for judged in reading.classifiers:
            if warnings := reading.warnings(judged.name, under.spec):
                accuracy = reading.robust_accuracy(judged.name, under)
                finding = _finding(f"{apart(judged.name)} at {under.title}", warnings)
                found.append((-accuracy.value if accuracy else 0.0, finding))
    return [finding for _, finding in sorted(found, key=lambda pair: pair[0])]


def _finding(about: str, warnings: Sequence[Soundness]) -> Finding:
    first, further = warnings[0], len(warnings) - 1
    text = f"{first.finding[0].upper()}{first.finding[1:]}."
    more = f"{further} more check{'s warn' if further > 1 else ' warns'}" if further else ""
    return Finding(about, text, first.remedy, more=more)
