"""Rows of exhibits as charts and tables take them: values with intervals, in numbers and in words."""

from collections.abc import Sequence
from typing import Any

from equipoise.audit import Estimate
from equipoise.report.words import MINUS, percent

__all__ = ["Rows", "as_estimate", "grouped", "point", "sentence", "signed", "written"]

Rows = Sequence[dict[str, Any]]


def point(row: dict[str, Any], series: str, field: str) -> dict[str, Any]:
    """A value with its interval, as lines draw them: `field` is "value", a share, or "gain", a difference of shares."""
    ends = ("low", "high") if field == "value" else (f"{field}_low", f"{field}_high")
    low, high = (row[end] for end in ends)
    text = written if field == "value" else signed
    return {
        "series": series,
        "share": row[field],
        "low": low,
        "high": high,
        "text": text(row[field], low, high),
    }


def signed(value: float, low: float | None, high: float | None) -> str:
    """A difference in percentage points."""
    written = f"{100 * value:+.1f} points"
    if low is not None and high is not None:
        written += f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return written.replace("-", MINUS)


def written(value: float, low: float | None, high: float | None) -> str:
    """A share in per cent, with its interval where it has one."""
    if low is None or high is None:
        return percent(value)
    return f"{percent(value)} ({100 * low:.1f} to {percent(high)})"


def sentence(start: str, drawn: Rows) -> str:
    """What a chart shows, in words: the numbers of its rows after `start`."""
    listed = "; ".join(f"{row['series']} at {row['at']}: {row['text']}" for row in drawn)
    return f"{start} {listed}."


def grouped(rows: Rows, field: str) -> dict[str, list[dict[str, Any]]]:
    """The rows by what they have in `field`, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[field], []).append(row)
    return found


def as_estimate(row: dict[str, Any], name: str) -> Estimate:
    """The share `name` of a row, with its interval, for a cell of a table."""
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], 0, "")
