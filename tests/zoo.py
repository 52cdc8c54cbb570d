"""Falsely robust classifiers: each hides its gradients, or its answer, without moving its decisions far from a base's.

Notation. f maps images x in [0, 1] to the base's logits. A member g agrees with f on nearly all images, inside the ball
too, so it is about as robust as f, whatever an attack that trusts its gradients says. Random members draw from a
generator of their own, and leave the global one alone.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from equipoise.norms import Threat

__all__ = [
    "Detector",
    "MeanSparse",
    "Noise",
    "Probabilities",
    "Quantised",
    "Resized",
    "Scaled",
    "Sine",
    "Thermometer",
    "Winners",
    "network",
    "train",
]


def network(activation: nn.Module | None = None, width: int = 64, pixels: int = 64) -> nn.Module:
    """One hidden layer with `activation`, ReLU when None."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, width), activation or nn.ReLU(), nn.Linear(width, 10)
    )


def train(
    build: Callable[[], nn.Module],
    images: Tensor,
    labels: Tensor,
    threat: Threat | None = None,
    *,
    epochs: int = 20,
    steps: int = 2,
    seed: int = 0,
) -> nn.Module:
    """What `build` returns, fitted by Adam; to the ends of short PGD runs inside `threat`, where one is given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build()
        optimiser = torch.optim.Adam(net.parameters(), 5e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(64):
                x, y = images[rows], labels[rows]
                if threat is not None:
                    x = _worst(net, x, y, threat, steps)
                optimiser.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimiser.step()
    return net.eval()


def _worst(net: nn.Module, images: Tensor, labels: Tensor, threat: Threat, steps: int) -> Tensor:
    x = images
    for _ in range(steps):
        leaf = x.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(net(leaf), labels), leaf)
        x = threat.ascend(x, slope, 1.25 * threat.radius / steps)
        x = threat.nearest(images, x - images, threat.radius)
    return x


class _Around(nn.Module):
    """A member built around the base's network."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base


class _Random(_Around):
    """A member that draws numbers at each call."""

    def __init__(self, base: nn.Module, seed: int = 0) -> None:
        super().__init__(base)
        self.generator = Generator().manual_seed(seed)


class Quantised(_Around):
    """f of the image rounded to so many levels: the gradient of rounding is zero."""

    def __init__(self, base: nn.Module, levels: int = 8) -> None:
        super().__init__(base)
        self.steps = levels - 1

    def forward(self, x: Tensor) -> Tensor:
        return self.base((self.steps * x).round() / self.steps)


class Sine(_Around):
    """f(x + a sin(2 pi x / period)): a moves pixels little, its slope 2 pi a / period swamps the image's own."""

    amplitude, period = 0.02, 0.005

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x + self.amplitude * (x * (2 * torch.pi / self.period)).sin())


class Thermometer(nn.Module):
    """A network of its own on the signs of x - (k + 1/2) / levels, k = 0, ..., levels - 1, whose gradient is zero."""

    levels = 8

    def __init__(self) -> None:
        super().__init__()
        self.net = network(pixels=64 * self.levels)

    def forward(self, x: Tensor) -> Tensor:
        thresholds = (torch.arange(self.levels) + 0.5) / self.levels
        return self.net((x - thresholds[:, None, None]).sign())


class Scaled(_Around):
    """Logits times a factor: large ones make cross-entropy underflow, small ones drown in constants such as 1e-12."""

    def __init__(self, base: nn.Module, factor: float) -> None:
        super().__init__(base)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.base(x)


class Probabilities(_Around):
    """softmax(100 f(x)), which is flat where it rounds to 0 and 1, or its logarithm, clamped at log(1e-6)."""

    def __init__(self, base: nn.Module, log: bool = False) -> None:
        super().__init__(base)
        self.log = log

    def forward(self, x: Tensor) -> Tensor:
        p = (100 * self.base(x)).softmax(1)
        return p.clamp(min=1e-6).log() if self.log else p


class Noise(_Random):
    """f of the image plus Gaussian noise, drawn anew at each call."""

    sigma = 0.1

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x + self.sigma * torch.randn(x.shape, generator=self.generator))


class Resized(_Random):
    """f of each image enlarged by up to a tenth and cut back to size at a random place, drawn anew at each call."""

    enlarged = 0.1

    def forward(self, x: Tensor) -> Tensor:
        draws = torch.rand(3, len(x), generator=self.generator)
        scale = 1 / (1 + self.enlarged * draws[0])
        shift = (2 * draws[1:] - 1) * (1 - scale)
        theta = torch.eye(2, 3).expand(len(x), 2, 3) * scale[:, None, None]
        theta = torch.cat([theta[:, :, :2], shift.T[:, :, None]], 2)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return self.base(F.grid_sample(x, grid, align_corners=False, padding_mode="border"))


class Winners(nn.Module):
    """k-winners-take-all in place of ReLU: all but the k largest features become 0, and g jumps in many places."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, h: Tensor) -> Tensor:
        return torch.where(h >= h.topk(self.k, dim=1).values[:, -1:], h, 0.0)


class MeanSparse(_Around):
    """Hidden features nearer to their mean over `images` than alpha standard deviations are replaced by it."""

    def __init__(self, base: nn.Sequential, images: Tensor, alpha: float = 0.5) -> None:
        super().__init__(base)
        self.alpha = alpha
        with torch.no_grad():
            std, mean = torch.std_mean(base[:2](images), dim=0)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        h = self.base[:2](x)
        near = (h - self.mean).abs() < self.alpha * self.std
        return self.base[2:](torch.where(near, self.mean, h))


class Detector(_Random):
    """Answers at random, by noise on the logits, where hidden features lie farther from their mean over `images` than
    those of all but a share of them: the gradient sees neither the threshold nor the noise."""

    def __init__(self, base: nn.Sequential, images: Tensor, share: float = 0.02) -> None:
        super().__init__(base)
        with torch.no_grad():
            h = base[:2](images)
        self.register_buffer("mean", h.mean(0))
        self.register_buffer("std", h.std(0))
        self.register_buffer("limit", self.statistic(h).quantile(1 - share))

    def statistic(self, h: Tensor) -> Tensor:
        return ((h - self.mean) / self.std).square().mean(1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.base[:2](x)
        noise = 100 * torch.rand(len(x), 10, generator=self.generator)
        return self.base[2:](h) + noise * (self.statistic(h) > self.limit)[:, None]
