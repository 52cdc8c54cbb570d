"""The weights of a network on disk: safetensors, which cannot run code."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from equipoise.errors import EquipoiseError
from equipoise.files import read_json, write_atomically

__all__ = ["load_weights", "read_description", "save_weights"]


def save_weights(net: nn.Module, path: Path) -> None:
    """Writes the state of `net`, atomically."""
    state = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    write_atomically(path, lambda temporary: temporary.write_bytes(save(state)))


def load_weights(net: nn.Module, path: Path) -> None:
    """Reads the state of `net` in place.

    Raises:
        EquipoiseError: when the file is missing or broken, or holds other names or shapes than `net` has.
    """
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise EquipoiseError(f"Cannot read the weights {path}: there is no such file.") from None
    except (SafetensorError, OSError) as error:
        raise EquipoiseError(
            f"Cannot read the weights {path}: {error}. Is the file whole?"
        ) from None
    expected = net.state_dict()
    missing, extra = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    misshapen = {
        k for k in expected.keys() & weights.keys() if expected[k].shape != weights[k].shape
    }
    if missing or extra or misshapen:
        raise EquipoiseError(
            f"The weights {path} do not fit the network described beside them: missing {sorted(missing)}, "
            f"unexpected {sorted(extra)}, of another shape {sorted(misshapen)}."
        )
    net.load_state_dict(weights)


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
