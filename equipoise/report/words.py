"""Numbers and times as people write them."""

import datetime
import math
from collections.abc import Sized

from equipoise.audit.difference import Difference

__all__ = [
    "MINUS",
    "against",
    "apart",
    "count",
    "day",
    "duration",
    "number",
    "percent",
    "points",
    "span",
]

MINUS = "\u2212"


def apart(name: str) -> str:
    """A name in a sentence, in the isolates of Unicode, so that its direction of writing stays its own."""
    return f"\u2068{name}\u2069"


def against(checks: Sized, what: str) -> str:
    """How many checks warn of a number: ``3 checks speak against it``; nothing when none does."""
    if not len(checks):
        return ""
    return f"{len(checks)} {'check speaks' if len(checks) == 1 else 'checks speak'} against {what}"


def percent(value: float) -> str:
    """A share: ``97.2%``."""
    return "–" if not math.isfinite(value) else f"{100 * value:.1f}%"


def span(low: float, high: float) -> str:
    """An interval of shares: ``95.3 to 98.2%``."""
    return "–" if not math.isfinite(low + high) else f"{100 * low:.1f} to {100 * high:.1f}%"


def number(value: float, decimals: int | None = None) -> str:
    """A distance or radius, to three digits unless told otherwise: ``0.483``, ``0.0314``; ``none found`` for inf."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "none found"
    if decimals is None:
        decimals = 3 if value == 0 else min(6, max(0, 2 - math.floor(math.log10(abs(value)))))
    text = f"{abs(value):.{decimals}f}"
    return MINUS + text if value < 0 and float(text) else text


def count(value: int) -> str:
    """A whole number with its thousands apart: ``12,000``."""
    return f"{value:,}"


def points(difference: Difference, *, flip: bool = False) -> str:
    """The interval of a difference in percentage points: ``2.2 to 4.0``, ``−0.5 to 1.2``; of its negative if `flip`."""
    low, high = difference.low, difference.high
    if flip:
        low, high = -high, -low
    return f"{_signed(low)} to {_signed(high)}"


def _signed(value: float) -> str:
    return number(100 * value, 1)


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def day(text: str | None) -> str:
    """An ISO time as ``20 November 2026, 14:55 UTC``; as it is when it is none."""
    try:
        when = datetime.datetime.fromisoformat(text or "").astimezone(datetime.UTC)
    except ValueError:
        return text or ""
    months = (
        "January February March April May June July August September October November December"
    )
    return f"{when.day} {months.split()[when.month - 1]} {when.year}, {when:%H:%M} UTC"
