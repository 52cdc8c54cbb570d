"""Rows of Parquet files, read in blocks when they are asked for.

DuckDB finds a range of rows without reading the row groups outside it. A block is about 2 MiB of
rows, and the last 32 that were used are kept, so that a set of any length takes some 64 MiB, and a
small one stays in memory as a whole. A file can state less than it holds: blocks that turn out larger are kept
up to `KEPT_BYTES` together, and none is read beyond `LARGEST_BLOCK`.
"""

import itertools
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from equipoise.errors import EquipoiseError
from equipoise.files import unbroken

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["TABLE", "Blocks", "query"]

# Hive partitioning would let a folder called label=3 replace the label column.
TABLE = "read_parquet(?, file_row_number = true, hive_partitioning = false)"

BLOCK_BYTES = 2**21
ROW_OVERHEAD = 256  # what Python's own objects take, beside the encoded image
KEPT = 32
KEPT_BYTES = 2**28
LARGEST_BLOCK = 2**30


def query(
    files: Sequence[Path], sql: str, *parameters: object, most: int = LARGEST_BLOCK
) -> list[tuple[Any, ...]]:
    """The rows of `sql`, whose first parameter is the list of `files` and whose others are
    `parameters`; texts and bytes in them may be `most` together.

    Raises:
        EquipoiseError: when DuckDB cannot read the files, or Python has no such values.
    """
    import duckdb  # noqa: PLC0415  only this source needs it

    # Without threads and extensions of its own, a connection opens in milliseconds and never asks
    # the network; without a folder for what does not fit into memory, it writes nothing.
    settings: dict[str, Any] = {
        "threads": 1,
        "autoinstall_known_extensions": False,
        "temp_directory": "",
    }
    names = [_literal(file) for file in files]
    try:
        with unbroken(), duckdb.connect(config=settings) as connection:
            return _fetch(connection.execute(sql, [names, *parameters]), most)
    except EquipoiseError:
        raise
    except (duckdb.Error, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        names = ", ".join(map(str, files[:3])) + (", ..." if len(files) > 3 else "")
        raise EquipoiseError(
            f"Cannot read {names} as Parquet: {reason}. Replace what is damaged, or write it "
            "again."
        ) from error


def _fetch(found: "DuckDBPyConnection", most: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    total = 0
    while (row := found.fetchone()) is not None:
        total += _bytes(row)
        if total > most:
            raise EquipoiseError(
                f"Cannot read the Parquet files: what should be one part of them has more than {most} bytes. Write "
                "them again, with smaller images."
            )
        rows.append(row)
    return rows


def _bytes(row: tuple[Any, ...]) -> int:
    return sum(len(value) for value in row if isinstance(value, str | bytes))


class Blocks:
    """Random access to the rows of several files, taken one after the other.

    Arguments:
        files: Parquet files with the same columns.
        counts: the number of rows of each.
        columns: the SQL of the columns to read.
        size: bytes that all rows take together, before compression.
    """

    def __init__(
        self, files: tuple[Path, ...], counts: tuple[int, ...], columns: str, size: int
    ) -> None:
        self.files = files
        self.counts = counts
        self.columns = columns
        self.starts = tuple(itertools.accumulate(counts, initial=0))
        self.size = size
        self.rows = max(1, int(BLOCK_BYTES / (size / max(len(self), 1) + ROW_OVERHEAD)))
        self.held: OrderedDict[tuple[int, int], list[tuple[Any, ...]]] = OrderedDict()
        self._taken = 0
        self._lock = Lock()

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.files, self.counts, self.columns, self.size)

    def __len__(self) -> int:
        return self.starts[-1]

    def place(self, index: int) -> tuple[Path, int]:
        """The file that holds row `index`, and the row's number within it."""
        file = bisect_right(self.starts, index) - 1
        return self.files[file], index - self.starts[file]

    def row(self, index: int) -> tuple[Any, ...]:
        """The columns of row `index`, 0 <= index < len."""
        file = bisect_right(self.starts, index) - 1
        block, offset = divmod(index - self.starts[file], self.rows)
        with self._lock:
            if (file, block) in self.held:
                self.held.move_to_end((file, block))
            else:
                # Out with the old first: reading is when memory is highest.
                while len(self.held) >= KEPT:
                    self._drop()
                rows = self._read(file, block * self.rows)
                taken = sum(map(_bytes, rows))
                while self.held and self._taken + taken > KEPT_BYTES:
                    self._drop()
                self.held[file, block] = rows
                self._taken += taken
            return self.held[file, block][offset]

    def _drop(self) -> None:
        _, rows = self.held.popitem(last=False)
        self._taken -= sum(map(_bytes, rows))

    def _read(self, file: int, start: int) -> list[tuple[Any, ...]]:
        stop = min(start + self.rows, self.counts[file])
        where = "file_row_number >= ? AND file_row_number < ?"
        sql = f"SELECT {self.columns} FROM {TABLE} WHERE {where} ORDER BY file_row_number"
        rows = query([self.files[file]], sql, start, stop)
        if len(rows) != stop - start:
            raise EquipoiseError(
                f"Cannot read rows {start}..{stop - 1} of {self.files[file]}: the file changed "
                "while it was in use. Repeat the command."
            )
        return rows


def _literal(path: Path) -> str:
    """`path` for DuckDB, which would take ``*``, ``?`` and ``[`` in it for a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path.absolute()))
