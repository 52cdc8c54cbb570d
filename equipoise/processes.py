"""Much small work at once: a process for each processor core, one thread in each.

A small network leaves most of a machine idle. Which process does what changes no result. They end with the one that
started them, however that ends.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from equipoise.errors import EquipoiseError

__all__ = ["cores", "spread"]

Item = TypeVar("Item")

MOST = 8
"""Processes at once: each takes half a gigabyte."""


def spread(work: Callable[[Item], None], items: Sequence[Item]) -> Iterator[Item]:
    """Calls `work` with every item, and gives each back when it is done.

    Arguments:
        work: a function of a module, and items that can be pickled.
        items: in the order in which they are begun.

    Raises:
        EquipoiseError: when a process dies; and whatever `work` raises.
    """
    workers = min(cores(), MOST, len(items))
    if workers <= 1:
        for item in items:
            work(item)
            yield item
        return
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin)
    try:
        running = {pool.submit(work, item): item for item in items}
        for done in as_completed(running):
            done.result()
            yield running[done]
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise EquipoiseError(
                "A process that worked for this one has died: out of memory, or killed. Repeat the call to go on. A "
                "script of yours has to call it below `if __name__ == '__main__':`."
            ) from error
        raise


def _begin() -> None:
    """What a process does first."""
    torch.set_num_threads(1)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """Ends this process once the one that started it was killed, and could not tell."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def cores() -> int:
    """The cores that this process may use, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
