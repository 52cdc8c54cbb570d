"""Pareto fronts of few points: what nobody beats on everything at once.

A point a dominates b where a is at least as good as b in every coordinate and better in one. The front is what no point
dominates; points that are equal stand on it together.

References:
    Performance assessment of multiobjective optimizers: an analysis and review (Zitzler et al., 2003),
    https://doi.org/10.1109/TEVC.2003.810758
"""

from collections.abc import Sequence
from typing import Literal

__all__ = ["dominates", "front", "stairs"]

Better = Literal["high", "low"]
Point = Sequence[float]


def dominates(a: Point, b: Point, better: Sequence[Better]) -> bool:
    """Whether a is at least as good as b in every coordinate and better in one.

    Arguments:
        a, b: with as many coordinates as `better`.
        better: of each coordinate, whether "high" or "low" values are.
    """
    gains = [x - y if way == "high" else y - x for x, y, way in zip(a, b, better, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


def front(points: Sequence[Point], better: Sequence[Better]) -> list[int]:
    """Places of the points that no point dominates, in their order."""
    return [
        k
        for k, point in enumerate(points)
        if not any(dominates(other, point, better) for other in points)
    ]


def stairs(points: Sequence[tuple[float, float]], worst: tuple[float, float]) -> list[Point]:
    """Corners of the line between what the points of a front dominate and what they do not, from its left to its end.

    Arguments:
        points: of a front in two coordinates.
        worst: the corner of the plot that everything dominates; from its height the line starts and ends.
    """
    # Along a front, what is better across is worse up: farthest from the worst across comes last.
    along = sorted(set(points), key=lambda point: abs(point[0] - worst[0]))
    if not along:
        return []
    corners: list[Point] = [(worst[0], along[0][1])]
    for here, after in zip(along, [*along[1:], None], strict=True):
        corners += [here, (here[0], after[1] if after else worst[1])]
    return corners
