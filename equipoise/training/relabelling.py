"""Images changed so little that a person sees the same, labelled with what a classifier takes them for: only its small
features say that label.

Notation. x are the images, y their labels of K classes.

    x' = argmax within the threat around x of log p(t | x') - log(1 - p(t | x'));   labelled t

With a standard classifier and t random these are Ilyas et al.'s D_rand, with t = y + 1 mod K their D_det. The search
takes steps along the gradient divided by its norm.

Choices of ours: t is never y, so that without small features nothing but "not y" can be learned of it; steps are
2.5 / steps of the radius; the search begins at x; pixels are 8-bit, in the set as before.

References:
    Adversarial examples are not bugs, they are features (Ilyas et al., 2019), https://arxiv.org/abs/1905.02175
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from equipoise.attacks.losses import log_odds
from equipoise.classifiers import Classifier, preflight
from equipoise.devices import choose_device
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.images import Images, eight_bit
from equipoise.norms import L2, Threat
from equipoise.training.feature_folder import Made, write_features
from equipoise.training.feature_search import check_settings, random_below, search_gradient

__all__ = ["relabel"]

THREAT = L2(0.5)
"""When none is given: that of public scripts for CIFAR-10."""


def relabel(
    images: Images,
    classifier: Classifier,
    out: str | Path,
    *,
    threat: Threat = THREAT,
    targets: Literal["random", "next"] = "random",
    steps: int = 100,
    step: float | None = None,
    seed: int = 0,
    batch: int = 256,
    device: str = "auto",
) -> Images:
    """Changes every image so little that a person sees the same, towards what `classifier` takes for another class,
    whose label it then gets, into the folder `out`, or goes on where it stopped.

    All images are kept, also those that the classifier still reads as something else.

    Arguments:
        images: what is changed.
        classifier: whose features are put in.
        out: the set's folder.
        threat: which changes are allowed. Radius 0 changes nothing but the labels: a control.
        targets: "random", any class but the image's own; or "next", y + 1 modulo K.
        steps: of projected gradient ascent, from the image.
        step: length of a step as a share of the radius; 2.5 / steps when None.
        seed: of the random targets.
        batch: images in a network call; changes speed and memory, no result.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        the set, which ``parquet:OUT`` opens as the split "train". Its columns `before` and `after` are the log-odds
        against t.

    Raises:
        EquipoiseError: for settings out of range, images that are for tests alone, a classifier of other classes, one
            that fails the preflight or has no gradient, a folder that holds something else.
    """
    images.refuse_fitting("make a training set of")
    check_settings("relabel", classifier, steps=steps, step=step, batch=batch)
    if not isinstance(threat, Threat):
        raise EquipoiseError(
            f"Cannot relabel within {threat!r}: give a threat, such as equipoise.L2(0.5)."
        )
    if targets not in ("random", "next"):
        raise EquipoiseError(
            f"Cannot relabel towards {targets!r} targets. {did_you_mean(targets, ('random', 'next'))}"
        )
    where, shape, classes = choose_device(device), images.shape, len(images.classes)
    if classes < 2:
        raise EquipoiseError(f"Cannot relabel images of {classes} class: there is no other one.")
    _refuse_misfit(classifier.to(where), images, where)
    share = 2.5 / steps if step is None else step

    def make(rows: range) -> Made:
        wanted = images.batch(rows, shape=shape)
        source, labels = eight_bit(wanted.images).to(where), wanted.labels
        ahead = torch.zeros_like(labels)
        if targets == "random":
            ahead += torch.tensor(
                [random_below(classes - 1, seed, id, "target") for id in wanted.ids]
            )
        aim = ((labels + 1 + ahead) % classes).to(where)

        def odds(logits: Tensor) -> Tensor:
            return log_odds(logits.float(), aim)

        found = source
        for _ in range(steps if threat.radius else 0):
            slope = search_gradient(classifier, classifier.logits, found, odds)
            moved = threat.ascend(found, -slope, share * threat.radius)
            found = threat.nearest(source, moved - source)
        found = _stored(source, found, threat)
        with torch.no_grad():
            logits = classifier.logits(found)
            return Made(
                images=found,
                labels=aim,
                ids=wanted.ids,
                sources=source,
                source_ids=wanted.ids,
                source_labels=labels,
                before=odds(classifier.logits(source)),
                after=odds(logits),
                predictions=logits.argmax(1),
            )

    settings = {
        "threat": str(threat),
        "targets": targets,
        "steps": steps,
        "step": share,
        "seed": seed,
    }
    return write_features(
        images, classifier, out, method="relabel", settings=settings, make=make, batch=batch
    )


def _refuse_misfit(classifier: Classifier, images: Images, where: torch.device) -> None:
    """Refuses a classifier for other images or classes, or one whose answers are no logits."""
    sample = images.subset(64)
    batch = sample.batch(range(len(sample)))
    checks = preflight(classifier, batch.images.to(where), batch.labels.to(where), images.classes)
    for check in checks:
        if check.status == "fail":
            raise EquipoiseError(
                f"Cannot relabel with the classifier {classifier.name!r}: {check.finding}. {check.remedy}"
            )


def _stored(source: Tensor, found: Tensor, threat: Threat) -> Tensor:
    """The 8-bit image of `found`, its change from the 8-bit `source` shortened until it is inside the threat."""
    change, levels = found - source, (source * 255).round()
    low, stored = torch.zeros(len(source), device=source.device), levels
    share = high = torch.ones_like(low)
    for _ in range(8):
        tried = ((source + share.view(-1, 1, 1, 1) * change) * 255).round()
        inside = threat.norm((tried - levels) / 255) <= threat.radius * (1 + 1e-6)
        stored = torch.where(inside.view(-1, 1, 1, 1), tried, stored)
        low, high = torch.where(inside, share, low), torch.where(inside, high, share)
        share = (low + high) / 2
    return stored / 255
