"""Square: random search that sees only logits, one square window of pixels at a time.

A query changes the iterate x' inside a window at a random place, and the change stays when it raises the margin
max_{j != y} z_j - z_y. The window covers a share of the pixels that starts at p and is halved as queries k of n pass,

    side = sqrt(p_k H W),    p_k = p / 2^(number of 10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000 below 10000 k / h),

h, the horizon, being n in the paper, while AutoAttack's standard version has h = 10000 and stops at n = 5000.

    threat   start                                              change
    Linf     vertical stripes x +- radius, as wide as a pixel   the window becomes x +- radius, one sign a channel
    L2, L1   patches on a grid of five by five, random signs    mass moves into the window from a second one, which is
                                                                left at zero: old change and a patch, rescaled

A patch is two pyramids of opposite sign side by side; a pixel at ring r of one holds sum_{i > r} i^-2 for L2 and i^-4
for L1.

Every image has draws of its own, where the published code shares windows and patches in a batch. A window may lie at
every place, as in the paper; the published code never puts one at the last. Two choices are ours: n counts the start,
and grids are centred in images of every size.

References:
    Square attack: a query-efficient black-box adversarial attack via random search (Andriushchenko et al., 2020),
    https://arxiv.org/abs/1912.00049
    Mind the box: l1-APGD for sparse adversarial attacks on image classifiers (Croce and Hein, 2021),
    https://arxiv.org/abs/2103.01208
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.losses import margin
from equipoise.norms import Norm, Threat

__all__ = ["Square"]

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
BLOCK = 256
"""Queries for which an image's random numbers are drawn at once."""


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Square attack: forward passes only.

    Arguments:
        queries: forward passes, the start included.
        p: the share of the pixels that the first windows cover.
        horizon: queries over which windows would shrink to the end; as many as `queries` when None.
    """

    queries: int = 5000
    p: float = 0.8
    horizon: int | None = None

    def search(self, search: Search) -> None:
        self.query(search, search.unbroken())

    def query(self, search: Search, rows: Tensor) -> None:
        """Queries for some of the unbroken rows."""
        threat = search.threat
        if not (len(rows) and threat.radius):
            return
        start, change = (_stripes, _repaint) if threat.norm is Norm.LINF else (_grid, _move)
        x = clean = search.images[rows]
        logits = search.clean_logits[rows]
        best = torch.full((len(rows),), -torch.inf, device=rows.device)
        draws = clean.new_empty(len(rows), 0)
        for k in range(self.queries):
            if k == 0:
                proposal = start(search, rows)
            else:
                if (k - 1) % BLOCK == 0:
                    draws = _uniform(search, rows, (BLOCK, 5 + clean.shape[1]), k)
                side = self._side(k - 1, threat, clean)
                proposal = change(clean, x, threat, side, draws[:, (k - 1) % BLOCK])
            proposal = search.inside(rows, proposal)
            answer = search.logits(rows, proposal)
            gap = margin(answer, search.labels[rows])
            # Logits that are no numbers are no answer.
            better = (gap > best) & answer.isfinite().all(1)
            x = torch.where(better[:, None, None, None], proposal, x)
            logits = torch.where(better[:, None], answer, logits)
            best = torch.where(better, gap, best)
            left = ~search.offer(rows, proposal, answer)
            if not left.all():
                rows, clean, x, logits, best, draws = (
                    part[left] for part in (rows, clean, x, logits, best, draws)
                )
            if not len(rows):
                return
        search.attempt(rows, x, logits)

    def _side(self, k: int, threat: Threat, like: Tensor) -> int:
        """The side of the window at query k; odd and at least 3 where patches need a middle."""
        height, width = like.shape[2:]
        share = self.p / 2 ** bisect_left(
            HALVINGS, int(10_000 * k / (self.horizon or self.queries))
        )
        side = round(math.sqrt(share * height * width))
        side = max(side, 1) if threat.norm is Norm.LINF else max(side, 3) // 2 * 2 + 1
        return min(side, height, width)


def _uniform(search: Search, rows: Tensor, shape: tuple[int, ...], *name: object) -> Tensor:
    """Uniform numbers in [0, 1) with shape (len(rows), *shape), each row from its own stream."""
    generators = search.generators(rows, *name)
    return torch.stack([torch.rand(shape, generator=g) for g in generators]).to(rows.device)


def _sign(u: Tensor) -> Tensor:
    return torch.where(u < 0.5, -1.0, 1.0)


def _window(u: Tensor, side: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A window at the place that `u` (B, 2) draws: whether it covers a pixel, with shape (B, 1, H, W), and how far
    pixels lie below and to the right of its corner, with shapes (B, H, 1) and (B, 1, W)."""
    below, right = (
        torch.arange(length, device=u.device)
        # u (length - side + 1) may round up to a place outside.
        - (u[:, axis, None] * (length - side + 1)).long().clamp(max=length - side)
        for axis, length in enumerate(like.shape[2:])
    )
    below, right = below[:, :, None], right[:, None, :]
    covered = (below >= 0) & (below < side) & (right >= 0) & (right < side)
    return covered[:, None], below, right


def _stripes(search: Search, rows: Tensor) -> Tensor:
    clean = search.images[rows]
    sign = _sign(_uniform(search, rows, (clean.shape[1], 1, clean.shape[3]), "start"))
    return clean + search.threat.radius * sign


def _repaint(clean: Tensor, x: Tensor, threat: Threat, side: int, u: Tensor) -> Tensor:
    covered, _, _ = _window(u[:, :2], side, x)
    return torch.where(covered, clean + threat.radius * _sign(u[:, 5:, None, None]), x)


@cache
def _patches(side: int, order: float) -> Tensor:
    """A patch of unit norm and its transpose, with shape (2, side, side)."""
    halves = []
    for height in (side // 2, side - side // 2):
        down, across = torch.arange(height) - height // 2, torch.arange(side) - side // 2
        ring = torch.maximum(down.abs()[:, None], across.abs())
        layers = torch.arange(1, max(height, side) // 2 + 2) ** (-4 / order)
        half = layers.flip(0).cumsum(0).flip(0)[ring]
        halves.append(half / torch.linalg.vector_norm(half, ord=order))
    patch = torch.cat([halves[0], -halves[1]])
    patch = patch / torch.linalg.vector_norm(patch, ord=order)
    return torch.stack([patch, patch.T])


def _grid(search: Search, rows: Tensor) -> Tensor:
    threat, clean = search.threat, search.images[rows]
    n, channels, height, width = clean.shape
    side = max(min(height, width) // 5, 1)
    down, across = height // side, width // side
    u = _uniform(search, rows, (1 + channels, down, across), "start")
    patches = _patches(side, threat.norm.order).to(clean)[(u[:, 0] > 0.5).long()]
    tiles = patches[:, None] * _sign(u[:, 1:, :, :, None, None])
    delta = tiles.transpose(3, 4).reshape(n, channels, down * side, across * side)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    delta = pad(delta, (left, width - across * side - left, top, height - down * side - top))
    return _fit(clean, delta, threat)


def _move(clean: Tensor, x: Tensor, threat: Threat, side: int, u: Tensor) -> Tensor:
    order, channels, delta = threat.norm.order, x.shape[1], x - clean
    first, below, right = _window(u[:, :2], side, x)
    second, _, _ = _window(u[:, 2:4], side, x)
    patches = pad(_patches(side, order), (1, 1, 1, 1)).to(x)
    which = (u[:, 4, None, None] > 0.5).long()
    patch = patches[which, (below + 1).clamp(0, side + 1), (right + 1).clamp(0, side + 1)]
    old = delta * first
    new = patch[:, None] * _sign(u[:, 5:, None, None]) + old / (_size(old, order) + 1e-12)
    unspent = (threat.radius**order - threat.norm(delta) ** order).clamp(min=0) / channels
    mass = _size(delta * (first | second), order) ** order + unspent[:, None, None, None]
    new = new / (_size(new, order) + 1e-12) * mass ** (1 / order)
    if threat.norm is Norm.L1:
        # As published: more than is there, and the projection takes it from the smallest changes everywhere.
        new = new * channels
    return _fit(clean, torch.where(first, new, delta * ~second), threat)


def _size(delta: Tensor, order: float) -> Tensor:
    """The norm of each channel, with shape (B, C, 1, 1)."""
    return torch.linalg.vector_norm(delta, ord=order, dim=(2, 3), keepdim=True)


def _fit(clean: Tensor, delta: Tensor, threat: Threat) -> Tensor:
    """The changed image: for L2 the change has the length of the radius, for L1 the projection shortens it."""
    if threat.norm is Norm.L1:
        return clean + delta
    scale = threat.radius / (threat.norm(delta) + 1e-12)
    return clean + delta * scale[:, None, None, None]
