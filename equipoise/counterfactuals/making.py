"""Making a set of counterfactuals on disk: resumed by repeating, image by image the same whatever the batch.

A shard holds what was made of a few originals, in one file a split (see `collection`). It is written under a temporary
name and renamed; set.json then gets its checksum. What set.json does not know, or whose bytes have changed since, is
made again.
"""

import json
import math
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from equipoise.classifiers import Classifier
from equipoise.counterfactuals.collection import FORMAT, SPLITS, CounterfactualSet
from equipoise.counterfactuals.drawing import TYPES, VISIBLE, Drawing
from equipoise.counterfactuals.sampler import Sampler
from equipoise.devices import choose_device
from equipoise.errors import EquipoiseError
from equipoise.files import checksum, write_atomically, write_json
from equipoise.images import Images, hugging_face_metadata
from equipoise.progress import Progress
from equipoise.store import write_shard
from equipoise.streams import digest

__all__ = ["check_fit", "make_set"]

ROWS = 1024
"""Counterfactuals in a shard, about."""


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

    Raises:
        EquipoiseError: for settings out of range, images that do not fit the denoiser, a folder that holds something
            else, an original that cannot be read, a full disk.
    """
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
    record = _record(images, drawing)
    shards = _earlier(folder, record)
    size = max(1, ROWS // ((drawing.targets + 1) * per_class))
    starts = range(0, len(images), size)
    missing = [n for n in range(len(starts)) if str(n) not in shards]
    where = choose_device(device)
    if missing:
        sampler.denoiser.to(where)
        for oracle in oracles:
            oracle.to(where)
    title, total = f"Making counterfactuals in {folder}", len(starts)
    with Progress(title, total=total, done=total - len(missing)) as progress:
        for n in missing:
            started = time.monotonic()
            rows = range(starts[n], min(starts[n] + size, len(images)))
            originals = images.batch(rows, skip_broken, sampler.denoiser.shape)
            splits = drawing(originals, where, batch)
            shard: dict[str, Any] = {
                "originals": len(originals.ids),
                "broken": [[item.id, item.reason] for item in originals.broken],
            }
            for split in SPLITS:
                file = f"data/{split}-{n:05d}-of-{total:05d}.parquet"
                facts = {"identity": record["identity"]}
                write_shard(
                    folder / file,
                    TYPES,
                    splits[split],
                    facts,
                    hugging_face_metadata(TYPES, images.classes),
                )
                shard[split] = {
                    "file": file,
                    "sha256": checksum(folder / file),
                    "rows": len(splits[split]["id"]),
                }
            shard["seconds"] = round(time.monotonic() - started, 3)
            shards[str(n)] = shard
            _write(folder, record, shards, total)
            progress.advance()
    _write(folder, record, shards, total)
    card = _card(images, record)
    write_atomically(folder / "README.md", lambda path: path.write_text(card, encoding="utf-8"))
    return CounterfactualSet(folder)


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
    content = images.fingerprint(range(len(images)))
    return {
        "format": FORMAT,
        "identity": digest(FORMAT, content, made_by, sorted(settings.items())),
        "data": {
            "spec": images.spec,
            "split": images.split,
            "images": len(images),
            "fingerprint": content,
        },
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


def _earlier(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The shards that an earlier call finished and whose bytes are still what was written.

    Raises:
        EquipoiseError: when the folder holds anything else.
    """
    if folder.is_file():
        raise EquipoiseError(
            f"Cannot make counterfactuals in {folder}: it is a file. Choose another --out."
        )
    if not (folder / "set.json").exists():
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        # What a kill leaves of the first write is no stranger.
        strangers = {name for name in found - {"data"} if not name.startswith(".set.json.")}
        if strangers:
            raise EquipoiseError(
                f"Cannot make counterfactuals in {folder}: it holds other files, such as {min(strangers)!r}. Choose an "
                "empty or new folder with --out."
            )
        return {}
    earlier_set = CounterfactualSet(folder)
    before = earlier_set.record
    if before["identity"] != record["identity"]:
        earlier = before["settings"]
        changed = [
            f"{key} is {earlier.get(key)!r} there and {value!r} now"
            for key, value in record["settings"].items()
            if earlier.get(key) != value
        ]
        what = "; ".join(changed) or "the images, the denoiser or the oracles are others"
        raise EquipoiseError(
            f"Cannot make counterfactuals in {folder}: it holds another set ({what}). Choose another --out, or delete "
            "that folder."
        )
    damaged = set(earlier_set.verify())
    return {
        n: shard
        for n, shard in before["shards"].items()
        if not damaged & {shard[split]["file"] for split in SPLITS}
    }


def _write(folder: Path, record: dict[str, Any], shards: dict[str, Any], total: int) -> None:
    status = "complete" if len(shards) == total else "running"
    ordered = dict(sorted(shards.items(), key=lambda item: int(item[0])))
    write_json(folder / "set.json", record | {"status": status, "shards": ordered})


def _card(images: Images, record: dict[str, Any]) -> str:
    configs = "\n".join(
        f"      - split: {split}\n        path: data/{split}-*.parquet" for split in SPLITS
    )
    settings = "\n".join(f"| {key} | {value} |" for key, value in record["settings"].items())
    return f"""---
configs:
  - config_name: default
    data_files:
{configs}
tags:
  - counterfactual
---
# Counterfactuals of {images.spec} ({images.split})

Made by equipoise {record["version"]} from {record["data"]["images"]} images, whose terms of use apply.

- `test`: what each image would look like if it were of another class, labelled with that class;
- `same`: the same for its own class, a control;
- `noise`: random noise as far from the image as the counterfactual it stands beside, a control.

| setting | value |
|---|---|
{settings}

Distances `l1`, `l2` and `linf` are between the stored pixels in [0, 1]; `changed` is the share of pixels that moved by
more than {VISIBLE:.4f}; `valid` says whether independent classifiers read the image as its label, `reason` why not.
Made with the denoiser {record["denoiser"]["name"]!r}: {json.dumps(record["denoiser"]["facts"])}
"""
