"""One sentence about the two ends of a ladder, on what was measured of backgrounds, groups or objects.

Of what was asked for one thing is said, the first of: the background gap, accuracy on the worst group, the drop from a
source to a target, the relative sensitivity to the object.
"""

from collections.abc import Callable, Mapping

from equipoise.audit import Statistic
from equipoise.probes import Regions, load_probe
from equipoise.report.groups import GAP, KINDS, WORST
from equipoise.report.reading import Judged, Reading
from equipoise.report.regions import NOISES, SENSITIVITY
from equipoise.report.words import number, percent, span

__all__ = ["at_the_ends"]

DROPS = ("drop", "drop (strict)")
"""The drop of classifiers of the images' own classes, and of ImageNet's by its authors' rule."""


def at_the_ends(reading: Reading, ends: Mapping[str, Judged]) -> str:
    """The sentence about classifiers by what they are called in it; empty where nothing was measured of all of them."""
    groups = [spec for kind in KINDS for spec in reading.specs(kind)]
    for spec in groups:
        said = _each(reading, ends, spec, GAP, _points)
        if said:
            return (
                f"The background gap (accuracy on backgrounds of the same class less that on those of a random class) "
                f"is {said}."
            )
    for spec in groups:
        said = _each(reading, ends, spec, WORST, _share)
        if said:
            return f"Accuracy on the worst group is {said}."
    for spec in groups:
        for drop in DROPS:
            said = _each(reading, ends, spec, drop, _points)
            if said:
                return f"The drop in accuracy from the source to the target is {said}."
    for spec in reading.specs(Regions):
        probe = load_probe(spec)
        noise = NOISES[probe.noise] if isinstance(probe, Regions) else ""
        said = _each(reading, ends, spec, SENSITIVITY.format(noise), _number)
        if said:
            return (
                f"The relative sensitivity to the object under {noise} is {said}; above 0, noise on the object harms "
                "more than noise on the background."
            )
    return ""


def _each(
    reading: Reading,
    ends: Mapping[str, Judged],
    spec: str,
    name: str,
    write: Callable[[Statistic], tuple[str, str]],
) -> str:
    """A statistic of every classifier with its interval; empty where one has none."""
    parts = []
    for who, judged in ends.items():
        found = reading.statistic(judged.name, spec, name)
        if found is None:
            return ""
        value, interval = write(found)
        parts.append(f"{value} at {who} ({'95% interval ' if not parts else ''}{interval})")
    return " and ".join(parts)


def _points(found: Statistic) -> tuple[str, str]:
    value, low, high = (number(100 * v, 1) for v in (found.value, found.low, found.high))
    return f"{value} points", f"{low} to {high}"


def _share(found: Statistic) -> tuple[str, str]:
    return percent(found.value), span(found.low, found.high)


def _number(found: Statistic) -> tuple[str, str]:
    return number(found.value, 2), f"{number(found.low, 2)} to {number(found.high, 2)}"
