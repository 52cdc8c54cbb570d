"""Which pictures of a run people are asked about.

Four kinds of pictures are drawn at random, as many of each as the run has, up to a limit:

    original          an image as it is
    same              a counterfactual of its own class: the control for what sampling itself does to an image
    counterfactual    one of another class
    adversarial       an image that an attack within the threat changed so that a classifier takes it for another class

Counterfactuals are those of the run's first set, from the set's folder where it still is, otherwise those that the run
pictures; adversarial images are those pictured under its first threat, of every classifier in turn. Different originals
are preferred, so that no picture reminds of another, and then classes that were asked about less.

Every picture becomes an uncompressed PNG of the same number of bytes, so that neither format nor size tells its kind.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from PIL import Image

from equipoise.audit import Run
from equipoise.audit.people import KINDS
from equipoise.counterfactuals import CounterfactualSet
from equipoise.errors import EquipoiseError
from equipoise.images import encode_png
from equipoise.probes import Adversarial, Counterfactual, load_probe
from equipoise.store import fetch_rows
from equipoise.streams import digest

__all__ = ["PER_KIND", "Question", "choose"]

PER_KIND = 30
MOST = 5000
"""Pictures of a kind among which is chosen."""


@dataclass(frozen=True)
class Question:
    """A picture that people are asked about.

    Attributes:
        kind: one of `KINDS`.
        image: id of the original.
        label: its class.
        target: the class it was made for, or that the attacked classifier reads in it.
        made_by: the counterfactual set, or threat and classifier; empty for originals.
        accepted: whether the oracles see the target; None where none were asked.
        picture: as it is stored, or the id under which a set has it.
    """

    kind: str
    image: str
    label: int
    target: int
    made_by: str
    accepted: bool | None
    picture: bytes | str


def choose(run: Run, *, per_kind: int = PER_KIND, seed: int = 0) -> list[Question]:
    """A random sample of the run's pictures, as PNG.

    Arguments:
        run: a finished one.
        per_kind: how many pictures of each kind at most.
        seed: of the sample.

    Raises:
        EquipoiseError: when the run is unfinished or keeps no pictures.
    """
    if run.record["status"] != "complete":
        raise EquipoiseError(
            f"Cannot ask people about the run {run.where!r}: its audit has not finished, and what they are "
            "asked about is drawn from the whole. Wait for it, or repeat its command."
        )
    probes = {spec: load_probe(spec) for spec in run.probes}
    offered = _originals(run)
    attack = next((s for s, p in probes.items() if isinstance(p, Adversarial)), None)
    if attack is not None:
        offered += _attacked(run, attack)
    drawn = [(s, p) for s, p in probes.items() if isinstance(p, Counterfactual)][:1]
    made = None
    for spec, probe in drawn:
        made = _open(run, spec, probe)
        offered += _pictured(run, spec) if made is None else _stored(run, spec, made)
    rng = np.random.default_rng(int(digest("questions for people", seed, size=8), 16))
    by_kind = {kind: [q for q in offered if q.kind == kind] for kind in KINDS}
    used: Counter[str] = Counter()
    chosen: list[Question] = []
    # Those kinds first that have the least to choose from.
    for kind in sorted(KINDS, key=lambda kind: len(by_kind[kind])):
        shuffled = rng.permutation(len(by_kind[kind]))[:MOST]
        chosen += _pick([by_kind[kind][k] for k in shuffled], per_kind, used)
    if not chosen:
        raise EquipoiseError(
            f"Cannot ask people about the run {run.where!r}: it keeps no pictures. Audit with --pictures 48."
        )
    return _alike(chosen if made is None else _fetched(made, chosen))


def _originals(run: Run) -> list[Question]:
    shown = run.images().filter("picture IS NOT NULL")
    rows = fetch_rows(shown.select("id", "label", "picture"))
    return [Question("original", name, label, label, "", None, png) for name, label, png in rows]


def _attacked(run: Run, spec: str) -> list[Question]:
    """Those that were right before, are wrong after, and are taken for a class that people can name."""
    found = (
        run.pictures(spec)
        .filter("success AND distance > 0 AND adversarial_prediction <> label")
        .filter(f"adversarial_prediction < {len(run.record['data']['classes'])}")
        .select("id", "label", "adversarial_prediction", "classifier", "picture")
    )
    threat = spec.partition(":")[2].partition("?")[0]
    return [
        Question("adversarial", name, label, seen, f"{threat}, {classifier}", None, png)
        for name, label, seen, classifier, png in fetch_rows(found)
    ]


def _open(run: Run, spec: str, probe: Counterfactual) -> CounterfactualSet | None:
    """The set, where it still is and is the one that was audited."""
    try:
        made = probe.made
        made.files("same")
    except EquipoiseError:
        return None
    return made if made.identity == run.record["probe_facts"][spec]["identity"] else None


def _stored(run: Run, spec: str, made: CounterfactualSet) -> list[Question]:
    """The set's counterfactuals of audited images; their pictures are fetched once they are chosen."""
    audited = set(fetch_rows(run.images().select("id", "digest")))
    judged = bool(made.record["made_by"]["oracles"])
    found = []
    for kind, split in (("same", "same"), ("counterfactual", "test")):
        columns = made.columns(split)
        names = ("source_id", "source_digest", "source_label", "target", "valid", "id")
        for source, pixels, label, target, valid, name in zip(
            *(columns[name].tolist() if columns else () for name in names), strict=True
        ):
            if (source, pixels) in audited:
                accepted = bool(valid) if judged else None
                found.append(Question(kind, source, label, target, spec, accepted, name))
    return found


def _fetched(made: CounterfactualSet, chosen: Sequence[Question]) -> list[Question]:
    """The same with the pictures of those that a set has."""
    pictures: dict[str, bytes] = {}
    for kind, split in (("same", "same"), ("counterfactual", "test")):
        wanted = {q.picture: q.image for q in chosen if q.kind == kind}
        rows = made.rows(split, list(wanted.values()))
        for name, image in zip(rows.columns["id"].tolist(), rows.images, strict=True):
            if name in wanted:
                pictures[name] = encode_png(image)
    return [
        replace(q, picture=pictures[q.picture]) if isinstance(q.picture, str) else q
        for q in chosen
    ]


def _pictured(run: Run, spec: str) -> list[Question]:
    """The first counterfactual of each class of the images that the run pictures."""
    width = run.record["data"]["shape"][2]
    rows = fetch_rows(run.pictures(spec).select("id", "label", "strip", "picture"))
    # What a strip shows is the same for all classifiers.
    strips = {name: (label, classes, png) for name, label, classes, png in rows}
    found = []
    for name, (label, classes, png) in strips.items():
        with Image.open(BytesIO(png)) as strip:
            for k, target in enumerate(classes):
                tile = strip.crop((k * width, 0, (k + 1) * width, strip.height))
                kind = "same" if target == label else "counterfactual"
                found.append(Question(kind, name, label, target, spec, None, _png(tile)))
    return found


def _pick(offered: list[Question], most: int, used: Counter[str]) -> list[Question]:
    """Up to `most` of them: of originals used least, then of whoever made least, then of the rarest target."""
    left, picked = list(offered), []
    makers: Counter[str] = Counter()
    targets: Counter[int] = Counter()
    while left and len(picked) < most:
        best = min(left, key=lambda q: (used[q.image], makers[q.made_by], targets[q.target]))
        left.remove(best)
        picked.append(best)
        used[best.image] += 1
        makers[best.made_by] += 1
        targets[best.target] += 1
    return picked


def _alike(chosen: Sequence[Question]) -> list[Question]:
    """The same with pictures of one mode, without compression and without anything beside the pixels."""
    images = []
    for question in chosen:
        assert isinstance(question.picture, bytes)
        with Image.open(BytesIO(question.picture)) as image:
            images.append(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    return [
        replace(question, picture=_png(image.convert(mode)))
        for question, image in zip(chosen, images, strict=True)
    ]


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", compress_level=0)
    return file.getvalue()
