"""The page of a comparison in a browser: a leaderboard that is sorted without a mouse, and names that are text."""

import pytest
from browser import HOSTILE, RUNGS, chromium, pages, visit
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
)

pytestmark = pytest.mark.slow

NAMES = ("compared", "compared hostile")
METRICS = 2
"""Columns before those of metrics: rank and classifier."""


def column(page, place):
    """Values of a column of the leaderboard from top to bottom, None where there is none."""
    rows = page.locator("[data-sortable] tbody tr")
    found = rows.evaluate_all(
        "(rows, place) => rows.map((row) => row.cells[place].dataset.value)", place
    )
    return [float(value) if value else None for value in found]


def ways(page):
    heads = page.locator("[data-sortable] th[scope=col]")
    return heads.evaluate_all("(all) => all.map((head) => head.getAttribute('aria-sort'))")


@pytest.mark.parametrize("name", NAMES)
def test_the_page_opens_from_its_file_and_asks_no_host(name, pages, visit):
    seen = visit(pages(name)).drawn()
    page = seen.page
    assert page.locator("[data-chart] svg path").count() > 0
    names = HOSTILE[:3] if "hostile" in name else RUNGS
    rows = page.locator("[data-sortable] tbody tr")
    assert sorted(rows.locator("th bdi").all_text_contents()) == sorted(names)
    assert not seen.errors and not seen.asked and not seen.dialogs


def test_the_leaderboard_is_sorted_by_keyboard(pages, visit):
    page = visit(pages("compared")).page
    # Robust accuracy ranks, whatever else is measured.
    assert ways(page)[0] == "ascending" and column(page, 0) == [1, 2, 3]
    buttons, said = page.locator("[data-sort]"), page.locator("#sorted")
    assert buttons.count() > METRICS + 2
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.sort") == str(METRICS):
            break
    assert page.evaluate(FOCUSED)["seen"]
    page.keyboard.press("Enter")
    high = column(page, METRICS)
    assert ways(page) == [None, None, "descending", *[None] * (buttons.count() - 3)]
    assert high == sorted(high, reverse=True) and len(set(high)) > 1
    title = buttons.nth(METRICS).inner_text()
    assert said.text_content() == f"Sorted by {title}, descending."
    page.keyboard.press("Space")
    assert ways(page)[METRICS] == "ascending" and column(page, METRICS) == high[::-1]
    assert said.text_content() == f"Sorted by {title}, ascending."
    # The focus stays where it was.
    assert page.evaluate("document.activeElement.dataset.sort") == str(METRICS)
    names = page.locator("[data-sortable] tbody th bdi")
    for order in (sorted(RUNGS), sorted(RUNGS, reverse=True)):
        buttons.nth(1).press("Enter")
        assert names.all_text_contents() == order


def test_cells_without_a_number_stay_last_either_way(pages, visit):
    page = visit(pages("compared")).page
    page.evaluate("document.querySelector('[data-sortable] tbody tr').cells[2].dataset.value = ''")
    for _ in range(2):
        page.locator("[data-sort]").nth(METRICS).press("Enter")
        found = column(page, METRICS)
        assert found[-1] is None and None not in found[:-1]


def test_names_stand_there_as_text_and_run_nothing(pages, visit):
    seen = visit(pages("compared hostile")).drawn()
    page = seen.page
    unfold(page)
    for k in range(page.locator("[data-sort]").count()):
        page.locator("[data-sort]").nth(k).click()
    shown = page.locator("body").inner_text()
    for name in HOSTILE[:3]:
        assert name in shown
    assert page.evaluate("window.ran") is None
    assert page.locator("img, [onfocus], [onerror]").count() == 0
    assert not seen.errors and not seen.asked and not seen.dialogs


@pytest.mark.parametrize("name", NAMES)
def test_nothing_sticks_out_on_a_phone_or_on_paper(name, pages, visit):
    page = visit(pages(name), width=PHONE, height=844).drawn().page
    unfold(page)
    assert page.evaluate(PROTRUDING, PHONE) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE
    page = visit(pages(name), width=PAPER, scheme="dark").drawn().page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open], .data)").count() == 0
    paper, ink, _ = page.evaluate(COLOURS)
    assert contrast(paper, ink) > 15 and luminance(paper) == pytest.approx(1)
    assert page.evaluate(PROTRUDING, PAPER) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_both_schemes_can_be_read_and_axe_finds_no_serious_violation(name, scheme, pages, visit):
    page = visit(pages(name), scheme=scheme).drawn().page
    unfold(page)
    assert violations(page) == []
    paper, ink, _ = page.evaluate(COLOURS.replace('"a[href]"', '".skip"'))
    assert contrast(paper, ink) > 7
    assert luminance(paper) < 0.05 if scheme == "dark" else luminance(paper) > 0.8
