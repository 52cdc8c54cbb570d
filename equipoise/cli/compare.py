"""The verb that compares runs."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from equipoise.cli.app import app, plain_table, say
from equipoise.errors import EquipoiseError
from equipoise.remote import refuse_address

if TYPE_CHECKING:
    from equipoise.comparing import Comparison, Verdict

__all__ = ["compare"]

MOST = 40
"""Rows of the printed table above which it keeps to the metrics that people look at first."""


@app.command
def compare(
    runs: list[str],
    *,
    baseline: str | None = None,
    metric: list[str] | None = None,
    rank: str | None = None,
    out: Path | None = None,
    markdown: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    fail_under: list[str] | None = None,
    fail_drop: list[str] | None = None,
    confident: bool = False,
    seed: int = 0,
) -> None:
    """Compare the classifiers of one run or several on the same images, with thresholds for CI.

    Of two runs with classifiers of the same names, each is compared with its namesake in the first run; otherwise all
    are compared with a baseline. Only what was measured under one protocol is compared; what was not is listed with the
    setting that differs. Exits with 1 when a threshold does not hold, with 2 when nothing can be compared.

    Parameters
    ----------
    runs
        Folders that audits or studies wrote, or their addresses.
    baseline
        The classifier that all others are compared with; NAME (RUN) where several runs have one of that name. [default:
        the first]
    metric
        Compare these alone, several times if you like: standard, robust, robust:linf:8/255, worst_group,
        counterfactual, object, group:NAME, or any metric by its name. Corrections count no others.
    rank
        What the page ranks by. [default: robust]
    out
        The page, an .html file.
    markdown
        A file for the same in GitHub-flavoured Markdown; - prints it instead of the tables.
    fail_under
        METRIC=NUMBER: fail when a classifier measures less, as in robust=0.45. With several runs or a --baseline,
        classifiers that others are compared with are not judged.
    fail_drop
        METRIC=NUMBER: fail when a metric falls by more than that from before to after, as in standard=0.01.
    confident
        Judge thresholds on the lower end of the 95% interval instead of the point estimate.
    seed
        Of resamples.
    """
    from equipoise.comparing import compare as run_compare
    from equipoise.comparing.thresholds import parse_threshold
    from equipoise.files import write_atomically
    from equipoise.report.comparison import write_comparison

    if out is not None and out.suffix.lower() != ".html":
        raise EquipoiseError(f"Cannot write {str(out)!r}: the page is an .html file.")
    if markdown:
        refuse_address(Path(markdown))
    thresholds = [parse_threshold(text, confident=confident) for text in fail_under or []]
    thresholds += [
        parse_threshold(text, drop=True, confident=confident) for text in fail_drop or []
    ]
    if confident and not thresholds:
        raise EquipoiseError("--confident needs a threshold: --fail-under robust=0.45.")
    asked = [*(metric or []), *(t.metric for t in thresholds)] if metric else []
    comparison = run_compare(*runs, baseline=baseline, metrics=asked, seed=seed)
    verdicts = comparison.judge(thresholds)
    if markdown == "-":
        print(comparison.markdown(thresholds), end="")
    else:
        _print(comparison, verdicts)
    if markdown and markdown != "-":
        text = comparison.markdown(thresholds)
        write_atomically(
            Path(markdown).expanduser(), lambda file: file.write_text(text, encoding="utf-8")
        )
    if out is not None:
        given = {"baseline": [baseline], "metric": metric, "rank": [rank], "out": [out]}
        given |= {"fail-under": fail_under, "fail-drop": fail_drop, "seed": [seed or None]}
        options = [
            part
            for name, values in given.items()
            for value in values or []
            if value is not None
            for part in (f"--{name}", str(value))
        ]
        flags = ["--confident"] if confident else []
        command = shlex.join(["equipoise", "compare", *map(str, runs), *options, *flags])
        page = write_comparison(comparison, out, thresholds, rank=rank, command=command)
        if markdown != "-":
            say(f"Page: {page}")
    if any(not verdict.holds for verdict in verdicts):
        sys.exit(1)


def _print(comparison: "Comparison", verdicts: "tuple[Verdict, ...]") -> None:
    from equipoise.comparing.naming import is_headline
    from equipoise.comparing.quantities import amount, chance, signed, span

    images, console = comparison.images[0], Console()
    many, rows = len(comparison.changes), list(comparison.changes)
    if many > MOST:
        rows = [c for c in rows if is_headline(c.metric)] or rows
    if comparison.changes:
        caption = f"on the same {images:,} images, with 95% intervals; *: shown, corrected for {many} differences"
        table = plain_table("metric", caption)
        for head in ("before", "after", "was", "is", "difference", "p (Holm)"):
            table.add_column(head)
        for c in rows:
            difference = f"{signed(c.value, c.unit)}{' *' if c.shown else ''}"
            interval = span(c.low, c.high, c.unit, change=True)
            table.add_row(
                *map(escape, (c.metric, c.before, c.after)),
                amount(c.was, c.unit),
                amount(c.now, c.unit),
                f"{difference}\n[dim]{interval}[/dim]",
                chance(c.adjusted),
            )
    else:
        table = plain_table("classifier", "with 95% intervals")
        for head in ("metric", "measured"):
            table.add_column(head)
        for s in comparison.standings:
            interval = span(s.low, s.high, s.unit)
            table.add_row(
                *map(escape, (s.who, s.metric)),
                f"{amount(s.value, s.unit)}\n[dim]{interval}[/dim]",
            )
    console.print(table)
    if len(rows) < many:
        say(
            f"{many - len(rows)} more differences by other metrics: see them with --metric or --out."
        )
    for refusal in comparison.refusals:
        say(f"Not compared: {refusal}")
    few = len(verdicts) <= MOST
    for v in verdicts:
        if v.holds and not few:
            continue
        found = v.reason or (signed if v.threshold.drop else amount)(v.value, v.unit)
        warned = f" ({v.warnings} checks speak against it)" if v.warnings else ""
        say(
            f"{'Holds' if v.holds else 'Fails'}: {v.who}: {v.metric}: {v.threshold}: {found}{warned}"
        )
    if not few:
        say(f"Holds: {sum(v.holds for v in verdicts)} of {len(verdicts)} thresholds.")
