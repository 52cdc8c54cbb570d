"""Images that one classifier represents like others: its features, and no others, say their label.

Notation. x are the images, y their labels, g(x) the input of a classifier's last linear layer.

    x_r = argmin over [0, 1] of ||g(x_r) - g(x)||_2, from another image x0;   labelled y

The images x_r of an adversarially trained classifier are Ilyas et al.'s D_R, those of a standard one their D_NR. The
search takes steps along the gradient divided by its norm.

Choices of ours: steps shrink linearly to 0 and are counted in distances ||x - x0||_2; pixels are 8-bit, in the set as
before.

References:
    Adversarial examples are not bugs, they are features (Ilyas et al., 2019), https://arxiv.org/abs/1905.02175
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from equipoise.classifiers import Classifier, Penultimate
from equipoise.devices import choose_device
from equipoise.errors import EquipoiseError
from equipoise.images import Images, eight_bit
from equipoise.norms import L2
from equipoise.training.feature_folder import Made, write_features
from equipoise.training.feature_search import check_settings, random_below, search_gradient

__all__ = ["match_features"]


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
        EquipoiseError: for settings out of range, images that are for tests alone, a single image, a classifier whose
            logits no `nn.Linear` gives, that has no gradient or does not take the images, a folder that holds something
            else.
    """
    check_settings("match features", classifier, steps=steps, step=step, batch=batch)
    images.refuse_fitting("make a training set of")
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
        x, source = eight_bit(wanted.images).to(where), eight_bit(begun.images).to(where)
        with torch.no_grad():
            goal = represent(x)
        length = share * L2(0).distance(x, source)

        def distance(found: Tensor) -> Tensor:
            return torch.linalg.vector_norm(found - goal, dim=1)

        found = source
        for k in range(steps):
            slope = search_gradient(classifier, represent, found, distance)
            found = L2(0).ascend(found, -slope, length * (1 - k / steps)).clamp_(0, 1)
        found = eight_bit(found)
        with torch.no_grad():
            return Made(
                images=found,
                labels=wanted.labels,
                ids=wanted.ids,
                sources=source,
                source_ids=begun.ids,
                source_labels=begun.labels,
                before=distance(represent(source)),
                after=distance(represent(found)),
                predictions=classifier.logits(found).argmax(1),
            )

    settings = {"steps": steps, "step": share, "seed": seed}
    return write_features(
        images, classifier, out, method="match_features", settings=settings, make=make, batch=batch
    )


def _others(rows: range, ids: Sequence[str], count: int, seed: int) -> list[int]:
    """For each image of `rows` a random other one of all `count`."""
    return [
        (row + 1 + random_below(count - 1, seed, id, "start")) % count
        for row, id in zip(rows, ids, strict=True)
    ]
