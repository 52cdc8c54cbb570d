"""Where a run is kept: a folder of this machine, or an address and its mirror, which answer to the same names."""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from equipoise.bounds import parse_path
from equipoise.errors import EquipoiseError
from equipoise.remote.looking import FilesHere
from equipoise.remote.mirror import Mirror

__all__ = ["Here", "is_address", "place", "refuse_address"]


@dataclass(frozen=True)
class Here:
    """A folder of this machine, which is its own mirror."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def local(self) -> Path:
        """What is read."""
        return self.folder

    @property
    def drafts(self) -> Path:
        """Where files are written before `push`."""
        return self.folder

    def pull(self, *, shown: bool = True) -> Path:
        """`local`, up to date."""
        return self.folder

    def read(self) -> Path:
        """`local`, up to date, of a run that exists."""
        return self.folder

    def push(self, name: str) -> str:
        """Sends a draft; says where it is then."""
        return str(self.folder / name)

    def mend(self, find: Callable[[Sequence[Path]], Mapping[Path, str]]) -> None:
        """Fetches damaged files again; there is nowhere to fetch them from."""

    def named(self) -> contextlib.AbstractContextManager[None]:
        """Errors of the block name the folder, as they are."""
        return contextlib.nullcontext()

    def files(self) -> FilesHere:
        """What is in the folder, to be looked at."""
        return FilesHere(self.folder)

    def resend(self, whole: Callable[[Path], bool]) -> None:
        """Sends drafts that an earlier call could not send."""


def is_address(where: str | PurePath) -> bool:
    """Whether `where` is no path of this machine.

    Raises:
        EquipoiseError: for a path that was made of an address, which no longer says where.
    """
    if isinstance(where, PurePath):
        refuse_address(where)
    return "://" in str(where)


def refuse_address(path: PurePath) -> None:
    """Stops where an address was given for a path, before a folder called ``s3:`` is made.

    Raises:
        EquipoiseError: for a path that was made of an address.
    """
    text = str(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]", text):
        scheme, _, rest = text.partition(":")
        raise EquipoiseError(
            f"Cannot use {text!r}: it was the address {scheme}://{rest[1:]}, and a path of this computer is wanted. "
            "From Python, give an address as text."
        )


def place(where: "str | PurePath") -> "Here | Mirror":
    """Where a run is kept: a folder of this machine, or an address such as ``s3://bucket/run``.

    Raises:
        EquipoiseError: for an address with a password in it, or of a kind that nothing here can open.
    """
    if is_address(where):
        return Mirror(str(where))
    return Here(parse_path(str(where), str(where)))
