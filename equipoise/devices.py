"""Where tensors are worked on."""

import torch

from equipoise.errors import EquipoiseError

__all__ = ["choose_device"]


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
