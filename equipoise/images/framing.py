"""How the benchmarks frame their images: which part of a file is looked at, and at what size.

A side of 224 pixels is what ImageNet's networks were made for; other sizes keep the proportions of the published one.

References:
    RIVAL10, https://github.com/mmoayeri/RIVAL10; ObjectNet, https://github.com/abarbu/objectnet-template-pytorch;
    Waterbirds, https://github.com/kohpangwei/group_DRO
"""

from dataclasses import dataclass

from PIL import Image

from equipoise.images.decode import Decoding, centre_square

__all__ = ["Cropped", "Squeezed", "SqueezedAndCropped", "Trimmed"]

BORDER = 2
"""Pixels of the red frame round ObjectNet's images, on every side."""


def _before_crop(size: int) -> int:
    """The side that is cropped to `size`: 256 to 224."""
    return round(size * 256 / 224)


@dataclass(frozen=True)
class Squeezed(Decoding):
    """The whole image, squeezed into a square of side `size`: RIVAL10's way."""

    size: int = 224

    def frame(self, image: Image.Image) -> Image.Image:
        return image.resize((self.size, self.size), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class Cropped(Decoding):
    """The shorter side becomes 256/224 of `size`, and the centre square of side `size` is kept: ImageNet's way."""

    size: int = 224

    def frame(self, image: Image.Image) -> Image.Image:
        return centre_square(image, _before_crop(self.size), self.size)


@dataclass(frozen=True)
class SqueezedAndCropped(Decoding):
    """The whole image is squeezed into a square of 256/224 of `size`, whose centre is kept: Waterbirds' way."""

    size: int = 224

    def frame(self, image: Image.Image) -> Image.Image:
        side = _before_crop(self.size)
        return centre_square(
            image.resize((side, side), Image.Resampling.BILINEAR), side, self.size
        )


@dataclass(frozen=True)
class Trimmed(Cropped):
    """ImageNet's way once the 2 red pixels on every side are off: ObjectNet's."""

    def frame(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        return super().frame(image.crop((BORDER, BORDER, width - BORDER, height - BORDER)))
