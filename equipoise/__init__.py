"""equipoise: what adversarial robustness costs an image classifier.

Names load when they are first used, so that `import equipoise` and `equipoise --help` stay fast.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Products of matrices then have the same bits with any number of threads and rows. MKL reads it at its first product.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

if TYPE_CHECKING:
    from equipoise import attacks as attacks
    from equipoise import counterfactuals as counterfactuals
    from equipoise import diffusion as diffusion
    from equipoise import probes as probes
    from equipoise import studies as studies
    from equipoise import theory as theory
    from equipoise import tracking as tracking
    from equipoise import training as training
    from equipoise.audit import Run as Run
    from equipoise.audit import audit as audit
    from equipoise.audit import check as check
    from equipoise.classifiers import load_classifier as load_classifier
    from equipoise.classifiers import wrap as wrap
    from equipoise.comparing import compare as compare
    from equipoise.cost import estimate_cost as estimate_cost
    from equipoise.diffusion import load_denoiser as load_denoiser
    from equipoise.errors import EquipoiseError as EquipoiseError
    from equipoise.images import load_images as load_images
    from equipoise.norms import L1 as L1
    from equipoise.norms import L2 as L2
    from equipoise.norms import Linf as Linf
    from equipoise.report import report as report
    from equipoise.training import train_ladder as train_ladder

_ROOMS = {
    "attacks": None,
    "audit": None,
    "counterfactuals": None,
    "diffusion": None,
    "probes": None,
    "report": None,
    "studies": None,
    "theory": None,
    "tracking": None,
    "training": None,
    "Run": "audit",
    "check": "audit",
    "estimate_cost": "cost",
    "compare": "comparing",
    "load_classifier": "classifiers",
    "wrap": "classifiers",
    "load_denoiser": "diffusion",
    "EquipoiseError": "errors",
    "load_images": "images",
    "L1": "norms",
    "L2": "norms",
    "Linf": "norms",
    "train_ladder": "training",
}
"""The public names: a room itself (None), or the room a name lives in."""

__all__ = list(_ROOMS)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'equipoise' has no attribute {name!r}")
    room = _ROOMS[name]
    if room is None:
        return importlib.import_module(f"equipoise.{name}")
    return getattr(importlib.import_module(f"equipoise.{room}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
