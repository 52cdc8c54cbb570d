"""What every page is made of: templates, the look, and data that cannot end the script they stand in."""

import json
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from equipoise.report.palette import variables
from equipoise.report.vega import vega_scripts
from equipoise.report.words import count

__all__ = ["embed", "fill", "light_colours"]

HERE = Path(__file__).parent


def fill(
    template: str,
    data: dict[str, Any],
    *,
    classifiers: int = 0,
    ordered: bool = False,
    folder: Path = HERE,
    **values: Any,
) -> str:
    """A page as text, with its style, its scripts and the Vega scripts where it has charts inside.

    Arguments:
        template: name of the file.
        data: what the page's script reads, with the charts by name under "charts".
        classifiers: how many need a colour of their own.
        ordered: whether they form a ladder.
        folder: where the template is, if it is another room's.
        values: what the template names.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["count"] = count
    environment.globals["inline"] = lambda name: Markup(_read(name))
    light, dark = variables(classifiers, ordered=ordered)
    return environment.get_template(template).render(
        light=Markup(light),
        dark=Markup(dark),
        style=Markup(_read("page.css")),
        script=Markup(_read("page.js")),
        vega=Markup(vega_scripts() if data["charts"] else ""),
        data=Markup(embed(data)),
        **values,
    )


def light_colours(classifiers: int = 0, *, ordered: bool = False) -> dict[str, str]:
    """The CSS variables of the light scheme as `fill` sets them, for pictures that no style sheet reaches."""
    light, _ = variables(classifiers, ordered=ordered)
    root = re.search(r":root \{(.*?)\}", _read("page.css"), re.DOTALL)
    declared = dict(re.findall(r"(--[\w-]+): ([^;]+);", light + (root[1] if root else "")))
    return {
        name: declared.get(value.removeprefix("var(").removesuffix(")"), value)
        for name, value in declared.items()
    }


def embed(data: Any) -> str:
    """JSON that may stand inside a script element, whatever text it holds: nothing in it can end the element."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
