"""The entry point: mistakes become one line, and options may stand in a file.

What breaks a reader in a way that nobody thought of becomes one line, too: a file from elsewhere can hold anything, and
a page of Python helps nobody who only opened it. The variable ``EQUIPOISE_TRACEBACK=1`` shows where it was.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import cyclopts

from equipoise.cli.app import app
from equipoise.cli.configuration import check_config
from equipoise.errors import EquipoiseError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Entry point: a mistake of the user's becomes one line on standard error and exit code 2, what nobody thought of
    one line and exit code 1; Ctrl-C gives 130, and SIGTERM, which a scheduler sends before it kills, 143."""
    tokens = sys.argv[1:] if arguments is None else arguments
    try:
        with _terminable():
            _with_config(tokens)
    except (EquipoiseError, cyclopts.CycloptsError) as error:
        _say(str(error))
        sys.exit(2)
    except _Terminated:
        _stopped("terminated", 143)
    except KeyboardInterrupt:
        _stopped("interrupted", 130)
    except Exception as error:
        # What DuckDB makes of Ctrl-C in the middle of a query.
        if isinstance(error, RuntimeError) and str(error) == "Query interrupted":
            _stopped("interrupted", 130)
        if os.environ.get("EQUIPOISE_TRACEBACK"):
            raise
        _say(
            f"{type(error).__name__}: {str(error)[:500]}. A file that was read is damaged or of something else, or "
            "equipoise is at fault: repeat with EQUIPOISE_TRACEBACK=1 to see where, and report that."
        )
        sys.exit(1)


def _say(text: str) -> None:
    line = " ".join(text.split())
    # Half of a surrogate pair, from the name of a file, cannot be printed.
    print(f"equipoise: {line}".encode("utf-8", "replace").decode(), file=sys.stderr)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which everything takes as it takes Ctrl-C."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Makes SIGTERM an exception, so that temporary files are removed and other processes ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(how: str, code: int) -> NoReturn:
    print(
        f"\nequipoise: {how}. What was finished is kept: repeat the command to go on.",
        file=sys.stderr,
    )
    sys.exit(code)


def _with_config(tokens: list[str]) -> None:
    """Takes ``--config FILE.yaml`` out of the arguments; it holds the options of a verb under the verb's name."""
    app.config = ()
    tokens = [
        part
        for token in tokens
        for part in (token.split("=", 1) if token.startswith("--config=") else [token])
    ]
    if "--config" in tokens:
        place = tokens.index("--config")
        if place + 1 == len(tokens):
            raise EquipoiseError("--config needs a file: --config run.yaml")
        path = Path(tokens[place + 1])
        if not path.is_file():
            raise EquipoiseError(
                f"Cannot read the configuration {str(path)!r}: there is no such file."
            )
        check_config(path)
        app.config = (cyclopts.config.Yaml(path, must_exist=True),)
        tokens = tokens[:place] + tokens[place + 2 :]
    app(tokens, exit_on_error=False, print_error=False)
