"""The verb `study` and what all studies print."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

from equipoise.cli.app import app, plain_table, say

__all__ = ["Words", "print_claims", "study"]

study = App(
    name="study",
    help="Reproduce a paper: train, make, measure, test every claim, and write a page.\n\n"
    "Repeating a command goes on where it stopped.",
)
app.command(study)

Words = Annotated[list[str] | None, Parameter(consume_multiple=True)]


def print_claims(run: Any, page: Path) -> None:
    """Each statement once, with the classifiers that it holds of and those that it fails of."""
    said: dict[tuple[str, str], dict[str, list[str]]] = {}
    for claim in run.claims():
        verdicts = said.setdefault((claim.id, claim.text), {})
        verdicts.setdefault(claim.verdict, []).append(claim.classifier or "")
    table = plain_table(
        "claim", "holds, fails or is undecided by its 95% interval; numbers are on the page"
    )
    table.add_column("statement")
    table.add_column("verdict")
    colours = {"holds": "green", "fails": "red", "undecided": "yellow"}
    for (name, text), verdicts in said.items():
        found = []
        for verdict in (v for v in colours if v in verdicts):
            of = ", ".join(filter(None, verdicts[verdict])) if len(verdicts) > 1 else ""
            found.append(f"[{colours[verdict]}]{verdict}[/] {escape(of)}".rstrip())
        table.add_row(name, escape(text), "\n".join(found))
    Console().print(table)
    say(f"Page: {page}")
