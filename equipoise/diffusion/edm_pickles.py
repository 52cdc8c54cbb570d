"""The pickles in which NVlabs/edm saves its networks, read without running them, and converted once.

A persistent object is a node with a class name, the text of the Python module that defined the class, and a state:
constructor arguments under ``_init_kwargs``, tensors under ``_parameters`` and ``_buffers``, further nodes under
``_modules``. EDM's own reader passes the text to `exec`, and each tensor is a pickle within the pickle; here the text
is hashed, and both kinds of pickle are read as data (`equipoise.pickles`). What was read is kept as
safetensors and JSON under the SHA-256 of the pickle, which then need not be looked into again.
"""

import hashlib
import io
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from equipoise.errors import EquipoiseError
from equipoise.files import read_json, write_atomically, write_json
from equipoise.pickles import (
    LEGACY,
    STORAGES,
    Inert,
    Meanings,
    PickleMachine,
    is_name,
    shortly,
    strided,
)

__all__ = ["LARGEST_FILE", "ForeignNet", "load_converted", "read_pickle", "save_converted"]

LARGEST_FILE = 2 * 2**30
"""Bytes; larger files are refused unread. NVIDIA's own have 223 MB (CIFAR-10) to about 1.2 GB (ImageNet)."""

Array = npt.NDArray[Any]

FORMAT = 1
_MOST_INSTRUCTIONS = 2**19  # EDM's CIFAR-10 nets take 49,000
_MOST_INSTRUCTIONS_OF_A_TENSOR = 100  # torch writes 30
_DEEPEST = 16  # nodes within nodes; EDM nests five
_VERSION = 6  # of torch_utils.persistence

_NUMPY_SCALARS = {"f4": "<f", "f8": "<d", "i8": "<q"}


@dataclass(frozen=True, eq=False)
class ForeignNet:
    """One tree of persistent objects.

    Arguments:
        class_name: of its root, such as ``EDMPrecond``.
        settings: the root's plain attributes and constructor arguments: words, finite numbers and lists of them.
        weights: its parameters and buffers by their dotted names, contiguous, with the dtypes of the file.
        source: SHA-256 of the text of the module that defined the root's class.
        sha256: of the pickle itself.
        data: the path of its training data as the file states it, or empty.
    """

    class_name: str
    settings: dict[str, Any]
    weights: dict[str, Tensor]
    source: str
    sha256: str
    data: str


def read_pickle(path: Path) -> ForeignNet:
    """Reads the averaged network, ``ema``, of an EDM pickle.

    Raises:
        EquipoiseError: for a file that is missing, larger than `LARGEST_FILE`, damaged, or that names anything outside
            the tables of this module; the message says what.
    """
    size, sha256 = _measure(path)
    try:
        with path.open("rb") as file:
            content = PickleMachine(_MEANINGS, _MOST_INSTRUCTIONS).follow(file)
        root = content.get("ema") if isinstance(content, dict) else None
        if not isinstance(root, Inert) or root.source is None:
            raise EquipoiseError("it holds no network under 'ema'")
        weights: dict[str, Array] = {}
        _gather(root, "", weights, set())
        if sum(value.nbytes for value in weights.values()) > size:
            raise EquipoiseError("its weights are larger than the file")
        described = content.get("dataset_kwargs")
        data = described.get("path") if isinstance(described, dict) else None
        return ForeignNet(
            class_name=root.kind,
            settings=_settings(root),
            weights={key: torch.from_numpy(value.copy()) for key, value in weights.items()},
            source=hashlib.sha256(root.source.encode(errors="surrogatepass")).hexdigest(),
            sha256=sha256,
            data=data if isinstance(data, str) else "",
        )
    except EquipoiseError as error:
        reason = str(error)
    except Exception as error:  # damaged bytes break any of the steps above, each in its own way
        reason = f"it is damaged, or no EDM pickle ({type(error).__name__}: {str(error)[:100]})"
    raise EquipoiseError(
        f"Cannot read the pickle {path}: {reason}. None of it was run. Networks saved by NVlabs/edm are read; download "
        "the file again, or convert another network to safetensors."
    )


def save_converted(net: ForeignNet, path: Path, folder: Path | None = None) -> None:
    """Writes `net`, read from the pickle `path`, as safetensors and JSON into `folder`, or beside the pickle.

    Raises:
        EquipoiseError: when the folder cannot be written.
    """
    described = {key: value for key, value in vars(net).items() if key != "weights"}
    stem = _converted(path, net.sha256, folder)
    write_atomically(
        stem.with_name(stem.name + ".safetensors"), lambda to: to.write_bytes(save(net.weights))
    )
    # Written last: with it the pair is complete.
    write_json(stem.with_name(stem.name + ".json"), {"format": FORMAT, **described})


def load_converted(path: Path, folder: Path | None = None) -> ForeignNet | None:
    """What `save_converted` wrote for the pickle `path` as it is now, or None when there is nothing that fits.

    Raises:
        EquipoiseError: when the pickle itself is missing or larger than `LARGEST_FILE`.
    """
    _, sha256 = _measure(path)
    stem = _converted(path, sha256, folder)
    try:
        description = read_json(stem.with_name(stem.name + ".json"))
        weights = load_file(stem.with_name(stem.name + ".safetensors"))
        if description.pop("format") != FORMAT or description["sha256"] != sha256:
            return None
        return ForeignNet(weights=weights, **description)
    except (EquipoiseError, SafetensorError, OSError, AttributeError, KeyError, TypeError):
        return None  # the pickle is still there to be converted again


def _converted(path: Path, sha256: str, folder: Path | None) -> Path:
    return (folder or path.parent) / f"{path.stem}-{sha256[:12]}"


def _measure(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file that is not too large to read."""
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise EquipoiseError(
                f"Cannot read the pickle {path}: its {size} bytes are more than the {LARGEST_FILE} allowed. Raise "
                "equipoise.diffusion.edm_pickles.LARGEST_FILE if it is meant to be so large."
            )
        with path.open("rb") as file:
            return size, hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise EquipoiseError(f"Cannot read the pickle {path}: there is no such file.") from None
    except OSError as error:
        raise EquipoiseError(
            f"Cannot read the pickle {path}: {error.strerror or error}."
        ) from None


def _persistent(meta: Mapping[str, Any]) -> Inert:
    if meta["type"] != "class" or meta["version"] != _VERSION:
        raise EquipoiseError(
            f"it has a persistent object of version {shortly(meta['version'])}, not {_VERSION}"
        )
    if not is_name(meta["class_name"]) or not isinstance(meta["module_src"], str):
        raise EquipoiseError("it has a persistent object without a class name")
    return Inert(meta["class_name"], state=meta["state"], source=meta["module_src"])


def _storage(data: bytes) -> Array:
    """The numbers that torch.save wrote in the form it had before zip files: five pickles, then the numbers.

    It is read here rather than by `torch.load(weights_only=True)`, which allocates what the file asks for and has had
    holes of its own. The numbers are not copied: a file may ask for the same ones again and again.
    """
    file = io.BytesIO(data)

    def follow(ids: bool = False) -> Any:
        named = dict.fromkeys(STORAGES)
        return PickleMachine(named, _MOST_INSTRUCTIONS_OF_A_TENSOR, ids).follow(file)

    magic, version, _machine = follow(), follow(), follow()
    kind, dtype, key, _device, count, view = follow(ids=True)
    keys = follow()
    stored = int.from_bytes(file.read(8), "little", signed=True)
    if (
        (magic, version) != LEGACY
        or (kind, keys, view, count) != ("storage", [key], None, stored)
        or len(data) - file.tell() != stored * STORAGES[dtype.name].itemsize
    ):
        raise EquipoiseError("it has a tensor whose numbers do not have the length it states")
    return np.frombuffer(data, STORAGES[dtype.name], offset=file.tell())


def _tensor(
    storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Array:
    return strided(storage, offset, size, stride)


def _parameter(data: Array, *_: Any) -> Array:
    return data


def _scalar(dtype: Inert, data: bytes) -> float | int:
    code, order = dtype.args[0], dtype.state[1]
    if dtype.kind != "numpy.dtype" or code not in _NUMPY_SCALARS or order != "<":
        raise EquipoiseError(f"it has a NumPy scalar of the type {shortly(code)}")
    return struct.unpack(_NUMPY_SCALARS[code], data)[0]


def _dtype(*args: Any) -> Inert:
    return Inert("numpy.dtype", args)


def _container() -> Inert:
    return Inert("container")


def _dictionary() -> dict[Any, Any]:
    return {}


_MEANINGS: Meanings = {
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "torch.storage._load_from_bytes": _storage,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.OrderedDict": _dictionary,
    "dnnlib.util.EasyDict": _dictionary,
    "torch.nn.modules.container.ModuleDict": _container,
    "torch.nn.modules.container.ModuleList": _container,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.dtype": _dtype,
}


def _gather(node: Inert, prefix: str, into: dict[str, Array], met: set[int]) -> None:
    """Puts the tensors of a node and of those below it into `into`, by their dotted names."""
    # A node met twice would be copied with all below it: with a few of them, without end.
    if id(node) in met or prefix.count(".") > _DEEPEST:
        raise EquipoiseError(f"its layer {shortly(prefix)} stands in it twice, or too deep")
    met.add(id(node))
    for group in ("_parameters", "_buffers"):
        for name, value in node.state[group].items():
            if isinstance(value, np.ndarray):
                into[f"{prefix}{name}"] = value
            elif value is not None:
                raise EquipoiseError(f"its {shortly(f'{prefix}{name}')} is no tensor")
    for name, below in node.state["_modules"].items():
        if isinstance(below, Inert):
            _gather(below, f"{prefix}{name}.", into, met)
        elif below is not None:
            raise EquipoiseError(f"its {shortly(f'{prefix}{name}')} is no layer")


def _settings(node: Inert) -> dict[str, Any]:
    given = node.state["_init_kwargs"]
    for name, value in given.items():
        if not _is_plain(value) and value != math.inf:  # EDM's sigma_max; nothing is built from it
            raise EquipoiseError(f"its setting {shortly(name)} is no number, word or list of them")
    if node.state["_init_args"]:
        raise EquipoiseError("its network was made with settings that have no names")
    attributes = {k: v for k, v in node.state.items() if not k.startswith("_")}
    return {name: value for name, value in {**attributes, **given}.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(not isinstance(item, list) and _is_plain(item) for item in value)
    if isinstance(value, int):
        return abs(value) < 2**63
    return is_name(value) or (isinstance(value, float) and math.isfinite(value))
