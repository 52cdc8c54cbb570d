"""Claims of ours about other widths and guidances (`other_settings`), of every robust rung.

    S1  it reads counterfactuals worse than the standard one at every setting
    S2  proximity and confidence go together at every setting

What is so at every setting is so where it is least: the statistic is the least over settings, and its interval goes
from the least of their lower ends to the least of their upper ones. It lies above 0 where the interval of every setting
does, and below where that of one does.
"""

from collections.abc import Sequence

import numpy as np

from equipoise.audit import Claim, Estimate, judge
from equipoise.studies.counterfactual_evidence import said
from equipoise.studies.other_settings import Setting

__all__ = ["weigh_settings"]


def weigh_settings(settings: Sequence[Setting]) -> list[Claim]:
    """S1 and S2 of every robust rung; none without other settings."""
    if not settings:
        return []
    robust = list(settings[0].gaps)
    where = f"least over {len(settings)} settings of"
    return [
        *(
            judge(
                "S1",
                "A robust classifier reads counterfactuals worse than the standard one at every width and guidance.",
                f"{where} the standard accuracy on counterfactuals minus this classifier's",
                _least([setting.gaps[rung] for setting in settings]),
                classifier=rung,
                control=_listed(settings, [setting.gaps[rung] for setting in settings]),
                source="ours",
            )
            for rung in robust
        ),
        *(
            judge(
                "S2",
                "Proximity and confidence go together at every width and guidance.",
                f"{where} the rank correlation of proximity and confidence in the true class",
                _least([setting.correlations[rung] for setting in settings]),
                classifier=rung,
                control=_listed(settings, [setting.correlations[rung] for setting in settings]),
                source="ours",
            )
            for rung in robust
        ),
    ]


def _least(found: Sequence[Estimate]) -> Estimate:
    """NaN where one is not known: of that nothing can be said."""
    value, low, high = (
        float(np.min([getattr(one, end) for one in found])) for end in ("value", "low", "high")
    )
    return Estimate(value, low, high, min(one.n for one in found), "least of several")


def _listed(settings: Sequence[Setting], found: Sequence[Estimate]) -> str:
    listed = (f"{setting} {said(one)}" for setting, one in zip(settings, found, strict=True))
    return f"On the same originals: {'; '.join(listed)}."
