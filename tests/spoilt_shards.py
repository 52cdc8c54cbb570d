"""Shards of a run as somebody hostile would send them.

Bytes are turned and cut, also with a seal that fits again; and whole Parquet files of other columns, types, values and
facts come under an honest name.
"""

import json
import pickle
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

import equipoise as eq
from equipoise.audit.plan import IMAGES
from equipoise.errors import EquipoiseError
from equipoise.seals import BLANK, CHECKSUM, SHARD, kept, seal
from equipoise.store import arrays, fetch_rows

PROBES = ["standard", "adversarial:l2:0.5?steps=2", "transfer:l2:0.5"]

_CELLS = (
    *("NULL", "-1", "7", "99", "9223372036854775807", "1e308", "'nan'::DOUBLE", "'-inf'::DOUBLE"),
    *(
        "true",
        "'x'",
        "''",
        "repeat('x', 70000)",
        "'</script><script>alert(1)</script>'",
        "'../../x'",
    ),
    *(
        "[1, 2]",
        "[]::DOUBLE[]",
        "[NULL]::DOUBLE[]",
        "[[1.5]]",
        "{'a': 1}",
        "MAP {'a': 1}",
        "'x'::BLOB",
    ),
    *(
        "DATE '2020-01-01'",
        "12.5::DECIMAL(9, 2)",
        "170141183460469231731687303715884105727::HUGEINT",
    ),
    *("{c}::VARCHAR", "{c}::VARCHAR::BLOB", "[{c}]", "CASE WHEN random() < 0.5 THEN {c} END"),
    *("'{\"a\": 1}'::JSON", "uuid()", "INTERVAL 3 DAY", "'a'::ENUM('a', 'b')", "TIME '01:02:03'"),
)
_ROWS = (
    *("SELECT * FROM t", "SELECT * FROM t", "SELECT * FROM t", "SELECT * FROM t LIMIT 0"),
    *("SELECT * FROM t LIMIT 3", "SELECT * FROM t UNION ALL SELECT * FROM t", "SELECT 1 AS id"),
    *(
        "SELECT t.* FROM t, range(400)",
        "SELECT * FROM t ORDER BY random()",
        "SELECT NULL AS label",
    ),
)


def made_run() -> dict[str, bytes]:
    """The files of an honest run."""
    from conftest import linear

    judged = [eq.wrap(linear(10, (1, 8, 8), seed=k).net, name=name) for k, name in enumerate("ab")]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        eq.audit(judged, "digits", PROBES, out, limit=12, pictures=2, examined=3, shown=False)
        return {
            path.relative_to(out).as_posix(): path.read_bytes()
            for path in sorted(out.rglob("*"))
            if path.is_file()
        }


def spoil_shards(
    seed: random.Random,
    made: dict[str, bytes],
    spoil: Callable[[bytes, random.Random, list[bytes]], bytes],
    spoil_json: Callable[[object, random.Random], bytes],
) -> bytes:
    """One shard spoilt, or a few, or all of one probe alike, as one text."""
    shards = [name for name in made if name.endswith(".parquet")]
    first = seed.choice(shards)
    alike = [name for name in shards if name.split("/")[1] == first.split("/")[1]]
    chosen = seed.choice(([first], [first], seed.sample(shards, 2), alike))
    mode, told, spoilt = seed.randrange(6), seed.random(), dict(made)
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            data, path = made[name], Path(folder) / name.rpartition("/")[2]
            # The same chances for all: what is alike stays alike.
            chances = random.Random(told)
            if mode == 0:
                path.write_bytes(spoil(data, chances, list(made.values())))
            elif mode == 1:
                path.write_bytes(data[: chances.randrange(len(data))])
            elif mode == 2:
                path.write_bytes(_footer_spoilt(data, partial(spoil, random=chances, others=[])))
                _seal(path)
            elif mode == 3:
                path.write_bytes(spoil(data, chances, list(made.values())))
                _seal(path)
            else:
                path.write_bytes(data)
                _write_another(path, chances, spoil_json)
            spoilt[name] = path.read_bytes()
    return pickle.dumps(spoilt)


def _footer_spoilt(data: bytes, spoil: Callable[[bytes], bytes]) -> bytes:
    """With what says of which types and where the columns are spoilt, and its length right again."""
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer = spoil(data[start:-8])
    return data[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _seal(path: Path) -> None:
    # What has no place for a seal any more stays without one.
    if len(kept(path, CHECKSUM) or b"") == len(BLANK):
        seal(path)


def _write_another(
    path: Path, seed: random.Random, spoil_json: Callable[[object, random.Random], bytes]
) -> None:
    """Another table under the same name, with facts and a seal."""
    facts = json.loads(kept(path, "equipoise") or b"{}")
    said = json.dumps(facts)
    if seed.randrange(3) == 0:
        said = spoil_json(facts, seed).decode("utf-8", "replace")
    with duckdb.connect() as connection:
        connection.execute(f"SELECT setseed({seed.random()})")
        # A table: an expression of one of its columns may be of any other type.
        connection.execute("CREATE TABLE t AS SELECT * FROM read_parquet(?)", [str(path)])
        columns = {name: f'"{name}"' for name in connection.table("t").columns}
        for _ in range(seed.randint(1, 3)):
            name = seed.choice(sorted(columns))
            action = seed.randrange(8)
            if action == 0:
                del columns[name]
            elif action == 1:
                columns[seed.choice(("x", "id", "label", name.upper() + " "))] = columns.pop(name)
            else:
                columns[name] = seed.choice(_CELLS).replace("{c}", columns[name])
            columns = columns or {"x": "1"}
        listed = ", ".join(f'{what} AS "{name}"' for name, what in columns.items())
        connection.execute(f"CREATE VIEW v AS SELECT {listed} FROM t")
        chosen = seed.choice(_ROWS).replace(" t", " v").replace("t.*", "v.*")
        pairs = {"equipoise": said, SHARD: path.name, CHECKSUM: BLANK}
        kinds = ", ".join(
            f"{key}: '{text.replace(chr(39), 2 * chr(39))}'" for key, text in pairs.items()
        )
        try:
            connection.execute(
                f"COPY ({chosen}) TO '{path}' (FORMAT parquet, KV_METADATA {{{kinds}}})"
            )
            seal(path)
        except duckdb.Error:  # no Parquet file can have it
            return


def read_everything(folder: Path) -> None:
    """All that `Run` gives of a run, as far as it gives it."""
    run = eq.Run(folder)
    pictured = [partial(run.pictures, probe) for probe in (PROBES[1], IMAGES)]
    asked = [run.verify, run.summary, run.soundness, run.broken, run.facts, run.finished.__len__]
    asked += [partial(ask, probe) for ask in (run.table, run.pictures) for probe in PROBES]
    asked += [partial(_numbers, run.table), *(partial(_rows, t) for t in (run.images, *pictured))]
    for ask in asked:
        try:
            ask()
        except EquipoiseError as error:
            assert "\n" not in str(error), str(error)


def _numbers(table: Callable[[], Any]) -> None:
    arrays(table())


def _rows(table: Callable[[], Any]) -> None:
    fetch_rows(table())
