"""Who is compared with whom: every classifier of every run, under a name of its own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from equipoise.audit.run import Run
from equipoise.errors import EquipoiseError, did_you_mean

__all__ = ["Contender", "choose_pairs", "label_runs", "line_up"]


@dataclass(frozen=True)
class Contender:
    """A classifier in a run.

    Attributes:
        name: the classifier's, followed by the run where several runs have one of that name.
        classifier: its name in the run.
        run: the run's place among all.
    """

    name: str
    classifier: str
    run: int


def label_runs(runs: Sequence[Run]) -> tuple[str, ...]:
    """What to call each run: the last parts of its path, as many as tell all runs apart; of a study's run, those of the
    study's folder.

    Raises:
        EquipoiseError: for a run that is given twice.
    """
    paths = [run.folder.resolve() for run in runs]
    for path, times in Counter(paths).items():
        if times > 1:
            raise EquipoiseError(
                f"Cannot compare {str(path)!r} with itself: it is given {times} times. Give every run once."
            )
    studies = [path.parent if path.name == "audit" else path for path in paths]
    paths = studies if len(set(studies)) == len(paths) else paths
    names = []
    for path in paths:
        # A path of one part is the root of the file system.
        parts, length = path.parts, 1
        while length < len(parts) and sum(p.parts[-length:] == parts[-length:] for p in paths) > 1:
            length += 1
        names.append("/".join(parts[-length:]))
    return tuple(names)


def line_up(runs: Sequence[Run], names: Sequence[str]) -> tuple[Contender, ...]:
    """Every classifier of every run, in order."""
    times = Counter(name for run in runs for name in run.classifiers)
    return tuple(
        Contender(name if times[name] == 1 else f"{name} ({names[k]})", name, k)
        for k, run in enumerate(runs)
        for name in run.classifiers
    )


def choose_pairs(
    contenders: Sequence[Contender], baseline: str | None
) -> tuple[Contender, list[tuple[Contender, Contender]]]:
    """The baseline, and who is compared: pairs of before and after.

    Raises:
        EquipoiseError: for a baseline that is nobody's name, or the name of several.
    """
    runs = [[c for c in contenders if c.run == k] for k in range(1 + contenders[-1].run)]
    if baseline is None and len(runs) == 2:
        first, second = ({c.classifier: c for c in run} for run in runs)
        if first.keys() == second.keys():
            return contenders[0], [(first[name], second[name]) for name in first]
    before = contenders[0] if baseline is None else _find(contenders, baseline)
    return before, [(before, after) for after in contenders if after != before]


def _find(contenders: Sequence[Contender], baseline: str) -> Contender:
    found = [c for c in contenders if baseline == c.name]
    found = found or [c for c in contenders if baseline == c.classifier]
    names = [c.name for c in contenders]
    if not found:
        raise EquipoiseError(
            f"Cannot compare with the baseline {baseline!r}: no classifier has that name. "
            f"{did_you_mean(baseline, names)}"
        )
    if len(found) > 1:
        listed = ", ".join(repr(c.name) for c in found)
        raise EquipoiseError(
            f"Cannot compare with the baseline {baseline!r}: several runs have a classifier of that name. Give one of "
            f"{listed}."
        )
    return found[0]
