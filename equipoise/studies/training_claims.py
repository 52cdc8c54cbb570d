"""Claims of arXiv 1805.12152 about training: in its model, at several sizes, and of a linear rule.

Notation. An arm is an objective and a radius of training; gain is its standard accuracy minus that of standard training
on as many images, seed by seed on the same test images.

    T1  no rule is more robust at 2 eta than its standard accuracy allows (theorem 2.1)
    T2  in the model standard training is accurate and not robust, adversarial training is robust (theorem 2.2)
    S1  with few training images adversarial training raises standard accuracy
    S2  with many it lowers it
    S3  the more images, the less there is to gain (ours, as one number for what S1 and S2 say)
    S4  standard accuracy falls with every step of the radius of training
    S5  it falls also where natural images are mixed in
    L1  training against an adversary takes weight from inputs that tell little about the label, and gives robustness
    L2  on the inputs that tell most, standard training is robust by itself
    L3  more inputs raise standard accuracy and lower robust accuracy
"""

from collections.abc import Sequence
from itertools import pairwise

from equipoise.audit import Claim, Estimate, judge
from equipoise.audit.association import difference
from equipoise.audit.statistics import across_trainings
from equipoise.studies.model import ModelRules
from equipoise.studies.sample_sizes import Arm, SampleSizes
from equipoise.studies.two_classes import TwoClasses
from equipoise.studies.words import said
from equipoise.theory import LinearRule

__all__ = ["weigh_training"]


def weigh_training(model: ModelRules, sizes: SampleSizes, linear: TwoClasses) -> list[Claim]:
    """All claims, in the order of the list above."""
    return [*_theory(model), *_sizes(sizes), *_linear(linear)]


def _theory(model: ModelRules) -> list[Claim]:
    standard, robust = model.machines
    first, second = model.fitted
    return [
        judge(
            "T1",
            "In the model no rule that was trained or fitted is more robust at twice the mean than theorem 2.1 allows.",
            "what the theorem allows minus robust accuracy, the least over rules",
            _exact(model.slack()),
            bound=-1e-9,
        ),
        judge(
            "T2",
            "In the model the standard support vector machine is more than 99% accurate.",
            "standard accuracy",
            _exact(standard.standard),
            bound=0.99,
            control=f"A logistic rule fitted to {model.samples:,} samples: {first.standard:.5f}.",
        ),
        judge(
            "T2",
            "It is less than 1% robust at twice the mean.",
            "1 minus robust accuracy",
            _exact(1 - standard.robust),
            bound=0.99,
            control=f"The logistic rule: {1 - first.robust:.5f}.",
        ),
        judge(
            "T2",
            "Trained adversarially at that radius it finds the robust feature, whose robust accuracy is p.",
            "robust accuracy",
            _exact(robust.robust),
            bound=model.p - 1e-9,
            control=f"Its standard accuracy is {robust.standard:.4f}, p is {model.p:g}. The logistic rule trained so: "
            f"standard {second.standard:.4f}, robust {second.robust:.4f}.",
        ),
    ]


def _exact(value: float) -> Estimate:
    """A number that no sample stands behind."""
    return Estimate(value, value, value, 0, "exact")


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
            control=_both(sizes, arm, few),
        )
        for arm in pure
    ]
    claims += [
        judge(
            "S2",
            f"With many training images ({many:,}) adversarial training lowers standard accuracy.",
            f"standard accuracy of standard training minus this one's, after {sizes.steps:,} steps",
            _negative(sizes.gain(arm, many)),
            classifier=arm.name,
            control=_both(sizes, arm, many),
        )
        for arm in pure
    ]
    claims += [
        judge(
            "S3",
            "The more training images, the less adversarial training adds to standard accuracy.",
            f"gain at {few} images minus gain at {many:,}",
            sizes.change(arm),
            classifier=arm.name,
            source="ours",
        )
        for arm in pure
    ]
    for norm in dict.fromkeys(arm.threat.norm for arm in pure):
        rungs = [sizes.standard, *(arm for arm in pure if arm.threat.norm == norm)]
        claims += [
            judge(
                "S4",
                "Standard accuracy falls with every step of the radius of training.",
                f"standard accuracy of the radius before minus this one's, on {many:,} images",
                across_trainings(sizes.right(before, many) - sizes.right(after, many)),
                classifier=after.name,
            )
            for before, after in pairwise(rungs)
        ]
    claims += [
        judge(
            "S5",
            "Adversarial training lowers standard accuracy also where natural images are mixed in.",
            f"standard accuracy of standard training minus this one's, on {many:,} images",
            _negative(sizes.gain(arm, many)),
            classifier=arm.name,
            control=_beside(sizes, arm, pure, many),
        )
        for arm in mixed
    ]
    return claims


def _both(sizes: SampleSizes, arm: Arm, size: int) -> str:
    """The two accuracies, and how far either training got."""
    first = sizes.standard
    return (
        f"At {size:,} images: {said(sizes.accuracy(arm, size))}, standard training "
        f"{said(sizes.accuracy(first, size))}. Loss in the last epoch: {sizes.loss(arm, size):.2f} and "
        f"{sizes.loss(first, size):.2f}."
    )


def _beside(sizes: SampleSizes, arm: Arm, pure: Sequence[Arm], size: int) -> str:
    """What the same radius costs without natural images."""
    same = [other for other in pure if other.threat == arm.threat]
    if not same:
        return ""
    gap = across_trainings(sizes.right(arm, size) - sizes.right(same[0], size))
    return f"It is more accurate than with adversarial images alone by {said(gap)}."


def _negative(found: Estimate) -> Estimate:
    return Estimate(-found.value, -found.high, -found.low, found.n, found.method)


def _linear(linear: TwoClasses) -> list[Claim]:
    few, every, eps = linear.top[0], linear.top[-1], linear.radius
    kept = linear.kept[0]

    def gap(a: LinearRule, b: LinearRule, radius: float = 0.0) -> Estimate:
        return difference(linear.right(a, radius), linear.right(b, radius))

    return [
        judge(
            "L1",
            "Adversarial training takes weight from inputs that tell little about the label.",
            "share of the weight on inputs below the median correlation: standard minus adversarial training",
            linear.moved(),
            source="measure",
        ),
        judge(
            "L1",
            "It gives exact robustness.",
            f"robust accuracy at {eps:g}: adversarial minus standard training",
            gap(linear.robust, linear.standard, eps),
            control=f"It costs {said(gap(linear.standard, linear.robust))} of standard accuracy.",
        ),
        judge(
            "L2",
            f"On the {kept} best-correlated inputs alone standard training is more robust than on all.",
            f"robust accuracy at {eps:g} on the best inputs minus that on all",
            gap(few, every, eps),
        ),
        judge(
            "L3",
            f"All inputs give a higher standard accuracy than the {kept} best.",
            "standard accuracy on all inputs minus that on the best",
            gap(every, few),
        ),
    ]
