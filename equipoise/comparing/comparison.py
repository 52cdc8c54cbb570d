"""Runs compared: the same questions, asked of several classifiers about the same images.

Notation. A contender is a classifier in a run. Its measurements belong to a protocol (`equipoise.comparing.protocol`),
and only what was measured under one protocol is compared: the metrics of two contenders on the images that both have
answers for, paired image by image (`equipoise.comparing.multiple`). Of m such differences one is *shown* when Holm's
adjusted p-value is at most 0.05 and its own 95 % interval leaves out 0; the chance that anything is called shown that
is no difference is then at most 5 % for all m together. Beside its own interval each has one that holds at once with
all others (Bonferroni).

Which pairs, `before` and `after`:

    two runs with classifiers of the same names      name by name, the first run before
    otherwise                                        every contender after the baseline, which is the first

A difference without a value, because distances are infinite or images too few, is not compared; nor are metrics that
are about the images alone, such as how near their counterfactuals lie: they would count among the m.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from equipoise.audit.run import Run
from equipoise.comparing.asking import Measured, Question, measure, pair, questions, unmatched
from equipoise.comparing.compared import Change, Refusal, Standing
from equipoise.comparing.contenders import Contender, choose_pairs, label_runs, line_up
from equipoise.comparing.markdown import write_markdown
from equipoise.comparing.matching import pool
from equipoise.comparing.multiple import Paired, holm
from equipoise.comparing.naming import find_metrics, is_called
from equipoise.comparing.protocol import Protocol
from equipoise.comparing.ranking import rank
from equipoise.comparing.thresholds import Threshold, Verdict, judge_thresholds
from equipoise.errors import EquipoiseError
from equipoise.probes import Metric

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: what each run is called.
        contenders: every classifier of every run.
        baseline: the contender that others are compared with, or the first of those compared by name.
        pairs: names before and after.
        judged: names of the contenders that `failed` judges by their metrics: all but those before, where several runs
            or a baseline say what was before.
        images: how many images are compared, and how many each run has.
        standings: every metric of every contender.
        changes: every difference under one protocol.
        refusals: what could not be compared, and why.
        protocols: settings by the digest that standings and changes have.
    """

    runs: tuple[str, ...]
    contenders: tuple[Contender, ...]
    baseline: str
    pairs: tuple[tuple[str, str], ...]
    judged: tuple[str, ...]
    images: tuple[int, tuple[int, ...]]
    standings: tuple[Standing, ...]
    changes: tuple[Change, ...]
    refusals: tuple[Refusal, ...]
    protocols: Mapping[str, Protocol]

    def columns(self) -> list[tuple[str, str]]:
        """Metrics and digests of their protocols, in order."""
        return list(dict.fromkeys((s.metric, s.protocol) for s in self.standings))

    def ranked(self, metric: str | None = None) -> tuple[str, str]:
        """The metric and the protocol that contenders are ranked by: of those called `metric`, else robust accuracy,
        else the first, the one by which most of them can be ranked.

        Raises:
            EquipoiseError: for a metric that nobody was measured by, or that people do not want high.
        """
        asked = metric or next((n for n in ("robust", "standard") if self._known(n)), None)
        names = [s.metric for s in self.standings]
        called = find_metrics(asked, names) if asked else names
        found = [(s.metric, s.protocol) for s in self.standings if s.metric in called and s.rank]
        if not found:
            raise EquipoiseError(
                f"Cannot rank by {metric or 'any metric'!r}: nobody has a rank by it. Choose one that is better the "
                "higher it is, and against which no check speaks, such as standard."
            )
        return max(dict.fromkeys(found), key=found.count)

    def judge(self, thresholds: Sequence[Threshold]) -> tuple[Verdict, ...]:
        """Every threshold for everyone it is about.

        Raises:
            EquipoiseError: for a metric that nobody was measured by, or a limit that it cannot have.
        """
        return judge_thresholds(thresholds, self.standings, self.changes, self.judged, self.pairs)

    def failed(self, thresholds: Sequence[Threshold]) -> tuple[Verdict, ...]:
        """The thresholds that do not hold."""
        return tuple(verdict for verdict in self.judge(thresholds) if not verdict.holds)

    def markdown(self, thresholds: Sequence[Threshold] = ()) -> str:
        """GitHub-flavoured Markdown: thresholds, metrics, differences and what could not be compared."""
        verdicts = self.judge(thresholds)
        return write_markdown(
            verdicts, self.contenders, self.standings, self.changes, self.refusals
        )

    def _known(self, name: str) -> bool:
        try:
            called = find_metrics(name, [s.metric for s in self.standings])
        except EquipoiseError:
            return False
        return any(s.rank for s in self.standings if s.metric in called)


def compare(
    run: Run | str | Path,
    *others: Run | str | Path,
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    seed: int = 0,
) -> Comparison:
    """Compares the classifiers of one run or of several.

    Arguments:
        run: a run or its folder.
        others: more of them.
        baseline: the classifier that all others are compared with, as NAME, or as NAME (RUN) where several runs have
            one of that name.
        metrics: which to compare, by short or whole names; all when empty. Corrections count no other.
        seed: of resamples.

    Raises:
        EquipoiseError: for a folder without a run, a run without measurements, an unknown baseline or metric, or runs
            that have no measurement under one protocol in common.
    """
    runs = [r if isinstance(r, Run) else Run(r) for r in (run, *others)]
    names = label_runs(runs)
    contenders = line_up(runs, names)
    before, pairs = choose_pairs(contenders, baseline)
    pools, reasons = pool(runs, names, before.run)
    asked = list(questions(runs, pools))
    standings: list[Standing] = []
    changes: list[tuple[Change, Paired]] = []
    refusals = [Refusal("images", reason) for reason in reasons.values()]
    refusals += unmatched(runs, names, asked, before.run)
    known: dict[str, None] = {}
    for question in asked:
        found = measure(runs, question, contenders)
        here = dict.fromkeys(name for own in found.values() for name in own.metrics)
        known |= here
        for name in here:
            if metrics and not any(is_called(name, called) for called in metrics):
                continue
            standings += rank(runs, question, found, name, seed)
            if _of_images(found, name):
                if metrics:
                    refusals.append(Refusal(name, "it is the same whatever the classifier"))
                continue
            for one, other in pairs:
                if one in found and other in found:
                    compared = _change(question, (one, other), found, name, seed)
                    if isinstance(compared, Refusal):
                        refusals.append(compared)
                    elif compared is not None:
                        changes.append(compared)
    for called in metrics:
        find_metrics(called, known)
    across = {(pair[0].name, pair[1].name) for pair in pairs if pair[0].run != pair[1].run}
    if across and not any((c.before, c.after) in across for c, _ in changes):
        why = str(refusals[0]) if refusals else "No probe was asked in both."
        raise EquipoiseError(
            f"Cannot compare {' with '.join(names)}: nothing was measured of both under one protocol. {why}"
        )
    first = {one.name for one, _ in pairs} if len(runs) > 1 or baseline is not None else set()
    return Comparison(
        runs=names,
        contenders=contenders,
        baseline=before.name,
        pairs=tuple((one.name, other.name) for one, other in pairs),
        judged=tuple(c.name for c in contenders if c.name not in first),
        images=(len(pools[0].ids), tuple(r.record["data"]["images"] for r in runs)),
        standings=tuple(standings),
        changes=_corrected(changes),
        refusals=tuple(dict.fromkeys(refusals)),
        protocols={question.digest: question.protocol for question in asked},
    )


def _of_images(found: Mapping[Contender, Measured], metric: str) -> bool:
    """Whether a metric is about the images alone."""
    quoted = (own.metrics.get(metric) for own in found.values())
    return any(isinstance(m, Metric) and m.about == "images" for m in quoted)


def _change(
    question: Question,
    who: tuple[Contender, Contender],
    found: Mapping[Contender, Measured],
    metric: str,
    seed: int,
) -> tuple[Change, Paired] | Refusal | None:
    """How one pair differs by a metric, uncorrected; why it is not known; None where neither has the metric."""
    one, other = (found[c].metrics.get(metric) for c in who)
    if one is None and other is None:
        return None
    before, after = (c.name for c in who)
    paired, why = None, "not measured of both on the same images"
    try:
        paired = pair(found[who[0]], found[who[1]], metric, seed)
    except EquipoiseError as error:
        why = str(error)
    if paired is not None and not math.isfinite(paired.value):
        paired, why = None, "infinite values, or fewer than ten images"
    if paired is None or one is None or other is None:
        return Refusal(metric, f"{before} and {after}: {why}")
    change = Change(
        before=before,
        after=after,
        metric=metric,
        probe=question.protocol.probe,
        protocol=question.digest,
        was=paired.was,
        now=paired.now,
        value=paired.value,
        low=paired.low,
        high=paired.high,
        lowest=paired.low,
        highest=paired.high,
        p=paired.p,
        adjusted=paired.p,
        n=paired.n,
        method=paired.method,
        unit=one.unit,
        better=one.better,
    )
    return change, paired


def _corrected(changes: Sequence[tuple[Change, Paired]]) -> tuple[Change, ...]:
    """All changes with intervals that hold at once, and Holm's p-values."""
    adjusted = holm([change.p for change, _ in changes])
    corrected = []
    for (change, paired), p in zip(changes, adjusted.tolist(), strict=True):
        lowest, highest = paired.at_once(len(changes))
        corrected.append(replace(change, lowest=lowest, highest=highest, adjusted=p))
    return tuple(corrected)
