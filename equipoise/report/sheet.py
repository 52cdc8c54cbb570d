"""A page of theory: charts, one table, a few sentences. The same charts go into a picture, by the file's ending."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from equipoise.errors import EquipoiseError
from equipoise.files import write_atomically
from equipoise.report.drawing import PICTURES, draw
from equipoise.report.figure import Figure
from equipoise.report.offline import fill

__all__ = ["Row", "Sheet", "check_ending", "write_sheet"]

ENDINGS = (".html", *PICTURES)


@dataclass(frozen=True)
class Row:
    """A row of the table: its name, the values, and colour and mark in the chart."""

    name: str
    values: Sequence[str]
    colour: str
    mark: str


@dataclass(frozen=True)
class Sheet:
    """What the page says.

    Attributes:
        title: heading of the page.
        subject: the line below it.
        facts: what was chosen, as pairs of name and value.
        sentences: what the chart shows; the first one stands large.
        warnings: what went wrong, each in a line.
        charts: each with how to read it.
        heads: of the table's columns, that of the names first.
        rows: of the table.
        note: below the table.
        command: that makes the page.
        references: BibTeX.
    """

    title: str
    subject: str
    facts: Sequence[tuple[str, str]]
    sentences: Sequence[str]
    warnings: Sequence[str]
    charts: Sequence[tuple[Figure, str]]
    heads: Sequence[str]
    rows: Sequence[Row]
    note: str
    command: str
    references: Sequence[str]


def check_ending(out: str | Path) -> Path:
    """The file, when there is something that its ending stands for.

    Raises:
        EquipoiseError: when there is not.
    """
    out = Path(out).expanduser()
    if out.suffix.lower() not in ENDINGS:
        raise EquipoiseError(
            f"Cannot write {str(out)!r}: its ending says what it will be. Use one of {', '.join(ENDINGS)}."
        )
    return out


def write_sheet(sheet: Sheet, out: str | Path) -> Path:
    """Writes the page, one HTML file that opens without a network, or the charts as a picture.

    The same sheet gives the same bytes, but for PDF, in which parts may change their order.

    Arguments:
        sheet: what to write.
        out: the file, replaced atomically; .html for the page, .svg, .png or .pdf for the charts.

    Returns:
        the file.

    Raises:
        EquipoiseError: for another ending, or when the file cannot be written.
    """
    out = check_ending(out)
    if out.suffix.lower() in PICTURES:
        content = draw([figure for figure, _ in sheet.charts], out.suffix.lower())
    else:
        page = fill(
            "sheet.html",
            {"charts": {f"sheet-{k}": figure.spec for k, (figure, _) in enumerate(sheet.charts)}},
            title=sheet.title,
            version=version("equipoise"),
            sheet=sheet,
        )
        content = page.encode("utf-8", "replace")
    write_atomically(out, lambda temporary: temporary.write_bytes(content))
    return out
