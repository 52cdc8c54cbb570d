"""The option --log of several verbs."""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equipoise.audit import Run
    from equipoise.tracking import Logger

__all__ = ["check_loggers", "logging_to", "tell"]


@contextlib.contextmanager
def logging_to(specs: Sequence[str] | None) -> Iterator[list["Logger"]]:
    """The loggers of `specs`; what goes wrong with one of them meanwhile becomes one line on standard error."""
    from equipoise.tracking import TrackingWarning, load_logger

    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, TrackingWarning):
            print(f"equipoise: {message}", file=sys.stderr)
        else:
            usual(message, category, *rest, **more)

    loggers = [load_logger(spec) for spec in dict.fromkeys(specs or ())]
    with warnings.catch_warnings():
        if loggers:
            warnings.simplefilter("always", TrackingWarning)
            warnings.showwarning = show
        yield loggers


def check_loggers(specs: Sequence[str] | None) -> None:
    """Finds a mistake in `specs` before the hours of work whose end they are to be told."""
    if specs:
        from equipoise.tracking import load_logger

        for spec in specs:
            load_logger(spec)


def tell(run: "Run", specs: Sequence[str] | None) -> None:
    """Tells the loggers of `specs` the summary of a run."""
    if specs:
        from equipoise.audit import log_run

        with logging_to(specs) as loggers:
            log_run(run, loggers)
