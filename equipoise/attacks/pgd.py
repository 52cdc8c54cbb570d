"""Projected gradient descent: steps of steepest ascent on a loss, each followed by projection.

    x'_0 = uniform in the ball,    x'_{k+1} = project(x'_k + a steepest(grad loss(x'_k)))

With r restarts the verdict of an image is the worst of r independent runs.

References:
    Towards deep learning models resistant to adversarial attacks (Madry et al., 2018), https://arxiv.org/abs/1706.06083
"""

from dataclasses import dataclass

from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.losses import LossName, choose_loss

__all__ = ["PGD"]


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Projected gradient descent with a fixed step.

    Arguments:
        steps: gradient steps in each run.
        restarts: independent runs; an image is broken when any of them breaks it.
        step: length of a step as a share of the radius; 2.5 / steps when None, so that a run can cross the ball.
        loss: what to increase, see `equipoise.attacks.losses`.
        random_start: whether a run starts at a random point of the ball instead of the clean image.
    """

    steps: int = 20
    restarts: int = 1
    step: float | None = None
    loss: LossName = "ce"
    random_start: bool = True

    def search(self, search: Search) -> None:
        loss, note = choose_loss(self.loss, search.classes, targeted=False)
        search.notes += [note] if note else []
        size = search.threat.radius * (2.5 / self.steps if self.step is None else self.step)
        for restart in range(self.restarts):
            rows = search.unbroken()
            if not (len(rows) and search.threat.radius):
                return
            x = search.images[rows]
            if self.random_start:
                noise = search.threat.random(x, search.generators(rows, restart))
                x = search.inside(rows, x + noise)
            for _ in range(self.steps):
                labels = search.labels[rows]
                logits, _, gradient = search.gradient(
                    rows, x, lambda z, y=labels: loss(z, y, None)
                )
                left = ~search.offer(rows, x, logits)
                if not left.all():
                    rows, x, gradient = rows[left], x[left], gradient[left]
                if not len(rows):
                    break
                x = search.inside(rows, search.threat.ascend(x, gradient, size))
            if len(rows):
                search.attempt(rows, x, search.logits(rows, x))
