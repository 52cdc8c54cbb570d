"""Claims of arXiv 2404.10588 about what classifiers see of counterfactuals: H3, H4, and ours on own images, R1.

Notation as in `counterfactual_claims`.
"""

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Claim, judge
from equipoise.audit.association import bootstrap, difference
from equipoise.norms import Norm
from equipoise.studies.counterfactual_evidence import Evidence, Ladder, known, said, share

__all__ = ["invariance", "own_images_ignored", "reads_worse", "standard_reads", "trend"]


def standard_reads(ladder: Ladder) -> Claim:
    """H3: what must be so for counterfactuals to be any."""
    first = ladder.of("exact", ladder.first)
    accuracy = known(first["accuracy"])
    accepted = known(first["accepted_accuracy"])
    return judge(
        "H3",
        "The standard classifier reads most counterfactuals as their class; otherwise they would be invalid.",
        "accuracy on counterfactuals",
        difference(accuracy, np.zeros_like(accuracy)),
        bound=0.5,
        classifier=ladder.first,
        control=f"On those that the oracles accept: {share(accepted)}; the oracles were trained like this classifier, "
        "so that they agree with it more than others would.",
        source="recalled",
    )


def reads_worse(ladder: Ladder, rung: str) -> Claim:
    """H3."""
    mine, first = ladder.of("exact", rung), ladder.of("exact", ladder.first)
    has = ~np.isnan(mine["accuracy"])
    both = ~np.isnan(mine["accepted_accuracy"]) & ~np.isnan(first["accepted_accuracy"])
    accepted = difference(first["accepted_accuracy"][both], mine["accepted_accuracy"][both])
    noise = difference(first["noise_accuracy"][has], mine["noise_accuracy"][has])
    same = difference(first["same_accuracy"][has], mine["same_accuracy"][has])
    control = (
        f"It reads {share(mine['accuracy'][has])} of them, the standard classifier {share(first['accuracy'][has])}. "
        f"The same difference on accepted ones: {said(accepted)}; on same-class counterfactuals: {said(same)}; on "
        f"noise of the same length: {said(noise)}."
    )
    return judge(
        "H3",
        "A robust classifier reads counterfactuals worse than the standard one.",
        "standard accuracy on counterfactuals minus this classifier's",
        difference(first["accuracy"][has], mine["accuracy"][has]),
        classifier=rung,
        control=control,
    )


def trend(ladder: Ladder, norm: Norm) -> Claim:
    """H3's second half: over the robust rungs of one norm, accuracy on counterfactuals falls with the radius."""
    rungs = [(rung, threat) for rung, threat in ladder.robust if threat.norm == norm]
    unit, size = ("1/255", 255) if norm == Norm.LINF else ("unit", 1)
    radii = size * np.asarray([threat.radius for _, threat in rungs])
    accuracy = np.stack([ladder.of("exact", rung)["accuracy"] for rung, _ in rungs])
    accuracy = accuracy[:, ~np.isnan(accuracy[0])]
    centred = radii - radii.mean()
    slope = centred @ accuracy / (centred**2).sum()
    return judge(
        "H3",
        "The larger the radius, the worse a robust classifier reads counterfactuals.",
        f"fall of accuracy per {unit} of {norm} radius, a line through the robust classifiers",
        difference(-slope, np.zeros_like(slope)),
    )


def invariance(ladder: Ladder, rung: str) -> list[Claim]:
    """H4: answers kept, and logits that follow less."""
    mine, first = ladder.of("exact", rung), ladder.of("exact", ladder.first)
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
            control=f"On accepted ones: {said(sure)}. On noise of the same length: {said(noise)}.",
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
                f"and counterfactual direction changes by {said(aligned)}."
            ),
        ),
    ]


def own_images_ignored(evidence: Evidence) -> Claim:
    """R1."""
    assert evidence.own is not None
    run, probe = evidence.own
    top = evidence.top
    own = {k: v for k, v in run.columns(probe, top).items() if v.dtype != object}
    kept = known(own["invariance"].astype(float))
    first = run.columns(probe, evidence.first)["invariance"].astype(float)
    has = ~np.isnan(first)
    return judge(
        "R1",
        "The most robust classifier ignores counterfactuals of images that it made itself more than the standard one.",
        "share read as the source label minus the standard classifier's",
        difference(own["invariance"].astype(float)[has], first[has]),
        classifier=top,
        control=f"It reads {share(kept)} of them as what it had made, and "
        f"{share(known(own['accuracy'].astype(float)))} as their class.",
        source="ours",
    )
