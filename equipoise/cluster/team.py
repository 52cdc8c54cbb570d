"""The workers of one call: who does what, and what happens when one dies."""

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Generic, TypeVar

from equipoise.cluster.reach import REACH, answers, first_line, silently
from equipoise.errors import EquipoiseError

__all__ = ["Team"]

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")

DEATHS = 3
"""Workers that may die of one item, or one after the other before they begin, until the call gives up."""

PATIENCE = 120.0
"""Seconds to wait for a first worker on a cluster that others keep busy."""


class Team(Generic[Item, Result]):
    """Workers that live as long as the block.

    Arguments:
        ray: the package, connected.
        hire: starts a worker; gives it and the reference that is ready once it has begun.
        size: how many workers.
        near: items for which it gives the same are best done by the same worker.
        pulse: hosts and ports that answer as long as Ray lives.
    """

    def __init__(
        self,
        ray: Any,
        hire: Callable[[], tuple[Any, Any]],
        *,
        size: int,
        near: Callable[[Item], Hashable],
        pulse: Sequence[tuple[str, int]],
    ) -> None:
        self.ray, self.hire, self.size, self.near, self.pulse = ray, hire, size, near, pulse

    @property
    def _fatal(self) -> tuple[type[BaseException], ...]:
        """What says that a worker has died: killed, or for want of memory, or with its machine."""
        names = ("RayActorError", "OutOfMemoryError", "NodeDiedError", "WorkerCrashedError")
        return tuple(kind for n in names if (kind := getattr(self.ray.exceptions, n, None)))

    def __enter__(self) -> "Team[Item, Result]":
        # What each reference stands for: a worker and its item, None while it begins.
        self.running: dict[Any, tuple[Any, Item | None]] = {}
        self.idle: dict[Any, Hashable] = {}
        self.waiting: dict[Hashable, list[Item]] = {}
        self.deaths: Counter[Item | None] = Counter()
        self.lost = False
        self.heard = self.asked = self.moved = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.lost:
            return
        for worker in [*self.idle, *(worker for worker, _ in self.running.values())]:
            silently(self.ray.kill, worker)

    def do(self, items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
        """Every item with its result, in the order in which they are done."""
        for item in items:
            self.waiting.setdefault(self.near(item), []).append(item)
        for _ in range(min(self.size, len(items))):
            self._begin()
        while self.waiting or any(item is not None for _, item in self.running.values()):
            self._give()
            for reference in self._finished():
                worker, item = self.running.pop(reference)
                try:
                    result = self._result(reference)
                except self._fatal as error:
                    silently(self.ray.kill, worker)
                    self._lost(item, error)
                    continue
                self.moved = time.monotonic()
                self.deaths[None] = 0
                self.idle[worker] = None if item is None else self.near(item)
                if item is not None:
                    yield item, result
            self._check_moving()

    def _begin(self) -> None:
        worker, reference = self.hire()
        self.running[reference] = (worker, None)

    def _give(self) -> None:
        """An item to everyone idle: one near the worker's last, else one near to nobody's."""
        while self.waiting and self.idle:
            worker, last = self.idle.popitem()
            taken = {self.near(item) for _, item in self.running.values() if item is not None}
            alike = (key for key in (last,) if key in self.waiting)
            fresh = (key for key in self.waiting if key not in taken)
            key = next(chain(alike, fresh, self.waiting))
            item = self.waiting[key].pop(0)
            if not self.waiting[key]:
                del self.waiting[key]
            self.running[worker.call.remote(item)] = (worker, item)

    def _finished(self) -> list[Any]:
        """Who is done, now or within a second."""
        try:
            found, _ = self.ray.wait(list(self.running), num_returns=1, timeout=1.0)
        except (ConnectionError, self.ray.exceptions.RayError) as error:
            raise self._gone(error) from None
        now = time.monotonic()
        # Without them Ray would end this process, by and by and without a word of what to do.
        if now - self.asked > 1:
            self.asked = now
            if all(answers(host, port) for host, port in self.pulse):
                self.heard = now
            elif now - self.heard > REACH:
                raise self._gone("its head or its processes on this machine do not answer")
        return found

    def _result(self, reference: Any) -> Result:
        exceptions = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, EquipoiseError):
                raise error.cause from None
            raise
        except self._fatal:
            raise
        except (ConnectionError, exceptions.RayError) as error:
            raise self._gone(error) from None

    def _lost(self, item: Item | None, why: object) -> None:
        """After the death of a worker: another one begins, and its item waits again, first of all."""
        self.deaths[item] += 1
        if self.deaths[item] == DEATHS:
            what = "before they had begun" if item is None else f"of one piece of work, {item}"
            raise EquipoiseError(
                f"Cannot go on: {DEATHS} workers died {what}; the last: {first_line(why)}. If they lack memory, "
                "fewer workers (--workers) or a smaller --batch need less. Repeat the command to go on: what was "
                "finished is kept."
            )
        if item is not None:
            key = self.near(item)
            self.waiting = {key: [item, *self.waiting.pop(key, ())], **self.waiting}
        self._begin()

    def _check_moving(self) -> None:
        beginning = all(item is None for _, item in self.running.values()) and not self.idle
        if beginning and time.monotonic() - self.moved > PATIENCE:
            raise EquipoiseError(
                f"No worker has begun within {PATIENCE:.0f} s: others use the cluster. Wait for them, or ask for less "
                "(--cpus-per-worker, --gpus-per-worker)."
            )

    def _gone(self, why: object) -> EquipoiseError:
        self.lost = True
        return EquipoiseError(
            f"Ray was lost: {first_line(why)}. Repeat the command to go on: what was finished is kept."
        )
