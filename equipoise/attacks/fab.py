"""FAB: the smallest change that fools the classifier, found by steps onto linearised decision boundaries.

For a target class t, f = z_t - z_y is linearised at the iterate x', which gives the hyperplane H where
f(x') + <w, . - x'> = 0, with w = grad f(x'). With d(z) the smallest change in [0, 1] that takes z onto H (see
`equipoise.attacks.hyperplane`), a step goes a little beyond H from the iterate and, by a share a, from the image x:

    x' <- (1 - a) (x' + eta d(x')) + a (x + eta d(x)),    a = min(alpha, ||d(x')|| / (||d(x')|| + ||d(x)||)).

Where x' fools the classifier, whatever the class, it counts if it is the nearest so far, and is drawn back before the
step: x' <- x + beta (x' - x). Targets are the likeliest wrong classes. The first run towards each starts at x, further
ones at a random point of the sphere with half the radius of the nearest point found, or of the threat if smaller.

The published code spends a forward pass of its own on the verdict of a step and linearises after drawing back. Here the
pass that gives the verdict also gives H, so H is that of the point before it was drawn back: half the forward passes,
and the same steps while nothing is fooled. That choice is ours.

References:
    Minimally distorted adversarial examples with a fast adaptive boundary attack (Croce and Hein, 2020),
    https://arxiv.org/abs/1907.02044
    Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks
    (Croce and Hein, 2020), https://arxiv.org/abs/2003.01690
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.hyperplane import biased_step
from equipoise.attacks.losses import likeliest, margin
from equipoise.attacks.nearest import Nearest

__all__ = ["FAB"]


@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    """Targeted fast adaptive boundary attack. `distance` in the result is the smallest at which it found an image
    misclassified, inf where that is beyond the threat's radius.

    Arguments:
        steps: gradient steps in each run.
        restarts: runs for each target.
        targets: how many of the likeliest wrong classes it steps towards; all when there are fewer.
        alpha: the largest share of the step from the clean image.
        eta: how far a step goes, as a multiple of the way to the hyperplane.
        beta: what drawing back leaves of the change.
    """

    steps: int = 100
    restarts: int = 1
    targets: int = 9
    alpha: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def search(self, search: Search) -> None:
        # Rows stay in the search after they are broken: a smaller change may exist.
        rows = search.unbroken()
        nearest = Nearest(search, rows)
        order = likeliest(search.clean_logits[rows], search.labels[rows])
        for rank in range(min(self.targets, search.classes - 1)):
            for restart in range(self.restarts):
                x = _random_start(nearest, rank, restart) if restart else nearest.clean
                self._approach(nearest, order[:, rank], x)
        # Rounding leaves no image outside the ball.
        found = nearest.distance <= search.threat.radius * (1 - 2e-6)
        with search.exactly():
            search.offer(rows[found], nearest.x[found], nearest.logits[found])
        search.distance[~search.success] = torch.inf

    def _approach(self, nearest: Nearest, targets: Tensor, x: Tensor) -> None:
        """One run towards one class."""
        search, rows, clean = nearest.search, nearest.rows, nearest.clean
        labels = search.labels[rows]
        for _ in range(self.steps):
            logits, lead, w = search.gradient(rows, x, lambda z: margin(z, labels, targets))
            fooled = nearest.offer(x, logits)
            start = torch.where(fooled[:, None, None, None], clean.lerp(x, self.beta), x)
            x = biased_step(
                search.threat.norm, (x, lead, w), start, clean, eta=self.eta, alpha=self.alpha
            ).clamp_(0, 1)
        # The last point needs a verdict, not a gradient.
        nearest.offer(x, search.logits(rows, x))


def _random_start(nearest: Nearest, *name: object) -> Tensor:
    """Points of the sphere with half the radius of the nearest points, or of the threat while that is smaller."""
    search, clean = nearest.search, nearest.clean
    noise = search.threat.random(clean, search.generators(nearest.rows, *name), 1.0)
    length = nearest.distance.clamp(max=search.threat.radius) / 2 / search.threat.norm(noise)
    return (clean + length[:, None, None, None] * noise).clamp_(0, 1)
