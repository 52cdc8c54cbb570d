"""Serving on this computer alone, until Ctrl-C."""

import contextlib
import errno
import os
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn

from equipoise.errors import EquipoiseError
from equipoise.remote import place
from equipoise.view.questions import PER_KIND
from equipoise.view.server import application

__all__ = ["PORT", "bind", "serve"]

PORT = 8321
"""Where to serve unless told otherwise."""

TRIED = 20
"""How many ports from `PORT` on are tried before any free one is taken."""


def serve(
    folder: str | Path,
    *,
    port: int | None = None,
    browser: bool = True,
    questions: int = PER_KIND,
    seed: int = 0,
    say: Callable[[str], object],
) -> None:
    """Serves the page of the run in `folder`, and below /people/ the human check, on 127.0.0.1 until Ctrl-C.

    Arguments:
        folder: of a run, also one whose audit has not begun, or its address.
        port: where; any free one when 0, `PORT` or the next free one when None.
        browser: whether to open the page in the user's browser.
        questions: how many pictures of each kind people are asked about at most.
        seed: of the choice of these pictures and of their order.
        say: told the address once the server answers.

    Raises:
        EquipoiseError: when there is no such folder, the port is taken, or there are no questions to ask.
    """
    home = place(folder)
    folder = home.pull()
    if not folder.is_dir():
        what = "it is a file" if folder.exists() else "there is no such folder"
        raise EquipoiseError(
            f"Cannot view {str(folder)!r}: {what}. Give the folder that an audit writes; an empty one waits for its "
            "audit."
        )
    if questions < 1:
        raise EquipoiseError(
            f"Cannot ask people {questions} questions of each kind: ask one or more."
        )
    with bind(port) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        say(f"Page: {address} (Ctrl-C ends)")
        if browser:
            # Some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        config = uvicorn.Config(
            application(folder, home, questions=questions, seed=seed),
            log_level="error",
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        # uvicorn ends what it serves and then raises the Ctrl-C again.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def bind(port: int | None) -> socket.socket:
    """A listening socket on 127.0.0.1; see `serve`."""
    if port is not None:
        return _listen(port)
    for candidate in range(PORT, PORT + TRIED):
        with contextlib.suppress(EquipoiseError):
            return _listen(candidate)
    return _listen(0)


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    # On Windows this option would let two servers share a port.
    if os.name != "nt":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        number = error.errno if isinstance(error, OSError) else None
        why = {
            errno.EADDRINUSE: "something else serves there",
            errno.EACCES: "ports below 1024 need special rights",
        }.get(number or 0, str(error).rstrip("."))
        raise EquipoiseError(
            f"Cannot serve on port {port}: {why}. Give another --port, or leave it out for the next free one."
        ) from None
    return listening
