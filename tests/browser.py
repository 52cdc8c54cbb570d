"""Pages made from small real runs, and a browser that reaches no host.

A page is written once, when a test first asks for it by name: `REPORTS` says how. `chromium` is the system's own
browser; where there is none, or no Playwright, the tests that ask for it are skipped. `visit` opens a page in a fresh
context without a network, and what the page complains about, asks for or pops up is collected in a `Visit`.
Files of browser tests import these three fixtures by name.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from conftest import Linear

import equipoise as eq
from equipoise.audit import Estimate, Run, judge, write_claims, write_exhibits
from equipoise.cli import main
from equipoise.comparing import Threshold
from equipoise.counterfactuals import Gaussian, Sampler, make_set
from equipoise.diffusion import MixtureDenoiser
from equipoise.images import Images
from equipoise.images.source import Example
from equipoise.report.comparison import write_comparison
from equipoise.studies.model import fit_rules
from equipoise.studies.two_classes import attack_two_classes
from equipoise.training import remember

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

DIGITS = tuple("0123456789")
RUNGS = ("plain", "half", "whole")
HOSTILE = (
    "<img src=x onerror=\"window.ran = 1; alert('ran')\">",
    "</script><script>window.ran = 1; alert('ran')</script>",
    "\"' autofocus onfocus='window.ran = 1' x=\"",
    "\U0001f98a\U0001f3fd ${window.ran = 1} {{ 7 * 7 }}",
    "\u202e\u05e9\u05dc\u05d5\u05dd right to left",
    "javascript:window.ran=1",
    "a<!--b",
    "]]>&lt;b&gt;&amp;",
    "C:\\new\\table\u2028next",
    "long" * 40,
)
"""Ten names, none of which may do anything but stand there."""

FIELDS = ("classifier", "threat", "label", "group", "outcome", "pictures", "sort", "order")
"""Names of the gallery's fields, in their order."""


# Runs


class Named(Images):
    """Test digits under other names, in two groups; where there is ink is the object."""

    def __init__(self, classes: tuple[str, ...], kinds: tuple[str, str], prefix: str = "") -> None:
        self.digits = eq.load_images("digits", split="test")
        self.kinds, self.prefix = kinds, prefix
        self.spec, self.split, self.classes = self.digits.spec, self.digits.split, classes

    def __len__(self):
        return len(self.digits)

    def read(self, index: int) -> Example:
        found = self.digits[index]
        named = replace(found, id=self.prefix + found.id, group=self.kinds[index % 2])
        return replace(named, mask=(found.image > 0.25).float())

    def fingerprint(self, indices):
        return "named" + self.digits.fingerprint(indices)


def centres():
    """The mean digit of each class, with shape (10, 1, 8, 8)."""
    train = eq.load_images("digits", split="train")
    batch = train.batch(range(len(train)))
    return torch.stack([batch.images[batch.labels == k].mean(0) for k in range(10)])


def rung(name, radius, noise):
    """The nearest mean digit by linear logits, and noise on their weights."""
    rows = centres().flatten(1)
    blur = noise * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    net = Linear(8 * (rows + blur), -4 * (rows**2).sum(1))
    return eq.wrap(net, name=name, facts={"norm": "l2" if radius else None, "radius": radius})


def measure(folder: Path, data: Images, names: tuple[str, ...], limit: int) -> Run:
    """Three classifiers on a ladder, asked everything that a page can show."""
    settings = ((0.0, 0.2), (0.5, 0.1), (1.0, 0.0))
    rungs = [rung(name, *rest) for name, rest in zip(names, settings, strict=True)]
    spread = torch.full((10,), 0.3)
    denoiser = MixtureDenoiser(2 * centres() - 1, spread, torch.ones(10), torch.arange(10))
    sampler = Sampler(denoiser, Gaussian(0.7), steps=6)
    made = make_set(
        data.subset(12), sampler, folder / "set", oracles=[rungs[2]], per_class=1, targets=3
    )
    remember(eq.load_images("digits", "train").subset(100), folder / "judge")
    probes = [
        "standard",
        "adversarial:l2:0.5?steps=5",
        "adversarial:linf:0.1?steps=5",
        "gradients",
        f"large_eps:l2:2?steps=10&judge=local:{folder / 'judge'}",
        "feature_use:digits",
        "groups",
        "regions:gaussian?levels=0.2,0.6&trials=1",
        "saliency",
        f"counterfactual:{made.folder}",
    ]
    return eq.audit(rungs, data, probes, folder / "run", limit=limit, pictures=limit)


def claims(names):
    """Claims of each verdict, about one classifier and about all."""
    texts = {"holds": (0.3, 0.2, 0.4), "fails": (-0.3, -0.4, -0.2), "undecided": (0.1, -0.1, 0.3)}
    return [
        judge(
            f"A{k}",
            f"A statement that {verdict}: {names[0]}.",
            "difference of two shares",
            Estimate(*numbers, 60, "bootstrap"),
            classifier=name,
            control="The control says nothing against it.",
        )
        for k, (verdict, numbers) in enumerate(texts.items())
        for name in (*names, None)
    ]


def odds(folder):
    """What the study `odds` measures beside its run; the numbers of sizes and sets are invented."""
    train, test = eq.load_images("digits", "train"), eq.load_images("digits", "test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equipoise.studies.two_classes.RESAMPLES", 10)
        linear = attack_two_classes(train, test, ("5", "7"), [0.0, 0.2], 0.2)
    sizes = [
        {"family": "l2", "rung": rung, "radius": radius, "trained": f"{radius:g}", "size": size}
        | {"value": 0.9 - 0.1 * radius, "low": 0.85 - 0.1 * radius, "high": 0.95}
        | {"gain": -0.1 * radius, "gain_low": -0.2 * radius, "gain_high": 0.1 * radius}
        | {"loss": 0.1, "steps": 600, "seeds": 3, "images": 60}
        for rung, radius in enumerate((0.0, 1.0))
        for size in (50, 500)
    ]
    features = {"set": "robust", "what": "what it is", "attacked": "l2:0.5"}
    for name in ("standard", "robust", "visible"):
        features |= {name: 0.5, f"{name}_low": 0.4, f"{name}_high": 0.6}
    exhibits = {"sizes": sizes, "features": [features]}
    write_exhibits(folder, "odds", exhibits | linear.exhibits() | fit_rules().exhibits())


def spurious(folder):
    """What the study `spurious` measures beside its run, with invented numbers."""
    shares = (
        "accuracy",
        "gap",
        "gone",
        "reversed",
        "robust",
        "robust_gone",
        "sensitivity",
        "inside",
    )
    rows = [
        {"norm": "l2", "threat": "l2:2", "rung": rung, "radius": radius, "trained": f"{radius:g}"}
        | {"correlation": correlation, "seeds": 2, "steps": 20, "loss": 1.0}
        | {f"{name}{end}": 0.2 + 0.1 * rung + by for name in shares for end, by in ENDS.items()}
        for rung, radius in enumerate((0.0, 1.0, 2.0))
        for correlation in (0.5, 0.95)
    ]
    design = {"rho": 0.8, "scales": [1.0, 2.0], "noise": 0.5, "eps": 0.25, "pairs": 1}
    write_exhibits(folder, "spurious", {"correlations": rows, "design": [design]})


ENDS = {"": 0.0, "_low": -0.1, "_high": 0.1}


# Pages


class Pages:
    """Pages by name, each written when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[str, Run] = {}

    def __call__(self, name: str) -> Path:
        out = self.folder / f"{name}.html"
        if not out.exists():
            (REPORTS | OTHERS)[name](self, out)
        return out

    def run(self, name: str) -> Run:
        """The run called "plain" or "hostile", measured once."""
        if name not in self.runs:
            hostile = Named(HOSTILE, HOSTILE[:2], HOSTILE[0].replace("/", "")), HOSTILE[:3], 24
            plain = Named(DIGITS, ("even", "odd")), RUNGS, 60
            settings = {"plain": plain, "hostile": hostile}[name]
            self.runs[name] = measure(self.folder / name, *settings)
        return self.runs[name]

    def study(self, name: str, exhibits: Callable[[Path], object] | None) -> Run:
        """A copy of the plain run with claims, and exhibits, of a study."""
        copy = shutil.copytree(self.run("plain").folder, self.folder / f"{name}-run")
        write_claims(copy, name, claims(RUNGS))
        if exhibits:
            exhibits(copy)
        return Run(copy)


def _theory(name: str) -> Callable[[Pages, Path], object]:
    return lambda pages, out: main(["theory", name, "--out", str(out)])


def _hostile(pages: Pages, out: Path) -> None:
    run = pages.run("hostile")
    write_claims(run.folder, "counterfactual", claims(HOSTILE[:3]))
    eq.report(Run(run.folder), out)


REPORTS: dict[str, Callable[[Pages, Path], object]] = {
    "audit": lambda pages, out: eq.report(pages.run("plain"), out),
    "counterfactual": lambda pages, out: eq.report(pages.study("counterfactual", None), out),
    "odds": lambda pages, out: eq.report(pages.study("odds", odds), out),
    "spurious": lambda pages, out: eq.report(pages.study("spurious", spurious), out),
    "dichotomy": _theory("dichotomy"),
    "regression": _theory("regression"),
    "hostile": _hostile,
}
"""How each page of a run is written; a test that takes every name takes what is added here."""


def _many(pages: Pages, out: Path) -> None:
    """Every test digit, of which a few are pictured."""
    rungs = [rung(name, 0.0, noise) for name, noise in zip(RUNGS, (0.2, 0.1, 0.0), strict=True)]
    data = Named(DIGITS, ("even", "odd"))
    eq.report(eq.audit(rungs, data, ["standard"], pages.folder / "many", pictures=6), out)


def _compared(run: Run, out: Path) -> None:
    thresholds = [Threshold(metric="robust", limit=0.5), Threshold(metric="standard", limit=0.1)]
    write_comparison(eq.compare(run), out, thresholds, command=f"equipoise compare {HOSTILE[0]}")


OTHERS: dict[str, Callable[[Pages, Path], object]] = {
    "many": _many,
    "compared": lambda pages, out: _compared(pages.run("plain"), out),
    "compared hostile": lambda pages, out: _compared(pages.run("hostile"), out),
}
"""Pages that one file of tests each looks at."""


KEPT = pytest.StashKey[Pages]()


@pytest.fixture(scope="session")
def pages(request, tmp_path_factory):
    # To pytest this is another fixture in every file that imports it; pages are written once for all.
    kept = request.config.stash
    if KEPT not in kept:
        kept[KEPT] = Pages(tmp_path_factory.mktemp("pages"))
    yield kept[KEPT]
    if KEPT in kept:
        del kept[KEPT]


# The browser


@dataclass
class Visit:
    """A page that is open, and what it did.

    Attributes:
        page: of Playwright.
        errors: what it wrote to the console as an error or a warning, and what it threw.
        asked: addresses that it asked for, other than files, data and `own`.
        dialogs: messages that it popped up.
    """

    page: "Page"
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def drawn(self) -> "Visit":
        """After its charts are there."""
        self.page.wait_for_function(
            "[...document.querySelectorAll('[data-chart]')].every((place) => place.querySelector('svg'))"
        )
        return self

    def hung(self) -> "Visit":
        """After the rows of its gallery are there, where it has one."""
        self.page.wait_for_function(
            "(shown => !shown || shown.textContent.includes('rows match'))(document.getElementById('shown'))"
        )
        return self


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """The system's Chromium, headless."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="Browser tests need Playwright: pip install -e '.[browser]'"
    )
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"Browser tests need a Chromium: none of {', '.join(BROWSERS)} is on the path")
    with api.sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, as which containers run.
        options = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Opens a file, or an address of one's `own`, in a context of its own: two visits are two people."""
    contexts = []

    def open_page(
        where: Path | str,
        *,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        own: str = "file:",
    ) -> Visit:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            offline=own == "file:",
        )
        contexts.append(context)
        seen = Visit(context.new_page())
        page = seen.page
        page.set_default_timeout(60_000)  # other tests keep the cores busy

        def heard(message):
            if message.type in ("error", "warning"):
                seen.errors.append(message.text)

        def asked(request):
            if not request.url.startswith((own, "data:", "blob:")):
                seen.asked.append(request.url)

        def popped(dialog):
            seen.dialogs.append(dialog.message)
            dialog.dismiss()

        page.on("console", heard)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", asked)
        page.on("dialog", popped)
        page.goto(where.as_uri() if isinstance(where, Path) else where)
        return seen

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def serve():
    """Starts `equipoise view` for a folder on a free port, and gives its address."""
    servers = []

    def start(folder: Path, *options: str) -> str:
        command = [sys.executable, "-m", "equipoise", "view", str(folder), "--port=0"]
        server = subprocess.Popen(
            [*command, "--no-browser", *options], stdout=subprocess.PIPE, text=True
        )
        servers.append(server)
        assert server.stdout
        said = re.match(r"Page: (http://127\.0\.0\.1:\d+/)", server.stdout.readline())
        assert said
        return said[1]

    yield start
    for server in servers:
        with server:
            server.kill()
