"""How far an audit is and how long the rest will take, read from its folder while it runs.

An audit writes one shard after the other, in the order of the plan, and each keeps how many seconds it took. Let r be
the seconds per image over the finished shards of a classifier and a probe, or, while it has none, over those of the
probe; the rest then takes the sum over unfinished shards of r times their images, less the time since the last shard
was written. As long as a probe was never measured there is no estimate. Loading images and writing shards are left out.
"""

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from equipoise.audit.run import find_run, read_record
from equipoise.store import is_whole, read_facts
from equipoise.streams import digest

__all__ = ["Part", "Progress", "Watch", "roughly"]

PATIENCE, UNKNOWN = 60.0, 600.0
"""Seconds without a shard after which an audit is taken for stopped: at least, and where a shard's cost is unknown."""

SLOWER = 3
"""... and not before this many times what the shard in hand should take."""

State = Literal["waiting", "running", "stopped", "complete"]
Shard = dict[str, Any]
"""As run.json lists it."""


@dataclass(frozen=True)
class Part:
    """Shards of one probe of one classifier."""

    classifier: str
    probe: str
    done: int
    total: int


@dataclass(frozen=True)
class Progress:
    """How far an audit is.

    Attributes:
        state: "waiting" for run.json, "running", "stopped" when no shard came for too long, or "complete".
        done: finished shards, those of the images included.
        total: all shards.
        parts: the same by classifier and probe, in the order of the plan.
        left: estimate of the seconds that the rest takes; None where there is none.
        silent: seconds since the last shard was written, or since the audit began.
        command: what to repeat when the audit was interrupted.
        mark: digest of what a page is made of; another one means that there is something new to show.
    """

    state: State
    done: int = 0
    total: int = 0
    parts: tuple[Part, ...] = ()
    left: float | None = None
    silent: float = 0.0
    command: str = ""
    mark: str = ""


class Watch:
    """Looks at the folder of an audit; remembers what finished shards took.

    Arguments:
        folder: of the run, or of a study that keeps its run below it as ``audit``; may still lack either.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seconds: dict[str, float] = {}

    @property
    def folder(self) -> Path:
        """Where the run is, or will be."""
        return find_run(self._folder)

    def look(self, now: float | None = None) -> Progress:
        """What there is.

        Arguments:
            now: seconds since the epoch; the clock's when None.

        Raises:
            EquipoiseError: when run.json is of another schema or is none.
        """
        now = time.time() if now is None else now
        folder = self.folder
        if not (folder / "run.json").is_file():
            return Progress("waiting")
        record = read_record(folder)
        shards, written = record["shards"], self._written(folder, record["shards"])
        rates = self._rates(folder, shards, written)
        costs = [_cost(shard, rates) for shard in shards if shard["file"] not in written]
        in_hand = costs[0] if costs else 0.0
        began = (folder / "run.json").stat().st_mtime
        silent = max(0.0, now - max([began, *written.values()]))
        left = None
        if None not in costs:
            left = sum(filter(None, costs)) - min(silent, in_hand or 0.0)
        patience = UNKNOWN if in_hand is None else max(PATIENCE, SLOWER * in_hand)
        state: State = "stopped"
        if record["status"] == "complete" and not costs:
            state = "complete"
        elif record["status"] == "running" and silent <= patience:
            state = "running"
        return Progress(
            state,
            len(written),
            len(shards),
            _parts(shards, written),
            left,
            silent,
            str(record.get("command", "")),
            digest(sorted(written), sorted(_beside(folder))),
        )

    def _written(self, folder: Path, shards: Sequence[Shard]) -> dict[str, float]:
        """Finished shards, and when each was written."""
        found: dict[str, float] = {}
        for file in (shard["file"] for shard in shards):
            path = f"{folder}/{file}"
            try:
                when = os.stat(path).st_mtime  # noqa: PTH116 (thousands, each second)
            except OSError:
                continue
            if path in self._seconds or is_whole(Path(path)):
                found[file] = when
        return found

    def _rates(
        self, folder: Path, shards: Sequence[Shard], written: Collection[str]
    ) -> dict[tuple[str | None, str], float]:
        """Seconds per image of each classifier and probe, and under no classifier's name of each probe."""
        new = [f"{folder}/{file}" for file in written if f"{folder}/{file}" not in self._seconds]
        for path, facts in zip(new, read_facts([Path(path) for path in new]), strict=True):
            self._seconds[path] = facts["seconds"]
        seconds, images = defaultdict[Any, float](float), defaultdict[Any, int](int)
        for shard in shards:
            if shard["file"] in written:
                for key in {(shard["classifier"], shard["probe"]), (None, shard["probe"])}:
                    seconds[key] += self._seconds[f"{folder}/{shard['file']}"]
                    images[key] += shard["last"] - shard["first"]
        return {key: seconds[key] / images[key] for key in seconds}


def _cost(shard: Shard, rates: dict[tuple[str | None, str], float]) -> float | None:
    """The seconds that a shard should take; None where nothing says."""
    alike = rates.get((None, shard["probe"]))
    rate = rates.get((shard["classifier"], shard["probe"]), alike)
    return None if rate is None else rate * (shard["last"] - shard["first"])


def _parts(shards: Sequence[Shard], written: Collection[str]) -> tuple[Part, ...]:
    counts = defaultdict[tuple[str, str], list[int]](lambda: [0, 0])
    for shard in shards:
        if shard["classifier"] is not None:
            found = counts[shard["classifier"], shard["probe"]]
            found[0] += shard["file"] in written
            found[1] += 1
    return tuple(Part(*key, *found) for key, found in counts.items())


def _beside(folder: Path) -> Iterator[tuple[str, int, int]]:
    """What lies beside the shards and may be on the page, such as claims and answers; pages themselves are not."""
    for path in folder.iterdir():
        # A database's own files come and go.
        with contextlib.suppress(FileNotFoundError):
            about = path.stat()
            if path.is_file() and path.suffix != ".html" and not path.name.startswith("."):
                yield path.name, about.st_mtime_ns, about.st_size


def roughly(seconds: float) -> str:
    """``less than a minute left``, ``about 4 min left``, ``about 2 h 10 min left``, ``about 14 h left``."""
    minutes = round(seconds / 60)
    if seconds < 45:
        return "less than a minute left"
    if minutes < 90:
        return f"about {minutes} min left"
    if minutes < 600:
        tens = round(minutes, -1)
        return f"about {tens // 60} h {tens % 60} min left".replace(" 0 min", "")
    return f"about {round(minutes / 60)} h left"
