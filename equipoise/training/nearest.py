"""A nearest-image classifier from a set of images: see `equipoise.classifiers.nearest`."""

from pathlib import Path

from equipoise.classifiers import (
    Classifier,
    NearestImages,
    load_classifier,
    save_classifier,
    wrap,
)
from equipoise.images import Images
from equipoise.streams import digest
from equipoise.training import engine

__all__ = ["remember"]

MOST = 5000
"""Images that are known at most, a random sample: every answer asks all of them."""


def remember(images: Images, folder: Path, *, seed: int = 0) -> Classifier:
    """Makes the classifier that knows these images, at most 5,000 of them, into `folder`, or loads it from there.

    Raises:
        EquipoiseError: for images that are for tests alone, or when `folder` holds another classifier.
    """
    images.refuse_fitting("make a nearest-image classifier of")
    known = images.subset(min(MOST, len(images)), seed)
    rows = range(len(known))
    identity = digest("nearest", known.fingerprint(rows))
    if not engine.is_finished(folder / "classifier.json", identity, "classifier"):
        batch = known.batch(rows)
        net = NearestImages(shape=images.shape, classes=len(images.classes), count=len(known))
        net.know(batch.images, batch.labels)
        facts = {"identity": identity, "data": images.spec, "images": len(known)}
        save_classifier(wrap(net, classes=images.classes, name=folder.name, facts=facts), folder)
    return load_classifier(f"local:{folder}")
