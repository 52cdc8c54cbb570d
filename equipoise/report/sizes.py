"""Standard accuracy of several trainings, against the number of training images and against the radius of training."""

import math
from typing import Any

import altair as alt

from equipoise.report.figure import Figure, domain, percents, scale
from equipoise.report.lines import by_series, radii
from equipoise.report.points import Rows, grouped, point, sentence, signed
from equipoise.report.reading import Reading
from equipoise.report.words import count

__all__ = ["gains", "in_short", "over_radius", "over_sizes"]


def over_sizes(reading: Reading) -> list[Figure]:
    """Standard accuracy against the number of training images, one chart for each way of training."""
    rows = reading.exhibits.get("sizes", [])
    if not rows:
        return []
    y = domain([row[end] for row in rows for end in ("low", "high") if row[end] is not None])
    axis = alt.Y("share:Q", title="Standard accuracy", scale=scale(y), axis=percents())
    return [
        _over_sizes(family, mine, "value", axis, f"Trained against {family}")
        for family, mine in grouped(rows, "family").items()
    ]


def gains(reading: Reading) -> list[Figure]:
    """How much each way of training adds to standard accuracy, against the number of training images."""
    rows = [row for row in reading.exhibits.get("sizes", []) if row["radius"]]
    if not rows:
        return []
    ends = [row[end] for row in rows for end in ("gain_low", "gain_high") if row[end] is not None]
    low, high = (
        step(end * 20) / 20 for step, end in ((math.floor, min(ends)), (math.ceil, max(ends)))
    )
    axis = alt.Y(
        "share:Q",
        title="Gain in standard accuracy, points",
        scale=scale([min(low, -0.05), max(high, 0.05)]),
        axis=alt.Axis(labelExpr="format(100 * datum.value, '+d')", tickCount=5),
    )
    return [
        _over_sizes(family, mine, "gain", axis, f"Gain from training against {family}")
        for family, mine in grouped(rows, "family").items()
    ]


def _over_sizes(family: str, rows: Rows, field: str, y: alt.Y, title: str) -> Figure:
    """One family's lines over the sizes, of the accuracy itself or of the gain."""
    drawn = [
        point(row, f"radius {row['trained']}", field)
        | {"size": row["size"], "at": f"{count(row['size'])} images"}
        for row in rows
    ]
    trained = {row["trained"]: f"radius {row['trained']}" for row in rows}
    colours = {f"radius {row['trained']}": f"var(--s{row['rung']})" for row in rows}
    x = alt.X(
        "size:Q",
        title="Training images",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(values=sorted({row["size"] for row in rows}), format=",d", grid=False),
    )
    words = sentence(f"{title}, by number of training images.", drawn)
    return by_series(drawn, title, words, names=list(trained.values()), colours=colours, x=x, y=y)


def over_radius(reading: Reading) -> list[Figure]:
    """Standard accuracy against the radius of training at the largest size, one chart for each norm."""
    rows = reading.exhibits.get("sizes", [])
    if not rows:
        return []
    largest = [row for row in rows if row["size"] == max(r["size"] for r in rows)]
    y = domain([row[end] for row in largest for end in ("low", "high") if row[end] is not None])
    axis = alt.Y("share:Q", title="Standard accuracy", scale=scale(y), axis=percents())
    figures = []
    norms: dict[str, list[dict[str, Any]]] = {}
    for row in largest:
        norms.setdefault(row["family"].partition(",")[0], []).append(row)
    for norm, mine in norms.items():
        drawn = [
            point(row, row["family"].partition(", ")[2] or "adversarial images alone", "value")
            | {"radius": row["radius"], "at": f"radius {row['trained']}"}
            for row in mine
        ]
        written = {row["radius"]: row["trained"] for row in mine}
        figures.append(
            by_series(
                drawn,
                f"Trained against {norm}",
                sentence(f"Standard accuracy of training against {norm}, by radius.", drawn),
                names=list(dict.fromkeys(row["series"] for row in drawn)),
                x=radii(written, norm),
                y=axis,
            )
        )
    return figures


def in_short(reading: Reading) -> str:
    """What the middle radius of the first family changes with the fewest and with the most images, in a sentence."""
    rows = [row for row in reading.exhibits.get("sizes", []) if row["radius"]]
    if not rows:
        return ""
    family = [row for row in rows if row["family"] == rows[0]["family"]]
    rungs = sorted({row["rung"] for row in family})
    mine = [row for row in family if row["rung"] == rungs[len(rungs) // 2]]
    few, many = (pick(mine, key=lambda row: row["size"]) for pick in (min, max))
    changes = [signed(row["gain"], row["gain_low"], row["gain_high"]) for row in (few, many)]
    return (
        f"Beside standard training on as many images, adversarial training at {few['family']} radius {few['trained']} "
        f"changes standard accuracy by {changes[0]} with {count(few['size'])} training images and by {changes[1]} with "
        f"{count(many['size'])} (95% intervals over {few['seeds']} trainings and the test images)."
    )
