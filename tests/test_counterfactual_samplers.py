"""Samplers against exact laws: closed forms, the affine laws of Gaussian data, and the mixtures' posteriors."""

import math
from itertools import pairwise

import pytest
import torch

from equipoise.counterfactuals import Gaussian, Laplace, merge, posterior
from equipoise.diffusion import MixtureDenoiser, heun, levels, multistep, reverse

DOUBLE = torch.float64


def mixture_m():
    """Three components in the plane, as an image of 1 x 1 x 2 pixels."""
    means = torch.tensor([[1, 0.5], [-0.5, 1], [0.5, -1]], dtype=DOUBLE)
    variances = torch.tensor([[0.09, 0.01], [0.04, 0.04], [0.01, 0.16]], dtype=DOUBLE)
    return MixtureDenoiser(
        means.view(3, 1, 1, 2),
        variances.sqrt().view(3, 1, 1, 2),
        torch.tensor([0.5, 0.3, 0.2], dtype=DOUBLE),
        torch.zeros(3, dtype=torch.int64),
    )


X0 = torch.tensor([0.2, 0.1], dtype=DOUBLE).view(1, 1, 2)


def near(actual, expected, tolerance):
    assert torch.allclose(
        torch.as_tensor(actual, dtype=DOUBLE).flatten(),
        torch.as_tensor(expected, dtype=DOUBLE).flatten(),
        atol=tolerance,
        rtol=0,
    ), (actual, expected)


@pytest.mark.parametrize(
    ("x", "sigma", "plain", "merged"),
    [
        ((1, -1), 0.1, (0.75, -1), (0.73921569, -0.96009070)),
        ((1, -1), 1, (0.69629078, -0.22207723), (0.65571808, 0.09156717)),
        ((0.2, 0.1), 0.1, (0.31846609, 0.15392062), (0.31625968, 0.15104498)),
        ((0.2, 0.1), 1, (0.48618501, 0.37936272), (0.56203359, 0.36168640)),
        ((-0.4, 0.9), 1, (0.06011393, 0.72434710), (0.36084384, 0.53088867)),
        ((0.2, 0.1), 80, (0.45000584, 0.35000821), (0.55395447, 0.37014384)),
    ],
)
def test_denoiser_and_merged_observation_at_points(x, sigma, plain, merged):
    m = mixture_m()
    x = torch.tensor(x, dtype=DOUBLE).view(1, 1, 1, 2)
    label = torch.zeros(1, dtype=torch.int64)
    near(m(x, sigma, label), plain, 1e-8)

    def denoise(x, s):
        return m(x, s, label)

    near(merge(denoise, X0, 0.5)(x, float(sigma)), merged, 1e-8)


def test_the_merged_observation_is_the_posteriors_own_denoiser():
    """D_eff against the closed form, on random mixtures, at noise levels from 0.001 to 80."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(4, 2, 3, 3, generator=generator, dtype=DOUBLE)
    stds = 0.1 + torch.rand(4, 2, 3, 3, generator=generator, dtype=DOUBLE)
    m = MixtureDenoiser(means, stds, torch.tensor([1, 2, 3, 4]), torch.tensor([0, 0, 1, 1]))
    x0 = torch.randn(2, 3, 3, generator=generator, dtype=DOUBLE)
    for label in (0, 1):
        found = posterior(m, Gaussian(0.3), x0, label)
        own = found.weights > 0
        exact = MixtureDenoiser(
            found.means[own], found.variances[own].sqrt(), found.weights[own], torch.tensor([0, 0])
        )
        denoise = merge(lambda x, s, label=label: m(x, s, label), x0, 0.3)
        for sigma in (0.001, 0.1, 1.0, 80.0):
            x = x0 + sigma * torch.randn(5, 2, 3, 3, generator=generator, dtype=DOUBLE)
            near(denoise(x, sigma), exact(x, sigma, 0), 1e-12)


@pytest.mark.parametrize(
    ("y", "sigma", "b", "score"),
    [
        (0.1, 0.3, 0.2 / math.sqrt(2), -0.84632258),
        (-0.4, 0.05, 0.2 / math.sqrt(2), 7.07106781),
        (1, 1, 0.2 / math.sqrt(2), -0.96291069),
        (0.01, 0.02, 0.1, -3.52923080),
        (30, 20, 0.14, -0.07499265),
    ],
)
def test_the_diffused_laplace_score(y, sigma, b, score):
    found = Laplace(b * math.sqrt(2)).score(torch.tensor([[[[y]]]], dtype=DOUBLE), sigma)
    near(found, score, 1e-8)


@pytest.mark.parametrize("kind", [Gaussian, Laplace])
@pytest.mark.parametrize("sigma", [1e-4, 0.05, 0.3, 2.0, 80.0])
def test_diffused_scores_are_derivatives_of_the_convolution(kind, sigma):
    """Against quadrature of q * N(0, sigma^2), split at its kink; finite and odd far out."""
    from scipy.integrate import quad

    q = kind(0.2)

    def density(y):
        def integrand(u):
            at = torch.tensor([[[[y - sigma * u]]]], dtype=DOUBLE)
            return math.exp(q.log_density(at).item() - u * u / 2) / math.sqrt(2 * math.pi)

        edges = sorted({-12.0, 12.0, min(max(y / sigma, -12.0), 12.0)})
        return sum(
            quad(integrand, a, b, epsabs=0, epsrel=1e-11, limit=200)[0] for a, b in pairwise(edges)
        )

    step = 1e-4 * math.hypot(0.2, sigma)
    for y in (0.03, 0.3 * sigma + 0.02):
        slope = (math.log(density(y + step)) - math.log(density(y - step))) / (2 * step)
        found = q.score(torch.tensor([[[[y]]]], dtype=DOUBLE), sigma)
        assert found.item() == pytest.approx(slope, rel=2e-5)
    far = torch.tensor([[[[-1e6, 1e6, 0.0]]]], dtype=torch.float32)
    ends = q.score(far, sigma).flatten()
    assert ends.isfinite().all()
    assert ends[0] == -ends[1]
    assert ends[0] > 0
    assert ends[2] == 0


def test_exact_posteriors_have_the_known_moments():
    m = mixture_m()
    gauss, laplace = (posterior(m, kind(0.5), X0, 0) for kind in (Gaussian, Laplace))
    near(gauss.weights, [0.67924888, 0.15486970, 0.16588142], 1e-8)
    near(laplace.weights, [0.67665012, 0.12259432, 0.20075555], 1e-8)
    near(
        gauss.means,
        [0.78823529, 0.48461538, -0.40344828, 0.87586207, 0.48846154, -0.57073171],
        1e-8,
    )
    near(
        laplace.means, [0.75592, 0.47172074, -0.38714721, 0.8868704, 0.47187445, -0.57178887], 1e-7
    )
    near(
        gauss.variances,
        [0.06617647, 0.00961538, 0.03448276, 0.03448276, 0.00961538, 0.09756098],
        1e-8,
    )
    near(
        laplace.variances,
        [0.08338728, 0.00999803, 0.03982042, 0.03999383, 0.00995265, 0.14139912],
        1e-7,
    )
    near(gauss.mean, [0.55395272, 0.37014517], 1e-8)
    near(laplace.mean, [0.55876273, 0.31312538], 1e-7)
    near(gauss.covariance, [0.23183611, -0.04654604, -0.04654604, 0.22340989], 1e-8)
    near(laplace.covariance, [0.20081223, -0.02993982, -0.02993982, 0.25463659], 1e-7)


@pytest.mark.parametrize(
    ("kind", "length"), [(Gaussian, 0.772105), (Laplace, 0.745981)], ids=["gaussian", "laplace"]
)
def test_draws_from_exact_posteriors(kind, length):
    found = posterior(mixture_m(), kind(0.5), X0, 0)
    x = found.sample(200_000, torch.Generator().manual_seed(0))
    near(x.mean(0), found.mean, 5 * 0.5 / math.sqrt(200_000))
    near(x.flatten(1).T.cov(), found.covariance, 2 / math.sqrt(200_000))
    assert (x - X0).flatten(1).norm(dim=1).mean().item() == pytest.approx(length, abs=0.0027)
    near(found.responsibilities(x).mean(0), found.weights, 0.005)


def toy_t():
    """256 directions: 16 wide and 240 thin, x0 one standard deviation up in half of each and down in the other."""
    wide, thin = torch.full((16,), 0.5, dtype=DOUBLE), torch.full((240,), 0.02, dtype=DOUBLE)
    stds = torch.cat([wide, thin]).view(1, 1, 1, 256)
    means = torch.cat([torch.full((16,), 0.3), torch.zeros(240)]).double().view(1, 1, 1, 256)
    signs = torch.tensor([1.0, -1.0]).repeat_interleave(8).tolist()
    signs += torch.tensor([1.0, -1.0]).repeat_interleave(120).tolist()
    x0 = torch.tensor(signs, dtype=DOUBLE) * stds.flatten()
    m = MixtureDenoiser(means, stds, torch.ones(1), torch.zeros(1, dtype=torch.int64))
    return m, x0.view(1, 1, 256)


def affine_law(sample, draws):
    """Mean and standard deviation of every direction of an affine sampler x = a + sum_i b_i n_i, without sampling.

    `sample` maps noise with shape (draws, B, 1, 1, 256) to images; row 0 gets none, row i + 1 gets n_i = 1.
    """
    noise = torch.zeros(draws, draws + 1, 1, 1, 256, dtype=DOUBLE)
    noise[torch.arange(draws), torch.arange(draws) + 1] = 1
    x = sample(noise).flatten(1)
    return x[0], (x[1:] - x[0]).norm(dim=0)


def arm(name, m, x0, steps, width=0.2, start=80.0, centred=False, churn=0.0):
    def denoise(x, sigma):
        return m(x, sigma, 0)

    merged = merge(denoise, x0, width)

    def sample(noise):
        like = x0.expand(noise.shape[1:])
        if name == "sde":
            return reverse(merged_from(x0), like, levels(width, 0.002, steps, rho=3), noise)
        origin = denoise(like, width) if centred else like
        x = origin + start * noise[0]
        if name == "2m":
            return multistep(merged, x, levels(start, 0.002, steps))
        if name == "heun":
            return heun(merged, x, levels(start, 0.002, steps))

        def added(x, sigma):
            return denoise(x, sigma) + sigma**2 * Gaussian(width).score(x - x0, sigma)

        return heun(added, x, levels(80.0, 0.002, steps), churn, noise[1:])

    def merged_from(_):
        return denoise

    return sample


@pytest.mark.parametrize(
    ("name", "steps", "settings", "draws", "wide", "thin", "w2", "ratio"),
    [
        ("heun", 18, {}, 1, 0.199569, 0.022742, 0.0881, 1.0654),
        ("heun", 50, {}, 1, 0.187204, 0.020114, 0.0086, 1.0062),
        ("2m", 25, {}, 1, 0.193015, 0.020596, 0.0388, 1.0295),
        ("heun", 18, {"start": 4.0, "centred": True}, 1, 0.189462, 0.020630, 0.0234, 1.0174),
        ("2m", 18, {"start": 4.0, "centred": True}, 1, 0.189808, 0.020415, 0.0227, 1.0174),
        ("2m", 25, {"start": 4.0, "centred": True}, 1, 0.187555, 0.020151, 0.0104, 1.0080),
        ("sde", 18, {}, 17, 0.187628, 0.020718, 0.0184, 1.0115),
        ("sde", 25, {}, 24, 0.186589, 0.020282, 0.0086, 1.0053),
        ("sum", 50, {}, 1, 0.001486, 0.000065, 1.0808, 0.7856),
        ("sum", 50, {"churn": 40.0}, 51, 0.171116, 0.020184, 0.2316, None),
    ],
)
def test_the_laws_of_samplers_on_gaussian_data(
    name, steps, settings, draws, wide, thin, w2, ratio
):
    """Every sampler is affine on Gaussian data, so its law is exact: relative Wasserstein-2 error and lengths."""
    m, x0 = toy_t()
    mean, std = affine_law(arm(name, m, x0, steps, **settings), draws)
    exact = posterior(m, Gaussian(0.2), x0, 0)
    exact_mean, exact_std = exact.means.flatten(), exact.variances.sqrt().flatten()
    near(exact_std[[0, -1]], [0.18569534, 0.01990074], 1e-8)
    near(std[0], wide, 1e-5 if wide > 0.01 else 1e-6)
    near(std[-1], thin, 1e-6)
    miss = ((mean - exact_mean) ** 2 + (std - exact_std) ** 2).sum() / (exact_std**2).sum()
    near(miss.sqrt(), w2, 1e-4)
    if ratio is not None:
        lengths = [
            (((a - x0.flatten()) ** 2 + s**2).sum()).sqrt()
            for a, s in ((mean, std), (exact_mean, exact_std))
        ]
        near(lengths[1], 0.918900, 1e-6)
        near(lengths[0] / lengths[1], ratio, 1e-4)
