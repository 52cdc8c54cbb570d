"""The page of a run behind an address: what is new there comes now and then, and nobody is asked about its pictures.

Answers would have to be sent after each, and two people who answer on two computers would overwrite each other's.
"""

import threading
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route

from equipoise.errors import EquipoiseError
from equipoise.remote import Mirror

__all__ = ["Fetching", "refuse"]

SECONDS, APART = 5.0, 5
"""Between one fetching and the next: at least, and in units of the time that the last one took."""


class Fetching:
    """Brings what is new in a run, no more often than is cheap.

    Attributes:
        home: the run's address.
        trouble: why nothing could be fetched the last time, None when it could.
    """

    def __init__(self, home: Mirror, clock: Callable[[], float] = time.monotonic) -> None:
        self.home = home
        self.trouble: str | None = None
        self._clock = clock
        self._next = clock() + SECONDS
        self._busy = threading.Lock()

    def fetch(self) -> str | None:
        """Fetches unless that is being done or was done just now; says `trouble`."""
        if self._clock() >= self._next and self._busy.acquire(blocking=False):
            began = self._clock()
            try:
                self.home.pull(shown=False)
                self.trouble = None
            except EquipoiseError as error:
                self.trouble = str(error)
            finally:
                ended = self._clock()
                self._next = ended + max(SECONDS, APART * (ended - began))
                self._busy.release()
        return self.trouble


def refuse(remote: Fetching) -> list[BaseRoute]:
    """Routes that say why nobody is asked, to be mounted in place of the human check."""

    def why(_: Request) -> PlainTextResponse:
        text = (
            f"Cannot ask people about {remote.home}: their answers would stay on this computer. Copy the run into a "
            "folder, for example with aws s3 sync or gcloud storage rsync, and view that."
        )
        return PlainTextResponse(text, 404)

    return [Route("/{rest:path}", why, methods=["GET", "POST"])]
