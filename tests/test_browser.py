"""What a reader does with a page: look at it, narrow it down, print it, use it without a mouse or by ear.

Every page is opened from its file in the system's Chromium, without a network.
"""

import re

import pytest
from browser import DIGITS, HOSTILE, RUNGS, WRITERS, chromium, pages, visit

pytestmark = pytest.mark.slow

PHONE, PAPER = 390, 718
"""Widths in CSS pixels: of a phone, and of what a sheet of A4 has between margins of a centimetre."""

READ = [name for name in WRITERS if name != "hostile"]

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


# Opening


def test_contrast_is_that_of_the_guidelines():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(118, 118, 118)", "rgb(255, 255, 255)") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("name", READ)
def test_a_page_opens_from_its_file_draws_its_charts_and_asks_no_host(name, pages, visit):
    seen = visit(pages(name)).drawn()
    charts = seen.page.locator("[data-chart] svg")
    assert charts.count() > 0
    for k in range(charts.count()):
        assert charts.nth(k).locator("path").count() > 0
    assert not seen.errors and not seen.asked and not seen.dialogs


def test_every_entry_of_the_contents_leads_to_its_heading(pages, visit):
    page = visit(pages("audit")).page
    links = page.locator(".contents a").evaluate_all("(all) => all.map((a) => a.hash.slice(1))")
    assert len(links) > 10
    for name in links:
        assert page.locator(f"h2[id='{name}']").count() == 1


def test_names_stand_there_as_text_and_run_nothing(pages, visit):
    seen = visit(pages("hostile")).drawn()
    page = seen.page
    page.locator("#filters select[name=outcome]").select_option("")
    while page.locator("#more").is_visible():
        page.locator("#more").click()
    unfold(page)
    chips = page.locator("[data-focus]")
    for k in range(3):
        assert chips.nth(k).inner_text() == HOSTILE[k]
        chips.nth(k).click()
    options = page.locator("select[name=label] option").all_text_contents()
    assert set(options) == {"all", *HOSTILE}
    shown = page.locator("body").inner_text()
    for name in HOSTILE[:3]:
        assert name in shown
    assert page.evaluate("window.ran") is None
    assert page.locator("img[src=x], [onfocus], [onerror]").count() == 0
    assert not seen.errors and not seen.asked and not seen.dialogs
    # A name from right to left turns nothing but itself.
    assert page.locator("bdi").count() > 100
    assert page.evaluate(PROTRUDING, 1280) == []


# Charts


def faint(page):
    return page.locator(
        "[data-chart] svg path[opacity='0.12'], [data-chart] svg line[opacity='0.12']"
    )


def test_a_classifier_is_singled_out_by_mouse_and_by_keyboard(pages, visit):
    page = visit(pages("audit")).drawn().page
    chip = page.locator("[data-focus=half]").first
    assert faint(page).count() == 0
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"
    faint(page).first.wait_for(state="attached")
    pressed = page.locator("[data-focus][aria-pressed=true]")
    assert set(pressed.all_inner_texts()) == {"half"}
    assert pressed.count() == page.locator("[data-focus=half]").count()
    chip.press("Enter")
    page.wait_for_function("!document.querySelector(\"[data-chart] svg path[opacity='0.12']\")")
    assert chip.get_attribute("aria-pressed") == "false"
    page.locator("[data-focus=whole]").first.press("Space")
    assert set(pressed.all_inner_texts()) == {"whole"}


def test_a_point_says_its_numbers_under_the_mouse(pages, visit):
    page = visit(pages("audit")).drawn().page
    points = page.locator("[data-chart='trade_off-0'] .mark-symbol path")
    points.first.scroll_into_view_if_needed()
    points.last.hover(force=True)
    tip = page.locator(".tip")
    tip.wait_for(state="visible")
    assert any(name in tip.inner_text() for name in RUNGS) and "%" in tip.inner_text()
    page.mouse.move(5, 5)
    tip.wait_for(state="hidden")


# Gallery


def radii(page):
    texts = page.locator("#cards .foot").all_inner_texts()
    found = [re.search(r"smallest radius (.+)", text) for text in texts]
    return [float(one[1]) if one and "none" not in one[1] else float("inf") for one in found]


def test_the_gallery_is_filtered_and_sorted(pages, visit):
    page = visit(pages("audit")).page
    fields = {name: page.locator(f"#filters [name={name}]") for name in FIELDS}
    cards = page.locator("#cards > li")
    count = lambda: int(page.locator("#shown").inner_text().split()[0])  # noqa: E731
    fields["outcome"].select_option("")
    everything = count()
    assert cards.count() > 0
    fields["classifier"].select_option(label="half")
    assert 0 < count() < everything
    assert all("half" in text for text in page.locator("#cards .foot").all_inner_texts())
    by_outcome = {}
    for outcome, word in {
        "fooled": "fooled",
        "withstood": "withstood",
        "wrong": "wrong already",
    }.items():
        fields["outcome"].select_option(outcome)
        by_outcome[outcome] = count()
        assert set(page.locator("#cards .tag").all_inner_texts()) <= {word}
    fields["outcome"].select_option("")
    assert sum(by_outcome.values()) == count() and by_outcome["fooled"] > 1
    fields["label"].select_option(label=DIGITS[3])
    assert all(
        text.endswith(DIGITS[3]) for text in page.locator("#cards .truth").all_inner_texts()
    )
    fields["label"].select_option("")
    fields["sort"].select_option("nearest")
    nearest = radii(page)
    assert nearest == sorted(nearest) and len(set(nearest)) > 2
    fields["sort"].select_option("farthest")
    assert radii(page) == sorted(radii(page), reverse=True)


FIELDS = ("classifier", "threat", "label", "outcome", "sort")


def test_more_cards_are_hung_when_asked_for(pages, visit):
    page = visit(pages("audit")).page
    page.locator("#filters [name=outcome]").select_option("")
    first = page.locator("#cards > li").count()
    page.locator("#more").press("Enter")
    assert page.locator("#cards > li").count() > first
    pictures = page.locator("#cards img")
    assert pictures.evaluate_all(
        "(all) => all.every((image) => image.complete && image.naturalWidth)"
    )


# Dark, narrow, on paper


@pytest.mark.parametrize("name", READ)
def test_the_dark_scheme_is_dark_and_can_be_read(name, pages, visit):
    light, dark = (visit(pages(name), scheme=s).page.evaluate(COLOURS) for s in ("light", "dark"))
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert luminance(dark[0]) < 0.05 and luminance(light[0]) > 0.8
    for paper, ink, link in (light, dark):
        assert contrast(paper, ink) > 7 and contrast(paper, link) > 4.5


@pytest.mark.parametrize("name", WRITERS)
def test_on_a_phone_nothing_sticks_out(name, pages, visit):
    page = visit(pages(name), width=PHONE, height=844).drawn().page
    unfold(page)
    assert page.evaluate(PROTRUDING, PHONE) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE


@pytest.mark.parametrize("name", WRITERS)
def test_on_paper_everything_is_unfolded_and_nothing_sticks_out(name, pages, visit):
    page = visit(pages(name), width=PAPER, scheme="dark").drawn().page
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator(".filters:visible, .more:visible, .skip:visible").count() == 0
    paper, ink, _ = page.evaluate(COLOURS)
    assert contrast(paper, ink) > 15 and luminance(paper) == pytest.approx(1)
    assert page.evaluate(PROTRUDING, PAPER) == []


# Keyboard and screen reader


def test_tab_reaches_everything_that_can_be_used(pages, visit):
    page = visit(pages("audit")).drawn().page
    stops = walk(page)
    assert stops[0]["kind"] == "a.skip"
    kinds = [stop["kind"] for stop in stops]
    for selector, kind in {
        ".contents a": "a",
        "[data-focus]": "button.chip",
        ".scroll:visible": "div.scroll",
        "summary": "summary",
        "#filters select": "select",
        "#more": "button.more",
        "pre.command": "pre.command",
    }.items():
        assert kinds.count(kind) >= page.locator(selector).count() > 0
    names = [stop["name"] for stop in stops if stop["kind"] == "select"]
    assert names == list(FIELDS)
    assert [stop for stop in stops if not stop["seen"]] == []


def test_the_skip_link_leads_past_the_masthead(pages, visit):
    page = visit(pages("audit")).page
    page.keyboard.press("Tab")
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)["inMain"]


def test_the_gallery_is_filtered_without_a_mouse(pages, visit):
    page = visit(pages("audit")).page
    page.locator("#filters [name=outcome]").focus()
    before = page.locator("#shown").inner_text()
    page.keyboard.press("ArrowDown")
    page.wait_for_function(f"document.getElementById('shown').textContent !== {before!r}")
    assert page.locator("#shown").get_attribute("role") == "status"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", WRITERS)
def test_axe_finds_no_serious_violation(name, scheme, pages, visit):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="Accessibility tests need axe-core: pip install -e '.[browser]'",
    )
    page = visit(pages(name), scheme=scheme).drawn().page
    unfold(page)
    found = axe.Axe().run(page).response["violations"]
    assert [
        (violation["id"], node["target"], node["failureSummary"])
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"][:5]
    ] == []
