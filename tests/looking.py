"""What is looked for on every page: colours that can be read, nothing that sticks out, a focus that is seen."""

import re

import pytest

PHONE, PAPER = 390, 718
"""Widths in CSS pixels: of a phone, and of what a sheet of A4 has between margins of a centimetre."""

COLOURS = """() => {
  const of = (selector) => getComputedStyle(document.querySelector(selector));
  return [of("body").backgroundColor, of("body").color, of("a[href]").color];
}"""

PROTRUDING = """(width) => [...document.body.querySelectorAll("*")].filter((element) => {
  const box = element.getBoundingClientRect();
  if (box.right <= width + 1 || !box.width || element.closest(".unseen, .skip, .tip")) return false;
  for (let above = element.parentElement; above; above = above.parentElement) {
    if (getComputedStyle(above).overflowX !== "visible") return false;
  }
  return true;
}).map((element) => `${element.tagName} ${element.className.baseVal ?? element.className}`).slice(0, 9)"""
"""Elements that stick out on the right, but for those in something that scrolls."""

FOCUSED = """() => {
  const element = document.activeElement, style = getComputedStyle(element);
  return {
    kind: element.tagName.toLowerCase() + [...element.classList].map((name) => "." + name).join(""),
    name: element.getAttribute("name") ?? element.textContent.trim().slice(0, 60),
    seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    inMain: !!element.closest("main"),
    inBody: element === document.body,
  };
}"""


def luminance(colour):
    """Relative luminance, in [0, 1], of "rgb(r, g, b)", as the Web Content Accessibility Guidelines define it."""
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def unfold(page):
    page.locator("details").evaluate_all(
        "(all) => all.forEach((details) => { details.open = true; })"
    )


def walk(page, most=400):
    """What has the focus after each press of Tab, until it comes round."""
    found = []
    for _ in range(most):
        page.keyboard.press("Tab")
        here = page.evaluate(FOCUSED)
        if here["inBody"]:
            return found
        found.append(here)
    raise AssertionError(f"Tab never came round in {most} presses.")


def violations(page):
    """What axe-core finds that is serious: rule, element and how to mend it."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="Accessibility tests need axe-core: pip install -e '.[browser]'",
    )
    return [
        (violation["id"], node["target"], node["failureSummary"])
        for violation in axe.Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"][:5]
    ]
