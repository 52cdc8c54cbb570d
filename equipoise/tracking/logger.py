"""What a logger is: three methods. A logger follows one piece of work after another, never two at once."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

__all__ = ["Logger", "Status", "flat"]

Status = Literal["finished", "failed", "interrupted"]


class Logger(Protocol):
    """Follows pieces of work: ``start``, then ``log`` for each step, then ``finish``.

    Whatever a method raises ends the logging of that piece of work, never the work itself. A logger that is to go on
    after an interruption, in another process, has a `__repr__` that says where it writes.
    """

    def start(self, name: str, settings: Mapping[str, Any], key: str) -> None:
        """A piece of work begins, or goes on.

        Arguments:
            name: for people, such as ``l2-0.5``.
            settings: JSON-able, perhaps nested.
            key: eight letters and digits that no other piece of work has; the same when this one goes on.
        """
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured at a step; steps rise, and none comes twice. Every value is finite."""
        ...

    def finish(self, status: Status) -> None:
        """The piece of work ends, for good or until the command is repeated."""
        ...


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Settings as texts, those inside of others by names with dots: ``recipe.epochs``."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = str(value)
    return found
