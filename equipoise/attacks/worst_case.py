"""WorstCase: one verdict from several attacks; an image counts as robust only when every one of them failed.

Members, in turn, each on the images that are left:

    descent    APGD away from the label on the log-odds, 20 steps
    targets    APGD towards each of 9 wrong classes on the margin z_t - z_y, 20 steps each, first the class whose
               boundary is nearest in the classifier linearised at the image, at (z_y - z_t) / ||grad (z_t - z_y)||_q
    corners    for L1 only, whose ball has many: FrankWolfe, 6 steps towards each class, and MinimumNorm, 50 steps
    focus      the three classes that came nearest: APGD goes on from the best point found, in rounds of 20 steps while
               an image can still make it: when it lacks at most four times what its last round gained, as a run whose
               gains halve from round to round would come to twice that gain
    again      images that lack less than a twentieth of what they lacked at first: longer runs from new random
               points, on the log-odds and towards those three classes
    Square     100 queries without gradients

Most robust images are far from any boundary and cost the first two members and the queries: 521 forward and backward
passes each for 10 classes. Where Square comes nearer to a wrong answer than gradients did, gradients mislead, and the
image gets its 5,000 queries.

`budget="standard"` is AutoAttack's standard version instead: APGD on the log-odds, targeted APGD on the DLR loss and
targeted FAB, 100 steps each, then Square with 5,000 queries. For L1 its APGD does not begin in larger balls.

References:
    Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks
    (Croce and Hein, 2020), https://arxiv.org/abs/2003.01690
    MALT powers up adversarial attacks (Melamed et al., 2024), https://arxiv.org/abs/2407.02240
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from equipoise.attacks.apgd import APGD, ascend
from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.fab import FAB
from equipoise.attacks.frank_wolfe import FrankWolfe
from equipoise.attacks.losses import likeliest, log_odds, margin
from equipoise.attacks.minimum_norm import MinimumNorm, nearest_boundaries
from equipoise.attacks.square import Square
from equipoise.errors import EquipoiseError
from equipoise.norms import Norm

__all__ = ["Budget", "WorstCase"]

Budget = Literal["adaptive", "standard"]

HOPE = 4.0
"""How many times its last gain an image may lack for another round."""

NEAR = 0.05
"""The share of the clean image's gap that an image may lack to be tried again."""

NEARER = 0.05
"""By which share of the gap Square has to beat gradients before they count as misleading."""


@dataclass(frozen=True, kw_only=True)
class WorstCase(Attack):
    """The worst of several attacks, passes being spent where they can still change the verdict.

    Arguments:
        budget: "adaptive", or "standard" for AutoAttack's standard version, to quote it.
        steps: gradient steps of each run and round of the adaptive budget.
        targets: wrong classes that targeted attacks try; all when there are fewer.
        focus: of these, how many get further rounds.
        rounds: at most so many of them.
        queries: of Square at first, before there is a reason for more.

    Raises:
        EquipoiseError: for another budget.
    """

    budget: Budget = "adaptive"
    steps: int = 20
    targets: int = 9
    focus: int = 3
    rounds: int = 5
    queries: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget not in get_args(Budget):
            raise EquipoiseError(
                f"WorstCase has the budgets {' and '.join(get_args(Budget))}, not {self.budget!r}."
            )

    def search(self, search: Search) -> None:
        if not search.threat.radius:
            return
        if self.budget == "standard":
            self._standard(search)
        else:
            self._adaptive(search)
        # Minimum-norm members leave inf where they found nothing.
        rows = search.unbroken()
        search.distance[rows] = search.threat.distance(search.images[rows], search.best[rows])

    def _standard(self, search: Search) -> None:
        members: dict[str, Attack] = {
            "APGD-CE": APGD(steps=100),
            "APGD-T": APGD(loss="dlr", targeted=True, steps=100),
            "FAB-T": FAB(steps=100),
            "Square": Square(queries=5000, horizon=10_000),
        }
        for name, attack in members.items():
            with _member(search, name):
                attack.search(search)

    def _adaptive(self, search: Search) -> None:
        with _member(search, "descent"):
            APGD(steps=self.steps).search(search)
        classes, reached, points = self._targets(search)
        if search.threat.norm is Norm.L1:
            with _member(search, "corners"):
                FrankWolfe(steps=6, targets=self.targets).search(search)
                MinimumNorm(steps=50, targets=self.targets).search(search)
        self._focus(search, classes, reached, points)
        before = search.margin.clone()
        with _member(search, "Square"):
            Square(queries=self.queries).search(search)
            # Each image decides for itself, so that its answer does not depend on the batch.
            misled = ~search.success & (search.margin > (1 - NEARER) * before)
            if misled.any():
                search.notes.append(
                    "queries without gradients came nearer to a wrong answer than gradients did on some images, which "
                    "got 5000 of them"
                )
                Square().query(search, misled.nonzero().squeeze(1))

    def _targets(self, search: Search) -> tuple[Tensor, Tensor, Tensor]:
        """Runs towards each of m classes.

        Returns:
            classes with shape (B, m), margins reached with shape (B, m), -inf for what is broken, and the points where
            they were reached with shape (m, B, C, H, W).
        """
        rows = search.unbroken()
        m = min(self.targets, search.classes - 1)
        classes = likeliest(search.clean_logits, search.labels)[:, :m]
        if len(rows):
            classes[rows], _, _ = nearest_boundaries(search, rows, m)
        reached = torch.full(classes.shape, -torch.inf, device=classes.device)
        points = search.images.expand(m, *search.images.shape).clone()
        with _member(search, "targets"):
            for rank in range(m):
                rows = search.unbroken()
                if not len(rows):
                    break
                noise = search.threat.random(search.images[rows], search.generators(rows, rank))
                left, best_x, best = ascend(
                    search,
                    margin,
                    rows,
                    search.images[rows] + noise,
                    steps=self.steps,
                    targets=classes[rows, rank],
                )
                reached[left, rank], points[rank, left] = best, best_x
        return classes, reached, points

    def _focus(self, search: Search, classes: Tensor, reached: Tensor, points: Tensor) -> None:
        """Further rounds towards the classes that came nearest, while there is hope."""
        order = reached.argsort(1, descending=True)
        clean = _leads(search.clean_logits, search.labels, classes)
        with _member(search, "focus"):
            for choice in range(min(self.focus, classes.shape[1])):
                rows = search.unbroken()
                rank = order[rows, choice]
                value, x = reached[rows, rank], points[rank, rows]
                gained = value - clean[rows, rank]
                for _ in range(self.rounds):
                    hope = (-value <= HOPE * gained) & ~search.success[rows]
                    rows, rank, value, x = rows[hope], rank[hope], value[hope], x[hope]
                    if not len(rows):
                        break
                    targets, before = classes[rows, rank], value
                    left, best_x, best = ascend(
                        search, margin, rows, x, steps=self.steps, targets=targets, size=1.0
                    )
                    # What was broken on the way is gone from `left`, which keeps the order of `rows`.
                    kept = torch.isin(rows, left)
                    rows, rank = left, rank[kept]
                    gained = best - before[kept]
                    value, x = best, best_x
                    reached[rows, rank] = value
        self._again(search, classes, reached, clean)

    def _again(self, search: Search, classes: Tensor, reached: Tensor, clean: Tensor) -> None:
        """Longer runs from new random points, for images that lack little."""
        near = (reached >= NEAR * clean) & reached.isfinite()
        order = reached.argsort(1, descending=True)[:, : self.focus]
        with _member(search, "again"):
            for choice in range(1 + order.shape[1]):
                rows = search.unbroken()
                rows = rows[near[rows].any(1)]
                if not len(rows):
                    return
                images, targets = search.images[rows], None
                if choice:
                    targets = classes[rows, order[rows, choice - 1]]
                loss = margin if choice else log_odds
                noise = search.threat.random(images, search.generators(rows, choice))
                ascend(search, loss, rows, images + noise, steps=3 * self.steps, targets=targets)


@contextmanager
def _member(search: Search, name: str) -> Iterator[None]:
    """What is found inside was found by `name`, which also names the random streams."""
    outer, search.stage = search.stage, name
    try:
        yield
    finally:
        search.stage = outer


def _leads(logits: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """z_t - z_y of several classes: shapes (B, K), (B,), (B, m) to (B, m)."""
    return logits.gather(1, classes) - logits.gather(1, labels[:, None])
