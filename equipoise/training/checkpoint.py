"""Checkpoints that resume exactly: one safetensors file with the weights, their average, the best so far and the
optimiser's state, and one JSON string of numbers among its metadata.

Randomness needs no state: every draw comes from a stream named by seed, epoch and image.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from equipoise.bounds import parse_json
from equipoise.errors import EquipoiseError
from equipoise.files import write_atomically

__all__ = ["load_checkpoint", "save_checkpoint"]

Weights = dict[str, Tensor]


def save_checkpoint(
    path: Path, groups: dict[str, Weights], optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Writes `groups` of tensors by name, the optimiser's state and JSON-able `facts`, atomically."""
    state = {
        f"{row}.{key}": torch.as_tensor(value)
        for row, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }
    tensors = {
        f"{group}/{key}": value.detach().cpu().contiguous().clone()
        for group, weights in {**groups, "optimizer": state}.items()
        for key, value in weights.items()
    }
    metadata = {"facts": json.dumps(facts)}
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors, metadata)))


def load_checkpoint(
    path: Path, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Weights], dict[str, Any]]:
    """Reads what `save_checkpoint` wrote; the optimiser's state is put back in place, on its parameters' device.

    Raises:
        EquipoiseError: for a file that is no checkpoint, or half of one.
    """
    groups: dict[str, Weights] = {}
    try:
        with safe_open(path, framework="pt") as file:
            facts = parse_json(file.metadata()["facts"])
            if not isinstance(facts, dict):
                raise TypeError("its facts are none")
            for name in file.keys():  # noqa: SIM118, the file is no mapping
                group, _, key = name.partition("/")
                groups.setdefault(group, {})[key] = file.get_tensor(name)
        state: dict[int, Weights] = {}
        for name, value in groups.pop("optimizer", {}).items():
            row, _, key = name.partition(".")
            state.setdefault(int(row), {})[key] = value
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise EquipoiseError(
            f"Cannot go on from the checkpoint {path}: {error}. Delete it to train from the beginning."
        ) from error
    return groups, facts
