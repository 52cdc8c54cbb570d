"""The human check in browsers: two people at once who can be told nothing of what they see, whose answers are kept."""

import re
import shutil
from collections import Counter

import pytest
from browser import HOSTILE, RUNGS, chromium, pages, serve, visit
from looking import PHONE, PROTRUDING, violations

import equipoise as eq
from equipoise.audit import Run
from equipoise.audit.people import CANNOT_TELL, KINDS, read_people

pytestmark = pytest.mark.slow

ANN, BEN = "<img src=x onerror='window.ran=1'>", "\u202eBen \U0001f98a"
TURN = {"token", "place", "of", "answered", "back", "answer"}


class Person:
    """Somebody who answers, and everything that their browser is told."""

    def __init__(self, seen):
        self.seen, self.page = seen, seen.page
        self.turns, self.pictures = [], []
        self.page.on("response", self.heard)

    def heard(self, response):
        if "/turn" in response.url:
            self.turns.append(response)
        elif "/picture/" in response.url:
            self.pictures.append(response)

    def join(self, name):
        self.page.locator("#name").fill(name)
        self.page.keyboard.press("Enter")
        return self

    def begin(self, name):
        self.join(name).page.locator("#asking").wait_for(state="visible")
        return self

    @property
    def place(self):
        text = self.page.locator("#place").inner_text()
        return tuple(map(int, re.findall(r"\d+", text)))

    def press(self, *keys):
        """Presses keys of which the last one sends the answer, and waits for what comes next."""
        before = self.page.locator("#place").inner_text()
        for key in keys:
            self.page.keyboard.press(key)
        self.page.wait_for_function(
            "(before) => document.getElementById('place').textContent !== before", arg=before
        )

    def silent(self):
        seen = self.seen
        assert not seen.errors and not seen.asked and not seen.dialogs
        assert self.page.evaluate("window.ran") is None
        assert self.page.locator("img[src=x], [onfocus], [onerror]").count() == 0


def asked(run, tmp_path, serve, questions):
    """A copy of a run, and the address at which people are asked about it."""
    folder = shutil.copytree(run.folder, tmp_path / "run")
    address = serve(folder, f"--questions={questions}")
    return folder, lambda visit, **how: Person(visit(f"{address}people/", own=address, **how))


def test_two_people_answer_side_by_side(pages, visit, serve, tmp_path):
    folder, come = asked(pages.run("plain"), tmp_path, serve, 3)
    ann, ben = come(visit).begin(ANN), come(visit, scheme="dark").begin(BEN)
    many = ann.place[1]
    assert ann.place == ben.place == (1, many) and many == 3 * len(KINDS) + 1

    # In turn; the tenth button says 9, and the point that one cannot tell.
    for k in range(3):
        ann.press("3", "4")
        ben.press("." if k == 2 else "9", *(() if k == 2 else "1"))
    assert ann.place == ben.place == (4, many)

    # Ann was wrong: back, and another answer.
    ann.press("ArrowLeft")
    before = ann.page.locator("#before")
    assert ann.place == (3, many) and "You said: \u20683\u2069" in before.inner_text()
    ann.press("8", "2")
    assert ann.place == (4, many)
    ann.press("ArrowLeft")
    assert "You said: \u20688\u2069" in before.inner_text()
    ann.press("Enter")
    assert ann.place == (4, many)

    # Of pages that were left nothing can be read any more.
    bens = told(ben, many)

    # Ben goes away and comes back, by the same address and under the same name elsewhere.
    ben.page.reload()
    ben.page.locator("#asking").wait_for(state="visible")
    assert ben.place == (4, many)
    again = come(visit).join(f" {BEN.upper()} ")
    again.page.locator("#known").wait_for(state="visible")
    assert "3 questions" in again.page.locator("#known").inner_text()
    assert violations(again.page) == []
    again.page.locator("#same").press("Enter")
    again.page.locator("#asking").wait_for(state="visible")
    assert again.place == (4, many)

    # By mouse, to the end.
    while not ann.page.locator("#done").is_visible():
        ann.page.locator("[data-seen='5']").click()
        ann.press("1")
    assert ann.place == (many, many)
    assert violations(ann.page) == []

    anns = told(ann, many)
    assert len(anns) == many and len(bens) == 4 and not anns & bens
    for person in (ann, ben, again):
        person.silent()

    kept = read_people(folder)
    assert kept
    assert Counter(kept.person.tolist()) == {1: many, 2: 3}
    assert kept.answer[kept.person == 1].tolist() == [3, 3, 8, *[5] * (many - 3)]
    assert kept.answer[kept.person == 2].tolist() == [9, 9, CANNOT_TELL]
    assert set(kept.kind[kept.person == 1]) == set(KINDS)

    # The report has what they said, and not who they are.
    seen = visit(eq.report(Run(folder), tmp_path / "page.html")).drawn()
    people = seen.page.locator("section", has=seen.page.locator("#people"))
    assert "2 people" in people.inner_text()
    assert ANN not in seen.page.content() and "Ben" not in people.inner_text()
    assert violations(seen.page) == []
    assert not seen.errors and not seen.asked and not seen.dialogs


def told(person, many):
    """Nothing that a browser gets tells what kind of picture it shows, or of what; the tokens it got."""
    answers = [turn.json() for turn in person.turns]
    assert answers and all(answer.keys() == TURN for answer in answers)
    pictures = [response.body() for response in person.pictures]
    assert len({len(content) for content in pictures}) == 1
    kinds = {tuple(sorted(response.headers.keys() - {"date"})) for response in person.pictures}
    assert len(kinds) == 1
    text = person.page.content() + "".join(map(str, answers))
    for word in ("original", "counterfactual", "adversarial", "digits/", "l2:", *RUNGS):
        assert word not in text
    picture = person.page.locator("#picture")
    assert picture.evaluate("(image) => image.getAttributeNames().sort()") == ["alt", "id", "src"]
    assert picture.get_attribute("alt") in {f"Picture {k + 1}" for k in range(many)}
    return {answer["token"] for answer in answers} - {None}


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", PHONE)])
def test_every_page_can_be_read_fits_and_shows_names_as_text(
    scheme, width, pages, visit, serve, tmp_path
):
    _, come = asked(pages.run("hostile"), tmp_path, serve, 1)
    person = come(visit, scheme=scheme, width=width, height=844)
    page = person.page

    def fine():
        assert violations(page) == []
        assert page.evaluate(PROTRUDING, width) == []
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        person.silent()

    fine()
    person.begin(ANN)
    assert page.locator("#classes bdi").all_text_contents() == list(HOSTILE)
    assert ANN in page.locator("main").inner_text()
    fine()
    # A class is chosen, and how sure is open.
    page.locator("[data-seen='0']").press("Enter")
    sure = page.locator("#sureness button").first
    assert sure.is_enabled()
    assert page.locator("[data-seen='0']").get_attribute("aria-pressed") == "true"
    assert HOSTILE[0] in page.locator("#said").text_content()
    fine()
    page.keyboard.press("Escape")
    assert sure.is_disabled()
    while not page.locator("#done").is_visible():
        person.press("1", "1")
    fine()
    page.locator("#again").press("Enter")
    page.locator("#asking").wait_for(state="visible")
    assert HOSTILE[0] in page.locator("#before").inner_text()
    fine()
