"""Accuracy of every group of images: classes on backgrounds, variants of a set, domains.

What a probe found of groups is read off the summary: its metrics ``accuracy on GROUP``, and whatever else it quotes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equipoise.audit import Statistic
from equipoise.probes import Backgrounds, Groups, Probe, Shift, load_probe
from equipoise.probes.backgrounds import ORIGINAL, RANDOM, SAME
from equipoise.report.dots import Dot, dots
from equipoise.report.figure import Figure
from equipoise.report.points import signed
from equipoise.report.reading import Reading
from equipoise.report.table import Cell, among, cell
from equipoise.report.words import count

__all__ = ["GAP", "KINDS", "WORST", "Grouped", "Row", "in_points", "lay_groups"]

KINDS = (Groups, Backgrounds, Shift)
"""Probes of groups."""

OF, WORST, GAP = "accuracy on ", "worst-group accuracy", "background gap"

MOST = 24
"""Groups in a chart, those of lowest accuracy where there are more."""


@dataclass(frozen=True)
class Row:
    """A group, or a statistic of all of them, with a cell for each classifier; None without a measurement.

    Attributes:
        images: how many the group has in the run.
        training: how many it has in training, where that is known.
        worst: which classifiers have no worse group.
    """

    name: str
    images: str
    training: str
    cells: list[Cell | None]
    worst: list[bool]


@dataclass(frozen=True)
class Grouped:
    """What one probe of groups found.

    Attributes:
        title: what the groups are.
        intro: how to read it.
        rows: of the groups.
        others: of what is quoted of them together.
        figures: the chart; none when nothing was measured.
        left_out: how many groups the chart leaves out.
        methods: of the intervals.
    """

    title: str
    intro: str
    rows: list[Row]
    others: list[Row]
    figures: list[Figure]
    left_out: int
    methods: list[str]


def lay_groups(reading: Reading) -> list[Grouped]:
    """The section, an entry for each probe of groups that something was measured with."""
    specs = {spec: load_probe(spec) for kind in KINDS for spec in reading.specs(kind)}
    found = []
    for spec, probe in specs.items():
        summary = [s for s in reading.run.summary() if s.probe == spec and s.n]
        if any(s.name.startswith(OF) for s in summary):
            title, intro = _introduced(
                probe, {s.name for s in summary}, reading.record["probe_facts"][spec]
            )
            alike = sum(isinstance(other, type(probe)) for other in specs.values())
            title = title if alike == 1 else f"{title} ({spec})"
            found.append(_lay(reading, spec, summary, title, intro))
    return found


def _introduced(probe: Probe, names: Collection[str], facts: Mapping[str, Any]) -> tuple[str, str]:
    """What the groups of a probe are, and how to read the metrics `names` that it has of them."""
    if isinstance(probe, Shift):
        said = [
            "The same classes in other images: what is lost from the source to the target is the drop."
        ]
        if any(name.startswith("drop (") for name in names):
            said.append(
                "Strict counts the largest of all outputs, among the largest of those that belong to a class, pooled "
                "the class with the largest of its outputs."
            )
        return "Source and target", " ".join(said)
    if not isinstance(probe, Backgrounds):
        said = ["Is a classifier as good for every group of images as it is on average?"]
        if "majorities" in facts:
            said.append("Of each class, the group with most training images is its majority.")
        return "Groups of images", " ".join(said)
    said = ["The same kinds of objects on other backgrounds."]
    if GAP in names:
        said.append(
            "The background gap is accuracy on backgrounds of the same class less that on backgrounds of a random "
            "class: both are pasted, so that the pasting itself changes nothing."
        )
    if "backgrounds" in facts:
        scenes = facts["backgrounds"]
        tried = min(probe.limit or scenes, scenes)
        among = f", a random sample of {count(scenes)}" if tried < scenes else ""
        said.append(
            f"Against backgrounds an original image counts when it is classified rightly as it is and on each of "
            f"{count(tried)} backgrounds{among}."
        )
    return "Backgrounds", " ".join(said)


def _lay(
    reading: Reading, spec: str, summary: Sequence[Statistic], title: str, intro: str
) -> Grouped:
    by_key = {(s.classifier, s.name): s for s in summary}
    names = sorted(dict.fromkeys(s.name for s in summary), key=_first)
    training = reading.record["probe_facts"][spec].get("training", {})
    lowest = {
        judged.name: min(
            s.value for s in summary if s.classifier == judged.name and s.name.startswith(OF)
        )
        for judged in reading.classifiers
        if (judged.name, WORST) in by_key
    }
    rows, others, drawn = [], [], []
    for name in names:
        found = [by_key.get((judged.name, name)) for judged in reading.classifiers]
        known = [s for s in found if s]
        images = among([s.n for s in known])
        if not name.startswith(OF):
            others.append(
                Row(_capital(name), "", "", [s and _cell(s) for s in found], [False] * len(found))
            )
            continue
        group = name.removeprefix(OF)
        worst = [bool(s) and s.value == lowest.get(s.classifier) for s in found]
        known_of = count(training[group]) if group in training else ""
        rows.append(Row(group, images, known_of, [s and _cell(s) for s in found], worst))
        drawn.append(Dot(group, images, known_of, found, worst))
    shown = sorted(drawn, key=_lowest)[:MOST]
    figures = dots(
        title, [dot for dot in drawn if dot in shown], names=[j.name for j in reading.classifiers]
    )
    return Grouped(
        title,
        intro,
        rows,
        others,
        figures,
        len(drawn) - len(shown),
        sorted({s.method for s in summary}),
    )


def _first(name: str) -> tuple[int, int]:
    """Where a metric stands: variants in the order of the published set first, and the others as they come."""
    variants = [f"{OF}{variant}" for variant in (ORIGINAL, SAME, RANDOM)]
    return (0, variants.index(name)) if name in variants else (1, 0)


def _lowest(dot: Dot) -> float:
    return min(s.value for s in dot.found if s)


def _cell(found: Statistic) -> Cell:
    """A share in per cent; a difference of shares in points."""
    return cell(found) if found.unit == "share" else in_points(found)


def in_points(found: Statistic) -> Cell:
    """A difference of shares in percentage points."""
    value, _, interval = signed(found.value, found.low, found.high).partition(" points")
    return Cell(f"{value} points", interval.strip(" ()"), best=False, exact=False)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
