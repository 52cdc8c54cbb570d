"""What was measured of an asset, as paragraphs and tables of its card."""

from collections.abc import Iterator

from equipoise.audit import Estimate
from equipoise.comparing.markdown import inert
from equipoise.packing.outputs import TOLERANCE, Outputs
from equipoise.packing.packed import Packed
from equipoise.packing.verdicts import Rechecked
from equipoise.quality import Kept
from equipoise.report.words import count, number, percent, span

__all__ = ["of_quality", "of_rounding"]


def of_rounding(packed: Packed, where: str) -> Iterator[str]:
    """What rounding changed, on the images `where`."""
    compared = packed.compared
    yield "## What rounding to float16 changes"
    if packed.reason:
        yield f"The weights are kept in float32: {packed.reason}."
    if isinstance(compared, Outputs):
        yield from _of_outputs(compared, where)
        return
    rows = ["| Verdict | Images | Changed | In the run | Other than there |"]
    rows.append("| :--- | ---: | ---: | ---: | ---: |")
    rows += [_row(found) for found in (compared.predictions, *compared.attacks)]
    yield "\n".join(rows)
    yield (
        f"On {where}. The largest change of a logit is {number(compared.logit)}. Attacks were repeated on both with "
        "the same seeds; what differs from the run but not between the two is another machine’s doing."
    )


def _row(found: Rechecked) -> str:
    seen = [count(found.known), count(found.against_run)] if found.known else ["–", "–"]
    cells = [inert(found.probe), count(found.n), count(found.changed), *seen]
    return f"| {' | '.join(cells)} |"


def _of_outputs(compared: Outputs, where: str) -> Iterator[str]:
    rows = ["| Noise level | Error | Change | Share |", "| ---: | ---: | ---: | ---: |"]
    rows += [
        f"| {level.sigma:g} | {number(level.error)} | {number(level.difference)} | "
        f"{percent(level.difference / max(level.error, 1e-12))} |"
        for level in compared.levels
    ]
    yield "\n".join(rows)
    yield (
        f"Root mean squares over {count(compared.images)} images of {where}, with and without their labels, in units "
        f"of pixels in [-1, 1]. Kept in float16 where no change is more than {percent(TOLERANCE)} of the error."
    )
    if compared.samples:
        yield (
            f"Of {count(compared.samples)} samples from the same noise a judge read {count(compared.read[0])} as the "
            f"class asked for before and {count(compared.read[1])} after, and {count(compared.alike)} alike."
        )


def of_quality(kept: Kept | None) -> Iterator[str]:
    """What was found of a denoiser; nothing where nobody looked."""
    if kept is None:
        return
    found, about = kept.quality, kept.about
    pairs: tuple[tuple[str, Estimate, Estimate | None, bool], ...] = (
        ("Read as their class by the judge", found.read, found.read_held_out, True),
        ("Fréchet distance from held-out images", found.distance, found.floor, False),
        ("The one less the other", found.excess, None, False),
        ("Copies of a training image", found.copied, found.copied_held_out, True),
        ("Nearer to training images, in pixels", found.nearer, None, True),
        ("Nearer to training images, in features", found.nearer_features, None, True),
    )
    rows = ["| Measure | Samples | Held-out images |", "| :--- | ---: | ---: |"]
    rows += [f"| {n} | {_cell(a, share)} | {_cell(b, share)} |" for n, a, b, share in pairs]
    yield "## Quality of its samples"
    yield "\n".join(rows)
    yield (
        f"{count(found.read.n)} samples of the network before rounding, guidance {number(float(about['guidance']))}, "
        f"{inert(str(about['steps']))} steps, seed {inert(str(about['seed']))}, with 95% intervals. Fréchet distances "
        f"of {count(found.distance.n)} images each, in the features of the judge {inert(str(about['judge']))}: not "
        "those of Inception, and not to be compared with published FIDs. Nearer: how often a sample lies nearer to its "
        "nearest training image than a held-out image to its own."
    )


def _cell(found: Estimate | None, share: bool) -> str:
    if found is None:
        return "–"
    if share:
        return f"{percent(found.value)} ({span(found.low, found.high)})"
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"
