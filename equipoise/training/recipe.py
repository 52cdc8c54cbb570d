"""How a classifier is fitted, whatever the objective: everything that must be equal for two trainings to be equal."""

from dataclasses import dataclass
from typing import Literal

from equipoise.errors import EquipoiseError

__all__ = ["Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training.

    Arguments:
        net: "mlp" or "residual".
        widths: of the network's layers or stages; the network's own when empty.
        blocks: residual blocks in each stage (residual networks only).
        epochs: passes over the training images.
        batch: images in each step, over all processes together.
        rate: peak learning rate of AdamW; it warms up over 5 % of the steps and falls to 0 along half a cosine.
        decay: AdamW's weight decay.
        average: decay of the exponential moving average of the weights, per step.
        shift: random shifts by up to so many pixels, edges filled with zeros.
        flip: whether images are mirrored at random.
        held_out: share of the training images kept for choosing the checkpoint; with 0 the last one is taken.
        judgements: how many times they are asked, at most; evenly over the epochs, the last included.
        limit: train on at most so many images, a random sample; all when 0.
        seed: of everything random.
        precision: "bf16" for mixed precision, where the device has instructions for it; float32 elsewhere.
    """

    net: Literal["mlp", "residual"] = "residual"
    widths: tuple[int, ...] = ()
    blocks: int = 1
    epochs: int = 30
    batch: int = 128
    rate: float = 4e-3
    decay: float = 5e-4
    average: float = 0.99
    shift: int = 0
    flip: bool = False
    held_out: float = 0.15
    judgements: int = 50
    limit: int = 0
    seed: int = 0
    precision: Literal["float32", "bf16"] = "float32"

    def __post_init__(self) -> None:
        checks = {
            "widths": all(width >= 1 for width in self.widths),
            "blocks": self.blocks >= 1,
            "epochs": self.epochs >= 1,
            "batch": self.batch >= 1,
            "rate": self.rate > 0,
            "decay": self.decay >= 0,
            "average": 0 <= self.average < 1,
            "shift": self.shift >= 0,
            "held_out": 0 <= self.held_out < 1,
            "judgements": self.judgements >= 1,
            "limit": self.limit >= 0,
        }
        for name, fine in checks.items():
            if not fine:
                raise EquipoiseError(
                    f"Cannot train with {name}={getattr(self, name)}: it is out of range."
                )
