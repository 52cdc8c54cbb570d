"""Is a denoiser any good by itself? Its samples beside real images that neither it nor the judge has seen.

Samples are drawn from pure noise, as many of each class. The judge is a classifier that had no part in making them,
g(x) its penultimate layer. Held-out images are a random choice with as many of each class, in two halves R and R'.

    distance, floor, excess    of Fréchet in g, of the samples and of R' from R (`equipoise.quality.distances`). These
                               are the features that are there offline: NOT those of Inception, and not to be compared
                               with published FIDs or with distances under another judge
    read                       share of samples that the judge reads as the class asked for; the same of held-out images
    nearer                     probability that a random sample lies nearer to its nearest training image than a random
                               held-out image to its own: about 1/2 where nothing was memorised, 1 for copies; in
                               pixels and in g
    copied                     share of samples three times nearer to a training image than to every other one; the same
                               of held-out images. Copies of an image that is there in two versions escape it

Smooth samples lie nearer to everything, also to training images: `nearer` above 1/2 beside `copied` near 0 is blur.

References:
    Diffusion probabilistic models generalize when they fail to memorize (Yoon et al., 2023), whose third this is
    On memorization in diffusion models (Gu et al., 2023), arXiv 2310.02664
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.audit import Estimate
from equipoise.audit.association import auroc
from equipoise.audit.intervals import wilson
from equipoise.classifiers import Classifier, Penultimate
from equipoise.devices import choose_device
from equipoise.diffusion import Denoiser
from equipoise.images import Images
from equipoise.quality.distances import measure_distances
from equipoise.quality.neighbours import Nearest, find_nearest
from equipoise.quality.result import DenoiserQuality, Pair, picture
from equipoise.quality.samples import BATCH, STEPS, draw_samples
from equipoise.quality.sharing import Shared, share_out

__all__ = ["COUNT", "measure_denoiser"]

COUNT = 1000
PAIRS = 12
COPY = 1 / 3
"""Of the distance to the second nearest training image."""


def measure_denoiser(
    denoiser: Denoiser,
    judge: Classifier,
    train: Images,
    held_out: Images,
    *,
    count: int = COUNT,
    seed: int = 0,
    guidance: float = 1.0,
    steps: int = STEPS,
    batch: int = BATCH,
    device: str = "auto",
) -> DenoiserQuality:
    """Everything above. Samples, held-out images and a thousand training images are in memory at once.

    Arguments:
        denoiser: moved to the device, as the judge is.
        judge: of the denoiser's classes, ending in an `nn.Linear`; best trained for nothing else.
        train: what the denoiser was trained on.
        held_out: images of the same kind that neither denoiser nor judge was trained on.
        count: samples, about: the next lower multiple of the number of classes. Distances are of as many as the
            held-out images allow.
        seed: of the samples, and of the choice of held-out images.
        guidance: of the samples.
        steps: of the sampler.
        batch: images in a call; changes speed and memory, no result.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        EquipoiseError: for images, classes or a judge that do not fit the denoiser, fewer than two samples or four
            held-out images of a class, or settings out of range.
    """
    shared = share_out(denoiser, judge, train, held_out, count=count, seed=seed)
    where = choose_device(device)
    denoiser.to(where)
    judge.to(where)
    describe = Penultimate.of(judge, denoiser.shape)
    samples = draw_samples(
        denoiser, shared.asked, seed=seed, guidance=guidance, steps=steps, batch=batch
    )
    images = torch.cat([samples, shared.images])
    labels = torch.cat([shared.asked, shared.labels])

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        return torch.cat([describe(part.to(where)).cpu() for part in images.split(batch)])

    with torch.no_grad():
        logits = [judge.logits(part.to(where)).cpu() for part in images.split(batch)]
    right = (torch.cat(logits).argmax(1) == labels).numpy()
    nearest = find_nearest(images, train, [lambda part: part.flatten(1), features])
    return _found(shared, right, features(images), images, nearest, train=train)


def _found(
    shared: Shared,
    right: NDArray[np.bool_],
    features: Tensor,
    images: Tensor,
    nearest: list[Nearest],
    *,
    train: Images,
) -> DenoiserQuality:
    """The numbers; samples come first in what has a row for every image."""
    drawn, classes, half = len(shared.asked), shared.classes, shared.half
    parts = [features[:drawn][:half], features[drawn:][:half], features[drawn:][half:]]
    distances = measure_distances(*parts, strata=classes)
    sample = np.arange(len(right)) < drawn
    near = [auroc(-found.distance[:, 0].double().numpy(), sample) for found in nearest]
    first, second = nearest[0].distance.double().unbind(1)
    copied = ((first <= COPY * second) & second.isfinite()).numpy()
    order = first.argsort(stable=True)
    columns = min(PAIRS, drawn, len(order) - drawn)
    shown = [order[order < drawn][:columns], order[order >= drawn][:columns]]
    known = [train[int(row)].image for rows in shown for row in nearest[0].row[rows, 0]]
    pairs, pairs_held_out = (
        tuple(
            Pair(int(nearest[0].row[i, 0]), first[i].item(), second[i].item())
            for i in rows.tolist()
        )
        for rows in shown
    )
    return DenoiserQuality(
        distance=distances.distance,
        floor=distances.floor,
        excess=distances.excess,
        read=_share(right[sample]),
        read_held_out=_share(right[~sample]),
        by_class=tuple(_share(right[:drawn][c::classes]) for c in range(classes)),
        nearer=near[0],
        nearer_features=near[1],
        copied=_share(copied[sample]),
        copied_held_out=_share(copied[~sample]),
        pairs=pairs,
        pairs_held_out=pairs_held_out,
        picture=picture(images[torch.cat(shown)], torch.stack(known), columns),
    )


def _share(values: NDArray) -> Estimate:
    ones, n = int(values.sum()), len(values)
    return Estimate(ones / n, *wilson(ones, n), n, "Wilson")
