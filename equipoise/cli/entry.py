"""The entry point: mistakes become one line, and options may stand in a file."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import cyclopts

from equipoise.cli.app import app
from equipoise.errors import EquipoiseError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Entry point: a mistake of the user's becomes one line on standard error and exit code 2; Ctrl-C gives 130, and
    SIGTERM, which a scheduler sends before it kills, 143."""
    tokens = sys.argv[1:] if arguments is None else arguments
    try:
        with _terminable():
            _with_config(tokens)
    except (EquipoiseError, cyclopts.CycloptsError) as error:
        line = " ".join(str(error).split())
        print(f"equipoise: {line}", file=sys.stderr)
        sys.exit(2)
    except _Terminated:
        _stopped("terminated", 143)
    except KeyboardInterrupt:
        _stopped("interrupted", 130)
    except RuntimeError as error:
        # What DuckDB makes of Ctrl-C in the middle of a query.
        if str(error) != "Query interrupted":
            raise
        _stopped("interrupted", 130)


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


def _check_yaml(path: Path) -> None:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EquipoiseError(
            f"Cannot read the configuration {str(path)!r}: it is not YAML ({error})."
        ) from None
    verbs = {"audit", "train", "denoise", "counterfactuals", "study", "theory", "check", "report"}
    verbs |= {"compare", "convert", "export", "transfer", "verify", "view"}
    if not isinstance(content, dict) or not content.keys() <= verbs:
        raise EquipoiseError(
            f"Cannot use the configuration {str(path)!r}: at its top it needs a verb ({', '.join(sorted(verbs))}) with "
            "the options below it."
        )


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
        _check_yaml(path)
        app.config = (cyclopts.config.Yaml(path, must_exist=True),)
        tokens = tokens[:place] + tokens[place + 2 :]
    app(tokens, exit_on_error=False, print_error=False)
