"""The model card of one classifier of a run: what the Hugging Face Hub shows, and a table of results that it can read.

The head is YAML with a `model-index`: task, images, and every metric that a checked measurement gave a finite value.
Robust accuracies that checks speak against stay out of it, where no warning could stand beside them. Nothing is called
verified, and a licence is named only when the caller names it.

Names come from runs and may hold anything. In the head `yaml.safe_dump` quotes them. Below it texts in which Markdown
finds nothing stay as they are; in others all but letters, digits and spaces become character references.

References:
    https://huggingface.co/docs/hub/model-cards, https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from equipoise.audit import Run, Statistic
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.files import write_atomically
from equipoise.report.findings import findings
from equipoise.report.making import references
from equipoise.report.reading import Reading
from equipoise.report.words import count, day, number, percent, span
from equipoise.specs import parse_spec

__all__ = ["model_card", "write_model_card"]

MADE = "<!-- Made by equipoise export --model-card -->"
TAGS = ("image-classification", "adversarial-robustness", "equipoise")
TASK = {"type": "image-classification", "name": "Image classification"}
PLAIN = re.compile(r"(?!.*(://|www\.)|\d+[.)] )[A-Za-z0-9(][A-Za-z0-9 ,.;%:/()=+'’−–-]*")
"""Text in which Markdown finds nothing."""

GENERAL = ("Unfinished", "Images")
"""Whom findings are about that concern every classifier."""


def write_model_card(
    run: Run, classifier: str, out: str | Path, *, licence: str | None = None
) -> Path:
    """Writes the card, such as ``README.md``; a file that is no card of equipoise's is left alone.

    Raises:
        EquipoiseError: for an unknown classifier, a file that is something else, or one that cannot be written.
    """
    out = Path(out).expanduser()
    text = model_card(run, classifier, licence=licence)
    if out.exists() and MADE not in out.read_text(encoding="utf-8", errors="replace"):
        raise EquipoiseError(
            f"Cannot write the model card {out}: a file is there that was not made by this command. Choose another "
            "--out, or delete it."
        )
    content = text.encode("utf-8", "replace")
    write_atomically(out, lambda temporary: temporary.write_bytes(content))
    return out


def model_card(run: Run, classifier: str, *, licence: str | None = None) -> str:
    """The card as text.

    Arguments:
        run: finished or not.
        classifier: by its name in the run.
        licence: of the classifier, as the Hub calls it: ``apache-2.0``.

    Raises:
        EquipoiseError: for a classifier that the run does not have.
    """
    if classifier not in run.classifiers:
        raise EquipoiseError(
            f"Cannot write a model card of {classifier!r}: the run {run.where} has no classifier of that name. "
            f"{did_you_mean(classifier, run.classifiers)}"
        )
    reading = Reading(run)
    found = [s for s in run.summary() if s.classifier == classifier and math.isfinite(s.value)]
    head = yaml.safe_dump(
        _head(reading, classifier, found, licence),
        sort_keys=False,
        allow_unicode=True,
        width=math.inf,
    )
    body = [
        f"# {_inert(classifier)}",
        MADE,
        *_measured(reading, found),
        *_doubts(reading, classifier),
        *_made(reading, classifier),
        "## References",
        _fenced("\n\n".join(references(reading)), "bibtex"),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(body) + "\n"


def _head(
    reading: Reading, classifier: str, found: Sequence[Statistic], licence: str | None
) -> dict[str, Any]:
    about = reading.record["data"]
    metrics = [
        {
            "type": "accuracy" if "accuracy" in s.name else re.sub(r"\W+", "_", _line(s.name)),
            "value": s.value,
            "name": _line(s.name[0].upper() + s.name[1:]),
            "args": {"images": s.n} | _ends(s),
        }
        for s in found
        if s.better != "neither" and not reading.warnings(classifier, s.probe)
    ]
    kind, name = _called(about["spec"])
    result = {
        "task": TASK,
        "dataset": {"type": kind, "name": name, "split": _line(about["split"])},
        "metrics": metrics,
    }
    return {
        "library_name": "equipoise",
        "pipeline_tag": TASK["type"],
        "tags": list(TAGS),
        **({"license": licence} if licence else {}),
        **({"model-index": [{"name": _line(classifier), "results": [result]}]} if metrics else {}),
    }


def _ends(found: Statistic) -> dict[str, Any]:
    """The interval, where there is one."""
    if not math.isfinite(found.low + found.high):
        return {}
    return {"low": found.low, "high": found.high, "interval": f"95% {found.method}"}


def _called(spec: str) -> tuple[str, str]:
    """Kind and name of images; of a path its last part alone, since folders above are nobody's business."""
    read = parse_spec(spec)
    if read.kind == "hf":
        return _line(read.target), _line(read.target)
    last = re.split(r"[/\\]", read.target.rstrip("/\\"))[-1]
    options = ", ".join(f"{name}={value}" for name, value in read.options.items())
    name = " ".join(filter(None, (read.kind, last, options and f"({options})")))
    return _line(read.kind), _line(name)


def _measured(reading: Reading, found: Sequence[Statistic]) -> Iterator[str]:
    about = reading.record["data"]
    yield "## What was measured"
    yield (
        f"On {count(about['images'])} images of {_inert(_called(about['spec'])[1])}, split "
        f"{_inert(about['split'])}, with 95% intervals over images. Robust accuracy is an upper bound, since an attack "
        "can miss; the threat is a norm and a radius, in units of images in [0, 1]."
    )
    if not found:
        yield "Nothing was measured yet."
        return
    rows = ["| Metric | Value | 95% interval | Images |", "| :--- | ---: | ---: | ---: |"]
    for s in found:
        share = s.unit == "share"
        value = percent(s.value) if share else number(s.value)
        ends = span(s.low, s.high) if share else f"{number(s.low)} to {number(s.high)}"
        ends = ends if math.isfinite(s.low + s.high) else "–"
        mark = " ⚠️" if reading.warnings(s.classifier, s.probe) else ""
        name = _inert(s.name[0].upper() + s.name[1:])
        rows.append(f"| {name}{mark} | {value} | {ends} | {count(s.n)} |")
    yield "\n".join(rows)
    methods = sorted({s.method for s in found} - {"none"})
    if methods:
        yield f"Intervals: {_inert('; '.join(methods))}."


def _doubts(reading: Reading, classifier: str) -> Iterator[str]:
    """What speaks against the numbers, or qualifies them."""
    checks = [c for c in reading.run.soundness() if c.classifier == classifier and c.warns]
    said = [f"{c.probe}: {c.finding}. {c.remedy}" for c in checks]
    said += [
        f"{finding.text} {finding.remedy}"
        for finding in findings(reading)
        if finding.warning and finding.about in (classifier, *GENERAL)
    ]
    yield "## Warnings"
    if not said:
        looked = any(c.classifier == classifier for c in reading.run.soundness())
        yield "None" + (": no check speaks against these numbers." if looked else ".")
        return
    if checks:
        yield "⚠️ marks numbers that checks speak against; they are not in the metadata of this card."
    yield "\n".join(f"- {_inert(text)}" for text in dict.fromkeys(said))


def _made(reading: Reading, classifier: str) -> Iterator[str]:
    record = reading.record
    judged = next(j for j in reading.classifiers if j.name == classifier)
    facts = {
        "Parameters": count(record["classifiers"][classifier]["parameters"]),
        "Trained within": f"{judged.norm or ''} {judged.trained}".strip(),
        "Objective": judged.objective or "",
        "Probes": "; ".join(map(str, record["probes"].values())),
        "Seed": str(record["seed"]),
        "Versions": ", ".join(f"{name} {text}" for name, text in record["versions"].items()),
        "Device": str(record.get("machine", {}).get("device", "")),
        "When": day(record.get("finished") or record["created"]),
    }
    yield "## How it was measured"
    yield "\n".join(f"- {name}: {_inert(text)}" for name, text in facts.items() if text)
    if record.get("command"):
        yield _fenced(record["command"], "sh")


def _line(text: str) -> str:
    """Text in one line: no name ends the head of the card."""
    return " ".join(str(text).split())


def _inert(text: str) -> str:
    """Text that stays text in Markdown and in HTML; where it is no plain ASCII its direction stays its own."""
    line = _line(text)
    if PLAIN.fullmatch(line):
        return line
    kept = "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in line)
    return kept if line.isascii() else f"&#8296;{kept}&#8297;"


def _fenced(text: str, language: str) -> str:
    """Text as a block of code, in a fence longer than any inside."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
