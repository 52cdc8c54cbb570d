"""The nearest point of a hyperplane inside the box: the step of attacks that linearise a classifier.

For a point x in [0, 1]^D, a normal w and a gap c,

    minimise ||d||_p    subject to    <w, d> = c,    0 <= x + d <= 1.

Coordinates that gain move towards one side of the box each: d = sign(c w) m, where 0 <= m <= room, the distance to that
side. What is left is sum_i |w_i| m_i = |c| at the least ||m||_p:

    p     m
    1     whole rooms in order of falling |w_i|, until |c| is reached
    2     min(t |w_i|, room_i)
    inf   min(t, room_i)

The level t solves a piecewise linear, concave equation, and Newton's method from below finds it without sorting: with S
the coordinates that are stopped by the box so far and q_i = |w_i| or 1,

    t = (|c| - sum_S |w_i| room_i) / sum_{not S} |w_i| q_i

never exceeds the solution, and S only grows; when it stays, t is exact. Where the box ends too early, d goes
as far towards it as the box allows.

References:
    Minimally distorted adversarial examples with a fast adaptive boundary attack (Croce and Hein, 2020),
    https://arxiv.org/abs/1907.02044
"""

import torch
from torch import Tensor

from equipoise.norms import Norm

__all__ = ["biased_step", "to_hyperplane"]


def to_hyperplane(norm: Norm, x: Tensor, w: Tensor, gap: Tensor) -> Tensor:
    """The smallest d with <w, d> = gap and x + d in [0, 1].

    Arguments:
        norm: in which d is small.
        x: points in [0, 1], with shape (..., B, D).
        w: normals, with shape (B, D).
        gap: with shape (..., B).

    Returns:
        d, with shape (..., B, D); zero where w is.
    """
    # Relative to the largest entry, squares of tiny gradients do not underflow.
    tiny = torch.finfo(w.dtype).tiny
    largest = w.abs().amax(-1, keepdim=True).clamp(min=tiny)
    weight, need = w.abs() / largest, gap.abs()[..., None] / largest
    direction = w.sign() * gap.sign()[..., None]
    room = torch.where(direction > 0, 1 - x, x).masked_fill(direction == 0, 0)
    if norm is Norm.L1:
        return direction * _greedy(weight, room, need)
    shape = weight if norm is Norm.L2 else torch.ones_like(weight)
    return direction * _level(weight, shape, room, need)


def biased_step(
    norm: Norm,
    linearised: tuple[Tensor, Tensor, Tensor],
    start: Tensor,
    clean: Tensor,
    *,
    eta: float,
    alpha: float,
) -> Tensor:
    """FAB's step: a little beyond the hyperplane from an iterate and, by a share a, from the clean image,

        (1 - a) (start + eta d(start)) + a (clean + eta d(clean)),
        a = min(alpha, ||d(start)|| / (||d(start)|| + ||d(clean)||)).

    Arguments:
        norm: in which d is small.
        linearised: where a function was linearised, its value there, and its gradient, with shapes (B, C, H, W), (B,)
            and (B, C, H, W); the hyperplane is where that map is 0.
        start: iterates, with shape (B, C, H, W).
        clean: same shape.
        eta: length of the step as a multiple of the way.
        alpha: the largest share of the clean image.
    """
    x, value, w = linearised[0].flatten(1), linearised[1], linearised[2].flatten(1)
    points = torch.stack([start, clean]).flatten(2)
    # Logits that are no numbers come with a zero gradient; their value is no number either.
    gap = -(value.nan_to_num(0.0, 0.0, 0.0) + ((points - x) * w).sum(-1))
    d = to_hyperplane(norm, points, w, gap)
    way = norm(d.flatten(0, 1)).reshape(2, -1).clamp(min=1e-8)
    a = (way[0] / way.sum(0)).clamp(max=alpha)
    beyond = points + eta * d
    return beyond[0].lerp(beyond[1], a[:, None]).reshape(start.shape)


def _greedy(weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """m for p = 1."""
    order = weight.argsort(dim=-1, descending=True).expand_as(room)
    weight = weight.expand_as(room).gather(-1, order)
    sorted_room = room.gather(-1, order)
    gain = weight * sorted_room
    missing = (need - (gain.cumsum(-1) - gain)).clamp(min=0)
    # No entry but a zero one is below the smallest number, and has no room.
    steps = torch.minimum(missing / weight.clamp(min=torch.finfo(weight.dtype).tiny), sorted_room)
    return torch.zeros_like(room).scatter_(-1, order, steps)


def _level(weight: Tensor, shape: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """m = min(t shape, room) for p = 2 and inf."""
    gain, slope = weight * room, (weight * shape).expand_as(room)
    limits = torch.finfo(weight.dtype)
    stopped = room <= 0
    while True:
        spent = gain.masked_fill(~stopped, 0).sum(-1, keepdim=True)
        rate = slope.masked_fill(stopped, 0).sum(-1, keepdim=True)
        # Finite where nothing is left to move, so that t times zero is no NaN.
        t = ((need - spent).clamp(min=0) / rate.clamp(min=limits.tiny)).clamp(max=limits.max)
        grown = stopped | (t * shape >= room)
        if torch.equal(grown, stopped):
            # What the box stopped is there whatever rounding says.
            return torch.where(stopped, room, t * shape)
        stopped = grown
