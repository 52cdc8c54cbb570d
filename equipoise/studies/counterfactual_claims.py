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

Claims of every rung are made of those trained for another norm, too; a trend over radii stays within one norm, and the
most robust rung is that of the main norm. S1 and S2 are in `setting_claims`.
"""

from collections import Counter

import numpy as np

from equipoise.audit import Claim, judge
from equipoise.audit.association import difference, spearman
from equipoise.studies.blindness_claims import (
    invariance,
    own_images_ignored,
    reads_worse,
    standard_reads,
    trend,
)
from equipoise.studies.counterfactual_evidence import Evidence, said
from equipoise.studies.proximity_claims import (
    confounded,
    mistakes,
    more_than_standard,
    predicts_errors,
    together,
)

__all__ = ["weigh"]


def weigh(evidence: Evidence) -> list[Claim]:
    """All claims, in the order of the list above."""
    robust = [rung for rung, _ in evidence.robust]
    norms = Counter(threat.norm for _, threat in evidence.robust)
    claims = [claim(evidence, rung) for rung in robust for claim in (together, more_than_standard)]
    claims += [mistakes(evidence, rung) for rung in robust]
    claims += [standard_reads(evidence), *(reads_worse(evidence, rung) for rung in robust)]
    claims += [trend(evidence, norm) for norm, count in norms.items() if count > 1]
    claims += [claim for rung in robust for claim in invariance(evidence, rung)]
    claims += _real_and_ignored(evidence)
    claims += [predicts_errors(evidence, rung, threat) for rung, threat in evidence.robust]
    claims += [confounded(evidence, rung) for rung in robust]
    if "published" in evidence.probes:
        claims += _collapse(evidence)
    if "laplace" in evidence.probes:
        claims.append(_sparser(evidence))
    if evidence.own is not None:
        claims.append(own_images_ignored(evidence))
    return claims


def _real_and_ignored(evidence: Evidence) -> list[Claim]:
    top, first = evidence.top, evidence.first
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
            control=f"Accepted ones alone: {said(difference(evidence.confounders.typical[near], near_proximity))}. "
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


def _collapse(evidence: Evidence) -> list[Claim]:
    """F2."""
    top = evidence.top
    mine = evidence.of("exact", top)
    has = ~np.isnan(mine["proximity"])
    theirs = evidence.of("published", top)
    both = has & ~np.isnan(theirs["proximity"])
    first = evidence.of("published", evidence.first)
    worse = difference(first["accuracy"][both], theirs["accuracy"][both])
    return [
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
            control=f"H3 with the published sampler, on the same images: {said(worse)}.",
            source="ours",
        ),
    ]


def _sparser(evidence: Evidence) -> Claim:
    rung = evidence.first
    gauss, laplace = evidence.of("exact", rung), evidence.of("laplace", rung)
    both = ~np.isnan(gauss["changed"]) & ~np.isnan(laplace["changed"])
    nearer = difference(gauss["proximity"][both], laplace["proximity"][both])
    return judge(
        "N1",
        "With the Laplace neighbourhood fewer pixels change than with the Gaussian one of the same width.",
        "share of changed pixels, Gaussian minus Laplace",
        difference(gauss["changed"][both], laplace["changed"][both]),
        control=f"The Gaussian ones lie farther away by {said(nearer)} in L2.",
        source="ours",
    )
