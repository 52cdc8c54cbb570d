"""Auto-PGD: projected gradient descent that chooses its step by watching its own progress.

With step eta, momentum 0.75 and projection P,

    z = P(x'_k + eta steepest(g_k)),    x'_{k+1} = P(x'_k + 0.75 (z - x'_k) + 0.25 (x'_k - x'_{k-1})).

The step starts at twice the radius. At checkpoints that grow denser it is halved, and the run goes back to its best
point, when the loss rose in fewer than 75 % of the steps since the last checkpoint, or when neither step nor best loss
changed since then.

For L1 the published schedule of sparse steps is replaced by the steepest step inside the box (`L1.ascend`); that choice
is ours.

References:
    Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks
    (Croce and Hein, 2020), https://arxiv.org/abs/2003.01690
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.losses import Loss, LossName, choose_loss

__all__ = ["APGD"]


def checkpoints(steps: int) -> list[int]:
    """Steps at which a run looks back: shares 0, 0.22, 0.41, ... of all steps, gaps shrinking by 0.03 down to 0.06."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # ceil, with a little room for shares such as 0.7000000000000001
    return [-int(-(share * steps - 1e-9) // 1) for share in shares[1:] if share < 1]


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD.

    Arguments:
        loss: what to increase: "ce", "dlr" or "margin", see `equipoise.attacks.losses`.
        targeted: whether to run once towards each of the most likely wrong classes instead of away from the label.
        steps: gradient steps in each run.
        restarts: independent runs.
        targets: how many classes a targeted attack tries; all wrong ones when there are fewer.
    """

    loss: LossName = "ce"
    targeted: bool = False
    steps: int = 100
    restarts: int = 1
    targets: int = 9

    def search(self, search: Search) -> None:
        loss, note = choose_loss(self.loss, search.classes, self.targeted)
        search.notes += [note] if note else []
        if not self.targeted:
            for restart in range(self.restarts):
                self._ascend(search, loss, None, restart)
            return
        order = search.clean_logits.scatter(1, search.labels[:, None], -torch.inf).argsort(
            1, descending=True
        )
        for rank in range(min(self.targets, search.classes - 1)):
            for restart in range(self.restarts):
                self._ascend(search, loss, order[:, rank], rank, restart)

    def _ascend(self, search: Search, loss: Loss, targets: Tensor | None, *name: object) -> None:
        """One run over the unbroken rows."""
        rows = search.unbroken()
        if not (len(rows) and search.threat.radius):
            return
        threat, marks, last_mark = search.threat, set(checkpoints(self.steps)), 0
        clean = search.images[rows]
        start = search.inside(rows, clean + threat.random(clean, search.generators(rows, *name)))
        value, gradient, left = _look(search, loss, targets, rows, start)
        eta = torch.full_like(value, 2 * threat.radius)
        run = _Run(
            rows,
            start,
            start,
            gradient,
            value,
            eta,
            start,
            gradient,
            value,
            torch.zeros_like(value),
            value,
            eta,
        )
        run.keep(left)
        for k in range(self.steps):
            if not len(run.rows):
                return
            z = search.inside(run.rows, threat.ascend(run.x, run.gradient, run.eta))
            if k:
                z = run.x + 0.75 * (z - run.x) + 0.25 * (run.x - run.before)
                z = search.inside(run.rows, z)
            if k == self.steps - 1:
                # The last point needs a verdict, not a gradient.
                search.attempt(run.rows, z, search.logits(run.rows, z))
                return
            run.before, run.x, previous = run.x, z, run.value
            run.value, run.gradient, left = _look(search, loss, targets, run.rows, z)
            run.note_progress(previous)
            if k + 1 in marks:
                run.look_back(k + 1 - last_mark)
                last_mark = k + 1
            run.keep(left)


def _look(
    search: Search, loss: Loss, targets: Tensor | None, rows: Tensor, x: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and gradient at `x`, and which rows are unbroken still."""
    labels = search.labels[rows]
    chosen = None if targets is None else targets[rows]
    logits, value, gradient = search.gradient(rows, x, lambda z: loss(z, labels, chosen))
    return value, gradient, ~search.offer(rows, x, logits)


@dataclass
class _Run:
    """Where one run stands: everything has one entry for each row that is unbroken."""

    rows: Tensor
    x: Tensor
    before: Tensor
    gradient: Tensor
    value: Tensor
    eta: Tensor
    best_x: Tensor
    best_gradient: Tensor
    best: Tensor
    rises: Tensor
    best_at_mark: Tensor
    eta_at_mark: Tensor

    def keep(self, left: Tensor) -> None:
        if not left.all():
            for part in fields(self):
                setattr(self, part.name, getattr(self, part.name)[left])

    def note_progress(self, previous: Tensor) -> None:
        self.rises = self.rises + (self.value > previous)
        better = self.value > self.best
        self.best_x = _where(better, self.x, self.best_x)
        self.best_gradient = _where(better, self.gradient, self.best_gradient)
        self.best = torch.maximum(self.value, self.best)

    def look_back(self, steps: int) -> None:
        """Halves the step and returns to the best point where the last `steps` steps made too little progress."""
        slow = self.rises < 0.75 * steps
        stuck = (self.eta == self.eta_at_mark) & (self.best == self.best_at_mark)
        halve = slow | stuck
        self.eta_at_mark, self.best_at_mark = self.eta, self.best
        self.eta = torch.where(halve, self.eta / 2, self.eta)
        self.x = _where(halve, self.best_x, self.x)
        self.gradient = _where(halve, self.best_gradient, self.gradient)
        self.value = torch.where(halve, self.best, self.value)
        self.rises = torch.zeros_like(self.rises)


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Whole images of `a` where `condition` (B,) holds, else of `b`."""
    return torch.where(condition[:, None, None, None], a, b)
