"""How the cost of work that is not begun is shown."""

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from equipoise.cli.app import plain_table, say

if TYPE_CHECKING:
    from equipoise.cost import Cost

__all__ = ["between", "print_cost", "span"]

UNITS = (("s", 1.0, 100.0), ("min", 60.0, 100.0), ("h", 3600.0, 72.0), ("days", 86400.0, math.inf))
"""Units of time: name, seconds, and how many are still said in it."""

BYTES = (("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12))


def print_cost(cost: "Cost", out: str) -> None:
    """A table of classifiers and probes, and lines about the whole."""
    if cost.done == cost.shards:
        say(f"Nothing is left to measure: all {cost.shards} shards are in {out}.")
        return
    table = plain_table("classifier", "passes are means over images; the page comes on top")
    table.add_column("probe")
    for name in ("images", "forward/image", "backward/image", "time"):
        table.add_column(name, justify="right")
    for row in cost.rows:
        table.add_row(
            escape(row.classifier),
            escape(row.probe),
            f"{row.images:,}" if row.images else "[dim]done[/dim]",
            _count(row.forwards) if row.images else "",
            _count(row.backwards) if row.images else "",
            span(row.seconds) if row.images else "",
        )
    Console().print(table)
    left = cost.shards - cost.done
    there = f"; {cost.done:,} are in {out}" if cost.done else ""
    say(f"Shards: {left:,} of {cost.shards:,} to measure{there}. Images: {cost.images:,}.")
    forwards, backwards = (
        sum(n * row.images for row in cost.rows for n in [getattr(row, name)] if row.images)
        for name in ("forwards", "backwards")
    )
    say(f"Passes: {_count(forwards)} forward, {_count(backwards)} backward.")
    shared = (
        f", shared by {cost.workers} workers as fast as this process" if cost.workers > 1 else ""
    )
    if math.isnan(cost.seconds):
        say(
            f"Time on {cost.device}: not known. A probe took longer than the calibration may. Give it more time with "
            f"--calibrate {cost.advice:.0f}."
        )
    else:
        say(f"Time on {cost.device}: {between(cost.low, cost.high)}{shared}.")
    gpu = f", {_bytes(cost.device_memory)} on the GPU" if cost.device_memory else ""
    say(f"Memory at the peak: {_bytes(cost.memory)}{gpu}. Disk: {_bytes(cost.disk)}.")
    if not math.isnan(cost.seconds) and not cost.enough:
        say(
            f"{cost.calibrated:.0f} s of measuring were too few to know the time within a quarter: --calibrate "
            f"{cost.advice:.0f} would do."
        )


def span(seconds: float) -> str:
    """A time in the unit that suits it."""
    if math.isnan(seconds):
        return "?"
    name, size = _unit(seconds)
    return f"{_digits(seconds / size)} {name}"


def between(low: float, high: float) -> str:
    """Two times, as "4 to 6 min"."""
    name, size = _unit(high)
    ends = _digits(low / size), _digits(high / size)
    return f"{ends[0]} to {ends[1]} {name}" if ends[0] != ends[1] else f"{ends[0]} {name}"


def _unit(seconds: float) -> tuple[str, float]:
    return next((name, size) for name, size, most in UNITS if seconds < most * size)


def _digits(value: float) -> str:
    if value < 0.095:
        return "under 0.1" if value > 0 else "0"
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


def _count(value: float) -> str:
    """A number of passes: whole where it is, else with two or three digits."""
    if math.isnan(value):
        return "?"
    if value < 1e6:
        return f"{value:,.0f}" if value >= 9.95 or value == round(value) else f"{value:.1f}"
    name, size = next(
        (n, s)
        for n, s in (("million", 1e6), ("billion", 1e9))
        if value < 1000 * s or n == "billion"
    )
    return f"{value / size:,.3g} {name}"


def _bytes(value: float) -> str:
    name, size = next((n, s) for n, s in BYTES if value < 1000 * s or n == "TB")
    return f"{value / size:.3g} {name}"
