"""What is wrong with a run's folder: shards that are damaged, or foreign, or gone, and the folder itself.

A shard that is not as it was written counts as missing: it is measured again and replaced. What was repaired is said
once, on standard error, and kept in run.json.
"""

from collections.abc import Mapping
from typing import Any

from equipoise.audit.plan import Plan, Shard
from equipoise.errors import EquipoiseError
from equipoise.remote import Here, Mirror
from equipoise.repairs import note_repairs
from equipoise.store import find_damage, is_whole

__all__ = ["refuse_vanished", "survey"]


def survey(
    plan: Plan, home: Here | Mirror, before: Mapping[str, Any] | None
) -> tuple[list[Shard], list[dict[str, str]]]:
    """The shards to measure, and what run.json says of repairs, earlier ones included.

    A shard that was never written is no repair; one that is gone from a complete run is.

    Arguments:
        plan: of the audit.
        home: of the run.
        before: run.json as it is; None without one, or without a readable one.
    """
    folder = home.local
    found = find_damage([folder / shard.file for shard in plan.shards])
    missing = [shard for shard in plan.shards if folder / shard.file in found]
    known = before or {}
    complete = known.get("status") == "complete"
    had = {shard["file"] for shard in known.get("shards", ()) if complete}
    damaged = {
        shard.file: found[folder / shard.file]
        for shard in missing
        if shard.file in had or (folder / shard.file).exists()
    }
    if before is None and (folder / "run.json").exists():
        damaged["run.json"] = "it is not JSON"
    return missing, note_repairs(home, damaged, before)


def refuse_vanished(home: Here | Mirror, plan: Plan | None = None) -> None:
    """Stops an audit whose folder was deleted or moved: run.json is gone, or, with a plan, one of its shards.

    Raises:
        EquipoiseError: saying so.
    """
    folder = home.local
    gone = [] if plan is None else [s.file for s in plan.shards if not is_whole(folder / s.file)]
    if gone or not (folder / "run.json").exists():
        what = f"{len(gone)} of its shards, such as {gone[0]}," if gone else "run.json"
        raise EquipoiseError(
            f"Cannot go on with the audit into {home}: {what} vanished meanwhile. Was the folder deleted or moved? "
            "Repeat the command: what is there is kept."
        )
