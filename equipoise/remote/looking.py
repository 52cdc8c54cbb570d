"""Looking at files where they are kept: in a folder as they are; those at an address are fetched for the look alone,
whatever copy of them is here.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipoise.progress import Progress
from equipoise.remote.fetching import AT_ONCE, fetch, naming

if TYPE_CHECKING:
    from equipoise.remote.mirror import Mirror

__all__ = ["Find", "FilesHere", "FilesThere"]

Find = Callable[[Sequence[Path]], Mapping[Path, str]]
"""Says which of some files are damaged, and how."""


class FilesHere:
    """Files of a folder of this machine.

    Arguments:
        folder: may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def named(self, names: Collection[str]) -> list[str]:
        """Files of these names, in the folder and below it, with forward slashes; no link to a folder is followed."""
        found = [
            (Path(place) / name).relative_to(self.folder).as_posix()
            for place, _, files in os.walk(self.folder)
            for name in files
            if name in names
        ]
        return sorted(found)

    @contextlib.contextmanager
    def lent(self, name: str) -> Iterator[Path]:
        """A folder that has the file called `name`."""
        yield self.folder

    def examine(self, names: Sequence[str], find: Find) -> dict[str, str]:
        """Which of some files are damaged, and how."""
        found = find([self.folder / name for name in names])
        return {name: found[self.folder / name] for name in names if self.folder / name in found}


class FilesThere:
    """Files at an address, as they were listed.

    Arguments:
        mirror: of the address.
        there: the listing.
        room: a folder of this machine in which files may lie for a while.
    """

    def __init__(
        self, mirror: "Mirror", there: Mapping[str, Mapping[str, Any]], room: Path
    ) -> None:
        self.mirror, self.there, self.room = mirror, there, room

    def named(self, names: Collection[str]) -> list[str]:
        """Files of these names, at the address and below it."""
        return sorted(path for path in self.there if path.rpartition("/")[2] in names)

    @contextlib.contextmanager
    def lent(self, *names: str) -> Iterator[Path]:
        """A folder with some files as they lie there, under the same names; what is not there is missing from it.

        Raises:
            EquipoiseError: when one cannot be fetched; those of the block name the address.
        """
        with (
            tempfile.TemporaryDirectory(prefix="lent-", dir=self.room) as made,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            folder, address = Path(made), self.mirror.address
            wanted = [name for name in names if name in self.there]
            list(pool.map(lambda n: fetch(address, n, self.there[n], folder / n), wanted))
            with naming(address, folder):
                yield folder

    def examine(self, names: Sequence[str], find: Find) -> dict[str, str]:
        """Which of some files are damaged, and how.

        Of those the mirror keeps nothing: it has what the address has. A copy that is sound becomes a draft, which the
        next audit sends.

        Raises:
            EquipoiseError: when one cannot be fetched.
        """
        damaged: dict[str, str] = {}
        title, shown = f"Reading {self.mirror.address}", len(names) > AT_ONCE
        with Progress(title, len(names), shown=shown) as progress:
            # A few at a time: there may be no room for another copy of the run.
            for first in range(0, len(names), AT_ONCE):
                group = names[first : first + AT_ONCE]
                with self.lent(*group) as folder:
                    found = find([folder / name for name in group])
                damaged |= {n: found[folder / n] for n in group if folder / n in found}
                for _ in group:
                    progress.advance()
        for name in damaged:
            copy, draft = self.mirror.local / name, self.mirror.drafts / name
            if find([copy]):
                copy.unlink(missing_ok=True)
            else:
                draft.parent.mkdir(parents=True, exist_ok=True)
                copy.replace(draft)
        return damaged
