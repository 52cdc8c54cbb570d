"""ObjectNet: ``objectnet:PATH?size=224&source=FOLDER``. Common objects in rooms and positions that photographs avoid.

PATH holds what the archive unpacks to, or is the folder above it:

    images/FOLDER/NAME.png     a folder a label, every image in a red frame 2 pixels wide, which is cut off
    mappings/                  what the labels are to ImageNet, see `equipoise.images.objectnet_labels`

The images of the labels that overlap with ImageNet are read, 113 of 313; the only split is "test". `outputs` says which
of an ImageNet classifier's outputs count as each of them.

With ``source=``, FOLDER holds ImageNet's validation images in a folder a class: 1,000 folders named by wnids, or
folders named by output, 0 to 999. The images of the classes' outputs are then read too, framed the same way but for the
red, and groups tell the two apart: "source" is ImageNet, "target" ObjectNet.

References:
    ObjectNet: A large-scale bias-controlled dataset for pushing the limits of object recognition models
    (Barbu et al., 2019), https://objectnet.dev
"""

import re
from dataclasses import dataclass
from pathlib import Path

from equipoise.bounds import parse_path
from equipoise.errors import EquipoiseError
from equipoise.images.folder import Entry, Folder, folders, walk
from equipoise.images.framing import Cropped, Trimmed
from equipoise.images.joined import Joined
from equipoise.images.objectnet_labels import (
    IMAGENET,
    LABELS,
    MAPPINGS,
    ObjectNetLabels,
    read_labels,
)
from equipoise.images.source import Images
from equipoise.specs import Spec

__all__ = ["ObjectNet"]

IMAGES = "images"
ARCHIVE = "objectnet-1.0"
"""The folder that the archive unpacks to."""

RULE = "ObjectNet's licence forbids tuning any parameter of any model on its images."


@dataclass(frozen=True, repr=False, eq=False)
class Overlap(Folder):
    """Images in folders, with the outputs that count as their classes."""

    outputs: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True, repr=False, eq=False)
class ObjectNet(Overlap):
    """ObjectNet's images of the classes that ImageNet has too."""

    only_for_tests: str | None = RULE

    @classmethod
    def open(cls, spec: Spec, split: str) -> Images:
        """Reads the mappings and lists the images, and those of ImageNet where a source is given.

        Raises:
            EquipoiseError: for a missing folder or file, another split than "test", an unknown option, a folder that
                the mappings do not know, no image at all, or a source whose folders cannot be told apart.
        """
        decoding, options = Trimmed.in_colour(spec, "source"), spec.options
        root = spec.path
        root = root if (root / IMAGES).is_dir() else root / ARCHIVE
        if not spec.target or not (root / IMAGES).is_dir():
            raise EquipoiseError(
                f"Cannot open {spec.text!r}: there is no folder {IMAGES!r} in {spec.target!r}, nor in {ARCHIVE!r} "
                "below it. Write objectnet:PATH with the folder that ObjectNet's archive was unpacked to."
            )
        if split != "test":
            raise EquipoiseError(
                f"Cannot find the split {split!r} in {spec.text!r}: {RULE} Its only split is 'test'."
            )
        labels = read_labels(root / MAPPINGS)
        try:
            entries = _list_target(root, labels)
            target = cls(
                spec.text,
                split,
                labels.classes,
                root / IMAGES,
                decoding,
                entries,
                labels.outputs,
            )
            if "source" not in options:
                return target
            source = _open_source(
                spec, parse_path(options["source"], spec.text), labels, decoding.size
            )
        except OSError as error:
            raise EquipoiseError(
                f"Cannot list {error.filename}: {error.strerror}. Make it readable."
            ) from error
        return Joined({"source": source, "target": target}, spec=spec.text)


def _list_target(root: Path, labels: ObjectNetLabels) -> tuple[Entry, ...]:
    label = {name: index for index, name in enumerate(labels.classes)}
    found = []
    for folder in folders(root / IMAGES):
        if folder.name not in labels.folders:
            raise EquipoiseError(
                f"Cannot label the images of {folder}: {LABELS} does not know that folder. Remove it, or take images "
                "and mappings of one release."
            )
        index = label.get(labels.folders[folder.name])
        if index is not None:
            found += [Entry(id, index, None) for id in sorted(walk(folder, root / IMAGES))]
    if not found:
        raise EquipoiseError(
            f"Cannot find an image of the {len(label)} labels that overlap with ImageNet in {root / IMAGES}. Unpack "
            "ObjectNet's archive there."
        )
    return tuple(found)


def _open_source(spec: Spec, root: Path, labels: ObjectNetLabels, size: int) -> Overlap:
    """ImageNet's images of the labels' outputs."""
    refused = f"Cannot take ImageNet's images of {spec.text!r} from {str(root)!r}"
    if not root.is_dir():
        raise EquipoiseError(f"{refused}: there is no such folder. Give one that exists.")
    label: dict[int, int] = {}
    for index, outputs in enumerate(labels.outputs):
        for output in outputs:
            if output in label:
                pair = f"{labels.classes[label[output]]!r} and {labels.classes[index]!r}"
                raise EquipoiseError(
                    f"{refused}: the output {output} counts as {pair}, so its images have no one label. Leave source= "
                    "out, or correct the mappings."
                )
            label[output] = index
    listed = folders(root)
    if listed and all(re.fullmatch("[0-9]{1,3}", folder.name) for folder in listed):
        output = {folder: int(folder.name) for folder in listed}
    elif len(listed) == IMAGENET and all(re.fullmatch("n[0-9]{8}", f.name) for f in listed):
        output = {folder: place for place, folder in enumerate(listed)}
    else:
        raise EquipoiseError(
            f"{refused}: its {len(listed)} folders are neither the {IMAGENET} wnids of ImageNet nor numbers of "
            f"outputs. Give all {IMAGENET} folders, whose order then says which is which, or name each by its output, "
            f"0 to {IMAGENET - 1}."
        )
    entries = [
        Entry(id, label[output[folder]], None)
        for folder in listed
        if output[folder] in label
        for id in sorted(walk(folder, root))
    ]
    if not entries:
        raise EquipoiseError(
            f"{refused}: there is no image of the {len(label)} outputs of ObjectNet's labels. Put some there."
        )
    return Overlap(
        str(root), "test", labels.classes, root, Cropped(3, size), tuple(entries), labels.outputs
    )
