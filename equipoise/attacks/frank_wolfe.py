"""Frank-Wolfe: steps towards the corner of the ball and box that the gradient points at; for L1, where corners matter.

    v_k = argmax of <g_k, v> over the allowed images,    x'_1 = v_0,    x'_{k+1} = (x'_k + v_k) / 2,

towards each of the likeliest wrong classes on the margin z_t - z_y, from the clean image. For L1 the corner has the
pixels of largest |g| at the edge of [0, 1], as many as the radius pays for, and iterates are images with few pixels
changed, which projected steps reach slowly; for L2 v_k is the steepest step cut off at 0 and 1, nearly the corner.
The constant share of a half is ours: the published 2 / (k + 2) found less on our classifiers.

References:
    A Frank-Wolfe framework for efficient and effective adversarial attacks (Chen et al., 2018),
    https://arxiv.org/abs/1811.10828
"""

from dataclasses import dataclass

from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.losses import likeliest, margin

__all__ = ["FrankWolfe"]


@dataclass(frozen=True, kw_only=True)
class FrankWolfe(Attack):
    """Frank-Wolfe steps towards each of several wrong classes.

    Arguments:
        steps: gradient steps towards each class.
        targets: how many classes it tries; all wrong ones when there are fewer.
    """

    steps: int = 20
    targets: int = 9

    def search(self, search: Search) -> None:
        threat = search.threat
        order = likeliest(search.clean_logits, search.labels)
        for rank in range(min(self.targets, search.classes - 1)):
            rows = search.unbroken()
            x, targets = search.images[rows], order[rows, rank]
            for k in range(self.steps):
                if not (len(rows) and threat.radius):
                    break
                labels = search.labels[rows]
                logits, _, gradient = search.gradient(
                    rows, x, lambda z, y=labels, t=targets: margin(z, y, t)
                )
                left = ~search.offer(rows, x, logits)
                rows, x, gradient, targets = (part[left] for part in (rows, x, gradient, targets))
                corner = threat.ascend(search.images[rows], gradient, threat.radius)
                x = search.inside(rows, (x + corner) / 2 if k else corner)
            if len(rows) and threat.radius:
                search.attempt(rows, x, search.logits(rows, x))
