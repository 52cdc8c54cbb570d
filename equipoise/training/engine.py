"""What every training shares: the processes it runs in, its identity, its checkpoints and its log.

The engine is Lightning Fabric: one CPU, one GPU, or every process that torchrun started.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from equipoise.devices import computes_bf16
from equipoise.errors import EquipoiseError
from equipoise.files import read_json, remove_leftovers, write_atomically
from equipoise.images import Images
from equipoise.locks import exclusive
from equipoise.streams import stream
from equipoise.tracking import Trail
from equipoise.training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.precision.precision import _PRECISION_INPUT

__all__ = [
    "SECONDS_BETWEEN_CHECKPOINTS",
    "alone",
    "is_finished",
    "launch",
    "precision_here",
    "replay",
    "resume",
    "shuffled_rows",
    "tell",
    "write_log",
]

SECONDS_BETWEEN_CHECKPOINTS = 5.0


Precision = Literal["float32", "bf16"]


def precision_here(asked: Precision, accelerator: str) -> Precision:
    """What a training that asked for "bf16" computes in: float32 where the device has no instructions for it."""
    return asked if computes_bf16(accelerator) else "float32"


def launch(accelerator: str, precision: Precision = "float32") -> "Fabric":
    """Joins the processes of this training.

    Arguments:
        accelerator: "auto", "cpu" or "cuda".
        precision: "bf16" computes layers in bfloat16, and keeps weights and sums in float32.

    Raises:
        EquipoiseError: when there is no such accelerator here.
    """
    # Importing the engine takes seconds; a finished training is loaded without it.
    from lightning_fabric import Fabric  # noqa: PLC0415

    # What it would say is said by the recipe.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    name: _PRECISION_INPUT = "bf16-mixed" if precision == "bf16" else "32-true"
    settings: dict[str, Any] = {"devices": 1}
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // local
        settings = {"strategy": "ddp", "devices": local, "num_nodes": nodes}
    try:
        fabric = Fabric(accelerator=accelerator, precision=name, **settings)
    except (RuntimeError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise EquipoiseError(
            f"Cannot train on {accelerator!r}: {reason} Try --device cpu."
        ) from error
    fabric.launch()
    return fabric


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other trainings out of `folder` for the length of the block; of the processes of one, the first does.

    Raises:
        EquipoiseError: when another one is at work there, or the folder cannot be written.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    with exclusive(folder, "train into"):
        remove_leftovers(folder)
        yield


def shuffled_rows(images: Images, limit: int, seed: int) -> list[int]:
    """The images that take part, `limit` of them (all when 0), in random order."""
    n = len(images)
    return torch.randperm(n, generator=stream(seed, "sample")).tolist()[: limit or n]


def is_finished(path: Path, identity: str, what: str) -> bool:
    """Whether `path`, the description that a training writes last, is that of this very training.

    Raises:
        EquipoiseError: when it describes the result of another one; `what` says what that is.
    """
    if not path.exists():
        return False
    found = read_json(path)
    facts = found.get("facts") if isinstance(found, dict) else None
    if not isinstance(facts, dict) or facts.get("identity") != identity:
        raise EquipoiseError(
            f"Cannot train into {path.parent}: it holds a {what} trained on other images or with other settings. "
            "Choose another --out, or delete that folder."
        )
    return True


def resume(
    checkpoint: Path, optimizer: torch.optim.Optimizer, identity: str
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
    """The groups of tensors and the facts of `checkpoint`, if there is one; the optimiser gets its state back.

    Raises:
        EquipoiseError: for the checkpoint of another training, or half of one.
    """
    if not checkpoint.exists():
        return None
    groups, facts = load_checkpoint(checkpoint, optimizer)
    if facts["identity"] != identity:
        raise EquipoiseError(
            f"Cannot go on with the training in {checkpoint.parent}: it was begun with other images or settings. "
            "Choose another --out, or delete that folder."
        )
    return groups, facts


def write_log(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes ``metrics.jsonl``."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomically(
        folder / "metrics.jsonl", lambda path: path.write_text(text, encoding="utf-8")
    )


def replay(folder: Path, step: str, trail: Trail) -> None:
    """Tells the loggers of a finished training what they have not heard of its ``metrics.jsonl``; `step` is the field
    that counts."""
    path = folder / "metrics.jsonl"
    if os.environ.get("RANK", "0") != "0" or not trail.loggers or not path.is_file():
        return
    with trail:
        for text in path.read_text(encoding="utf-8").splitlines():
            tell(trail, step, json.loads(text))


def tell(trail: Trail, step: str, line: Mapping[str, Any]) -> None:
    """Tells the loggers a line of ``metrics.jsonl``."""
    trail.log(line[step], {name: value for name, value in line.items() if name != step})
