"""A feature set on disk: features.json is its record, "train" its only split. Pixels are 8-bit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.images import Images, encode_png, load_images
from equipoise.images.writing import SetKind, WriteSplit, source_facts, write_set
from equipoise.streams import digest

__all__ = ["Made", "write_features"]

FORMAT = 2
ROWS = 512
"""Images in a shard."""

TYPES = {
    "image": "STRUCT(bytes BLOB, path VARCHAR)",
    "label": "INTEGER",
    "id": "VARCHAR",
    "source_id": "VARCHAR",
    "source_label": "INTEGER",
    "l1": "FLOAT",
    "l2": "FLOAT",
    "linf": "FLOAT",
    "before": "FLOAT",
    "after": "FLOAT",
    "prediction": "INTEGER",
}
"""The SQL type of each column."""

KIND = SetKind(
    holds="images",
    record="features.json",
    splits=("train",),
    types=TYPES,
    tag="adversarial-features",
    out="folder",
    apart="of other images or another classifier",
)


@dataclass(frozen=True)
class Made:
    """N images that a search made.

    Attributes:
        images: 8-bit, in [0, 1], with shape (N, C, H, W).
        labels: what to train them for, with shape (N,).
        ids: of the images they stand for.
        sources: the images where the searches began, 8-bit, with shape (N, C, H, W).
        source_ids: of those.
        source_labels: of those, with shape (N,).
        before: what the search lowers, at the source, with shape (N,).
        after: the same at `images`.
        predictions: what the classifier answers at `images`, with shape (N,).
    """

    images: Tensor
    labels: Tensor
    ids: Sequence[str]
    sources: Tensor
    source_ids: Sequence[str]
    source_labels: Tensor
    before: Tensor
    after: Tensor
    predictions: Tensor


def write_features(
    images: Images,
    classifier: Classifier,
    out: str | Path,
    *,
    method: str,
    settings: Mapping[str, Any],
    make: Callable[[range], Made],
    batch: int,
) -> Images:
    """Makes every shard that the folder `out` lacks, and opens the set.

    Arguments:
        images: what the set is made of.
        classifier: whose features it holds.
        out: the set's folder.
        method: name of the function that makes it.
        settings: of that function, everything that determines the content.
        make: makes the images of some rows.
        batch: how many rows at once.

    Raises:
        EquipoiseError: for a folder that holds something else, an image that cannot be read, a full disk.
    """

    def shard(rows: range, write: WriteSplit) -> dict[str, Any]:
        parts = [_columns(make(rows[k : k + batch])) for k in range(0, len(rows), batch)]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in TYPES}
        read = int((columns["prediction"] == columns["label"]).sum())
        return write("train", columns) | {"read_as_label": read}

    folder, record = Path(out).expanduser(), _record(images, classifier, method, settings)
    write_set(images, folder, KIND, record, size=ROWS, make=shard, card=_card)
    return load_images(f"parquet:{folder}", "train")


def _columns(made: Made) -> dict[str, NDArray]:
    stored, change = made.images.cpu(), (made.images - made.sources).flatten(1)
    pictures = np.empty(len(stored), dtype=object)
    pictures[:] = [{"bytes": encode_png(image), "path": None} for image in stored]
    numbers = {
        "label": made.labels,
        "source_label": made.source_labels,
        "l1": change.abs().sum(1),
        "l2": change.norm(dim=1),
        "linf": change.abs().amax(1),
        "before": made.before,
        "after": made.after,
        "prediction": made.predictions,
    }
    names = {"id": made.ids, "source_id": made.source_ids}
    return (
        {"image": pictures}
        | {name: values.cpu().numpy() for name, values in numbers.items()}
        | {name: np.array(values, dtype=object) for name, values in names.items()}
    )


def _record(
    images: Images, classifier: Classifier, method: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """features.json but for its shards."""
    source, judge = source_facts(images), classifier.fingerprint()
    return {
        "format": FORMAT,
        "kind": method,
        "identity": digest(FORMAT, method, source["fingerprint"], judge, sorted(settings.items())),
        "data": source,
        "classes": list(images.classes),
        "settings": dict(settings),
        "classifier": {
            "name": classifier.name,
            "fingerprint": judge,
            "facts": classifier.facts,
        },
        "version": version("equipoise"),
    }


def _card(record: Mapping[str, Any]) -> str:
    data = record["data"]
    agreed = sum(shard["read_as_label"] for shard in record["shards"].values())
    settings = "\n".join(f"| {key} | {value} |" for key, value in record["settings"].items())
    return f"""# {record["kind"]} of {data["spec"]} ({data["split"]})

Made by equipoise {record["version"]} from {data["images"]} images, whose terms of use apply, with the classifier
{record["classifier"]["name"]!r}, which reads {agreed} of them as their label. The labels are for training only: they
are not what a person sees.

| setting | value |
|---|---|
{settings}

`id` names the image that a row stands for, `source_id` and `source_label` the one where its search began; `l1`, `l2`
and `linf` are how far the stored pixels, in [0, 1], are from that; `before` and `after` are what the search lowers,
there and here; `prediction` is the classifier's answer.
"""
