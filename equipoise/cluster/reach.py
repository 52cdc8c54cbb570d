"""Whether Ray is there, and saying in a line what became of it."""

import contextlib
import socket
from collections.abc import Callable

__all__ = ["REACH", "answers", "first_line", "place", "silently"]

REACH = 5.0
"""Seconds in which an address has to answer."""


def place(address: str) -> tuple[str, int]:
    """Host and port of an address; port 0 where it has none."""
    host, _, port = address.removeprefix("ray://").rstrip("/").rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=REACH).close()
    except OSError:
        return False
    return True


def first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def silently(call: Callable[..., object], *arguments: object) -> None:
    """What is left to do when Ray may be gone already."""
    with contextlib.suppress(Exception):
        call(*arguments)
