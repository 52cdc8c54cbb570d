"""What a repeated command finds damaged is made again, said once on standard error, and kept in the folder's record."""

import datetime
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["note_repairs"]

_NAMED = 3
"""Files that the line names."""


def note_repairs(
    where: object, damaged: Mapping[str, str], before: Mapping[str, Any] | None
) -> list[dict[str, str]]:
    """What the record says of repairs: ``file``, ``reason`` and when it was ``found``, in UTC; earlier ones included.

    Arguments:
        where: the files are, for the line.
        damaged: what is wrong with each, as a clause: "its content has changed".
        before: the record as it was; None without one.
    """
    if damaged:
        named = ", ".join(f"{file} ({why})" for file, why in list(damaged.items())[:_NAMED])
        more = f" and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
        files = "1 file is" if len(damaged) == 1 else f"{len(damaged)} files are"
        print(
            f"equipoise: in {where} {files} not as written, and to be made again: {named}{more}.",
            file=sys.stderr,
        )
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    known = {item["file"]: item for item in (before or {}).get("repaired", ())}
    return list(
        (
            known | {f: {"file": f, "reason": why, "found": now} for f, why in damaged.items()}
        ).values()
    )
