"""What people saw: people.sqlite in a run's folder, written by the human check of `equipoise view`.

    facts        name, value: the names of the classes as JSON, and the seed
    questions    number, kind, image, label, target, made_by, accepted, picture: one stored picture each. `image` is the
                 id of the original and `label` its class; `target` is the class that the picture was made for, or the
                 class that the attacked classifier reads in it; `accepted` says whether the oracles saw the target too
    people       number, name, key, joined
    asked        token, person, place, question, again: each person's own order; `again` marks a repeated question
    answers      number, token, class, sureness, seconds, at: rows are only ever added, and the last one about a token
                 counts. `class` is NULL for "cannot tell"
    given        a view: every answer that counts, beside what it is about

The picture that was shown is kept with the answers, so that the file says what was asked even where the run is
repeated with other settings. The page reads it through `Run.people` and names nobody.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equipoise.bounds import parse_json
from equipoise.errors import EquipoiseError

__all__ = [
    "CANNOT_TELL",
    "KINDS",
    "SURENESS",
    "Seen",
    "connected",
    "create",
    "read_classes",
    "read_people",
]

APPLICATION, SCHEMA = 0x45515053, 1
"""Marks of the file: whose it is, and the version of its tables."""

KINDS = ("original", "same", "counterfactual", "adversarial")
SURENESS = ("guessing", "rather unsure", "rather sure", "certain")
"""What 1, 2, 3 and 4 mean."""

CANNOT_TELL = -1

LARGEST = 2**28
"""Bytes of a value in the file."""

_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE questions (
  number INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('original', 'same', 'counterfactual', 'adversarial')),
  image TEXT NOT NULL, label INTEGER NOT NULL, target INTEGER NOT NULL,
  made_by TEXT NOT NULL, accepted INTEGER, picture BLOB NOT NULL
);
CREATE TABLE people (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL, folded TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE,
  joined TEXT NOT NULL
);
CREATE TABLE asked (
  token TEXT PRIMARY KEY,
  person INTEGER NOT NULL REFERENCES people (number), place INTEGER NOT NULL,
  question INTEGER NOT NULL REFERENCES questions (number), again INTEGER NOT NULL,
  UNIQUE (person, place)
);
CREATE TABLE answers (
  number INTEGER PRIMARY KEY, token TEXT NOT NULL REFERENCES asked (token),
  class INTEGER, sureness INTEGER CHECK (sureness BETWEEN 1 AND 4), seconds REAL NOT NULL, at TEXT NOT NULL
);
CREATE INDEX answers_by_token ON answers (token);
CREATE VIEW given AS
SELECT asked.person, people.name, asked.question, questions.kind, questions.image, questions.label,
  questions.target, questions.made_by, questions.accepted, asked.again, answers.class, answers.sureness,
  answers.seconds, answers.at
FROM answers JOIN asked USING (token) JOIN people ON people.number = asked.person
  JOIN questions ON questions.number = asked.question
WHERE answers.number IN (SELECT max(number) FROM answers GROUP BY token);
"""


_DEFINED = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name"


@dataclass(frozen=True)
class Seen:
    """Every answer that counts, one value an answer in each array, in the order they were given.

    Attributes:
        classes: names, in the order of the labels.
        person: a number for each person.
        question: a number for each picture.
        kind: one of `KINDS`.
        image: id of the original.
        label: its class.
        target: the class that the picture was made for, or that the attacked classifier reads in it; the original's
            class for originals and same-class controls.
        made_by: counterfactual set, or threat and classifier.
        accepted: 1 where the oracles see the target too, 0 where not, NaN where none were asked.
        again: whether the picture had been shown to this person before.
        answer: the class that was seen, or `CANNOT_TELL`.
        sureness: 1 to 4 as in `SURENESS`; NaN where the person could not tell.
        seconds: from seeing the picture to the answer.
    """

    classes: tuple[str, ...]
    person: NDArray
    question: NDArray
    kind: NDArray
    image: NDArray
    label: NDArray
    target: NDArray
    made_by: NDArray
    accepted: NDArray
    again: NDArray
    answer: NDArray
    sureness: NDArray
    seconds: NDArray

    def __len__(self) -> int:
        return len(self.answer)

    def where(self, rows: NDArray) -> "Seen":
        """Those answers alone for which `rows` is true."""
        kept = {f.name: getattr(self, f.name)[rows] for f in fields(self)[1:]}
        return Seen(self.classes, **kept)


def read_people(folder: Path) -> Seen | None:
    """What people answered about the run in `folder`; None where nobody was asked.

    Raises:
        EquipoiseError: when people.sqlite is something else, or cannot be read.
    """
    path = folder / "people.sqlite"
    if not path.is_file():
        return None
    with _opened(path, "read") as connection:
        # What a server that was killed while it wrote the questions leaves has no tables.
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return None
        _check(connection, path)
        connection.execute("PRAGMA query_only = ON")
        classes = read_classes(connection, path)
        rows = connection.execute(
            "SELECT person, question, kind, image, label, target, made_by, accepted, again,"
            " coalesce(class, ?), sureness, seconds FROM given ORDER BY person, at",
            (CANNOT_TELL,),
        ).fetchall()
    if not all(_is_given(row, len(classes)) for row in rows):
        raise EquipoiseError(
            f"Cannot read what people answered, {path}: it holds an answer that nobody could give. Move the file away "
            "to begin anew."
        )
    kinds = (int, int, object, object, int, int, object, float, bool, int, float, float)
    columns = zip(*rows, strict=True) if rows else ((),) * len(kinds)
    arrays = (np.array(values, dtype=kind) for values, kind in zip(columns, kinds, strict=True))
    return Seen(classes, *arrays)


def read_classes(connection: sqlite3.Connection, path: Path) -> tuple[str, ...]:
    found = connection.execute("SELECT value FROM facts WHERE name = 'classes'").fetchone()
    try:
        names = parse_json(found[0] if found else "")
    except (TypeError, ValueError):
        names = None
    if not isinstance(names, list):
        raise EquipoiseError(
            f"Cannot read what people answered, {path}: it names no classes. Move the file away to begin anew."
        )
    return tuple(map(str, names))


def _is_given(row: tuple, classes: int) -> bool:
    """Whether an answer is one of `classes`; SQLite lets a column hold what its type is not."""
    (
        person,
        question,
        kind,
        image,
        label,
        target,
        made_by,
        accepted,
        again,
        seen,
        sureness,
        seconds,
    ) = row
    return (
        all(isinstance(n, int) for n in (person, question, label, target, again, seen))
        and all(isinstance(text, str) for text in (kind, image, made_by))
        and kind in KINDS
        and all(0 <= n < classes for n in (label, target))
        and CANNOT_TELL <= seen < classes
        and accepted in (None, 0, 1)
        and sureness in ((None,) if seen == CANNOT_TELL else (1, 2, 3, 4))
        and isinstance(seconds, int | float)
        and 0 <= seconds < float("inf")
    )


def create(path: Path, classes: Sequence[str], seed: int, questions: Iterable[tuple]) -> None:
    """Writes the questions into a new people.sqlite, all or none; leaves a finished file as it is.

    Arguments:
        path: of the file.
        classes: names, in the order of the labels.
        seed: of the order of questions.
        questions: rows of (kind, image, label, target, made_by, accepted, picture).

    Raises:
        EquipoiseError: when the file cannot be written, or is something else.
    """
    with _opened(path, "write", mode="rwc") as connection:
        # Readers do not wait for writers in this mode, and it stays with the file.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            facts = {"classes": json.dumps(list(classes)), "seed": str(seed)}
            connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
            connection.executemany(
                "INSERT INTO questions (kind, image, label, target, made_by, accepted, picture)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                questions,
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")
        _check(connection, path)


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes into a people.sqlite, commits each statement by itself and ends with the block.

    Raises:
        EquipoiseError: when the file is something else, or cannot be opened or written.
    """
    with _opened(path, "write") as connection:
        _check(connection, path)
        yield connection


@contextmanager
def _opened(path: Path, verb: str, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    # What is written behind a link would be written outside the folder.
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        if path.with_name(name).is_symlink():
            raise EquipoiseError(
                f"Cannot {verb} what people answered, {path.with_name(name)}: it is a link. Put the file itself there."
            )
    # SQLite reads a file of this mode in a folder that it may not write to only when told that nobody else does.
    fixed = verb == "read" and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    address = f"{path.absolute().as_uri()}?{'immutable=1' if fixed else f'mode={mode}'}"
    try:
        with closing(
            sqlite3.connect(address, uri=True, timeout=30, isolation_level=None)
        ) as connection:
            # Nothing that the file defines may do more than read and compute, or make longer texts than pictures are.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
            yield connection
    # A damaged file is quoted in the error, in whatever bytes it has.
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise EquipoiseError(
            f"Cannot {verb} what people answered, {path}: {error}. See to the disk and the file's permissions, or "
            "move the file away to begin anew."
        ) from error


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuses files of something else."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise EquipoiseError(
            f"Cannot use {path}: it is an SQLite file of something else. Move it away to begin anew."
        )
    if version != SCHEMA:
        raise EquipoiseError(
            f"Cannot use {path}: its schema is {version}, this version of equipoise reads {SCHEMA}."
        )
    # A view or a trigger of somebody else's could run without end, or change what is answered.
    if connection.execute(_DEFINED).fetchall() != _own():
        raise EquipoiseError(
            f"Cannot use {path}: its tables are not those that equipoise makes. Move it away to begin anew."
        )
    facts = connection.execute("SELECT name FROM facts WHERE typeof(value) = 'text'").fetchall()
    if not {("classes",), ("seed",)} <= set(facts):
        raise EquipoiseError(f"Cannot use {path}: it lacks facts. Move it away to begin anew.")


@cache
def _own() -> list[tuple[str, str, str]]:
    """What a file that equipoise makes defines."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_TABLES)
        return connection.execute(_DEFINED).fetchall()
