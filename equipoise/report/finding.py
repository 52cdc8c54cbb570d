"""What a finding is."""

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One observation: `about` whom or what, what was found, what to do about it, and how much the panel adds."""

    about: str
    text: str
    remedy: str = ""
    warning: bool = True
    more: str = ""
