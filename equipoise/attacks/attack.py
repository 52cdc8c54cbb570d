"""Attacks: a search, image by image, for a small change that makes a classifier answer wrongly.

Notation. x are the images, y their labels, x' the iterates; a threat (see `equipoise.norms`) says which x' are allowed,
besides x' in [0, 1]. One forward pass of one image counts 1, one backward pass to the image counts 1.

An attack holds settings; calling it runs it. The call checks the input, asks the classifier about the clean images,
hands those it gets right to `Attack.search`, and reports per image. What a search must do is small: propose images
through `Search`, which counts passes, notices success and drops broken images from later passes.

Where a classifier has an engine for searches (`equipoise.classifiers.Quick`), proposals are made by it, and whatever
they seem to break is asked of the classifier itself: success, margins and distances are always its own.

Every image has its own random streams, named by (seed, id, attack), and network calls are padded (`call_padded`), so
that no answer depends on the batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial

import torch
from torch import Generator, Tensor, nn

from equipoise.attacks.input_gradient import finite, gradient_of, input_gradient
from equipoise.attacks.losses import margin
from equipoise.classifiers import Classifier, Quick, check_range, precision
from equipoise.errors import EquipoiseError
from equipoise.norms import Threat
from equipoise.padding import call_padded
from equipoise.streams import content_ids, stream

__all__ = ["Attack", "AttackResult", "Search"]


@dataclass(frozen=True)
class AttackResult:
    """What an attack found, image by image.

    Attributes:
        images: with shape (B, C, H, W): the adversarial image found, else the attempt with the largest margin; the
            clean image where it was misclassified to begin with. Inside the ball and [0, 1].
        success: with shape (B,): whether the classifier misclassifies `images`.
        distance: with shape (B,): from the clean image to `images`; for `MinimumNorm` inf where nothing was found.
        margin: with shape (B,): max over wrong classes of z_j - z_y at `images`, above 0 where misclassified; how much
            was left to gain where not.
        broken_by: for each image the attack, or member of an ensemble, that found `images`: "clean" where it was
            misclassified to begin with, "" where nothing was found.
        agreement: with shape (B,): how far the gradient at the clean image says what small changes do, from -1 to 1,
            see `equipoise.attacks.agreement`; NaN where the attack did not ask.
        forwards: with shape (B,): forward passes spent.
        backwards: with shape (B,): backward passes spent.
        notes: what the attack did other than its settings say, in sentences.
    """

    images: Tensor
    success: Tensor
    distance: Tensor
    margin: Tensor
    broken_by: tuple[str, ...]
    agreement: Tensor
    forwards: Tensor
    backwards: Tensor
    notes: tuple[str, ...] = ()

    @property
    def passes(self) -> Tensor:
        """Forward and backward passes spent on each image, with shape (B,)."""
        return self.forwards + self.backwards


@dataclass
class Search:
    """The state of one attack on one batch of n images; rows index the images, and may name one several times.

    `best` holds the image to return for each row, `success` whether it is misclassified, `distance` how far it is from
    the clean image, `margin` the largest lead of a wrong class there, and `broken_by` the `stage` that found it. Runs
    that go side by side may fill `width` rows.
    Passes that only guide the search are made by `quick`, where there is one.
    """

    net: Callable[[Tensor], Tensor]
    images: Tensor
    labels: Tensor
    threat: Threat
    stream_names: Sequence[tuple[object, ...]]
    stage: str
    width: int
    quick: Callable[[Tensor], Tensor] | None = None
    notes: list[str] = field(default_factory=list)
    clean_logits: Tensor = field(init=False)

    def __post_init__(self) -> None:
        n, device = len(self.images), self.images.device
        self.best = self.images.clone()
        self.success = torch.zeros(n, dtype=torch.bool, device=device)
        self.distance = torch.zeros(n, device=device)
        self.margin = torch.full((n,), -torch.inf, device=device)
        self.broken_by = [""] * n
        self.agreement = torch.full((n,), torch.nan, device=device)
        self.forwards = torch.zeros(n, dtype=torch.int64, device=device)
        self.backwards = torch.zeros(n, dtype=torch.int64, device=device)

    @property
    def classes(self) -> int:
        """How many classes K the classifier tells apart."""
        return self.clean_logits.shape[1]

    def unbroken(self) -> Tensor:
        """Rows for which nothing was found yet."""
        return (~self.success).nonzero().squeeze(1)

    def generators(self, rows: Tensor, *name: object) -> list[Generator]:
        """A fresh random stream for each row, the same whenever it is asked for by the same name."""
        return [stream(*self.stream_names[row], self.stage, *name) for row in rows.tolist()]

    def inside(self, rows: Tensor, moved: Tensor, radius: Tensor | float | None = None) -> Tensor:
        """The image nearest to `moved` in the ball around its clean image and in [0, 1].

        The radius is shortened by two millionths, so that rounding leaves no image outside the ball.
        """
        clean = self.images[rows]
        radius = self.threat.radius if radius is None else radius
        return self.threat.nearest(clean, moved - clean, radius * (1 - 2e-6))

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Inside, the classifier itself makes all passes."""
        quick, self.quick = self.quick, None
        try:
            yield
        finally:
            self.quick = quick

    def logits(self, rows: Tensor, x: Tensor) -> Tensor:
        """Logits with shape (len(rows), K); one forward pass for each row."""
        self._count(rows, forwards=1)
        with torch.no_grad():
            return (self.quick or self.net)(x).float()

    def confirm(self, rows: Tensor, x: Tensor, logits: Tensor, doubtful: Tensor) -> Tensor:
        """The logits with the classifier's own for rows that are `doubtful`, with shape (len(rows),): one forward pass
        for each of them, none without an engine for searches."""
        if self.quick is None or not doubtful.any():
            return logits
        with self.exactly():
            own = self.logits(rows[doubtful], x[doubtful])
        return logits.index_put((doubtful.nonzero().squeeze(1),), own)

    def gradient(
        self, rows: Tensor, x: Tensor, loss: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, loss (one per row) and the loss's gradient at `x`; one forward and one backward pass for each row."""
        self._count(rows, forwards=1, backwards=1)
        return input_gradient(self.quick or self.net, x, loss, self.notes)

    def slopes(self, rows: Tensor, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The lead of several wrong classes and its gradient: one forward pass and a backward pass for each class.

        Arguments:
            targets: classes to look at, with shape (len(rows), m).

        Returns:
            z_t - z_y with shape (len(rows), m), and its gradients with shape (len(rows), m, C, H, W).
        """
        self._count(rows, forwards=1, backwards=targets.shape[1])
        with torch.enable_grad():
            pixels = x.detach().clone().requires_grad_(True)
            logits = (self.quick or self.net)(pixels).float()
            leads = logits.gather(1, targets) - logits.gather(1, self.labels[rows, None])
            gradients = [
                gradient_of(lead, pixels, self.notes, keep=True) for lead in leads.unbind(1)
            ]
        return leads.detach(), finite(torch.stack(gradients, 1), self.notes)

    def _count(self, rows: Tensor, forwards: int, backwards: int = 0) -> None:
        self.forwards.index_add_(0, rows, torch.full_like(rows, forwards))
        self.backwards.index_add_(0, rows, torch.full_like(rows, backwards))

    def offer(self, rows: Tensor, x: Tensor, logits: Tensor) -> Tensor:
        """Keeps `x` where it is misclassified.

        Returns:
            which of `rows` are broken by now, with shape (len(rows),).
        """
        lead = self._lead(rows, logits)
        if self.quick is not None:
            lead = self._lead(rows, self.confirm(rows, x, logits, lead > 0))
        return self._take(rows, x, lead)

    def _take(self, rows: Tensor, x: Tensor, lead: Tensor) -> Tensor:
        fooled = lead > 0
        if fooled.any():
            self._keep(rows[fooled], x[fooled], lead[fooled])
            self.success[rows[fooled]] = True
            for row in rows[fooled].tolist():
                self.broken_by[row] = self.stage
        return self.success[rows]

    def attempt(self, rows: Tensor, x: Tensor, logits: Tensor) -> None:
        """Keeps `x`, where a run ended, as the image to return: as a success, or as an unbroken row's best attempt."""
        logits = self.confirm(rows, x, logits, torch.ones_like(rows, dtype=torch.bool))
        lead = self._lead(rows, logits)
        self._take(rows, x, lead)
        better = ~self.success[rows] & (lead >= self.margin[rows])
        self._keep(rows[better], x[better], lead[better])

    def _lead(self, rows: Tensor, logits: Tensor) -> Tensor:
        """max over j != y of z_j - z_y: above 0 where the answer is wrong, also by the rule that the first of equal
        logits is the answer, and -inf for logits that are no numbers, which are no answer."""
        labels = self.labels[rows]
        lead = margin(logits, labels)
        wrong = logits.argmax(1) != labels
        tiny = torch.finfo(lead.dtype).tiny
        lead = torch.where(wrong, lead.clamp(min=tiny), lead.clamp(max=0))
        return torch.where(logits.isfinite().all(1), lead, -torch.inf)

    def _keep(self, rows: Tensor, x: Tensor, lead: Tensor) -> None:
        # One entry for each row: that with the largest lead, the first where several have it.
        order = lead.argsort(descending=True, stable=True)
        order = order[rows[order].argsort(stable=True)]
        first = rows[order].diff(prepend=rows.new_tensor([-1])) > 0
        chosen = order[first]
        rows, x = rows[chosen], x[chosen]
        self.best[rows] = x
        self.margin[rows] = lead[chosen]
        self.distance[rows] = self.threat.distance(self.images[rows], x)


def _call(net: nn.Module, images: Tensor) -> Tensor:
    """Logits of a bare network, which gets images in its own precision."""
    return call_padded(net, images.to(precision(net)))


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """The network in eval mode, and each of its modules in its own mode again afterwards."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Settings of an attack. A new attack overrides `search`.

    Raises:
        EquipoiseError: when a number among the settings is not positive, or a whole one below 1.
    """

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            least = 1 if isinstance(value, int) else 0
            counts = isinstance(value, int | float) and not isinstance(value, bool)
            if counts and not (value >= least and value > 0):
                raise EquipoiseError(
                    f"Cannot build {type(self).__name__} with {setting.name}={value}: it is at least 1 where it counts "
                    "something, and positive otherwise."
                )

    @abstractmethod
    def search(self, search: Search) -> None:
        """Proposes images for the rows that are unbroken; results are left in `search`."""

    def __call__(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: Threat,
        *,
        seed: int = 0,
        ids: Sequence[str] | None = None,
        width: int | None = None,
    ) -> AttackResult:
        """Attacks a batch.

        Arguments:
            classifier: from images in [0, 1] to logits; run in eval mode, on its own device.
            images: with shape (B, C, H, W), in [0, 1].
            labels: with shape (B,).
            threat: which changes are allowed.
            seed: of the random streams.
            ids: names of the images' random streams; digests of their pixels when None.
            width: how many images a network call may hold, when that is more than are given; it changes no answer.

        Raises:
            EquipoiseError: for images outside [0, 1] or labels that do not fit images or classes.
        """
        name = type(self).__name__
        if not isinstance(threat, Threat):
            raise EquipoiseError(
                f"{name} needs a threat such as equipoise.L2(0.5), not {threat!r}."
            )
        if images.dim() != 4 or labels.shape != images.shape[:1] or labels.is_floating_point():
            raise EquipoiseError(
                f"{name} needs images (B, C, H, W) and whole labels (B,), not {tuple(images.shape)} and "
                f"{tuple(labels.shape)} of {labels.dtype}."
            )
        first = next(classifier.parameters(), images)
        clean = check_range(images.detach(), name).to(first.device, torch.float32)
        labels = labels.to(first.device, torch.int64)
        own = isinstance(classifier, Classifier)
        forward = classifier.logits if own else partial(_call, classifier)
        ids = content_ids(clean) if ids is None else ids
        if len(ids) != len(clean):
            raise EquipoiseError(f"{name} was given {len(ids)} ids for {len(clean)} images.")
        state = Search(
            net=forward,
            images=clean,
            labels=labels,
            threat=threat,
            stream_names=[(seed, i) for i in ids],
            stage="clean",
            width=max(len(clean), width or 1),
            quick=classifier.guess if isinstance(classifier, Quick) else None,
        )
        if len(clean):
            with _evaluating(classifier):
                self._run(state)
        return AttackResult(
            images=state.best,
            success=state.success,
            distance=state.distance,
            margin=state.margin,
            broken_by=tuple(state.broken_by),
            agreement=state.agreement,
            forwards=state.forwards,
            backwards=state.backwards,
            notes=tuple(dict.fromkeys(state.notes)),
        )

    def _run(self, state: Search) -> None:
        rows = torch.arange(len(state.images), device=state.images.device)
        with state.exactly():
            logits = state.logits(rows, state.images)
        if logits.dim() != 2 or logits.shape[1] < 2:
            raise EquipoiseError(
                f"{type(self).__name__} needs logits (B, K >= 2), not {tuple(logits.shape)}."
            )
        wrong = state.labels[(state.labels < 0) | (state.labels >= logits.shape[1])]
        if len(wrong):
            raise EquipoiseError(
                f"{type(self).__name__} was given the label {int(wrong[0])} for a classifier with "
                f"{logits.shape[1]} classes: labels run from 0 to {logits.shape[1] - 1}."
            )
        if not logits.isfinite().all():
            raise EquipoiseError(
                f"{type(self).__name__} got logits that are NaN or infinite on clean images: check the weights, "
                "and mask classes with a finite number."
            )
        state.clean_logits = logits
        with state.exactly():
            state.attempt(rows, state.images, logits)
        state.stage = type(self).__name__
        if not state.success.all():
            self.search(state)
