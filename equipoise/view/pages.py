"""The newest page of a run, made again when there is something new: one at a time, in a thread of its own.

Making a page takes from half a second to many, of which the audit beside it would rather have none. So it is made only
while somebody looks, and again no sooner than five times its own making after the last.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from equipoise.audit import Run
from equipoise.errors import EquipoiseError
from equipoise.report.page import render
from equipoise.report.reading import Reading

__all__ = ["Page", "Pages"]

APART = 5
"""Times the last making that lie between the end of one and the beginning of the next."""


@dataclass(frozen=True)
class Page:
    """A page as `equipoise report` would have written it, and the `Progress.mark` that it was made at."""

    mark: str
    text: str


class Pages:
    """Makes pages of the run in a folder.

    Arguments:
        named: in its block errors name the run as its user does.

    Attributes:
        newest: the last page made, None before the first.
        trouble: why the last one could not be made, None when it could.
    """

    def __init__(self, named: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._named = named
        self.newest: Page | None = None
        self.trouble: str | None = None
        self._mark: str | None = None
        self._complete = False
        self._making = threading.Lock()
        self._next = 0.0

    @property
    def busy(self) -> bool:
        """Whether a page is being made."""
        return self._making.locked()

    def refresh(self, folder: Path, mark: str, *, complete: bool = False) -> None:
        """Begins a page of the run in `folder`, unless one was made at `mark`, is being made or was made just now.

        The first page of a run that is complete does not wait: nothing runs beside it any more.
        """
        due = time.monotonic() >= self._next or (complete and not self._complete)
        if mark != self._mark and due and self._making.acquire(blocking=False):
            self._mark, self._complete = mark, complete
            threading.Thread(target=self._make, args=(folder, mark)).start()

    def _make(self, folder: Path, mark: str) -> None:
        began = time.monotonic()
        try:
            with self._named():
                self.newest = Page(mark, render(Reading(Run(folder))))
            self.trouble = None
        except EquipoiseError as error:
            self.trouble = str(error)
        except Exception:
            # What is shown stays, and the next shard is another chance.
            logging.getLogger(__name__).exception("Cannot make the page of %s", folder)
            self.trouble = "The page could not be made; the terminal says why."
        finally:
            ended = time.monotonic()
            self._next = ended + APART * (ended - began)
            self._making.release()
