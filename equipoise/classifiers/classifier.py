"""What is judged: a network from images in [0, 1] to logits, with its own normalisation inside.

Notation. Images x have shape (B, C, H, W) and lie in [0, 1]; logits z = f((x - mean) / std) have shape (B, K); the
prediction is argmax z. A `Classifier` is in eval mode and its parameters are frozen, so that a gradient with respect to
the image costs no gradient with respect to the weights.
"""

import json
from collections.abc import Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.errors import EquipoiseError
from equipoise.padding import call_padded
from equipoise.streams import digest, stream

__all__ = ["Classifier", "check_range", "precision", "wrap"]

_RANGE_TOLERANCE = 1e-6


def check_range(images: Tensor, operation: str) -> Tensor:
    """The images, clamped to [0, 1] once they are known to lie there up to rounding.

    Raises:
        EquipoiseError: when a pixel lies outside [0, 1] by more than 1e-6, or is NaN.
    """
    if images.numel() == 0:
        return images
    low, high = (bound.item() for bound in images.detach().aminmax())
    if not (low >= -_RANGE_TOLERANCE and high <= 1 + _RANGE_TOLERANCE):
        raise EquipoiseError(
            f"{operation} needs images in [0, 1], but these with shape {tuple(images.shape)} span "
            f"[{low:.4g}, {high:.4g}]. Divide 8-bit images by 255, and give mean= and std= to equipoise.wrap instead "
            "of normalising the images."
        )
    return images.clamp(0, 1) if low < 0 or high > 1 else images


def precision(net: nn.Module) -> torch.dtype:
    """The type of the network's numbers; single precision where it has none."""
    first = next((p for p in net.parameters() if p.is_floating_point()), None)
    return torch.float32 if first is None else first.dtype


class Classifier(nn.Module):
    """A frozen network with its normalisation, class names, a name and a fingerprint.

    Build one with `wrap` or `load_classifier`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        mean: Tensor,
        std: Tensor,
        classes: tuple[str, ...] | None,
        name: str,
        facts: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.classes = classes
        self.name = name
        self.facts = dict(facts)
        self.identity_scaling = bool((mean == 0).all() and (std == 1).all())
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits with shape (B, K) of images in [0, 1] with shape (B, C, H, W).

        Raises:
            EquipoiseError: when the images leave [0, 1].
        """
        return self.logits(check_range(images, f"The classifier {self.name!r}"))

    def logits(self, images: Tensor) -> Tensor:
        """The same without the check of the range, for callers that made it once: attacks call this every step."""
        scaled = images if self.identity_scaling else (images - self.mean) / self.std
        return call_padded(self.net, scaled.to(precision(self.net)))

    def fingerprint(self) -> str:
        """A digest of the network's structure, code, settings, weights and normalisation.

        Code of torch itself and of functions that the network calls from elsewhere is not looked at.
        """
        parts: list[object] = [str(self.net), *(_nature(module) for module in self.net.modules())]
        for key, tensor in sorted(self.state_dict().items()):
            data = tensor.detach().cpu().contiguous()
            parts += [key, str(data.dtype), tuple(data.shape)]
            parts.append(data.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest(*parts)

    @torch.no_grad()
    def behaviour(self, shape: Sequence[int]) -> str:
        """A digest of what the classifier says about eight fixed random images of `shape`, to three digits: code that
        no fingerprint sees shows here. Empty for a classifier that is random or that cannot take such images.
        """
        images = torch.rand(8, *shape, generator=stream("behaviour")).to(self.mean.device)
        try:
            logits, again = self.logits(images), self.logits(images)
        except Exception:  # the preflight reports it
            return ""
        if not torch.equal(logits, again):
            return ""
        return digest([f"{value:.3g}" for value in logits.double().flatten().tolist()])

    def extra_repr(self) -> str:
        return f"name={self.name!r}, classes={None if self.classes is None else len(self.classes)}"


def _nature(module: nn.Module) -> tuple[object, ...]:
    """What a module does beyond its weights: the code of its class and its plain settings."""
    kind = type(module)
    settings = [
        (name, _code(value) if isinstance(value, FunctionType) else value)
        for name, value in sorted(vars(module).items())
        if isinstance(value, bool | int | float | str | tuple | FunctionType)
        and name != "training"
    ]
    if kind.__module__.partition(".")[0] == "torch":
        return kind.__qualname__, settings
    methods = [
        (name, _code(value))
        for base in kind.__mro__
        if base.__module__.partition(".")[0] not in ("torch", "builtins")
        for name, value in sorted(vars(base).items())
        if isinstance(value, FunctionType)
    ]
    return kind.__qualname__, settings, methods


def _code(function: FunctionType) -> tuple[object, ...]:
    # Constants that are code themselves show their address when printed: only their own code is kept.
    code = function.__code__
    constants = [c.co_code if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code, code.co_names, constants


def wrap(
    net: nn.Module,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    classes: Sequence[str] | None = None,
    *,
    name: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Classifier:
    """Makes a `Classifier` of any network: images in [0, 1] go in, logits come out.

    The network is put into eval mode and its parameters are frozen, in place; it stays on its device.

    Arguments:
        net: maps normalised images with shape (B, C, H, W) to logits with shape (B, K).
        mean: per channel, subtracted from images in [0, 1]; 0 when None.
        std: per channel, divided by after that; 1 when None.
        classes: names of the K classes, in the order of the logits.
        name: for tables and pages; the network's class name when None.
        facts: anything about the classifier that a page should know, such as the radius it was trained for.

    Raises:
        EquipoiseError: when `net` is no module, a `std` is not positive or `mean` and `std` differ in length.
    """
    if isinstance(net, Classifier):
        raise EquipoiseError(
            f"wrap was given the classifier {net.name!r}, which is wrapped already. Use it as it is."
        )
    if not isinstance(net, nn.Module):
        raise EquipoiseError(f"wrap needs a torch.nn.Module, not {type(net).__name__}.")
    first = next((t for t in [*net.parameters(), *net.buffers()] if t.is_floating_point()), None)
    device = first.device if first is not None else torch.device("cpu")
    scaling = []
    for values, default in ((mean, 0.0), (std, 1.0)):
        given = torch.as_tensor(default if values is None else values, dtype=torch.float32)
        scaling.append(given.reshape(-1, 1, 1).to(device))
    if len({len(values) for values in scaling} - {1}) > 1:
        raise EquipoiseError(
            f"wrap was given {len(scaling[0])} means and {len(scaling[1])} standard deviations."
        )
    if not (
        scaling[0].isfinite().all() and scaling[1].isfinite().all() and (scaling[1] > 0).all()
    ):
        raise EquipoiseError(
            f"wrap needs finite means and positive standard deviations, not mean={mean} and std={std}."
        )
    try:
        json.dumps(dict(facts or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise EquipoiseError(f"wrap needs facts that JSON can hold: {error}.") from None
    return Classifier(
        net,
        mean=scaling[0],
        std=scaling[1],
        classes=None if classes is None else tuple(str(c) for c in classes),
        name=name or type(net).__name__,
        facts=facts or {},
    )
