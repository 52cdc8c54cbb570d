"""Asking people, one question at a time: who joins, what comes next, and what was answered.

Each person sees all questions in an order of their own, and some of the first again near the end. A question is known
to the browser by a random token, and by nothing else. An answer is on the disk before the next question is told; what
is answered again counts with its last answer, and the earlier ones stay in the file.
"""

import datetime
import secrets
import sqlite3
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equipoise.audit.people import CANNOT_TELL, connected, read_classes
from equipoise.errors import EquipoiseError
from equipoise.streams import digest

__all__ = ["Asking", "Turn"]

REPEATED = 0.05
"""The share of questions that come twice."""

NAME = 40
"""The most characters of a name."""

LONGEST = 1e9
"""The most seconds of an answer: a browser's clock may have been set anew, but not by thirty years."""


@dataclass(frozen=True)
class Turn:
    """Where a person stands.

    Attributes:
        token: of the question, None when all are answered.
        place: which of them it is, from 1.
        of: how many there are.
        answered: how many have an answer.
        back: token of the question before, None before the first.
        answer: what was answered before, None where nothing was: the class or `CANNOT_TELL`, and the sureness.
    """

    token: str | None
    place: int
    of: int
    answered: int
    back: str | None
    answer: tuple[int, int | None] | None


class Asking:
    """The questions and answers in a people.sqlite.

    Arguments:
        path: of a file that has questions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def classes(self) -> list[str]:
        """Names of the classes, in the order of the labels."""
        with connected(self.path) as connection:
            return list(read_classes(connection, self.path))

    def known(self, name: str) -> tuple[str, int] | None:
        """The key of whoever joined under that name, and how many questions they answered; None for nobody.

        Raises:
            EquipoiseError: for no name or one that is too long.
        """
        folded = _tidy(name).casefold()
        with connected(self.path) as connection:
            return connection.execute(
                "SELECT key, (SELECT count(DISTINCT token) FROM asked JOIN answers USING (token)"
                " WHERE person = people.number) FROM people WHERE folded = ?",
                (folded,),
            ).fetchone()

    def join(self, name: str) -> str:
        """The key of a person who is new, or who came under the same name before.

        Raises:
            EquipoiseError: for no name or one that is too long.
        """
        tidy, key = _tidy(name), secrets.token_urlsafe(16)
        with connected(self.path) as connection:
            # Another server may let the same person in at the same time.
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute(
                "SELECT key FROM people WHERE folded = ?", (tidy.casefold(),)
            ).fetchone()
            if found is None:
                number = connection.execute(
                    "INSERT INTO people (name, folded, key, joined) VALUES (?, ?, ?, ?)",
                    (tidy, tidy.casefold(), key, _now()),
                ).lastrowid
                connection.executemany(
                    "INSERT INTO asked (token, person, place, question, again) VALUES (?, ?, ?, ?, ?)",
                    [
                        (secrets.token_urlsafe(16), number, place, question, again)
                        for place, (question, again) in enumerate(_order(connection, number))
                    ],
                )
            connection.execute("COMMIT")
        return found[0] if found else key

    def person(self, key: str) -> str | None:
        """The name of whoever has that key; None for nobody."""
        with connected(self.path) as connection:
            found = connection.execute("SELECT name FROM people WHERE key = ?", (key,)).fetchone()
        return found[0] if found else None

    def turn(self, key: str, token: str | None = None) -> Turn:
        """The question called `token`, or else the first that has no answer yet.

        Raises:
            EquipoiseError: for a key or a token that nobody has.
        """
        with connected(self.path) as connection:
            rows = connection.execute(
                "SELECT asked.token, last.number, coalesce(last.class, ?), last.sureness FROM asked"
                " LEFT JOIN answers AS last ON last.number ="
                " (SELECT max(number) FROM answers WHERE answers.token = asked.token)"
                " WHERE person = (SELECT number FROM people WHERE key = ?) ORDER BY place",
                (CANNOT_TELL, key),
            ).fetchall()
        tokens = [row[0] for row in rows]
        if not rows or (token is not None and token not in tokens):
            raise EquipoiseError("Cannot find this question. Join again, under the same name.")
        open_ = [place for place, row in enumerate(rows) if row[1] is None]
        place = tokens.index(token) if token else next(iter(open_), len(rows))
        before = tokens[place - 1] if place else None
        counts = (len(rows), len(rows) - len(open_))
        if place == len(rows):
            return Turn(None, place, *counts, before, None)
        _, number, seen, sureness = rows[place]
        given = None if number is None else (seen, sureness)
        return Turn(tokens[place], place + 1, *counts, before, given)

    def picture(self, token: str) -> bytes | None:
        """The picture of the question called `token`, as PNG; None for no question."""
        with connected(self.path) as connection:
            found = connection.execute(
                "SELECT picture FROM questions"
                " WHERE number = (SELECT question FROM asked WHERE token = ?)",
                (token,),
            ).fetchone()
        return found[0] if found else None

    def answer(
        self, key: str, token: str, seen: int, sureness: int | None, seconds: float
    ) -> None:
        """Keeps an answer; one that says what the last one about this question says changes nothing.

        Arguments:
            key: of the person.
            token: of the question.
            seen: a class, or `CANNOT_TELL`.
            sureness: 1 to 4; None with `CANNOT_TELL` alone.
            seconds: that the answer took.

        Raises:
            EquipoiseError: for a question that was not put to this person, or a class or sureness that there is not.
        """
        with connected(self.path) as connection:
            count = len(read_classes(connection, self.path))
            told = seen != CANNOT_TELL
            right = sureness in (1, 2, 3, 4) if told else sureness is None
            if not (CANNOT_TELL <= seen < count and right and 0 <= seconds <= LONGEST):
                raise EquipoiseError(
                    f"Cannot keep the answer {seen} with sureness {sureness} after {seconds} seconds: give a class "
                    f"from 0 to {count - 1} with a sureness from 1 to 4."
                )
            kept = (seen if told else None, sureness)
            connection.execute("BEGIN IMMEDIATE")
            asked = connection.execute(
                "SELECT 1 FROM asked JOIN people ON people.number = person WHERE token = ? AND key = ?",
                (token, key),
            ).fetchone()
            if not asked:
                raise EquipoiseError("Cannot find this question. Join again, under the same name.")
            last = connection.execute(
                "SELECT class, sureness FROM answers WHERE token = ? ORDER BY number DESC LIMIT 1",
                (token,),
            ).fetchone()
            if last != kept:
                connection.execute(
                    "INSERT INTO answers (token, class, sureness, seconds, at) VALUES (?, ?, ?, ?, ?)",
                    (token, *kept, seconds, _now()),
                )
            connection.execute("COMMIT")


def _order(connection: sqlite3.Connection, person: int | None) -> list[tuple[int, int]]:
    """The questions in a person's own order, each with whether it was there before: some of the first third come again
    in the last third."""
    (seed,) = connection.execute("SELECT value FROM facts WHERE name = 'seed'").fetchone()
    rng = np.random.default_rng(int(digest("order of questions", seed, person, size=8), 16))
    numbers = [n for (n,) in connection.execute("SELECT number FROM questions ORDER BY number")]
    order = [(int(n), 0) for n in rng.permutation(numbers)]
    third = len(order) // 3
    again = rng.choice(third, round(REPEATED * len(order)), replace=False) if third else []
    for place in again:
        order.insert(int(rng.integers(2 * third, len(order) + 1)), (order[place][0], 1))
    return order


def _tidy(name: str) -> str:
    """A name without blanks at its ends or control characters."""
    printable = "".join(
        " " if unicodedata.category(c)[0] == "C" and c.isspace() else c
        for c in unicodedata.normalize("NFC", name)
        if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs")
    )
    tidy = " ".join(printable.split())
    if not tidy or len(tidy) > NAME:
        raise EquipoiseError(
            f"Cannot use a name of {len(tidy)} characters: give your initials or a name of up to {NAME}."
        )
    return tidy


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
