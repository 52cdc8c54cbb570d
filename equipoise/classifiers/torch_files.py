"""Files of torch.save, in both of its forms, read as data.

A zip file holds a pickle, ``NAME/data.pkl``, and the numbers of each storage, ``NAME/data/KEY``. The older form is
five pickles (magic number, version, machine, content, keys), then for each key the count of its numbers, 8 bytes, and
the numbers. Tensors stand in the content as views of storages, which it names by persistent ids.

The content is followed by `equipoise.pickles`, which runs none of it. A tensor becomes a `Stored`, and its numbers stay
in the file until they are asked for: memory goes to those alone, and to a pickle of `LARGEST_PICKLE` bytes at most.
"""

import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from equipoise.errors import EquipoiseError
from equipoise.pickles import (
    LEGACY,
    STORAGES,
    Global,
    Meanings,
    PickleMachine,
    is_name,
    shortly,
    strided,
)

__all__ = ["LARGEST_DIRECTORY", "LARGEST_PICKLE", "Stored", "TorchFile"]

LARGEST_PICKLE = 2**25
"""Bytes of a pickle without its numbers. That of a ResNet-50 with its optimiser has about 200 KB."""

LARGEST_DIRECTORY = 2**23
"""Bytes of the list of what is in a zip file: some 100,000 tensors."""

_MOST_INSTRUCTIONS = 2**20
_LOCAL_HEADER = struct.Struct(
    "<4s22xHH"
)  # of an entry in a zip file: signature, lengths of its name and extra field


class _Sparing(io.FileIO):
    """A file of which no more than `most` bytes are read at once: Python's reader of zip files takes the list of what
    is in one as a whole, however long it claims to be, and makes an object for each line."""

    most = LARGEST_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        asked = self.most + 1 if size is None or size < 0 else size
        found = super().read(min(asked, self.most + 1)) or b""
        if len(found) > self.most:
            raise EquipoiseError(f"it would have more than {self.most} bytes read at once")
        return found


@dataclass(frozen=True)
class Stored:
    """A tensor whose numbers are in the file: their type, the key of the storage, and which of it they are."""

    dtype: np.dtype[Any]
    key: str
    count: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class TorchFile:
    """A file of torch.save: `content` is what was saved, with a `Stored` for each tensor.

    Errors say what the file has; the caller says which file it is.

    Arguments:
        path: of the file.
        meanings: of the globals that it may name besides tensors, see `equipoise.pickles`.

    Raises:
        EquipoiseError: for another kind of file and for anything outside `meanings`. Damaged bytes raise whatever they
            happen to break.
    """

    def __init__(self, path: Path, meanings: Meanings) -> None:
        self.path = path
        self._meanings = {
            **dict.fromkeys(STORAGES),
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": _parameter,
            **meanings,
        }
        self._stored: dict[str, tuple[np.dtype[Any], int]] = {}
        with path.open("rb") as file:
            self.size = file.seek(0, io.SEEK_END)
            file.seek(0)
            start = file.read(4)
        if start == b"PK\x03\x04":
            self.content, self._places = self._read_zip()
        else:
            self.content, self._places = self._read_legacy()

    def tensor(self, stored: Stored) -> Tensor:
        """A copy of the numbers of `stored`.

        Raises:
            EquipoiseError: when the file does not hold them.
        """
        if stored.key not in self._places:
            raise EquipoiseError(f"it lacks the numbers {shortly(stored.key)}")
        place = self._places[stored.key]
        if place + stored.count * stored.dtype.itemsize > self.size:
            raise EquipoiseError("it ends in the middle of its numbers")
        numbers: npt.NDArray[Any] = np.memmap(
            self.path, stored.dtype, mode="r", offset=place, shape=(stored.count,)
        )
        return torch.from_numpy(
            strided(numbers, stored.offset, stored.size, stored.stride).copy(order="C")
        )

    def _read_zip(self) -> tuple[Any, dict[str, int]]:
        with (
            _Sparing(self.path) as whole,
            zipfile.ZipFile(whole) as archive,
            self.path.open("rb") as file,
        ):
            whole.most = LARGEST_PICKLE
            entries = {entry.filename: entry for entry in archive.infolist()}
            (main,) = (
                name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")
            )
            root = main.removesuffix("data.pkl")
            order = entries.get(f"{root}byteorder")
            if order is not None and (order.file_size > 6 or archive.read(order) != b"little"):
                raise EquipoiseError("its numbers are not in little-endian order")
            if entries[main].compress_type or entries[main].file_size > LARGEST_PICKLE:
                raise EquipoiseError(
                    f"its pickle is compressed, or has more than {LARGEST_PICKLE} bytes"
                )
            content = self._follow(io.BytesIO(archive.read(main)))
            places = {}
            for key, (dtype, count) in self._stored.items():
                entry = entries.get(f"{root}data/{key}")
                if entry is None:
                    continue
                if entry.compress_type or entry.file_size != count * dtype.itemsize:
                    raise EquipoiseError(
                        f"its numbers {shortly(key)} are compressed, or not as many as it states"
                    )
                file.seek(entry.header_offset)
                signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
                if signature != b"PK\x03\x04":
                    raise EquipoiseError(f"its numbers {shortly(key)} are not where it says")
                places[key] = entry.header_offset + _LOCAL_HEADER.size + name + extra
        return content, places

    def _read_legacy(self) -> tuple[Any, dict[str, int]]:
        with self.path.open("rb") as file:
            head = io.BytesIO(file.read(LARGEST_PICKLE))
            try:
                start = self._follow(head), self._follow(head)
            except EquipoiseError:
                raise
            except Exception:
                start = None
            if start != LEGACY:
                raise EquipoiseError("it is no file of torch.save")
            machine = self._follow(head)
            if not machine["little_endian"]:
                raise EquipoiseError("its numbers are not in little-endian order")
            content, keys, places = self._follow(head), self._follow(head), {}
            place = head.tell()
            for key in keys:
                if key not in self._stored:
                    raise EquipoiseError(f"it has the numbers {shortly(key)} of no tensor")
                dtype, count = self._stored[key]
                file.seek(place)
                if file.read(8) != count.to_bytes(8, "little"):
                    raise EquipoiseError(
                        "it ends too early, or has other numbers than it states: the download may be incomplete"
                    )
                places[key] = place + 8
                place += 8 + count * dtype.itemsize
        if place > self.size:
            raise EquipoiseError(
                f"it ends {place - self.size} bytes too early: the download is incomplete"
            )
        return content, places

    def _follow(self, file: io.BytesIO) -> Any:
        return PickleMachine(self._meanings, _MOST_INSTRUCTIONS, ids=True).follow(file)

    def _tensor(
        self, storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> Stored:
        kind, named, key, _device, count, *view = storage
        if (
            kind != "storage"
            or not isinstance(named, Global)
            or named.name not in STORAGES
            or not is_name(key)
            or not isinstance(count, int)
            or count < 0
            or view not in ([], [None])
            or not all(isinstance(sizes, tuple) and len(sizes) <= 8 for sizes in (size, stride))
            or not all(isinstance(number, int) for number in (offset, *size, *stride))
        ):
            raise EquipoiseError("it has a tensor whose numbers are stored in an unknown way")
        dtype = STORAGES[named.name]
        if self._stored.setdefault(key, (dtype, count)) != (dtype, count):
            raise EquipoiseError(f"it has two sets of numbers {shortly(key)}")
        return Stored(dtype, key, count, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data
