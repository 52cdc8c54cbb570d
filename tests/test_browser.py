"""What a reader does with a page: look at it, narrow it down, print it, use it without a mouse or by ear.

Every page is opened from its file in the system's Chromium, without a network.
"""

import pytest
from browser import FIELDS, HOSTILE, REPORTS, RUNGS, chromium, pages, visit
from looking import (
    COLOURS,
    FOCUSED,
    PAPER,
    PHONE,
    PROTRUDING,
    contrast,
    luminance,
    unfold,
    violations,
    walk,
)

pytestmark = pytest.mark.slow

READ = [name for name in REPORTS if name != "hostile"]


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
    seen = visit(pages("hostile")).drawn().hung()
    page = seen.page
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


def test_any_two_axes_are_set_against_each_other_by_keyboard(pages, visit):
    page = visit(pages("audit")).drawn().page
    up, across = (page.locator(f"#axes select[name={name}]") for name in ("up", "across"))
    place = page.locator("[data-chart='trade_off-0']")
    said = lambda: (place.get_attribute("aria-label"), page.locator("#front").inner_text())  # noqa: E731
    before = [up.input_value(), across.input_value()]
    first = said()
    assert all(first) and before[0] != before[1]
    # An axis against itself says nothing: the two change places.
    up.select_option(before[1])
    assert [up.input_value(), across.input_value()] == before[::-1]
    turned = said()
    assert turned != first
    up.focus()
    page.keyboard.press("End")
    titles = {
        name: page.locator(f"#axes [name={name}] option:checked") for name in ("up", "across")
    }
    assert up.input_value() not in before and said() != turned
    for title in titles.values():
        place.locator("svg text", has_text=title.inner_text()).first.wait_for()
    points = place.locator(".mark-symbol path")
    assert points.count() >= len(RUNGS)


def test_what_a_chart_draws_can_be_read_as_a_table(pages, visit):
    page = visit(pages("audit")).drawn().page
    data = page.locator("details.data")
    assert data.count() > 0 and page.locator("details.data[open]").count() == 0
    data.first.locator("summary").press("Enter")
    table = data.first.locator("table")
    table.wait_for(state="visible")
    assert table.locator("tbody tr").count() >= len(RUNGS)
    assert all(name in table.inner_text() for name in RUNGS)


# Dark, narrow, on paper


@pytest.mark.parametrize("name", READ)
def test_the_dark_scheme_is_dark_and_can_be_read(name, pages, visit):
    light, dark = (visit(pages(name), scheme=s).page.evaluate(COLOURS) for s in ("light", "dark"))
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert luminance(dark[0]) < 0.05 and luminance(light[0]) > 0.8
    for paper, ink, link in (light, dark):
        assert contrast(paper, ink) > 7 and contrast(paper, link) > 4.5


@pytest.mark.parametrize("name", REPORTS)
def test_on_a_phone_nothing_sticks_out(name, pages, visit):
    page = visit(pages(name), width=PHONE, height=844).drawn().page
    unfold(page)
    assert page.evaluate(PROTRUDING, PHONE) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE


@pytest.mark.parametrize("name", REPORTS)
def test_on_paper_everything_is_unfolded_and_nothing_sticks_out(name, pages, visit):
    page = visit(pages(name), width=PAPER, scheme="dark").drawn().page
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open], .data)").count() == 0
    assert page.locator(".filters:visible, .skip:visible").count() == 0
    paper, ink, _ = page.evaluate(COLOURS)
    assert contrast(paper, ink) > 15 and luminance(paper) == pytest.approx(1)
    assert page.evaluate(PROTRUDING, PAPER) == []


# Keyboard and screen reader


def test_tab_reaches_everything_that_can_be_used(pages, visit):
    page = visit(pages("audit")).drawn().hung().page
    stops = walk(page)
    assert stops[0]["kind"] == "a.skip"
    kinds = [stop["kind"] for stop in stops]
    for selector, kind in {
        ".contents a": "a",
        "[data-focus]": "button.chip",
        ".scroll:visible": "div.scroll",
        "summary": "summary",
        "select": "select",
        "#cards > [tabindex='0']": "li.row",
        "pre.command": "pre.command",
    }.items():
        assert kinds.count(kind) >= page.locator(selector).count() > 0
    names = [stop["name"] for stop in stops if stop["kind"] == "select"]
    assert names == ["up", "across", *FIELDS]
    # Of the gallery's rows one alone, however many there are.
    assert kinds.count("li.row") == 1
    assert [stop for stop in stops if not stop["seen"]] == []


def test_the_skip_link_leads_past_the_masthead(pages, visit):
    page = visit(pages("audit")).page
    page.keyboard.press("Tab")
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)["inMain"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", REPORTS)
def test_axe_finds_no_serious_violation(name, scheme, pages, visit):
    page = visit(pages(name), scheme=scheme).drawn().hung().page
    unfold(page)
    assert violations(page) == []
