"""What several test files share: small classifiers whose behaviour is known, and images to show them."""

import os
import signal

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

import equipoise as eq

# The same examples in every run: what passes here passes in CI.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# As many processes as cores: threads of their own would only wait for each other. What tests start does likewise, since
# sums over other numbers of threads differ in their last bits.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


# A shell that starts tests in the background may have Ctrl-C ignored, and what is ignored stays so in other processes.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Linear(nn.Module):
    """Logits W x + b: everything about it is known in closed form."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias


def linear(
    classes: int, shape: tuple[int, int, int], scale: float = 1.0, seed: int = 0
) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    pixels = shape[0] * shape[1] * shape[2]
    weight = scale * torch.randn(classes, pixels, generator=generator)
    return eq.wrap(Linear(weight, -weight.sum(1) / 2), name=f"linear{classes}")


def grey_images(
    count: int, shape: tuple[int, int, int], spread: float = 0.1, seed: int = 1
) -> Tensor:
    """Images around mid-grey, far from the edges of the box."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + spread * (torch.rand(count, *shape, generator=generator) - 0.5)


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Images, labels and ids of the test digits."""
    data = eq.load_images("digits", split="test")
    batch = data.batch(range(len(data)))
    return batch.images, batch.labels, batch.ids


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A small network that reads digits, trained for two seconds."""
    from equipoise.training import Recipe, train_ladder

    recipe = Recipe(net="mlp", widths=(64,), epochs=20, rate=1e-2)
    data = eq.load_images("digits", split="train")
    return train_ladder(
        data, [eq.L2(0)], recipe, tmp_path_factory.mktemp("ladder"), accelerator="cpu"
    )[0]
