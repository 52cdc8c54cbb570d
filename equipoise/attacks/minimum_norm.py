"""MinimumNorm: the smallest change of each image that fools the classifier; one run gives the whole robustness curve.

Every image carries a radius r. A step of steepest ascent on the margin is projected into the ball of radius r; when the
point fools the classifier, r drops below the smallest distance found so far, and while it does not, r grows:

    x' <- P_r(x' + a_k r steepest(grad margin(x'))),    r <- (1 - c_k) smallest   or   (1 + c_k) r,

with a_k and c_k falling along half a cosine. At first r is the distance to the decision boundary of the classifier
linearised at the image, min over j of (z_y - z_j) / ||grad (z_j - z_y)||_q, exact for a linear classifier away from the
edges of [0, 1].

Half of these steps leave the label on the margin over all classes. A quarter each goes from the second and the third
nearest of these boundaries towards their class alone, since a search that follows the nearest class never sees how near
another one comes once both bend. With fewer than 20 steps all leave the label.

Of the steps beyond 20, four in seven come last and go on from the nearest point found, or from the image x. As those of
FAB do, they go onto the boundary of the margin linearised at x', by the smallest changes d in the box from x' and, by a
share a, from x,

    x' <- (1 - a) (x' + (1 + e_k / 2) d(x')) + a (x + (1 + e_k / 2) d(x)),

with a = min(0.1, ||d(x')|| / (||d(x')|| + ||d(x)||)), and what fools the classifier is first drawn back by a share e_k
of its way to x, which falls as c_k does. They settle which pixels a small L1 change is made of, which steps of a given
length do slowly. Bisection on the line from the image to the nearest point takes up the slack.

References:
    Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and defenses
    (Rony et al., 2019), https://arxiv.org/abs/1811.09600
    Fast minimum-norm adversarial attacks through adaptive norm constraints (Pintor et al., 2021),
    https://arxiv.org/abs/2102.12827
    Minimally distorted adversarial examples with a fast adaptive boundary attack (Croce and Hein, 2020),
    https://arxiv.org/abs/1907.02044
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.hyperplane import biased_step
from equipoise.attacks.losses import likeliest, margin
from equipoise.attacks.nearest import Nearest

__all__ = ["MinimumNorm", "nearest_boundaries"]

FEW = 20
"""Steps below which a search has enough to do with one direction."""

BEYOND = 2.0
"""How far the search goes, as a multiple of the threat's radius: ways into the ball lead through its outside."""

POLISH = 4 / 7
"""Of the steps beyond `FEW`, the share that goes onto linearised boundaries."""


@dataclass(frozen=True, kw_only=True)
class MinimumNorm(Attack):
    """The smallest radius at which each image is misclassified; of the threat it takes the norm, and the radius as a
    bound. `distance` in the result is that smallest radius, inf where nothing was found within the bound.

    Arguments:
        steps: gradient steps.
        targets: how many of the likeliest wrong classes the linearisation looks at, one backward pass each.
        bisections: forward passes of the final bisection.
        first_step: length of the first step as a share of the current radius.
        first_change: by which share the radius first grows or shrinks.
    """

    steps: int = 90
    targets: int = 9
    bisections: int = 8
    first_step: float = 1.0
    first_change: float = 0.2

    def search(self, search: Search) -> None:
        # Rows stay in the search after they are broken: a smaller change may exist.
        rows = search.unbroken()
        if not len(rows):
            return
        found = Nearest(search, rows)
        classes, distance, gradients = nearest_boundaries(search, rows, self.targets)
        runs = min(3, classes.shape[1]) if self.steps >= FEW else 1
        shares = {1: [1.0], 2: [0.5, 0.5], 3: [0.5, 0.25, 0.25]}[runs]
        polish = round(POLISH * max(self.steps - FEW, 0))
        ends = [round(sum(shares[: k + 1]) * (self.steps - polish)) for k in range(runs)]
        reached = torch.zeros_like(found.distance)
        for k, (start, end) in enumerate(pairwise([0, *ends])):
            targets = classes[:, k] if k else None
            # Where nothing was found yet, the radius goes on growing from where it is.
            radius = torch.maximum(distance[:, k], reached.where(found.distance.isinf(), 0))
            reached = self._approach(found, gradients[:, k], radius, targets, end - start)
        self._polish(found, polish)
        with search.exactly():
            self._bisect(search, rows, found.x, found.distance)
        search.distance[~search.success] = torch.inf

    def _approach(
        self,
        found: Nearest,
        gradient: Tensor,
        radius: Tensor,
        targets: Tensor | None,
        steps: int,
    ) -> Tensor:
        """One run from `radius` in the direction of `gradient`; returns the radius it ends with."""
        search, rows, clean = found.search, found.rows, found.clean
        threat, labels = search.threat, search.labels[rows]
        bound = BEYOND * threat.radius
        radius = torch.minimum(radius.clamp(min=1e-6, max=bound), found.distance)
        x = search.inside(rows, threat.ascend(clean, gradient, radius), radius)
        for k in range(steps):
            logits, _, gradient = search.gradient(rows, x, lambda z: margin(z, labels, targets))
            fooled = found.offer(x, logits)
            decay = _decay(k, steps)
            change = self.first_change * decay + 0.005
            grown = torch.minimum(radius * (1 + change), found.distance * (1 - 0.001))
            radius = torch.where(fooled, found.distance * (1 - change), grown).clamp(max=bound)
            size = radius * (self.first_step * decay + 0.02)
            x = search.inside(rows, threat.ascend(x, gradient, size), radius)
        return radius

    def _polish(self, found: Nearest, steps: int) -> None:
        """Steps onto linearised boundaries from the nearest point, or from the clean image where there is none."""
        search, rows, clean = found.search, found.rows, found.clean
        labels, x = search.labels[rows], found.x
        for k in range(steps):
            share = self.first_change * _decay(k, steps) + 0.01
            logits, lead, w = search.gradient(rows, x, lambda z: margin(z, labels))
            fooled = found.offer(x, logits)
            start = torch.where(fooled[:, None, None, None], x.lerp(clean, share), x)
            x = biased_step(
                search.threat.norm, (x, lead, w), start, clean, eta=1 + share / 2, alpha=0.1
            )
            x = search.inside(rows, x, BEYOND * search.threat.radius)

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
            answer = search.logits(rows, x)
            # Logits that are no numbers are no answer.
            fooled = (answer.argmax(1) != search.labels[rows]) & answer.isfinite().all(1)
            high = torch.where(fooled, middle, high)
            low = torch.where(fooled, low, middle)
        # Where no shortening held, the point itself: recomputing it could round it back over the boundary.
        shortened = clean + high[:, None, None, None] * (nearest - clean)
        x = torch.where((high < 1)[:, None, None, None], shortened, nearest)
        logits = search.logits(rows, x)
        # Rounding leaves no image outside the ball.
        within = search.threat.distance(clean, x) <= search.threat.radius * (1 - 2e-6)
        search.offer(rows[within], x[within], logits[within])


def _decay(k: int, steps: int) -> float:
    """Half a cosine: 1 at the first step, near 0 at the last."""
    return (1 + math.cos(math.pi * k / steps)) / 2


def nearest_boundaries(
    search: Search, rows: Tensor, targets: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The boundaries of the classifier linearised at the clean images, the nearest first.

    One forward pass, and a backward pass for each class looked at.

    Arguments:
        rows: n of them.
        targets: how many of the likeliest wrong classes to look at, m where there are fewer.

    Returns:
        classes with shape (n, m), the distances (z_y - z_j) / ||grad (z_j - z_y)||_q of their boundaries with shape
        (n, m), and those gradients with shape (n, m, C, H, W).
    """
    classes = likeliest(search.clean_logits[rows], search.labels[rows])
    classes = classes[:, : min(targets, search.classes - 1)]
    leads, gradients = search.slopes(rows, search.images[rows], classes)
    slope = search.threat.dual(gradients.flatten(0, 1)).reshape(leads.shape)
    distance = -leads / slope.clamp(min=torch.finfo(leads.dtype).tiny)
    distance, order = distance.sort(1)
    each = torch.arange(len(rows), device=order.device)[:, None]
    return classes.gather(1, order), distance, gradients[each, order]
