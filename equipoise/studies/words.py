"""Numbers in the sentences of claims."""

import math

from equipoise.audit import Estimate
from equipoise.report.words import number

__all__ = ["said"]


def said(found: Estimate) -> str:
    """``0.123 (0.101 to 0.145)``."""
    if not math.isfinite(found.value):
        return "not measured"
    if not math.isfinite(found.low):
        return number(found.value, 3)
    return f"{number(found.value, 3)} ({number(found.low, 3)} to {number(found.high, 3)})"
