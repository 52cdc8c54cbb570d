"""Specs: how a command line names images, classifiers, threats and probes.

A spec is ``kind``, ``kind:target`` or ``kind:target?key=value&key=value``, as users of timm and Hugging Face know
them: ``digits``, ``folder:~/photos?size=64``, ``linf:8/255``. Numbers may be fractions; nothing is evaluated.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from equipoise.bounds import parse_path
from equipoise.errors import EquipoiseError, did_you_mean

__all__ = ["Spec", "parse_number", "parse_spec", "parse_whole_number"]

_MOST_DIGITS = 18


@dataclass(frozen=True)
class Spec:
    """One parsed spec: `text` as the user wrote it, its `kind`, `target` and `options`."""

    text: str
    kind: str
    target: str = ""
    options: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The target as a path, with the user's home for ``~``.

        Raises:
            EquipoiseError: for a name that no file can have.
        """
        return parse_path(self.target, self.text)

    def only(self, *allowed: str) -> dict[str, str]:
        """The options, once each is known to be among `allowed`.

        Raises:
            EquipoiseError: for an option outside `allowed`.
        """
        for key in self.options:
            if key not in allowed:
                hint = did_you_mean(key, allowed) if allowed else "It takes no options."
                raise EquipoiseError(f"{self.text!r} has the unknown option {key!r}. {hint}")
        return self.options


def parse_spec(text: str) -> Spec:
    """Splits `text` into kind, target and options.

    Raises:
        EquipoiseError: for an empty kind or an option without a value.
    """
    head, _, query = text.partition("?")
    kind, _, target = head.partition(":")
    if not kind:
        raise EquipoiseError(f"Cannot read the spec {text!r}: it has no kind. Write KIND:TARGET.")
    try:
        options = (
            dict(parse_qsl(query, strict_parsing=True, keep_blank_values=True)) if query else {}
        )
    except ValueError:
        raise EquipoiseError(
            f"Cannot read the options of {text!r}. Write them as ?key=value&key=value."
        ) from None
    return Spec(text, kind, target, options)


def parse_number(text: str, what: str) -> float:
    """Reads ``0.5`` or ``8/255`` without evaluating anything.

    Arguments:
        text: a decimal number or a fraction of two.
        what: what the number is, for the error message.

    Raises:
        EquipoiseError: when `text` is neither.
    """
    top, slash, bottom = text.partition("/")
    try:
        value = float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise EquipoiseError(
            f"Cannot read {what} {text!r}: write a number such as 0.5 or a fraction such as 8/255."
        )
    return value


def parse_whole_number(text: str, what: str) -> int:
    """Reads a whole number of at least 1, with at most 18 digits.

    Raises:
        EquipoiseError: when `text` is anything else.
    """
    # Python refuses to read thousands of digits, with an error of its own.
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS or int(text) < 1:
        raise EquipoiseError(
            f"Cannot read {what} {text[:40]!r}: write a whole number of at least 1, with at most {_MOST_DIGITS} digits."
        )
    return int(text)
