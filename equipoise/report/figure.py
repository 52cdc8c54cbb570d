"""How every chart of the page looks, as Vega-Lite.

Colours are CSS variables of the page (`var(--c0)` and so on), so that one chart serves the light scheme, the dark one
and print. Every chart reads the parameter `focus`, the name of the classifier that the reader singled out; the page
sets it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from equipoise.audit import Estimate, Statistic
from equipoise.report.words import percent, span

__all__ = [
    "DASHES",
    "INK",
    "MUTED",
    "PAPER",
    "SOLID",
    "STROKES",
    "WARNED",
    "Figure",
    "across",
    "chart",
    "colour",
    "domain",
    "faded",
    "finish",
    "interval",
    "percents",
    "scale",
    "share_axis",
]

INK, MUTED, LINE, PAPER = "var(--ink)", "var(--muted)", "var(--line)", "var(--paper)"
DASHES, STROKES = ([1, 0], [8, 4], [2, 3], [10, 3, 2, 3]), ("━━", "━ ━", "┅┅", "━ ·")
"""Kinds of lines, and how keys write them."""

SOLID, WARNED = "!datum.against", "datum.against"
"""Which points are filled, and which are hollow: those whose row says what speaks `against` them."""


@dataclass(frozen=True)
class Figure:
    """A chart for the page.

    Attributes:
        title: heading of the chart.
        alt: what it shows, in words, for those who do not see it.
        spec: Vega-Lite.
        key: colour, mark and name of each series, where the page has to explain them.
        hollow: whether some points are, or some curves dashed, because checks speak against what they show.
    """

    title: str
    alt: str
    spec: dict[str, Any]
    key: tuple[tuple[str, str, str], ...] = ()
    hollow: bool = False


def interval(name: str, statistic: Statistic | Estimate) -> dict[str, Any]:
    """A share with its interval, as the fields `name`, `name`_low, `name`_high and, in words, `name`_text."""
    return {
        name: round(statistic.value, 5),
        f"{name}_low": round(statistic.low, 5),
        f"{name}_high": round(statistic.high, 5),
        f"{name}_text": f"{percent(statistic.value)} ({span(statistic.low, statistic.high)})",
    }


def domain(values: Sequence[float]) -> list[float]:
    """An axis around the values: to multiples of 5 %, at least 15 points wide, inside [0, 1]."""
    low = math.floor(min(values) * 20 + 1e-9) / 20
    high = math.ceil(max(values) * 20 - 1e-9) / 20
    high = min(1.0, max(high, low + 0.15))
    return [max(0.0, min(low, high - 0.15)), high]


def scale(domain: list[float]) -> alt.Scale:
    """Exactly that axis."""
    return alt.Scale(domain=domain, nice=False, zero=False)


def percents(values: Sequence[float] | None = None) -> alt.Axis:
    """An axis of shares, with ticks at `values` or about five."""
    if values:
        return alt.Axis(format=".0%", values=list(values))
    return alt.Axis(format=".0%", tickCount=5)


def across(field: str, title: str, axis: alt.Axis | None = None) -> alt.X:
    """An axis from the lowest to the highest value of `field`."""
    scale = alt.Scale(nice=False, zero=False)
    axis = axis or alt.Axis(tickCount=5)
    axis.grid = False
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=axis)


def share_axis(title: str) -> alt.Y:
    """Shares from 0 to 1, with ticks at quarters."""
    axis = percents([0, 0.25, 0.5, 0.75, 1])
    return alt.Y("share:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=axis)


def colour(names: Sequence[str]) -> alt.Color:
    """The colour of each classifier, of all those `names` in the page's order."""
    scale = alt.Scale(domain=list(names), range=[f"var(--c{i})" for i in range(len(names))])
    return alt.Color("classifier:N", scale=scale, legend=None)


def faded(full: float, faint: float = 0.12) -> alt.OpacityValue:
    """`full`, but `faint` for all other classifiers while the reader has singled one out."""
    test = "focus == null || datum.classifier === focus"
    return alt.OpacityValue(faint, condition={"test": test, "value": full})


def chart(name: str) -> alt.Chart:
    """A chart of the data called `name`, which `finish` puts beside the layers, once."""
    return alt.Chart(alt.NamedData(name=name))


def finish(layers: Sequence[alt.Chart], data: dict[str, Any], *, height: int) -> dict[str, Any]:
    """The Vega-Lite JSON of the layers, in the page's look."""
    axis = {
        "domainColor": LINE,
        "tickColor": LINE,
        "gridColor": LINE,
        "labelColor": MUTED,
        "titleColor": INK,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 500,
        "titlePadding": 10,
        "labelPadding": 6,
        "tickSize": 4,
    }
    spec = alt.layer(*layers).to_dict(validate=False)
    spec["width"], spec["height"] = "container", height
    spec["datasets"] = data
    spec.pop("$schema", None)
    spec["params"] = [{"name": "focus", "value": None}]
    spec["background"] = "transparent"
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["config"] = {"axis": axis, "view": {"stroke": None}, "font": "system-ui, sans-serif"}
    return spec
