"""Tables and charts of a run as files.

CSV is UTF-8, quoted as RFC 4180 says, with lines that end in LF. Numbers have as many digits as it takes to read the
same number back; infinity is ``inf``. A missing value is an empty field, and an empty text a quoted one, which pandas
does not tell apart; Parquet and JSON keep the difference. JSON has no infinity: there it is the text ``"inf"``.

A spreadsheet runs a text as a formula when it begins with ``=``, ``+``, ``-``, ``@``, a tab or a line end, and names of
files and classes are anybody's. In CSV such a text gets a ``'`` in front, unless `exact` is asked for. Numbers, Parquet
and JSON are never touched.
"""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.audit import Run
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.files import write_atomically
from equipoise.report.charts import trade_offs
from equipoise.report.drawing import PICTURES, draw
from equipoise.report.figure import Figure
from equipoise.report.figures import chart_all, complete
from equipoise.report.reading import Reading
from equipoise.report.tables import builders, tables
from equipoise.store import fetch_rows
from equipoise.streams import digest

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

__all__ = [
    "FORMATS",
    "PICTURES",
    "charts",
    "file_names",
    "formulas",
    "tables",
    "write_all",
    "write_chart",
    "write_relation",
    "write_table",
]

FORMATS = {
    ".csv": "FORMAT csv, HEADER",
    ".parquet": "FORMAT parquet, COMPRESSION zstd",
    ".json": "FORMAT json, ARRAY true",
}
"""Endings of tables, and how DuckDB writes each."""

_RUN = "^[=+\\-@\t\r\n＝＋－＠]"
"""What makes a text a formula; the wide signs count where Japanese or Chinese is written."""


def charts(run: Run) -> dict[str, Figure]:
    """Every chart of a run's page by the name it has there, each with a title and a key that need no page around it.

    Pairs of axes that the page shows once a reader chooses them follow the first as ``trade_off-1`` and so on.
    """
    reading = Reading(run)
    return complete(reading, chart_all(reading).figures | {"trade_off": trade_offs(reading)})


def write_table(run: Run, name: str, out: str | Path, *, exact: bool = False) -> Path:
    """Writes one table.

    Arguments:
        run: of which.
        name: a key of `tables`, such as "summary" or a probe's spec.
        out: the file, replaced atomically; its ending says what it will be: .csv, .parquet or .json.
        exact: whether CSV keeps texts that a spreadsheet would run.

    Returns:
        the file.

    Raises:
        EquipoiseError: for an unknown table or ending, or when the file cannot be written.
    """
    out = _ending(out, tuple(FORMATS), "table")
    known = builders(run)
    if name not in known:
        raise EquipoiseError(
            f"Cannot export the table {name!r} of {run.where}: it has none of that name. {did_you_mean(name, known)}"
        )
    return write_relation(known[name](), out, exact=exact)


def write_chart(run: Run, name: str, out: str | Path) -> Path:
    """Draws one chart.

    Arguments:
        run: of which.
        name: a key of `charts`, such as "trade_off-0", or the chart's title.
        out: the file, replaced atomically; its ending says what it will be: .svg, .png or .pdf.

    Returns:
        the file.

    Raises:
        EquipoiseError: for an unknown chart or ending, a title that several charts have, or when the file cannot be
            written.
    """
    out = _ending(out, PICTURES, "chart")
    known = charts(run)
    return _draw(run, known[_find_chart(run, name, known)], out)


def write_all(
    run: Run,
    folder: str | Path,
    *,
    table: str = ".csv",
    chart: str = ".svg",
    exact: bool = False,
) -> list[Path]:
    """Writes every table into ``folder/tables`` and every chart into ``folder/charts``.

    Arguments:
        run: of which.
        folder: made where it is missing; files of the same names are replaced.
        table: ending of the tables.
        chart: ending of the charts.
        exact: whether CSV keeps texts that a spreadsheet would run.

    Returns:
        the files.

    Raises:
        EquipoiseError: for an unknown ending, or when a file cannot be written.
    """
    folder = Path(folder).expanduser()
    _ending(f"table{table}", tuple(FORMATS), "table")
    _ending(f"chart{chart}", PICTURES, "chart")
    made, drawn = builders(run), charts(run)
    files = file_names(made)
    written = [
        write_relation(build(), folder / "tables" / f"{files[name]}{table}", exact=exact)
        for name, build in made.items()
    ]
    files = file_names(drawn)
    return written + [
        _draw(run, figure, folder / "charts" / f"{files[name]}{chart}")
        for name, figure in drawn.items()
    ]


def formulas(relation: "DuckDBPyRelation") -> int:
    """How many texts of a table a spreadsheet would run."""
    counts = [
        f"count(*) FILTER (regexp_matches({column}, '{_RUN}'))"
        for column, kind in _columns(relation)
        if kind == "VARCHAR"
    ]
    return fetch_rows(relation.aggregate(" + ".join(counts) or "0"))[0][0]


def _columns(relation: "DuckDBPyRelation") -> list[tuple[str, str]]:
    """Quoted names and types."""
    names = [f'"{name.replace(chr(34), 2 * chr(34))}"' for name in relation.columns]
    return list(zip(names, map(str, relation.types), strict=True))


def _ending(out: str | Path, endings: tuple[str, ...], what: str) -> Path:
    out = Path(out).expanduser()
    if out.suffix.lower() not in endings:
        raise EquipoiseError(
            f"Cannot write the {what} {str(out)!r}: its ending says what it will be. Use one of {', '.join(endings)}."
        )
    return out


def _find_chart(run: Run, name: str, known: Mapping[str, Figure]) -> str:
    if name in known:
        return name
    titled = [key for key, figure in known.items() if figure.title.lower() == name.lower()]
    if len(titled) == 1:
        return titled[0]
    if titled:
        raise EquipoiseError(
            f"Cannot export the chart {name!r} of {run.where}: {len(titled)} have that title. Give a name: "
            f"{', '.join(titled)}."
        )
    titles = [figure.title for figure in known.values()]
    near = did_you_mean(name, [*known, *titles])
    hint = near if near.startswith("Did") else f"Known: {', '.join(known)}."
    raise EquipoiseError(
        f"Cannot export the chart {name!r} of {run.where}: it has none of that name or title. {hint}"
    )


def _draw(run: Run, figure: Figure, out: Path) -> Path:
    reading = Reading(run)
    content = draw(
        figure,
        out.suffix.lower(),
        classifiers=len(reading.classifiers),
        ordered=reading.ordered,
    )
    write_atomically(out, lambda temporary: temporary.write_bytes(content))
    return out


def write_relation(relation: "DuckDBPyRelation", out: Path, *, exact: bool) -> Path:
    """Writes a relation by the ending of `out`, as `write_table` does."""
    ending = out.suffix.lower()
    listed = "*"
    if ending == ".json":
        listed = ", ".join(f"{_in_json(c, kind)} AS {c}" for c, kind in _columns(relation))
    elif ending == ".csv" and not exact:
        listed = ", ".join(f"{_as_text(c, kind)} AS {c}" for c, kind in _columns(relation))

    def write(temporary: Path) -> None:
        import duckdb  # noqa: PLC0415

        target = str(temporary).replace("'", "''")
        try:
            relation.query(
                "exported",
                f"COPY (SELECT {listed} FROM exported) TO '{target}' ({FORMATS[ending]})",
            )
        except duckdb.IOException as error:
            raise OSError(errno.EIO, str(error).splitlines()[0]) from error

    write_atomically(out, write)
    return out


def _as_text(column: str, kind: str) -> str:
    """SQL of a value that no spreadsheet runs."""
    if kind != "VARCHAR":
        return column
    return f"CASE WHEN regexp_matches({column}, '{_RUN}') THEN '''' || {column} ELSE {column} END"


def _in_json(column: str, kind: str) -> str:
    """SQL of a value that JSON can say."""
    finite = (
        "CASE WHEN isnan({0}) THEN NULL WHEN isinf({0}) THEN to_json(CAST({0} AS VARCHAR)) "
        "ELSE to_json({0}) END"
    )
    if kind in ("FLOAT", "DOUBLE"):
        return finite.format(column)
    if kind in ("FLOAT[]", "DOUBLE[]"):
        return f"[{finite.format('x')} FOR x IN {column}]"
    return column


def file_names(names: Mapping[str, object]) -> dict[str, str]:
    """Names that every file system takes; those that would be the same get a digest behind."""
    plain = {
        name: "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "_" for c in name)[:80]
        for name in names
    }
    # A dot in front hides a file, and two of them are the folder above.
    plain = {
        name: f"_{file.lstrip('.')}" if file[:1] in ("", ".") else file
        for name, file in plain.items()
    }
    lower = [file.lower() for file in plain.values()]
    return {
        name: file if lower.count(file.lower()) == 1 else f"{file}-{digest(name, size=3)}"
        for name, file in plain.items()
    }
