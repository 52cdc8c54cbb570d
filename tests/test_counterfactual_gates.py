"""The gate of the Gaussian sampler: its draws beside the exact posterior, on mixtures of every kind.

Each problem is a class of three components around an original x0 (and a second class that x0 might be from), whose
posterior for the neighbourhood's width w has weights .5, .3 and .2. "overlapping" components lie 2 w from x0 and are up
to .3 wide, "separated" ones lie 6 w from it and are thin. Of N = 4,000 draws from independent streams, each gate
measures its miss in units of what it allows, so that 1 is the limit: the mean .1 posterior standard deviations in every
pixel, the standard deviation 5 % in every pixel, a mode's weight .03, the energy distance

    2 E|X - Y| - E|X - X'| - E|Y - Y'|

to exact draws the 99.9 % quantile it has between two sets of exact draws.
"""

import pytest
import torch

from equipoise.counterfactuals import Gaussian, Laplace, Sampler, posterior
from equipoise.diffusion import MixtureDenoiser

DOUBLE = torch.float64
N = 4000


def problem(d, kind, neighbourhood):
    """A mixture, x0 and the exact posterior."""
    width = neighbourhood.sigma
    generator = torch.Generator().manual_seed(d)
    x0 = torch.randn(d, generator=generator, dtype=DOUBLE) / 2
    if d == 1:
        away = torch.tensor([[-1.0], [1.0], [3.0]], dtype=DOUBLE)
    elif d == 2:
        away = torch.tensor([[1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], dtype=DOUBLE)
    else:
        away = torch.nn.functional.normalize(torch.randn(3, d, generator=generator, dtype=DOUBLE))
    reach, thin, wide = {"overlapping": (2, 0.05, 0.3), "separated": (6, 0.02, 0.08)}[kind]
    stds = thin + (wide - thin) * torch.rand(4, d, generator=generator, dtype=DOUBLE)
    means = torch.cat([x0 + reach * width * away, x0[None]])
    shape = (1, 8, 8) if d == 64 else (1, 1, d)
    means, stds, x0 = means.view(4, *shape), stds.view(4, *shape), x0.view(shape)

    def mixture(weights):
        return MixtureDenoiser(means, stds, weights, torch.tensor([0, 0, 0, 1]))

    even = posterior(mixture(torch.ones(4)), neighbourhood, x0, 0).weights[:3]
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=DOUBLE) / even
    found = mixture(torch.cat([weights, weights.mean()[None]]))
    return found, x0, posterior(found, neighbourhood, x0, 0)


def draw(mixture, x0, neighbourhood, **settings):
    sampler = Sampler(mixture, neighbourhood, **settings)
    targets = torch.zeros(N, dtype=torch.int64)
    return sampler.draw(x0.expand(N, *x0.shape), targets, ids=["x0"] * N, draws=range(N))


def energy(x, y):
    """The energy distance between sets of points, with shape (..., B, d)."""
    x, y = x.float(), y.float()
    across, within_x, within_y = (
        torch.cdist(a, b).mean((-2, -1)) for a, b in ((x, y), (x, x), (y, y))
    )
    return 2 * across - within_x - within_y


def misses(x, exact):
    """Every gate's miss, 1 at its limit."""
    generator = torch.Generator().manual_seed(1)
    std = exact.covariance.diag().sqrt()
    flat = x.flatten(1)
    weights = exact.responsibilities(x).mean(0)
    # Between two sets of B exact draws the energy distance falls as 1 / B.
    pairs, size = 1000, 50
    null = exact.sample(2 * pairs * size, generator).view(2, pairs, size, -1)
    limit = energy(*null).quantile(0.999) * size / N
    return {
        "mean": (((flat.mean(0) - exact.mean.flatten()) / std).abs().max() / 0.1).item(),
        "spread": ((flat.std(0) / std - 1).abs().max() / 0.05).item(),
        "weights": ((weights - exact.weights).abs().max() / 0.03).item(),
        "energy": (energy(flat, exact.sample(N, generator).flatten(1)) / limit).item(),
    }


@pytest.mark.parametrize("width", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("kind", ["overlapping", "separated"])
@pytest.mark.parametrize("d", [1, 2, 8, 64])
def test_the_default_passes_every_gate(d, kind, width):
    mixture, x0, exact = problem(d, kind, Gaussian(width))
    found = misses(draw(mixture, x0, Gaussian(width)), exact)
    assert max(found.values()) < 1, found


def as_likely(d, kind, neighbourhood):
    """The same components, now as likely in the data as .5, .3 and .2, which distance changes in the posterior."""
    mixture, x0, _ = problem(d, kind, neighbourhood)
    weights = torch.tensor([0.5, 0.3, 0.2, 0.3], dtype=DOUBLE)
    mixture = MixtureDenoiser(mixture.means, mixture.stds, weights, mixture.labels)
    return mixture, x0, posterior(mixture, neighbourhood, x0, 0)


@pytest.mark.parametrize("width", [0.1, 0.3, 0.6])
@pytest.mark.parametrize(
    ("d", "kind"),
    [
        (1, "overlapping"),
        (1, "separated"),
        pytest.param(2, "overlapping", marks=pytest.mark.slow),
        pytest.param(8, "overlapping", marks=pytest.mark.slow),
    ],
)
def test_the_default_of_laplace_passes_every_gate(d, kind, width):
    mixture, x0, exact = as_likely(d, kind, Laplace(width))
    found = misses(draw(mixture, x0, Laplace(width)), exact)
    assert max(found.values()) < 1, found


@pytest.mark.parametrize("width", [0.1, 0.3, 0.6])
def test_the_default_of_laplace_knows_the_weights_of_separated_modes(width):
    """Modes of 2 % make the spread too noisy for its gate, even in exact draws."""
    mixture, x0, exact = as_likely(2, "separated", Laplace(width))
    found = misses(draw(mixture, x0, Laplace(width)), exact)
    assert max(found["mean"], found["weights"]) < 1, found


def test_where_the_default_of_laplace_fails():
    """As documented: a mode 18 widths away, which the data have millions of times more often than the others."""
    mixture, x0, exact = problem(1, "separated", Laplace(0.3))
    found = misses(draw(mixture, x0, Laplace(0.3)), exact)
    assert found["weights"] == pytest.approx(6, abs=0.7)


@pytest.mark.parametrize(
    ("d", "kind", "mean", "weights"),
    [
        (2, "overlapping", 3.34, 16.2),
        (2, "separated", 8.02, 16.67),
        (64, "separated", 10.37, 16.67),
    ],
)
def test_added_scores_as_published_fail_every_gate(d, kind, mean, weights):
    """All draws end in practically one point, in one mode."""
    mixture, x0, exact = problem(d, kind, Gaussian(0.3))
    x = draw(mixture, x0, Gaussian(0.3), method="sum", steps=50)
    found = misses(x, exact)
    assert found["mean"] == pytest.approx(mean, abs=0.02)
    assert found["weights"] == pytest.approx(weights, abs=0.02)
    assert found["energy"] > 200
    assert (x.flatten(1).std(0) / exact.covariance.diag().sqrt()).max() < 0.012


@pytest.mark.parametrize("d", [2, 8])
def test_reversed_noising_agrees(d):
    """It shares nothing with the default but the denoiser; on modes far apart it would need many more steps."""
    mixture, x0, exact = problem(d, "overlapping", Gaussian(0.3))
    found = misses(draw(mixture, x0, Gaussian(0.3), method="reverse", steps=100), exact)
    assert max(found.values()) < 1, found
