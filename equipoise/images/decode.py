"""From the bytes of an image file to a tensor in [0, 1].

Every image of a set comes out as float32 with shape (C, H, W), C = 1 or 3, whatever its file
holds:

    8 bits a channel      value / 255
    1 bit                 0 or 1
    16-bit grey           value / 65535 (Pillow's own conversion to 8 bits clips it to white)
    float grey            as it is, refused outside [0, 1]
    alpha                 composited over white
    palette, CMYK, ...    Pillow's conversion to RGB
    EXIF orientation      applied

With a `size`, the shorter side is resized to it with antialiased bilinear weights, the longer one
in proportion (rounded down), and the centre square is kept: the geometry of torchvision's `Resize`
and `CenterCrop`.

A file of a few kilobytes can claim any size. So size and pixels are bounded before anything is decoded, and so are the
pixels that resizing would make of a long and thin image. Of an animation the first frame is read.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from equipoise.bounds import read_bounded
from equipoise.errors import EquipoiseError
from equipoise.specs import Spec

__all__ = [
    "LARGEST_IMAGE",
    "MOST_PIXELS",
    "BrokenImageError",
    "Decoding",
    "centre_square",
    "refuse_large",
]

LARGEST_IMAGE = 2**29
"""Bytes of an image file: 12,000 x 12,000 pixels in colour that are not compressed have 412 MiB."""

MOST_PIXELS = 12_288**2
"""Of an image; their decoding takes about 4 GB, or half a gigabyte where they are resized."""

# Only these: Pillow would also hand PostScript to Ghostscript, and run what is in it.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000")

GREY = ("1", "L", "LA", "La")
DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")


class BrokenImageError(EquipoiseError):
    """An image file that cannot be decoded: `id` names it, `reason` says why in a few words."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(
            f"Cannot read the image {id!r}: {reason}. Repair or remove it, or leave such images "
            "out with skip_broken=True (audit --skip-broken)."
        )
        self.id = id
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.id, self.reason)


@dataclass(frozen=True)
class Decoding:
    """How the files of a set become tensors. A benchmark with its own way of framing overrides `frame`.

    Arguments:
        channels: 1 or 3. Grey images are repeated for 3; coloured ones are refused for 1.
        size: side of the square to resize and crop to; `None` keeps the size of the file.
    """

    channels: int
    size: int | None = None

    @classmethod
    def of(
        cls, spec: Spec, sample: Callable[[], Iterable[bytes | Path]], *others: str
    ) -> "Decoding":
        """Reads the options ``size`` and ``channels`` of `spec`.

        Arguments:
            spec: the spec; options besides these two and `others` are refused.
            sample: gives some files of the set; asked only when ``channels`` is not given, and
                answered with 3 when the header of any of them is coloured.
            others: the options that the source reads itself.

        Raises:
            EquipoiseError: for a size that is not a positive integer or a number of channels other
                than 1 and 3.
        """
        size = cls._size(spec, "channels", *others)
        channels = spec.options.get("channels")
        if channels not in (None, "1", "3"):
            raise EquipoiseError(
                f"Cannot use channels={channels} of {spec.text!r}: write ?channels=1 for grey or "
                "?channels=3 for colour."
            )
        if channels is None:
            # Where no header can be read, every image is going to be broken: either number does.
            channels = 1 if set(map(_is_grey, sample())) <= {True, None} else 3
        return cls(int(channels), size)

    @classmethod
    def in_colour(cls, spec: Spec, *others: str) -> Self:
        """Reads the option ``size`` of `spec`, the spec of a benchmark: its images have three channels.

        Arguments:
            spec: the spec; options besides ``size`` and `others` are refused.
            others: the options that the source reads itself.

        Raises:
            EquipoiseError: for a size that is not a positive integer.
        """
        return cls(3, cls._size(spec, *others))

    @classmethod
    def _size(cls, spec: Spec, *others: str) -> int | None:
        """The option ``size``, the default of the class when it is not given."""
        size = spec.only("size", *others).get("size")
        if size is None:
            return cls.size
        if not (size.isdecimal() and len(size) < 6 and 0 < int(size) <= MOST_PIXELS**0.5):
            raise EquipoiseError(
                f"Cannot use size={size} of {spec.text!r}: write a whole number of pixels, as in "
                "?size=32."
            )
        return int(size)

    def __call__(self, source: bytes | Path, id: str) -> Tensor:
        """Decodes one image.

        Arguments:
            source: the encoded bytes, or the file that holds them.
            id: what error messages call the image.

        Returns:
            float32 in [0, 1], with shape (channels, H, W).

        Raises:
            BrokenImageError: for bytes that are no image or truncated, more than `LARGEST_IMAGE` of
                them or `MOST_PIXELS` pixels, and float pixels outside [0, 1].
            EquipoiseError: for a coloured image where `channels` is 1.
        """
        try:
            data = _content(source, id)
            if not data:
                raise BrokenImageError(id, "it is empty")
            with _opened(data) as image:
                refuse_large(image.size, id)
                pixels = self._pixels(ImageOps.exif_transpose(image), id)
        except (EquipoiseError, MemoryError):
            raise
        except Exception as error:  # on malformed bytes, Pillow's readers raise almost anything
            raise BrokenImageError(id, _reason(error)) from error
        return torch.from_numpy(pixels).movedim(-1, 0).expand(self.channels, -1, -1).contiguous()

    def frame(self, image: Image.Image) -> Image.Image:
        """The part of an upright image that is kept, at the size it is kept: the centre square of side `size`."""
        return image if self.size is None else centre_square(image, self.size, self.size)

    def _pixels(self, image: Image.Image, id: str) -> np.ndarray:
        """The upright `image` as float32 with shape (H, W, 1 or channels)."""
        if image.mode in DEEP:
            grey = _deep(image, id)
            grey = np.asarray(self.frame(Image.fromarray(grey)))
            return grey.clip(0, 1)[..., None]
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image).convert("RGB")
        elif image.mode not in ("L", "RGB"):
            image = image.convert("L" if image.mode in GREY else "RGB")
        if self.channels == 1 and image.mode == "RGB":
            red, green, blue = (np.asarray(channel) for channel in image.split())
            if not ((red == green).all() and (green == blue).all()):
                raise EquipoiseError(
                    f"Cannot read the image {id!r} into one channel: it is coloured, and the set "
                    "was taken to be grey. Add ?channels=3 to the data's spec."
                )
            image = image.getchannel(0)
        image = self.frame(image)
        pixels = np.asarray(image, dtype=np.float32) / np.float32(255)
        return pixels if pixels.ndim == 3 else pixels[..., None]


def _deep(image: Image.Image, id: str) -> np.ndarray:
    """A grey image of more than 8 bits, as float32 in [0, 1] with shape (H, W)."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    top = 1 if image.mode == "F" else 65535
    if not (low >= 0 and high <= top):  # also true of NaN
        raise BrokenImageError(id, f"its pixels span [{low:g}, {high:g}], not [0, {top}]")
    grey = (values.astype(np.float64) / top).astype(np.float32)
    return (
        np.where(values == image.info["transparency"], np.float32(1), grey)
        if "transparency" in image.info
        else grey
    )


def _content(source: bytes | Path, id: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return read_bounded(source, LARGEST_IMAGE)
    except EquipoiseError as error:
        reason = f"it is no regular file, or has more than {LARGEST_IMAGE} bytes"
        raise BrokenImageError(id, reason) from error


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The image whose header has been read, no more."""
    with warnings.catch_warnings():
        # Pillow warns of sizes below `MOST_PIXELS`, which are fine here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(BytesIO(data), formats=FORMATS)
    with image:
        yield image


def refuse_large(size: tuple[int, int], id: str) -> None:
    """Refuses an image of more than `MOST_PIXELS`.

    Raises:
        BrokenImageError: which names `id`.
    """
    width, height = size
    if width * height > MOST_PIXELS:
        raise BrokenImageError(id, f"it claims {width} x {height} pixels, more than {MOST_PIXELS}")


def centre_square(image: Image.Image, short: int, size: int) -> Image.Image:
    """The centre square of side `size` of `image`, once its shorter side is `short`.

    Raises:
        ValueError: where the longer side would then make more than `MOST_PIXELS`.
    """
    shorter = min(image.size)
    width, height = (short * side // shorter for side in image.size)
    if width * height > MOST_PIXELS:
        raise ValueError(f"it is too long and thin to be resized to {width} x {height} pixels")
    if shorter != short:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _is_grey(source: bytes | Path) -> bool | None:
    """Whether the header of an image says that it is grey, `None` when it cannot be read."""
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file, formats=FORMATS)
        with image:
            return image.mode in GREY + DEEP
    except Exception:  # decoding will say what is wrong
        return None


def _reason(error: Exception) -> str:
    """What went wrong, in one line without addresses."""
    if isinstance(error, UnidentifiedImageError):
        return f"it is no image of a known format ({', '.join(FORMATS)})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    words = " ".join(str(error).split()).rstrip(".")
    return words or type(error).__name__
