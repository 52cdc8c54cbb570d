"""Progress with an estimate: a live bar on a terminal, a plain line now and then anywhere else."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

__all__ = ["Progress"]

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows how much of some long work is done and how long the rest will take.

    Arguments:
        title: what is being done.
        total: how many steps there are.
        done: how many of them were finished by an earlier, interrupted call.
        shown: of several processes that do the same, only one should show it.
    """

    def __init__(self, title: str, total: int, done: int = 0, *, shown: bool = True) -> None:
        self.title, self.total, self.done, self.shown = title, total, done, shown

    def __enter__(self) -> Self:
        self._started = self._spoken = time.monotonic()
        self._first = self.done
        console = Console(file=sys.stderr)
        self._bar = None
        if self.shown and console.is_terminal:
            self._bar = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.done)
        return self

    def advance(self, note: str = "") -> None:
        """Counts one step as done; `note` says which."""
        self.done += 1
        if self._bar is not None:
            title = f"{self.title} {note}" if note else self.title
            self._bar.update(self._task, completed=self.done, description=title)
            return
        now = time.monotonic()
        if self.shown and now - self._spoken >= _SECONDS_BETWEEN_LINES:
            self._spoken = now
            left = (now - self._started) / (self.done - self._first) * (self.total - self.done)
            print(
                f"{self.title}: {self.done} of {self.total}, about {left:.0f} s left {note}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
