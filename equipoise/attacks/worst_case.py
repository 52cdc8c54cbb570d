"""WorstCase: one verdict from several attacks; an image counts as robust only when every one of them failed.

Members, in turn, each on the images that are left:

    descent    APGD away from the label on the log-odds, 20 steps
    smallest   for L1 only, where projected steps settle slowly which pixels to change: MinimumNorm, 90 steps
    targets    APGD towards 9 wrong classes on the margin z_t - z_y, 20 steps each, side by side: those whose boundary
               is nearest in the classifier linearised at the image, at (z_y - z_t) / ||grad (z_t - z_y)||_q
    focus      the three classes that came nearest: APGD goes on from the best point found, in rounds of 20 steps while
               an image can still make it: when it lacks at most four times what its last round gained, as a run whose
               gains halve from round to round would come to twice that gain
    again      images that lack less than a twentieth of what they lacked at first: longer runs from new random
               points, on the log-odds and towards those three classes
    Square     100 queries without gradients

Most robust images are far from any boundary and cost descent, targets and the queries: 543 forward and backward passes
each for 10 classes. Gradients mislead where they do not agree with small changes (`equipoise.attacks.agreement`), or
where Square comes nearer to a wrong answer than they did. Such images get two members more:

    BPDA       thresholds replaced by the identity and gradients averaged, 30 steps away and towards each class
    Square     5,000 queries

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

from equipoise.attacks.agreement import MISLEADING, measure_agreement
from equipoise.attacks.apgd import APGD, ascend
from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.bpda import BPDA
from equipoise.attacks.fab import FAB
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


LONG_SQUARE = Square(queries=5000, horizon=10_000)
"""As AutoAttack's: its windows stay large for longer, which suits what is flat in pieces."""


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
            "Square": LONG_SQUARE,
        }
        for name, attack in members.items():
            with _member(search, name):
                attack.search(search)
        measure_agreement(search, search.unbroken())

    def _adaptive(self, search: Search) -> None:
        with _member(search, "descent"):
            APGD(steps=self.steps).search(search)
        if search.threat.norm is Norm.L1:
            with _member(search, "smallest"):
                MinimumNorm(steps=90, targets=self.targets).search(search)
        aims = self._aim(search)
        self._again(search, aims)
        measure_agreement(search, search.unbroken())
        before = search.margin.clone()
        with _member(search, "Square"):
            Square(queries=self.queries).search(search)
        # Each image decides for itself, so that its answer does not depend on the batch.
        misled = search.agreement < MISLEADING
        misled |= search.margin > (1 - NEARER) * before
        rows = (misled & ~search.success).nonzero().squeeze(1)
        if not len(rows):
            return
        search.notes.append(
            "on some images gradients mislead: small changes do not what they promise, or queries without gradients "
            "came nearer to a wrong answer; there BPDA and 5000 queries were tried too"
        )
        with _member(search, "BPDA"):
            BPDA(targets=self.targets).descend(search, rows)
        with _member(search, "Square 5000"):
            LONG_SQUARE.query(search, rows[~search.success[rows]])

    def _aim(self, search: Search) -> "_Aims":
        """Runs towards the m nearest classes, all of an image's at once, and further rounds where there is hope."""
        rows, m = search.unbroken(), min(self.targets, search.classes - 1)
        classes = likeliest(search.clean_logits, search.labels)[:, :m]
        if len(rows):
            classes[rows], _, _ = nearest_boundaries(search, rows, m)
        aims = _Aims(search, classes)
        for pairs, ranks in _together(search, rows, m):
            with _member(search, "targets"):
                start = _random_starts(search, pairs, ranks)
                left, x, value = ascend(
                    search, margin, pairs, start, steps=self.steps, targets=classes[pairs, ranks]
                )
            rank = ranks[~search.success[pairs]]
            aims.reached[left, rank] = value
            with _member(search, "focus"):
                self._focus(search, aims, left, rank, x)
        return aims

    def _focus(self, search: Search, aims: "_Aims", rows: Tensor, rank: Tensor, x: Tensor) -> None:
        """Further rounds towards the classes that came nearest, while there is hope."""
        chosen = (aims.order(self.focus)[rows] == rank[:, None]).any(1)
        rows, rank, x = rows[chosen], rank[chosen], x[chosen]
        value = aims.reached[rows, rank]
        gained = value - aims.clean[rows, rank]
        for _ in range(self.rounds):
            hope = -value <= HOPE * gained
            rows, rank, x, value = (part[hope] for part in (rows, rank, x, value))
            if not len(rows):
                return
            left, x, after = ascend(
                search,
                margin,
                rows,
                x,
                steps=self.steps,
                targets=aims.classes[rows, rank],
                size=1.0,
            )
            # What was broken on the way is gone from `left`, which keeps the order of `rows`.
            kept = ~search.success[rows]
            gained, rows, rank, value = after - value[kept], left, rank[kept], after
            aims.reached[rows, rank] = value

    def _again(self, search: Search, aims: "_Aims") -> None:
        """Longer runs from new random points, for images that lack little."""
        rows, steps = search.unbroken(), 3 * self.steps
        rows = rows[(aims.reached[rows] >= NEAR * aims.clean[rows]).any(1)]
        order = aims.order(self.focus)
        with _member(search, "again"):
            if len(rows):
                start = _random_starts(search, rows, torch.zeros_like(rows))
                ascend(search, log_odds, rows, start, steps=steps)
            for pairs, choice in _together(search, rows[~search.success[rows]], order.shape[1]):
                start = _random_starts(search, pairs, 1 + choice)
                targets = aims.classes[pairs, order[pairs, choice]]
                ascend(search, margin, pairs, start, steps=steps, targets=targets)


class _Aims:
    """The m classes that runs aim at and how near they came: all tensors have shape (B, m).

    `clean` holds z_t - z_y at the clean images, `reached` the largest found, -inf where there was no run.
    """

    def __init__(self, search: Search, classes: Tensor) -> None:
        self.classes = classes
        own = search.clean_logits.gather(1, search.labels[:, None])
        self.clean = search.clean_logits.gather(1, classes) - own
        self.reached = torch.full_like(self.clean, -torch.inf)

    def order(self, count: int) -> Tensor:
        """Which came nearest, with shape (B, count), or (B, m) where m is less."""
        return self.reached.argsort(dim=1, descending=True, stable=True)[:, :count]


def _together(search: Search, rows: Tensor, runs: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and numbers of several runs for each image, of as many images at a time as fill a batch.

    The runs of an image go side by side, so that one that breaks it ends the others.
    """
    for part in rows.split(max(1, search.width // runs)):
        if len(part):
            yield (
                part.repeat_interleave(runs),
                torch.arange(runs, device=part.device).repeat(len(part)),
            )


def _random_starts(search: Search, rows: Tensor, numbers: Tensor) -> Tensor:
    """A random point of the ball for each run."""
    start = search.images[rows]
    for number in numbers.unique().tolist():
        here = numbers == number
        noise = search.threat.random(start[here], search.generators(rows[here], number))
        start[here] += noise
    return start


@contextmanager
def _member(search: Search, name: str) -> Iterator[None]:
    """What is found inside was found by `name`, which also names the random streams."""
    outer, search.stage = search.stage, name
    try:
        yield
    finally:
        search.stage = outer
