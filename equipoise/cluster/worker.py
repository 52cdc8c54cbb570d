"""What runs in a worker's process."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from equipoise.cluster.reach import first_line
from equipoise.errors import EquipoiseError

__all__ = ["Brief", "Worker"]


@dataclass(frozen=True)
class Brief:
    """What a worker is told.

    Arguments:
        work: one reference to the work.
        shared: a file that it has to see, if any.
        folder: from which the caller's relative paths count.
        modules: folders in which the caller looks for modules.
        version: of this package.
    """

    work: Sequence[Any]
    shared: str | None
    folder: str
    modules: Sequence[str]
    version: str


class Worker:
    """Keeps its work, and does items of it one at a time."""

    def begin(self, brief: Brief, threads: int, gpus: float) -> None:
        import ray  # noqa: PLC0415

        if not gpus:
            # A GPU that nobody asked for would be held by every worker of the machine.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(threads)
        here = socket.gethostname()
        if version("equipoise") != brief.version:
            raise EquipoiseError(
                f"The worker on {here} has equipoise {version('equipoise')}, not {brief.version}. Install one version "
                "on every machine."
            )
        if gpus and not torch.cuda.is_available():
            raise EquipoiseError(
                f"The worker on {here} was given {gpus:g} GPUs, which its build of torch cannot use. Install one that "
                "can there, or give workers none (--gpus-per-worker 0)."
            )
        # Folders that this machine lacks do no harm.
        with contextlib.suppress(OSError):
            os.chdir(brief.folder)
        sys.path += [folder for folder in brief.modules if folder not in sys.path]
        try:
            self.work: Callable[[Any], Any] = ray.get(brief.work[0])
        except Exception as error:
            raise EquipoiseError(
                f"The worker on {here} cannot load its work: {first_line(error)}. Every machine needs the same "
                "packages, and your own modules."
            ) from None
        if brief.shared is not None and not Path(brief.shared).exists():
            raise EquipoiseError(
                f"The worker on {here} does not see {brief.shared}. Choose an --out that every machine shares."
            )

    def call(self, item: Any) -> Any:
        return self.work(item)
