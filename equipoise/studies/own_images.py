"""Images that a classifier made itself: whatever it sees in them is what it knows of a class."""

import torch
from torch import Tensor

from equipoise.classifiers import Classifier
from equipoise.devices import choose_device
from equipoise.images import Arrays, Images, eight_bit
from equipoise.norms import L2
from equipoise.streams import stream

__all__ = ["climb", "own_images"]


def own_images(
    classifier: Classifier,
    images: Images,
    radius: float,
    *,
    most: int,
    seed: int = 0,
    device: str = "auto",
) -> Images:
    """Images that a classifier made: originals changed within an L2 ball into what it takes for another class.

    Each is pushed for 60 steps towards a random other class; those that the classifier then reads so are kept, with
    that class as their label.

    Arguments:
        classifier: that makes them.
        images: the originals.
        radius: of the ball, in units of images in [0, 1].
        most: of the originals, the first ones.
        seed: of the random classes.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """
    where = choose_device(device)
    classifier.to(where)
    batch = images.batch(range(min(len(images), most)))
    start, count = batch.images.to(where), len(images.classes)
    shift = torch.tensor(
        [
            int(torch.randint(1, count, (), generator=stream(seed, name, "own class")))
            for name in batch.ids
        ]
    )
    wanted = ((batch.labels + shift) % count).to(where)
    made = climb(classifier, start, wanted, L2(radius)).cpu()
    with torch.no_grad():
        reached = (classifier(made.to(where)).argmax(1) == wanted).cpu()
    return Arrays(
        made[reached],
        wanted.cpu()[reached].tolist(),
        images.classes,
        [name for name, kept in zip(batch.ids, reached.tolist(), strict=True) if kept],
        spec=f"{images.spec}, as {classifier.name} made them",
        split=images.split,
    )


def climb(
    classifier: Classifier, start: Tensor, wanted: Tensor, threat: L2, steps: int = 60
) -> Tensor:
    """Ascends the log-probability of the class `wanted` within `threat` of `start`, inside [0, 1]; 8-bit images."""
    x = start
    for _ in range(steps):
        x = x.detach().requires_grad_()
        chosen = classifier.logits(x).log_softmax(1).gather(1, wanted[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, x)
        ahead = threat.ascend(x.detach(), gradient, 2.5 * threat.radius / steps)
        x = (start + threat.project(ahead - start)).clamp(0, 1)
    return eight_bit(x)
