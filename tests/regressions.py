"""Softmax regressions whose gradients are known, and how tests ask a probe about them."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import torch
from conftest import Linear, grey_images
from PIL import Image

import equipoise as eq
from equipoise.images import Arrays, Images
from equipoise.probes import Request

SHAPE = (3, 4, 4)


def judge():
    """A judge for specs: softmax regression on images of `SHAPE`, three classes."""
    return regression(seed=7)


def flat():
    """A classifier whose answer no image changes, of three classes."""
    return eq.wrap(Linear(torch.zeros(3, 48), torch.tensor([0.0, 2.0, 1.0])), name="flat")


class Detached(Linear):
    def forward(self, images):
        return super().forward(images.detach())


def regression(scale=1.0, seed=0, classes=3, kind=Linear):
    generator = torch.Generator().manual_seed(seed)
    weight = scale * torch.randn(classes, 48, generator=generator)
    return eq.wrap(kind(weight, -weight.sum(1) / 2), name=f"regression{seed}")


def some(count=6, **given):
    images = grey_images(count, SHAPE, 0.3)
    labels = [k % 3 for k in range(count)]
    return Arrays(images, labels, ("a", "b", "c"), **given)


def ask(probe, classifier, data, *, pictured=False, seed=0):
    """The columns of all images in one batch."""
    batch = data.batch(range(len(data)))
    flags = [pictured] * len(data)
    request = Request(seed=seed, pictured=flags, examined=flags, others={})
    answers = probe.measure(classifier, batch, request)
    assert set(answers.columns) == set(probe.types)
    return answers.columns | {"notes": answers.notes}


def exact_gradients(classifier, data):
    """(p - e_y) W, in double precision; p_y - 1 is taken as the sum of the other -p."""
    x = torch.stack([e.image for e in data]).flatten(1).double()
    y = torch.tensor([e.label for e in data])
    weight, bias = classifier.net.weight.double(), classifier.net.bias.double()
    p = (x @ weight.T + bias).softmax(1).scatter(1, y[:, None], 0)
    return (p.scatter(1, y[:, None], -p.sum(1, keepdim=True)) @ weight).numpy()


def pixels(png):
    return np.asarray(Image.open(BytesIO(png)))


class Masked(Images):
    """Images with masks: the brighter half of `images`."""

    def __init__(self, images):
        self.images = images
        self.spec, self.split, self.classes = images.spec, images.split, images.classes

    def __len__(self):
        return len(self.images)

    def read(self, index):
        example = self.images[index]
        return replace(example, mask=(example.image.mean(0, keepdim=True) > 0.5).float())

    def fingerprint(self, indices):
        return "masked" + self.images.fingerprint(indices)
