"""The weights of a network on disk: safetensors, which cannot run code."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from equipoise.bounds import size_of
from equipoise.errors import EquipoiseError
from equipoise.files import read_json, write_atomically

__all__ = ["check_weights", "load_weights", "read_description", "save_weights"]


def save_weights(net: nn.Module, path: Path) -> None:
    """Writes the state of `net`, atomically."""
    state = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    write_atomically(path, lambda temporary: temporary.write_bytes(save(state)))


def load_weights(net: nn.Module, path: Path) -> None:
    """Reads the state of `net` in place.

    Raises:
        EquipoiseError: when the file is missing or broken, or holds other names or shapes than `net` has.
    """
    with _read(path):
        weights = load_file(path)
        _compare({key: tuple(value.shape) for key, value in weights.items()}, net, path)
        net.load_state_dict(weights)


def check_weights(build: Callable[[], nn.Module], settings: Mapping[str, Any], path: Path) -> None:
    """Refuses settings of a network that are not those of the weights beside them, before the network takes memory or
    time: a line of JSON can ask for more than there is of either.

    Arguments:
        build: makes the network.
        settings: what it is made with; ``blocks`` and ``widths`` or ``multipliers`` say how many layers it has.
        path: of the weights, of which only the head is read.

    Raises:
        EquipoiseError: when the file is missing or broken, or holds other names or shapes.
    """
    with _read(path), safe_open(path, framework="pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118, no mapping
    layers = settings.get("blocks", 1)
    for name in ("widths", "multipliers"):
        listed = settings.get(name, ())
        layers *= max(1, len(listed) if isinstance(listed, list) else 1)
    if layers > max(len(shapes), 16):
        raise EquipoiseError(
            f"The weights {path} do not fit the network described beside them: {len(shapes)} weights for {layers} "
            "blocks."
        )
    with torch.device("meta"):
        net = build()
    _compare(shapes, net, path)


@contextmanager
def _read(path: Path) -> Iterator[None]:
    try:
        size_of(path)
        yield
    except FileNotFoundError:
        raise EquipoiseError(f"Cannot read the weights {path}: there is no such file.") from None
    except (SafetensorError, OSError) as error:
        raise EquipoiseError(
            f"Cannot read the weights {path}: {error}. Is the file whole?"
        ) from None


def _compare(found: Mapping[str, tuple[int, ...]], net: nn.Module, path: Path) -> None:
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    misshapen = {k for k in expected.keys() & found.keys() if expected[k] != found[k]}
    if missing or extra or misshapen:
        raise EquipoiseError(
            f"The weights {path} do not fit the network described beside them: missing {_some(missing)}, "
            f"unexpected {_some(extra)}, of another shape {_some(misshapen)}."
        )


def _some(names: set[str]) -> str:
    """The first few of them."""
    shown = [name[:80] for name in sorted(names)[:5]]
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else str(shown)


def read_description(folder: Path, kind: str, name: str, version: int) -> dict[str, Any]:
    """The JSON beside the weights, ``KIND.json``, once it is known to be of this format.

    Arguments:
        folder: with the two files.
        kind: what they describe: "classifier" or "denoiser".
        name: of the one in question, for the error message.
        version: of the format.

    Raises:
        EquipoiseError: for a missing folder or file, or another format.
    """
    if not folder.is_dir():
        raise EquipoiseError(f"Cannot load the {kind} {name!r}: there is no folder {folder}.")
    path = folder / f"{kind}.json"
    description = read_json(path)
    if not isinstance(description, dict) or "format" not in description:
        raise EquipoiseError(f"Cannot load {path}: it lacks 'format'.")
    if description["format"] != version:
        raise EquipoiseError(
            f"Cannot load the {kind} {folder}: its format is {description['format']}, this version of equipoise reads "
            f"{version}. Upgrade equipoise."
        )
    return description
