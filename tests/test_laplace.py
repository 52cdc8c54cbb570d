"""Samplers of Laplace neighbourhoods against the exact laws of mixtures: gates they pass, and where they fail."""

import math

import pytest
import torch

from equipoise.counterfactuals import Gaussian, Laplace, posterior
from equipoise.counterfactuals.added import Added
from equipoise.counterfactuals.exact import Exact
from equipoise.counterfactuals.metropolis import Metropolis
from equipoise.counterfactuals.particles import Particles, log_normalisers
from equipoise.counterfactuals.split import _log_excess, _log_shares, accepted, glance, split_move
from equipoise.counterfactuals.tilted import Tilted
from equipoise.diffusion import MixtureDenoiser

DOUBLE = torch.float64


class Problem:
    """A mixture in a row of pixels, an original and a width; draws of any method, and how far they are off."""

    def __init__(self, means, stds, weights, x0, sigma):
        means = torch.as_tensor(means, dtype=DOUBLE)
        stds = torch.as_tensor(stds, dtype=DOUBLE)
        self.mixture = MixtureDenoiser(
            means[:, None, None],
            stds if stds.ndim == 1 else stds[:, None, None],
            torch.as_tensor(weights, dtype=DOUBLE),
            torch.zeros(len(means), dtype=torch.int64),
        )
        self.x0 = torch.as_tensor(x0, dtype=DOUBLE).view(1, 1, -1)
        self.q = Laplace(sigma)
        self.exact = posterior(self.mixture, self.q, self.x0, 0)
        self.calls = 0

    def denoise(self, x, sigma):
        self.calls += 1
        label = torch.zeros(len(x), dtype=torch.int64)
        return self.mixture.denoise(x, x.new_full((len(x),), sigma), label)

    def draw(self, method, count, seed=0):
        self.calls = 0
        originals = self.x0.expand(count, -1, -1, -1).contiguous()
        return method.draw(self.denoise, self.q, originals, noises(originals, seed))

    def errors(self, x):
        """Of means and standard deviations, the largest in exact standard deviations; of weights; energy distance.

        The last is in units of its limit, the 99.9 % quantile for exact draws, roughly.
        """
        flat, std = x.flatten(1), self.exact.covariance.diagonal().sqrt()
        mean = ((flat.mean(0) - self.exact.mean.flatten()) / std).abs().max()
        spread = (flat.std(0) / std - 1).abs().max()
        weights = (self.exact.responsibilities(x).mean(0) - self.exact.weights).abs().max()
        generator = torch.Generator().manual_seed(99)
        few = [self.exact.sample(400, generator) for _ in range(40)]
        null = torch.stack([energy(a, b) for a, b in zip(few[::2], few[1::2], strict=True)])
        limit = (null.mean() + 6 * null.std()) * 400 / len(x)
        distance = energy(x, self.exact.sample(len(x), generator)) / limit
        return tuple(e.item() for e in (mean, spread, weights, distance))


def noises(like, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def noise(count):
        return torch.randn(count, *like.shape, generator=generator, dtype=like.dtype)

    return noise


def energy(x, y):
    x, y = x.flatten(1).float(), y.flatten(1).float()
    return 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()


def three_modes():
    means = [[1, 0.5], [-0.5, 1], [0.5, -1]]
    stds = [[0.3, 0.1], [0.2, 0.2], [0.1, 0.4]]
    return Problem(means, stds, [0.5, 0.3, 0.2], [0.2, 0.1], 0.5)


def two_modes():
    """In one pixel, 4 sigma apart, x0 between them."""
    return Problem([[-1], [1]], [[0.2], [0.3]], [1, 1], [-0.1], 0.5)


def far_modes(pixels=2, share=0.0):
    """Two modes 8 sigma apart, of weights 0.6 and 0.4 around x0, which lies at `share` of the way between them."""
    sigma = 0.3
    ends = torch.tensor([-share, 1 - share], dtype=DOUBLE) * 8 * sigma / math.sqrt(pixels)
    means = ends[:, None].expand(2, pixels)
    stds, x0 = torch.full((2,), 0.4 * sigma, dtype=DOUBLE), torch.zeros(pixels)
    even = Problem(means, stds, [1, 1], x0, sigma)
    weights = torch.tensor([0.6, 0.4], dtype=DOUBLE) / even.exact.weights
    return Problem(means, stds, weights, x0, sigma)


def overlapping():
    generator = torch.Generator().manual_seed(5)
    means = 0.4 * torch.randn(6, 5, generator=generator, dtype=DOUBLE)
    stds = 0.1 + 0.4 * torch.rand(6, 5, generator=generator, dtype=DOUBLE)
    x0 = 0.3 * torch.randn(5, generator=generator, dtype=DOUBLE)
    return Problem(means, stds, [1, 2, 3, 1, 2, 3], x0, 0.3)


def wide_and_thin(sigma):
    """One component with 4 wide and 12 thin directions."""
    stds = torch.tensor([0.5] * 4 + [0.02] * 12, dtype=DOUBLE)
    means = torch.tensor([0.3] * 4 + [0.0] * 12, dtype=DOUBLE)
    return Problem(means[None], stds[None], [1], stds * torch.tensor([1, -1] * 8), sigma)


def digits(sigma):
    """A kernel density of 64 pixels around the eights, the original a three."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.as_tensor(data.images, dtype=DOUBLE).flatten(1) / 8 - 1
    eights, three = images[data.target == 8], images[data.target == 3][0]
    return Problem(eights, torch.full((len(eights),), 0.15), torch.ones(len(eights)), three, sigma)


@pytest.mark.parametrize(
    "problem",
    [
        two_modes,
        three_modes,
        overlapping,
        lambda: wide_and_thin(0.1),
        lambda: wide_and_thin(0.2),
        lambda: wide_and_thin(0.6),
    ],
    ids=["two", "three", "overlapping", "thin-0.1", "thin-0.2", "thin-0.6"],
)
def test_the_tilted_method_draws_from_the_target(problem):
    """Within 0.1 standard deviations, 5 %, weights of 0.03; noise has 3 standard errors on top where it is large."""
    problem = problem()
    method = Tilted(18)
    x = problem.draw(method, 4000)
    assert problem.calls == method.evaluations() == 37
    mean, spread, weights, distance = problem.errors(x)
    noise = 3 * math.sqrt(1.25 / 4000)
    assert mean < 0.1, mean
    assert spread < 0.05 + noise, spread
    assert weights < 0.03 + noise / 2, weights
    assert distance < 1, distance


def test_the_tilted_method_on_digits():
    problem = digits(0.3)
    x = problem.draw(Tilted(18), 500)
    mean, _, weights, distance = problem.errors(x)
    assert mean < 0.2
    # One mode of weight 0.006, 10 sigma away, is never found.
    assert weights < 0.01
    assert distance < 1


def test_added_scores_fail():
    problem = three_modes()
    mean, spread, weights, distance = problem.errors(problem.draw(Added(50), 4000))
    assert spread > 0.99  # every draw is the same image
    assert weights == pytest.approx(0.32, abs=0.02)
    assert distance > 50
    mean, spread, weights, distance = problem.errors(problem.draw(Added(50, 40.0), 4000))
    assert mean > 0.15
    assert spread == pytest.approx(0.19, abs=0.03)
    assert distance > 3


@pytest.mark.parametrize("pixels", [2, 16])
def test_far_modes_keep_wrong_weights(pixels):
    """What the tilted method cannot do, as documented, and Metropolis does not repair."""
    problem = far_modes(pixels)
    for method, count in ((Tilted(18), 1000), (Metropolis(18), 200)):
        assert problem.errors(problem.draw(method, count))[2] > 0.3


def test_particles_find_the_weights_of_modes():
    problem, method = far_modes(share=0.4), Particles(18)
    assert problem.errors(problem.draw(Tilted(18), 1000))[2] > 0.3
    x = problem.draw(method, 1000)
    # Every particle's evaluation is a call.
    assert problem.calls == method.evaluations() == 954
    mean, spread, weights, _ = problem.errors(x)
    assert mean < 0.1
    assert spread < 0.05
    assert weights < 0.03 + 3 * math.sqrt(0.25 / 1000)


@pytest.mark.slow
def test_particles_in_many_pixels():
    """No particle of one width is likely in another's law: the start of their normalisers has to tell them apart."""
    pixels, wide = 1024, 64
    stds = torch.full((1, pixels), 0.02, dtype=DOUBLE)
    stds[0, :wide] = 0.5
    problem = Problem(torch.zeros(1, pixels), stds, [1], stds[0], 0.2)
    x = problem.draw(Particles(18), 64).flatten(1)
    off = (x.mean(0) - problem.exact.mean.flatten()) / problem.exact.variances.flatten().sqrt()
    assert abs(off[:wide].mean()) < 0.1
    spread = (x.var(0) / problem.exact.variances.flatten())[:wide].mean().sqrt()
    assert abs(spread - 1) < 0.05


def test_normalisers_of_normal_laws():
    """Their ratios are those of the widths."""
    generator = torch.Generator().manual_seed(0)
    widths = torch.tensor([1.0, 2.0, 4.0], dtype=DOUBLE)
    draws = widths[:, None, None] * torch.randn(3, 3000, 5, generator=generator, dtype=DOUBLE)
    x = draws.flatten(0, 1)
    start = torch.zeros(3, 5, dtype=DOUBLE)
    found = log_normalisers(-(x**2) / (2 * widths[:, None, None] ** 2), start)
    assert torch.allclose(found, widths.log()[:, None].expand(3, 5), atol=0.05)
    assert found[0].tolist() == [0] * 5


@pytest.mark.parametrize("problem", [three_modes, overlapping], ids=["three", "overlapping"])
def test_metropolis_moves_leave_the_target_as_it_is(problem):
    problem = problem()
    x = problem.exact.sample(4000, torch.Generator().manual_seed(3))
    originals = problem.x0.expand_as(x)
    method = Metropolis(18)
    moved = method.moves(problem.denoise, problem.q, x, originals, noises(x))
    assert (moved != x).flatten(1).any(1).double().mean() > 0.99
    mean, spread, weights, distance = problem.errors(moved)
    assert mean < 0.05
    assert spread < 0.05
    assert weights < 0.03
    assert distance < 1
    drawn = problem.draw(method, 100)
    assert drawn.isfinite().all()
    assert problem.calls == method.evaluations() == 208


def test_rejection_takes_away_the_bias_of_long_moves():
    """With rho = b q_rho is visibly not q: moves alone drift off, with rejection they stay."""
    problem = overlapping()
    x = start = problem.exact.sample(4000, torch.Generator().manual_seed(3))
    originals, noise, rho = problem.x0.expand_as(x), noises(x), problem.q.b
    kept = x

    def inner(denoise, z, rho, noise):
        return Exact(20).draw(denoise, Gaussian(rho), z, noise)

    for _ in range(5):
        x, proposed = (
            split_move(
                problem.denoise, problem.q, at, originals, rho=rho, noise=noise, inner=inner
            )
            for at in (x, kept)
        )
        kept = accepted(problem.q, kept, proposed, originals, rho=rho, noise=noise)
    assert (kept != start).flatten(1).any(1).double().mean() > 0.9
    assert problem.errors(x)[3] > 1
    assert problem.errors(kept)[3] < 0.6
    assert problem.errors(kept)[0] < 0.05


def test_the_smoothed_neighbourhood_against_quadrature():
    """q_rho, its mass, and the draws of z that it is made of."""
    from scipy.integrate import quad

    b, rho = 0.2, 0.1
    share = -math.expm1(-((rho / b) ** 2) / 2)

    def smooth(y):
        def slab(z):
            at = -abs(z) / b - ((y - z) / rho) ** 2 / 2
            return math.exp(at) / (2 * b * rho * math.sqrt(2 * math.pi))

        around = [0.0, y - 6 * rho, y, y + 6 * rho]
        integral = quad(slab, min(around) - 1, max(around) + 1, points=around, epsabs=1e-13)[0]
        spike = math.exp(-((y / rho) ** 2) / 2) / (rho * math.sqrt(2 * math.pi))
        return share * spike + (1 - share) * integral

    q = Laplace(b * math.sqrt(2))
    y = torch.tensor([0.0, 0.03, -0.1, 0.4, -2.0], dtype=DOUBLE).view(-1, 1, 1, 1)
    expected = torch.tensor([smooth(v) for v in y.flatten().tolist()], dtype=DOUBLE)
    found = _log_shares(y, rho, b).logsumexp(0).exp().flatten() / (2 * b)
    assert torch.allclose(found, expected, rtol=1e-7, atol=0)
    # In the tails it is q itself.
    assert _log_excess(q, y, rho)[-1].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0, 3.0, 100.0])
def test_chains_of_glances_keep_standard_deviations(ratio):
    """x = a z + c n exactly on Gaussian data: the standard deviation that a chain of moves settles at."""
    problem = Problem([[0.0]], [[ratio]], [1], [0.0], 1.0)
    z = torch.tensor([0.0, 1.0], dtype=DOUBLE).view(2, 1, 1, 1)
    a = glance(problem.denoise, z, 1.0, lambda n: torch.zeros(n, *z.shape, dtype=DOUBLE))
    c = glance(problem.denoise, z, 1.0, lambda n: torch.ones(n, *z.shape, dtype=DOUBLE))
    gain, push = (a[1] - a[0]).item(), (c[0] - a[0]).item()
    variance = (gain**2 + push**2) / (1 - gain**2)
    assert math.sqrt(variance) == pytest.approx(ratio, rel=0.03)


@pytest.mark.parametrize("method", [Tilted(18), Metropolis(6), Particles(6)], ids=lambda m: m.name)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_batches_do_not_matter(method, dtype):
    """One image's counterfactual comes from its own stream, and from no other image."""
    problem = overlapping()
    originals = torch.stack([problem.x0 + shift for shift in (0.0, 0.2, -0.3)]).to(dtype)

    def draw(rows):
        streams = [torch.Generator().manual_seed(row) for row in rows]

        def noise(count):
            shape = (count, *originals.shape[1:])
            return torch.stack([torch.randn(shape, generator=g, dtype=dtype) for g in streams], 1)

        return method.draw(problem.denoise, problem.q, originals[list(rows)], noise)

    together = draw((0, 1, 2))
    assert together.dtype == dtype
    for row in range(3):
        assert torch.allclose(
            draw((row,))[0], together[row], atol=1e-3 if dtype == torch.float32 else 1e-9
        )
