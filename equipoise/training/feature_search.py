"""What the searches for feature sets share.

Is what a classifier relies on in its images real, and does it withstand small changes? Ilyas et al. answer by making
training sets in which only some features say the label, training new classifiers on them, and judging those on real
test images. `matching` and `relabelling` make such sets. Give images of a training split: whoever is trained on the
set is to be judged on images that it has not met.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from equipoise.attacks.input_gradient import input_gradient
from equipoise.classifiers import Classifier
from equipoise.errors import EquipoiseError
from equipoise.streams import stream

__all__ = ["check_settings", "random_below", "search_gradient"]


def check_settings(
    operation: str, classifier: Classifier, *, steps: int, step: float | None, batch: int
) -> None:
    """Refuses settings out of range, and what is no `Classifier`."""
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


def random_below(count: int, *name: object) -> int:
    """A random number in 0..count - 1 from the stream called `name`."""
    return int(torch.randint(count, (), generator=stream(*name)))


def search_gradient(
    classifier: Classifier,
    net: Callable[[Tensor], Tensor],
    images: Tensor,
    objective: Callable[[Tensor], Tensor],
) -> Tensor:
    """The gradient, with shape (B, C, H, W), of objective(net(x)), one number per image; `net` is part of `classifier`.

    Raises:
        EquipoiseError: when no gradient leads back to the images, or one that is no number.
    """
    notes: list[str] = []
    *_, gradient = input_gradient(net, images, objective, notes)
    if notes:
        raise EquipoiseError(
            f"Cannot search with the classifier {classifier.name!r}: no gradient leads back to its images, or one that "
            "is no number. Remove no_grad, detach and NumPy from its forward pass."
        )
    return gradient
