"""The application, to which every verb adds itself, and how it speaks."""

from pathlib import PurePath
from typing import Any

from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from equipoise.remote import refuse_address

__all__ = ["app", "plain_table", "say"]


def _only_paths(_: Any, value: Any) -> None:
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, PurePath):
            refuse_address(item)


app = App(
    name="equipoise",
    help="Measures what adversarial robustness costs an image classifier.\n\n"
    "Options of a verb can stand in a file, under the verb's name: equipoise audit --config FILE.yaml",
    version_flags=["--version"],
    default_parameter=Parameter(negative=(), validator=_only_paths),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def plain_table(head: str, caption: str) -> Table:
    layout: dict[str, Any] = {"pad_edge": False, "padding": (0, 2, 0, 0), "show_edge": False}
    return Table(head, box=SIMPLE_HEAD, caption=caption, caption_justify="left", **layout)


def say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
