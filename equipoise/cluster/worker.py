"""What runs in a worker's process."""

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from equipoise.cluster.reach import first_line
from equipoise.errors import EquipoiseError

__all__ = ["Worker"]


class Worker:
    """Keeps its work, and does items of it one at a time."""

    def begin(self, brief: Sequence[Any], threads: int, gpus: float) -> None:
        if not gpus:
            # A GPU that nobody asked for would hold every worker on the machine.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(threads)
        import ray  # noqa: PLC0415

        here = socket.gethostname()
        if gpus and not torch.cuda.is_available():
            raise EquipoiseError(
                f"The worker on {here} was given {gpus:g} GPUs, which its build of torch cannot use. Install one that "
                "can there, or give workers none (--gpus-per-worker 0)."
            )
        try:
            self.work, shared, folder = ray.get(brief[0])
        except Exception as error:
            raise EquipoiseError(
                f"The worker on {here} cannot load its work: {first_line(error)}. Every machine needs the same "
                "packages, and your own modules."
            ) from None
        # What is written relative to a folder means the same here, where there is such a folder.
        with contextlib.suppress(OSError):
            os.chdir(folder)
        if not Path(shared).exists():
            raise EquipoiseError(
                f"The worker on {here} does not see {shared}. Choose an --out that every machine shares."
            )

    def call(self, item: Any) -> Any:
        return self.work(item)
