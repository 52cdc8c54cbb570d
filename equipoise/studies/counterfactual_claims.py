"""The claims of arXiv 2404.10588, as functions of a run.

H1 to H5 are the paper's, in our statistics; H6, and what is marked as recalled, is at second hand. Notation: d is the
proximity of a training image, the mean L2 distance to its different-class counterfactuals; p its probability of the
true class; eps the radius that a rung was trained for.

    H1  d and p go together for robust classifiers, and more than for the standard one
    H2  images that a robust classifier gets wrong have smaller d
    H3  robust classifiers read counterfactuals poorly, worse with eps, while the standard one reads them
    H4  answers become invariant along the way to a counterfactual as eps grows
    H5  counterfactual changes are small and real, and yet in directions that robust classifiers ignore
    H6  images with a counterfactual within eps are those that the classifier gets wrong
    F1  a falsifier: H1 with everything else that could explain it held fixed, and with what sampling itself does
    F2  a falsifier: what the published sampler shows and the exact one does not is its collapse
    N1  the Laplace neighbourhood changes fewer pixels than the Gaussian one (ours)
    R1  a robust classifier ignores counterfactuals of images that it made itself, too (ours)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Claim, Estimate, Run, judge
from equipoise.audit.association import (
    auroc,
    bootstrap,
    difference,
    one_hot,
    spearman,
    spearman_gap,
)

FEWEST = 10
"""Images on either side below which a difference of shares is not formed."""

__all__ = ["Confounders", "Evidence", "weigh"]


@dataclass(frozen=True)
class Confounders:
    """What else could explain a correlation, one value an image.

    Attributes:
        label: class.
        contrast: standard deviation of the pixels.
        nearest: L2 distance to the nearest real image of another class.
        typical: the same for each other class by itself, on average over them.
    """

    label: NDArray
    contrast: NDArray
    nearest: NDArray
    typical: NDArray


@dataclass(frozen=True)
class Evidence:
    """What the claims are tested on.

    Attributes:
        run: an audit of the ladder on training images, with the standard probe and one probe for each set.
        rungs: names of the classifiers, by radius, the standard one first.
        radii: of the rungs, in units of images in [0, 1].
        probes: specs of the counterfactual probes by arm: "exact", "laplace", "published".
        confounders: in the order of the run's images.
        own: the audit of the images that the most robust rung made itself, and its probe.
        norm: in which the rungs were trained.
    """

    run: Run
    rungs: Sequence[str]
    radii: Sequence[float]
    probes: Mapping[str, str]
    confounders: Confounders
    own: tuple[Run, str] | None
    norm: str = "l2"

    def of(self, arm: str, rung: str) -> dict[str, NDArray]:
        """The columns of an arm's probe, images without counterfactuals as NaN."""
        columns = self.run.columns(self.probes[arm], rung)
        return {k: v if v.dtype == object else v.astype(float) for k, v in columns.items()}

    def right(self, rung: str) -> NDArray:
        """Which images the rung classifies correctly."""
        return self.run.columns("standard", rung)["correct"].astype(float)


def weigh(evidence: Evidence) -> list[Claim]:
    """All claims, in the order of the list above."""
    robust = list(zip(evidence.rungs, evidence.radii, strict=True))[1:]
    claims: list[Claim] = []
    for rung, _ in robust:
        claims += _closeness(evidence, rung)
    for rung, _ in robust:
        claims.append(_mistakes(evidence, rung))
    claims.append(_standard_reads(evidence))
    for rung, _ in robust:
        claims.append(_reads_worse(evidence, rung))
    if len(robust) > 1:
        claims.append(_trend(evidence))
    for rung, _ in robust:
        claims += _invariance(evidence, rung)
    claims += _real_and_ignored(evidence)
    for rung, radius in robust:
        claims.append(_predicts_errors(evidence, rung, radius))
    claims += _falsifiers(evidence)
    if "laplace" in evidence.probes:
        claims.append(_sparser(evidence))
    if evidence.own is not None:
        claims.append(_own_images(evidence))
    return claims


def _closeness(evidence: Evidence, rung: str) -> list[Claim]:
    mine, first = evidence.of("exact", rung), evidence.of("exact", evidence.rungs[0])
    has = ~np.isnan(mine["proximity"])
    d, p, p0 = mine["proximity"][has], mine["confidence"][has], first["confidence"][has]
    near = ~np.isnan(mine["accepted_proximity"])
    accepted = spearman(mine["accepted_proximity"][near], mine["confidence"][near])
    same = spearman(mine["same_distance"][has], p)
    return [
        judge(
            "H1",
            "Training images that lie farther from other classes are classified with more confidence.",
            "rank correlation of proximity and confidence in the true class",
            spearman(d, p),
            classifier=rung,
            control=f"With accepted counterfactuals alone: {_said(accepted)}. The distance to same-class "
            f"counterfactuals gives {_said(same)}. See F1 for what is left with confounders held fixed.",
        ),
        judge(
            "H1",
            "That correlation is larger than for the standard classifier.",
            "difference of the two rank correlations",
            spearman_gap(d, p, p0),
            classifier=rung,
            source="recalled",
        ),
    ]


def _mistakes(evidence: Evidence, rung: str) -> Claim:
    mine = evidence.of("exact", rung)
    has = ~np.isnan(mine["proximity"])
    right = evidence.right(rung)[has] > 0
    d = mine["proximity"][has]
    low, high = np.quantile(d, [1 / 3, 2 / 3])
    control = (
        f"Of the nearest third of the images {_share(right[d <= low])} are classified correctly, of the farthest "
        f"third {_share(right[d >= high])}. The same-class distance gives "
        f"{_said(auroc(-mine['same_distance'][has], ~right))}."
    )
    return judge(
        "H2",
        "Training images that the classifier gets wrong lie nearer to other classes.",
        "area under the ROC curve of proximity for telling wrong from right",
        auroc(-d, ~right),
        bound=0.5,
        classifier=rung,
        control=control,
    )


def _standard_reads(evidence: Evidence) -> Claim:
    first = evidence.of("exact", evidence.rungs[0])
    accuracy = _known(first["accuracy"])
    accepted = _known(first["accepted_accuracy"])
    return judge(
        "H3",
        "The standard classifier reads most counterfactuals as their class; otherwise they would be invalid.",
        "accuracy on counterfactuals",
        difference(accuracy, np.zeros_like(accuracy)),
        bound=0.5,
        classifier=evidence.rungs[0],
        control=f"On those that the oracles accept: {_share(accepted)}; the oracles were trained like this classifier, "
        "so that they agree with it more than others would.",
        source="recalled",
    )


def _reads_worse(evidence: Evidence, rung: str) -> Claim:
    mine, first = evidence.of("exact", rung), evidence.of("exact", evidence.rungs[0])
    has = ~np.isnan(mine["accuracy"])
    both = ~np.isnan(mine["accepted_accuracy"]) & ~np.isnan(first["accepted_accuracy"])
    accepted = difference(first["accepted_accuracy"][both], mine["accepted_accuracy"][both])
    noise = difference(first["noise_accuracy"][has], mine["noise_accuracy"][has])
    same = difference(first["same_accuracy"][has], mine["same_accuracy"][has])
    control = (
        f"It reads {_share(mine['accuracy'][has])} of them, the standard classifier {_share(first['accuracy'][has])}. "
        f"The same difference on accepted ones: {_said(accepted)}; on same-class counterfactuals: {_said(same)}; on "
        f"noise of the same length: {_said(noise)}."
    )
    return judge(
        "H3",
        "A robust classifier reads counterfactuals worse than the standard one.",
        "standard accuracy on counterfactuals minus this classifier's",
        difference(first["accuracy"][has], mine["accuracy"][has]),
        classifier=rung,
        control=control,
    )


def _invariance(evidence: Evidence, rung: str) -> list[Claim]:
    mine, first = evidence.of("exact", rung), evidence.of("exact", evidence.rungs[0])
    has = ~np.isnan(mine["kept"])
    kept = difference(mine["kept"][has], first["kept"][has])
    noise = difference(mine["noise_kept"][has], first["noise_kept"][has])
    aligned = difference(mine["alignment"][has], first["alignment"][has])
    accepted = ~np.isnan(mine["accepted_kept"])
    sure = difference(mine["accepted_kept"][accepted], first["accepted_kept"][accepted])

    def ratio(columns: dict[str, NDArray], rows: NDArray) -> float:
        response, noise = columns["response"][has][rows], columns["noise_response"][has][rows]
        return float(response.mean() / noise.mean())

    return [
        judge(
            "H4",
            "A robust classifier keeps its answer on counterfactuals more often than the standard one.",
            "share of unchanged answers minus the standard classifier's",
            kept,
            classifier=rung,
            control=f"On accepted ones: {_said(sure)}. On noise of the same length: {_said(noise)}.",
        ),
        judge(
            "H4",
            "Its logits follow counterfactuals less, compared with how they follow noise.",
            "standard classifier's ratio of margin changes, counterfactual to noise, minus this classifier's",
            bootstrap(lambda rows: ratio(first, rows) - ratio(mine, rows), int(has.sum())),
            classifier=rung,
            control=(
                f"Change of margin per unit of L2: {mine['response'][has].mean():.2f}, of the standard classifier "
                f"{first['response'][has].mean():.2f}; but logits have other scales. The cosine between input gradient "
                f"and counterfactual direction changes by {_said(aligned)}."
            ),
        ),
    ]


def _real_and_ignored(evidence: Evidence) -> list[Claim]:
    top, first = evidence.rungs[-1], evidence.rungs[0]
    mine, standard = evidence.of("exact", top), evidence.of("exact", first)
    has = ~np.isnan(mine["proximity"])
    accepted = mine["accepted"][has] / mine["counterfactuals"][has]
    near = ~np.isnan(mine["accepted_proximity"])
    near_proximity = mine["accepted_proximity"][near]
    right = evidence.right(top)[has]
    return [
        judge(
            "H5",
            "Counterfactuals are nearer than the nearest real image of their class.",
            "distance to that image, on average over the classes, minus proximity",
            difference(evidence.confounders.typical[has], mine["proximity"][has]),
            control=f"Accepted ones alone: {_said(difference(evidence.confounders.typical[near], near_proximity))}. "
            f"The nearest real image of any other class lies at {evidence.confounders.nearest[has].mean():.2f} on "
            f"average, the nearest counterfactual at {mine['proximity_min'][has].mean():.2f}.",
            source="ours",
        ),
        judge(
            "H5",
            "Independent oracles read counterfactuals as their class.",
            "share that the oracles accept",
            difference(accepted, np.zeros_like(accepted)),
            bound=0.8,
            source="ours",
        ),
        judge(
            "H5",
            "The most robust classifier ignores them: it keeps the source label more often than the standard one.",
            "share read as the source label minus the standard classifier's",
            difference(mine["invariance"][has], standard["invariance"][has]),
            classifier=top,
        ),
        judge(
            "H5",
            "Noise of the same length does not lower its accuracy by 5 points.",
            "accuracy on noise minus accuracy on clean images",
            difference(mine["noise_accuracy"][has], right),
            bound=-0.05,
            classifier=top,
            source="ours",
        ),
        judge(
            "H5",
            "Same-class counterfactuals do not lower its accuracy by 5 points.",
            "accuracy on same-class counterfactuals minus accuracy on clean images",
            difference(mine["same_accuracy"][has], right),
            bound=-0.05,
            classifier=top,
            source="ours",
        ),
    ]


def _predicts_errors(evidence: Evidence, rung: str, radius: float) -> Claim:
    """The paper's mechanism image by image: the curves over rungs both grow with the radius, whatever the images."""
    mine = evidence.of("exact", rung)
    least = mine["proximity_min_linf" if evidence.norm == "linf" else "proximity_min"]
    has = ~np.isnan(least)
    within, wrong = least[has] <= radius, 1 - evidence.right(rung)[has]

    def gap(rows: NDArray) -> float:
        near, error = within[rows], wrong[rows]
        if near.all() or not near.any():
            return math.nan
        return float(error[near].mean() - error[~near].mean())

    fewest = min(int(within.sum()), int((~within).sum()))
    nothing = Estimate(math.nan, math.nan, math.nan, int(has.sum()), "none")
    return judge(
        "H6",
        "Training images with a counterfactual within the training radius are the ones that the classifier gets wrong.",
        "error rate within the radius minus beyond it",
        bootstrap(gap, int(has.sum())) if fewest >= FEWEST else nothing,
        classifier=rung,
        control=f"{_share(within)} have one within the radius, {_share(wrong)} are wrong.",
        source="recalled",
    )


def _trend(evidence: Evidence) -> Claim:
    """H3's second half: over the robust rungs, accuracy on counterfactuals falls with the radius."""
    radii = np.asarray(evidence.radii[1:])
    accuracy = np.stack([evidence.of("exact", rung)["accuracy"] for rung in evidence.rungs[1:]])
    accuracy = accuracy[:, ~np.isnan(accuracy[0])]
    centred = radii - radii.mean()
    slope = centred @ accuracy / (centred**2).sum()
    return judge(
        "H3",
        "The larger the radius, the worse a robust classifier reads counterfactuals.",
        "fall of accuracy per unit of radius, a line through the robust classifiers",
        difference(-slope, np.zeros_like(slope)),
    )


def _confounded(evidence: Evidence, rung: str) -> Claim:
    mine, first = evidence.of("exact", rung), evidence.of("exact", evidence.rungs[0])
    has, other = ~np.isnan(mine["proximity"]), evidence.confounders
    d, p = mine["proximity"][has], mine["confidence"][has]
    held = [one_hot(other.label[has]), other.contrast[has], other.nearest[has]]
    same = spearman(d, p, controls=[mine["same_distance"][has]])
    return judge(
        "F1",
        "H1 survives with class, contrast, the standard classifier's confidence and the distance to the nearest image "
        "of another class held fixed.",
        "partial rank correlation of proximity and confidence",
        spearman(d, p, controls=[*held, first["confidence"][has]]),
        classifier=rung,
        control=f"Without the standard classifier's confidence: {_said(spearman(d, p, controls=held))}. With the "
        f"distance to same-class counterfactuals alone held fixed: {_said(same)}.",
        source="ours",
    )


def _falsifiers(evidence: Evidence) -> list[Claim]:
    top = evidence.rungs[-1]
    mine = evidence.of("exact", top)
    has = ~np.isnan(mine["proximity"])
    claims = [_confounded(evidence, rung) for rung in evidence.rungs[1:]]
    if "published" not in evidence.probes:
        return claims
    theirs = evidence.of("published", top)
    both = has & ~np.isnan(theirs["proximity"])
    first = evidence.of("published", evidence.rungs[0])
    worse = difference(first["accuracy"][both], theirs["accuracy"][both])
    return [
        *claims,
        judge(
            "F2",
            "The published sampler without churn stays too near: the exact one's counterfactuals lie farther away.",
            "proximity with the exact sampler minus with the published one",
            difference(mine["proximity"][both], theirs["proximity"][both]),
            source="ours",
        ),
        judge(
            "F2",
            "H1 holds with the published sampler as well.",
            "rank correlation of proximity and confidence",
            spearman(theirs["proximity"][both], theirs["confidence"][both]),
            classifier=top,
            control=f"H3 with the published sampler, on the same images: {_said(worse)}.",
            source="ours",
        ),
    ]


def _sparser(evidence: Evidence) -> Claim:
    rung = evidence.rungs[0]
    gauss, laplace = evidence.of("exact", rung), evidence.of("laplace", rung)
    both = ~np.isnan(gauss["changed"]) & ~np.isnan(laplace["changed"])
    nearer = difference(gauss["proximity"][both], laplace["proximity"][both])
    return judge(
        "N1",
        "With the Laplace neighbourhood fewer pixels change than with the Gaussian one of the same width.",
        "share of changed pixels, Gaussian minus Laplace",
        difference(gauss["changed"][both], laplace["changed"][both]),
        control=f"The Gaussian ones lie farther away by {_said(nearer)} in L2.",
        source="ours",
    )


def _own_images(evidence: Evidence) -> Claim:
    assert evidence.own is not None
    run, probe = evidence.own
    top = evidence.rungs[-1]
    own = {k: v for k, v in run.columns(probe, top).items() if v.dtype != object}
    kept = _known(own["invariance"].astype(float))
    first = run.columns(probe, evidence.rungs[0])["invariance"].astype(float)
    has = ~np.isnan(first)
    return judge(
        "R1",
        "The most robust classifier ignores counterfactuals of images that it made itself more than the standard one.",
        "share read as the source label minus the standard classifier's",
        difference(own["invariance"].astype(float)[has], first[has]),
        classifier=top,
        control=f"It reads {_share(kept)} of them as what it had made, and "
        f"{_share(_known(own['accuracy'].astype(float)))} as their class.",
        source="ours",
    )


def _known(values: NDArray) -> NDArray:
    return values[~np.isnan(values)]


def _share(values: NDArray) -> str:
    return f"{100 * np.mean(values):.1f}%" if len(values) else "none"


def _said(found: Estimate) -> str:
    if math.isnan(found.value):
        return "too few to tell"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
