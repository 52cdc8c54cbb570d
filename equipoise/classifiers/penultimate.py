"""What a classifier's last linear layer sees: its representation of an image.

Notation. Logits are W g(x) + b for images x with shape (B, C, H, W): g(x), with shape (B, D), is the representation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equipoise.classifiers.classifier import Classifier
from equipoise.errors import EquipoiseError

__all__ = ["Penultimate"]


@dataclass(frozen=True, eq=False)
class Penultimate:
    """g as a function: ``Penultimate.of(classifier, (3, 32, 32))(images)`` has shape (B, D).

    Arguments:
        classifier: whose representation it is.
        layer: its last linear layer.
    """

    classifier: Classifier
    layer: nn.Linear

    @classmethod
    def of(cls, classifier: Classifier, shape: Sequence[int]) -> "Penultimate":
        """Finds the last `nn.Linear` that the network calls on an image of `shape` (C, H, W).

        Raises:
            EquipoiseError: when it calls none, when the last one does not give the logits, or when the network does
                not take such images.
        """
        called: list[tuple[nn.Linear, torch.Size]] = []

        def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(layer, nn.Linear):
                called.append((layer, output.shape))

        hooks = [module.register_forward_hook(note) for module in classifier.net.modules()]
        try:
            with torch.no_grad():
                images = torch.zeros(16, *shape, device=classifier.mean.device)
                logits = classifier.logits(images)
        except RuntimeError as error:
            raise EquipoiseError(
                f"Cannot look into the classifier {classifier.name!r}: it does not take images of shape "
                f"{tuple(shape)} ({str(error).splitlines()[0]}). Give images of the size it was made for."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        if not called or called[-1][1] != logits.shape:
            found = "the last one it calls does not" if called else "it calls none"
            raise EquipoiseError(
                f"Cannot take the penultimate layer of the classifier {classifier.name!r}: an nn.Linear must give its "
                f"logits, and {found}. Use a network that ends in an nn.Linear."
            )
        return cls(classifier, called[-1][0])

    def __call__(self, images: Tensor) -> Tensor:
        """g(x) with shape (B, D) of images in [0, 1] with shape (B, C, H, W); the range is not checked."""
        seen: list[Tensor] = []
        hook = self.layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.classifier.logits(images)
        finally:
            hook.remove()
        return seen[-1][: len(images)].flatten(1).float()
