"""Opening the file system of an address, and what to say when it fails: file systems raise what they please."""

import re
from typing import TYPE_CHECKING

from equipoise.errors import EquipoiseError, did_you_mean

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["is_lasting", "open_address", "trouble"]

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Which extra brings the package for an address."""


def open_address(address: str) -> "tuple[AbstractFileSystem, str]":
    """The file system of an address, and the folder in it.

    Raises:
        EquipoiseError: for an address of a kind that nothing here can open.
    """
    # A module-level import would cost every `equipoise --help` its 0.1 s.
    from fsspec.core import url_to_fs  # noqa: PLC0415
    from fsspec.registry import available_protocols  # noqa: PLC0415

    scheme = address.partition("://")[0]
    if scheme not in available_protocols():
        known = ("s3", "gs", "abfs", "sftp", "file")
        raise EquipoiseError(
            f"Cannot open {address!r}: no kind of address begins with {scheme!r}. "
            f"{did_you_mean(scheme, known)}"
        )
    try:
        options = {"auto_mkdir": True} if scheme in ("file", "local") else {}
        system, root = url_to_fs(address, **options)
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        remedy = f"pip install 'equipoise[{extra}]'" if extra else f"{error}."
        raise EquipoiseError(
            f"Cannot open {address!r}: addresses with {scheme}:// need another package: {remedy}"
        ) from error
    except Exception as error:
        raise trouble("open", address, error) from error
    return system, root.rstrip("/")


def trouble(verb: str, address: str, error: Exception) -> EquipoiseError:
    """What was to be done, to what, and what to do about it."""
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
    return EquipoiseError(f"Cannot {verb} {address}: {reason}. {remedy}")


def is_lasting(error: Exception) -> bool:
    """Whether waiting is no remedy."""
    lasting = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
    kind = type(error)
    passing = isinstance(error, OSError) or re.search("Connection|Timeout|Http", kind.__name__)
    return isinstance(error, lasting) or "Credentials" in kind.__name__ or not passing
