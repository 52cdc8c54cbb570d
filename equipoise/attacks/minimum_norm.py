"""MinimumNorm: the smallest change of each image that fools the classifier; one run gives the whole robustness curve.

Every image carries a radius r. A step of steepest ascent on the margin is projected into the ball of radius r; when the
point fools the classifier, r drops below the smallest distance found so far, and while it does not, r grows:

    x' <- P_r(x' + a_k r steepest(grad margin(x'))),    r <- (1 - c_k) smallest   or   (1 + c_k) r,

with a_k and c_k falling along half a cosine. At first r is the distance to the decision boundary of the classifier
linearised at the image, min over j of (z_y - z_j) / ||grad (z_j - z_y)||_q, exact for a linear classifier away from the
edges of [0, 1]. At the end, bisection on the line from the image to the nearest point found takes up the slack.

References:
    Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and defenses
    (Rony et al., 2019), https://arxiv.org/abs/1811.09600
    Fast minimum-norm adversarial attacks through adaptive norm constraints (Pintor et al., 2021),
    https://arxiv.org/abs/2102.12827
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.losses import margin

__all__ = ["MinimumNorm"]


@dataclass(frozen=True, kw_only=True)
class MinimumNorm(Attack):
    """The smallest radius at which each image is misclassified; of the threat it takes the norm, and the radius as the
    bound of its search. `distance` in the result is that smallest radius, inf where nothing was found within the bound.

    Arguments:
        steps: gradient steps.
        targets: how many of the likeliest wrong classes the linearisation looks at, one backward pass each.
        bisections: forward passes of the final bisection.
        first_step: length of the first step as a share of the current radius.
        first_change: by which share the radius first grows or shrinks.
    """

    steps: int = 100
    targets: int = 9
    bisections: int = 8
    first_step: float = 1.0
    first_change: float = 0.2

    def search(self, search: Search) -> None:
        # Rows stay in the search after they are broken: a smaller change may exist.
        rows = search.unbroken()
        if not len(rows):
            return
        threat, bound = search.threat, search.threat.radius
        clean, labels = search.images[rows], search.labels[rows]
        x, radius = self._linearised(search, rows)
        smallest = torch.full((len(rows),), torch.inf, device=clean.device)
        nearest = clean.clone()
        for k in range(self.steps):
            _, gap, gradient = search.gradient(rows, x, lambda z: margin(z, labels))
            distance = threat.distance(clean, x)
            closer = (gap > 0) & (distance < smallest)
            smallest = torch.where(closer, distance, smallest)
            nearest[closer] = x[closer]
            decay = (1 + math.cos(math.pi * k / self.steps)) / 2
            change = self.first_change * decay + 0.005
            grown = torch.minimum(radius * (1 + change), smallest * (1 - 0.001))
            radius = torch.where(gap > 0, smallest * (1 - change), grown).clamp(max=bound)
            size = radius * (self.first_step * decay + 0.02)
            x = search.inside(rows, threat.ascend(x, gradient, size), radius)
        self._bisect(search, rows, nearest, smallest)
        search.distance[~search.success] = torch.inf

    def _linearised(self, search: Search, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest boundary of the classifier linearised at each image: a point there, and how far it is."""
        threat, clean = search.threat, search.images[rows]
        others = search.clean_logits[rows].scatter(1, search.labels[rows, None], -torch.inf)
        targets = others.topk(min(self.targets, search.classes - 1), dim=1).indices
        leads, gradients = search.slopes(rows, clean, targets)
        n, m = leads.shape
        slope = (
            threat.dual(gradients.flatten(0, 1))
            .reshape(n, m)
            .clamp(min=torch.finfo(leads.dtype).tiny)
        )
        radius, best = (-leads / slope).min(1)
        radius = radius.clamp(min=1e-6, max=threat.radius)
        gradient = gradients[torch.arange(n, device=best.device), best]
        return search.inside(rows, threat.ascend(clean, gradient, radius), radius), radius

    def _bisect(self, search: Search, rows: Tensor, nearest: Tensor, smallest: Tensor) -> None:
        """Shortens each straight line from the clean image as far as it still fools, then reports."""
        found = smallest.isfinite()
        rows, nearest = rows[found], nearest[found]
        if not len(rows):
            return
        clean = search.images[rows]
        low, high = (
            torch.zeros(len(rows), device=clean.device),
            torch.ones(len(rows), device=clean.device),
        )
        for _ in range(self.bisections):
            middle = (low + high) / 2
            x = clean + middle[:, None, None, None] * (nearest - clean)
            fooled = search.logits(rows, x).argmax(1) != search.labels[rows]
            high = torch.where(fooled, middle, high)
            low = torch.where(fooled, low, middle)
        # Where no shortening held, the point itself: recomputing it could round it back over the boundary.
        shortened = clean + high[:, None, None, None] * (nearest - clean)
        x = torch.where((high < 1)[:, None, None, None], shortened, nearest)
        search.offer(rows, x, search.logits(rows, x))
