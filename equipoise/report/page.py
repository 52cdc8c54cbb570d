"""The page itself: everything that was found, put into one HTML file that needs nothing else.

The file asks no host for anything: scripts, styles, charts and pictures are inside, and a content security policy
forbids the browser every connection. Names of classifiers, classes and files are text wherever they appear.
"""

from dataclasses import dataclass
from pathlib import Path

from equipoise.audit import Run
from equipoise.comparing.asking import codes
from equipoise.files import write_atomically
from equipoise.report.claims import lay_out
from equipoise.report.denoiser import lay_denoiser
from equipoise.report.figures import chart_all, named
from equipoise.report.findings import findings, progress
from equipoise.report.gallery import Gallery, hang
from equipoise.report.gradients import lay_maps
from equipoise.report.making import references, spending
from equipoise.report.offline import fill
from equipoise.report.pairs import lay_pairs
from equipoise.report.people import lay_people
from equipoise.report.reading import Reading
from equipoise.report.saliency import lay_saliency
from equipoise.report.sets import show
from equipoise.report.settings import lay_settings
from equipoise.report.soundness import meanings, panels
from equipoise.report.story import tell
from equipoise.report.table import group_sizes, tabulate
from equipoise.report.waterfall import waterfalls
from equipoise.report.words import day

__all__ = ["Written", "render", "report", "write"]

STUDIES = {
    "counterfactual": (
        "Do counterfactual examples complicate adversarial training?",
        ("2404.10588",),
    ),
    "odds": ("Is robustness at odds with accuracy?", ("1805.12152",)),
    "spurious": ("What does adversarial training do to natural robustness?", ("2209.07592",)),
    "trade-off": ("What robustness costs, and what it blinds to", ("1805.12152", "2404.10588")),
}
"""Titles of the studies' pages, and the papers that they reproduce."""


def report(run: Run | str | Path, out: str | Path) -> Path:
    """Writes the page of a run: one HTML file that opens anywhere, without a network.

    The page is a function of the run alone; the same run gives the same bytes. An unfinished run gives a page of what
    is there.

    Arguments:
        run: a run or its folder.
        out: the file to write, replaced atomically.

    Returns:
        the file.

    Raises:
        EquipoiseError: when there is no run in the folder, or the file cannot be written.
    """
    return write(run, out).path


@dataclass(frozen=True)
class Written:
    """A page on disk.

    Attributes:
        path: the file.
        note: what the gallery had to leave out or to shrink, or nothing.
    """

    path: Path
    note: str


def write(run: Run | str | Path, out: str | Path) -> Written:
    """Like `report`, and says what the page had no room for."""
    reading = Reading(run if isinstance(run, Run) else Run(run))
    out = Path(out).expanduser()
    with reading.run.named():
        reading.run.read()
        gallery = hang(reading)
        # What UTF-8 cannot say (half of a surrogate pair in a file name) becomes a question mark.
        page = render(reading, gallery).encode("utf-8", "replace")
    write_atomically(out, lambda temporary: temporary.write_bytes(page))
    return Written(out, gallery.note)


def render(reading: Reading, gallery: Gallery | None = None) -> str:
    """The page as text, with that gallery or, when None, the one that the page holds by itself."""
    run, record = reading.run, reading.record
    charted = chart_all(reading)
    gallery, spoken, pairs = gallery or hang(reading), panels(reading), lay_pairs(reading)
    done, total = progress(run)
    rows, seconds = spending(reading)
    data = {
        "charts": {name: f.spec for name, f in named(charted.figures).items()},
        "trade_off": pairs and pairs.data,
    }
    heading, papers = STUDIES.get(run.study() or "", ("What robustness costs", ()))
    return fill(
        "template.html",
        data,
        classifiers=len(reading.classifiers),
        ordered=reading.ordered,
        heading=heading,
        papers=papers,
        reading=reading,
        record=record,
        date=day(record.get("finished") or record["created"]),
        done=done,
        total=total,
        story=tell(reading),
        claims=lay_out(reading),
        figures=charted.figures,
        pairs=pairs,
        maps=lay_maps(reading),
        far=charted.far,
        study=charted.study,
        spurious=charted.spurious,
        sets=[show(reading, drawn) for drawn in reading.counterfactuals],
        grid=next(iter(reading.exhibits.get("grid", ())), None),
        settings=lay_settings(reading),
        denoiser=lay_denoiser(reading),
        people=lay_people(reading),
        table=tabulate(reading),
        # Where groups have a section, their sizes stand there.
        groups=[] if charted.grouped else group_sizes(reading),
        regions=charted.regions,
        grouped=charted.grouped,
        saliency=lay_saliency(reading),
        gallery=gallery,
        # Where a page may load pictures and scripts from: a bundle from its own folder.
        near=" 'self' file:" if gallery.source else "",
        falls=waterfalls(reading),
        panels=spoken,
        meanings=meanings(spoken),
        findings=findings(reading),
        spent=rows,
        seconds=seconds,
        references=references(reading),
        codes=codes(run),
    )
