"""Pickles read as data: nothing in such a file is imported, called or executed.

A pickle is a program for a small stack machine, and Python's own reader runs it: REDUCE calls whatever function the
file names. Here the same instructions (`pickletools.genops`) are followed over plain values. A global is no more than
its name, looked up in a closed table of meanings; what the file would have made becomes a value of that table's
choosing, or an `Inert` note. An instruction, a global or a persistent id outside the tables is refused by name.

The numbers of torch's tensors stand beside the pickle, not in it: `strided` looks at them as a tensor does.
"""

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from equipoise.errors import EquipoiseError

__all__ = [
    "LEGACY",
    "STORAGES",
    "Dictionary",
    "Global",
    "Inert",
    "Meanings",
    "PickleMachine",
    "is_name",
    "shortly",
    "strided",
]

STORAGES = {
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.LongStorage": np.dtype("<i8"),
}
"""The types of numbers that tensors may have, by the globals that files name them by."""

LEGACY = (0x1950A86A20F9469CFC6C, 1001)
"""What the first two pickles say in a file that torch.save wrote in the form it had before zip files."""

Meanings = Mapping[str, Callable[..., Any] | None]
"""What a call of each known global gives; None for a global that may be named but not called."""


@dataclass(eq=False)
class Inert:
    """A note of an object that the file would have made."""

    kind: str
    args: tuple[Any, ...] = ()
    state: Any = None
    source: str | None = None


class Dictionary(dict[Any, Any]):
    """What an ordered dictionary of the file becomes: it may have attributes, too."""

    state: Any = None


@dataclass(frozen=True)
class Global:
    """A global that the file names, and no more than its name."""

    name: str


class PickleMachine:
    """Follows one pickle with a stack of plain values. Errors say what the pickle has; the caller says which file.

    Arguments:
        meanings: of the globals that the pickle may name.
        instructions: as many as the pickle may have.
        ids: whether persistent ids are left as they are rather than refused.
    """

    def __init__(
        self,
        meanings: Meanings,
        instructions: int,
        ids: bool = False,
    ) -> None:
        self.meanings, self.most, self.ids = meanings, instructions, ids
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def follow(self, file: BinaryIO) -> Any:
        """The value that the pickle at the current place of `file` describes; `file` is left behind it.

        Raises:
            EquipoiseError: for anything outside the tables. Damaged bytes raise whatever they happen to break.
        """
        for count, (opcode, literal, _) in enumerate(pickletools.genops(file)):
            if opcode.name == "STOP":
                return self.stack.pop()
            if count >= self.most:
                raise EquipoiseError(f"it has more than {self.most} instructions")
            if opcode.name not in _INSTRUCTIONS:
                raise EquipoiseError(f"it has the instruction {opcode.name} {shortly(literal)}")
            _INSTRUCTIONS[opcode.name](self, literal)
        raise EquipoiseError("it ends too early")

    def skip(self, _: None) -> None:
        pass

    def push(self, literal: Any) -> None:
        self.stack.append(literal)

    def remember(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def recall(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def mark(self, _: None) -> None:
        self.marks.append(len(self.stack))

    def take(self, count: int | None = None) -> list[Any]:
        """The last `count` values, or those since the last mark, taken off the stack."""
        start = self.marks.pop() if count is None else len(self.stack) - count
        if start < 0:
            raise EquipoiseError("it takes more values than it has made")
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def extend(self, items: list[Any]) -> None:
        list.extend(self.stack[-1], items)

    def update(self, items: list[Any]) -> None:
        # A tuple as a key could be nested deeply enough to exhaust the stack of its hash function.
        if not all(isinstance(key, int) or is_name(key) for key in items[::2]):
            raise EquipoiseError("it has a dictionary whose keys are no names")
        dict.update(self.stack[-1], zip(items[::2], items[1::2], strict=True))

    def name(self, module: Any, attribute: Any) -> None:
        if not (is_name(module) and is_name(attribute)):
            raise EquipoiseError("it names a global by something that is no name")
        name = f"{module}.{attribute}"
        if name not in self.meanings:
            raise EquipoiseError(f"it names {name!r}, which no network needs")
        self.stack.append(Global(name))

    def call(self, _: None) -> None:
        called, args = self.take(2)
        if not isinstance(called, Global):
            raise EquipoiseError(f"it calls {shortly(called)}, which is no global")
        meaning = self.meanings[called.name]
        if meaning is None:
            raise EquipoiseError(f"it calls {called.name!r}")
        self.stack.append(meaning(*args))

    def build(self, _: None) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        if not isinstance(built, Inert | Dictionary) or built.state is not None:
            raise EquipoiseError("it sets the state of something that has none")
        built.state = state

    def identify(self, _: None) -> None:
        if not self.ids:
            raise EquipoiseError(f"it has the persistent id {shortly(self.stack[-1])}")


_INSTRUCTIONS: dict[str, Callable[[PickleMachine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), PickleMachine.skip),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), PickleMachine.push),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), PickleMachine.push),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), PickleMachine.push),
    "NONE": PickleMachine.push,
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_SET": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.take(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.take(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.take(3))),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.take())),
    "MARK": PickleMachine.mark,
    **dict.fromkeys(("MEMOIZE", "BINPUT", "LONG_BINPUT"), PickleMachine.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), PickleMachine.recall),
    "APPEND": lambda machine, _: machine.extend(machine.take(1)),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine.extend(machine.take())),
    "SETITEM": lambda machine, _: machine.update(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.take()),
    "GLOBAL": lambda machine, literal: machine.name(*literal.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.take(2)),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), PickleMachine.call),
    "BUILD": PickleMachine.build,
    "BINPERSID": PickleMachine.identify,
}


def is_name(value: Any) -> bool:
    """Whether a value of the file is a string of a length that a name may have."""
    return isinstance(value, str) and len(value) <= 200


def shortly(value: Any) -> str:
    """A value of the file for a message: nested ones could be printed without end."""
    if isinstance(value, str):
        return repr(value[:100])
    return repr(value) if isinstance(value, int) else f"({type(value).__name__})"


def strided(
    numbers: npt.NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> npt.NDArray[Any]:
    """The tensor of a shape and strides that begins at `offset` in the numbers stored for it; nothing is copied.

    Raises:
        EquipoiseError: when it is empty or reaches beyond these numbers.
    """
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if (
        min((offset, *stride)) < 0
        or min(size, default=1) < 1
        or last >= len(numbers)
        or math.prod(size) > len(numbers)
    ):
        raise EquipoiseError(
            f"it has a tensor of {len(size)} dimensions that needs more than the {len(numbers)} numbers stored for it"
        )
    steps = [step * numbers.itemsize for step in stride]
    return as_strided(numbers[offset:], size, steps, writeable=False)
