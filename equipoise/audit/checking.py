"""Preflight of classifiers on the images that they are to be audited on."""

import torch

from equipoise.classifiers import (
    IMAGENET,
    Check,
    Classifier,
    load_classifier,
    preflight,
    read_as,
)
from equipoise.devices import choose_device
from equipoise.errors import EquipoiseError
from equipoise.images import Images, load_images

__all__ = ["check", "look_over", "read_for"]

PREFLIGHT_IMAGES = 64


def check(
    classifier: Classifier | str, data: Images | str, *, device: str = "auto"
) -> tuple[Check, ...]:
    """Preflight of one classifier on a random sample of 64 of the images; see `equipoise.classifiers.preflight`."""
    judged = load_classifier(classifier) if isinstance(classifier, str) else classifier
    images = load_images(data) if isinstance(data, str) else data
    where = choose_device(device)
    return look_over(read_for(judged.to(where), images), images, where, seed=0)


def look_over(
    classifier: Classifier, images: Images, device: torch.device, seed: int
) -> tuple[Check, ...]:
    """`preflight` on a random sample of the images.

    Raises:
        EquipoiseError: when none of them can be read.
    """
    sample = images.subset(PREFLIGHT_IMAGES, seed)
    batch = sample.batch(range(len(sample)), skip_broken=True)
    if not batch.ids:
        raise EquipoiseError(
            f"Cannot check on {images.spec!r}: none of {len(sample)} sampled images can be read."
        )
    return preflight(classifier, batch.images.to(device), batch.labels.to(device), images.classes)


@torch.no_grad()
def read_for(classifier: Classifier, images: Images) -> Classifier:
    """The classifier read as the classes of the images, where they say how and it has ImageNet's outputs."""
    training = any(module.training for module in classifier.modules())
    # Reading puts it into eval mode; what was not in it fails the preflight.
    if images.outputs is None or training:
        return classifier
    try:
        shown = torch.zeros(1, *images.shape, device=classifier.mean.device)
        count = classifier.logits(shown).shape[-1]
    except Exception:  # the preflight reports it
        return classifier
    if count != IMAGENET or count == len(images.classes):
        return classifier
    return read_as(classifier, images.classes, images.outputs)
