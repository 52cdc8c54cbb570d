"""What one piece of work tells its loggers: every step once, also when it is interrupted and goes on.

Beside the work lies ``tracking.json``: for each logger and piece of work its key, the last step that was told, how it
ended, and why telling failed, where it did. A step is noted before it is told, so that a kill between the two loses
one step of a logger rather than telling it twice. A logger that comes later, or failed before, is told everything that
it has not heard yet when the command is repeated.
"""

import math
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from equipoise.errors import EquipoiseError
from equipoise.files import read_json, write_json
from equipoise.tracking.logger import Logger, Status

__all__ = ["TrackingWarning", "Trail"]


class TrackingWarning(UserWarning):
    """A logger failed; the work goes on without it."""


class Trail:
    """One piece of work and its loggers.

    Arguments:
        folder: of the work, where ``tracking.json`` is kept.
        name: of the work, for people.
        identity: of what is done; with another one the work begins afresh.
        settings: JSON-able.
        loggers: all different.

    Raises:
        EquipoiseError: on entering, for a mistake that a logger finds when it starts.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        identity: str,
        settings: Mapping[str, Any],
        loggers: Sequence[Logger],
    ) -> None:
        self.path, self.name = folder / "tracking.json", name
        self.identity, self.settings = identity, settings
        self.loggers = {_called(logger): logger for logger in loggers}

    def __enter__(self) -> Self:
        self._record: dict[str, Any] = {}
        self._active: dict[str, Logger] = {}
        if not self.loggers:
            return self
        self._record = read_json(self.path) if self.path.is_file() else {}
        for called, logger in self.loggers.items():
            told = self._record.setdefault(called, {})
            known = told.get(self.name, {})
            if known.get("identity") != self.identity:
                known = {"identity": self.identity, "key": secrets.token_hex(4), "step": -1}
            told[self.name] = known | {"failure": None}
            if known.get("status") != "finished":
                self._active[called] = logger
        self._write()
        for called, logger in list(self._active.items()):
            key = self._record[called][self.name]["key"]
            self._try(
                called, lambda logger=logger, key=key: self._start(logger, key), EquipoiseError
            )
        return self

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Tells `values` at `step` to those who have not heard of it; what is no finite number is left out."""
        finite = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        new = {c: logger for c, logger in self._active.items() if self._of(c)["step"] < step}
        before = {called: self._of(called)["step"] for called in new}
        for called in new:
            self._of(called)["step"] = step
        if new:
            self._write()
        for called, logger in new.items():
            told = self._try(called, lambda logger=logger: logger.log(step, finite))
            if not told:
                self._of(called)["step"] = before[called]
                self._write()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        status: Status = "finished"
        if kind is not None:
            status = "failed" if issubclass(kind, Exception) else "interrupted"
        for called, logger in list(self._active.items()):
            if self._try(called, lambda logger=logger: logger.finish(status)):
                self._of(called)["status"] = status
        if self._active:
            self._write()

    def _start(self, logger: Logger, key: str) -> None:
        logger.start(self.name, self.settings, key)

    def _of(self, called: str) -> dict[str, Any]:
        return self._record[called][self.name]

    def _try(
        self, called: str, do: Callable[[], None], raised: type[Exception] | tuple[()] = ()
    ) -> bool:
        """Whether `do` went well; if not, the logger is left out from now on, unless the error is to be `raised`."""
        try:
            do()
        except raised:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self._of(called)["failure"] = reason
            del self._active[called]
            self._write()
            warnings.warn(
                f"Logging {self.name} to {called} failed, and goes on without it: {reason}. Repeat the command to "
                "tell it what it missed.",
                TrackingWarning,
                stacklevel=2,
            )
            return False
        return True

    def _write(self) -> None:
        write_json(self.path, self._record)


def _called(logger: Logger) -> str:
    """Its name in the record, equal in every process."""
    kind = type(logger)
    stated = kind.__repr__ is not object.__repr__ or kind.__str__ is not object.__str__
    return str(logger) if stated else f"{kind.__module__}.{kind.__qualname__}"
