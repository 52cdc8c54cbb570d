"""Claims of arXiv 2404.10588 about how near an image lies to other classes: H1, H2, H6, and the falsifier F1.

Notation as in `counterfactual_claims`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Claim, Estimate, judge
from equipoise.audit.association import auroc, bootstrap, one_hot, spearman, spearman_gap
from equipoise.norms import Norm, Threat
from equipoise.studies.counterfactual_evidence import Evidence, Ladder, said, share

__all__ = ["confounded", "mistakes", "more_than_standard", "predicts_errors", "together"]

FEWEST = 10
"""Images on either side below which a difference of shares is not formed."""


def together(ladder: Ladder, rung: str) -> Claim:
    """H1 of a rung by itself."""
    mine = ladder.of("exact", rung)
    has = ~np.isnan(mine["proximity"])
    near = ~np.isnan(mine["accepted_proximity"])
    accepted = spearman(mine["accepted_proximity"][near], mine["confidence"][near])
    same = spearman(mine["same_distance"][has], mine["confidence"][has])
    return judge(
        "H1",
        "Training images that lie farther from other classes are classified with more confidence.",
        "rank correlation of proximity and confidence in the true class",
        spearman(mine["proximity"][has], mine["confidence"][has]),
        classifier=rung,
        control=f"With accepted counterfactuals alone: {said(accepted)}. The distance to same-class "
        f"counterfactuals gives {said(same)}. See F1 for what is left with confounders held fixed.",
    )


def more_than_standard(ladder: Ladder, rung: str) -> Claim:
    """H1 beside the standard rung."""
    mine, first = ladder.of("exact", rung), ladder.of("exact", ladder.first)
    has = ~np.isnan(mine["proximity"])
    return judge(
        "H1",
        "That correlation is larger than for the standard classifier.",
        "difference of the two rank correlations",
        spearman_gap(mine["proximity"][has], mine["confidence"][has], first["confidence"][has]),
        classifier=rung,
        source="recalled",
    )


def mistakes(ladder: Ladder, rung: str) -> Claim:
    """H2."""
    mine = ladder.of("exact", rung)
    has = ~np.isnan(mine["proximity"])
    right = ladder.right(rung)[has] > 0
    d = mine["proximity"][has]
    low, high = np.quantile(d, [1 / 3, 2 / 3])
    control = (
        f"Of the nearest third of the images {share(right[d <= low])} are classified correctly, of the farthest "
        f"third {share(right[d >= high])}. The same-class distance gives "
        f"{said(auroc(-mine['same_distance'][has], ~right))}."
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


def predicts_errors(ladder: Ladder, rung: str, threat: Threat) -> Claim:
    """H6, the paper's mechanism, image by image: curves over rungs both grow with the radius, whatever the images."""
    mine = ladder.of("exact", rung)
    least = mine["proximity_min_linf" if threat.norm == Norm.LINF else "proximity_min"]
    has = ~np.isnan(least)
    within, wrong = least[has] <= threat.radius, 1 - ladder.right(rung)[has]

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
        control=f"{share(within)} have one within the radius, {share(wrong)} are wrong.",
        source="recalled",
    )


def confounded(evidence: Evidence, rung: str) -> Claim:
    """F1."""
    mine, first = evidence.of("exact", rung), evidence.of("exact", evidence.first)
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
        control=f"Without the standard classifier's confidence: {said(spearman(d, p, controls=held))}. With the "
        f"distance to same-class counterfactuals alone held fixed: {said(same)}.",
        source="ours",
    )
