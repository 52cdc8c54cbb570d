"""Calling a network so that what it says of an image does not depend on the batch the image is in.

Below sixteen images, and between multiples of it, matrix kernels round differently. A batch filled up to a multiple
of sixteen takes the same kernels as any other.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ROWS", "call_padded"]

ROWS = 16
"""A network is called on a multiple of so many."""


def call_padded(net: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`net(*inputs)`, called on a multiple of sixteen rows: the last row of each input is repeated, and what the
    network says of the copies is dropped.

    Arguments:
        net: maps tensors with B rows each to one with B rows.
        inputs: tensors with shape (B, ...).
    """
    rows = len(inputs[0])
    missing = -rows % ROWS
    if missing == 0 or rows == 0:
        return net(*inputs)
    return net(*(torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) for x in inputs))[:rows]
