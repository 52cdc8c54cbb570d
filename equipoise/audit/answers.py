"""What is in a shard: the columns that an audit writes, of the types that it gives them. A run may come from anybody.

A shard of other columns or types is refused when it is opened. Values can be wrong in more ways than can be listed:
where one leads astray what is computed from it, that is said of the shards.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.audit.plan import IMAGES
from equipoise.errors import EquipoiseError
from equipoise.probes import load_probe

__all__ = ["COMMON_TYPES", "IMAGE_TYPES", "astray", "check_facts", "check_images", "types_of"]

IMAGE_TYPES = {
    "id": "VARCHAR",
    "label": "INTEGER",
    "group": "VARCHAR",
    "digest": "VARCHAR",
    "picture": "BLOB",
}
"""The columns of the images' own shards."""

COMMON_TYPES = {
    "classifier": "VARCHAR",
    "probe": "VARCHAR",
    "id": "VARCHAR",
    "label": "INTEGER",
    "group": "VARCHAR",
}
"""The columns that every measurement begins with."""

LONGEST = 1e9
"""Seconds that a shard can have taken: thirty years."""

REMEDY = (
    "equipoise verify lists what was damaged since it was written; what somebody else sent, ask them for again or "
    "audit yourself."
)


def types_of(probe: str) -> dict[str, str]:
    """The SQL type of each column in shards of a probe, given its spec, or in those of the images."""
    return IMAGE_TYPES if probe == IMAGES else COMMON_TYPES | dict(load_probe(probe).types)


def check_images(columns: Mapping[str, NDArray], classes: int) -> None:
    """Looks whether ids are texts, and labels are numbers of classes.

    Arguments:
        columns: ``id`` and ``label``, with a value for each image.
        classes: how many there are.

    Raises:
        EquipoiseError: where they are not.
    """
    ids, labels = columns["id"], columns["label"]
    if not all(isinstance(name, str) for name in ids):
        raise EquipoiseError(f"Cannot read the shards: images without an id are in them. {REMEDY}")
    whole = labels.dtype.kind == "i"
    if len(labels) and not (whole and labels.min() >= 0 and labels.max() < classes):
        low, high = np.min(labels), np.max(labels)
        raise EquipoiseError(
            f"Cannot read the shards: labels from {low} to {high} are in them, where there are {classes} "
            f"classes. {REMEDY}"
        )


def check_facts(facts: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """`facts`, once what a shard says of itself is of its kinds.

    Raises:
        EquipoiseError: where it is not.
    """
    broken, notes, seconds = facts.get("broken", []), facts.get("notes", []), facts.get("seconds")
    right = {
        "broken": isinstance(broken, list)
        and all(isinstance(item, list) and len(item) == 2 for item in broken)
        and all(isinstance(text, str) for item in broken for text in item),
        "notes": isinstance(notes, list) and all(isinstance(note, str) for note in notes),
        "seconds": isinstance(seconds, int | float) and 0 <= seconds < LONGEST,
        "device": isinstance(facts.get("device"), str),
        "equipoise": isinstance(facts.get("equipoise"), str),
    }
    for name in (name for name, holds in right.items() if not holds):
        raise EquipoiseError(
            f"Cannot read the shards: what {path} says of {name!r} is not what an audit writes. {REMEDY}"
        )
    return facts


@contextlib.contextmanager
def astray(what: str) -> Iterator[None]:
    """Says of `what` that it cannot be computed from the answers, whatever they led it into.

    Arguments:
        what: is computed in the block.
    """
    try:
        yield
    except EquipoiseError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EquipoiseError(
            f"Cannot compute {what}: the answers in the shards are not those of an audit ({type(error).__name__}: "
            f"{reason}). {REMEDY}"
        ) from error
