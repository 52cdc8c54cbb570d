"""How far robust accuracy can be trusted: what an attack's own columns say against its verdict.

Attacks err on one side, and a classifier that hides its gradients makes them err by much. Each check counts images, of
those it could look at, that speak against the verdict, and warns above a share that honest classifiers stay below:

    gradients      withstood the gradient attacks, though gradients there do not say what small changes do
    queries        broken by BPDA or by queries without gradients, after every gradient attack had failed
    distance       withstood a search without a bound on the change, which reaches every image there is
    twice as long  of a random sample, withstood the attack and not one twice as long: the optimism left
    repeats        get another answer when the classifier is asked again
    clean          withstood the threat, though another look at the image itself gave a wrong answer
    transfer       of a random sample, withstood the attack and not images made to fool another classifier

Shares carry the interval of Clopper and Pearson; a check warns when the whole interval lies above what it tolerates. Of
a random classifier, all is lottery: `repeats` alone warns. What is tolerated is our choice.

References:
    Obfuscated gradients give a false sense of security (Athalye et al., 2018), https://arxiv.org/abs/1802.00420
    On evaluating adversarial robustness (Carlini et al., 2019), https://arxiv.org/abs/1902.06705
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.attacks.agreement import MISLEADING
from equipoise.audit.intervals import highest_share, lowest_share

__all__ = ["CHECKS", "Soundness", "examine"]

GRADIENT_FREE = ("Square", "BPDA", "Square 5000")
FEWEST = 2
"""Images below which no check that tolerates a share warns."""

RANDOM = "repeats"

Columns = Mapping[str, NDArray]


@dataclass(frozen=True)
class Soundness:
    """One check of one classifier under one threat.

    Attributes:
        name: of the check, a key of `CHECKS`.
        count: images that speak against the verdict.
        n: images that could.
        low: lower end of the 95 % interval of the share.
        high: its upper end.
        warns: whether the share is more than honest classifiers show.
        finding: in a sentence.
        remedy: what to do about it, where it warns.
    """

    classifier: str
    probe: str
    name: str
    count: int
    n: int
    low: float
    high: float
    warns: bool
    finding: str
    remedy: str


@dataclass(frozen=True)
class _Check:
    """How a check counts, and what it says.

    Arguments:
        look: images that speak against the verdict and images that could, from the columns of the adversarial, the
            standard and the transfer probe; None where the columns that it needs are missing.
        tolerated: it warns when the share is surely above.
        says: the finding, from both counts and the columns.
    """

    look: Callable[[Columns, Columns, Columns], tuple[NDArray, NDArray] | None]
    tolerated: float
    says: Callable[[int, int, Columns], str]
    remedy: str


def _robust(columns: Columns) -> NDArray:
    return ~columns["success"].astype(bool)


def _gradients(columns: Columns, _s: Columns, _t: Columns) -> tuple[NDArray, NDArray]:
    asked = np.isfinite(columns["agreement"])
    return asked & (columns["agreement"] < MISLEADING), asked


def _queries(columns: Columns, _s: Columns, _t: Columns) -> tuple[NDArray, NDArray]:
    broken = np.isin(columns["broken_by"].astype(str), GRADIENT_FREE)
    return broken, broken | _robust(columns)


def _distance(columns: Columns, _s: Columns, _t: Columns) -> tuple[NDArray, NDArray]:
    return np.isinf(columns["radius"]), np.ones(len(columns["radius"]), bool)


def _doubled(columns: Columns, _s: Columns, _t: Columns) -> tuple[NDArray, NDArray]:
    examined = np.array([answer is not None for answer in columns["doubled"]])
    broken = np.array([bool(answer) for answer in columns["doubled"]])
    return broken & _robust(columns), examined


def _repeats(columns: Columns, _s: Columns, _t: Columns) -> tuple[NDArray, NDArray]:
    steady = columns["steady"].astype(bool)
    return ~steady, np.ones(len(steady), bool)


def _beside(columns: Columns, other: Columns, name: str, missing: object) -> NDArray:
    """What another probe's column says of the same images; `missing` where it was not asked."""
    if np.array_equal(columns["id"], other["id"]):
        return other[name]
    found = dict(zip(other["id"].tolist(), other[name].tolist(), strict=True))
    return np.array([found.get(key, missing) for key in columns["id"].tolist()], dtype=object)


def _clean(columns: Columns, standard: Columns, _t: Columns) -> tuple[NDArray, NDArray] | None:
    if not standard:
        return None
    # An unfinished run may not have asked about every image yet.
    wrong = ~_beside(columns, standard, "correct", True).astype(bool)
    return wrong & _robust(columns), _robust(columns)


def _transfer(columns: Columns, _s: Columns, transfer: Columns) -> tuple[NDArray, NDArray] | None:
    if not transfer:
        return None
    found = _beside(columns, transfer, "fooled_by", None).tolist()
    examined = np.array([name is not None for name in found]) & _robust(columns)
    return examined & np.array([bool(name) for name in found]), examined


def _both_numbers(count: int, n: int, columns: Columns) -> str:
    robust = _robust(columns).mean()
    return (
        f"robust accuracy is {robust + count / len(columns['success']):.1%} by gradients alone and {robust:.1%} with "
        f"BPDA and queries without gradients, which broke {count} of the {n} images that were left"
    )


def _fresh_answers(count: int, n: int, columns: Columns) -> str:
    robust = _robust(columns).mean()
    if not count:
        return f"all {n} images get the same answer again"
    return (
        f"{count} of {n} images get other logits the second time; robust accuracy is {robust:.1%} when each "
        f"adversarial image is judged once and {1 - columns['confirmed'].mean():.1%} over fresh answers"
    )


CHECKS: dict[str, _Check] = {
    "gradients": _Check(
        _gradients,
        0.03,
        lambda count, n, _: (
            f"on {count} of the {n} images that gradient attacks left, the gradient does not say what small changes do"
        ),
        "Something inside is flat, jagged or random. BPDA and 5000 queries were tried there; an attack made for this "
        "classifier may still find more.",
    ),
    "queries": _Check(
        _queries,
        0.02,
        _both_numbers,
        "Gradients are hidden. Look for rounding, thresholds or saturated outputs, and attack with their smooth "
        "counterparts.",
    ),
    "distance": _Check(
        _distance,
        0.01,
        lambda count, n, _: (
            f"{count} of {n} images withstood a search that may change them beyond recognition"
        ),
        "Nearly every classifier can be fooled by some image. Does it answer one class only, or does the search fail?",
    ),
    "twice as long": _Check(
        _doubled,
        0.005,
        lambda count, n, _: (
            f"of {n} images in a random sample, {count} withstood the attack and not one twice as long"
        ),
        "Read robust accuracy as that much too high, or more.",
    ),
    "repeats": _Check(
        _repeats,
        0.0,
        _fresh_answers,
        "An attack stops at one lucky answer and learns little about the average: both numbers mislead. Average over "
        "the noise inside the classifier, and audit that.",
    ),
    "clean": _Check(
        _clean,
        0.0,
        lambda count, n, _: (
            f"{count} of {n} images count as robust and are misclassified as they are"
        ),
        "Look for randomness or dependence on the batch inside the classifier.",
    ),
    "transfer": _Check(
        _transfer,
        0.02,
        lambda count, n, _: (
            f"of {n} sampled images that withstood the attack, {count} fall to images made to fool another classifier"
        ),
        "Gradients are hidden: another classifier's say more about this one than its own.",
    ),
}
"""The checks by name, in the order in which they are shown."""


def examine(
    classifier: str, probe: str, columns: Columns, *, standard: Columns, transfer: Columns
) -> tuple[Soundness, ...]:
    """All checks that the columns allow.

    Arguments:
        classifier: its name.
        probe: spec of the adversarial probe.
        columns: of that probe.
        standard: of the standard probe on the same images, empty where there is none.
        transfer: of the transfer probe under the same threat, likewise.
    """
    found = []
    random = not columns["steady"].all()
    for name, check in CHECKS.items():
        looked = check.look(columns, standard, transfer)
        if looked is None:
            continue
        against, possible = (int(part.sum()) for part in looked)
        low = lowest_share(against, possible, 0.025) if possible else 0.0
        enough = against >= (FEWEST if check.tolerated else 1)
        warns = enough and low > check.tolerated and random <= (name == RANDOM)
        found.append(
            Soundness(
                classifier=classifier,
                probe=probe,
                name=name,
                count=against,
                n=possible,
                low=low,
                high=highest_share(against, possible, 0.025) if possible else 1.0,
                warns=warns,
                finding=check.says(against, possible, columns),
                remedy=check.remedy if warns else "",
            )
        )
    return tuple(found)
