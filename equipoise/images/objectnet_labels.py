"""What ObjectNet's folders mean: its labels, and which of ImageNet's 1,000 outputs count as each.

Four files of the archive's folder ``mappings`` say so, in a chain:

    folder_to_objectnet_label.json       folder -> label, 313 of them
    objectnet_to_imagenet_1k.json        label -> texts joined by "; ", for the labels that overlap with ImageNet
    imagenet_to_label_2012_v2            text -> number of its line, counted from 0
    pytorch_to_imagenet_2012_id.json     output -> that number

Output 0, the tench, is 355 in the last file, and line 355 counted from 0 is the tench's: adding 1, as some users do,
leads to another class.

References:
    https://github.com/abarbu/objectnet-template-pytorch and https://github.com/mlfoundations/wise-ft
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equipoise.bounds import read_bounded
from equipoise.errors import EquipoiseError
from equipoise.files import read_json

__all__ = ["MAPPINGS", "ObjectNetLabels", "read_labels"]

MAPPINGS = "mappings"
LABELS = "folder_to_objectnet_label.json"
OVERLAP = "objectnet_to_imagenet_1k.json"
TEXTS = "imagenet_to_label_2012_v2"
LINES = "pytorch_to_imagenet_2012_id.json"
IMAGENET = 1000
LARGEST_TEXT = 2**22
"""Bytes of a list of a thousand texts."""


@dataclass(frozen=True)
class ObjectNetLabels:
    """The overlap with ImageNet.

    Attributes:
        folders: label of every folder, in the overlap or not.
        classes: the labels of the overlap, sorted.
        outputs: of each of `classes`, the outputs that count as it, in the order of the file.
    """

    folders: dict[str, str]
    classes: tuple[str, ...]
    outputs: tuple[tuple[int, ...], ...]


def read_labels(folder: Path) -> ObjectNetLabels:
    """Reads the four files in `folder`.

    Raises:
        EquipoiseError: for a file that is missing or holds something else, or a label or text that another one lacks.
    """
    for name in (LABELS, OVERLAP, TEXTS, LINES):
        if not (folder / name).is_file():
            raise EquipoiseError(
                f"Cannot read ObjectNet's labels: there is no {folder / name}. Unpack the folder {MAPPINGS!r} of "
                "ObjectNet's archive beside its images."
            )
    labels, overlap = _texts(folder / LABELS), _texts(folder / OVERLAP)
    unknown = sorted(set(overlap) - set(labels.values()))
    if unknown:
        raise _wrong(folder / OVERLAP, f"no folder has its label {unknown[0]!r} in {LABELS}")
    output, lines = _output_of_lines(folder / LINES), _lines(folder / TEXTS)
    classes = tuple(sorted(overlap))
    outputs = []
    for label in classes:
        found = []
        for text in overlap[label].split("; "):
            if lines.count(text) != 1:
                problem = f"stands on {lines.count(text)} lines of {TEXTS}, not on one"
                raise _wrong(folder / OVERLAP, f"{text!r}, of the label {label!r}, {problem}")
            found.append(output[lines.index(text)])
        outputs.append(tuple(found))
    return ObjectNetLabels(labels, classes, tuple(outputs))


def _texts(path: Path) -> dict[str, str]:
    found = read_json(path)
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise _wrong(path, "it does not map texts to texts")
    return found


def _output_of_lines(path: Path) -> list[int]:
    """For each line, counted from 0, the output that is its class."""
    found: Any = read_json(path)
    keys = [str(output) for output in range(IMAGENET)]
    if (
        not isinstance(found, dict)
        or set(found) != set(keys)
        or not all(type(line) is int for line in found.values())
        or set(found.values()) != set(range(IMAGENET))
    ):
        raise _wrong(path, f"it does not map 0..{IMAGENET - 1} to 0..{IMAGENET - 1} one to one")
    return sorted(range(IMAGENET), key=lambda output: found[str(output)])


def _lines(path: Path) -> list[str]:
    try:
        lines = read_bounded(path, LARGEST_TEXT).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError, EquipoiseError) as error:
        raise _wrong(path, str(error)) from error
    if len(lines) != IMAGENET:
        raise _wrong(path, f"it has {len(lines)} lines, not {IMAGENET}")
    return [line.strip() for line in lines]


def _wrong(path: Path, problem: str) -> EquipoiseError:
    return EquipoiseError(
        f"Cannot read ObjectNet's labels from {path}: {problem}. Take the file of ObjectNet's archive as it is."
    )
