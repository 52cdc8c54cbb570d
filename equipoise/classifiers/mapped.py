"""ImageNet's classifiers on images of other classes: which of the 1,000 outputs count as which class.

Notation. z are logits with shape (B, 1000), and class k = 0, ..., K - 1 of the images has a set O_k of outputs. U is
the union of these sets, R the rest of the outputs. `read_as` makes a classifier of the images' classes:

    z'_k = max over O_k of z,    z'_K = max over R of z,

where the last logit is left out when R is empty. Three rules say which images of label y count as right:

    strict    the largest of all z is in O_y
    among     the largest of z on U is in O_y
    pooled    y is the first k < K with the largest z'_k

Where the sets are disjoint, argmax z' = y is "strict", and argmax over k < K is both "among" and "pooled", which is why
a classifier read without the rest is judged by these. Ties apart, the two differ only where an output is in several
sets: "among" then counts each of their classes as right. All are in use: "strict" is the rule of ObjectNet's
authors, "among" and "pooled" are those of two public test beds.

References:
    https://github.com/abarbu/objectnet-template-pytorch, https://github.com/modestyachts/imagenet-testbed and
    https://github.com/mlfoundations/wise-ft, for one rule each
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equipoise.classifiers.classifier import Classifier
from equipoise.errors import EquipoiseError, did_you_mean

__all__ = ["IMAGENET", "NONE", "Mapped", "Rule", "is_right", "read_as", "unread"]

IMAGENET = 1000
"""Outputs of a classifier of ImageNet's."""

NONE = "none of these"
"""The name of the class that z'_K stands for."""

Rule = Literal["strict", "among", "pooled"]


class Mapped(nn.Module):
    """z' of the network's z, with shape (B, K + 1), or (B, K) without the rest."""

    table: Tensor
    rest: Tensor

    def __init__(
        self, net: nn.Module, outputs: Sequence[Sequence[int]], others: bool = True
    ) -> None:
        super().__init__()
        self.net = net
        self.outputs = tuple(tuple(listed) for listed in outputs)
        # Each row is filled up with its first output, which changes no maximum.
        most = max(map(len, outputs))
        rows = [[*listed, *(listed[0] for _ in range(most - len(listed)))] for listed in outputs]
        rest = sorted(set(range(IMAGENET)) - set().union(*outputs)) if others else []
        self.register_buffer("table", torch.tensor(rows), persistent=False)
        self.register_buffer("rest", torch.tensor(rest, dtype=torch.int64), persistent=False)
        self.left = len(rest)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the classes, and of none of them, which is the last.

        Raises:
            EquipoiseError: when the network gives other than 1,000 logits.
        """
        logits = _imagenet(self.net(images))
        # The gradient goes to one output, where amax would share it among equal ones, copies included.
        known = logits[:, self.table].max(2).values
        if not self.left:
            return known
        return torch.cat([known, logits[:, self.rest].max(1, keepdim=True).values], 1)

    def extra_repr(self) -> str:
        return f"classes={len(self.outputs)}, others={self.left}"

    @property
    def words(self) -> str:
        """How it reads, in a sentence without its full stop."""
        used = len(set().union(*self.outputs))
        left = (
            f"the largest of the other {self.left} is {NONE!r}" if self.left else "no other counts"
        )
        return (
            f"{IMAGENET:,} outputs read as {len(self.outputs)} classes, each the largest of its own, {used} in all; "
            f"{left}"
        )


def _imagenet(logits: Tensor) -> Tensor:
    if logits.dim() != 2 or logits.shape[1] != IMAGENET:
        raise EquipoiseError(
            f"Cannot read outputs of shape {tuple(logits.shape)} as other classes: it is known which of {IMAGENET:,} "
            f"count as each. Give a classifier of ImageNet's {IMAGENET:,} classes."
        )
    return logits


def read_as(
    classifier: Classifier,
    classes: Sequence[str],
    outputs: Sequence[Sequence[int]],
    *,
    others: bool = True,
) -> Classifier:
    """The classifier as one of `classes`, on the same network and under the same name.

    Its facts say under ``read_as`` how it is read. `Images.classes` and `Images.outputs` are what to give; `audit` and
    `check` do so by themselves.

    Arguments:
        classifier: of ImageNet's 1,000 classes.
        classes: names of the images' K classes.
        outputs: for each of them, the outputs that count as it.
        others: whether the largest of the other outputs is a last logit, for "none of these"; without it, a classifier
            must choose among the classes.

    Raises:
        EquipoiseError: for a classifier of another number of classes, which shows at the latest when it is called, or
            for outputs that do not fit the classes or lie outside 0..999.
    """
    refused = f"Cannot read the classifier {classifier.name!r} as {len(classes)} classes"
    if classifier.classes is not None and len(classifier.classes) != IMAGENET:
        raise EquipoiseError(
            f"{refused}: it has {len(classifier.classes)} itself. Give one of ImageNet's {IMAGENET:,}."
        )
    if not classes or len(outputs) != len(classes) or not all(outputs):
        raise EquipoiseError(
            f"{refused}: there are {len(outputs)} lists of outputs, {sum(map(bool, outputs))} of them not empty. Give "
            "one for each class."
        )
    strange = [output for listed in outputs for output in listed if not 0 <= output < IMAGENET]
    if strange:
        raise EquipoiseError(
            f"{refused}: the output {strange[0]} is not one of 0..{IMAGENET - 1}. Correct the list."
        )
    net = Mapped(classifier.net, outputs, others)
    return Classifier(
        net,
        mean=classifier.mean,
        std=classifier.std,
        classes=(*classes, NONE) if net.left else tuple(classes),
        name=classifier.name,
        facts=classifier.facts | {"read_as": net.words},
    ).to(classifier.mean.device)


def unread(classifier: Classifier) -> Classifier:
    """The classifier that `read_as` was given; any other one as it is."""
    if not isinstance(classifier.net, Mapped):
        return classifier
    return Classifier(
        classifier.net.net,
        mean=classifier.mean,
        std=classifier.std,
        classes=None,
        name=classifier.name,
        facts={name: fact for name, fact in classifier.facts.items() if name != "read_as"},
    )


def is_right(
    logits: Tensor, labels: Tensor, outputs: Sequence[Sequence[int]], rule: Rule
) -> Tensor:
    """Which images count as classified rightly, with shape (B,).

    Arguments:
        logits: of ImageNet's 1,000 classes, with shape (B, 1000).
        labels: indices into `outputs`, with shape (B,).
        outputs: for each class, the outputs that count as it.
        rule: "strict", "among" or "pooled".

    Raises:
        EquipoiseError: for an unknown rule or logits of another shape.
    """
    if rule not in ("strict", "among", "pooled"):
        raise EquipoiseError(
            f"Cannot count by the rule {rule!r}. {did_you_mean(rule, ('strict', 'among', 'pooled'))}"
        )
    _imagenet(logits)
    if rule == "pooled":
        pooled = Mapped(nn.Identity(), outputs, others=False).to(logits.device)
        return pooled(logits).argmax(1) == labels
    member = torch.zeros(len(outputs), IMAGENET, dtype=torch.bool, device=logits.device)
    for k, listed in enumerate(outputs):
        member[k, list(listed)] = True
    asked = logits if rule == "strict" else logits.masked_fill(~member.any(0), -torch.inf)
    return member[labels, asked.argmax(1)]
