"""The trade-off on two axes at a time: points, the Pareto front and what can be said of it.

The front is of point estimates. A classifier behind it is clearly behind where the 95 % intervals of one on the front
lie wholly beyond its own on both axes; where none do, another sample of images could put it on the front. Classifiers
that checks speak against on one of the two axes take no part in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from equipoise.report.axes import Axis, axes_of, first_pair
from equipoise.report.groups import in_points
from equipoise.report.labels import place_labels
from equipoise.report.pareto import front, stairs
from equipoise.report.reading import Reading
from equipoise.report.story import left_out
from equipoise.report.table import Cell, Table, among, cell
from equipoise.report.words import against, apart

__all__ = ["LABEL", "Pair", "Pairs", "lay_pairs", "pair_up"]

LABEL = 130
"""Widest label of a point, in pixels."""

SIZE = (560, 340)
"""Of the plot that labels are placed for, in pixels: a little less than what a wide screen has."""


@dataclass(frozen=True)
class Pair:
    """Two axes, and every classifier that has a value on both.

    Attributes:
        rows: of the points, with both values, the place of the label, whether it is too `crowded` to show, and what
            speaks against them.
        stairs: corners of the line under the front.
        sentences: who is on the front, and how sure that is; none where there are not two to compare.
        words: what the chart shows, numbers included.
    """

    x: Axis
    y: Axis
    rows: list[dict[str, Any]]
    stairs: list[dict[str, float]]
    sentences: list[str]
    words: str


@dataclass(frozen=True)
class Pairs:
    """The section of the page.

    Attributes:
        axes: what the reader chooses from.
        across: place of the axis that goes across until then.
        up: place of the other one.
        sentences: of that pair.
        table: every value on every axis.
        data: what the page's script draws any other pair from.
    """

    axes: list[Axis]
    across: int
    up: int
    sentences: list[str]
    table: Table
    data: dict[str, Any]


def pair_up(reading: Reading, x: Axis, y: Axis) -> Pair:
    """Everything about one pair of axes."""
    rows = []
    for judged in reading.classifiers:
        if judged.name in x.found and judged.name in y.found:
            probes = dict.fromkeys((x.probe, y.probe))
            doubts = [check for p in probes for check in reading.warnings(judged.name, p)]
            rows.append(
                {
                    "classifier": judged.name,
                    "label": judged.trained if reading.ordered else judged.name,
                    "trained": judged.trained or "not stated",
                    "radius": judged.radius,
                    "against": against(doubts, "it"),
                }
                | x.fields("x", judged.name)
                | y.fields("y", judged.name)
            )
    place_labels(rows, x.ends, y.ends, limit=LABEL, size=SIZE, of=("x", "y"), drop=True)
    for row in rows:
        # Without a free place the label waits until the reader singles its point out.
        row["crowded"] = not row["place"]
        row["place"] = row["place"] or "right above"
    trusted = [row for row in rows if not row["against"]]
    on = front([(row["x"], row["y"]) for row in trusted], (x.better, y.better))
    alone = len(trusted) < 2
    corners = stairs([(trusted[k]["x"], trusted[k]["y"]) for k in on], (x.ends[0], y.ends[0]))
    listed = "; ".join(
        f"{row['classifier']}: {y.title} {row['y_text']}, {x.title} {row['x_text']}"
        + (f", though {row['against']}" if row["against"] else "")
        for row in rows
    )
    return Pair(
        x,
        y,
        rows,
        [] if alone else [{"x": a, "y": b, "order": k} for k, (a, b) in enumerate(corners)],
        _said(rows, trusted, set(on), (x, y)),
        f"{y.title} against {x.title}. {listed or 'Nothing has been measured on both yet'}.",
    )


def lay_pairs(reading: Reading) -> Pairs | None:
    """The section; None where fewer than two axes were measured."""
    axes = axes_of(reading)
    if len(axes) < 2:
        return None
    across, up = first_pair(reading, axes)
    names = [judged.name for judged in reading.classifiers]
    pairs = {
        f"{i}-{k}": pair_up(reading, axes[i], axes[k])
        for i, k in permutations(range(len(axes)), 2)
    }
    own = ("classifier", "label", "trained", "radius")
    everyone = [row for pair in pairs.values() for row in pair.rows]
    data = {
        "classifiers": [
            next(({f: row[f] for f in own} for row in everyone if row["classifier"] == name), None)
            for name in names
        ],
        "rungs": [
            (ladder, names.index(judged.name))
            for ladder, rungs in reading.ladders.items()
            for judged in rungs
        ],
        "axes": [
            axis.encoding
            | {"found": [axis.fields("", name) if name in axis.found else None for name in names]}
            for axis in axes
        ],
        "pairs": {
            key: {
                "words": pair.words,
                "sentences": pair.sentences,
                "stairs": pair.stairs,
                "rows": [
                    [
                        names.index(row["classifier"]),
                        *(row[field] for field in ("place", "crowded", "against")),
                    ]
                    for row in pair.rows
                ],
            }
            for key, pair in pairs.items()
        },
    }
    return Pairs(
        axes, across, up, pairs[f"{across}-{up}"].sentences, _tabulate(reading, axes), data
    )


def _said(
    rows: Sequence[dict[str, Any]],
    trusted: Sequence[dict[str, Any]],
    on: set[int],
    axes: tuple[Axis, Axis],
) -> list[str]:
    """Who is on the front, who is behind it, and who was left out."""
    out = [*left_out([apart(row["classifier"]) for row in rows if row["against"]])]
    if len(trusted) < 2:
        return out
    ahead = [row for k, row in enumerate(trusted) if k in on]
    behind = [row for k, row in enumerate(trusted) if k not in on]
    sure = [row for row in behind if any(_beyond(other, row, axes) for other in ahead)]
    unsure = [row for row in behind if row not in sure]
    if not behind:
        said = [
            f"By point estimates all {len(trusted)} classifiers stand on the Pareto front: none is at least as good as "
            "another on both axes and better on one."
        ]
    else:
        stand = "stands" if len(ahead) == 1 else "stand"
        said = [
            f"By point estimates {_listed(ahead)} {stand} on the Pareto front: no other classifier is at least as good "
            "on both axes and better on one."
        ]
    if sure:
        lie, its = ("lies", "its") if len(sure) == 1 else ("lie", "their")
        said.append(
            f"{_listed(sure)} {lie} clearly behind it: the 95% intervals of one on the front lie wholly beyond {its} "
            "own on both axes."
        )
    if unsure:
        lie, its = ("lies", "its") if len(unsure) == 1 else ("lie", "their")
        said.append(
            f"{_listed(unsure)} {lie} behind it by point estimates alone: no intervals on the front lie wholly beyond "
            f"{its} own on both axes."
        )
    return said + out


def _beyond(a: dict[str, Any], b: dict[str, Any], axes: tuple[Axis, Axis]) -> bool:
    """Whether the intervals of a lie wholly beyond those of b on both axes."""
    return all(
        a[f"{way}_low"] > b[f"{way}_high"]
        if axis.better == "high"
        else a[f"{way}_high"] < b[f"{way}_low"]
        for way, axis in zip("xy", axes, strict=True)
    )


def _listed(rows: Sequence[dict[str, Any]]) -> str:
    *first, last = (apart(row["classifier"]) for row in rows)
    return f"{', '.join(first)} and {last}" if first else last


def _tabulate(reading: Reading, axes: Sequence[Axis]) -> Table:
    rows, counts = [], []
    for judged in reading.classifiers:
        found = [axis.found.get(judged.name) for axis in axes]
        mine = [s.n for s in found if s]
        rows.append(
            (judged.name, among(mine), [_cell(reading, axis, judged.name) for axis in axes])
        )
        counts += mine
    methods = sorted({s.method for axis in axes for s in axis.found.values()})
    return Table([axis.title for axis in axes], rows, among(counts), methods)


def _cell(reading: Reading, axis: Axis, name: str) -> Cell | None:
    if name not in axis.found:
        return None
    if axis.unit == "points":
        return in_points(axis.found[name])
    warned = bool(reading.warnings(name, axis.probe))
    return cell(axis.found[name], share=axis.unit == "share", decimals=2, warned=warned)
