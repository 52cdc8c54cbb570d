"""A comparison in GitHub-flavoured Markdown, for the summary of a CI job or a comment.

Names come from runs and may hold anything. Plain ones stay as they are; in all others everything but letters, digits
and spaces becomes a character reference, which no Markdown or HTML reads as structure, a link or a mention.
"""

import re
from collections.abc import Sequence

from equipoise.comparing.compared import Change, Refusal, Standing
from equipoise.comparing.contenders import Contender
from equipoise.comparing.naming import is_headline
from equipoise.comparing.quantities import amount, chance, signed, span
from equipoise.comparing.thresholds import Verdict

__all__ = ["inert", "write_markdown"]

PLAIN = re.compile(r"(?!.*(://|www\.))[A-Za-z0-9]+((_|[ .:/?=,()+'-]+)[A-Za-z0-9]+)*\)?")
"""Text in which Markdown finds nothing."""

MOST = 12
"""Verdicts in a table; beyond, those that hold are folded away."""


def write_markdown(
    verdicts: Sequence[Verdict],
    contenders: Sequence[Contender],
    standings: Sequence[Standing],
    changes: Sequence[Change],
    refusals: Sequence[Refusal],
) -> str:
    """The Markdown: thresholds where there are any, metrics, changes, and what was not compared."""
    parts = ["## equipoise compare", *_judged(verdicts), *_measured(contenders, standings)]
    parts += [*_changed(changes), *_refused(refusals)]
    return "\n\n".join(parts) + "\n"


def inert(text: str) -> str:
    """Text that stays text, in one line."""
    line = " ".join(text.split())
    if PLAIN.fullmatch(line):
        return line
    escaped = "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in line)
    # Isolated, so that its direction of writing stays its own.
    return escaped if line.isascii() else f"&#8296;{escaped}&#8297;"


def _name(text: str) -> str:
    shown = inert(text)
    return f"`{shown}`" if PLAIN.fullmatch(shown) else f"<code>{shown}</code>"


def _table(heads: Sequence[str], numbers: int, rows: Sequence[Sequence[str]]) -> str:
    """A table whose last `numbers` columns stand right."""
    rules = [":---"] * (len(heads) - numbers) + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rules, *rows))


def _judged(verdicts: Sequence[Verdict]) -> list[str]:
    if not verdicts:
        return []
    failed = sum(not verdict.holds for verdict in verdicts)
    head = f"❌ {failed} of {len(verdicts)} thresholds failed." if failed else ""
    rows = {holds: [_verdict(v) for v in verdicts if v.holds == holds] for holds in (False, True)}
    confident = any(v.threshold.confident for v in verdicts)
    on = "the lower end of the 95% interval" if confident else "the point estimate"
    shown, folded = [*rows[False], *rows[True]], []
    if len(shown) > MOST:
        shown, folded = rows[False], rows[True]
    heads = ["", "threshold", "classifier", "metric", "measured", "95% interval"]
    parts = [head or f"✅ {_all(len(verdicts))}"]
    if shown:
        parts.append(_table(heads, 2, shown))
    if folded:
        opened = f"<details><summary>{len(folded)} that hold</summary>"
        parts += [opened, _table(heads, 2, folded), "</details>"]
    return [*parts, f"Judged on {on}."]


def _verdict(v: Verdict) -> list[str]:
    return [
        "✅" if v.holds else "❌",
        inert(str(v.threshold)),
        _name(v.who),
        inert(v.metric),
        inert(v.reason) or (signed if v.threshold.drop else amount)(v.value, v.unit),
        span(v.low, v.high, v.unit, change=v.threshold.drop)
        + (f" ⚠️ {v.warnings} checks speak against it" if v.warnings else ""),
    ]


def _all(count: int) -> str:
    return "The threshold holds." if count == 1 else f"All {count} thresholds hold."


def _measured(contenders: Sequence[Contender], standings: Sequence[Standing]) -> list[str]:
    columns = list(dict.fromkeys((s.metric, s.protocol) for s in standings))
    columns = [column for column in columns if is_headline(column[0])] or columns
    if not columns:
        return []
    found = {(s.who, s.metric, s.protocol): s for s in standings}
    heads = ["classifier", *(f"{inert(metric)} `{protocol}`" for metric, protocol in columns)]
    rows = [
        [_name(c.name), *(_standing(found.get((c.name, *column))) for column in columns)]
        for c in contenders
    ]
    return [
        "### Measured",
        _table(heads, len(columns), rows),
        "**Bold**: the best of a column, and what is not shown to differ from it. The code in a heading is that of the "
        "protocol: only what has the same one is compared.",
    ]


def _standing(found: Standing | None) -> str:
    if found is None:
        return "–"
    value = amount(found.value, found.unit)
    value = f"**{value}**" if found.tied else value
    mark = " ⚠️" if found.warnings else ""
    return f"{value}{mark} ({span(found.low, found.high, found.unit)})"


def _changed(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return []
    first = [c for c in changes if is_headline(c.metric)] or list(changes)
    rest = [c for c in changes if c not in first]
    many = len(changes)
    parts = [
        "### Differences",
        _listed(first),
        f"▲ higher, ▼ lower, – not shown to differ: paired over the same images, and corrected for {many} "
        f"{'difference' if many == 1 else 'differences'} (Holm). The intervals under *all at once* hold together "
        "(Bonferroni).",
    ]
    if rest:
        opened = f"<details><summary>{len(rest)} more differences</summary>"
        parts += [opened, _listed(rest), "</details>"]
    return parts


def _listed(changes: Sequence[Change]) -> str:
    ends = ["difference", "95% interval", "all at once", "p (Holm)"]
    heads = ["", "before", "after", "metric", "was", "is", *ends]
    return _table(heads, 6, [_row(change) for change in changes])


def _row(change: Change) -> list[str]:
    sign = "–" if not change.shown else "▲" if change.value > 0 else "▼"
    unit = change.unit
    return [
        sign,
        _name(change.before),
        _name(change.after),
        inert(change.metric),
        amount(change.was, unit),
        amount(change.now, unit),
        signed(change.value, unit),
        span(change.low, change.high, unit, change=True),
        span(change.lowest, change.highest, unit, change=True),
        chance(change.adjusted).replace("<", "&lt;"),
    ]


def _refused(refusals: Sequence[Refusal]) -> list[str]:
    listed = [f"- {_name(refusal.what)}: {inert(refusal.reason)}" for refusal in refusals]
    return ["### Not compared", "\n".join(listed)] if listed else []
