"""Values and changes of metrics in words: shares in per cent, their changes in points, anything else as a number."""

import math

__all__ = ["amount", "chance", "signed", "span"]

MINUS = "\u2212"


def amount(value: float, unit: str) -> str:
    """A value: ``57.5%``, ``0.5689``, or ``–`` where there is none."""
    return "–" if not math.isfinite(value) else _number(value, unit) + _percent(unit)


def signed(value: float, unit: str) -> str:
    """A change, with its sign: ``+3.1 points``, ``−0.0989``."""
    if not math.isfinite(value):
        return "–"
    return f"{_sign(value, unit)}{' points' if unit == 'share' else ''}"


def span(low: float, high: float, unit: str, *, change: bool = False) -> str:
    """An interval, without its unit: ``50.5 to 64.5``; of a change ``−4.5 to +3.5``."""
    if not math.isfinite(low + high):
        return "–"
    write = _sign if change else _number
    return f"{write(low, unit)} to {write(high, unit)}"


def chance(p: float) -> str:
    """A p-value: ``0.028``, ``< 0.001``."""
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _percent(unit: str) -> str:
    return "%" if unit == "share" else ""


def _number(value: float, unit: str) -> str:
    text = f"{100 * abs(value):.1f}" if unit == "share" else f"{abs(value):.4f}"
    return MINUS + text if value < 0 and float(text) else text


def _sign(value: float, unit: str) -> str:
    text = _number(value, unit)
    return text if text.startswith(MINUS) or not float(text) else f"+{text}"
