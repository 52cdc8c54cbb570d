"""The verb that serves a run's page: view."""

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from equipoise.cli.app import app, say

__all__ = ["view"]


@app.command
def view(
    run: str,
    *,
    port: int | None = None,
    browser: Annotated[bool, Parameter(negative="--no-browser")] = True,
    questions: int = 30,
    seed: int = 0,
) -> None:
    """Show the page of a run in the browser, up to date while its audit runs. Ctrl-C ends it.

    Below /people/ people look at images without knowing their kind and say which class they see. Nothing but this
    computer can reach the server.

    Parameters
    ----------
    run
        The folder that an audit or a study writes, or will write, or its address.
    port
        Where to serve; 0 takes any free port. [default: 8321, or the next free one]
    browser
        Open the page.
    questions
        Pictures of each kind that people are asked about, at most; fixed once the first person has joined.
    seed
        Of the choice of these pictures and of their order.
    """
    from equipoise.view import serve

    serve(run, port=port, browser=browser, questions=questions, seed=seed, say=say)
    # Everything is written. A page that is being made would hold up the end, and cannot be stopped inside DuckDB.
    sys.stdout.flush()
    os._exit(0)
