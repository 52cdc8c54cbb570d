"""Reading and writing while networks compute: one thread reads the next range, one writes the shard that is finished.

Each has one thing in hand and no queue: in memory are the range that is measured, the next one, and the answers of two
shards. What fails in a thread is raised by the one that computes, between two shards when reading failed and between
two batches when writing did; everything written until then is kept.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["Reader", "Writer"]

Item = TypeVar("Item")
Part = TypeVar("Part")


class Reader(Generic[Item, Part]):
    """Gives each item with what `read` finds for it, while that of the next one is being read.

    Arguments:
        read: gives parts, one after the other; between two of them it can be stopped.
        items: in the order in which they are wanted.
    """

    def __init__(self, read: Callable[[Item], Iterator[Part]], items: Sequence[Item]) -> None:
        self._read, self._items = read, items
        self._stopped = Event()
        self._next: Future[list[Part]] | None = None

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1, "reading")
        return self

    def __iter__(self) -> Iterator[tuple[Item, list[Part]]]:
        for k, item in enumerate(self._items):
            coming = self._next or self._pool.submit(self._collect, item)
            found = coming.result()
            # A future keeps what it found: without this a third range would stay in memory.
            del coming
            ahead = self._items[k + 1 : k + 2]
            self._next = self._pool.submit(self._collect, ahead[0]) if ahead else None
            yield item, found
            del found

    def check(self) -> None:
        """Raises what kept the next item from being read, if anything did by now."""
        if self._next is not None and self._next.done():
            self._next.result()

    def _collect(self, item: Item) -> list[Part]:
        parts = []
        for part in self._read(item):
            parts.append(part)
            if self._stopped.is_set():
                break
        return parts

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)


class Writer(Generic[Item]):
    """Writes one item at a time, and says in the calling thread which are on disk.

    Arguments:
        done: called with each item, in order, some time after it was written.
    """

    def __init__(self, done: Callable[[Item], object]) -> None:
        self._done = done
        self._writing: tuple[Item, Future[None]] | None = None

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1, "writing")
        return self

    def write(self, item: Item, work: Callable[[], None]) -> None:
        """Begins `work`, which writes `item`, once the item before is on disk."""
        self._finish()
        self._writing = item, self._pool.submit(work)

    def check(self) -> None:
        """Raises what kept an item from being written; calls `done` for one that is on disk by now."""
        if self._writing is not None and self._writing[1].done():
            self._finish()

    def _finish(self) -> None:
        if self._writing is None:
            return
        (item, future), self._writing = self._writing, None
        future.result()
        self._done(item)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            # Also after Ctrl-C: what was measured gets to disk.
            self._pool.shutdown()
