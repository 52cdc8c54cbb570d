"""The verb that takes tables, charts, pictures and a model card out of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from equipoise.cli.app import app, plain_table, say
from equipoise.errors import EquipoiseError

if TYPE_CHECKING:
    from equipoise.audit import Run

__all__ = ["export"]


@app.command
def export(
    run: str,
    *,
    table: str | None = None,
    chart: str | None = None,
    model_card: str | None = None,
    out: Path | None = None,
    all: Annotated[Path | None, Parameter(name="--all")] = None,
    tables_as: Literal["csv", "parquet", "json"] = "csv",
    charts_as: Literal["svg", "png", "pdf"] = "svg",
    pictures: Path | None = None,
    exact: bool = False,
    licence: Annotated[str | None, Parameter(name=["--license", "--licence"])] = None,
) -> None:
    """Take tables, charts, pictures or a model card out of a run; alone, list what there is.

    Parameters
    ----------
    run
        The folder that an audit or a study wrote, or its address.
    table
        Write this table to --out, whose ending says how: .csv, .parquet or .json.
    chart
        Draw this chart into --out, by its name or its title: .svg, .png or .pdf.
    model_card
        Write what was measured of this classifier to --out, as a model card for the Hugging Face Hub.
    out
        The file.
    all
        Write every table into FOLDER/tables and every chart into FOLDER/charts.
    tables_as
        What --all writes of tables.
    charts_as
        What --all writes of charts.
    pictures
        Write the pictures that the run kept into this folder, below one for each class, with a metadata.csv.
    exact
        Leave texts in CSV as they are, also those that a spreadsheet would run as formulas.
    licence
        Of the classifier, for the model card: apache-2.0, mit, ...
    """
    from equipoise.audit import Run

    asked = {"--table": table, "--chart": chart, "--model-card": model_card}
    given = [option for option, value in asked.items() if value is not None]
    folders = {"--all": all, "--pictures": pictures}
    wanted = [*given, *(option for option, value in folders.items() if value is not None)]
    if len(wanted) > 1:
        both = " and ".join(wanted)
        raise EquipoiseError(f"Cannot export {both} at once: ask for one of them.")
    if given and out is None:
        raise EquipoiseError(f"{given[0]} needs a file: --out FILE.")
    if out is not None and not given:
        raise EquipoiseError(f"--out {out} needs what to write: {', '.join(asked)}.")
    if licence is not None and model_card is None:
        raise EquipoiseError(f"--license {licence} goes with --model-card.")
    opened = Run(run)
    if all is not None:
        from equipoise.report.export import write_all

        written = write_all(opened, all, table=f".{tables_as}", chart=f".{charts_as}", exact=exact)
        say(f"{len(written)} files in {all}")
    elif pictures is not None:
        from equipoise.report.picture_files import write_pictures

        count = write_pictures(opened, pictures, exact=exact)
        say(f"{count} pictures in {pictures}: open them as folder:{pictures}")
    elif table is not None and out is not None:
        _table(opened, table, out, exact=exact)
    elif chart is not None and out is not None:
        from equipoise.report.export import write_chart

        say(f"Chart: {write_chart(opened, chart, out)}")
    elif model_card is not None and out is not None:
        from equipoise.report.model_card import write_model_card

        say(f"Model card: {write_model_card(opened, model_card, out, licence=licence)}")
    else:
        _list(opened)


def _table(run: "Run", name: str, out: Path, *, exact: bool) -> None:
    from equipoise.report.export import formulas, write_table
    from equipoise.report.tables import builders

    written = write_table(run, name, out, exact=exact)
    say(f"Table: {written}")
    guarded = 0 if exact or written.suffix.lower() != ".csv" else formulas(builders(run)[name]())
    if guarded:
        say(
            f"{guarded} {'text' if guarded == 1 else 'texts'} that a spreadsheet would run as "
            f"{'a formula' if guarded == 1 else 'formulas'} got a ' in front; --exact leaves them as they are."
        )


def _list(run: "Run") -> None:
    from equipoise.report.export import charts, tables

    listed = plain_table("table", "equipoise export RUN --table NAME --out FILE.csv")
    listed.columns[0].overflow = "fold"
    for head in ("rows", "columns"):
        listed.add_column(head, justify="right")
    for name, relation in tables(run).items():
        listed.add_row(escape(name), f"{len(relation):,}", str(len(relation.columns)))
    Console().print(listed)
    drawn = plain_table("chart", "equipoise export RUN --chart NAME --out FILE.svg")
    drawn.add_column("title")
    for name, figure in charts(run).items():
        drawn.add_row(escape(name), escape(figure.title))
    Console().print(drawn)
