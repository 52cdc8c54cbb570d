"""Tiny copies of the layouts of Waterbirds, of ObjectNet and of ImageNet's validation images, with a network that knows
what is in them.

Every image is one colour, which says its class; ObjectNet's have their red frame, 2 pixels wide. The mapping files have
the form of the published ones and texts of our own, but for outputs that the published ones are known to have.
"""

import json
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

__all__ = [
    "CLASSES",
    "COLOURS",
    "DRO",
    "OUTPUTS",
    "WILDS",
    "Colours",
    "imagenet_val",
    "line_of",
    "objectnet",
    "waterbirds",
]

WILDS = "waterbirds_v1.0"
DRO = "cub/data/waterbird_complete95_forest2water2"

CLASSES = ("Banana", "Chair", "Tench", "Tie")
OUTPUTS = ((954,), (423, 559, 765), (0,), (457, 906))
COLOURS = {
    "Banana": (200, 200, 0),
    "Chair": (0, 0, 255),
    "Tench": (0, 200, 0),
    "Tie": (0, 200, 200),
}
FOLDERS = {
    "chair_x": "Chair",
    "banana": "Banana",
    "squeegee": "Squeegee",
    "tie": "Tie",
    "a_fish": "Tench",
}
"""In neither the order of the labels nor that of the classes."""


def line_of(output: int) -> int:
    """Of an output, the number of its line: 355 for the tench, as in the published file."""
    return (355 + 7 * output) % 1000


def write_png(
    path: Path, colour: tuple[int, int, int], size: tuple[int, int], frame: int = 0
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour)
    ImageOps.expand(image, frame, (255, 0, 0)).save(path, "PNG")


def mappings(folder: Path) -> None:
    """The four files."""
    folder.mkdir(parents=True)
    texts = {line_of(output): f"thing {output}, object {output}" for output in range(1000)}
    texts |= {355: "tench, a fish", line_of(134): "crane", line_of(517): "crane"}
    overlap = {
        label: "; ".join(texts[line_of(output)] for output in outputs)
        for label, outputs in reversed(list(zip(CLASSES, OUTPUTS, strict=True)))
    }
    written = {
        "folder_to_objectnet_label.json": json.dumps(FOLDERS),
        "objectnet_to_imagenet_1k.json": json.dumps(overlap),
        "pytorch_to_imagenet_2012_id.json": json.dumps({str(k): line_of(k) for k in range(1000)}),
        "imagenet_to_label_2012_v2": "".join(f"{texts[line]}\n" for line in range(1000)),
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")


def objectnet(root: Path, each: int = 2) -> Path:
    """`each` images a folder, in the folder that the archive unpacks to."""
    mappings(root / "objectnet-1.0" / "mappings")
    for folder, label in FOLDERS.items():
        for k in range(each):
            path = root / "objectnet-1.0" / "images" / folder / f"{k:02d}.png"
            write_png(path, COLOURS.get(label, (9, 9, 9)), (16, 12), frame=2)
    return root


def imagenet_val(root: Path, names: str = "wnids", each: int = 1) -> Path:
    """Folders by ``wnids``, all 1,000 of them, or those of the classes' outputs by ``outputs``; and one more class."""
    colour = {7: (0, 0, 0)} | {
        output: COLOURS[label]
        for label, outputs in zip(CLASSES, OUTPUTS, strict=True)
        for output in outputs
    }
    for output in range(1000):
        folder = root / (f"n{10_000_000 + 17 * output:08d}" if names == "wnids" else str(output))
        if names == "wnids":
            folder.mkdir(parents=True)
        for k in range(each if output in colour else 0):
            write_png(
                folder / f"ILSVRC2012_val_{output:04d}{k:04d}.JPEG", colour[output], (12, 16)
            )
    return root


def waterbirds(root: Path, layout: str = ".", each: int = 2, masks: Path | None = None) -> Path:
    """3 splits x 4 groups x `each` images; the bird is the right half, and so is its segmentation."""
    folder, lines = root / layout, ["img_id,img_filename,y,split,place,place_filename"]
    folder.mkdir(parents=True, exist_ok=True)
    for split in range(3):
        for group in range(4):
            for k in range(each):
                y, place = divmod(group, 2)
                name = f"{1 + group:03d}.Some_Bird/Some_Bird_{split}_{k}.jpg"
                lines.append(f"{len(lines)},{name},{y},{split},{place},/o/ocean/0001.jpg")
                image = Image.new("RGB", (20, 12), (0, 0, 200) if place else (0, 200, 0))
                image.paste((200, 0, 0) if y else (100, 100, 100), (10, 0, 20, 12))
                (folder / name).parent.mkdir(exist_ok=True)
                image.save(folder / name, "JPEG", quality=95)
                if masks is not None:
                    segmentation = Image.new("L", image.size)
                    segmentation.paste(204, (10, 0, 20, 12))
                    (masks / name).parent.mkdir(parents=True, exist_ok=True)
                    segmentation.save((masks / name).with_suffix(".png"))
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


class Colours(nn.Module):
    """1,000 logits, -s |m - c_j|^2 up to what all share, m the mean colour of the image and c_j that of output j: those
    of the classes are `COLOURS`, that of output 7 is black, and no other output ever wins."""

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        weight, bias = torch.zeros(1000, 3), torch.full((1000,), -30.0)
        known = {7: (0, 0, 0)} | {
            output: COLOURS[label]
            for label, outputs in zip(CLASSES, OUTPUTS, strict=True)
            for output in outputs
        }
        for output, colour in known.items():
            weight[output] = torch.tensor(colour) / 255
            bias[output] = -weight[output].square().sum() / 2
            # The outputs of one class differ a little, so that one of them is the largest.
            bias[output] -= output / 1e5
        self.weight, self.bias = nn.Parameter(2 * scale * weight), nn.Parameter(2 * scale * bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) @ self.weight.T + self.bias
