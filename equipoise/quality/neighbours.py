"""The two nearest of many images to each of a few, in pixels and in any features: has a sample been copied?

d_1 <= d_2 are L2 distances of an image to the nearest and the second nearest of a reference set, of which only a
thousand images are in memory at a time. Candidates are found by products of matrices, which lose the digits that tell a
copy from a neighbour; the distances of the best three of each thousand are then computed directly.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.images import Images

__all__ = ["Nearest", "find_nearest"]

BLOCK = 1024
CANDIDATES = 3
AT_ONCE = 2**26
"""Numbers in a table of differences."""

Space = Callable[[Tensor], Tensor]
"""Images with shape (B, C, H, W) to points with shape (B, D)."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """Of each of N images: distances d_1 and d_2, and the rows of the reference that they are to, with shapes (N, 2);
    infinite, and -1, where the reference has too few."""

    distance: Tensor
    row: Tensor


def find_nearest(images: Tensor, reference: Images, spaces: Sequence[Space]) -> list[Nearest]:
    """The nearest reference images, in each space.

    Arguments:
        images: in [0, 1], with shape (N, C, H, W).
        reference: of the same shape; images that cannot be read are passed over.
        spaces: where distances are taken.
    """
    shape = (images.shape[1], images.shape[2], images.shape[3])
    points = [space(images) for space in spaces]
    found = [
        Nearest(torch.full((len(images), 2), math.inf), torch.full((len(images), 2), -1))
        for _ in spaces
    ]
    for start in range(0, len(reference), BLOCK):
        rows = range(start, min(start + BLOCK, len(reference)))
        known = reference.batch(rows, skip_broken=True, shape=shape)
        if known.ids:
            numbers = torch.tensor(known.indices)
            for k, space in enumerate(spaces):
                found[k] = _merged(found[k], points[k], space(known.images), numbers)
    return found


def _merged(best: Nearest, points: Tensor, known: Tensor, numbers: Tensor) -> Nearest:
    """The two nearest of those found before and of `known`, the points of the reference rows `numbers`."""
    centre = known.mean(0)
    # |a - b|^2 but for |a|^2, which does not change the order.
    moved = known - centre
    likely = moved.square().sum(1) - 2 * (points - centre) @ moved.T
    picked = likely.topk(min(CANDIDATES, len(known)), largest=False).indices
    size = max(1, AT_ONCE // (picked.shape[1] * points.shape[1]))
    exact = [
        (known[chosen] - some[:, None]).norm(dim=2)
        for some, chosen in zip(points.split(size), picked.split(size), strict=True)
    ]
    distance = torch.cat([best.distance, torch.cat(exact)], 1)
    row = torch.cat([best.row, numbers[picked]], 1)
    distance, order = distance.sort(dim=1, stable=True)
    return Nearest(distance[:, :2], row.gather(1, order[:, :2]))
