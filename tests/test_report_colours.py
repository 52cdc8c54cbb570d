"""Colours of the page: told apart by people who do not see all colours, and seen against the paper, in both schemes.

Distances are Euclidean in CIELAB under D65. What people without red cones (protanopia) or green ones (deuteranopia) see
is simulated on linear RGB with the matrices of Machado, Oliveira and Fernandes (2009) for severity 1. Contrast is
that of WCAG 2: (l + 0.05) / (d + 0.05) of the relative luminances of the lighter and the darker colour.
"""

import re
from itertools import combinations, pairwise

import numpy as np
import pytest

from equipoise.report.figure import DASHES, SHAPES
from equipoise.report.offline import HERE
from equipoise.report.palette import variables

SIGHTS = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = TO_XYZ.sum(axis=1)
SCHEMES = ("light", "dark", "print", "print from dark")


def linear_rgb(colour):
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    t = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def luminance(colour):
    return float(TO_XYZ[1] @ linear_rgb(colour))


def contrast(a, b):
    dark, light = sorted(map(luminance, (a, b)))
    return (light + 0.05) / (dark + 0.05)


def apart(colours, sight):
    """The smallest distance between any two of the colours."""
    seen = [lab(SIGHTS[sight] @ linear_rgb(colour)) for colour in colours]
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))


def declared(text):
    return dict(re.findall(r"(--[\w-]+): *(#[0-9a-f]{3,6})", text))


def page_colours(scheme):
    """The page's own variables; print overrides those of the scheme that the reader has."""
    css = (HERE / "page.css").read_text(encoding="utf-8")
    light, dark, paper = (declared(block) for block in re.findall(r":root \{(.*?)\}", css, re.S))
    found = {
        "light": light,
        "dark": light | dark,
        "print": light | paper,
        "print from dark": light | dark | paper,
    }[scheme]
    return {k: "#" + "".join(2 * c for c in v[1:]) if len(v) == 4 else v for k, v in found.items()}


def colours(scheme, classifiers, *, ordered):
    light, dark = variables(classifiers, ordered=ordered)
    found = declared(dark if scheme == "dark" else light)
    return [found[f"--c{k}"] for k in range(classifiers)]


def test_the_measures_agree_with_published_values():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert lab(linear_rgb("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    # Greys look the same to everyone.
    for matrix in SIGHTS.values():
        assert matrix @ np.ones(3) == pytest.approx(np.ones(3), abs=1e-5)
    # An orange and a brown that people without red cones cannot tell.
    assert apart(["#d55e00", "#a86f00"], "all cones") > 25
    assert apart(["#d55e00", "#a86f00"], "protanopia") < 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_any_two_of_eight_classifiers_are_told_apart(scheme, sight):
    assert apart(colours(scheme, 8, ordered=False), sight) > 15
    for rungs in range(2, 9):
        assert apart(colours(scheme, rungs, ordered=True), sight) > 9


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_along_a_ladder_lightness_grows_step_by_step(scheme, sight):
    lights = [lab(SIGHTS[sight] @ linear_rgb(c))[0] for c in colours(scheme, 8, ordered=True)]
    assert all(after > before + 1 for before, after in pairwise(lights))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_marks_and_text_stand_out_from_the_paper(scheme):
    page = page_colours(scheme)
    for ordered in (True, False):
        for colour in colours(scheme, 8, ordered=ordered):
            assert contrast(colour, page["--paper"]) >= 3
    for name in ("--ink", "--muted", "--accent", "--warn", "--bad", "--good"):
        for paper in ("--paper", "--raised", "--warn-paper"):
            assert contrast(page[name], page[paper]) >= 4.5, (name, paper)


def test_a_colour_that_comes_again_comes_with_another_shape_or_dash():
    looks = [
        (colour, SHAPES[k % len(SHAPES)])
        for k, colour in enumerate(colours("light", 24, ordered=False))
    ]
    assert len(set(looks)) == 24
    assert len({tuple(dash) for dash in DASHES}) == len(DASHES)


def test_chips_have_the_shapes_of_the_points():
    css = (HERE / "page.css").read_text(encoding="utf-8")
    rules = [line for line in css.splitlines() if line.startswith(".apart .dot")]
    for k, rule in enumerate(rules, start=1):
        places = [int(place) for place in re.findall(r'\*="c(\d+)\)"', rule)]
        assert places == list(range(k, 25, len(SHAPES)))
    assert len(rules) == len(SHAPES) - 1
