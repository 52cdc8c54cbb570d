"""The verb that looks whether files are as they were written."""

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from equipoise.cli.app import app, plain_table, say

__all__ = ["verify"]


@app.command
def verify(folder: Path) -> None:
    """Look whether every file of a run, or of a set that was made, is as it was written; exits with 1 when one is not.

    Nothing is changed: repeating the command that wrote the folder makes damaged files again.

    Parameters
    ----------
    folder
        Of an audit, a study, counterfactuals or features.
    """
    from equipoise.audit import Run
    from equipoise.files import read_json
    from equipoise.images.resuming import verify_set

    records = [folder / name for name in ("set.json", "features.json")]
    made = next((record for record in records if record.is_file()), None)
    damaged = verify_set(folder, read_json(made)) if made else Run(folder).verify()
    if not damaged:
        say(f"Every file that {folder} lists is as it was written.")
        return
    table = plain_table("file", "repeat the command that wrote the folder: these are made again")
    table.add_column("what is wrong")
    for file, reason in damaged.items():
        table.add_row(escape(file), escape(reason))
    Console().print(table)
    sys.exit(1)
