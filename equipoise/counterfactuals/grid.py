"""Some originals as every class, in one picture: what a set is, to be judged by eye.

A row an original, a column a class. Each cell holds the first counterfactual of that class, its own among them, framed;
below it the L2 distance to the original, between images in [0, 1], and a tick where the oracles read it as that class.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from equipoise.counterfactuals.collection import CounterfactualSet
from equipoise.errors import EquipoiseError
from equipoise.images import Images

__all__ = ["draw_grid"]

SIDE, GAP, LINE, EDGE = 96, 8, 20, 12
"""Of a cell at most, between cells, of a line of text, and around it all, in pixels."""

COLUMNS = 20
"""Of the classes at most, the first ones."""

SMOOTHED = 24
"""Images with sides up to that many pixels show their pixels; larger ones are enlarged smoothly."""

PAPER, INK, MUTED, ACCENT = "#ffffff", "#1a1a1a", "#6b6b6b", "#1b7f4b"


def draw_grid(made: CounterfactualSet, originals: Images, note: str = "") -> Image.Image:
    """The picture of the originals that the set was made of, in their order.

    Arguments:
        made: a finished set.
        originals: some of its originals.
        note: a line below it all, such as which originals these are.

    Raises:
        EquipoiseError: for an original that the set has no counterfactuals of.
    """
    batch = originals.batch(range(len(originals)))
    classes = made.classes[:COLUMNS]
    parts = [made.rows(split, list(batch.ids)) for split in ("test", "same")]
    cells = {
        (str(source), int(target)): (image, float(distance), bool(valid))
        for rows in parts
        for image, source, target, number, distance, valid in zip(
            rows.images,
            *(rows.columns[name] for name in ("source_id", "target", "number", "l2", "valid")),
            strict=True,
        )
        if number == 0
    }
    lacking = set(batch.ids) - {source for source, _ in cells}
    if lacking:
        raise EquipoiseError(
            f"Cannot draw the grid of {made.folder}: it has no counterfactuals of {min(lacking)!r}. Give originals "
            "that the set was made of."
        )
    height, width = batch.images.shape[2:]
    factor = max(1, SIDE // max(height, width))
    across, down = factor * width + GAP, factor * height + LINE + GAP
    pad = _Pad(
        Image.new(
            "RGB",
            (2 * EDGE + (1 + len(classes)) * across, 2 * EDGE + 3 * LINE + len(batch.ids) * down),
            PAPER,
        ),
        factor,
        across,
    )
    for column, name in enumerate(("original", *classes)):
        pad.write(EDGE + column * across, EDGE, name, MUTED if column == 0 else INK)
    for row, (image, label, key) in enumerate(
        zip(batch.images, batch.labels.tolist(), batch.ids, strict=True)
    ):
        top = EDGE + LINE + row * down
        pad.put(EDGE, top, image)
        pad.write(EDGE, top + down - GAP - LINE + 3, made.classes[label], INK)
        for column in range(len(classes)):
            if (key, column) in cells:
                picture, distance, valid = cells[key, column]
                left = EDGE + (1 + column) * across
                pad.put(left, top, picture, framed=column == label)
                pad.caption(left, top + down - GAP - LINE + 3, distance, valid=valid)
    legend = (
        "Below each its L2 distance to the original, between images in [0, 1]; a tick where the oracles read it as its "
        "column's class.",
        f"Framed: the original's own class, a control. {note}".strip(),
    )
    for k, text in enumerate(legend):
        pad.write(EDGE, pad.image.height - EDGE - (2 - k) * LINE + 4, text, MUTED, whole=True)
    return pad.image


class _Pad:
    """A picture that is being drawn, with cells of images enlarged by `factor`."""

    def __init__(self, image: Image.Image, factor: int, across: int) -> None:
        self.image, self.factor, self.across = image, factor, across
        self.draw, self.font = ImageDraw.Draw(image), ImageFont.load_default(13)

    def write(self, left: int, top: int, text: str, ink: str, *, whole: bool = False) -> None:
        """A line, cut off where the next cell begins unless it may run over the `whole` width."""
        room = self.image.width - left - EDGE if whole else self.across - GAP
        # Names of classes may hold anything, line ends too.
        text = " ".join(text[:200].split())
        short = text
        while short and self.draw.textlength(short + "…" * (short != text), self.font) > room:
            short = short[:-1]
        self.draw.text((left, top), short + "…" * (short != text), ink, self.font)

    def put(self, left: int, top: int, image: Tensor, *, framed: bool = False) -> None:
        """An image in [0, 1] with shape (C, H, W)."""
        pixels = image.mul(255).round().byte().movedim(0, -1).numpy()
        picture = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
        small = max(picture.size) <= SMOOTHED
        how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        size = (self.factor * picture.width, self.factor * picture.height)
        self.image.paste(picture.resize(size, how), (left, top))
        if framed:
            box = (left - 3, top - 3, left + size[0] + 2, top + size[1] + 2)
            self.draw.rectangle(box, outline=INK, width=2)

    def caption(self, left: int, top: int, distance: float, *, valid: bool) -> None:
        """The distance, and the tick of what is accepted, drawn since not every font has one."""
        text = f"{distance:.2f}"
        self.draw.text((left, top), text, INK if valid else MUTED, self.font)
        if valid:
            start = left + self.draw.textlength(text, self.font) + 6
            tick: Sequence[tuple[float, float]] = [
                (start, top + 9),
                (start + 4, top + 13),
                (start + 11, top + 4),
            ]
            self.draw.line(tick, fill=ACCENT, width=2, joint="curve")
