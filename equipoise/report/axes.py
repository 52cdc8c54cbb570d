"""The axes of the trade-off: whatever the run measured that people want more of, or less.

Standard accuracy; robust accuracy under each threat; accuracy on the worst group and on the target of a shift; the
background gap, of which people want less; the relative sensitivity to the object; and the share of counterfactuals that
a classifier follows. Each is a statistic of the summary, with its interval.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from equipoise.audit import Statistic
from equipoise.probes import Backgrounds, Groups, Regions, Shift, load_probe
from equipoise.report.figure import domain
from equipoise.report.groups import GAP, WORST
from equipoise.report.reading import Judged, Reading
from equipoise.report.regions import NOISES, SENSITIVITY
from equipoise.report.words import number, percent, span

__all__ = ["Axis", "axes_of", "first_pair"]

TARGETS = ("accuracy on the target", "accuracy on the target (strict)")
"""Of classifiers of the images' own classes, and of ImageNet's by its authors' rule."""

Better = Literal["high", "low"]
Unit = Literal["share", "points", "number"]


@dataclass(frozen=True)
class Axis:
    """Something that every classifier has a value of.

    Attributes:
        title: what it is.
        probe: spec of the probe that measured it.
        found: by the name of the classifier; those without a value are left out.
        better: whether people want it "high" or "low".
        unit: "share" for what is in [0, 1] and read in per cent, "points" for a difference of shares, "number" for what
            is in [-1, 1] and read as it is.
    """

    title: str
    probe: str
    found: Mapping[str, Statistic]
    better: Better = "high"
    unit: Unit = "share"

    def text(self, classifier: str) -> str:
        """The value of a classifier with its interval."""
        s = self.found[classifier]
        if self.unit == "share":
            return f"{percent(s.value)} ({span(s.low, s.high)})"
        factor, decimals = (100, 1) if self.unit == "points" else (1, 2)
        value, low, high = (number(factor * v, decimals) for v in (s.value, s.low, s.high))
        return f"{value}{' points' if self.unit == 'points' else ''} ({low} to {high})"

    def fields(self, way: str, classifier: str) -> dict[str, Any]:
        """The value of a classifier as the fields `way`, `way`_low, `way`_high and, in words, `way`_text of a row."""
        s = self.found[classifier]
        ends = {"": s.value, "_low": s.low, "_high": s.high}
        values: dict[str, Any] = {f"{way}{end}": round(value, 5) for end, value in ends.items()}
        return values | {f"{way}_text": self.text(classifier)}

    @property
    def ends(self) -> list[float]:
        """What the axis shows, worse end first, so that up and right are always better."""
        values = [v for s in self.found.values() for v in (s.low, s.high)]
        low, high = min(values), max(values)
        spread = [s.value for s in self.found.values()]
        # A tenth more at the better end leaves room for the labels.
        room = (max(spread) - min(spread)) / 10
        if self.better == "high":
            return domain([low, min(1.0, max(high, max(spread) + room))], lowest=self._lowest)
        return domain([max(-1.0, min(low, min(spread) - room)), high], lowest=self._lowest)[::-1]

    @property
    def _lowest(self) -> float:
        return 0.0 if self.unit == "share" else -1.0

    @property
    def encoding(self) -> dict[str, Any]:
        """Title, scale and ticks as Vega-Lite has them."""
        ticks: dict[str, Any] = {"tickCount": 5}
        if self.unit == "share":
            ticks["format"] = ".0%"
        elif self.unit == "points":
            ticks["labelExpr"] = "format(100 * datum.value, '.0f')"
        notes = ["points"] if self.unit == "points" else []
        notes += ["less is better"] if self.better == "low" else []
        title = f"{self.title} ({', '.join(notes)})" if notes else self.title
        scale = {"domain": self.ends, "nice": False, "zero": False}
        return {"title": title, "scale": scale, "axis": ticks}


def axes_of(reading: Reading) -> list[Axis]:
    """All axes that some classifier has a value on: standard accuracy and robust accuracies first."""
    found = [axis for axis in _asked(reading) if axis.found]
    titles = [axis.title for axis in found]
    return [
        axis
        if titles.count(axis.title) == 1
        else replace(axis, title=f"{axis.title} ({axis.probe})")
        for axis in found
    ]


def first_pair(reading: Reading, axes: Sequence[Axis]) -> tuple[int, int]:
    """Places of the axes that go across and up until the reader chooses: those of robust accuracy under the first
    threat and of standard accuracy where there are both, of two or more."""
    probes = [axis.probe for axis in axes]
    robust = [probes.index(under.spec) for under in reading.threats if under.spec in probes]
    if robust and reading.standard in probes:
        return robust[0], probes.index(reading.standard)
    return 1, 0


def _asked(reading: Reading) -> Iterator[Axis]:
    def axis(
        title: str, spec: str, name: str, better: Better = "high", unit: Unit = "share"
    ) -> Axis:
        found = {j.name: _known(reading, j, spec, name) for j in reading.classifiers}
        return Axis(title, spec, {who: s for who, s in found.items() if s}, better, unit)

    if reading.standard:
        yield axis("Standard accuracy", reading.standard, "standard accuracy")
    for under in reading.threats:
        name = f"robust accuracy at {under.threat}"
        yield axis(f"Robust accuracy at {under.title}", under.spec, name)
    for spec in reading.specs(Groups):
        yield axis("Worst-group accuracy", spec, WORST)
    for spec in reading.specs(Shift):
        kinds = (axis("Accuracy on the target", spec, name) for name in TARGETS)
        yield from [kind for kind in kinds if kind.found][:1]
    for spec in reading.specs(Backgrounds):
        yield axis("Background gap", spec, GAP, "low", "points")
    for spec in reading.specs(Regions):
        probe = load_probe(spec)
        noise = NOISES[probe.noise] if isinstance(probe, Regions) else ""
        title = f"Sensitivity to the object, {noise}"
        yield axis(title, spec, SENSITIVITY.format(noise), unit="number")
    for drawn in reading.counterfactuals:
        among = f", {drawn.title}" if len(reading.counterfactuals) > 1 else ""
        yield axis(f"Counterfactuals followed{among}", drawn.spec, "accuracy on counterfactuals")
        name = "accuracy on accepted counterfactuals"
        yield axis(f"Accepted counterfactuals followed{among}", drawn.spec, name)


def _known(reading: Reading, judged: Judged, spec: str, name: str) -> Statistic | None:
    found = reading.statistic(judged.name, spec, name)
    finite = found and all(math.isfinite(v) for v in (found.value, found.low, found.high))
    return found if finite else None
