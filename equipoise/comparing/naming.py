"""Short names of metrics, for the command line.

    standard                 standard accuracy
    robust                   robust accuracy at every threat; robust:linf:8/255 at one
    worst_group              worst-group accuracy
    counterfactual           accuracy on counterfactuals
    group:NAME               accuracy on that group
    object                   relative sensitivity to the object under every noise; object:gaussian under one
    background_gap, ...      any other metric: its name in small letters, what is no letter or digit as one _

A metric's whole name serves as well, and - as well as _.
"""

import re
from collections.abc import Iterable

from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.norms import parse_threat

__all__ = ["find_metrics", "is_called", "is_headline", "short_names"]

PATTERNS = (
    (re.compile(r"standard accuracy()"), "standard"),
    (re.compile(r"robust accuracy at (\S+)"), "robust"),
    (re.compile(r"worst-group accuracy()"), "worst_group"),
    (re.compile(r"accuracy on counterfactuals()"), "counterfactual"),
    (re.compile(r"relative sensitivity to the object, (\S+) noise"), "object"),
)
"""Metrics that people look at first, in that order, with their short names."""

GROUP = re.compile(
    r"accuracy on (?!accepted counterfactuals$|others' adversarial images at )(.*)", re.DOTALL
)


def short_names(metric: str) -> list[str]:
    """Everything that a metric may be called, the shortest first."""
    names = []
    for pattern, short in PATTERNS:
        if found := pattern.fullmatch(metric):
            names += [short, f"{short}:{found[1].lower()}"] if found[1] else [short]
    if not names and (found := GROUP.fullmatch(metric)):
        names.append(f"group:{found[1]}")
    return [*names, re.sub(r"[^a-z0-9]+", "_", metric.lower()).strip("_"), metric]


def is_headline(metric: str) -> bool:
    """Whether it is among the metrics that people look at first."""
    return any(pattern.fullmatch(metric) for pattern, _ in PATTERNS)


def is_called(metric: str, asked: str) -> bool:
    """Whether `asked` is a name of the metric.

    Raises:
        EquipoiseError: when what follows ``robust:`` is no threat.
    """
    wanted = {asked, asked.lower().replace("-", "_")}
    kind, _, threat = asked.partition(":")
    if kind == "robust" and threat:
        # 0.03137254901960784 is 8/255 as well.
        wanted = {f"robust:{parse_threat(threat)}"}
    return not wanted.isdisjoint(short_names(metric))


def find_metrics(asked: str, known: Iterable[str]) -> list[str]:
    """The metrics among `known` that are called `asked`.

    Raises:
        EquipoiseError: when there is none.
    """
    known = list(dict.fromkeys(known))
    found = [metric for metric in known if is_called(metric, asked)]
    if not found:
        names = dict.fromkeys(name for metric in known for name in short_names(metric)[:-1])
        raise EquipoiseError(f"Unknown metric {asked!r}. {did_you_mean(asked, names)}")
    return found
