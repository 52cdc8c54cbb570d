"""What should make a reader doubt or qualify the numbers: found in the run, said in sentences, warnings first."""

from equipoise.audit import Run
from equipoise.report.doubts import doubts
from equipoise.report.finding import Finding
from equipoise.report.reading import Reading
from equipoise.report.soundness import unsound
from equipoise.report.words import apart, count, percent

__all__ = ["findings", "progress"]

FEW = 100
"""Below so many images an interval is too wide for most decisions."""


def progress(run: Run) -> tuple[int, int]:
    """How many shards are done, of how many."""
    return len(run.finished), len(run.record["shards"])


def findings(reading: Reading) -> list[Finding]:
    """All findings of a run: warnings first, and of those first what speaks against a verdict."""
    run, found = reading.run, unsound(reading)
    done, total = progress(run)
    if done < total:
        found.append(
            Finding(
                "Unfinished",
                f"{count(done)} of {count(total)} shards are done, so classifiers may have been measured on different "
                "images.",
                "Repeat the command to finish the audit.",
            )
        )
    broken = run.broken()
    if broken:
        listed = "; ".join(f"{apart(name)} ({reason})" for name, reason in broken[:5])
        more = f"; and {count(len(broken) - 5)} more" if len(broken) > 5 else ""
        found.append(
            Finding(
                "Images",
                f"{count(len(broken))} could not be read and are left out: {listed}{more}.",
            )
        )
    images = run.record["data"]["images"]
    if images < FEW:
        found.append(
            Finding(
                "Images", f"Only {images} were audited: intervals are wide.", "Audit more images."
            )
        )
    for name, about in run.record["classifiers"].items():
        found += [
            Finding(name, f"{check['finding']}.", check["remedy"], check["status"] != "pass")
            for check in about["preflight"]
            if check["status"] != "pass"
        ]
        if "read_as" in about["facts"]:
            found.append(Finding(name, f"{about['facts']['read_as']}.", warning=False))
        for under in reading.threats:
            standard = reading.standard_accuracy(name)
            robust = reading.robust_accuracy(name, under)
            if standard and robust and standard.n == robust.n and robust.value > standard.value:
                found.append(
                    Finding(
                        name,
                        f"Robust accuracy at {under.threat} ({percent(robust.value)}) is above standard accuracy "
                        f"({percent(standard.value)}), which no correct measurement allows.",
                        "Look for randomness or rounding inside the classifier.",
                    )
                )
    for drawn in reading.counterfactuals:
        found += doubts(reading, drawn)
    for name in run.record["classifiers"]:
        for probe in run.probes:
            notes = dict.fromkeys(
                n for facts in reading.facts.get((name, probe), ()) for n in facts.get("notes", ())
            )
            found += [Finding(f"{apart(name)}, {probe}", note, warning=False) for note in notes]
    return sorted(found, key=lambda finding: not finding.warning)
