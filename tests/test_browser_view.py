"""The live page in a browser, from a real server: it follows its audit, stays where the reader is, and asks no other
host."""

import json
import shutil

import pytest
from browser import HOSTILE, Named, chromium, pages, rung, serve, visit
from looking import PHONE, PROTRUDING, violations

import equipoise as eq

pytestmark = pytest.mark.slow

PLACE = "document.getElementById('numbers').getBoundingClientRect().top"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two classifiers with hostile names on a dozen images."""
    rungs = [rung(name, radius, 0.1) for radius, name in enumerate(HOSTILE[:2])]
    data = Named(HOSTILE, HOSTILE[3:5], HOSTILE[0].replace("/", ""))
    out = tmp_path_factory.mktemp("view") / "run"
    probes = ["standard", "adversarial:l2:0.5?steps=2"]
    return eq.audit(rungs, data, probes, out, limit=12, pictures=3, command=f"run {HOSTILE[0]}")


class Audit:
    """The run again as its audit writes it, a shard at a time."""

    def __init__(self, run, folder):
        self.run, self.folder = run, folder
        self.left = [shard["file"] for shard in run.record["shards"]]

    def begin(self):
        self.write(self.run.record | {"status": "running", "finished": None})

    def add(self, count):
        for file in self.left[:count]:
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.run.folder / file, self.folder / file)
        self.left = self.left[count:]

    def finish(self):
        self.add(len(self.left))
        self.write(self.run.record)

    def write(self, record):
        fresh = self.folder / "fresh"
        fresh.write_text(json.dumps(record))
        fresh.replace(self.folder / "run.json")


def test_the_page_follows_its_audit_and_stays_where_the_reader_is(run, tmp_path, serve, visit):
    audit, address = Audit(run, tmp_path), serve(tmp_path)
    seen = visit(address, own=address)
    page = seen.page
    # Before the audit: it says so, and how to begin one.
    assert "Waiting" in page.locator("h1").inner_text()
    audit.begin()
    audit.add(3)
    bar = page.locator("#live")
    bar.wait_for(state="visible")
    # A page appears by itself where there was none.
    page.locator("#numbers").wait_for(state="attached")
    seen.drawn()
    total = len(run.record["shards"])
    assert f"3 of {total} shards" in bar.inner_text()
    assert "Audit running" in bar.inner_text()
    assert violations(page) == []

    # Somebody reads: the new page is offered, and comes when it is asked for.
    bar.locator("[name=follow]").uncheck()
    page.locator("#numbers").evaluate("(heading) => heading.scrollIntoView()")
    page.mouse.wheel(0, 40)
    page.wait_for_timeout(300)
    folded = page.locator("main details").last
    folded.evaluate("(details) => { details.open = true; }")
    page.wait_for_timeout(100)
    top = page.evaluate(PLACE)
    audit.add(2)
    fresh = bar.locator(".fresh")
    fresh.wait_for(state="visible", timeout=60_000)
    assert page.evaluate(PLACE) == pytest.approx(top, abs=1)
    page.evaluate("window.old = true")
    fresh.evaluate("(button) => button.focus({preventScroll: true})")
    page.keyboard.press("Enter")
    page.wait_for_function("!window.old && document.readyState === 'complete'")
    seen.drawn()
    page.wait_for_function(f"Math.abs({PLACE} - {top}) < 3")
    assert folded.evaluate("(details) => details.open")
    assert not bar.locator("[name=follow]").is_checked()
    assert f"5 of {total} shards" in bar.inner_text()

    # At its end the page is whole, and the bar goes.
    bar.locator("[name=follow]").check()
    page.evaluate("window.old = true")
    audit.finish()
    page.wait_for_function("!window.old", timeout=60_000)
    bar.wait_for(state="hidden")
    seen.drawn().hung()
    assert page.evaluate("window.ran") is None
    assert page.locator("img[src=x], [onfocus], [onerror]").count() == 0
    for name in HOSTILE[:2]:
        assert name in page.locator("main").inner_text()
    assert not seen.errors and not seen.asked and not seen.dialogs


def test_the_bar_can_be_read_by_all_and_fits_a_phone(run, tmp_path, serve, visit):
    audit = Audit(run, tmp_path)
    audit.begin()
    audit.add(4)
    address = serve(tmp_path)
    for scheme in ("light", "dark"):
        page = visit(address, own=address, scheme=scheme, width=PHONE, height=844).page
        bar = page.locator("#live")
        bar.locator("summary").press("Enter")
        table = bar.locator("table")
        table.wait_for(state="visible")
        assert set(table.locator("tbody th bdi").all_text_contents()) == set(HOSTILE[:2])
        assert violations(page) == []
        assert page.evaluate(PROTRUDING, PHONE) == []
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE
