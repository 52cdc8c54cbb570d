"""Telling loggers what an audit found: a piece of work for each classifier, with its whole summary at step 0."""

from collections.abc import Sequence

from equipoise.audit.claims import shards_of
from equipoise.audit.run import Run
from equipoise.tracking import Logger, Trail

__all__ = ["log_run"]


def log_run(run: Run, loggers: Sequence[Logger]) -> None:
    """Tells `loggers` the summary of a run; those that have heard of these very measurements are not told again.

    Values are called ``PROBE/METRIC``, with the ends of their intervals as ``PROBE/METRIC/low`` and ``.../high``;
    ``warnings`` counts the checks that speak against robust accuracies. What is not finite is left out.
    """
    identity = shards_of(run.folder)
    for classifier in run.classifiers:
        values: dict[str, float] = {}
        for s in run.summary():
            if s.classifier == classifier:
                name = f"{s.probe}/{s.name}"
                values |= {name: s.value, f"{name}/low": s.low, f"{name}/high": s.high}
        warned = [c for c in run.soundness() if c.classifier == classifier and c.warns]
        settings = {
            "run": run.where,
            "data": run.record["data"]["spec"],
            "split": run.record["data"]["split"],
            "images": run.record["data"]["images"],
            "seed": run.record["seed"],
            "probes": list(run.probes),
            "facts": run.record["classifiers"][classifier]["facts"],
        }
        with Trail(run.folder, classifier, identity, settings, loggers) as trail:
            trail.log(0, values | {"warnings": len(warned)})
