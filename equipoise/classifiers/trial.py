"""Which engine searches a classifier fastest on this machine, found by trying.

Each engine makes the passes of an attack's step, forward and backward to the images, on the same images in turn: once
on all of them and three times on sixteen, the fewest that a call holds, since attacks go on with the few images that
are hard to break. Its rate is that of its fastest round.

An engine counts only where its gradients lead where the classifier's own do: the cosine between them, for the log-odds
against the label, has to be at least 0.9 for half of the images.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.classifiers.classifier import Classifier, precision
from equipoise.classifiers.engine import Engine, Quick

__all__ = ["Trial", "try_engines"]

ROUNDS = 5
WORTH = 1.2
"""How many times float32's rate another engine must reach: verdicts are asked of float32 again, which costs passes."""

SAME_WAY = 0.9

FEW, TIMES = 16, 3
"""Images of the small calls of a round, and how many there are."""


@dataclass(frozen=True)
class Trial:
    """What was tried.

    Attributes:
        rates: images per second of each engine, forward and backward.
        refused: engines that cannot be taken, and why.
        chosen: the engine to take.
        why: a sentence.
    """

    rates: dict[str, float]
    refused: dict[str, str]
    chosen: Engine
    why: str


def try_engines(classifier: Classifier, images: Tensor, labels: Tensor) -> Trial:
    """Tries the engines on some images.

    Arguments:
        classifier: on the device of the images.
        images: with shape (B, C, H, W), in [0, 1]; as many as a network call will hold.
        labels: with shape (B,).
    """
    plain, on_gpu = Engine(), images.device.type == "cuda"
    if precision(classifier.net) != torch.float32:
        return Trial({}, {}, plain, f"its weights are {precision(classifier.net)} as they are")
    with torch.no_grad():
        if not torch.equal(classifier.logits(images), classifier.logits(images)):
            return Trial({}, {}, plain, "it answers at random: nothing can be compared")
    # Compiling takes minutes on a CPU and, for convolutions, gains nothing there.
    tried = [
        Engine(half, last, compiled)
        for compiled in ([False, True] if on_gpu else [False])
        for half in (False, True)
        for last in (False, True)
    ]
    steps: dict[Engine, Callable[..., Tensor]] = {}
    refused: dict[str, str] = {}
    exact = _gradient(classifier.logits, images, labels)
    for engine in tried:
        net = classifier.logits if engine == plain else Quick(classifier, engine).guess
        steps[engine] = lambda net=net, k=None: _gradient(net, images[:k], labels[:k])
        if engine == plain:
            continue
        try:
            cosine = _cosine(steps[engine](), exact)
        # A network can refuse an engine in any way: half precision, strides, what cannot be compiled.
        except Exception as error:
            refused[str(engine)] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        else:
            if not cosine >= SAME_WAY:
                refused[str(engine)] = (
                    f"its gradients have a cosine of {cosine:.3f} with float32's"
                )
        if str(engine) in refused:
            del steps[engine]
    seconds, shown = dict.fromkeys(steps, float("inf")), len(images) + TIMES * FEW
    for _ in range(ROUNDS):
        for engine, step in steps.items():
            seconds[engine] = min(seconds[engine], _time(step, images.device))
    rates = {str(engine): round(shown / taken, 1) for engine, taken in seconds.items()}
    fastest = min(seconds, key=lambda engine: seconds[engine])
    gain = seconds[plain] / seconds[fastest]
    if gain < WORTH:
        return Trial(rates, refused, plain, f"nothing was more than {WORTH:g} times as fast")
    return Trial(rates, refused, fastest, f"{gain:.2f} times as fast as float32")


def _gradient(net: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    with torch.enable_grad():
        pixels = images.detach().clone().requires_grad_(True)
        logits = net(pixels).float()
        others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
        odds = others - logits.gather(1, labels[:, None]).squeeze(1)
        if not odds.requires_grad:
            return torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(odds.sum(), pixels, allow_unused=True)
    return torch.zeros_like(images) if gradient is None else gradient


def _cosine(a: Tensor, b: Tensor) -> float:
    """The median over images of the cosine between two gradients; 1 where both are 0."""
    a, b = (part.flatten(1).double() for part in (a, b))
    a, b = (part / part.abs().amax(1, keepdim=True).clamp(min=1e-300) for part in (a, b))
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-300)
    none = ~a.any(1) & ~b.any(1)
    return cosine.masked_fill(none, 1.0).median().item()


def _time(step: Callable[..., Tensor], device: torch.device) -> float:
    started = time.perf_counter()
    step()
    for _ in range(TIMES):
        step(k=FEW)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
