"""Ranks within one protocol, and who is tied with the best.

The best is picked by looking at all k contenders. Another one is told from it only where the p-value of their
difference is at most 0.05 / (k (k - 1) / 2), as if all pairs had been tested (Bonferroni), and the interval of the
difference leaves out 0; all others are tied with it. A contender against whose number checks speak is not ranked by it,
and nobody is by a metric that people do not want high, or that nobody else was measured by.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from equipoise.audit.run import Run
from equipoise.audit.statistics import estimate
from equipoise.comparing.asking import Measured, Question, pair
from equipoise.comparing.compared import Standing
from equipoise.comparing.contenders import Contender
from equipoise.comparing.multiple import ERROR

__all__ = ["rank"]


def rank(
    runs: Sequence[Run],
    question: Question,
    found: Mapping[Contender, Measured],
    metric: str,
    seed: int,
) -> list[Standing]:
    """Everyone's standing by one metric of a question."""
    column: dict[Contender, Standing] = {}
    for c, own in found.items():
        if metric in own.metrics:
            value, spec = estimate(own.metrics[metric], seed=seed), question.specs[c.run]
            column[c] = Standing(
                who=c.name,
                metric=metric,
                probe=spec,
                protocol=question.digest,
                value=value.value,
                low=value.low,
                high=value.high,
                n=value.n,
                unit=own.metrics[metric].unit,
                better=own.metrics[metric].better,
                warnings=_warnings(runs[c.run], c.classifier, spec),
            )
    able = {c: s for c, s in column.items() if _able(s)}
    if len(able) < 2:
        return list(column.values())
    best = max(able, key=lambda c: able[c].value)
    error = ERROR / max(1, len(able) * (len(able) - 1) // 2)
    ranked = []
    for c, standing in column.items():
        if c not in able:
            ranked.append(standing)
            continue
        place = 1 + sum(other.value > standing.value for other in able.values())
        tied = place == 1 or not _below(found[c], found[best], metric, error, seed)
        ranked.append(replace(standing, rank=place, tied=tied))
    return ranked


def _below(one: Measured, best: Measured, metric: str, error: float, seed: int) -> bool:
    """Whether one contender is shown to be worse than the best."""
    paired = pair(one, best, metric, seed)
    return paired is not None and paired.p <= error and paired.low > 0


def _able(standing: Standing) -> bool:
    wanted = standing.better == "high" and not standing.warnings
    return wanted and math.isfinite(standing.value)


def _warnings(run: Run, classifier: str, spec: str) -> int:
    """How many checks speak against what a probe found of a classifier."""
    about = [s for s in run.soundness() if (s.classifier, s.probe) == (classifier, spec)]
    return sum(check.warns for check in about)
