"""Preflight: what is wrong with a classifier, found before an hour is spent on measuring it.

Each check has a finding and, unless it passed, a remedy. A `fail` makes every later number meaningless, so an audit
stops; a `warn` is recorded beside the numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.special import bdtrc
from torch import Tensor

from equipoise.classifiers.classifier import Classifier
from equipoise.classifiers.mapped import Mapped, unread
from equipoise.errors import EquipoiseError

__all__ = ["Check", "preflight"]

Status = Literal["pass", "warn", "fail"]

# What networks are commonly fed instead of [0, 1]: (mean, std) per channel for the given number of channels.
_SCALINGS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "images in [0, 1]": ((0.0,), (1.0,)),
    "images in [-1, 1]": ((0.5,), (0.5,)),
    "8-bit images in [0, 255]": ((0.0,), (1 / 255,)),
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's mean and std": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "MNIST's mean and std": ((0.1307,), (0.3081,)),
}


@dataclass(frozen=True)
class Check:
    """One finding about one classifier on one set of images."""

    name: str
    status: Status
    finding: str
    remedy: str = ""


def preflight(
    classifier: Classifier, images: Tensor, labels: Tensor, classes: Sequence[str]
) -> tuple[Check, ...]:
    """Looks at `classifier` through a few labelled images.

    Arguments:
        classifier: what is to be audited.
        images: a sample, in [0, 1], with shape (B, C, H, W); 64 are plenty.
        labels: with shape (B,).
        classes: names of the data's classes.
    """
    checks = [_range(images), _mode(classifier)]
    mapped = isinstance(classifier.net, Mapped)
    try:
        with torch.no_grad():
            logits = classifier(images)
            # What is wrong with the outputs may not show in the largest of several.
            given = unread(classifier)(images) if mapped else logits
    except EquipoiseError as error:
        return (*checks, Check("forward", "fail", str(error)))
    except Exception as error:
        shape = "x".join(str(n) for n in images.shape[1:])
        return (
            *checks,
            Check(
                "forward",
                "fail",
                f"On images of shape {shape} the network raises {type(error).__name__}: {error}",
                "Give images of the size and channels it was made for (?size=32&channels=3 on the data's spec).",
            ),
        )
    checks.append(_outputs(given))
    if checks[-1].status == "fail":
        return tuple(checks)
    checks.append(_classes(classifier, logits, labels, classes))
    if checks[-1].status == "fail":
        return tuple(checks)
    checks.append(_determinism(classifier, images, logits))
    if checks[-1].status == "pass":  # random logits differ between batches anyhow
        checks.append(_batching(classifier, images, logits))
    checks += [
        _gradients(classifier, images, labels),
        _normalisation(classifier, images, labels, logits),
    ]
    return tuple(checks)


def _range(images: Tensor) -> Check:
    low, high = (bound.item() for bound in images.aminmax())
    finding = f"The images span [{low:.3g}, {high:.3g}]"
    if not (low >= 0 and high <= 1):
        return Check(
            "range", "fail", finding, "Images must lie in [0, 1]: divide 8-bit images by 255."
        )
    if high <= 2 / 255:
        return Check(
            "range", "warn", finding, "They are almost black: were they divided by 255 twice?"
        )
    return Check("range", "pass", finding)


def _mode(classifier: Classifier) -> Check:
    training = [name or "the network" for name, m in classifier.named_modules() if m.training]
    if training:
        finding = f"{len(training)} modules are in training mode, such as {training[0]}"
        return Check(
            "mode",
            "fail",
            finding,
            "Call .eval(): dropout and batch statistics change the answer.",
        )
    trainable = sum(p.requires_grad for p in classifier.parameters())
    if trainable:
        finding = f"{trainable} parameters are not frozen"
        return Check(
            "mode",
            "warn",
            finding,
            "Call .requires_grad_(False): attacks run up to half as fast otherwise.",
        )
    return Check("mode", "pass", "Eval mode, parameters frozen")


def _outputs(logits: Tensor) -> Check:
    if logits.dim() != 2:
        finding = f"The output has shape {tuple(logits.shape)}"
        return Check("outputs", "fail", finding, "Return logits with shape (B, K).")
    if not logits.isfinite().all():
        share = 1 - logits.isfinite().all(1).double().mean().item()
        finding = f"{share:.0%} of the images get logits that are NaN or infinite"
        return Check(
            "outputs",
            "fail",
            finding,
            "Check the weights: the checkpoint may be broken. Mask classes with a finite number.",
        )
    if logits.shape[1] < 2:
        return Check(
            "outputs",
            "fail",
            "There is one output only",
            "Return two logits: stack (-z, z) / 2 for a binary classifier with the single logit z.",
        )
    ones = torch.ones(len(logits), dtype=logits.dtype, device=logits.device)
    if (logits >= 0).all() and torch.allclose(logits.sum(1), ones, atol=1e-3):
        return Check(
            "outputs",
            "fail",
            "The outputs are probabilities: they are not negative and add up to 1",
            "Remove the final softmax: gradients vanish behind it and the classifier looks more robust than it is.",
        )
    finding = f"{logits.shape[1]} logits, the largest {logits.abs().max().item():.3g} in size"
    if torch.allclose(logits.logsumexp(1), 0 * ones, atol=1e-3):
        finding = f"{logits.shape[1]} log-probabilities, which serve as logits"
    elif ((logits >= 0) & (logits <= 1)).all():
        return Check(
            "outputs",
            "warn",
            "Every output lies between 0 and 1",
            "If there is a sigmoid at the end, remove it: gradients vanish behind it.",
        )
    return Check("outputs", "pass", finding)


def _classes(
    classifier: Classifier, logits: Tensor, labels: Tensor, classes: Sequence[str]
) -> Check:
    outputs, largest = logits.shape[1], int(labels.max())
    named = classifier.classes
    if named is not None and len(named) != outputs:
        return Check(
            "classes",
            "fail",
            f"{len(named)} class names for {outputs} outputs",
            "Give wrap as many class names as there are logits.",
        )
    if outputs <= largest or outputs < len(classes):
        return Check(
            "classes",
            "fail",
            f"{outputs} outputs, but the data has {len(classes)} classes and labels up to {largest}",
            "Audit the classifier on the classes it was trained for.",
        )
    # Names that are mere numbers say nothing about what the other side calls the same class.
    worded = named is not None and not any(
        all(name.isdigit() for name in side) for side in (named, classes)
    )
    comparable = named is not None and (worded or set(named) == set(classes))
    if named is not None and comparable and tuple(named[: len(classes)]) != tuple(classes):
        first = next(
            k for k, pair in enumerate(zip(named, classes, strict=False)) if pair[0] != pair[1]
        )
        return Check(
            "classes",
            "fail",
            f"Class {first} is {named[first]!r} to the classifier and {classes[first]!r} in the data",
            "Bring both to the same classes in the same order: labels are numbers and mean other classes otherwise.",
        )
    if isinstance(classifier.net, Mapped) and outputs - len(classes) <= 1:
        return Check("classes", "pass", classifier.net.words)
    if outputs > len(classes):
        return Check(
            "classes",
            "warn",
            f"{outputs} outputs for {len(classes)} classes in the data",
            "Outputs beyond the data's classes count as wrong answers and as targets for attacks.",
        )
    return Check("classes", "pass", f"{outputs} outputs for {len(classes)} classes")


@torch.no_grad()
def _determinism(classifier: Classifier, images: Tensor, logits: Tensor) -> Check:
    change = (classifier(images) - logits).abs().max().item()
    if change > 0:
        return Check(
            "determinism",
            "warn",
            f"The same images give logits that differ by {change:.2g} the second time",
            "An attack stops at one lucky answer: average over the noise inside the classifier.",
        )
    return Check("determinism", "pass", "The same images give the same logits")


@torch.no_grad()
def _batching(classifier: Classifier, images: Tensor, logits: Tensor) -> Check:
    half = (len(images) + 1) // 2
    alone = classifier(images[:half])
    scale = logits.abs().max().clamp(min=1)
    change = ((alone - logits[:half]).abs().max() / scale).item()
    if change > 1e-3:
        return Check(
            "batching",
            "fail",
            f"The logits of an image change by {change:.1%} of their size with the batch it is in",
            "Use running statistics in batch normalisation (eval mode).",
        )
    return Check("batching", "pass", "The logits of an image do not depend on its batch")


def _gradients(classifier: Classifier, images: Tensor, labels: Tensor) -> Check:
    pixels = images.clone().requires_grad_(True)
    logits = classifier(pixels)
    if not logits.requires_grad:
        return Check(
            "gradients",
            "warn",
            "The output carries no gradient back to the image",
            "Remove no_grad, detach and NumPy from the forward pass: what is left for attacks are queries.",
        )
    # The log-odds of the label: cross-entropy without the underflow that confident logits bring.
    label = torch.zeros_like(logits, dtype=torch.bool).scatter(1, labels[:, None], True)
    odds = logits.masked_fill(label, -torch.inf).logsumexp(1) - logits[label]
    gradient = torch.autograd.grad(odds.sum(), pixels)[0].flatten(1)
    bad = (~gradient.isfinite()).any(1).double().mean().item()
    zero = (gradient == 0).all(1).double().mean().item()
    if bad:
        finding = f"{bad:.0%} of the images get gradients that are NaN or infinite"
        return Check(
            "gradients", "fail", finding, "Look for roots, logarithms and divisions at 0."
        )
    if zero == 1:
        return Check(
            "gradients",
            "warn",
            "Every gradient with respect to the image is exactly 0",
            "Something in the network is flat (rounding, thresholds): robust accuracy rests on BPDA and queries.",
        )
    if zero:
        return Check(
            "gradients",
            "warn",
            f"{zero:.0%} of the images get a gradient of exactly 0",
            "Gradient attacks cannot move those images: read the robust accuracy as an upper bound.",
        )
    return Check("gradients", "pass", "Finite and not zero")


@torch.no_grad()
def _normalisation(
    classifier: Classifier, images: Tensor, labels: Tensor, logits: Tensor
) -> Check:
    right = logits.argmax(1) == labels
    own = right.double().mean().item()
    for title, scaling in _SCALINGS.items():
        if len(scaling[0]) not in (1, images.shape[1]):
            continue
        mean, std = (images.new_tensor(values).reshape(-1, 1, 1) for values in scaling)
        try:
            other = classifier.net((images - mean) / std).argmax(1) == labels
        except Exception:  # A network may refuse what it was not made for.
            continue
        # The sign test on images that only one of the two gets right, at 1 % over all scalings tried.
        gained, lost = int((other & ~right).sum()), int((right & ~other).sum())
        chance = bdtrc(gained - 1, gained + lost, 0.5) if gained > lost else 1.0
        if chance < 0.01 / len(_SCALINGS):
            return Check(
                "normalisation",
                "warn",
                f"Accuracy is {own:.0%} as wrapped, but {other.double().mean().item():.0%} on {title}",
                "Give wrap the mean and std that the network was trained with.",
            )
    chance = torch.bincount(labels).max().item() / len(labels)
    if own <= chance < 1:
        return Check(
            "normalisation",
            "warn",
            f"Accuracy is {own:.0%} on {len(images)} images, no better than always answering one class",
            "Check mean and std, the order of the classes and the weights.",
        )
    finding = f"Accuracy is {own:.0%} on {len(images)} images; no other scaling does significantly better"
    return Check("normalisation", "pass", finding)
