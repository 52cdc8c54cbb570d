"""``--config FILE.yaml``: the options of a verb, under the verb's name.

YAML can ask for more than it says: names of Python objects, a list that holds another ten times, which holds another
ten times, and brackets without end. Only words, numbers, lists and names of options are read, and few of them.
"""

from pathlib import Path
from typing import Any

from equipoise.bounds import measure, read_bounded
from equipoise.errors import EquipoiseError

__all__ = ["LARGEST_CONFIG", "check_config"]

LARGEST_CONFIG = 2**18
"""Bytes of a file."""

_MOST_VALUES = 10_000
_DEEPEST = 8

_VERBS = {
    *("audit", "train", "denoise", "counterfactuals", "study", "theory", "check", "report"),
    *("compare", "convert", "export", "pack", "transfer", "view"),
}


def check_config(path: Path) -> None:
    """Refuses a file that holds anything but options.

    Raises:
        EquipoiseError: which says why.
    """
    import yaml

    try:
        text = read_bounded(path, LARGEST_CONFIG).decode("utf-8")
        _check_events(text)
        content = yaml.safe_load(text)
        measure(content, _MOST_VALUES, _DEEPEST)
        _check_plain(content)
    except OSError as error:
        raise EquipoiseError(
            f"Cannot read the configuration {str(path)!r}: {error.strerror or error}."
        ) from None
    except EquipoiseError:
        raise
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        raise EquipoiseError(
            f"Cannot read the configuration {str(path)!r}: it is not YAML ({str(error)[:500]})."
        ) from None
    if not isinstance(content, dict) or not content.keys() <= _VERBS:
        raise EquipoiseError(
            f"Cannot use the configuration {str(path)!r}: at its top it needs a verb ({', '.join(sorted(_VERBS))}) "
            "with the options below it."
        )


def _check_events(text: str) -> None:
    """Refuses what is deep or long before it is put together, which takes a call of a function for each level and far
    more time than to follow it."""
    import yaml

    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or count > _MOST_VALUES:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep, or too long")


def _check_plain(value: Any) -> None:
    """Refuses what is neither an option's name nor a value that could be written on a command line."""
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        _check_plain(item)
    if isinstance(value, dict) and not all(isinstance(name, str) for name in value):
        raise ValueError("a name in it is no word")
    if not isinstance(value, str | int | float | list | dict | None):
        raise ValueError(
            f"{str(value)[:40]!r} is a {type(value).__name__}: write it between quotes"
        )
