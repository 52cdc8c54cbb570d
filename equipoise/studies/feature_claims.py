"""Claims of arXiv 1805.12152, and of a later paper, about the features that classifiers use.

Statistics are means over the seeds of a training and over test images together; of one training each, over images.

    G1  gradients of robust classifiers point to what people would change
    G2  they are sparser
    E1  far adversarial examples of robust classifiers look like another class
    E2  the way there is gradual
    U1  robust classifiers look at inputs that tell more about the label (ours: L1 for any network)
    D1  what is learnt from robust features is robust (Ilyas et al., 2019)
    D2  what is learnt from small features that contradict the image reads real images (Ilyas et al., 2019)

The paper shows G1, E1 and E2 in pictures: their measures are ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Claim, Estimate, Run, judge
from equipoise.audit.association import difference
from equipoise.audit.statistics import across_trainings, estimate
from equipoise.probes import Metric
from equipoise.studies.learnt_features import LearntFeatures
from equipoise.studies.sample_sizes import STANDARD, Arm
from equipoise.studies.words import said

__all__ = ["Evidence", "weigh_features", "weigh_learnt"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the claims are tested on.

    Attributes:
        run: the audit of all classifiers, which are called ``l2-1, seed 0``, or ``l2-1`` where there are no seeds.
        arms: the robust ones.
        gradients: spec of the gradient probe.
        far: spec of the probe of far examples.
        use: spec of the feature-use probe.
        judge: how the judge of far examples sees a class, after "share".
        standard: the arm that all others are compared with.
        seeds: of the trainings; none where there is one of each.
    """

    run: Run
    arms: Sequence[Arm]
    gradients: str
    far: str
    use: str
    judge: str
    standard: Arm = STANDARD
    seeds: Sequence[int] = ()

    @property
    def once(self) -> str:
        """What a statistic of single trainings adds."""
        return "" if self.seeds else ", one training each"

    def column(self, probe: str, arm: Arm, name: str) -> NDArray:
        """A column as numbers with shape (seeds, images), what is missing as NaN."""
        return self.gather(
            probe, arm, lambda columns: np.array([_number(v) for v in columns[name]])
        )

    def gather(self, probe: str, arm: Arm, of: Callable[[dict[str, NDArray]], NDArray]) -> NDArray:
        """What `of` makes of the columns of each seed, with shape (seeds, images)."""
        names = [f"{arm.name}, seed {seed}" for seed in self.seeds] or [arm.name]
        return np.stack([of(self.run.columns(probe, name)) for name in names])


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def weigh_features(evidence: Evidence) -> list[Claim]:
    """The claims about what classifiers use, G1 to U1."""
    return [*_gradients(evidence), *_far(evidence), *_use(evidence)]


def _gap(mine: NDArray, first: NDArray) -> Estimate:
    """Mean of the difference of two (seeds, images), on the images that all have a value for."""
    known = ~np.isnan(mine - first).any(axis=0)
    if len(mine) == 1:
        return difference(mine[0, known], first[0, known])
    return across_trainings((mine - first)[:, known])


def _gradients(evidence: Evidence) -> list[Claim]:
    def read(arm: Arm, name: str) -> NDArray:
        return evidence.column(evidence.gradients, arm, name)

    claims = []
    for arm in evidence.arms:
        along, noise = (
            [read(each, name) for each in (arm, evidence.standard)]
            for name in ("alignment", "noise_alignment")
        )
        beyond = _gap(along[0] - noise[0], along[1] - noise[1])
        if beyond.n:
            claims.append(
                judge(
                    "G1",
                    "Input gradients of robust classifiers point more towards counterfactuals, beyond what they point "
                    "towards noise of the same length, than those of the standard one.",
                    "mean cosine with the way to counterfactuals minus that with noise, minus the standard "
                    f"classifier's{evidence.once}",
                    beyond,
                    classifier=arm.name,
                    control=f"Counterfactuals alone: {said(_gap(*along))}; noise alone: {said(_gap(*noise))}.",
                    source="measure",
                )
            )
        claims.append(
            judge(
                "G2",
                "Input gradients of robust classifiers are sparser.",
                f"Gini index of the gradient, minus the standard classifier's{evidence.once}",
                _gap(read(arm, "sparsity"), read(evidence.standard, "sparsity")),
                classifier=arm.name,
                source="recalled",
            )
        )
    return sorted(claims, key=lambda claim: claim.id)


def _far(evidence: Evidence) -> list[Claim]:
    def read(arm: Arm, name: str) -> NDArray:
        return evidence.column(evidence.far, arm, name)

    def mean(values: NDArray) -> str:
        return f"{np.nanmean(values):.1%}" if not np.isnan(values).all() else "none"

    claims = []
    first = read(evidence.standard, "agrees")
    for arm in evidence.arms:
        mine = read(arm, "agrees")
        noise = _gap(read(arm, "noise_agrees"), read(evidence.standard, "noise_agrees"))
        claims.append(
            judge(
                "E1",
                "Far adversarial examples of robust classifiers look more like the class they are taken for than those "
                "of the standard one.",
                f"share {evidence.judge}, minus the standard classifier's{evidence.once}",
                _gap(mine, first),
                classifier=arm.name,
                control=f"It is so for {mean(mine)} of this classifier's examples, which it takes for their class with "
                f"{mean(read(arm, 'confidence'))} confidence on average, and for {mean(first)} of the standard one's, "
                f"with {mean(read(evidence.standard, 'confidence'))}. The same difference for noise of the same "
                f"length: {said(noise)}.",
                source="measure",
            )
        )
    leap = evidence.gather(evidence.far, evidence.standard, _leap)
    for arm in evidence.arms:
        claims.append(
            judge(
                "E2",
                "On the straight way to a far adversarial example a robust classifier changes its mind more gradually.",
                "largest part of the rise of confidence within a twentieth of the way: the standard classifier's minus "
                f"this one's{evidence.once}",
                _gap(leap, evidence.gather(evidence.far, arm, _leap)),
                classifier=arm.name,
                source="measure",
            )
        )
    return claims


def _leap(columns: dict[str, NDArray]) -> NDArray:
    """For each image the largest rise of confidence between neighbouring points of the way, as a part of the whole one;
    NaN where the answer did not change or nothing rose."""
    paths = np.array([list(path) for path in columns["own_path"]], dtype=float)
    rise = paths[:, -1] - paths[:, 0]
    known = columns["moved"].astype(bool) & (rise > 0)
    return np.where(known, np.diff(paths, axis=1).max(1) / np.where(known, rise, 1), np.nan)


def _use(evidence: Evidence) -> list[Claim]:
    def read(arm: Arm) -> NDArray:
        return evidence.column(evidence.use, arm, "rank_correlation")

    return [
        judge(
            "U1",
            "Robust classifiers look more at inputs that tell about the label by themselves.",
            "rank correlation of gradient and label correlation over inputs, minus the standard classifier's"
            f"{evidence.once}",
            _gap(read(arm), read(evidence.standard)),
            classifier=arm.name,
            source="ours",
        )
        for arm in evidence.arms
    ]


def weigh_learnt(features: LearntFeatures, labels: Sequence[int]) -> list[Claim]:
    """The claims about what is learnt from feature sets, D1 and D2, of one training each.

    Arguments:
        features: what was learnt.
        labels: of the test images.
    """
    withstood = {name: features.withstood(name) for name in ("robust", "non-robust", "real")}
    chance = max(np.bincount(labels)) / len(labels)
    kinds = ("random", "deterministic") if len(set(labels)) > 2 else ("random",)
    return [
        judge(
            "D1",
            "What standard training learns from robust features is more robust than what it learns from the images.",
            f"robust accuracy at {features.threat}: from robust features minus from the images, one training each",
            difference(withstood["robust"], withstood["real"]),
            control=f"{_share(withstood['robust'])} and {_share(withstood['real'])}.",
            source="later",
        ),
        judge(
            "D1",
            "It is more robust than what is learnt from non-robust features.",
            f"robust accuracy at {features.threat}: from robust minus from non-robust features, one training each",
            difference(withstood["robust"], withstood["non-robust"]),
            control=f"Non-robust: {_share(withstood['non-robust'])}. A robust judge still reads "
            f"{_share(features.visible['non-robust'])} of the non-robust images as the original’s class.",
            source="ours",
        ),
        *(
            judge(
                "D2",
                "What is learnt from small features that contradict the image reads real images better than chance.",
                "standard accuracy, one training",
                estimate(Metric("share", features.right(kind), "share")),
                bound=chance,
                classifier=kind,
                control=f"A robust judge still reads {_share(features.visible[kind])} of these images as the class "
                "of the original, which is never the label.",
                source="later",
            )
            for kind in kinds
        ),
    ]


def _share(right: NDArray) -> str:
    return f"{right.mean():.1%}"
