"""TRADES: cross-entropy on the images as they are, and a price on every change of mind nearby.

min over weights of E[-log f_y(x) + beta max over x' of KL(f(x) || f(x'))], with KL(p || q) = sum_k p_k log(p_k / q_k).
The first term asks for accuracy, the second, which needs no label, that the answer stays what it is; beta is the rate
of exchange. The search for x' takes f(x) as given. It starts at x plus Gaussian noise of standard deviation 0.001, cut
off at 0 and 1, since the gradient of KL vanishes at x' = x. The weights' gradient goes through f(x) and f(x') both.

References:
    Theoretically principled trade-off between robustness and accuracy (Zhang et al., 2019),
    https://arxiv.org/abs/1901.08573, https://github.com/yaodongyu/TRADES
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from equipoise.errors import EquipoiseError
from equipoise.norms import Threat
from equipoise.training.adversarial import Adversarial

__all__ = ["TRADES"]


@dataclass(frozen=True, kw_only=True)
class TRADES(Adversarial):
    """Zhang et al.'s objective.

    Arguments:
        beta: what a unit of KL costs in units of cross-entropy, at least 0. The paper's range is 1 to 10; larger is
            more robust and less accurate.
    """

    name: ClassVar[str] = "trades"

    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta >= 0:
            raise EquipoiseError(
                f"Cannot train TRADES with beta={self.beta}: it is a price of at least 0; the paper's is 6."
            )

    def loss(
        self,
        net: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        bare: nn.Module,
        progress: float,
        noise: Sequence[Generator],
    ) -> Tensor:
        worst = self.worst(bare, images, labels, progress=progress, noise=noise)
        # One call, since processes that average gradients expect one for each step.
        natural, attacked = net(torch.cat([images, worst])).chunk(2)
        price = _divergence(natural.log_softmax(1), attacked.log_softmax(1))
        return F.cross_entropy(natural, labels, reduction="none") + self.beta * price

    def ascended(
        self, net: nn.Module, images: Tensor, labels: Tensor
    ) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            natural = net(images).log_softmax(1)
        return lambda x: _divergence(natural, net(x).log_softmax(1)).sum()

    def start(self, images: Tensor, threat: Threat, noise: Sequence[Generator]) -> Tensor:
        if not noise:
            return images
        draws = torch.stack([torch.randn(*images.shape[1:], generator=g) for g in noise])
        return (images + 0.001 * draws.to(images)).clamp(0, 1)


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of each image, from logarithms with shape (B, K): these stay finite where probabilities round to 0."""
    return F.kl_div(q, p, reduction="none", log_target=True).sum(1)
