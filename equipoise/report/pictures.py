"""Pictures for a page: as addresses that hold them, shrunk, and cut out of wider ones."""

import base64
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from PIL import Image

__all__ = ["cut", "data_uri", "longest_side", "webp", "webps"]


def data_uri(kind: str, picture: bytes) -> str:
    """A picture of the kind "png" or "webp" as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def webp(picture: bytes, width: int | None, height: int) -> bytes:
    """The picture as lossy WebP, no wider, unless that is None, and no higher than that."""
    file = BytesIO()
    with Image.open(BytesIO(picture)) as image:
        shrunk = image.convert("RGB")
        shrunk.thumbnail((width or shrunk.width, height), Image.Resampling.LANCZOS)
        shrunk.save(file, "WEBP", quality=82, method=2)
    return file.getvalue()


def webps(pictures: Sequence[bytes], side: int) -> list[bytes]:
    """Each as `webp`, at most `side` pixels wide and high, on all cores: Pillow lets other threads work meanwhile."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda picture: webp(picture, side, side), pictures))


def longest_side(picture: bytes) -> int:
    """Its width or height in pixels, whichever is larger."""
    with Image.open(BytesIO(picture)) as image:
        return max(image.size)


def cut(picture: bytes, left: int, width: int) -> bytes:
    """The columns left..left+width-1 of a picture as a PNG; the picture itself when these are all."""
    with Image.open(BytesIO(picture)) as image:
        if (left, width) == (0, image.width):
            return picture
        file = BytesIO()
        image.crop((left, 0, left + width, image.height)).save(file, "PNG")
    return file.getvalue()
