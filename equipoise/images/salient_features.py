"""The tables of Salient ImageNet: which feature of which class is core, and which image shows which feature.

A feature is numbered within its class. Five workers looked at each and said what it shows: the main object, a separate
object or the background. It is spurious when three or more said one of the last two, and core otherwise.

    wordnet_dict.py               a dict literal: index of a class among ImageNet's 1,000 -> its WordNet id (wnid)
    discover_spurious_features.csv    an answer a row: Input.wordnet_id, Input.class_index, Input.feature_index,
                                  Answer.main
    WNID/image_names_map.csv      a column a feature: names of the images with a mask of it, without extension

No code in a file is run.
"""

import ast
import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path

from equipoise.bounds import read_bounded
from equipoise.errors import EquipoiseError
from equipoise.images.metadata import LARGEST_TABLE

__all__ = ["read_core_features", "read_image_names", "read_wnids"]

WORKERS = 5
SPURIOUS = {"main_object": 0, "separate_object": 1, "background": 1}
COLUMNS = ("Input.wordnet_id", "Input.class_index", "Input.feature_index", "Answer.main")
CLASSES = 1000
LARGEST_LITERAL = 2**20
"""Bytes of wordnet_dict.py; the published one has 20 KB."""


def read_wnids(path: Path) -> dict[str, int]:
    """The index of each wnid.

    Raises:
        EquipoiseError: when the file is missing or is anything but one dict literal from 0..999 to different wnids.
    """
    try:
        [statement] = ast.parse(_text(path, LARGEST_LITERAL)).body
        if not isinstance(statement, ast.Expr | ast.Assign) or statement.value is None:
            raise ValueError
        found = ast.literal_eval(statement.value)
        if not all(type(index) is int and 0 <= index < CLASSES for index in found):
            raise ValueError
        if not all(re.fullmatch("n[0-9]{8}", wnid) for wnid in found.values()):
            raise ValueError
        wnids = {wnid: index for index, wnid in found.items()}
        if not wnids or len(wnids) < len(found):
            raise ValueError
    except (
        SyntaxError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise EquipoiseError(
            f"Cannot read {path}: it is not one dict literal from indices 0..{CLASSES - 1} to different wnids, such as "
            "{0: 'n01440764'}. Restore the published file."
        ) from error
    return wnids


def read_core_features(path: Path, wnids: Mapping[str, int]) -> dict[tuple[str, int], bool]:
    """Whether each (wnid, feature) is core.

    Arguments:
        path: of the workers' answers.
        wnids: what `read_wnids` gave.

    Raises:
        EquipoiseError: when the file is missing or lacks a column, for an unknown answer or class, and for a feature
            with more or fewer than five answers.
    """
    asked: Counter[tuple[str, int]] = Counter()
    against: Counter[tuple[str, int]] = Counter()
    for line, row in _rows(path, COLUMNS):
        wnid, place, feature, answer = (row[name] for name in COLUMNS)
        if answer not in SPURIOUS or not (_is_number(feature) and _is_number(place)):
            raise EquipoiseError(
                f"Cannot read line {line} of {path}: feature {feature!r} of class {place!r} is called {answer!r}. It "
                f"needs whole numbers and one of {', '.join(SPURIOUS)}. Restore the published file."
            )
        if wnids.get(wnid) != int(place):
            known = f"its index is {wnids[wnid]}" if wnid in wnids else "it is unknown"
            raise EquipoiseError(
                f"Cannot read line {line} of {path}: it calls {wnid!r} class {place}, while in wordnet_dict.py "
                f"{known}. Take both files from one release."
            )
        asked[wnid, int(feature)] += 1
        against[wnid, int(feature)] += SPURIOUS[answer]
    for (wnid, feature), count in asked.items():
        if count != WORKERS:
            raise EquipoiseError(
                f"Cannot tell whether feature {feature} of {wnid} is core: {path} has {count} answers to it, not "
                f"{WORKERS}. Restore the published file."
            )
    return {key: 2 * against[key] < WORKERS for key in asked}


def read_image_names(path: Path) -> dict[int, list[str]]:
    """The names of the images that show each feature, in the order of the table, which names each once.

    Raises:
        EquipoiseError: when the file is missing, the head of a column is no number, or a name is no plain file name.
    """
    found: dict[int, dict[str, None]] = {}
    for line, row in _rows(path):
        for head, name in row.items():
            if head == "":
                continue  # the row numbers that pandas writes
            if head is None or not _is_number(head):
                raise EquipoiseError(
                    f"Cannot read line {line} of {path}: {name!r} stands in the column {head!r}, which is not the "
                    "number of a feature. Restore the published file."
                )
            names = found.setdefault(int(head), {})
            if re.search(r"[/\\:\0]", name) or name.startswith("."):
                raise EquipoiseError(
                    f"Cannot read line {line} of {path}: {name!r} is no name of an image in its class. Write it "
                    "without folder and extension."
                )
            if name:
                names[name] = None
    return {feature: list(names) for feature, names in found.items()}


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def _rows(path: Path, needed: tuple[str, ...] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The number and the stripped cells of each line of a CSV table."""
    table = csv.DictReader(StringIO(_text(path), newline=""))
    try:
        table.fieldnames = [head.strip() for head in table.fieldnames or ()]
        for name in set(table.fieldnames):
            if name and table.fieldnames.count(name) > 1:
                raise EquipoiseError(
                    f"Cannot read {path}: it has the column {name!r} twice. Restore the published file."
                )
        for name in needed:
            if name not in table.fieldnames:
                raise EquipoiseError(
                    f"Cannot read {path}: it lacks the column {name!r}. Restore the published file."
                )
        for row in table:
            cells = {head: str(cell or "").strip() for head, cell in row.items()}
            yield table.line_num, cells
    except csv.Error as error:
        raise EquipoiseError(
            f"Cannot read {path} after line {table.line_num}: {error}. Restore the published file."
        ) from error


def _text(path: Path, most: int = LARGEST_TABLE) -> str:
    try:
        # What workers wrote in free text may be of any encoding, and is not used.
        return read_bounded(path, most).decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise EquipoiseError(
            f"Cannot read {path}: {error.strerror}. It is a part of Salient ImageNet: put it there."
        ) from error
