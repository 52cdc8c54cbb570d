"""Does a classifier's gradient say what a small change does?

With l the log-odds against the label and u_1, ..., u_n random directions, the agreement is the cosine between what the
gradient g at x promises and what happens,

    promised_i = <g, u_i>,    happens_i = (l(x + u_i) - l(x - u_i)) / 2.

It is 1 for what is smooth at the scale of u and near 0 where the gradient vanishes, is noise, or follows wiggles that
lead nowhere. The u_i are Gaussian with the length of a fifth of the radius, and at least 0.05 in the Euclidean norm.
x +- u may leave [0, 1] a little.

Logits that half precision can hold are as coarse as half precision: what random directions do drowns in rounding.
Nothing can be told there but a gradient of 0, whose agreement is 0; otherwise it is NaN.
"""

import torch
from torch import Tensor

from equipoise.attacks.attack import Search
from equipoise.attacks.losses import log_odds
from equipoise.norms import Norm

__all__ = ["MISLEADING", "measure_agreement"]

MISLEADING = 0.8
"""Agreement below which attacks should not trust an image's gradient."""

DIRECTIONS = 10
REACH = 0.2
SHORTEST = 0.05


def measure_agreement(search: Search, rows: Tensor) -> None:
    """Fills `search.agreement` for `rows`: 21 forward passes and a backward pass for each, by the classifier itself."""
    if len(rows):
        with search.exactly():
            _measure(search, rows)


def _measure(search: Search, rows: Tensor) -> None:
    clean, labels = search.images[rows], search.labels[rows]

    def loss(logits: Tensor) -> Tensor:
        # Tiny logits differ beyond the digits that single precision has for their log-odds.
        return log_odds(logits.double(), labels)

    _, _, gradient = search.gradient(rows, clean, loss)
    generators = search.generators(rows, "agreement")
    promised, happens = [], []
    for _ in range(DIRECTIONS):
        noise = torch.stack([torch.randn(clean.shape[1:], generator=g) for g in generators])
        noise = noise.to(clean)
        length = torch.maximum(
            REACH * search.threat.radius / search.threat.norm(noise), SHORTEST / Norm.L2(noise)
        )
        u = length[:, None, None, None] * noise
        ahead, behind = (loss(search.logits(rows, clean + s * u)) for s in (1, -1))
        promised.append((gradient.double() * u).flatten(1).sum(1))
        happens.append((ahead - behind) / 2)
    a, b = torch.stack(promised), torch.stack(happens)
    # Largest entries first, so that no square underflows or overflows.
    a, b = (part / part.abs().amax(0).clamp(min=torch.finfo(part.dtype).tiny) for part in (a, b))
    cosine = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp(min=1e-300)
    coarse = _coarse(search.clean_logits[rows]) & gradient.flatten(1).any(1)
    found = torch.where(coarse, torch.nan, cosine.nan_to_num(0.0))
    search.agreement[rows] = found.to(search.agreement)


def _coarse(logits: Tensor) -> Tensor:
    """Whether an image's logits are all numbers of a half precision, with shape (B,)."""
    halves = [logits.to(kind).to(logits.dtype) == logits for kind in (torch.half, torch.bfloat16)]
    return halves[0].all(1) | halves[1].all(1)
