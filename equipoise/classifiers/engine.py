"""Engines: how the network calls of a search are computed, beside those that judge.

An attack looks at thousands of images and reports one. Which way to go may be asked of faster arithmetic; whether the
classifier misreads what was found is asked of the classifier itself. An engine is some of

    bfloat16         matrix products and convolutions in bfloat16, the rest in float32 (`torch.autocast`)
    channels last    weights and images with channels innermost in memory
    compiled         the network through `torch.compile`, for images and batches of any size

and "float32" is none of them: the classifier as it is.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn

from equipoise.classifiers.classifier import Classifier
from equipoise.errors import EquipoiseError
from equipoise.padding import call_padded

__all__ = ["Engine", "Quick"]


@dataclass(frozen=True)
class Engine:
    """Which of the ways of being faster are taken; ``str`` names them, and `read` reads the name."""

    bfloat16: bool = False
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        taken = [f.name.replace("_", " ") for f in fields(self) if getattr(self, f.name)]
        return ", ".join([*([] if self.bfloat16 else ["float32"]), *taken])

    @classmethod
    def read(cls, name: str) -> Self:
        """The engine of that name.

        Raises:
            EquipoiseError: when there is none.
        """
        words = {word.replace(" ", "_") for word in name.split(", ")} - {"float32"}
        engine = cls(**{f.name: f.name in words for f in fields(cls)})
        if str(engine) != name:
            raise EquipoiseError(
                f"Cannot compute with the engine {name!r}: write for example {str(cls(True, True))!r}."
            )
        return engine


class Quick(Classifier):
    """A classifier with an engine for searches: `guess` takes it, everything else is the classifier's own.

    Arguments:
        classifier: whose network it shares; with channels last it has a copy of the weights.
        engine: of `guess`.
    """

    def __init__(self, classifier: Classifier, engine: Engine) -> None:
        super().__init__(
            classifier.net,
            mean=classifier.mean,
            std=classifier.std,
            classes=classifier.classes,
            name=classifier.name,
            facts=classifier.facts,
        )
        self.engine = engine
        self._fast: tuple[Callable[[Tensor], Tensor], ...] = ()

    def guess(self, images: Tensor) -> Tensor:
        """About the logits, with shape (B, K), of images in [0, 1] with shape (B, C, H, W)."""
        if not self._fast:
            # In a tuple, torch does not take a network for a part of this one.
            self._fast = (self._build(),)
        (fast,) = self._fast
        scaled = images if self.identity_scaling else (images - self.mean) / self.std
        if self.engine.channels_last:
            scaled = scaled.contiguous(memory_format=torch.channels_last)
        with torch.autocast(
            scaled.device.type, torch.bfloat16, enabled=self.engine.bfloat16, cache_enabled=False
        ):
            return call_padded(fast, scaled)

    def _build(self) -> Callable[[Tensor], Tensor]:
        net: nn.Module = self.net
        if self.engine.channels_last:
            # The classifier's own weights stay as they are, so that its logits keep every bit.
            net = copy.deepcopy(net)
            for parameter in (*net.parameters(), *net.buffers()):
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return torch.compile(net, dynamic=True) if self.engine.compiled else net

    def __getstate__(self) -> dict[str, Any]:
        # What was compiled here is compiled again where it is wanted.
        return self.__dict__ | {"_fast": ()}
