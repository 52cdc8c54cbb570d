"""The store of runs and of counterfactual sets: one zstd Parquet file a shard, complete or absent.

A shard is written under a temporary name, sealed, synced and renamed, so that a killed command loses at most the shard
in hand. Its file name carries its identity, a digest of everything that determines its content; a sound shard is never
computed again. What it took (seconds, passes, images left out) rides along as JSON in the file's own metadata, beside
its name and its checksum, see `equipoise.seals`.
"""

import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equipoise.bounds import parse_json
from equipoise.errors import EquipoiseError
from equipoise.files import unbroken, write_atomically
from equipoise.processes import cores
from equipoise.seals import BLANK, CHECKSUM, SHARD, damage, is_named, kept, seal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_FACTS = "equipoise"
"""The key under which a shard keeps what it took."""

MOST_ROWS = 2**16
"""Of a shard; an audit writes 512 at most. A few bytes can say that there are a thousand million."""

LONGEST_TEXT = 2**16
"""Bytes of a text in a shard."""

LONGEST_LIST = 2**12
"""Numbers of a list that is read as a row of an array; longer ones are read as they are."""

__all__ = [
    "arrays",
    "connect",
    "fetch_rows",
    "find_damage",
    "is_whole",
    "lists",
    "read_alike",
    "read_columns",
    "read_facts",
    "read_shards",
    "write_shard",
]


def connect() -> "DuckDBPyConnection":
    """A DuckDB connection in memory."""
    # A module-level import would cost every `equipoise --help` its 0.1 s.
    import duckdb  # noqa: PLC0415

    # Whatever is read is read once: to keep the files' bytes would only take time. And nothing that a file asks for is
    # fetched from elsewhere.
    return duckdb.connect(
        config={"enable_external_file_cache": "false", "autoinstall_known_extensions": "false"}
    )


def write_shard(
    path: Path,
    types: Mapping[str, str],
    columns: Mapping[str, NDArray],
    facts: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes one shard atomically.

    Arguments:
        path: where to.
        types: the SQL type of each column, in order.
        columns: one array per column, all of one length.
        facts: JSON-able, kept in the file's metadata.
        metadata: further keys for other readers of the file.

    Raises:
        EquipoiseError: when the disk is full or the folder cannot be written.
    """
    # The name in the folder, not the temporary one. Last, so that nothing after them can be taken for them.
    sealed = {SHARD: path.name, CHECKSUM: BLANK}
    cast = ", ".join(
        f"CAST({_quoted(name)} AS {kind}) AS {_quoted(name)}" for name, kind in types.items()
    )
    pairs = {_FACTS: json.dumps(dict(facts), allow_nan=False)} | dict(metadata or {}) | sealed
    listed = ", ".join(f"{name}: {_literal(text)}" for name, text in pairs.items())

    def write(temporary: Path) -> None:
        import duckdb  # noqa: PLC0415

        with connect() as connection:
            try:
                connection.register("source", {name: columns[name] for name in types})
                connection.execute(
                    f"COPY (SELECT {cast} FROM source) TO {_literal(str(temporary))} "
                    f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{listed}}})"
                )
            except duckdb.IOException as error:
                raise OSError(errno.EIO, str(error).splitlines()[0]) from error
        seal(temporary)

    write_atomically(path, write)


def is_whole(path: Path) -> bool:
    """Whether `path` is a Parquet file from its first to its last bytes and says that it is the shard of this name; one
    that is not counts as missing. Its content is not read: `find_damage` does."""
    return is_named(path)


def find_damage(paths: Sequence[Path]) -> dict[Path, str]:
    """Which shards are not as they were written, and what is wrong with each, such as "its content has changed". Reads
    every byte of all of them, on all cores."""
    with ThreadPoolExecutor(cores()) as pool:
        found = zip(paths, pool.map(damage, paths), strict=True)
        return {path: reason for path, reason in found if reason}


@contextmanager
def _reading() -> Iterator[None]:
    """Says what to do where DuckDB finds that a file is damaged."""
    import duckdb  # noqa: PLC0415

    try:
        yield
    except EquipoiseError:
        raise
    # Of damaged bytes its C++ can throw what has no class of its own in Python.
    except (duckdb.Error, RuntimeError, ValueError, LookupError, MemoryError) as error:
        # What it makes of Ctrl-C.
        if str(error) == "Query interrupted":
            raise
        reason = str(error).partition("\n")[0].rstrip(" .:") or type(error).__name__
        raise EquipoiseError(
            f"Cannot read the shards: {reason}. equipoise verify FOLDER lists what is damaged; repeating the command "
            "that wrote the folder makes it again."
        ) from error


def read_shards(
    connection: "DuckDBPyConnection",
    paths: Sequence[Path],
    types: Mapping[str, str] | None = None,
) -> "DuckDBPyRelation":
    """The rows of all shards, as a lazy relation; columns that only some shards have are NULL in the others.

    Arguments:
        connection: to read with.
        paths: at least one.
        types: the SQL types of the columns there must be, and no others; any when None.

    Raises:
        EquipoiseError: for a damaged shard, where DuckDB finds it damaged, and for other columns.
    """
    with _reading():
        names = [str(path) for path in paths]
        if types is None:
            return connection.read_parquet(names, union_by_name=True)
        found = connection.read_parquet(names, union_by_name=True, file_row_number=True)
        return _expected(found, types)


def read_alike(
    connection: "DuckDBPyConnection",
    paths: Sequence[Path],
    types: Mapping[str, str] | None = None,
) -> "DuckDBPyRelation":
    """The rows of shards that all have the same columns, as a lazy relation: the first one tells which. Otherwise like
    `read_shards`."""
    with _reading():
        names = [str(path) for path in paths]
        if types is None:
            return connection.read_parquet(names)
        return _expected(connection.read_parquet(names, file_row_number=True), types)


def _expected(found: "DuckDBPyRelation", types: Mapping[str, str]) -> "DuckDBPyRelation":
    """`found`, which has the column ``file_row_number`` too, once it has the columns that it should have; reading more
    rows than a shard has is an error."""
    kinds = dict(zip(found.columns, map(str, found.types), strict=True))
    del kinds["file_row_number"]
    _compare(kinds, types)
    return found.filter(_bounded({})).select(*[_quoted(name) for name in kinds])


def _bounded(kinds: Mapping[str, str]) -> str:
    """SQL of a condition that holds for every row of a shard, and is an error for others.

    Arguments:
        kinds: the SQL types of the columns that are read.
    """
    short = [
        f"coalesce(strlen({_quoted(name)}), 0) <= {LONGEST_TEXT}"
        for name, kind in kinds.items()
        if kind == "VARCHAR"
    ]
    held = " AND ".join([f"file_row_number < {MOST_ROWS}", *short])
    return f"({held}) OR error('there are more rows, or longer texts, than a shard has')"


def _compare(kinds: Mapping[str, str], types: Mapping[str, str]) -> None:
    """Refuses columns that are not those that there should be."""
    if dict(kinds) != dict(types):
        name = next(iter(sorted(kinds.items() ^ dict(types).items())))[0]
        raise EquipoiseError(
            f"Cannot read the shards: their column {name[:100]!r} is {kinds.get(name, 'missing')[:100]}, where it "
            f"should be {types.get(name, 'none at all')}. equipoise verify FOLDER lists what is damaged; repeating the "
            "command that wrote the folder makes it again."
        )


def read_columns(
    connection: "DuckDBPyConnection",
    paths: Sequence[Path],
    wanted: Callable[[str], bool],
    types: Mapping[str, str] | None = None,
) -> dict[str, NDArray]:
    """Some columns of shards, which all have the same, as `arrays` has them. Lists are the rows of one array where all
    have one length and none is missing.

    Arguments:
        connection: to read with.
        paths: at least one.
        wanted: whether a column of that name is; at least one is.
        types: the SQL types of the columns there must be, and no others; any when None.

    Raises:
        EquipoiseError: for a damaged shard, where DuckDB finds it damaged, and for other columns.
    """
    with _reading():
        return _read_columns(connection, paths, wanted, types)


def _read_columns(
    connection: "DuckDBPyConnection",
    paths: Sequence[Path],
    wanted: Callable[[str], bool],
    types: Mapping[str, str] | None,
) -> dict[str, NDArray]:
    first = connection.read_parquet(str(paths[0]))
    kinds = dict(zip(first.columns, map(str, first.types), strict=True))
    if types is not None:
        _compare(kinds, types)
    names = [name for name in kinds if wanted(name)]
    listed = ", ".join(_literal(str(path)) for path in paths)
    bounded = _bounded({name: kinds[name] for name in names})
    shards = f"read_parquet([{listed}], file_row_number = true) WHERE {bounded}"
    # Each list as an object of its own would take longer than everything else.
    sizes = _lengths(first, [name for name in names if kinds[name].endswith("[]")])
    columns = {name: f"len({_quoted(name)})" if name in sizes else _quoted(name) for name in names}
    parts = {
        (name, k): f"{_quoted(name)}[{k + 1}]" for name, size in sizes.items() for k in range(size)
    }
    # One statement: every step of a relation would open every shard again.
    listed = ", ".join(f"{what} AS {_quoted(str(key))}" for key, what in (columns | parts).items())
    found = arrays(connection.execute(f"SELECT {listed} FROM {shards}"))
    for name, size in sizes.items():
        if (found[name] == size).all():
            found[name] = np.stack([found[str((name, k))] for k in range(size)], axis=1)
        else:
            found |= arrays(connection.execute(f"SELECT {_quoted(name)} FROM {shards}"))
    return {name: found[name] for name in names}


def _lengths(shard: "DuckDBPyRelation", names: Sequence[str]) -> dict[str, int]:
    """The longest list of each column, for those that have one with something in it."""
    if not names:
        return {}
    longest = shard.aggregate(", ".join(f"max(len({_quoted(name)}))" for name in names))
    (found,) = longest.fetchall()
    return {
        name: size
        for name, size in zip(names, found, strict=True)
        if size and size <= LONGEST_LIST
    }


def arrays(found: "DuckDBPyRelation | DuckDBPyConnection") -> dict[str, NDArray]:
    """The columns as arrays; a missing number is NaN, and other missing values are None."""
    columns = {}
    with _reading(), unbroken():
        fetched: dict[str, Any] = found.fetchnumpy()
    for name, values in fetched.items():
        missing, plain = np.ma.getmaskarray(values), np.ma.getdata(values)
        if missing.any():
            numeric = plain.dtype.kind in "fiu"
            plain = plain.astype(np.float64 if numeric else object)
            plain[missing] = np.nan if numeric else None
        columns[name] = plain
    return columns


def fetch_rows(found: "DuckDBPyRelation | DuckDBPyConnection") -> list[tuple[Any, ...]]:
    """The rows, a missing value as None.

    Raises:
        EquipoiseError: for a damaged shard, where DuckDB finds it damaged.
    """
    with _reading(), unbroken():
        return found.fetchall()


def lists(column: NDArray) -> tuple[NDArray[np.bool_], NDArray]:
    """Which rows of a column of lists have one with something in it, and these lists, with shape (rows, length); (0, 1)
    without any.

    Arguments:
        column: as `read_columns` or a probe has it; its lists are of one length.
    """
    if column.ndim == 2:
        return np.ones(len(column), dtype=bool), column.astype(float)
    there = np.array([value is not None and len(value) > 0 for value in column], dtype=bool)
    if not there.any():
        return there, np.empty((0, 1))
    return there, np.array([list(value) for value in column[there]], dtype=float)


def read_facts(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The facts that `write_shard` kept in each shard, in order.

    Raises:
        EquipoiseError: for a file that is no shard.
    """
    return [_facts(path) for path in paths]


def _facts(path: Path) -> dict[str, Any]:
    # By DuckDB's function each of ten thousand shards would cost as much as reading a column.
    try:
        found = parse_json(kept(path, _FACTS) or b"")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EquipoiseError(
            f"Cannot read the shards of the run: {path} is not one. Repeat the audit: only that shard is computed "
            "again."
        )
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
