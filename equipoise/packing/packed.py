"""What packing gave."""

from dataclasses import dataclass
from pathlib import Path

from equipoise.packing.outputs import Outputs
from equipoise.packing.verdicts import Verdicts

__all__ = ["Packed"]


@dataclass(frozen=True)
class Packed:
    """An asset on disk.

    Attributes:
        folder: of the asset.
        precision: of its weights, "float16" or "float32".
        reason: why they are not float16, or nothing.
        size: bytes of the weights.
        compared: what rounding changed.
    """

    folder: Path
    precision: str
    reason: str
    size: int
    compared: Verdicts | Outputs
