"""The page itself: everything that was found, put into one HTML file that needs nothing else.

The file asks no host for anything: scripts, styles, charts and pictures are inside, and a content security policy
forbids the browser every connection. Names of classifiers, classes and files are text wherever they appear.
"""

from dataclasses import dataclass
from pathlib import Path

from equipoise.audit import Run
from equipoise.files import write_atomically
from equipoise.report.charts import curves, trade_off
from equipoise.report.claims import lay_out
from equipoise.report.counterfactual import by_proximity, on_the_ladder, on_the_way
from equipoise.report.distances import distances
from equipoise.report.far import lay_far
from equipoise.report.findings import findings, progress
from equipoise.report.gallery import Gallery, hang
from equipoise.report.gradients import lay_maps
from equipoise.report.groups import lay_groups
from equipoise.report.ladder import along_ladder
from equipoise.report.making import references, spending
from equipoise.report.odds import lay_study
from equipoise.report.offline import fill
from equipoise.report.reading import Reading
from equipoise.report.regions import lay_regions
from equipoise.report.saliency import lay_saliency
from equipoise.report.sets import show
from equipoise.report.soundness import meanings, panels
from equipoise.report.spurious import lay_spurious
from equipoise.report.story import tell
from equipoise.report.table import group_sizes, tabulate
from equipoise.report.use import inputs_used
from equipoise.report.waterfall import waterfalls
from equipoise.report.words import day

__all__ = ["Written", "render", "report", "write"]

STUDIES = {
    "counterfactual": (
        "Do counterfactual examples complicate adversarial training?",
        "2404.10588",
    ),
    "odds": ("Is robustness at odds with accuracy?", "1805.12152"),
    "spurious": ("What does adversarial training do to natural robustness?", "2209.07592"),
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
    gallery = hang(reading)
    # What UTF-8 cannot say (half of a surrogate pair in a file name) becomes a question mark.
    page = render(reading, gallery).encode("utf-8", "replace")
    write_atomically(out, lambda temporary: temporary.write_bytes(page))
    return Written(out, gallery.note)


def render(reading: Reading, gallery: Gallery | None = None) -> str:
    """The page as text, with that gallery or, when None, the one that the page holds by itself."""
    run, record = reading.run, reading.record
    figures = {
        "trade_off": trade_off(reading),
        "ladder": along_ladder(reading),
        "curves": curves(reading),
        "distances": distances(reading),
    }
    for k, drawn in enumerate(reading.counterfactuals):
        figures[f"ladder-of-{k}"] = on_the_ladder(reading, drawn)
        figures[f"way-of-{k}"] = by_proximity(reading, drawn) + on_the_way(reading, drawn)
    far, study, spurious = lay_far(reading), lay_study(reading), lay_spurious(reading)
    for k, part in enumerate(far):
        figures[f"far-{k}"] = part.figures
    figures["use"] = inputs_used(reading)
    regions, grouped = lay_regions(reading), lay_groups(reading)
    figures["regions"] = [figure for part in regions for figure in part.figures]
    for k, part in enumerate(grouped):
        figures[f"groups-{k}"] = part.figures
    figures |= study.figures | spurious.figures
    gallery, spoken = gallery or hang(reading), panels(reading)
    done, total = progress(run)
    rows, seconds = spending(reading)
    data = {
        "charts": {
            f"{k}-{i}": f.spec for k, listed in figures.items() for i, f in enumerate(listed)
        },
    }
    heading, paper = STUDIES.get(run.study() or "", ("What robustness costs", ""))
    return fill(
        "template.html",
        data,
        classifiers=len(reading.classifiers),
        ordered=reading.ordered,
        heading=heading,
        paper=paper,
        reading=reading,
        record=record,
        date=day(record.get("finished") or record["created"]),
        done=done,
        total=total,
        story=tell(reading),
        claims=lay_out(reading),
        figures=figures,
        maps=lay_maps(reading),
        far=far,
        study=study,
        spurious=spurious,
        sets=[show(reading, drawn) for drawn in reading.counterfactuals],
        table=tabulate(reading),
        # Where groups have a section, their sizes stand there.
        groups=[] if grouped else group_sizes(reading),
        regions=regions,
        grouped=grouped,
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
    )
