"""The claims of arXiv 1805.12152, as functions of what its study measured.

Notation. An arm is an objective and a radius of training; gain is its standard accuracy minus that of standard training
on as many images, seed by seed on the same test images.

    T1  no rule is more robust at 2 eta than its standard accuracy allows (theorem 2.1)
    T2  in the model standard training is accurate and not robust, adversarial training is robust (theorem 2.2)
    S1  with few training images adversarial training raises standard accuracy
    S2  with many it lowers it
    S3  the more images, the less there is to gain (ours, as one number for what S1 and S2 say)
    S4  standard accuracy falls as the radius of training grows
    S5  it falls also where half of each batch is natural
    L1  a robust linear classifier puts no weight on inputs that tell little about the label
    L2  on the inputs that tell most, standard training is robust by itself
    L3  more inputs raise standard accuracy and lower robust accuracy
    G1  gradients of robust classifiers point to what people would change
    G2  they are sparser (at second hand)
    E1  far adversarial examples of robust classifiers look like another class
    E2  the way there is gradual
    U1  robust classifiers look at inputs that tell more about the label (ours, L1 for any network)
    D1  what is learnt from robust features is robust (Ilyas et al., 2019)
    D2  what is learnt from non-robust features alone reads real images (Ilyas et al., 2019)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Claim, Estimate, Run, judge
from equipoise.audit.association import difference
from equipoise.audit.statistics import across_trainings, estimate
from equipoise.probes import Metric
from equipoise.studies.learnt_features import LearntFeatures
from equipoise.studies.model import ModelRules
from equipoise.studies.sample_sizes import Arm, SampleSizes
from equipoise.studies.two_classes import TwoClasses
from equipoise.theory import LinearRule

__all__ = ["Evidence", "weigh"]

LATER = "later"
"""The source of claims that Ilyas et al. (2019) made, not the study's own paper."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the claims are tested on.

    Attributes:
        run: the audit of the ladder.
        standard: name of its standard classifier.
        robust: names of the others.
        gradients: spec of the gradient probe.
        far: specs of the large-radius probes by the name of their judge.
        use: spec of the feature-use probe.
        sizes: the trainings at several sizes.
        linear: the experiment with two classes.
        features: the feature sets.
        model: rules in the paper's model.
    """

    run: Run
    standard: str
    robust: Sequence[str]
    gradients: str
    far: Mapping[str, str]
    use: str
    sizes: SampleSizes
    linear: TwoClasses
    features: LearntFeatures
    model: ModelRules

    def column(self, probe: str, classifier: str, name: str) -> NDArray:
        """A column as numbers, what is missing as NaN."""
        return np.asarray(self.run.columns(probe, classifier)[name], dtype=float)


def weigh(evidence: Evidence) -> list[Claim]:
    """All claims, in the order of the list above."""
    return [
        *_theory(evidence.model),
        *_sizes(evidence.sizes),
        *_linear(evidence.linear),
        *_gradients(evidence),
        *_far(evidence),
        *_use(evidence),
        *_features(evidence.features),
    ]


def _theory(model: ModelRules) -> list[Claim]:
    standard, robust = model.standard, model.robust
    sampled = f"fitted to {model.samples:,} samples"
    return [
        judge(
            "T1",
            "In the model no fitted rule is more robust at twice the mean than its standard accuracy allows.",
            "what theorem 2.1 allows minus robust accuracy, the least over rules; both exact",
            _exact(model.room()),
            bound=-1e-12,
        ),
        judge(
            "T2",
            "In the model standard training is more than 99% accurate.",
            f"standard accuracy of the rule {sampled}, exact",
            _exact(standard.standard),
            bound=0.99,
            classifier=standard.name,
        ),
        judge(
            "T2",
            "It is less than 1% robust.",
            "1 minus robust accuracy at twice the mean, exact",
            _exact(1 - standard.robust),
            bound=0.99,
            classifier=standard.name,
        ),
        judge(
            "T2",
            "Adversarial training finds the robust feature, whose robust accuracy is p.",
            f"robust accuracy of the rule {sampled}, exact",
            _exact(robust.robust),
            bound=model.p - 1e-9,
            classifier=robust.name,
            control=f"Its standard accuracy is {robust.standard:.4f}; p is {model.p:g}.",
        ),
    ]


def _exact(value: float) -> Estimate:
    """A number that no sample stands behind."""
    return Estimate(value, value, value, 0, "exact")


def _linear(linear: TwoClasses) -> list[Claim]:
    standard, robust = linear.rules[0], linear.rules[-1]
    few, every = linear.top[1], linear.top[-1]
    eps = linear.radius

    def gap(a: LinearRule, b: LinearRule, radius: float = 0.0) -> Estimate:
        return difference(linear.right(a, radius), linear.right(b, radius))

    return [
        judge(
            "L1",
            "Standard training puts more of its weight than robust training on inputs that tell little of the label.",
            "share of the weight on inputs below the median correlation: standard minus robust",
            linear.moved(),
        ),
        judge(
            "L1",
            "Robust training buys exact robustness with that.",
            f"robust accuracy at {eps:g}: robust minus standard training",
            gap(robust, standard, eps),
            control=f"It costs {_said(gap(standard, robust))} of standard accuracy.",
        ),
        judge(
            "L2",
            f"On the {linear.kept[1]} best-correlated inputs alone standard training is more robust than on all.",
            f"robust accuracy at {eps:g} on the best inputs minus that on all",
            gap(few, every, eps),
        ),
        judge(
            "L3",
            "More inputs raise standard accuracy.",
            f"standard accuracy on all inputs minus that on the {linear.kept[0]} best",
            gap(every, linear.top[0]),
            control=f"Robust accuracy at {eps:g} changes by {_said(gap(every, linear.top[0], eps))}.",
        ),
    ]


def _sizes(sizes: SampleSizes) -> list[Claim]:
    few, many = sizes.sizes[0], sizes.sizes[-1]
    pure = [arm for arm in sizes.arms if arm.objective == "pgd"]
    mixed = [arm for arm in sizes.arms if arm.objective != "pgd"]
    claims = [
        judge(
            "S1",
            f"With few training images ({few}) adversarial training raises standard accuracy.",
            "standard accuracy minus that of standard training",
            sizes.gain(arm, few),
            classifier=arm.name,
            control=f"At {few} images: {_said(sizes.accuracy(arm, few))}; without: "
            f"{_said(sizes.accuracy(sizes.standard, few))}.",
        )
        for arm in pure
    ]
    claims += [
        judge(
            "S2",
            f"With many training images ({many}) adversarial training lowers standard accuracy.",
            "standard accuracy of standard training minus this one's",
            _negative(sizes.gain(arm, many)),
            classifier=arm.name,
            control=f"At {many} images: {_said(sizes.accuracy(arm, many))}; without: "
            f"{_said(sizes.accuracy(sizes.standard, many))}.",
        )
        for arm in pure
    ]
    claims += [
        judge(
            "S3",
            "The more training images, the less adversarial training adds to standard accuracy.",
            f"gain at {few} images minus gain at {many}",
            sizes.change(arm),
            classifier=arm.name,
            source="ours",
        )
        for arm in pure
    ]
    for norm in dict.fromkeys(arm.threat.norm for arm in pure):
        rungs = [sizes.standard, *(arm for arm in pure if arm.threat.norm == norm)]
        claims.append(
            judge(
                "S4",
                f"Standard accuracy falls as the {norm} radius of training grows.",
                "slope of standard accuracy against the radius, from 0 to the largest, turned round",
                _slope(sizes, rungs, many),
                control="; ".join(
                    f"{arm.threat}: {sizes.accuracy(arm, many).value:.3f}" for arm in rungs
                )
                + ".",
            )
        )
    claims += [
        judge(
            "S5",
            "Adversarial training lowers standard accuracy also where half of each batch is natural.",
            "standard accuracy of standard training minus this one's",
            _negative(sizes.gain(arm, many)),
            classifier=arm.name,
            control=_beside(sizes, arm, pure, many),
        )
        for arm in mixed
    ]
    return claims


def _slope(sizes: SampleSizes, rungs: Sequence[Arm], size: int) -> Estimate:
    """Least-squares fall of accuracy from radius 0 to the largest, image by image and seed by seed."""
    radii = np.array([arm.threat.radius for arm in rungs])
    centred = (radii - radii.mean()) / ((radii - radii.mean()) ** 2).sum() * radii.max()
    right = np.stack([sizes.right(arm, size) for arm in rungs])
    return across_trainings(-np.tensordot(centred, right, axes=1))


def _beside(sizes: SampleSizes, arm: Arm, pure: Sequence[Arm], size: int) -> str:
    """What the same radius costs without natural images."""
    same = [other for other in pure if other.threat == arm.threat]
    if not same:
        return ""
    gap = across_trainings(sizes.right(arm, size) - sizes.right(same[0], size))
    return f"It is more accurate than with adversarial images alone by {_said(gap)}."


def _gradients(evidence: Evidence) -> list[Claim]:
    claims = []
    for rung in evidence.robust:
        sparse = _paired(evidence, evidence.gradients, rung, "sparsity")
        aligned = _paired(evidence, evidence.gradients, rung, "alignment")
        if aligned.n:
            noise = _paired(evidence, evidence.gradients, rung, "noise_alignment")
            claims.append(
                judge(
                    "G1",
                    "Input gradients of robust classifiers point more towards counterfactuals than those of the "
                    "standard one.",
                    "mean cosine of gradient and way to counterfactuals, minus the standard classifier's",
                    aligned,
                    classifier=rung,
                    control=f"The same with noise of the same length as direction: {_said(noise)}.",
                )
            )
        claims.append(
            judge(
                "G2",
                "Input gradients of robust classifiers are sparser.",
                "Gini index of the gradient, minus the standard classifier's",
                sparse,
                classifier=rung,
                source=LATER,
            )
        )
    return sorted(claims, key=lambda claim: claim.id)


def _paired(evidence: Evidence, probe: str, rung: str, column: str) -> Estimate:
    """A robust classifier's mean minus the standard one's, on the images that both have a value for."""
    mine, first = (evidence.column(probe, name, column) for name in (rung, evidence.standard))
    both = ~np.isnan(mine) & ~np.isnan(first)
    return difference(mine[both], first[both])


def _far(evidence: Evidence) -> list[Claim]:
    claims = []
    for judge_name, spec in evidence.far.items():
        for rung in evidence.robust:
            found = _paired(evidence, spec, rung, "agrees")
            noise = _paired(evidence, spec, rung, "noise_agrees")
            claims.append(
                judge(
                    "E1",
                    "Far adversarial examples of robust classifiers look more like the class they are taken for than "
                    f"those of the standard one (judge: {judge_name}).",
                    "share that the judge reads as that class, minus the standard classifier's",
                    found,
                    classifier=rung,
                    control=f"The judge reads the new class in {_mean(evidence, spec, rung)} of this classifier's "
                    f"examples and in {_mean(evidence, spec, evidence.standard)} of the standard one's. The same "
                    f"difference for noise of the same length: {_said(noise)}.",
                )
            )
    spec = next(iter(evidence.far.values()))
    for rung in evidence.robust:
        mine, first = (_leap(evidence, spec, name) for name in (rung, evidence.standard))
        both = ~np.isnan(mine) & ~np.isnan(first)
        claims.append(
            judge(
                "E2",
                "On the straight way to a far adversarial example a robust classifier changes its mind gradually.",
                "largest rise of confidence within a twentieth of the way: the standard classifier's minus this one's",
                difference(first[both], mine[both]),
                classifier=rung,
                source="ours",
            )
        )
    return claims


def _leap(evidence: Evidence, spec: str, name: str) -> NDArray:
    """For each image the largest rise of confidence between neighbouring points of the way; NaN where none changed."""
    columns = evidence.run.columns(spec, name)
    moved = columns["moved"].astype(bool)
    paths = np.array([list(path) for path in columns["own_path"]], dtype=float)
    return np.where(moved, np.diff(paths, axis=1).max(1), np.nan)


def _mean(evidence: Evidence, spec: str, name: str) -> str:
    values = evidence.column(spec, name, "agrees")
    return f"{np.nanmean(values):.1%}" if not np.isnan(values).all() else "none"


def _use(evidence: Evidence) -> list[Claim]:
    return [
        judge(
            "U1",
            "Robust classifiers look more at inputs that tell about the label by themselves.",
            "rank correlation of gradient and label correlation over inputs, minus the standard classifier's",
            _paired(evidence, evidence.use, rung, "rank_correlation"),
            classifier=rung,
            source="ours",
        )
        for rung in evidence.robust
    ]


def _features(features: LearntFeatures) -> list[Claim]:
    chance = 1 / features.classes
    return [
        judge(
            "D1",
            "What is learnt from robust features is more robust than what is learnt from non-robust ones.",
            f"robust accuracy at {features.threat}: learnt from robust features minus learnt from non-robust ones",
            difference(features.withstood("robust"), features.withstood("non-robust")),
            control=f"Robust: {_share(features.withstood('robust'))}; non-robust: "
            f"{_share(features.withstood('non-robust'))}; the images themselves: {_share(features.withstood('real'))}.",
            source=LATER,
        ),
        judge(
            "D1",
            "What is learnt from non-robust features still reads real images.",
            "standard accuracy",
            _alone(features.right("non-robust")),
            bound=chance,
            classifier="non-robust",
            source=LATER,
        ),
        *(
            judge(
                "D2",
                "What is learnt from non-robust features that contradict the image reads real images.",
                "standard accuracy, against chance",
                _alone(features.right(kind)),
                bound=chance,
                classifier=kind,
                source=LATER,
            )
            for kind in ("random", "deterministic")
        ),
    ]


def _alone(right: NDArray) -> Estimate:
    return estimate(Metric("share", right, "share"))


def _share(right: NDArray) -> str:
    return f"{right.mean():.1%}"


def _negative(found: Estimate) -> Estimate:
    return Estimate(-found.value, -found.high, -found.low, found.n, found.method)


def _said(found: Estimate) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
