"""What the page of a large run takes: seconds by part, memory, bytes, and how soon a browser shows it.

    python benchmarks/page.py                                   50,000 images, 10 classifiers, 10 classes
    python benchmarks/page.py --classes 1000 --folder runs/synthetic

The run is synthetic (`tests/synthetic.py`): nothing in it was measured, but folder, shards and columns are those of an
audit. It is built once and kept in `--folder`; building takes minutes. Seconds are of one process that has equipoise
imported; CPU seconds are those of all its threads. On a machine that does something else, read those.

With Playwright (`pip install playwright`) and a system's Chromium the page is opened without a network. It is
interactive when its last long task (50 ms or more) of the first seconds ends, and no sooner than its scripts have run.
"""

import argparse
import cProfile
import importlib.util
import json
import pstats
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from synthetic import make_run  # pyright: ignore[reportMissingImports]

import equipoise as eq

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

INTERACTIVE = """() => new Promise(done => {
  let last = 0;
  new PerformanceObserver(list => {
    for (const task of list.getEntries()) last = Math.max(last, task.startTime + task.duration);
  }).observe({type: "longtask", buffered: true});
  setTimeout(() => {
    const {domContentLoadedEventEnd, loadEventEnd} = performance.getEntriesByType("navigation")[0];
    done({scripts: domContentLoadedEventEnd, loaded: loadEventEnd, idle: Math.max(last, domContentLoadedEventEnd)});
  }, 3000);
})"""


def timed(name: str, work: Callable[[], Any]) -> Any:
    """What `work` returns, with a line about its time."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:32}{wall:8.2f} s {cpu:8.2f} s of CPU")
    return found


def parts(profile: cProfile.Profile, shown: int) -> None:
    """The functions of the report that took longest, all they call included."""
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # pyright: ignore[reportAttributeAccessIssue]
    rows = {
        f"{Path(file).stem}.{name}": taken
        for (file, _, name), (_, _, _, taken, _) in stats.items()
        if "equipoise" in file and not name.startswith("<")
    }
    for name, taken in sorted(rows.items(), key=lambda row: -row[1])[:shown]:
        print(f"    {name:44}{taken:8.2f} s")


def browse(page: Path) -> None:
    """How soon a browser shows the page, and what it complains about."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None or importlib.util.find_spec("playwright") is None:
        print("No Playwright or no Chromium: the page was not opened.")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for width, height in ((1280, 900), (390, 844)):
            opened = browser.new_context(
                offline=True, viewport={"width": width, "height": height}
            ).new_page()
            errors, asked = [], []
            opened.on("console", lambda m, e=errors: e.extend([m.text] * (m.type == "error")))
            opened.on("pageerror", lambda error, e=errors: e.append(str(error)))
            opened.on("request", lambda request, a=asked: a.append(request.url))
            opened.goto(page.resolve().as_uri())
            times = opened.evaluate(INTERACTIVE)
            opened.locator("#gallery").scroll_into_view_if_needed()
            opened.wait_for_selector("#cards > *", timeout=30_000)
            hosts = [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
            print(
                f"{width:5} pixels wide: scripts ran by {times['scripts'] / 1000:.2f} s, interactive at "
                f"{times['idle'] / 1000:.2f} s, {len(errors)} errors, {len(hosts)} requests to hosts"
            )
            for line in errors + hosts:
                print(f"    {line}")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--classifiers", type=int, default=10)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument(
        "--folder", default="", help="where the run is, or will be; temporary when left out"
    )
    parser.add_argument("--profile", type=int, default=0, help="print so many functions")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(settings.folder or temporary) / "run"
        size = (settings.images, settings.classifiers, settings.classes)
        known = folder.parent / "size.json"
        if not known.exists() or json.loads(known.read_text()) != list(size):
            images, classifiers, classes = size
            timed(
                "the run is built",
                lambda: make_run(folder, images=images, classifiers=classifiers, classes=classes),
            )
            known.write_text(json.dumps(size))
        run = eq.Run(folder)
        print(f"{run!r}, {len(run.record['shards'])} shards")
        timed("run.table()", lambda: eq.Run(folder).table().aggregate("count(*)").fetchall())
        timed("run.summary()", lambda: eq.Run(folder).summary())
        profile, page = cProfile.Profile(), folder.parent / "page.html"
        if settings.profile:
            profile.enable()
        timed("eq.report(run)", lambda: eq.report(eq.Run(folder), page))
        profile.disable()
        if settings.profile:
            parts(profile, settings.profile)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{page.stat().st_size / 1e6:.2f} MB, at most {most:.0f} MB of memory")
        browse(page)


if __name__ == "__main__":
    main()
