"""Looking at a probe while it works: how long it takes, and which calls of classifiers it makes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from equipoise.audit.plan import Plan
from equipoise.classifiers import Classifier
from equipoise.probes import Answers, Probe

__all__ = ["OutOfTimeError", "Seen", "watched"]


class OutOfTimeError(Exception):
    """A measurement went on for too long."""


@dataclass
class Seen:
    """What was seen of a probe.

    Attributes:
        seconds: in the probe's `measure`.
        calls: widths of calls, by classifier and by whether they went back to the images.
    """

    seconds: float = 0.0
    calls: dict[tuple[str, bool], list[int]] = field(default_factory=dict)


@contextmanager
def watched(plan: Plan, last: float, clock: Callable[[], float]) -> Iterator[tuple[Plan, Seen]]:
    """The plan with probes that are watched; classifiers are, as long as the context lasts.

    Arguments:
        plan: what is to be measured.
        last: when calls begin to fail, by `clock`.
        clock: what seconds are.

    Raises:
        OutOfTimeError: from a call after `last`.
    """
    seen, inside = Seen(), [False]

    def watch_call(name: str, classifier: Classifier) -> Callable[..., Tensor]:
        call = classifier.logits

        def logits(images: Tensor) -> Tensor:
            if clock() > last:
                raise OutOfTimeError
            answer = call(images)
            if inside[0]:
                seen.calls.setdefault((name, answer.requires_grad), []).append(len(images))
            return answer

        return logits

    def watch_probe(probe: Probe) -> Probe:
        measure, watching = probe.measure, copy(probe)

        def timed(*asked: Any) -> Answers:
            before, inside[0] = clock(), True
            try:
                return measure(*asked)
            finally:
                inside[0] = False
                seen.seconds += clock() - before

        # Settings are frozen; what a probe does is none of them.
        object.__setattr__(watching, "measure", timed)
        return watching

    for name, classifier in plan.classifiers.items():
        classifier.logits = watch_call(name, classifier)
    try:
        yield replace(plan, probes={key: watch_probe(p) for key, p in plan.probes.items()}), seen
    finally:
        for classifier in plan.classifiers.values():
            del classifier.logits
