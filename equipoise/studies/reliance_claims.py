"""Claims of arXiv 2209.07592: in its model, and of classifiers of digits on photographs.

Symbols are those of `correlations`. A gap is standard accuracy on mixed-same less that on mixed-rand; a drop is
standard accuracy at the correlation of training less that where the correlation is gone or reversed.

    C1  in the model, training against l1 and l2 raises reliance on spurious features
    C2  training against l_inf does so only where spurious features have the larger scale
    C3  so error grows where the correlation breaks
    C4  a correlation that is kept lowers the error under attack
    B1  adversarially trained classifiers lean on backgrounds more: their gap is larger
    B2  noise on the object harms them less, and noise on the background more: their sensitivity is lower
    B3  less of their input gradient is on the object (ours)
    D1  they lose more accuracy where the correlation is gone
    D2  and where it is reversed
    V1  the higher the correlation of training, if kept, the higher their robust accuracy
    V2  and that is lost with the correlation (ours)

The paper's claim about benchmarks is of ImageNet's classifiers; here the benchmark is embedded, and the measures are
those of the benchmarks.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from equipoise.audit import Claim, Estimate, judge
from equipoise.audit.statistics import across_trainings
from equipoise.probes import relative_sensitivity
from equipoise.studies.correlations import Correlations
from equipoise.studies.sample_sizes import Arm
from equipoise.studies.words import said
from equipoise.theory import NORMS, PairedDesign

__all__ = ["drop", "gap", "known", "sensitivity", "weigh_reliance"]

RESAMPLES = 1000
ROUNDING = 1e-9


def weigh_reliance(design: PairedDesign, found: Correlations) -> list[Claim]:
    """All claims, in the order of the list above."""
    return [*_model(design), *_backgrounds(found), *_drops(found), *_preserved(found)]


def gap(found: Correlations, rho: float, arm: Arm) -> NDArray:
    """Digit by digit, right on mixed-same less right on mixed-rand, with shape (seeds, digits)."""
    return found.right(rho, arm, "mixed-same") - found.right(rho, arm, "mixed-rand")


def drop(found: Correlations, rho: float, arm: Arm, part: str) -> NDArray:
    """Digit by digit, right at the correlation of training less right on `part`."""
    return found.right(rho, arm, "own") - found.right(rho, arm, part)


def sensitivity(shares: NDArray, labels: NDArray, seed: int = 0) -> Estimate:
    """The relative sensitivity to the object, averaged over trainings; of one set of trainings less that of another
    where `shares` has two.

    Student's half-width over trainings and the bootstrap's over digits within classes are added like the sides of a
    right angle, as in `equipoise.audit.statistics.across_trainings`; where neither varies there is no interval.

    Arguments:
        shares: of right answers with noise on the object and on the background, with shape (sets, seeds, digits, 2).
        labels: of the digits.
        seed: of the resamples.
    """
    signs = np.array([1.0, -1.0])[: len(shares)]

    def of(weights: NDArray) -> NDArray:
        """For weights of the digits with shape (R, digits), the statistic of each training with shape (R, seeds)."""
        means = np.einsum("rd,csdk->rcsk", weights, shares)
        return np.einsum("c,rcs->rs", signs, relative_sensitivity(means[..., 0], means[..., 1]))

    _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    each = of((1 / (len(sizes) * sizes[place]))[None])[0]
    rng = np.random.default_rng(seed)
    drawn = np.zeros((RESAMPLES, len(labels)))
    for label, size in enumerate(sizes):
        some = max(1, size - 1)  # as in equipoise.audit.resampling
        counts = rng.multinomial(some, np.full(size, 1 / size), RESAMPLES)
        drawn[:, place == label] = counts / some / len(sizes)
    over_digits = 1.96 * float(of(drawn).mean(1).std(ddof=1))
    trainings = len(each)
    over_trainings = float(stdtrit(trainings - 1, 0.975) * each.std(ddof=1) / math.sqrt(trainings))
    value, half = float(each.mean()), math.hypot(over_digits, over_trainings)
    if half < ROUNDING:
        return Estimate(value, math.nan, math.nan, len(labels), "none")
    most = float(len(shares))
    method = "Student over trainings, bootstrap over images"
    return Estimate(value, max(value - half, -most), min(value + half, most), len(labels), method)


def _exact(value: float) -> Estimate:
    """A number that no sample stands behind."""
    return Estimate(value, value, value, 0, "exact")


def _model(design: PairedDesign) -> Iterator[Claim]:
    small, large, at = min(design.scales), max(design.scales), f"ε = {design.eps:g}"
    standard = design.train(None, small)
    narrow, wide = ({p: design.train(p, scale) for p in NORMS} for scale in (small, large))
    names = {p: "l∞" if p == math.inf else f"l{p}" for p in NORMS}
    for p in NORMS[:2]:
        yield judge(
            "C1",
            "Adversarial training raises reliance on spurious features, where standard training has none.",
            f"share of the weights on spurious features at {at} and scale {small:g}",
            _exact(narrow[p].reliance.share),
            classifier=names[p],
            bound=1e-9,
            source="measure",
            control=f"At scale {large:g} it is {wide[p].reliance.share:.4f}.",
        )
    yield judge(
        "C2",
        f"Against l∞ reliance begins above scale 1 / |ρ| = {design.onset:.4g}: at {large:g} there is some.",
        f"share of the weights on spurious features at {at}",
        _exact(wide[math.inf].reliance.share),
        bound=1e-9,
        source="measure",
    )
    yield judge(
        "C2",
        f"At scale {small:g} there is none.",
        f"minus the share of the weights on spurious features at {at}",
        _exact(-narrow[math.inf].reliance.share),
        bound=-1e-9,
        source="measure",
    )
    for p in NORMS:
        found = wide[p]
        yield judge(
            "C3",
            "The squared error of adversarial training grows where the correlation is reversed; that of standard "
            "training does not.",
            f"error at correlation {-design.rho:g} less error at {design.rho:g}, {at}, scale {large:g}",
            _exact(found.errors[2] - found.errors[0]),
            classifier=names[p],
            bound=1e-9,
            source="measure",
            control=f"Standard training: {standard.errors[2] - standard.errors[0]:.4f}.",
        )
    for p in NORMS:
        yield judge(
            "C4",
            "A correlation that is kept lowers the error under attack.",
            f"least error under attack of core features alone less that of all, {at}, scale {large:g}",
            _exact(wide[p].alone - wide[p].risk),
            classifier=names[p],
            bound=1e-9,
            source="measure",
        )


def _backgrounds(found: Correlations) -> Iterator[Claim]:
    top, first, standard = found.rhos[-1], found.rhos[0], found.standard
    labels = found.labels(top)
    for arm in found.arms:
        more = across_trainings(gap(found, top, arm) - gap(found, top, standard))
        calm = across_trainings(gap(found, first, arm) - gap(found, first, standard))
        yield judge(
            "B1",
            "Adversarially trained classifiers lean on backgrounds more than standard ones.",
            f"background gap less that of standard training, trained at correlation {top:g}",
            more,
            classifier=arm.name,
            source="measure",
            control=f"Gaps: {said(across_trainings(gap(found, top, arm)))}, standard training "
            f"{said(across_trainings(gap(found, top, standard)))}. Trained at {first:g} they differ by {said(calm)}. "
            f"{_loss(found, top, arm)}",
        )
    for arm in found.arms:
        pair = np.stack([found.noisy(top, standard), found.noisy(top, arm)])
        yield judge(
            "B2",
            "Adversarially trained classifiers are less sensitive to noise on the object, relative to noise on the "
            "background.",
            f"relative sensitivity of standard training less this one's, trained at correlation {top:g}",
            sensitivity(pair, labels),
            classifier=arm.name,
            source="measure",
            control=f"Sensitivities: {said(sensitivity(pair[1:], labels))}, standard training "
            f"{said(sensitivity(pair[:1], labels))}.",
        )
    for arm in found.arms:
        mine, theirs = known(found.inside(top, arm), found.inside(top, standard))
        yield judge(
            "B3",
            "Less of the input gradient of adversarially trained classifiers is on the object.",
            f"share on the object of standard training less this one's, trained at correlation {top:g}",
            across_trainings(theirs - mine),
            classifier=arm.name,
            control=f"Shares: {said(across_trainings(mine))}, standard training {said(across_trainings(theirs))}.",
            source="ours",
        )


def _drops(found: Correlations) -> Iterator[Claim]:
    standard = found.standard
    for name, part, words in (("D1", "gone", "is gone"), ("D2", "reversed", "is reversed")):
        for rho in reversed(found.rhos[1:]):
            for arm in found.arms:
                mine, theirs = (drop(found, rho, one, part) for one in (arm, standard))
                yield judge(
                    name,
                    f"Adversarially trained classifiers lose more accuracy where a correlation of {rho:g} {words}.",
                    "drop in standard accuracy less that of standard training",
                    across_trainings(mine - theirs),
                    classifier=arm.name,
                    source="measure",
                    control=f"Drops: {said(across_trainings(mine))}, standard training "
                    f"{said(across_trainings(theirs))}.",
                )


def _preserved(found: Correlations) -> Iterator[Claim]:
    top, first = found.rhos[-1], found.rhos[0]
    for arm in (found.standard, *found.arms):
        for norm, threat in found.threats.items():
            if arm is not found.standard and str(arm.threat.norm) != norm:
                continue
            high, low = found.robust(top, arm, "own", norm), found.robust(first, arm, "own", norm)
            gone = found.robust(top, arm, "gone", norm)
            name = f"{arm.name} at {threat}"
            yield judge(
                "V1",
                f"A correlation of {top:g} that is kept raises robust accuracy above that at {first:g}.",
                f"robust accuracy trained and tested at {top:g} less that at {first:g}",
                across_trainings(high - low),
                classifier=name,
                source="measure",
                control=f"Robust accuracies: {said(across_trainings(high))} and {said(across_trainings(low))}. "
                f"{_loss(found, top, arm)}",
            )
            yield judge(
                "V2",
                f"Where the correlation of {top:g} is gone, robust accuracy falls below that of training without it.",
                f"robust accuracy trained at {first:g} less that trained at {top:g}, both tested at {first:g}",
                across_trainings(low - gone),
                classifier=name,
                source="ours",
            )


def known(*arrays: NDArray) -> list[NDArray]:
    """The digits that have a number in all trainings: a gradient of 0 is nowhere."""
    kept = ~np.any([np.isnan(array).any(0) for array in arrays], axis=0)
    return [array[:, kept] for array in arrays]


def _loss(found: Correlations, rho: float, arm: Arm) -> str:
    return f"Loss in the last epoch: {found.loss(rho, arm):.2f}."
