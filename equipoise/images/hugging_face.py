"""What makes a folder of Parquet files a data set of the Hugging Face hub: a card, and in each file the metadata that
its readers, and `parquet:` here, look for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["hugging_face_card", "hugging_face_metadata"]

_KINDS = {
    "VARCHAR": "string",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "FLOAT": "float32",
    "BOOLEAN": "bool",
}


def hugging_face_metadata(types: Mapping[str, str], classes: Sequence[str]) -> dict[str, str]:
    """Class names and column types, under the key they are looked for.

    Arguments:
        types: the SQL type of each column, in order; ``image`` and ``label`` are among them.
        classes: names of the labels.
    """
    features: dict[str, Any] = {
        name: {"dtype": _KINDS[kind], "_type": "Value"}
        for name, kind in types.items()
        if kind in _KINDS
    }
    label = {"names": list(classes), "_type": "ClassLabel"}
    features |= {"image": {"_type": "Image"}, "label": label}
    ordered = {name: features[name] for name in types}
    return {"huggingface": json.dumps({"info": {"features": ordered}})}


def hugging_face_card(splits: Sequence[str], tag: str, text: str) -> str:
    """The README.md of a folder with the files ``data/SPLIT-*.parquet``: what the hub reads, then `text`."""
    files = "\n".join(f"      - split: {s}\n        path: data/{s}-*.parquet" for s in splits)
    return f"""---
configs:
  - config_name: default
    data_files:
{files}
tags:
  - {tag}
---
{text}"""
