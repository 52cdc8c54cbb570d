"""Making a set of counterfactuals on disk: resumed by repeating, image by image the same whatever the batch."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from equipoise.classifiers import Classifier
from equipoise.cluster import find_cluster
from equipoise.counterfactuals.collection import FORMAT, SPLITS, CounterfactualSet
from equipoise.counterfactuals.drawing import TYPES, VISIBLE, Drawing
from equipoise.counterfactuals.sampler import Sampler
from equipoise.devices import choose_device
from equipoise.errors import EquipoiseError
from equipoise.images import Images
from equipoise.images.writing import SetKind, WriteSplit, source_facts, write_set
from equipoise.streams import digest

__all__ = ["check_fit", "make_set"]

ROWS = 1024
"""Counterfactuals in a shard, about."""

KIND = SetKind(
    holds="counterfactuals",
    record="set.json",
    splits=SPLITS,
    types=TYPES,
    tag="counterfactual",
    out="--out",
    apart="the images, the denoiser or the oracles are others",
)


def make_set(
    images: Images,
    sampler: Sampler,
    out: str | Path,
    *,
    oracles: Sequence[Classifier] = (),
    per_class: int = 2,
    best_of: int = 1,
    by: Literal["proximity", "confidence"] = "proximity",
    targets: int | None = None,
    seed: int = 0,
    batch: int = 256,
    device: str = "auto",
    skip_broken: bool = False,
    on: str = "local",
    workers: int | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float | None = None,
) -> CounterfactualSet:
    """Makes counterfactuals of every image into the folder `out`, with their controls, or goes on where it stopped.

    Arguments:
        images: the originals.
        sampler: how to draw.
        out: the set's folder.
        oracles: classifiers that say what they see, best trained for nothing else.
        per_class: counterfactuals of each original and class, the original's own class included.
        best_of: draws of which each is the best.
        by: what makes a draw the best among those the oracles accept.
        targets: how many other classes, a random choice for each original; all when None.
        seed: of the streams.
        batch: counterfactuals in a denoiser call; changes speed and memory, no result.
        device: "auto", "cpu", "cuda" or "cuda:1".
        skip_broken: leave out originals that cannot be read, and record them, instead of stopping.
        on: where the work is done: "local", in this process; "ray", by Ray on this machine or the cluster that it is
            part of; or "ray://HOST:PORT", a cluster elsewhere. The set is the same.
        workers: of Ray, at most; as many as there is room for when None.
        cpus_per_worker: of each, its threads.
        gpus_per_worker: of each, 0.25 for four on a GPU; one where there are any when None.

    Raises:
        EquipoiseError: for settings out of range, images that do not fit the denoiser, a folder that holds something
            else, an original that cannot be read, a full disk, a Ray that does not answer or has no room for a worker.
    """
    cluster = find_cluster(
        on, workers=workers, cpus=cpus_per_worker, gpus=gpus_per_worker, device=device
    )
    others = len(images.classes) - 1
    for name, value, most in (
        ("per_class", per_class, math.inf),
        ("best_of", best_of, math.inf),
        ("targets", others if targets is None else targets, others),
        ("batch", batch, math.inf),
    ):
        if not 1 <= value <= most:
            raise EquipoiseError(
                f"Cannot make counterfactuals with {name}={value}: it is out of range."
            )
    if by == "confidence" and best_of > 1 and not oracles:
        raise EquipoiseError(
            "Cannot choose the best draw by confidence without an oracle: give one, or choose by proximity."
        )
    check_fit(images, sampler)
    drawing = Drawing(
        sampler=sampler,
        oracles=tuple(oracles),
        classes=images.classes,
        per_class=per_class,
        best_of=best_of,
        by=by,
        targets=others if targets is None else targets,
        seed=seed,
    )
    folder = Path(out).expanduser()
    make = _Make(images, drawing, batch, skip_broken, device if cluster is None else "auto")
    if cluster is None:
        choose_device(device)
    else:
        make.to("cpu")
    size = max(1, ROWS // ((drawing.targets + 1) * per_class))
    record = _record(images, drawing)
    write_set(images, folder, KIND, record, size=size, make=make, card=_card, cluster=cluster)
    return CounterfactualSet(folder)


@dataclass(frozen=True)
class _Make:
    """Makes what a set has of some originals, in any process."""

    images: Images
    drawing: Drawing
    batch: int
    skip_broken: bool
    device: str

    def __call__(self, rows: range, write: WriteSplit) -> dict[str, Any]:
        where = choose_device(self.device)
        self.to(where)
        shape = self.drawing.sampler.denoiser.shape
        originals = self.images.batch(rows, self.skip_broken, shape)
        splits = self.drawing(originals, where, self.batch)
        return {
            "originals": len(originals.ids),
            "broken": [[item.id, item.reason] for item in originals.broken],
            **{split: write(split, splits[split]) for split in SPLITS},
        }

    def to(self, device: torch.device | str) -> None:
        for model in (self.drawing.sampler.denoiser, *self.drawing.oracles):
            model.to(device)


def check_fit(images: Images, sampler: Sampler) -> None:
    """Refuses images that the denoiser was not made for."""
    denoiser = sampler.denoiser
    if images.shape != denoiser.shape:
        raise EquipoiseError(
            f"Cannot make counterfactuals of images of shape {images.shape} with a denoiser for {denoiser.shape}. "
            f"Resize the images (?size={denoiser.shape[1]}&channels={denoiser.shape[0]})."
        )
    numbered = all(name.isdecimal() for name in denoiser.classes)
    fits = denoiser.classes == images.classes or (
        numbered and len(denoiser.classes) == len(images.classes)
    )
    if not fits:
        raise EquipoiseError(
            f"Cannot make counterfactuals: the images' {len(images.classes)} classes ({images.classes[0]}, ...) are "
            f"not the denoiser's {len(denoiser.classes)} ({denoiser.classes[0]}, ...). Use one that was trained on "
            "the same classes."
        )


def _record(images: Images, drawing: Drawing) -> dict[str, Any]:
    """set.json but for its shards."""
    sampler, denoiser = drawing.sampler, drawing.sampler.denoiser
    settings = {
        "neighbourhood": str(sampler.neighbourhood),
        "guidance": sampler.guidance,
        "steps": sampler.steps,
        "method": sampler.kind.name,
        "churn": sampler.churn,
        "interval": [str(end) for end in sampler.acting],
        "per_class": drawing.per_class,
        "best_of": drawing.best_of,
        "by": drawing.by,
        "targets": drawing.targets,
        "seed": drawing.seed,
    }
    made_by = {
        "denoiser": denoiser.fingerprint(),
        "oracles": [[oracle.name, oracle.fingerprint()] for oracle in drawing.oracles],
    }
    source = source_facts(images)
    return {
        "format": FORMAT,
        "identity": digest(FORMAT, source["fingerprint"], made_by, sorted(settings.items())),
        "data": source,
        "classes": list(images.classes),
        "shape": list(denoiser.shape),
        "settings": settings,
        "evaluations": sampler.evaluations,
        "visible": VISIBLE,
        "denoiser": {
            "name": denoiser.name,
            "scale": None if math.isnan(denoiser.scale) else denoiser.scale,
            "facts": denoiser.facts,
        },
        "made_by": made_by,
        "version": version("equipoise"),
    }


def _card(record: Mapping[str, Any]) -> str:
    data, denoiser = record["data"], record["denoiser"]
    settings = "\n".join(f"| {key} | {value} |" for key, value in record["settings"].items())
    return f"""# Counterfactuals of {data["spec"]} ({data["split"]})

Made by equipoise {record["version"]} from {data["images"]} images, whose terms of use apply.

- `test`: what each image would look like if it were of another class, labelled with that class;
- `same`: the same for its own class, a control;
- `noise`: random noise as far from the image as the counterfactual it stands beside, a control.

| setting | value |
|---|---|
{settings}

Distances `l1`, `l2` and `linf` are between the stored pixels in [0, 1]; `changed` is the share of pixels that moved by
more than {VISIBLE:.4f}; `valid` says whether independent classifiers read the image as its label, `reason` why not.
Made with the denoiser {denoiser["name"]!r}: {json.dumps(denoiser["facts"])}
"""
