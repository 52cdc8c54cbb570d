"""Pictures for a page: as addresses that hold them, shrunk, and cut out of wider ones."""

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from PIL import Image

from equipoise.processes import cores

__all__ = ["cut", "data_uri", "longest_side", "size", "webp", "webps"]


def data_uri(kind: str, picture: bytes) -> str:
    """A picture of the kind "png" or "webp" as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def webp(picture: bytes, width: int | None, height: int) -> bytes:
    """The picture as lossy WebP, no wider, unless that is None, and no higher than that."""
    file = BytesIO()
    with Image.open(BytesIO(picture)) as image:
        shrunk = image.convert("RGB")
        # Halved by averages first where it can be, which takes a sixth less time.
        box = (width or shrunk.width, height)
        shrunk.thumbnail(box, Image.Resampling.LANCZOS, reducing_gap=1.0)
        shrunk.save(file, "WEBP", quality=82, method=2)
    return file.getvalue()


def webps(pictures: Sequence[bytes], width: int | None, height: int) -> list[bytes]:
    """`webp` of each, on all cores: Pillow lets other threads run while it works."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(lambda picture: webp(picture, width, height), pictures))


def size(picture: bytes) -> tuple[int, int]:
    """Its width and height in pixels."""
    with Image.open(BytesIO(picture)) as image:
        return image.size


def longest_side(picture: bytes) -> int:
    """Its width or height in pixels, whichever is larger."""
    return max(size(picture))


def cut(picture: bytes, left: int, width: int) -> bytes:
    """The columns left..left+width-1 of a picture as a PNG; the picture itself when these are all."""
    with Image.open(BytesIO(picture)) as image:
        if (left, width) == (0, image.width):
            return picture
        file = BytesIO()
        image.crop((left, 0, left + width, image.height)).save(file, "PNG")
    return file.getvalue()
