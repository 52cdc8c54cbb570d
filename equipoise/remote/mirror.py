"""The copy of a run that lies behind an address, and the drafts that are on their way there."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equipoise.errors import EquipoiseError
from equipoise.progress import Progress
from equipoise.remote.fetching import AT_ONCE, fetch, naming
from equipoise.remote.listing import digest, is_of_a_run, is_shard, list_all, list_run, mark
from equipoise.remote.looking import FilesThere
from equipoise.remote.opening import is_lasting, open_address, trouble

__all__ = ["Mirror"]

WAITS = (1, 2, 4, 8, 15, 30, 60)
"""Seconds before each further attempt to send a file: two minutes without a network cost an audit nothing."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST")
"""Variables by which one address leads to different stores."""


@dataclass(frozen=True)
class Mirror:
    """A folder behind an address. It can be pickled; on another machine it has folders of that machine.

    Arguments:
        address: such as ``s3://bucket/run``; any file system that fsspec knows.

    Raises:
        EquipoiseError: for an address with a password in it, or of a kind that nothing here can open.
    """

    address: str
    _seen: dict[str, tuple[str, int, int]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", self.address.rstrip("/"))
        if re.match(r"[^/]*://[^/@]*:[^/@]*@", self.address):
            raise EquipoiseError(
                f"Cannot use {re.sub('//.*@', '//...@', self.address)!r}: it has a password in it, which would be "
                "written into the run. Give it by the environment: AWS_PROFILE, for one."
            )
        open_address(self.address)

    def __str__(self) -> str:
        return self.address

    @property
    def local(self) -> Path:
        """The mirror."""
        return self._below("mirror")

    @property
    def drafts(self) -> Path:
        """Where files are written before `push`.

        Raises:
            EquipoiseError: when it cannot be made.
        """
        return self._made(self._below("drafts"))

    def names(self) -> dict[str, int]:
        """The files of the run that are there now, with their sizes in bytes."""
        return {name: about["size"] for name, about in list_run(self.address).items()}

    def pull(self, *, shown: bool = True) -> Path:
        """The mirror, with what the address has and nothing else.

        Arguments:
            shown: whether to show progress.

        Raises:
            EquipoiseError: when the address cannot be read, this machine's disk is full, or there are names that would
                lie outside the folder.
        """
        began, there = time.time(), list_run(self.address)
        local = self._made(self.local)
        self._forget(there, began)
        wanted = [name for name, about in there.items() if not self._has(name, about)]
        size = sum(there[name]["size"] or 0 for name in wanted)
        free = shutil.disk_usage(local).free
        if size > free:
            raise EquipoiseError(
                f"Cannot fetch {self.address}: {size / 1e9:.1f} GB are wanted in {local}, where {free / 1e9:.1f} GB "
                "are free. Free some, or name another folder by EQUIPOISE_CACHE."
            )
        shown = shown and len(wanted) > AT_ONCE
        with (
            Progress(f"Fetching {self.address}", len(wanted), shown=shown) as progress,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            for _ in pool.map(lambda name: self._fetch(name, there[name]), wanted):
                progress.advance()
        return local

    def read(self) -> Path:
        """Like `pull`, of a run that exists.

        Raises:
            EquipoiseError: when there is none, and whatever `pull` raises.
        """
        local = self.pull()
        if not any((local / name).is_file() for name in ("run.json", "audit/run.json")):
            raise EquipoiseError(
                f"Cannot open the run {self.address!r}: there is no run.json in it. Give the address that an audit "
                "wrote to."
            )
        return local

    def push(self, name: str) -> str:
        """Sends the draft called `name`, waiting for the network where there is none, and moves it into the mirror.

        Returns:
            its address.

        Raises:
            EquipoiseError: when it cannot be sent; it then is among the drafts still.
        """
        draft, target = self.drafts / name, self.local / name
        address = f"{self.address}/{name}"
        # Another audit on this machine may have sent it.
        if not draft.is_file() and target.is_file():
            return address
        for wait in (*WAITS, None):
            try:
                system, root = open_address(self.address)
                system.put_file(str(draft), f"{root}/{name}")
                break
            except Exception as error:  # file systems raise what they please
                if wait is None or is_lasting(error):
                    raise trouble("send", address, error) from error
                time.sleep(wait)
        # What is there can be fetched again.
        with contextlib.suppress(OSError):
            if is_of_a_run(name):
                target.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(target)
            else:
                draft.unlink()
        return address

    def mend(self, find: Callable[[Sequence[Path]], Mapping[Path, str]]) -> None:
        """Fetches damaged shards of the mirror again: those of the address may be sound.

        Arguments:
            find: which of some files are damaged, and how.
        """
        damaged = find(sorted(self.local.rglob("*.parquet")))
        for path in damaged:
            path.unlink(missing_ok=True)
        if damaged:
            self.pull(shown=False)

    def named(self) -> contextlib.AbstractContextManager[None]:
        """Errors of the block name the address, not the mirror."""
        return naming(self.address, self.local)

    def files(self) -> FilesThere:
        """What lies at the address now, to be looked at.

        Raises:
            EquipoiseError: when the address cannot be listed.
        """
        return FilesThere(self, list_all(self.address), self._made(self._home))

    def resend(self, whole: Callable[[Path], bool]) -> None:
        """Sends the shards that an earlier call had measured and could not send.

        Arguments:
            whole: whether a file is a shard from its first to its last byte.
        """
        drafts = self.drafts
        for path in sorted(drafts.rglob("*.parquet")):
            if whole(path):
                self.push(path.relative_to(drafts).as_posix())

    @property
    def _home(self) -> Path:
        """The folder of this machine that is for this address alone."""
        cache = os.environ.get("EQUIPOISE_CACHE")
        if not cache:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "equipoise"
        endpoints = [os.environ.get(name) for name in ENDPOINTS]
        return Path(cache).expanduser() / "remote" / digest([self.address, *endpoints])

    def _below(self, kind: str) -> Path:
        # Ends as the address does: runs are called by the last parts of their folders.
        parts = [re.sub(r"[^\w.-]", "_", part)[:80] for part in re.split(r"[/\\:]+", self.address)]
        return self._home.joinpath(kind, *(part for part in parts[-4:] if part.strip(".")))

    def _made(self, folder: Path) -> Path:
        try:
            # Only its owner is to read what may be somebody's secret.
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EquipoiseError(
                f"Cannot make {folder} for a copy of {self.address}: {error.strerror or error}. Name another folder by "
                "EQUIPOISE_CACHE."
            ) from error
        return folder

    def _has(self, name: str, about: Mapping[str, Any]) -> bool:
        """Whether the mirror has what the listing says."""
        try:
            local = (self.local / name).stat()
        except OSError:
            return False
        if is_shard(name):
            return local.st_size == about["size"]
        return self._seen.get(name) == (mark(about), local.st_mtime_ns, local.st_size)

    def _fetch(self, name: str, about: Mapping[str, Any]) -> None:
        target = self.local / name
        fetch(self.address, name, about, target)
        with contextlib.suppress(OSError):
            local = target.stat()
            self._seen[name] = (mark(about), local.st_mtime_ns, local.st_size)

    def _forget(self, there: Mapping[str, Any], began: float) -> None:
        """Deletes from the mirror what the address had not when it was listed; what came since may be newer."""
        local = self.local
        for path in local.rglob("*"):
            name = path.relative_to(local).as_posix()
            if is_of_a_run(name) and name not in there:
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_ctime < began:
                        path.unlink()
