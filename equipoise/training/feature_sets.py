"""Feature sets: images that hold the features of one classifier, to train another on.

Is what a classifier relies on in its images real, and does it withstand small changes? Ilyas et al. answer by making
training sets in which only some features say the label, training new classifiers on them, and judging those on real
test images.

Notation. x are the images, y their labels of K classes, g(x) the input of a classifier's last linear layer.

    match_features   x_r = argmin over [0, 1] of ||g(x_r) - g(x)||_2, from another image x0;   labelled y
                     D_R with an adversarially trained classifier, D_NR with a standard one
    relabel          x' = argmax within the threat around x of log p(t | x') - log(1 - p(t | x'));   labelled t
                     D_rand with t random, D_det with t = y + 1 mod K, both with a standard classifier

Both searches take steps along the gradient divided by its norm. Give images of a training split: whoever is trained on
the set is to be judged on images that it has not met.

Choices of ours: t is never y, so that without small features nothing but "not y" can be learned of it; steps of the
first kind shrink linearly to 0 and are counted in distances ||x - x0||_2, those of the second are 2.5 / steps of the
radius; a search of the second kind begins at x; pixels are 8-bit, in the set as before.

References:
    Adversarial examples are not bugs, they are features (Ilyas et al., 2019), https://arxiv.org/abs/1905.02175
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from equipoise.attacks.losses import log_odds
from equipoise.classifiers import Classifier, Penultimate, preflight
from equipoise.devices import choose_device
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.images import Images
from equipoise.norms import L2, Threat
from equipoise.streams import stream
from equipoise.training.feature_folder import Made, write_set

__all__ = ["match_features", "relabel"]

THREAT = L2(0.5)
"""Of `relabel`, when none is given: that of public scripts for CIFAR-10."""

Objective = Callable[[Tensor], Tensor]
"""From images (B, C, H, W) to what a search lowers, (B,)."""


def match_features(
    images: Images,
    classifier: Classifier,
    out: str | Path,
    *,
    steps: int = 100,
    step: float | None = None,
    seed: int = 0,
    batch: int = 256,
    device: str = "auto",
) -> Images:
    """Makes of every image one that `classifier` represents alike, begun at another image, into the folder `out`, or
    goes on where it stopped.

    Arguments:
        images: whose labels and representations the set gets.
        classifier: gives g; a robust one makes D_R, a standard one D_NR.
        out: the set's folder.
        steps: gradient steps.
        step: length of the first step as a share of ||x - x0||_2; 8 / steps when None. Lengths fall linearly to 0.
        seed: of the choice of x0, another image for each.
        batch: images in a network call; changes speed and memory, no result.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        the set, which ``parquet:OUT`` opens as the split "train". Its column `before` is ||g(x0) - g(x)||_2, `after`
        ||g(x_r) - g(x)||_2.

    Raises:
        EquipoiseError: for settings out of range, a single image, a classifier whose logits no `nn.Linear` gives, that
            has no gradient or does not take the images, a folder that holds something else.
    """
    _check("match features", classifier, steps=steps, step=step, batch=batch)
    if len(images) < 2:
        raise EquipoiseError(
            f"Cannot match features of {len(images)} image: another one is where its search begins. Give more images."
        )
    where, shape = choose_device(device), images.shape
    represent = Penultimate.of(classifier.to(where), shape)
    share = 8 / steps if step is None else step

    def make(rows: range) -> Made:
        wanted = images.batch(rows, shape=shape)
        begun = images.batch(_others(rows, wanted.ids, len(images), seed), shape=shape)
        x, source = _rounded(wanted.images).to(where), _rounded(begun.images).to(where)
        with torch.no_grad():
            goal = represent(x)
        length = share * L2(0).distance(x, source)

        def objective(pixels: Tensor) -> Tensor:
            return torch.linalg.vector_norm(represent(pixels) - goal, dim=1)

        found = source
        for k in range(steps):
            slope = _gradient(objective, found, classifier)
            found = L2(0).ascend(found, -slope, length * (1 - k / steps)).clamp_(0, 1)
        found = _rounded(found)
        with torch.no_grad():
            return Made(
                images=found,
                labels=wanted.labels,
                ids=wanted.ids,
                sources=source,
                source_ids=begun.ids,
                source_labels=begun.labels,
                before=objective(source),
                after=objective(found),
                predictions=classifier.logits(found).argmax(1),
            )

    settings = {"steps": steps, "step": share, "seed": seed}
    return write_set(
        images,
        classifier,
        Path(out).expanduser(),
        kind="match_features",
        settings=settings,
        make=make,
        batch=batch,
    )


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
        EquipoiseError: for settings out of range, a classifier of other classes, one that fails the preflight or has
            no gradient, a folder that holds something else.
    """
    _check("relabel", classifier, steps=steps, step=step, batch=batch)
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
        source, labels = _rounded(wanted.images).to(where), wanted.labels
        ahead = torch.zeros_like(labels)
        if targets == "random":
            ahead += torch.tensor([_below(classes - 1, seed, id, "target") for id in wanted.ids])
        aim = ((labels + 1 + ahead) % classes).to(where)

        def objective(pixels: Tensor) -> Tensor:
            return log_odds(classifier.logits(pixels).float(), aim)

        found = source
        for _ in range(steps if threat.radius else 0):
            slope = _gradient(objective, found, classifier)
            moved = threat.ascend(found, -slope, share * threat.radius)
            found = threat.nearest(source, moved - source)
        found = _stored(source, found, threat)
        with torch.no_grad():
            return Made(
                images=found,
                labels=aim,
                ids=wanted.ids,
                sources=source,
                source_ids=wanted.ids,
                source_labels=labels,
                before=objective(source),
                after=objective(found),
                predictions=classifier.logits(found).argmax(1),
            )

    settings = {
        "threat": str(threat),
        "targets": targets,
        "steps": steps,
        "step": share,
        "seed": seed,
    }
    return write_set(
        images,
        classifier,
        Path(out).expanduser(),
        kind="relabel",
        settings=settings,
        make=make,
        batch=batch,
    )


def _check(
    operation: str, classifier: Classifier, *, steps: int, step: float | None, batch: int
) -> None:
    if not isinstance(classifier, Classifier):
        raise EquipoiseError(
            f"Cannot {operation} with a {type(classifier).__name__}: pass it through equipoise.wrap(net, mean=, std=) "
            "first."
        )
    for name, value, fine in (
        ("steps", steps, steps >= 1),
        ("step", step, step is None or 0 < step < torch.inf),
        ("batch", batch, batch >= 1),
    ):
        if not fine:
            raise EquipoiseError(f"Cannot {operation} with {name}={value}: it is out of range.")


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


def _below(count: int, *name: object) -> int:
    """A random number in 0..count - 1 from the stream called `name`."""
    return int(torch.randint(count, (), generator=stream(*name)))


def _others(rows: range, ids: Sequence[str], count: int, seed: int) -> list[int]:
    """For each image of `rows` a random other one of all `count`."""
    return [
        (row + 1 + _below(count - 1, seed, id, "start")) % count
        for row, id in zip(rows, ids, strict=True)
    ]


def _gradient(objective: Objective, images: Tensor, classifier: Classifier) -> Tensor:
    """Of each image's own value, with shape (B, C, H, W)."""
    with torch.enable_grad():
        pixels = images.detach().requires_grad_(True)
        values = objective(pixels)
        if not values.requires_grad:
            raise EquipoiseError(
                f"Cannot search with the classifier {classifier.name!r}: no gradient leads back to its images. Remove "
                "no_grad, detach and NumPy from its forward pass."
            )
        (gradient,) = torch.autograd.grad(values.sum(), pixels)
    return gradient


def _rounded(images: Tensor) -> Tensor:
    """Images as 8 bits a channel keep them."""
    return (images * 255).round() / 255


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
