"""Auto-PGD: projected gradient descent that chooses its step by watching its own progress.

With step eta, momentum 0.75 and projection P,

    z = P(x'_k + eta steepest(g_k)),    x'_{k+1} = P(x'_k + 0.75 (z - x'_k) + 0.25 (x'_k - x'_{k-1})).

The step starts at twice the radius. At checkpoints that grow denser it is halved, and the run goes back to its best
point, when the loss rose in fewer than 75 % of the steps since the last checkpoint, or when neither step nor best loss
changed since then.

For L1 the steepest step is a single pixel's, and far too short-sighted. A step there spreads eta evenly over the k
pixels of largest |g|, without momentum. k starts at a fifth of the pixels and is set, at checkpoints 4 % apart, to the
number that the best point changes, over 1.5; where that number has fallen by 5 % the run goes back to its best point
with eta = radius, elsewhere eta is divided by 1.5, down to a tenth of the radius. The published attack also begins in
larger balls, which only made ours weaker.

References:
    Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks
    (Croce and Hein, 2020), https://arxiv.org/abs/2003.01690
    Mind the box: l1-APGD for sparse adversarial attacks on image classifiers (Croce and Hein, 2021),
    https://arxiv.org/abs/2103.01208
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from equipoise.attacks.attack import Attack, Search
from equipoise.attacks.losses import Loss, LossName, choose_loss, likeliest
from equipoise.norms import Norm

__all__ = ["APGD", "ascend"]


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
        ranks = min(self.targets, search.classes - 1) if self.targeted else 1
        order = likeliest(search.clean_logits, search.labels)
        for rank in range(ranks):
            for restart in range(self.restarts):
                rows = search.unbroken()
                if not (len(rows) and search.threat.radius):
                    return
                name = (rank, restart) if self.targeted else (restart,)
                targets = order[rows, rank] if self.targeted else None
                noise = search.threat.random(search.images[rows], search.generators(rows, *name))
                start = search.images[rows] + noise
                ascend(search, loss, rows, start, steps=self.steps, targets=targets)


def ascend(
    search: Search,
    loss: Loss,
    rows: Tensor,
    start: Tensor,
    *,
    steps: int,
    targets: Tensor | None = None,
    size: float = 2.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """One run of Auto-PGD; rows that it breaks leave it at once.

    Arguments:
        rows: n of them.
        start: where each starts, with shape (n, C, H, W); brought inside the ball and the box.
        targets: the class that each is to be taken for; away from the label when None.
        size: length of the first step as a share of the radius.

    Returns:
        what is left: rows, their points of highest loss, and that loss.
    """
    x = search.inside(rows, start)
    value, gradient, left = _look(search, loss, rows, x, targets)
    kind = _SparseRun if search.threat.norm is Norm.L1 else _Run
    run = kind(
        search=search,
        rows=rows,
        targets=targets,
        x=x,
        before=x,
        gradient=gradient,
        value=value,
        eta=torch.full_like(value, size * search.threat.radius),
        best_x=x,
        best_gradient=gradient,
        best=value,
    )
    run.keep(left)
    marks, last_mark = set(kind.marks(steps)), 0
    for k in range(steps):
        if not len(run.rows):
            break
        z, previous = run.step(k), run.value
        run.before, run.x = run.x, z
        if k == steps - 1:
            # The last point needs a verdict, not a gradient.
            logits = search.logits(run.rows, z)
            search.attempt(run.rows, z, logits)
            run.value = loss(logits, search.labels[run.rows], run.targets)
            left = ~search.success[run.rows]
        else:
            run.value, run.gradient, left = _look(search, loss, run.rows, z, run.targets)
        run.note_progress(previous)
        if k + 1 in marks:
            run.look_back(k + 1 - last_mark)
            last_mark = k + 1
        run.keep(left)
    return run.rows, run.best_x, run.best


def _look(
    search: Search, loss: Loss, rows: Tensor, x: Tensor, targets: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and gradient at `x`, and which rows are unbroken still."""
    labels = search.labels[rows]
    logits, value, gradient = search.gradient(rows, x, lambda z: loss(z, labels, targets))
    return value, gradient, ~search.offer(rows, x, logits)


@dataclass(kw_only=True)
class _Run:
    """Where one run stands: every tensor has one entry for each row that is unbroken."""

    search: Search
    rows: Tensor
    targets: Tensor | None
    x: Tensor
    before: Tensor
    gradient: Tensor
    value: Tensor
    eta: Tensor
    best_x: Tensor
    best_gradient: Tensor
    best: Tensor

    def __post_init__(self) -> None:
        self.rises = torch.zeros_like(self.value)
        self.best_at_mark, self.eta_at_mark = self.value, self.eta

    @staticmethod
    def marks(steps: int) -> list[int]:
        return checkpoints(steps)

    def keep(self, left: Tensor) -> None:
        if not left.all():
            for name, value in vars(self).items():
                if isinstance(value, Tensor):
                    setattr(self, name, value[left])

    def step(self, k: int) -> Tensor:
        search, rows = self.search, self.rows
        z = search.inside(rows, search.threat.ascend(self.x, self.gradient, self.eta))
        if k:
            z = self.x + 0.75 * (z - self.x) + 0.25 * (self.x - self.before)
            z = search.inside(rows, z)
        return z

    def note_progress(self, previous: Tensor) -> None:
        self.rises = self.rises + (self.value > previous)
        better = self.value > self.best
        self.best_x = _where(better, self.x, self.best_x)
        self.best_gradient = _where(better, self.gradient, self.best_gradient)
        self.best = torch.where(better, self.value, self.best)

    def look_back(self, steps: int) -> None:
        """Halves the step and returns to the best point where the last `steps` steps made too little progress."""
        slow = self.rises < 0.75 * steps
        stuck = (self.eta == self.eta_at_mark) & (self.best == self.best_at_mark)
        halve = slow | stuck
        self.eta_at_mark, self.best_at_mark = self.eta, self.best
        self.eta = torch.where(halve, self.eta / 2, self.eta)
        self.go_back(halve)
        self.rises = torch.zeros_like(self.rises)

    def go_back(self, where: Tensor) -> None:
        """Returns to the best point."""
        self.x = _where(where, self.best_x, self.x)
        self.gradient = _where(where, self.best_gradient, self.gradient)
        self.value = torch.where(where, self.best, self.value)


@dataclass(kw_only=True)
class _SparseRun(_Run):
    """Steps for L1, spread over `share` of the pixels; `changed` of them differed at the last checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.share = torch.full_like(self.value, 0.2)
        self.changed = torch.ones_like(self.value)
        self.eta = self.eta / 2

    @staticmethod
    def marks(steps: int) -> list[int]:
        gap = max(1, steps // 25)
        return list(range(gap, steps, gap))

    def step(self, k: int) -> Tensor:
        slope = self.gradient.flatten(1)
        count = (self.share * slope.shape[1]).long().clamp(min=1)
        size = slope.abs()
        least = size.sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
        chosen = slope.sign() * (size >= least)
        chosen = chosen * (self.eta / chosen.abs().sum(1).clamp(min=1))[:, None]
        return self.search.inside(self.rows, self.x + chosen.reshape(self.x.shape))

    def look_back(self, steps: int) -> None:
        radius, clean = self.search.threat.radius, self.search.images[self.rows]
        changed = (self.best_x != clean).flatten(1).double().mean(1).to(self.share.dtype)
        fewer = changed < 0.95 * self.changed
        self.share = changed / 1.5
        self.eta = torch.where(fewer, radius, (self.eta / 1.5).clamp(min=radius / 10))
        self.changed = changed
        self.go_back(fewer)


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Whole images of `a` where `condition` (B,) holds, else of `b`."""
    return torch.where(condition[:, None, None, None], a, b)
