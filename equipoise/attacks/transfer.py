"""Transfer: adversarial images of another classifier, and where they lead.

Classifiers that hide their gradients are often fooled by the images that fool a classifier like them. The margin of a
surrogate is raised within the same threat by steps that fall from twice the radius to 0,

    x'_0 = x,    x'_{k+1} = project(x'_k + 2 (1 - k / n) radius steepest(grad margin(x'_k))),

as far as it goes and not only until the surrogate is fooled. The images it ends with are tried as they are, and APGD on
the margin goes on from those that the classifier withstands.

References:
    Obfuscated gradients give a false sense of security (Athalye et al., 2018), https://arxiv.org/abs/1802.00420
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from equipoise.attacks.apgd import ascend
from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.losses import margin
from equipoise.padding import call_padded

__all__ = ["Transfer"]


@dataclass(frozen=True, kw_only=True)
class Transfer(Attack):
    """Starts from the adversarial images of a surrogate, whose passes are not counted.

    Arguments:
        surrogate: another classifier of the same images and classes, in eval mode and on the same device.
        steps: gradient steps on the surrogate, and again on the classifier.
    """

    surrogate: nn.Module = field(repr=False)
    steps: int = 20

    def search(self, search: Search) -> None:
        rows = search.unbroken()
        if not (len(rows) and search.threat.radius):
            return
        x = self._fooling(search, rows)
        left = ~search.offer(rows, x, search.logits(rows, x))
        if left.any():
            ascend(search, margin, rows[left], x[left], steps=self.steps, size=1.0)

    def _fooling(self, search: Search, rows: Tensor) -> Tensor:
        """Images within the threat that the surrogate answers as wrongly as it can be made to."""
        x, labels, threat = search.images[rows], search.labels[rows], search.threat
        for k in range(self.steps):
            with torch.enable_grad():
                pixels = x.detach().clone().requires_grad_(True)
                gap = margin(call_padded(self.surrogate, pixels).float(), labels)
                if not gap.requires_grad:
                    # A surrogate without gradients leads nowhere.
                    return x
                (gradient,) = torch.autograd.grad(gap.sum(), pixels)
            size = 2 * (1 - k / self.steps) * threat.radius
            x = search.inside(rows, threat.ascend(x, gradient.nan_to_num(0.0, 0.0, 0.0), size))
        return x
