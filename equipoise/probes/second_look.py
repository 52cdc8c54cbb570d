"""A second look at an attack's verdicts: does the classifier repeat itself, and would more passes change the verdict?

Both keep people from quoting a number that is not there: a random classifier is fooled once by a lucky draw, and an
attack that was stopped early calls images robust that a longer one breaks.
"""

from dataclasses import replace

import torch
from torch import Tensor

from equipoise.attacks import Attack, AttackResult, WorstCase
from equipoise.classifiers import Classifier
from equipoise.images import Batch
from equipoise.norms import Threat

__all__ = ["attack_rows", "attack_twice_as_long", "fool_again", "repeats"]

DRAWS = 20
"""Answers asked of a random classifier about each adversarial image."""

SAME = 1e-3
"""Share of the size of the two leading logits by which two answers about one image may differ."""


@torch.no_grad()
def repeats(classifier: Classifier, *looks: Tensor) -> Tensor:
    """Whether the classifier gives each image the same logits twice, in every one of `looks`, with shape (B,).

    Two forward passes for each look.
    """
    same = []
    for images in looks:
        first, second = classifier.logits(images).float(), classifier.logits(images).float()
        size = first.topk(2).values.abs().amax(1)
        same.append((first - second).abs().amax(1) <= SAME * size)
    return torch.stack(same).all(0)


@torch.no_grad()
def fool_again(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """The share of further answers about each image that are wrong, with shape (B,): `DRAWS` forward passes."""
    wrong = [classifier.logits(images).argmax(1) != labels for _ in range(DRAWS)]
    return torch.stack(wrong).float().mean(0)


def attack_rows(
    attack: Attack,
    classifier: Classifier,
    batch: Batch,
    rows: Tensor,
    *,
    threat: Threat,
    seed: int,
) -> AttackResult:
    """`attack` on some rows of the batch, in calls that may be as wide as the whole batch."""
    images, labels = batch.images[rows], batch.labels[rows]
    ids = [batch.ids[row] for row in rows.tolist()]
    width = len(batch.images)
    return attack(classifier, images, labels, threat, seed=seed, ids=ids, width=width)


def attack_twice_as_long(
    attack: WorstCase,
    classifier: Classifier,
    batch: Batch,
    rows: Tensor,
    *,
    threat: Threat,
    seed: int,
) -> AttackResult:
    """`attack` once more on some rows of the batch, with twice the steps and queries and other random draws.

    AutoAttack's schedule has fixed steps and is repeated with other draws.
    """
    longer = replace(attack, steps=2 * attack.steps, queries=2 * attack.queries)
    return attack_rows(longer, classifier, batch, rows, threat=threat, seed=seed + 1)
