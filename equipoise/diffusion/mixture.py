"""The denoiser of a Gaussian mixture, in closed form: the ground truth for samplers.

Images of label c are drawn from p(x | c) ~ sum_k w_k N(m_k, S_k) over the components k of that label, S_k diagonal,
everything in network units. With noise of level sigma, R_k = S_k + sigma^2 and

    r_k(x) ~ w_k N(x; m_k, R_k),        D(x, sigma, c) = sum_k r_k(x) [m_k + S_k R_k^-1 (x - m_k)];

without a label all components take part.
"""

from functools import partial

import torch
from torch import Tensor

from equipoise.diffusion.denoiser import UNCONDITIONAL, Denoiser
from equipoise.errors import EquipoiseError
from equipoise.padding import call_padded

__all__ = ["MixtureDenoiser"]


class MixtureDenoiser(Denoiser):
    """Exact, for any image shape; computes in double precision and answers in that of its input.

    Arguments:
        means: in network units, with shape (K, C, H, W).
        stds: of each component, with shape (K,), or of each of its pixels, with the shape of `means`.
        weights: positive, with shape (K,); their sum does not matter.
        labels: of each component, with shape (K,), covering 0..max.

    Raises:
        EquipoiseError: for shapes that do not fit, stds or weights that are not positive, labels with gaps.
    """

    means: Tensor
    stds: Tensor
    weights: Tensor
    labels: Tensor

    def __init__(self, means: Tensor, stds: Tensor, weights: Tensor, labels: Tensor) -> None:
        means = torch.as_tensor(means, dtype=torch.float64)
        stds = torch.as_tensor(stds, dtype=torch.float64)
        weights = torch.as_tensor(weights, dtype=torch.float64)
        labels = torch.as_tensor(labels)
        count = len(means)
        if means.ndim != 4 or count == 0:
            raise EquipoiseError(
                f"A mixture needs means of shape (K, C, H, W), not {tuple(means.shape)}."
            )
        if stds.shape == (count,):
            stds = stds[:, None, None, None].expand_as(means)
        if stds.shape != means.shape or weights.shape != (count,) or labels.shape != (count,):
            raise EquipoiseError(
                f"A mixture of {count} components needs stds of shape ({count},) or {tuple(means.shape)} and weights "
                f"and labels of shape ({count},), not {tuple(stds.shape)}, {tuple(weights.shape)} and "
                f"{tuple(labels.shape)}."
            )
        if not bool((stds > 0).all() and (weights > 0).all()):
            raise EquipoiseError(
                f"A mixture needs positive stds and weights; the smallest are {stds.min().item():g} and "
                f"{weights.min().item():g}."
            )
        found = sorted(set(labels.tolist()))
        if labels.is_floating_point() or found != list(range(len(found))):
            raise EquipoiseError(f"A mixture needs whole labels 0..max without gaps, not {found}.")
        weights = weights / weights.sum()
        centre = torch.einsum("k,kchw->chw", weights, means)
        spread = torch.einsum("k,kchw->", weights, stds**2 + (means - centre) ** 2)
        super().__init__(
            shape=means.shape[1:],
            classes=[str(label) for label in found],
            scale=spread.sqrt().item(),
            name="mixture",
        )
        self.register_buffer("means", means)
        self.register_buffer("stds", stds.contiguous())
        self.register_buffer("weights", weights)
        self.register_buffer("labels", labels.to(torch.int64))

    def denoise(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        result = torch.empty_like(x, dtype=torch.float64)
        for level in sigma.unique():
            rows = sigma == level
            part = partial(self._denoise, level.double())
            result[rows] = call_padded(part, x[rows].double(), label[rows])
        return result.to(x.dtype)

    def _denoise(self, sigma: Tensor, x: Tensor, label: Tensor) -> Tensor:
        flat, means = x.flatten(1), self.means.flatten(1)
        shrink = self.stds.flatten(1) ** 2 / (self.stds.flatten(1) ** 2 + sigma**2)
        r = self.responsibilities(x, sigma, label)
        return ((r @ shrink) * flat + r @ ((1 - shrink) * means)).view_as(x)

    def responsibilities(self, x: Tensor, sigma: Tensor | float, label: Tensor) -> Tensor:
        """The probability r_k(x) of each component given x = x0 + sigma n, with shape (B, K); one sigma for all."""
        flat, means = x.flatten(1).double(), self.means.flatten(1)
        inverse = 1 / (self.stds.flatten(1) ** 2 + sigma**2)
        distance = flat**2 @ inverse.T - 2 * flat @ (means * inverse).T
        constant = (means**2 * inverse).sum(1) - inverse.log().sum(1)
        log = self.weights.log() - (distance + constant) / 2
        allowed = (label[:, None] == self.labels) | (label[:, None] == UNCONDITIONAL)
        return log.masked_fill(~allowed, -torch.inf).softmax(1)

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Images of the given labels (-1 for any) in network units, with shape (B, C, H, W), double precision."""
        allowed = (labels[:, None] == self.labels) | (labels[:, None] == UNCONDITIONAL)
        k = torch.multinomial(self.weights * allowed, 1, generator=generator).squeeze(1)
        noise = torch.randn(len(labels), *self.shape, dtype=torch.float64, generator=generator)
        return self.means[k] + self.stds[k] * noise
