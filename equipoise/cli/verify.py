"""The verb that looks whether files are as they were written."""

import sys

from rich.console import Console
from rich.markup import escape

from equipoise.cli.app import app, plain_table, say
from equipoise.errors import EquipoiseError

__all__ = ["verify"]


@app.command
def verify(where: str) -> None:
    """Look whether every file of a run, of a set that was made, or of all that a study keeps is as it was written.

    Exits with 1 when one is not, and with 2 when it cannot be told.

    Nothing is changed: repeating the command that wrote the folder makes damaged files again.

    Parameters
    ----------
    where
        The folder of an audit, a study, counterfactuals or features, or its address, such as s3://bucket/run: what lies
        there is read, not the copy of it on this computer.
    """
    from equipoise.audit import verify as verify_all

    found = []
    for one in verify_all(where):
        found.append(one)
        state = f"{len(one.damaged)} damaged" if one.damaged else "as they were written"
        say(f"{one.folder}: {one.trouble or f'{one.kind}, {one.files} files, {state}'}")
    damaged = [(one, file, why) for one in found for file, why in one.damaged.items()]
    if damaged:
        again = "repeat the command that wrote the folder: these are made again"
        table = plain_table("file", again)
        table.add_column("what is wrong")
        for one, file, why in damaged:
            name = file if one.folder == "." else f"{one.folder}/{file}"
            table.add_row(escape(name), escape(why))
        Console().print(table)
    unread = [one for one in found if one.trouble is not None]
    if unread:
        raise EquipoiseError(
            f"Cannot verify {len(unread)} of {len(found)} runs and sets of {where}, beginning with "
            f"{unread[0].folder}: {unread[0].trouble}"
        )
    if damaged:
        sys.exit(1)
    say(f"Every file that {where} lists is as it was written.")
