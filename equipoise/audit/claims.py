"""Claims: what a study set out to test, with a statistic, its interval and a verdict that follows from both.

A claim says that a statistic exceeds a bound. It holds when the whole 95 % interval lies above the bound, fails when
the whole interval lies below, and is undecided otherwise. A claim with a control that undoes it says so in `control`.
Studies write their claims into the run's folder as claims.json.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from equipoise.audit.intervals import Estimate
from equipoise.errors import EquipoiseError
from equipoise.files import read_json, write_json
from equipoise.streams import digest

__all__ = ["Claim", "judge", "read_claims", "read_study", "shards_of", "write_claims"]

Verdict = Literal["holds", "fails", "undecided"]

_KINDS = {
    **dict.fromkeys(("value", "low", "high", "bound"), int | float),
    "n": int,
    "classifier": str | None,
}
"""Of which kind the fields of a claim are that are no text."""


@dataclass(frozen=True)
class Claim:
    """One tested statement.

    Attributes:
        id: as the study calls it, such as H1.
        text: the statement, in a sentence.
        classifier: of which classifier, where it is about one.
        statistic: what was computed, in words, with what it must exceed.
        value: of the statistic.
        low: lower end of its 95 % interval.
        high: upper end.
        bound: what the statistic must exceed for the claim to hold.
        n: images it was computed from.
        verdict: of the rule above.
        control: what the controls and falsifiers say, in sentences with their numbers.
        source: where the statement comes from: the "paper"; the paper, but with a "measure" of ours; a "later" paper;
            at second hand, "recalled"; or "ours".
    """

    id: str
    text: str
    classifier: str | None
    statistic: str
    value: float
    low: float
    high: float
    bound: float
    n: int
    verdict: Verdict
    control: str = ""
    source: str = "paper"


def judge(
    id: str,
    text: str,
    statistic: str,
    found: Estimate,
    *,
    bound: float = 0.0,
    classifier: str | None = None,
    control: str = "",
    source: str = "paper",
) -> Claim:
    """The claim with the verdict that its interval gives."""
    verdict: Verdict = "undecided"
    if found.low > bound:
        verdict = "holds"
    elif found.high < bound:
        verdict = "fails"
    return Claim(
        id,
        text,
        classifier,
        statistic,
        found.value,
        found.low,
        found.high,
        bound,
        found.n,
        verdict,
        control,
        source,
    )


def shards_of(folder: Path) -> str:
    """A digest of the shards that the run in `folder` is made of: what was found in it is known by that."""
    path = folder / "run.json"
    if not path.is_file():
        return ""
    return digest([shard["file"] for shard in read_json(path)["shards"]])


def write_claims(folder: Path, study: str, claims: Sequence[Claim]) -> None:
    """Writes claims.json into a run's folder, atomically; a number that is not finite becomes null."""
    rows = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in map(asdict, claims)
    ]
    about = {"study": study, "run": shards_of(folder)}
    write_json(folder / "claims.json", about | {"claims": rows})


def read_study(folder: Path) -> str | None:
    """The study that wrote the claims in a run's folder; None when none did, or when the run has been changed since."""
    path = folder / "claims.json"
    found = read_json(path) if path.is_file() else {}
    known = isinstance(found, dict) and found.get("run") == shards_of(folder)
    return str(found["study"]) if known and "study" in found else None


def _claim(row: dict[str, Any]) -> Claim:
    """One claim as it was written.

    Raises:
        KeyError, TypeError: for a row that is none.
    """
    numbers = {k: math.nan if row[k] is None else row[k] for k in ("value", "low", "high")}
    found: dict[str, Any] = row | numbers
    claim = Claim(**found)
    for field in fields(Claim):
        value = getattr(claim, field.name)
        if isinstance(value, bool) or not isinstance(value, _KINDS.get(field.name, str)):
            raise TypeError(f"{field.name!r} of a claim is a {type(value).__name__}")
    if claim.verdict not in get_args(Verdict):
        raise TypeError(f"the verdict of {claim.id[:40]!r} is none")
    return claim


def read_claims(folder: Path) -> tuple[Claim, ...]:
    """The claims in a run's folder; none when no study wrote any, or when the run has been changed since.

    Raises:
        EquipoiseError: for a file that holds something else.
    """
    path = folder / "claims.json"
    if not path.is_file():
        return ()
    try:
        found = read_json(path)
        if found["run"] != shards_of(folder):
            return ()
        rows = found["claims"]
        return tuple(_claim(row) for row in rows)
    except (KeyError, TypeError) as error:
        raise EquipoiseError(
            f"Cannot read the claims {path}: {error}. Repeat the study."
        ) from error
