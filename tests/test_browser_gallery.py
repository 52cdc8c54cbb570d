"""The gallery in a browser: rows narrowed down and put in order, by keyboard alone, however many there are."""

import re

import pytest
from browser import DIGITS, FIELDS, HOSTILE, RUNGS, chromium, pages, visit
from looking import FOCUSED, PHONE, PROTRUDING, violations

from equipoise.report import bundle

pytestmark = pytest.mark.slow

ROWS = len(RUNGS) * 60
"""Of the page "audit": every classifier on every image."""

PLACE = """() => {
  const item = document.activeElement.closest("#cards > li");
  if (!item) return 0;
  const box = item.getBoundingClientRect(), hall = document.getElementById("hall").getBoundingClientRect();
  const seen = box.bottom > hall.top + 1 && box.top < hall.bottom - 1;
  return seen ? Number(item.getAttribute("aria-posinset")) : -1;
}"""
"""Which row has the focus, from 1: 0 for none, -1 for one that is scrolled out of sight."""

TEXTS = """async (selector) => {
  const hall = document.getElementById("hall"), found = new Map();
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  hall.scrollTop = 0;
  for (let before = -1; hall.scrollTop !== before; hall.scrollTop += hall.clientHeight / 2) {
    before = hall.scrollTop;
    await frame();
    for (const item of document.querySelectorAll("#cards > li")) {
      found.set(Number(item.getAttribute("aria-posinset")), item.querySelector(selector)?.textContent ?? null);
    }
  }
  hall.scrollTop = 0;
  await frame();
  return [...found].sort(([a], [b]) => a - b).map(([, text]) => text);
}"""
"""A part of every row that matches, in order, as somebody sees them who scrolls from first to last."""


def field(page, name):
    return page.locator(f"#filters [name={name}]")


def shown(page):
    """How many rows match, and of how many."""
    text = page.locator("#shown").inner_text().replace(",", "")
    found = re.match(r"(\d+) of (\d+) rows match", text)
    assert found
    return int(found[1]), int(found[2])


def texts(page, selector):
    found = page.evaluate(TEXTS, selector)
    assert len(found) == shown(page)[0]
    return found


def numbers(page, selector, pattern):
    """A number of each row, infinite where none was found."""
    found = [re.search(pattern + r" ([−\d.]+|none found)", text) for text in texts(page, selector)]
    assert all(found)
    return [float(f[1].replace("−", "-")) if f[1] != "none found" else float("inf") for f in found]


@pytest.fixture
def gallery(pages, visit):
    """The gallery of sixty digits, three classifiers and two threats."""
    return visit(pages("audit")).drawn().hung().page


# Filter and order


def test_filters_narrow_down_and_say_how_many_are_left(gallery):
    assert shown(gallery) == (ROWS, ROWS)
    field(gallery, "classifier").select_option(label="half")
    assert shown(gallery) == (60, ROWS)
    assert set(texts(gallery, ".by")) == {"half"}
    field(gallery, "label").select_option(label=DIGITS[3])
    assert 0 < shown(gallery)[0] < 60
    assert set(texts(gallery, ".truth bdi")) == {DIGITS[3]}
    field(gallery, "group").select_option(label="even")
    even_ones = shown(gallery)[0]
    assert "even" in gallery.locator("#cards li").first.inner_text()
    field(gallery, "group").select_option(label="odd")
    assert "odd" in gallery.locator("#cards li").first.inner_text()
    both = even_ones + shown(gallery)[0]
    field(gallery, "group").select_option("")
    assert shown(gallery)[0] == both


def test_outcomes_under_a_threat_part_all_rows(gallery):
    field(gallery, "threat").select_option(index=1)
    parts = []
    for value, said in {"fooled": "fooled", "withstood": "withstood", "wrong": "wrong"}.items():
        field(gallery, "outcome").select_option(value)
        parts.append(shown(gallery)[0])
        assert all(said in text for text in texts(gallery, ".tag"))
    assert sum(parts) == ROWS and parts[0] > 1 and parts[1] > 1
    followed = []
    for value in ("followed", "ignored"):
        field(gallery, "outcome").select_option(value)
        followed.append(shown(gallery)[0])
    # Twelve of the images have counterfactuals.
    assert sum(followed) == 12 * len(RUNGS)


def test_rows_stand_in_the_order_that_is_asked_for(gallery):
    field(gallery, "classifier").select_option(label="half")
    field(gallery, "threat").select_option(index=1)
    for sort, selector, pattern in (
        ("radius", ".pair", "radius"),
        ("margin", ".about", "margin"),
    ):
        field(gallery, "sort").select_option(sort)
        field(gallery, "order").select_option("")
        up = numbers(gallery, selector, pattern)
        assert up == sorted(up) and len(set(up)) > 10
        field(gallery, "order").select_option("descending")
        down = numbers(gallery, selector, pattern)
        assert [x for x in down if x < float("inf")] == [x for x in up[::-1] if x < float("inf")]
    field(gallery, "sort").select_option("proximity")
    field(gallery, "order").select_option("")
    found = [re.search(r"proximity ([\d.]+)", text) for text in texts(gallery, ".about")]
    distances = [float(one[1]) for one in found if one]
    assert distances == sorted(distances) and len(distances) == 12


def test_nothing_that_matches_is_said_and_shown(gallery):
    field(gallery, "pictures").select_option("without")
    assert shown(gallery) == (0, ROWS) and gallery.locator("#cards > li").count() == 0


# Together with the charts


def test_gallery_and_charts_single_out_the_same_classifier(gallery):
    field(gallery, "classifier").select_option(label="half")
    gallery.locator("[data-chart] svg path[opacity='0.12']").first.wait_for(state="attached")
    pressed = gallery.locator("[data-focus][aria-pressed=true]")
    assert set(pressed.all_inner_texts()) == {"half"}
    gallery.locator("[data-focus=whole]").first.press("Enter")
    assert field(gallery, "classifier").locator("option:checked").inner_text() == "whole"
    assert shown(gallery) == (60, ROWS)
    field(gallery, "classifier").select_option("")
    assert pressed.count() == 0 and shown(gallery) == (ROWS, ROWS)


# Keyboard


def test_keys_move_from_row_to_row_and_the_row_is_in_sight(gallery):
    field(gallery, "order").focus()
    gallery.keyboard.press("Tab")
    # A scroller may be a stop of its own.
    if not gallery.evaluate(PLACE):
        gallery.keyboard.press("Tab")
    assert gallery.evaluate(PLACE) == 1 and gallery.evaluate(FOCUSED)["seen"]
    for key, place in {"ArrowDown": 2, "End": ROWS, "ArrowUp": ROWS - 1, "Home": 1}.items():
        gallery.keyboard.press(key)
        assert gallery.evaluate(PLACE) == place
    gallery.keyboard.press("PageDown")
    page = gallery.evaluate(PLACE) - 1
    assert 1 <= page < 30
    gallery.keyboard.press("PageDown")
    gallery.keyboard.press("PageUp")
    gallery.keyboard.press("PageUp")
    assert gallery.evaluate(PLACE) == 1
    gallery.keyboard.press("ArrowUp")
    assert gallery.evaluate(PLACE) == 1


def test_enter_opens_a_row_and_escape_leads_back_to_it(gallery):
    gallery.locator("#cards > li").first.focus()
    gallery.keyboard.press("ArrowDown")
    gallery.keyboard.press("Enter")
    closer = gallery.locator("#closer")
    closer.wait_for(state="visible")
    title = gallery.locator("#closer-title")
    assert title.inner_text().endswith("as seen by half")
    assert gallery.evaluate("document.activeElement.closest('#closer') !== null")
    pictures = closer.locator("img")
    assert pictures.count() >= 3
    assert pictures.evaluate_all("(all) => all.every((i) => i.naturalWidth > 0 && i.alt)")
    assert violations(gallery) == []
    gallery.keyboard.press("ArrowRight")
    assert title.inner_text().endswith("as seen by whole")
    gallery.keyboard.press("Escape")
    closer.wait_for(state="hidden")
    assert gallery.evaluate(PLACE) == 3


def test_a_filter_without_a_mouse_is_told_to_those_who_listen(gallery):
    field(gallery, "outcome").focus()
    before = gallery.locator("#shown").inner_text()
    gallery.keyboard.press("ArrowDown")
    gallery.wait_for_function(f"document.getElementById('shown').textContent !== {before!r}")
    assert gallery.locator("#shown").get_attribute("role") == "status"
    row = gallery.locator("#cards > li").nth(1)
    assert row.get_attribute("aria-posinset") == "2"
    assert row.get_attribute("aria-setsize") == str(shown(gallery)[0])


# Many rows


def test_of_many_rows_only_those_in_sight_are_in_the_page(pages, visit):
    seen = visit(pages("many")).drawn().hung()
    page = seen.page
    most, rows = 40, page.locator("#cards > li")
    field(page, "pictures").select_option("")
    total = len(RUNGS) * 600
    assert shown(page) == (total, total)
    assert 0 < rows.count() < most
    page.locator("#cards > li").first.focus()
    for key, place in {"End": total, "Home": 1}.items():
        page.keyboard.press(key)
        assert page.evaluate(PLACE) == place and rows.count() < most
    height = page.evaluate("document.getElementById('cards').offsetHeight")
    for share in (0.3, 0.7, 1.0):
        page.evaluate(f"document.getElementById('hall').scrollTop = {share * height}")
        page.wait_for_timeout(100)
        places = rows.evaluate_all("(all) => all.map((li) => +li.getAttribute('aria-posinset'))")
        # The row that has the focus stays.
        rest = [place for place in places if place != 1]
        assert rest == list(range(rest[0], rest[-1] + 1)) and len(places) < most
        assert abs(rest[0] / total - share) < 0.1
    assert not seen.errors and not seen.asked


# Bundles


def test_a_bundle_opens_from_its_folder(pages, visit, tmp_path):
    seen = visit(bundle(pages.run("plain"), tmp_path / "bundle")).drawn().hung()
    page = seen.page
    assert shown(page) == (ROWS, ROWS)
    pictures = page.locator("#cards img")
    assert pictures.count() > 3
    page.wait_for_function(
        "[...document.querySelectorAll('#cards img')].every((image) => image.complete)"
    )
    assert pictures.evaluate_all(
        "(all) => all.every((i) => i.naturalWidth > 0 && i.src.startsWith('file:'))"
    )
    assert not seen.errors and not seen.asked and not seen.dialogs


# Names, phones


def test_names_in_rows_and_in_the_larger_view_run_nothing(pages, visit):
    seen = visit(pages("hostile")).hung()
    page = seen.page
    ids = texts(page, ".open")
    assert all(HOSTILE[0].replace("/", "") in text for text in ids)
    assert set(texts(page, ".by bdi")) == set(HOSTILE[:3])
    assert set(texts(page, ".truth bdi")) <= set(HOSTILE)
    for name in HOSTILE[:2]:
        field(page, "group").select_option(label=name)
        page.locator("#cards > li").first.press("Enter")
        assert name in page.locator("#closer").inner_text()
        page.keyboard.press("Escape")
    assert page.evaluate("window.ran") is None
    assert page.locator("img[src=x], [onfocus], [onerror]").count() == 0
    assert not seen.errors and not seen.asked and not seen.dialogs


@pytest.mark.parametrize("name", ["audit", "hostile"])
def test_on_a_phone_rows_and_the_larger_view_fit(name, pages, visit):
    page = visit(pages(name), width=PHONE, height=844).hung().page
    assert page.evaluate(PROTRUDING, PHONE) == []
    page.locator("#cards > li").first.press("Enter")
    page.locator("#closer").wait_for(state="visible")
    assert page.evaluate(PROTRUDING, PHONE) == []
    assert page.locator("#closer").evaluate("(e) => e.scrollWidth <= e.clientWidth")
