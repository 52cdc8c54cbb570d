"""Making assets: networks as small as they can be without another verdict, with a model card."""

from equipoise.packing.asset import pack_classifier, pack_denoiser
from equipoise.packing.outputs import Level, Outputs, compare_outputs
from equipoise.packing.packed import Packed
from equipoise.packing.verdicts import Rechecked, Verdicts, compare_verdicts

__all__ = [
    "pack_classifier",
    "pack_denoiser",
    "Packed",
    "compare_verdicts",
    "Verdicts",
    "Rechecked",
    "compare_outputs",
    "Outputs",
    "Level",
]
