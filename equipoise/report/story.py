"""The summary: one to five sentences that the numbers generate.

Only what the images show is said. Differences between classifiers are paired over the same images; where the interval
of one includes 0 the sentence says that no difference is shown, not that there is none. The rung compared with the
lowest is picked for its robust accuracy, and its interval is widened for the choice. Classifiers whose robust accuracy
checks speak against are not picked while others are left, and where a sentence names one it says so. On counterfactuals
the two ends of the ladder are compared, whatever they show, of the first set alone; so they are on backgrounds, groups
and objects, each end with an interval of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from equipoise.audit import Statistic
from equipoise.audit.difference import Difference, paired_difference
from equipoise.report.by_image import ByImage, both, paired
from equipoise.report.ends import at_the_ends
from equipoise.report.reading import UNNAMED, Drawn, Judged, Reading, Under
from equipoise.report.words import against, apart, count, percent, points, span

__all__ = ["Story", "left_out", "tell"]


@dataclass(frozen=True)
class Story:
    """Sentences, and how their intervals were made."""

    sentences: tuple[str, ...]
    method: str


def tell(reading: Reading) -> Story:
    """The summary of a run."""
    story = _accuracies(reading)
    for drawn in reading.counterfactuals[:1]:
        if sentence := _followed(reading, drawn):
            story = Story((*story.sentences, sentence), f"{story.method} {_ENDS}".strip())
    for rungs in [*reading.ladders.values()][:1]:
        low, high = _called(reading, rungs)
        if sentence := at_the_ends(reading, {low: rungs[0], high: rungs[-1]}):
            story = Story((*story.sentences, sentence), story.method)
    if not story.sentences:
        return Story(("Nothing has been measured yet that a sentence could be made of.",), "")
    return story


def _called(reading: Reading, rungs: Sequence[Judged]) -> tuple[str, str]:
    """How a sentence calls the two ends of a ladder."""
    first, last = rungs[0], rungs[-1]
    return f"radius {first.trained}", f"radius {last.trained}{_objective(reading, rungs)}"


_ENDS = (
    "On counterfactuals the two ends of the ladder are compared, whatever they show, so that interval is not widened; "
    "it is a bootstrap over images of each image’s share."
)


def _accuracies(reading: Reading) -> Story:
    """What happens to standard and to robust accuracy."""
    under = reading.threats[0] if reading.threats else None
    if reading.standard is None or under is None:
        return _plain(reading, under)
    rungs = _comparable(reading, _ladder_for(reading, under), under)
    if len(rungs) > 1:
        return _ladder(reading, rungs, under)
    judged = _comparable(reading, reading.classifiers, under)
    return _choice(reading, judged, under) if len(judged) > 1 else _plain(reading, under)


def _ladder_for(reading: Reading, under: Under) -> Sequence[Judged]:
    """The rungs that a threat is told of: those of PGD training in its norm, or others in its norm, or any."""
    norm, ladders = under.threat.norm, reading.ladders
    own = (rungs for rungs in ladders.values() if rungs[-1].norm == norm)
    return ladders.get(norm) or next(own, None) or next(iter(ladders.values()), ())


def _objective(reading: Reading, rungs: Sequence[Judged]) -> str:
    """How a sentence names the objective and the network of some rungs: `` with trades``, `` of resnet50``; nothing
    where PGD is the only objective and there is one network."""
    named, network = rungs[-1].objective, rungs[-1].network
    usual = all(ladder[-1].objective in UNNAMED for ladder in reading.ladders.values())
    objective = "" if usual or named is None else f" with {named}"
    return objective if network is None else f"{objective} of {network}"


def _comparable(reading: Reading, judged: Sequence[Judged], under: Under) -> list[Judged]:
    """Those that have answers about some images in common; in a finished run, all."""
    kept: list[Judged] = []
    common: ByImage | None = None
    for j in judged:
        known = both(reading.right(j.name), reading.right(j.name, under))
        shared = known if common is None else both(common, known)
        if shared:
            kept.append(j)
            common = shared
    return kept


def _highest(found: Iterable[tuple[Judged, Statistic | None]]) -> Judged:
    return max(found, key=lambda pair: pair[1].value if pair[1] else -1.0)[0]


def _trusted(reading: Reading, judged: Iterable[Judged], under: Under) -> list[Judged]:
    """Those whose robust accuracy no check speaks against."""
    return [j for j in judged if not reading.warnings(j.name, under.spec)]


def _though(reading: Reading, named: Sequence[Judged], under: Under) -> str:
    """What speaks against the robust accuracy of the rungs that a sentence names, as the end of that sentence."""
    found = [(j, reading.warnings(j.name, under.spec)) for j in named]
    found = [(j, warnings) for j, warnings in found if warnings]
    if not found:
        return "."
    if len(found) > 1:
        numbers = " and ".join(str(len(warnings)) for _, warnings in found)
        return f", though checks speak against robust accuracy at both ends ({numbers} of them)."
    ((judged, warnings),) = found
    return f", though {against(warnings, f'robust accuracy after training at radius {judged.trained}')}."


def _ladder(reading: Reading, rungs: list[Judged], under: Under) -> Story:
    lowest, highest = rungs[0], rungs[-1]
    trusted = _trusted(reading, rungs[1:], under)
    candidates = trusted or rungs[1:]
    best = _highest((j, reading.robust_accuracy(j.name, under)) for j in candidates)
    choices = len(candidates)
    standard = _difference(reading, lowest, best, None, choices)
    robust = _difference(reading, lowest, best, under, choices)
    sentences = [
        _capital(
            f"going from radius {lowest.trained} to {best.trained} in training{_objective(reading, rungs)} "
            + _exchange(standard, robust, under)
            + _though(reading, (lowest, best), under)
        )
    ]
    if highest != best:
        standard = _difference(reading, best, highest, None, choices)
        robust = _difference(reading, best, highest, under, choices)
        further = _exchange(standard, robust, under, first=False)
        though = _though(reading, (highest,), under)
        sentences.append(f"Going further, to radius {highest.trained}, {further}{though}")
    if trusted:
        unnamed = [j for j in rungs[1:] if j not in (*trusted, highest)]
        sentences += left_out([f"radius {j.trained}" for j in unnamed])
    others = (u for u in reading.threats if u != under)
    other = next((u for u in others if len(reading.pair(lowest.name, best.name, u)[0])), None)
    if other:
        change = _difference(reading, lowest, best, other, choices)
        sentences.append(
            f"Against {other.threat}, the same step from {lowest.trained} to {best.trained} "
            + _one(change, "robust accuracy")
            + _though(reading, (lowest, best), other)
        )
    return Story(tuple(sentences), _method(robust, f"the rung among {choices}"))


def _followed(reading: Reading, drawn: Drawn) -> str | None:
    """From the lowest to the highest rung: the share of a set's counterfactuals that are read as their class."""
    rungs = next(iter(reading.ladders.values()), ())
    if not rungs:
        return None
    ends = [reading.answers(drawn, j.name, "accuracy") for j in (rungs[0], rungs[-1])]
    before, after = paired(*ends)
    if not len(before):
        return None
    change = paired_difference(before, after, seed=reading.record["seed"])
    among = f" ({drawn.title})" if len(reading.counterfactuals) > 1 else ""
    low, high = _called(reading, rungs)
    where = (
        f"counterfactuals{'' if drawn.facts['oracles'] else ' that no oracle has checked'}{among}"
    )
    filtered = _filtered(reading, drawn, rungs[0], rungs[-1])
    if not change.shown:
        return (
            f"On {where}, no difference in accuracy is shown between {low} ({percent(change.before)}) and {high} "
            f"({percent(change.after)}; paired over {count(change.n)} images, 95% interval of the difference "
            f"{points(change)} points).{filtered}"
        )
    down = change.value < 0
    return (
        f"On {where}, accuracy {'falls' if down else 'rises'} from {percent(change.before)} at {low} to "
        f"{percent(change.after)} at {high} (paired difference {100 * abs(change.value):.1f} points over "
        f"{count(change.n)} images, 95% interval {points(change, flip=down)}).{filtered}"
    )


def _filtered(reading: Reading, drawn: Drawn, first: Judged, last: Judged) -> str:
    """The same for the counterfactuals that the oracles accept, where there are any."""
    ends = [reading.answers(drawn, j.name, "accepted_accuracy") for j in (first, last)]
    before, after = paired(*ends)
    if not (drawn.facts["oracles"] and len(before)):
        return ""
    return f" Of those that oracles accept: {percent(before.mean())} and {percent(after.mean())}."


def _choice(reading: Reading, judged: list[Judged], under: Under) -> Story:
    """Without a ladder: the most robust classifier against the most accurate one, of those that can be trusted."""
    trusted = _trusted(reading, judged, under)
    if not trusted:
        nobody = f"Checks speak against the robust accuracy of every classifier at {under.threat}."
        return Story((nobody, *_levels(reading, judged, under)), "")
    doubted = [j for j in judged if j not in trusted]
    if len(trusted) == 1:
        lead = _level(reading, trusted[0], under)
        sentence = f"{apart(trusted[0].name)} alone has a robust accuracy that no check speaks against: {lead}"
        return Story((sentence,), "")
    out = left_out([apart(j.name) for j in doubted])
    accurate = _highest((j, reading.standard_accuracy(j.name)) for j in trusted)
    robust = _highest((j, reading.robust_accuracy(j.name, under)) for j in trusted)
    choices = len(trusted) * (len(trusted) - 1) // 2
    if accurate == robust:
        lead = _level(reading, accurate, under)
        among = f"Of {len(trusted)} classifiers, " if doubted else ""
        sentence = f"{among}{apart(accurate.name)} has the highest standard and the highest robust accuracy: {lead}"
        return Story((sentence, *out), "")
    a = _difference(reading, accurate, robust, None, choices)
    b = _difference(reading, accurate, robust, under, choices)
    sentence = (
        f"Choosing {apart(robust.name)} over {apart(accurate.name)} {_exchange(a, b, under)}."
    )
    return Story((sentence, *out), _method(b, f"the pair among {choices}"))


def left_out(names: Sequence[str]) -> tuple[str, ...]:
    """Who was not compared, and why; nothing where nobody was."""
    if not names:
        return ()
    if len(names) == 1:
        return (_capital(f"{names[0]} is left out: checks speak against its robust accuracy."),)
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    who = f"{len(names)} more classifiers" if len(names) > 3 else _capital(listed)
    return (f"{who} are left out: checks speak against their robust accuracy.",)


def _plain(reading: Reading, under: Under | None) -> Story:
    measured = [j for j in reading.classifiers if reading.standard_accuracy(j.name)]
    return Story(_levels(reading, measured, under), "")


def _levels(reading: Reading, judged: Sequence[Judged], under: Under | None) -> tuple[str, ...]:
    return tuple(f"{apart(j.name)}: {_level(reading, j, under)}" for j in judged[:3])


def _level(reading: Reading, judged: Judged, under: Under | None) -> str:
    standard = reading.standard_accuracy(judged.name)
    robust = reading.robust_accuracy(judged.name, under) if under else None
    parts, though = [], ""
    if standard:
        parts.append(
            f"{percent(standard.value)} of {count(standard.n)} images are classified correctly "
            f"(95% interval {span(standard.low, standard.high)})"
        )
    if robust and under:
        parts.append(
            f"at most {percent(robust.value)} withstand {under.threat} "
            f"({span(robust.low, robust.high)})"
        )
        if warnings := reading.warnings(judged.name, under.spec):
            though = f", though {against(warnings, 'that number')}"
    return ", and ".join(parts) + f"{though}."


def _difference(
    reading: Reading, before: Judged, after: Judged, under: Under | None, choices: int
) -> Difference:
    a, b = reading.pair(before.name, after.name, under)
    return paired_difference(a, b, choices=max(1, choices), seed=reading.record["seed"])


def _exchange(
    standard: Difference, robust: Difference, under: Under, *, first: bool = True
) -> str:
    """What happened to both accuracies, as the rest of a sentence."""
    where = f"robust accuracy at {under.threat}" if first else "robust accuracy"
    costs = standard.shown and standard.value < 0
    parts = [(standard, "standard accuracy", None), (robust, where, "buys" if costs else None)]
    if robust.shown and not standard.shown:
        parts.reverse()
    clauses = [
        _one(change, noun, verb=None if change.value < 0 else verb, label=i == 0)
        for i, (change, noun, verb) in enumerate(parts)
    ]
    verbs = [clause.partition(" ")[0] for clause in clauses]
    if verbs[0] == verbs[1]:
        clauses[1] = clauses[1].removeprefix("shows ").removeprefix(verbs[1]).strip()
    return " and ".join(clauses)


def _one(change: Difference, noun: str, *, verb: str | None = None, label: bool = True) -> str:
    levels = f"{percent(change.before)} to {percent(change.after)}"
    interval = "95% interval of the difference " if label else "interval "
    if not change.shown:
        return f"shows no difference in {noun} ({levels}; {interval}{points(change)} points)"
    down = change.value < 0
    verb = verb or ("costs" if down else "gains")
    size = f"{100 * abs(change.value):.1f}"
    return f"{verb} {size} points of {noun} ({levels}; {interval}{points(change, flip=down)})"


def _method(difference: Difference, chosen: str) -> str:
    widened = (
        f" Because the numbers themselves picked {chosen}, intervals are widened to hold for every choice (Bonferroni)."
        if difference.choices > 1
        else ""
    )
    return (
        f"Differences are paired over the same {count(difference.n)} images, with percentile bootstrap intervals over "
        f"images (exact bounds where fewer than ten images differ).{widened}"
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
