"""Claims about one ladder on test images: what robustness buys and costs, and whether blindness is there, too.

    A1  adversarial training lowers standard accuracy
    A2  it raises robust accuracy
    A3  standard accuracy falls with every step of the radius, within a norm
    B1  robust classifiers read counterfactuals of test images worse than the standard one (H3 on unseen images)
    B2  proximity and confidence go together on test images (H1 on unseen images)
    E3  far adversarial examples of robust classifiers look like the class they are taken for (ours)

G1, G2, E1, E2 and U1 are those of `feature_claims`. A1 to A3 are of arXiv 1805.12152, B1 and B2 of arXiv 2404.10588,
whose statements are about training images. All are of one training each: intervals are over images, paired where two
classifiers are compared, and say nothing about other trainings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from numpy.typing import NDArray

from equipoise.audit import Claim, Estimate, Run, judge
from equipoise.audit.association import difference
from equipoise.audit.statistics import estimate
from equipoise.probes import Adversarial, LargeEps, Metric
from equipoise.studies.blindness_claims import reads_worse
from equipoise.studies.counterfactual_evidence import Ladder, said, share
from equipoise.studies.feature_claims import Evidence, weigh_features
from equipoise.studies.proximity_claims import together
from equipoise.studies.sample_sizes import Arm

__all__ = ["Measured", "about_training", "weigh_ladder"]

ONCE = ", one training each"
ORDER = "ABGEU"
"""Of the claims by their letter."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the claims are tested on.

    Attributes:
        ladder: the audit of the attacked test images, and with the arm "exact" their counterfactuals, where any were
            made.
        all: the audit of all test images with the standard probe.
        attacks: the adversarial probes.
        gradients: spec of the gradient probe.
        far: the probe of far examples, with an oracle as their judge.
        use: spec of the feature-use probe.
    """

    ladder: Ladder
    all: Run
    attacks: Sequence[Adversarial]
    gradients: str
    far: LargeEps
    use: str

    def right(self, rung: str) -> NDArray:
        """Which of all test images a rung classifies correctly."""
        return self.all.columns("standard", rung)["correct"].astype(float)

    def withstood(self, rung: str, attack: Adversarial) -> NDArray:
        """Which of the attacked ones it still classifies correctly."""
        return 1 - self.ladder.run.columns(str(attack), rung)["success"].astype(float)


def weigh_ladder(measured: Measured) -> list[Claim]:
    """All claims, in the order of the list above."""
    ladder = measured.ladder
    claims = [_costs(measured, rung) for rung, _ in ladder.robust]
    claims += [
        _buys(measured, rung, attack) for attack in measured.attacks for rung, _ in ladder.robust
    ]
    claims += _falls(measured)
    if ladder.probes:
        claims += [_unseen(reads_worse(ladder, rung), "B1") for rung, _ in ladder.robust]
        claims += [_unseen(together(ladder, rung), "B2") for rung, _ in ladder.robust]
    first, *arms = (Arm("pgd", threat) for threat in ladder.threats)
    claims += weigh_features(
        Evidence(
            run=ladder.run,
            arms=arms,
            gradients=measured.gradients,
            far=str(measured.far),
            use=measured.use,
            judge="read as that class by an oracle, which was trained like the standard classifier",
            standard=first,
        )
    )
    claims += [_looks_so(measured, rung) for rung, _ in ladder.robust]
    return sorted(claims, key=lambda claim: ORDER.index(claim.id[0]))


def _costs(measured: Measured, rung: str) -> Claim:
    first = measured.ladder.first
    return judge(
        "A1",
        "Adversarial training lowers standard accuracy.",
        f"standard accuracy of standard training minus this one's{ONCE}",
        difference(measured.right(first), measured.right(rung)),
        classifier=rung,
        control=f"{_of(measured.right(first))} and {_of(measured.right(rung))}.",
    )


def _buys(measured: Measured, rung: str, attack: Adversarial) -> Claim:
    first = measured.ladder.first
    mine, theirs = (measured.withstood(name, attack) for name in (rung, first))
    return judge(
        "A2",
        f"Adversarial training raises robust accuracy at {attack.threat}.",
        f"robust accuracy minus that of standard training, both upper bounds{ONCE}",
        difference(mine, theirs),
        classifier=rung,
        control=f"{_of(mine)} and {_of(theirs)}.",
    )


def _falls(measured: Measured) -> list[Claim]:
    """A3, from the standard classifier up each norm."""
    ladder = measured.ladder
    norms = dict.fromkeys(threat.norm for _, threat in ladder.robust)
    steps: list[tuple[str, str]] = []
    for norm in norms:
        rungs = [rung for rung, threat in ladder.robust if threat.norm == norm]
        steps += pairwise([ladder.first, *rungs])
    return [
        judge(
            "A3",
            "Standard accuracy falls with every step of the radius of training.",
            f"standard accuracy of the radius before minus this one's{ONCE}",
            difference(measured.right(before), measured.right(after)),
            classifier=after,
        )
        for before, after in steps
    ]


def _unseen(claim: Claim, id: str) -> Claim:
    """The same claim where it was tested on test images."""
    text = claim.text.replace("Training images", "Images")
    return replace(
        claim,
        id=id,
        text=f"On test images, too: {_within(text)}",
        control=claim.control.replace(" See F1 for what is left with confounders held fixed.", ""),
        source="ours",
    )


def _looks_so(measured: Measured, rung: str) -> Claim:
    columns = measured.ladder.run.columns(str(measured.far), rung)
    moved = columns["moved"].astype(bool)
    seen, noise = (columns[name][moved].astype(float) for name in ("agrees", "noise_agrees"))
    return judge(
        "E3",
        "Far adversarial examples of robust classifiers look like the class they are taken for, more than noise as far "
        "away does.",
        f"share read as that class by an oracle, minus that of noise of the same length{ONCE}",
        difference(seen, noise),
        classifier=rung,
        control=f"At {measured.far.threat}: {share(seen)} of the examples, {share(noise)} of the noise.",
        source="ours",
    )


def _of(right: NDArray) -> str:
    found: Estimate = estimate(Metric("share", right, "share"))
    return said(found)


def about_training(claim: Claim) -> Claim:
    """A claim of the study's training images, as it reads beside those of test images."""
    if "raining images" in claim.text:
        return claim
    return replace(claim, text=f"On training images: {_within(claim.text)}")


def _within(text: str) -> str:
    """A sentence that goes on in another: small at first, unless it begins with a name such as H1."""
    return text if text[1:2].isdecimal() else text[0].lower() + text[1:]
