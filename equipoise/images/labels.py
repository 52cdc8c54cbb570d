"""What the labels of a table mean: from the values in its label column to indices into `classes`.

Names that come with the table decide. Without any, distinct words are sorted and become the
classes, while whole numbers are taken as indices already: a split that lacks a class must not
shift the labels of the others.
"""

import math
from collections.abc import Iterable
from typing import Any

from equipoise.errors import EquipoiseError

__all__ = ["MOST_CLASSES", "index_labels"]

MOST_CLASSES = 100_000


def index_labels(
    values: Iterable[Any], names: tuple[str, ...] | None, where: str
) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Gives every label an index.

    Arguments:
        values: the distinct labels of all splits, words or whole numbers (also written as words).
        names: the class names, when they are known.
        where: what holds the labels, for error messages.

    Returns:
        The class names, and the index of each of `values` among them.

    Raises:
        EquipoiseError: when a label is missing, is no known name, or lies outside 0..K-1.
    """
    try:
        values = set(values)
    except TypeError:
        raise EquipoiseError(
            f"Cannot use the labels of {where}: they are lists. Write a whole number or a word into each row."
        ) from None
    nan = any(isinstance(value, float) and math.isnan(value) for value in values)
    if nan or None in values or "" in values:
        raise EquipoiseError(
            f"Cannot label the images of {where}: some rows have no label. Fill the label column "
            "in or remove those rows."
        )
    numbers = {value: _whole(value) for value in values}
    known = set(names or ())
    if len(values) > MOST_CLASSES:
        raise EquipoiseError(
            f"Cannot use the labels of {where}: there are more than {MOST_CLASSES} of them. Are they ids?"
        )
    if names is None and None in numbers.values():
        names = tuple(sorted({str(value) for value in values}))
        place = {name: index for index, name in enumerate(names)}
        return names, {value: place[str(value)] for value in values}
    if names is None:
        top = max((number for number in numbers.values() if number is not None), default=-1)
        names = tuple(str(number) for number in range(min(top + 1, MOST_CLASSES)))
    place = {name: index for index, name in enumerate(names)}
    index: dict[Any, int] = {}
    for value, number in numbers.items():
        if value in known:
            index[value] = place[value]
        elif number is not None and 0 <= number < len(names):
            index[value] = number
        else:
            raise EquipoiseError(
                f"Cannot use the label {value!r} of {where}: labels must be "
                f"0..{max(len(names), 1) - 1} or class names. Correct the table or its class "
                "names."
            )
    return names, index


def _whole(value: Any) -> int | None:
    """`value` as a whole number, `None` for a word."""
    try:
        return int(value) if not isinstance(value, float) else None
    except (TypeError, ValueError):
        return None
