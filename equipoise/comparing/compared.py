"""What a comparison consists of: what was measured of whom, what differs, and what cannot be compared."""

from dataclasses import dataclass

__all__ = ["Change", "Refusal", "Standing"]


@dataclass(frozen=True)
class Standing:
    """A metric of a contender.

    Attributes:
        who: name of the contender.
        probe: spec, as in the contender's run.
        protocol: digest of settings and images; only what has the same one is ranked.
        value, low, high: with its 95 % interval.
        warnings: how many checks speak against the number.
        rank: among all contenders of the protocol, from 1; None where it is not ranked.
        tied: whether it is the best or not shown to differ from it.
    """

    who: str
    metric: str
    probe: str
    protocol: str
    value: float
    low: float
    high: float
    n: int
    unit: str
    better: str
    warnings: int = 0
    rank: int | None = None
    tied: bool = False


@dataclass(frozen=True)
class Change:
    """How a metric differs between two contenders on the same images.

    Attributes:
        before, after: names of the contenders.
        was, now: the metric of either.
        value: now - was.
        low, high: its 95 % interval by itself.
        lowest, highest: its interval that holds at once with those of all other changes.
        p: of no change, by itself.
        adjusted: the same after Holm's correction for all changes.
        n: images.
    """

    before: str
    after: str
    metric: str
    probe: str
    protocol: str
    was: float
    now: float
    value: float
    low: float
    high: float
    lowest: float
    highest: float
    p: float
    adjusted: float
    n: int
    method: str
    unit: str
    better: str

    @property
    def shown(self) -> bool:
        """Whether the two differ: after the correction for all changes, and by the interval itself."""
        return self.adjusted <= 0.05 and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Refusal:
    """What was not compared, and why: a probe's spec, a metric, or ``images`` for a whole run."""

    what: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"
