"""Where tensors are worked on, and by how many threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from equipoise.errors import EquipoiseError

__all__ = ["choose_device", "computes_bf16", "enough_threads"]

SMALL = 1e8
"""Floating-point operations of a network call below which a second thread gains little when it has a core of its own,
and costs tenfold when it has none: threads wait for each other by spinning."""

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def choose_device(name: str) -> torch.device:
    """The device called "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1", once it is known to work.

    Raises:
        EquipoiseError: for another name, or a device that cannot be used here.
    """
    if name.partition(":")[0] not in ("auto", "cpu", "cuda"):
        raise EquipoiseError(
            f"Cannot use the device {name!r}: give auto, cpu, cuda or cuda:1. Try --device cpu."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise EquipoiseError(
            f"Cannot use the device {name!r}: {reason}. Try --device cpu."
        ) from None
    return device


def computes_bf16(accelerator: str) -> bool:
    """Whether an accelerator, "auto", "cpu" or "cuda", has instructions for bfloat16, so that mixed precision pays."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return accelerator != "cuda" and torch.cpu._is_avx512_bf16_supported()


@contextmanager
def enough_threads(net: nn.Module, images: Tensor) -> Iterator[None]:
    """One CPU thread while calls like `net(images)` are too small to share, as many as before otherwise.

    Arguments:
        net: what is called; its linear and convolutional layers count.
        images: a batch as large as those to come.
    """
    before = torch.get_num_threads()
    # A network without such layers computes in ways that are not seen here.
    if before > 1 and 0 < len(images) * _operations(net, images[:1]) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def _operations(net: nn.Module, images: Tensor) -> int:
    """Floating-point operations of the layers in a forward pass, two for each weight and output that it adds to."""
    total = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer.weight, Tensor)
        total += 2 * output.numel() * layer.weight[0].numel()

    layers = [layer for layer in net.modules() if isinstance(layer, LAYERS)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        # What a random network draws here it will not miss later.
        with torch.random.fork_rng(devices=[]):
            net(images)
    finally:
        for handle in handles:
            handle.remove()
    return total
