"""Every table of a run, as DuckDB relations by name.

    measurements      a row for each classifier, probe and image: `Run.table()`
    PROBE             the rows and columns of one probe, under its spec
    images            id, label, class, group and digest of each image
    summary           every metric of every probe and classifier, with its interval
    soundness         the checks of every robust accuracy
    claims            of a study, with their verdicts
    spending          seconds and passes of each classifier and probe
    exhibits:NAME     what a study measured besides

Pictures are left out. Tables without a row do not exist.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from equipoise.audit import Claim, Run, Soundness, Statistic
from equipoise.report.making import costs
from equipoise.report.reading import Reading
from equipoise.store import connect

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

__all__ = ["builders", "relation_of", "tables"]

_TYPES = {str: "VARCHAR", float: "DOUBLE", int: "BIGINT", bool: "BOOLEAN"}
_SPENDING = {
    "classifier": "VARCHAR",
    "probe": "VARCHAR",
    "seconds": "DOUBLE",
    "forwards": "BIGINT",
    "backwards": "BIGINT",
}


def tables(run: Run) -> dict[str, "DuckDBPyRelation"]:
    """Every table of a run by name. ``tables(run)["summary"].df()`` is a pandas frame."""
    return {name: build() for name, build in builders(run).items()}


def builders(run: Run) -> dict[str, Callable[[], "DuckDBPyRelation"]]:
    """What makes each table, by name, so that one of them does not cost the time of all."""
    found: dict[str, Callable[[], DuckDBPyRelation]] = {}
    if run.shards():
        found["measurements"] = run.table
        found |= {p: lambda p=p: run.table(p) for p in run.probes if run.shards(p)}
        found["summary"] = lambda: _of_records(Statistic, run.summary())
        if run.soundness():
            found["soundness"] = lambda: _of_records(Soundness, run.soundness())
        found["spending"] = lambda: relation_of(_SPENDING, costs(Reading(run)))
    if run.shards("images"):
        found["images"] = lambda: _images(run)
    if run.claims():
        found["claims"] = lambda: _of_records(Claim, run.claims())
    for name, rows in run.exhibits().items():
        if rows:
            found[f"exhibits:{name}"] = lambda rows=rows: _of_rows(rows)
    return found


def _images(run: Run) -> "DuckDBPyRelation":
    images = run.images()
    # A name may hold anything.
    kept = [
        f'"{name.replace(chr(34), 2 * chr(34))}"'
        for name in images.columns
        if name not in ("picture", "label")
    ]
    names = {k: str(name) for k, name in enumerate(run.record["data"]["classes"])}
    listed = ", ".join(f"{k}: '{name.replace(chr(39), 2 * chr(39))}'" for k, name in names.items())
    return images.project(f'id, label, MAP {{{listed}}}[label] AS "class", {", ".join(kept[1:])}')


def _of_records(
    kind: type[Statistic | Soundness | Claim], rows: Sequence[Statistic | Soundness | Claim]
) -> "DuckDBPyRelation":
    """A row for each dataclass, a column for each of its fields."""
    types = {field.name: _TYPES.get(field.type, "VARCHAR") for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    return relation_of(types, [tuple(asdict(row).values()) for row in rows])


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> "DuckDBPyRelation":
    """A column for each key of any row, of the narrowest type that all its values have; text where they have none."""
    types = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        kinds = {type(row[key]) for row in rows if row.get(key) is not None}
        if kinds == {int, float}:
            kinds = {float}
        types[key] = _TYPES.get(kinds.pop(), "VARCHAR") if len(kinds) == 1 else "VARCHAR"
    texts = {key for key, kind in types.items() if kind == "VARCHAR"}
    listed = [
        tuple(_text(row.get(key)) if key in texts else row.get(key) for key in types)
        for row in rows
    ]
    return relation_of(types, listed)


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def relation_of(types: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> "DuckDBPyRelation":
    """Rows as a relation, with the SQL type of each column."""
    connection = connect()
    # Types of objects are guessed from a sample, which could hold nothing but missing values.
    connection.execute(f"SET pandas_analyze_sample = {max(1, len(rows))}")
    columns = zip(*rows, strict=True) if rows else [()] * len(types)
    held = {f"c{k}": _column(values) for k, values in enumerate(columns)}
    connection.register("source", held)
    cast = ", ".join(
        f'CAST(c{k} AS {kind}) AS "{name.replace(chr(34), 2 * chr(34))}"'
        for k, (name, kind) in enumerate(types.items())
    )
    connection.execute(f"CREATE TABLE found AS SELECT {cast} FROM source")
    return connection.table("found")


def _column(values: Sequence[Any]) -> np.ndarray:
    """An array that keeps whole numbers whole: one with missing values is of objects."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
