"""BPDA: backward pass differentiable approximation, for classifiers whose gradient says little about their answer.

Rounding, thresholds and the like have a derivative of 0 nearly everywhere. Going backward, each is replaced by the
identity, while the forward pass and the verdict stay the classifier's own:

    round, floor, ceil, trunc, sign, heaviside, comparisons turned into numbers, values cut off from the graph
    (`detach`, `data`), and softmax and clamp of what has shape (B, K), which is flat once it saturates.

What is smooth but jagged, or drawn at random, is averaged instead: with u_i Gaussian of length `smoothing` radius,

    g = 1/n sum_i grad margin(x' + u_i),    x' <- project(x' + 2 (1 - k / steps) radius steepest(g)),

once away from the label and once towards each of the likeliest wrong classes. No step looks at the loss's value, which
may be flat too.

References:
    Obfuscated gradients give a false sense of security (Athalye et al., 2018), https://arxiv.org/abs/1802.00420
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.losses import likeliest, margin
from equipoise.norms import Norm

__all__ = ["BPDA", "StraightThrough"]

STEPS = {
    getattr(place, name)
    for place in (torch, Tensor)
    for name in ("round", "floor", "ceil", "trunc", "fix", "sign", "sgn", "heaviside")
    if hasattr(place, name)
}
SATURATING = {
    torch.softmax,
    torch.nn.functional.softmax,
    Tensor.softmax,
    torch.clamp,
    Tensor.clamp,
    torch.clip,
    Tensor.clip,
}
CASTS = {getattr(Tensor, name) for name in ("to", "type", "byte", "char", "short", "int", "long")}
LIKE = {
    getattr(torch, f"{name}_like") for name in ("zeros", "ones", "empty", "full", "rand", "randn")
}
RISING = {torch.gt, torch.ge, Tensor.gt, Tensor.ge, Tensor.__gt__, Tensor.__ge__}
FALLING = {torch.lt, torch.le, Tensor.lt, Tensor.le, Tensor.__lt__, Tensor.__le__}


@dataclass(frozen=True, kw_only=True)
class BPDA(Attack):
    """Steps along averaged gradients with the identity in place of thresholds.

    Arguments:
        steps: of each run.
        draws: gradients averaged in a step.
        smoothing: length of the noise as a share of the radius.
        targets: wrong classes stepped towards, after a run away from the label; all when there are fewer.
    """

    steps: int = 30
    draws: int = 8
    smoothing: float = 0.2
    targets: int = 9

    def search(self, search: Search) -> None:
        self.descend(search, search.unbroken())

    def descend(self, search: Search, rows: Tensor) -> None:
        """Runs for some of the unbroken rows."""
        order = likeliest(search.clean_logits, search.labels)
        for rank in range(1 + min(self.targets, search.classes - 1)):
            rows = rows[~search.success[rows]]
            if not (len(rows) and search.threat.radius):
                return
            self._run_once(search, rows, order[:, rank - 1] if rank else None, rank)

    def _run_once(self, search: Search, rows: Tensor, targets: Tensor | None, rank: int) -> None:
        threat, x = search.threat, search.images[rows]
        for k in range(self.steps):
            gradient = self._gradient(search, rows, x, targets, (rank, k))
            size = 2 * (1 - k / self.steps) * threat.radius
            x = search.inside(rows, threat.ascend(x, gradient, size))
            logits = search.logits(rows, x)
            search.attempt(rows, x, logits)
            left = ~search.success[rows]
            rows, x = rows[left], x[left]
            if not len(rows):
                return

    def _gradient(
        self,
        search: Search,
        rows: Tensor,
        x: Tensor,
        targets: Tensor | None,
        name: Sequence[object],
    ) -> Tensor:
        """The average gradient of the margin around `x`, the draws side by side."""
        generators = search.generators(rows, *name)
        noise = torch.stack(
            [torch.randn(self.draws, *x.shape[1:], generator=g) for g in generators]
        )
        noise = noise.to(x).flatten(0, 1)
        length = self.smoothing * search.threat.radius / search.threat.norm(noise)
        around = x.repeat_interleave(self.draws, 0) + length[:, None, None, None] * noise
        many, found = rows.repeat_interleave(self.draws), []
        # The network sees no more images at once than it may.
        for part in torch.arange(len(many), device=rows.device).split(search.width):
            labels = search.labels[many[part]]
            aims = None if targets is None else targets[many[part]]
            with _straight_through(search):
                _, _, gradient = search.gradient(
                    many[part], around[part], lambda z, y=labels, t=aims: margin(z, y, t)
                )
            # Each gradient counts alike: those of jagged functions differ by orders of magnitude.
            size = Norm.L2(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)
            found.append(gradient / size[:, None, None, None])
        return torch.cat(found).unflatten(0, (len(rows), self.draws)).mean(1)


@contextmanager
def _straight_through(search: Search) -> Iterator[None]:
    """The classifier alone, not what is made of its logits, goes backward through thresholds."""
    net = search.net

    def through(x: Tensor) -> Tensor:
        with StraightThrough():
            return net(x)

    search.net = through
    try:
        with search.exactly():
            yield
    finally:
        search.net = net


class StraightThrough(TorchFunctionMode):
    """Functions whose derivative vanishes go backward as the identity; forward nothing changes."""

    def __init__(self) -> None:
        super().__init__()
        self.compared: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        source = args[0] if args else None
        if not (isinstance(source, Tensor) and isinstance(result, Tensor)) or func in LIKE:
            return result
        if func in RISING | FALLING and source.requires_grad:
            # The comparison is kept too, so that no other tensor gets its number.
            self.compared[id(result)] = result, source if func in RISING else -source
            return result
        if func in CASTS and source.requires_grad and not result.is_floating_point():
            self.compared[id(result)] = result, source
            return result
        if not source.is_floating_point() and id(source) in self.compared:
            source = self.compared[id(source)][1]
        flat = func in STEPS or (func in SATURATING and result.dim() == 2)
        lost = result.is_floating_point() and not result.requires_grad
        if source.requires_grad and (flat or lost) and source.shape == result.shape:
            # Also where the classifier itself has switched gradients off.
            with torch.enable_grad():
                return result.detach() + (source - source.detach())
        return result
