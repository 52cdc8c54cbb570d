"""What should make a reader doubt a counterfactual set, or what was measured with it."""

from equipoise.audit.difference import paired_difference
from equipoise.report.by_image import paired
from equipoise.report.finding import Finding
from equipoise.report.reading import Drawn, Reading
from equipoise.report.sets import AGREEMENT, SPREAD
from equipoise.report.words import apart, count, number, percent, span

__all__ = ["doubts"]

AGREED = 0.8
"""Share that oracles should read as their class, at least."""

COLLAPSED = 0.1
"""Spread between seeds, over the distance to the original, below which draws are practically one image."""

MUCH = 0.1
"""Accuracy that noise may cost before distance alone explains a good part of what counterfactuals do."""


def doubts(reading: Reading, drawn: Drawn) -> list[Finding]:
    """The findings about one set, those about what it covers last."""
    found = [*_quality(drawn)]
    broken = [text for j in reading.classifiers if (text := _noise(reading, drawn, j.name))]
    if broken:
        found.append(
            Finding(
                drawn.title,
                f"Noise of the same length lowers accuracy by much: {'; '.join(broken)}.",
                "Part of what counterfactuals do is distance alone: read them beside the noise.",
            )
        )
    columns = (reading.columns(drawn.spec, j.name) for j in reading.classifiers)
    made = next((c["counterfactuals"] for c in columns if c), None)
    if made is not None and (lacking := int((made == 0).sum())):
        found.append(
            Finding(
                drawn.title,
                f"{count(lacking)} of {count(len(made))} images have no counterfactuals in this set and are left out "
                "of its numbers.",
            )
        )
    return found


def _quality(drawn: Drawn) -> list[Finding]:
    found = []
    if not drawn.facts["oracles"]:
        found.append(
            Finding(
                drawn.title,
                "No oracle has checked that its counterfactuals look like their class.",
                "Make the set with oracles: classifiers that are not audited.",
            )
        )
    elif drawn.facts["quality"] is None:
        found.append(
            Finding(
                drawn.title,
                "The quality of this set has not been measured.",
                "Measure it and repeat the audit.",
            )
        )
    agreed, spread = drawn.quality(AGREEMENT), drawn.quality(SPREAD)
    if agreed and agreed["value"] < AGREED:
        found.append(
            Finding(
                drawn.title,
                f"Oracles read only {percent(agreed['value'])} of its counterfactuals as their class (95% interval "
                f"{span(agreed['low'], agreed['high'])}).",
                "Trust what was found on accepted ones, or draw from a wider neighbourhood.",
            )
        )
    if spread and spread["value"] < COLLAPSED:
        found.append(
            Finding(
                drawn.title,
                f"Draws from different seeds are practically one image: they lie {number(spread['value'])} times as "
                "far from each other as from their original.",
                "Use the exact method, or the sum of scores with churn.",
            )
        )
    return found


def _noise(reading: Reading, drawn: Drawn, classifier: str) -> str | None:
    """By how much noise lowers accuracy, when that is surely more than `MUCH`."""
    clean, noisy = paired(
        reading.right(classifier), reading.answers(drawn, classifier, "noise_accuracy")
    )
    if not len(clean):
        return None
    change = paired_difference(clean, noisy, seed=reading.record["seed"])
    if change.high >= -MUCH:
        return None
    return f"{apart(classifier)} from {percent(change.before)} to {percent(change.after)}"
