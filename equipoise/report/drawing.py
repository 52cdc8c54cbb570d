"""Charts as pictures: what a page draws with its style sheet, drawn in the colours of the light scheme."""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from equipoise.report.figure import DASHES, INK, MUTED, STROKES, Figure
from equipoise.report.offline import light_colours

__all__ = ["PICTURES", "SHAPES", "draw"]

PICTURES = (".svg", ".png", ".pdf")
"""Endings of pictures."""

WIDTH, LINE, LETTER, LONGEST = 900, 20, 6.4, 400
"""Width of the plot, height of a line of the key, width of one of its letters and longest of its names, in pixels."""

HOLLOW = "Hollow points and dashed curves: checks speak against this number."

SHAPES = {
    "●": "circle",
    "■": "square",
    "▲": "triangle-up",
    "◆": "diamond",
    "✚": "cross",
    "▼": "triangle-down",
}
"""Shapes of the marks that keys write; all others are lines."""


def draw(
    figures: Figure | Sequence[Figure],
    ending: str,
    *,
    classifiers: int = 0,
    ordered: bool = False,
) -> bytes:
    """Figures with their titles and their keys, one below the other, as the content of a file.

    Arguments:
        figures: charts of a page, or one.
        ending: .svg, .png (two pixels for each of the page's) or .pdf.
        classifiers: how many have a colour of their own.
        ordered: whether they form a ladder.
    """
    # 85 MB to import: only for those who want a picture.
    import vl_convert  # noqa: PLC0415

    drawn = [figures] if isinstance(figures, Figure) else figures
    spec = _still(drawn[0]) if len(drawn) == 1 else _stacked(drawn)
    spec = _coloured(spec, light_colours(classifiers, ordered=ordered))
    if ending == ".png":
        return vl_convert.vegalite_to_png(spec, scale=2)
    if ending == ".pdf":
        return vl_convert.vegalite_to_pdf(spec)
    return vl_convert.vegalite_to_svg(spec).encode()


def _still(figure: Figure) -> dict[str, Any]:
    """The figure's Vega-Lite with a heading and a key inside, without points that are only there to be pointed at."""
    spec = copy.deepcopy(figure.spec)
    seen = [layer for layer in spec["layer"] if layer["mark"].get("opacity") != 0]
    spec["layer"] = seen + _key(figure.key)
    spec["width"], spec["padding"], spec["background"] = WIDTH, 16, "var(--paper)"
    spec["title"] = {
        "text": figure.title,
        "anchor": "start",
        "frame": "group",
        "offset": 14,
        "fontSize": 16,
        "color": INK,
    }
    if figure.hollow:
        spec["title"] |= {"subtitle": HOLLOW, "subtitleColor": MUTED, "subtitlePadding": 6}
    return spec


def _stacked(figures: Sequence[Figure]) -> dict[str, Any]:
    """One Vega-Lite of several figures, with what it says once on top and the data of each under names of its own."""
    parts, datasets = [], {}
    for k, figure in enumerate(figures):
        part = _still(figure)
        datasets |= {f"{name}-{k}": rows for name, rows in part.pop("datasets").items()}
        for layer in part["layer"]:
            if "name" in layer["data"]:
                layer["data"] = {"name": f"{layer['data']['name']}-{k}"}
        parts.append(part)
    once = {name: parts[0][name] for name in ("config", "params", "padding", "background")}
    for part in parts:
        for name in (*once, "autosize"):
            del part[name]
    apart = {"scale": {"color": "independent", "strokeDash": "independent"}}
    return {"vconcat": parts, "spacing": 40, "resolve": apart, "datasets": datasets, **once}


def _coloured(spec: dict[str, Any], colours: Mapping[str, str]) -> dict[str, Any]:
    """The same in those colours instead of variables."""
    text = re.sub(r"var\((--[\w-]+)\)", lambda match: colours[match[1]], json.dumps(spec))
    return json.loads(text)


def _key(key: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """The layers that draw the key above the plot."""
    places, left, line = [], 0.0, 0
    for _, _, name in key:
        width = 30 + min(LETTER * len(name), LONGEST)
        if left and left + width > WIDTH - 80:
            left, line = 0.0, line + 1
        places.append((left, line))
        left += width + 16
    layers: list[dict[str, Any]] = []
    for (colour, mark, name), (left, at) in zip(key, places, strict=True):
        y = {"value": -18 - LINE * (line - at)}
        if mark in SHAPES:
            drawn = {
                "type": "point",
                "shape": SHAPES[mark],
                "filled": True,
                "size": 80,
                "opacity": 1,
            }
            across: dict[str, Any] = {"x": {"value": left + 11}}
        else:
            dash = DASHES[STROKES.index(mark)] if mark in STROKES else DASHES[0]
            drawn = {"type": "rule", "strokeWidth": 2.25, "strokeDash": dash}
            across = {"x": {"value": left}, "x2": {"value": left + 22}}
        word = {
            "type": "text",
            "align": "left",
            "baseline": "middle",
            "fontSize": 12,
            "color": INK,
            "limit": LONGEST,
        }
        said = {"x": {"value": left + 30}, "y": y, "text": {"value": name}}
        layers += [
            {
                "data": {"values": [{}]},
                "mark": drawn | {"color": colour},
                "encoding": across | {"y": y},
            },
            {"data": {"values": [{}]}, "mark": word, "encoding": said},
        ]
    return layers
