"""What a denoiser is, whoever made it.

Notation, for all of this room. Images here are x = 2 image - 1, so that pixels lie in [-1, 1] (network units); every
noise level sigma is in these units too, and a length in them is twice the same length between images in [0, 1]. With
n standard normal, a denoiser gives the best guess at the clean image,

    D(x, sigma, label) = E[x0 | x0 + sigma n = x, label],

and (D - x) / sigma^2 is the score of the noisy images. The label -1 stands for "unconditional", row by row, so that
conditional and unconditional rows can share one call of the network.

References:
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), arXiv 2206.00364
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.errors import EquipoiseError
from equipoise.streams import digest

__all__ = ["UNCONDITIONAL", "Denoiser", "from_network_units", "to_network_units"]

UNCONDITIONAL = -1
"""The label of a row that is to be denoised without one."""


def to_network_units(images: Tensor) -> Tensor:
    """Images in [0, 1] as the denoiser sees them, in [-1, 1]."""
    return 2 * images - 1


def from_network_units(x: Tensor) -> Tensor:
    """Images in [0, 1] of what a denoiser gave, clipped."""
    return ((x + 1) / 2).clamp(0, 1)


class Denoiser(nn.Module, ABC):
    """A new kind of denoiser overrides `denoise`.

    Arguments:
        shape: (C, H, W) of its images.
        classes: names of its labels 0..K-1.
        scale: the L2 size of its data in network units, sqrt(E |x - E x|^2); NaN when nobody measured it.
        unconditional: whether it knows the label -1; without it there is no guidance.
        name: for records and pages.
        facts: anything else a page should know, as JSON.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        classes: Sequence[str],
        scale: float,
        unconditional: bool = True,
        name: str = "denoiser",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.shape = (int(channels), int(height), int(width))
        self.classes = tuple(str(name) for name in classes)
        self.scale = float(scale)
        self.unconditional = unconditional
        self.name = name
        self.facts = dict(facts or {})

    @abstractmethod
    def denoise(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        """The clean images, with the shape and dtype of `x`.

        Arguments:
            x: noisy images in network units, with shape (B, C, H, W), B >= 1.
            sigma: noise level of each in network units, with shape (B,), > 0.
            label: int64 with shape (B,), -1 for rows without a label.
        """

    def forward(
        self, x: Tensor, sigma: Tensor | float, label: Tensor | int | None = None
    ) -> Tensor:
        """D(x, sigma, label), with the shape of `x`.

        Arguments:
            x: noisy images in network units, with shape (B, C, H, W).
            sigma: noise level in network units, one number or B of them, > 0.
            label: one label, B of them with -1 for rows without one, or None for no labels at all.

        Raises:
            EquipoiseError: for images of another shape, a noise level that is not positive, an unknown label.
        """
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise EquipoiseError(
                f"The denoiser {self.name!r} takes images of shape {self.shape}, not {tuple(x.shape[1:])}. Resize them "
                "or use another denoiser."
            )
        sigmas = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        labels = torch.as_tensor(
            UNCONDITIONAL if label is None else label, dtype=torch.int64, device=x.device
        ).expand(len(x))
        if not len(x):
            return x
        if not bool((sigmas > 0).all()):
            raise EquipoiseError(
                f"The denoiser {self.name!r} needs positive noise levels, not {sigmas.min().item():g}."
            )
        self.check_labels(labels)
        return self.denoise(x, sigmas, labels)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        first = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    def check_labels(self, label: Tensor) -> None:
        """Refuses labels that the denoiser does not know.

        Raises:
            EquipoiseError: for a label outside -1..K-1, or -1 where it was never shown images without a label.
        """
        if not len(label):
            return
        low, high = label.min().item(), label.max().item()
        if high >= len(self.classes) or low < UNCONDITIONAL:
            raise EquipoiseError(
                f"The denoiser {self.name!r} has the labels 0..{len(self.classes) - 1}, not "
                f"{high if high >= len(self.classes) else low}."
            )
        if low == UNCONDITIONAL and not self.unconditional:
            raise EquipoiseError(
                f"The denoiser {self.name!r} was never shown images without their label, so it cannot denoise without "
                "one. Use guidance 1, or give it unconditional weights as well."
            )

    def fingerprint(self) -> str:
        """A digest of the structure, the weights and the classes; a name changes nothing."""
        parts: list[object] = [str(self), self.shape, self.classes]
        for key, tensor in sorted(self.state_dict().items()):
            data = tensor.detach().cpu().contiguous()
            parts += [key, str(data.dtype), tuple(data.shape)]
            parts.append(data.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest(*parts)

    def extra_repr(self) -> str:
        return f"shape={self.shape}, classes={len(self.classes)}"
