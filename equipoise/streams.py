"""Randomness without state: every draw comes from a stream named by what it is for.

A stream is a `torch.Generator` seeded with a hash of its name, for example (seed, image id, attack). A result therefore
does not depend on the batch an image is in, on the order of work or on the number of workers, and the global
generators are never touched.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["content_ids", "digest", "stream"]


def digest(*parts: object, size: int = 16) -> str:
    """A hexadecimal BLAKE2b digest of `parts`, 2 * `size` characters long.

    Bytes count as they are, anything else by its `repr`; the length of each part is hashed with it.
    """
    state = hashlib.blake2b(digest_size=size)
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def stream(*name: object) -> torch.Generator:
    """The CPU generator of the stream called `name`."""
    return torch.Generator().manual_seed(int(digest(*name, size=8), 16) >> 1)


def content_ids(images: Tensor) -> Sequence[str]:
    """Ids for images that come without any: a digest of each one's pixels, so equal images share a stream.

    Arguments:
        images: with shape (B, C, H, W).
    """
    pixels = images.detach().to("cpu", torch.float32).contiguous()
    return [digest(image.numpy().tobytes(), size=8) for image in pixels]
