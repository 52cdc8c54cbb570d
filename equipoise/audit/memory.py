"""Out of memory: the batch is halved and the work goes on.

No answer depends on the batch an image is in, so that the table is that of any other batch. On a CPU the system often
kills a process instead of refusing memory, which no program can catch: repeat the command with a smaller --batch.
"""

import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from equipoise.errors import EquipoiseError
from equipoise.images import Batch

__all__ = ["Room", "out_of_memory", "say"]

Answer = TypeVar("Answer")

REFUSALS = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "alloc_failed",
)
"""What messages of allocators have in common; those of several libraries are plain RuntimeErrors."""


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there was too little memory, on whatever device."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in REFUSALS)


def part(batch: Batch, first: int, last: int) -> Batch:
    """Images first..last-1 of the batch."""
    rows = slice(first, last)
    return replace(
        batch,
        indices=batch.indices[rows],
        images=batch.images[rows],
        labels=batch.labels[rows],
        ids=batch.ids[rows],
        groups=batch.groups[rows],
        masks=batch.masks[rows],
    )


def say(note: str) -> None:
    """Tells the user, on standard error, that memory ran out."""
    print(f"{note[0].upper()}{note[1:]}. No result depends on it.", file=sys.stderr)


class Room:
    """How many images fit a network call, as far as is known: `batch` falls when memory runs out, and stays there.

    Arguments:
        batch: to begin with.
        tell: hears of each fall, in a sentence.
    """

    def __init__(self, batch: int, tell: Callable[[str], object] = say) -> None:
        self.batch, self.tell = batch, tell

    def ask(self, whole: Batch, work: Callable[[Batch], Answer], notes: list[str]) -> list[Answer]:
        """What `work` answers about the batch, in as many parts as memory asks for; `notes` get a sentence each
        time it ran out.

        Raises:
            EquipoiseError: when memory does not do for a single image; and whatever else `work` raises.
        """
        answers: list[Answer] = []
        first, images = 0, len(whole.ids)
        while first < images:
            last = min(first + self.batch, images)
            try:
                answers.append(work(part(whole, first, last)))
                first = last
                continue
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = (str(error).splitlines() or [type(error).__name__])[0]
            # Outside of the clause above: what the call held is free only once its error is gone.
            notes.append(self._halve(last - first, reason))
        return answers

    def _halve(self, tried: int, reason: str) -> str:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if tried == 1:
            raise EquipoiseError(
                f"Cannot measure a single image at a time: out of memory ({reason}). Free some memory, give smaller "
                "images (?size= on the data's spec), or use another --device."
            )
        self.batch = tried // 2
        note = f"out of memory with {tried} images in a network call: {self.batch} from there on"
        self.tell(note)
        return note
