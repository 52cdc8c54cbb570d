"""Exhibits: what a study measured beside the run's own images, such as curves over trainings, for the page to draw.

An exhibit is a list of rows, each a flat object of names, texts and numbers. Studies write theirs into the run's folder
as exhibits.json, so that the page stays a function of the run.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipoise.audit.claims import shards_of
from equipoise.errors import EquipoiseError
from equipoise.files import read_json, write_json

__all__ = ["Row", "read_exhibits", "write_exhibits"]

Row = dict[str, Any]


def write_exhibits(
    folder: Path, study: str, exhibits: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Writes exhibits.json into a run's folder, atomically; a number that is not finite becomes null."""
    rows = {
        name: [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()}
            for r in listed
        ]
        for name, listed in exhibits.items()
    }
    about = {"study": study, "run": shards_of(folder)}
    write_json(folder / "exhibits.json", about | {"exhibits": rows})


def read_exhibits(folder: Path) -> dict[str, list[Row]]:
    """The exhibits in a run's folder by name; none when no study wrote any, or when the run has been changed since.

    Raises:
        EquipoiseError: for a file that holds something else.
    """
    path = folder / "exhibits.json"
    if not path.is_file():
        return {}
    found = read_json(path)
    exhibits = found.get("exhibits") if isinstance(found, dict) else None
    if not isinstance(exhibits, dict) or not all(
        isinstance(rows, list) and all(map(_is_row, rows)) for rows in exhibits.values()
    ):
        raise EquipoiseError(
            f"Cannot read the exhibits {path}: they are no lists of rows. Repeat the study."
        )
    return exhibits if found.get("run") == shards_of(folder) else {}


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and not any(isinstance(v, dict) for v in value.values())
