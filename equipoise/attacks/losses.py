"""What an attack increases: losses of the logits, one value per image, higher is worse for the classifier.

Notation. Logits z have shape (B, K), the label is y, a target class t, and z_(k) is the k-th largest logit.

    ce        log sum_{j != y} exp z_j - z_y            the log-odds against the label
    margin    max_{j != y} z_j - z_y                    positive exactly when the image is misclassified
    dlr       margin / (z_(1) - z_(3))                  needs 3 classes
    targeted  z_t - log sum_{j != t} exp z_j, z_t - z_y, (z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2); needs 4 classes

Cross-entropy is log(1 + exp(log-odds)). The two rise and fall together and their gradients point the same way, so every
attack here, whose steps are normalised, takes the same steps for both; but the gradient of cross-entropy underflows to
zero on confident classifiers, and that of the log-odds does not. Where logits differ by much less than 1, both weigh
all wrong classes alike and follow none; the margin does not depend on scale.

References:
    Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks
    (Croce and Hein, 2020), https://arxiv.org/abs/2003.01690
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from equipoise.errors import EquipoiseError, did_you_mean

__all__ = ["Loss", "LossName", "choose_loss", "likeliest", "log_odds", "margin"]

LossName = Literal["ce", "dlr", "margin"]
Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""loss(logits (B, K), labels (B,), targets (B,) or None) -> (B,)."""


def _others(logits: Tensor, label: Tensor) -> Tensor:
    """The logits with that of `label` replaced by -inf."""
    return logits.scatter(1, label[:, None], -torch.inf)


def _at(logits: Tensor, label: Tensor) -> Tensor:
    return logits.gather(1, label[:, None]).squeeze(1)


def margin(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """max_{j != y} z_j - z_y, or z_t - z_y with targets: shapes (B, K), (B,), (B,) to (B,)."""
    other = _others(logits, labels).amax(1) if targets is None else _at(logits, targets)
    return other - _at(logits, labels)


def log_odds(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Log-odds against the label, or in favour of the target."""
    sign, pivot = (1, labels) if targets is None else (-1, targets)
    return sign * (_others(logits, pivot).logsumexp(1) - _at(logits, pivot))


def difference_of_logits_ratio(
    logits: Tensor, labels: Tensor, targets: Tensor | None = None
) -> Tensor:
    """The margin divided by a difference of top logits, which makes it independent of their scale."""
    top = logits.topk(3 if targets is None else 4, dim=1).values
    below = top[:, 2] if targets is None else (top[:, 2] + top[:, 3]) / 2
    return margin(logits, labels, targets) / (top[:, 0] - below + 1e-12)


def choose_loss(name: LossName, classes: int, targeted: bool) -> tuple[Loss, str]:
    """The loss called `name`, or the margin loss where `name` is undefined for so few classes, and a note saying so.

    Raises:
        EquipoiseError: for an unknown name.
    """
    losses: dict[str, Loss] = {"ce": log_odds, "margin": margin, "dlr": difference_of_logits_ratio}
    if name not in losses:
        raise EquipoiseError(f"Unknown loss {name!r}. {did_you_mean(name, losses)}")
    needed = 4 if targeted else 3
    if name == "dlr" and classes < needed:
        form = "targeted DLR" if targeted else "DLR"
        return (
            margin,
            f"{form} needs {needed} classes and there are {classes}: the margin loss was used",
        )
    return losses[name], ""


def likeliest(logits: Tensor, labels: Tensor) -> Tensor:
    """The wrong classes of each image by falling logit and then its label, with shape (B, K)."""
    return _others(logits, labels).argsort(1, descending=True)
