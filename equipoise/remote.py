"""Run folders behind an address, s3://bucket/run say: mirrored here, so that everything else works with plain paths.

Two folders of this machine stand for an address. What it has is fetched into the *mirror*, which is read like any run.
What is new is written among the *drafts*, sent, and only then moved into the mirror: a mirror never says more than its
address, and what could not be sent is still there when the call is repeated.

The name of a shard carries the identity of its content, so one of the same size is never fetched again. The rest of a
run is small and fetched whenever the listing says something else of it. Object stores replace a file whole or not at
all.

Any file system that fsspec knows will do. Credentials are those of the environment (AWS_PROFILE, AWS_ENDPOINT_URL,
GOOGLE_APPLICATION_CREDENTIALS and so on); none is written anywhere.
"""

import contextlib
import datetime
import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.files import write_atomically
from equipoise.progress import Progress

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["Here", "Mirror", "is_address", "place", "refuse_address"]

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Which extra brings the package for an address."""

AT_ONCE = 16
"""Files fetched at a time."""

WAITS = (1, 2, 4, 8, 15, 30, 60)
"""Seconds before each further attempt to send a file: two minutes without a network cost an audit nothing."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST")
"""Variables by which one address leads to different stores."""

_SHARD = r"(audit/)?shards/([\w.-]+/)*[\w.-]+\.parquet"
_OF_A_RUN = re.compile(rf"{_SHARD}|(audit/)?[\w-]+\.(json|sqlite)", re.ASCII)
"""What a run is read from; a study keeps its run in ``audit``. Pages and weights beside it stay where they are."""

_HERE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of this machine's disk."""


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
    return Here(Path(where).expanduser())


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

    def resend(self, whole: Callable[[Path], bool]) -> None:
        """Sends drafts that an earlier call could not send."""


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
        self._open()

    def __str__(self) -> str:
        return self.address

    @property
    def local(self) -> Path:
        """The mirror."""
        return self._below("mirror")

    @property
    def drafts(self) -> Path:
        """Where files are written before `push`."""
        return self._below("drafts")

    def names(self) -> dict[str, int]:
        """The files of the run that are there now, with their sizes in bytes."""
        return {name: about["size"] for name, about in self._listed().items()}

    def pull(self, *, shown: bool = True) -> Path:
        """The mirror, with what the address has and nothing else.

        Arguments:
            shown: whether to show progress.

        Raises:
            EquipoiseError: when the address cannot be read, this machine's disk is full, or there are names that would
                lie outside the folder.
        """
        began, there, local = time.time(), self._listed(), self.local
        # Only its owner is to read what may be somebody's secret.
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        local.mkdir(parents=True, exist_ok=True)
        self._forget(there, began)
        wanted = [name for name, about in there.items() if not self._has(name, about)]
        size, free = (
            sum(there[name]["size"] or 0 for name in wanted),
            shutil.disk_usage(local).free,
        )
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
                system, root = self._open()
                system.put_file(str(draft), f"{root}/{name}")
                break
            except Exception as error:  # file systems raise what they please
                if wait is None or _is_lasting(error):
                    raise self._trouble("send", name, error) from error
                time.sleep(wait)
        with contextlib.suppress(FileNotFoundError):
            if _OF_A_RUN.fullmatch(name):
                target.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(target)
            else:
                draft.unlink()
        return address

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
        return Path(cache).expanduser() / "remote" / _digest([self.address, *endpoints])

    def _below(self, kind: str) -> Path:
        # Ends as the address does: runs are called by the last parts of their folders.
        parts = [re.sub(r"[^\w.-]", "_", part)[:80] for part in re.split(r"[/\\:]+", self.address)]
        return self._home.joinpath(kind, *(part for part in parts[-4:] if part.strip(".")))

    def _open(self) -> "tuple[AbstractFileSystem, str]":
        """The file system, and the folder in it."""
        # A module-level import would cost every `equipoise --help` its 0.1 s.
        from fsspec.core import url_to_fs  # noqa: PLC0415
        from fsspec.registry import available_protocols  # noqa: PLC0415

        scheme = self.address.partition("://")[0]
        if scheme not in available_protocols():
            known = ("s3", "gs", "abfs", "sftp", "file")
            raise EquipoiseError(
                f"Cannot open {self.address!r}: no kind of address begins with {scheme!r}. "
                f"{did_you_mean(scheme, known)}"
            )
        try:
            options = {"auto_mkdir": True} if scheme in ("file", "local") else {}
            system, root = url_to_fs(self.address, **options)
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            remedy = f"pip install 'equipoise[{extra}]'" if extra else f"{error}."
            raise EquipoiseError(
                f"Cannot open {self.address!r}: addresses with {scheme}:// need another package: {remedy}"
            ) from error
        except Exception as error:
            raise self._trouble("open", "", error) from error
        return system, root.rstrip("/")

    def _listed(self) -> dict[str, dict[str, Any]]:
        """What is said of each file of the run that is there now."""
        system, root = self._open()
        try:
            system.invalidate_cache()
            found = system.find(root, detail=True)
        except Exception as error:
            raise self._trouble("list", "", error) from error
        files = {}
        for full, about in dict(found).items():
            name = full.removeprefix(root).removeprefix("/")
            if _is_outside(name) or not full.startswith(root):
                raise EquipoiseError(
                    f"Cannot read {self.address}: it has a file called {name!r}, which would lie outside the folder. "
                    "No audit writes that: use another address."
                )
            if not name and about["size"]:
                raise EquipoiseError(
                    f"Cannot read {self.address}: it is a file. Give the address of a folder."
                )
            if _OF_A_RUN.fullmatch(name):
                files[name] = about
        return files

    def _has(self, name: str, about: Mapping[str, Any]) -> bool:
        """Whether the mirror has what the listing says."""
        try:
            local = (self.local / name).stat()
        except OSError:
            return False
        if re.fullmatch(_SHARD, name):
            return local.st_size == about["size"]
        return self._seen.get(name) == (_mark(about), local.st_mtime_ns, local.st_size)

    def _fetch(self, name: str, about: Mapping[str, Any]) -> None:
        def write(temporary: Path) -> None:
            system, root = self._open()
            try:
                system.get_file(f"{root}/{name}", str(temporary))
                size = temporary.stat().st_size
                if re.fullmatch(_SHARD, name) and size != about["size"]:
                    raise OSError(errno.EIO, f"{size} of {about['size']} bytes came")
            except Exception as error:
                if isinstance(error, OSError) and error.errno in _HERE:
                    raise
                raise self._trouble("fetch", name, error) from error
            when = _when(about)
            os.utime(temporary, (when, when))

        target = self.local / name
        write_atomically(target, write)
        with contextlib.suppress(OSError):
            local = target.stat()
            self._seen[name] = (_mark(about), local.st_mtime_ns, local.st_size)

    def _forget(self, there: Mapping[str, Any], began: float) -> None:
        """Deletes from the mirror what the address had not when it was listed; what came since may be newer."""
        local = self.local
        for path in local.rglob("*"):
            name = path.relative_to(local).as_posix()
            if _OF_A_RUN.fullmatch(name) and name not in there:
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_ctime < began:
                        path.unlink()

    def _trouble(self, verb: str, name: str, error: Exception) -> EquipoiseError:
        """What was to be done, to what, and what to do about it."""
        what = f"Cannot {verb} {self.address}{'/' if name else ''}{name}"
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        if isinstance(error, PermissionError):
            remedy = "See to the rights of whoever the environment logs in: AWS_PROFILE, for one."
        elif re.search("Credentials|Profile", type(error).__name__):
            remedy = "Log in by the environment: AWS_PROFILE, for one."
        elif isinstance(error, FileNotFoundError):
            reason = "there is no such bucket or file"
            remedy = "Make the bucket first, or mend the address."
        elif isinstance(error, IsADirectoryError | NotADirectoryError):
            remedy = "Give the address of a folder."
        else:
            remedy = (
                "See to the network, and for a store of your own to AWS_ENDPOINT_URL; then repeat the command: what "
                "was finished is kept."
            )
        return EquipoiseError(f"{what}: {reason}. {remedy}")


def _is_outside(name: str) -> bool:
    """Whether a path below a folder leads elsewhere, on this system or another."""
    return bool(re.search(r"[\\\x00]", name)) or name.startswith("/") or ".." in name.split("/")


def _is_lasting(error: Exception) -> bool:
    """Whether waiting is no remedy."""
    lasting = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
    kind = type(error)
    passing = isinstance(error, OSError) or re.search("Connection|Timeout|Http", kind.__name__)
    return isinstance(error, lasting) or "Credentials" in kind.__name__ or not passing


def _mark(about: Mapping[str, Any]) -> str:
    """A digest of what a listing says of a file."""
    return _digest(sorted((key, str(value)) for key, value in about.items()))


def _when(about: Mapping[str, Any]) -> float:
    """When a file was written, in seconds since the epoch; now where the listing does not say."""
    for key in ("LastModified", "mtime", "updated", "last_modified", "created"):
        value = about.get(key)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = datetime.datetime.fromisoformat(value)
        if isinstance(value, datetime.datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return time.time()


def _digest(value: object) -> str:
    # That of `equipoise.streams` comes with torch, which `equipoise --help` has no time for.
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()
