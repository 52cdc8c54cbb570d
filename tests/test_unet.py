"""The denoisers' network: sizes, labels, independence of the batch; preconditioning, the loss and the folder."""

import json
import math

import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise.diffusion import Preconditioned, UNet, denoising_loss, save_denoiser
from equipoise.diffusion.preconditioned import coefficients
from equipoise.streams import stream

TEN = [str(label) for label in range(10)]


def random_unet(**settings):
    """A network that is not silent, as a fresh one is."""
    net = UNet(**{"classes": 10, **settings})
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def denoiser(net, shape, sigma_data=0.7, **settings):
    return Preconditioned(
        net, sigma_data=sigma_data, shape=shape, classes=TEN, scale=3.0, **settings
    )


def inputs(count, shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    sigma = (-1 + 1.5 * torch.randn(count, generator=g)).exp()
    return (
        torch.randn(count, *shape, generator=g),
        sigma,
        torch.randint(-1, 10, (count,), generator=g),
    )


KINDS = [
    {"shape": (1, 8, 8), "attention": (4,)},
    {"shape": (1, 28, 28), "patch": 2, "attention": (7,)},
    {"shape": (3, 16, 16), "multipliers": (1, 2, 2), "blocks": 2, "attention": (8, 4)},
    {"shape": (1, 8, 8), "width": 64, "multipliers": (1, 1, 1, 1), "attention": (1,)},
    {"shape": (3, 11, 13), "width": 20, "multipliers": (1, 3), "attention": (11,)},
]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_every_size_and_gradient(settings):
    net = UNet(classes=10, dropout=0.1, **settings)
    x, sigma, label = inputs(4, settings["shape"])
    assert torch.equal(net(x, sigma.log() / 4, label), torch.zeros_like(x))
    # Layers that start at zero pass no gradient on until they have moved.
    net = random_unet(**settings)
    (net(x, sigma.log() / 4, label) ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_an_image_gets_the_same_bits_in_every_batch(settings):
    d = denoiser(random_unet(**settings), settings["shape"])
    x, sigma, label = inputs(64, settings["shape"])
    whole = d(x, sigma, label)
    assert whole.isfinite().all()
    for size in (1, 3, 8, 40):
        for first in (0, 24 if size < 40 else 7):
            rows = slice(first, first + size)
            assert torch.equal(d(x[rows], sigma[rows], label[rows]), whole[rows])
    nothing = torch.full_like(label, -1)
    joined = d(x[:5].repeat(2, 1, 1, 1), sigma[:5].repeat(2), torch.cat([label[:5], nothing[:5]]))
    assert torch.equal(joined, torch.cat([whole[:5], d(x[:5], sigma[:5], nothing[:5])]))


def test_label_and_noise_reach_the_output():
    d = denoiser(random_unet(shape=(1, 8, 8)), (1, 8, 8))
    x = inputs(1, (1, 8, 8))[0].expand(11, -1, -1, -1)
    by_label = d(x, 0.5, torch.arange(-1, 10))
    assert len(by_label.unique(dim=0)) == 11
    assert len(d(x, torch.linspace(0.1, 1, 11), 3).unique(dim=0)) == 11
    assert torch.equal(by_label[0], d(x[:1], 0.5)[0])


def test_preconditioning_keeps_unit_variance():
    sigma, s = torch.tensor([1e-3, 0.1, 0.7, 3.0, 80.0]), 0.7
    c = coefficients(sigma, s)
    skip, out, scale = (part.flatten().double() for part in c[:3])
    sigma = sigma.double()
    total = sigma**2 + s**2
    torch.testing.assert_close(skip, s**2 / total, rtol=1e-6, atol=0)
    torch.testing.assert_close(out, sigma * s / total.sqrt(), rtol=1e-6, atol=0)
    torch.testing.assert_close(scale, total.rsqrt(), rtol=1e-6, atol=0)
    torch.testing.assert_close(c.noise.double(), sigma.log() / 4, rtol=1e-6, atol=0)
    # What F should give, (x0 - c_skip x) / c_out, has unit variance when x0 has s^2.
    variance = ((1 - skip) ** 2 * s**2 + (skip * sigma) ** 2) / out**2
    torch.testing.assert_close(variance, torch.ones(5, dtype=torch.float64), rtol=1e-5, atol=0)


def test_a_silent_network_leaves_c_skip_x():
    x, sigma, label = inputs(5, (1, 8, 8))
    d = denoiser(UNet(shape=(1, 8, 8), classes=10), (1, 8, 8))
    torch.testing.assert_close(d(x, sigma, label), coefficients(sigma, 0.7).skip * x)
    assert not d.training
    assert not any(p.requires_grad for p in d.parameters())


def drawn(generators, x0, mean, std):
    """The noise levels and noisy images that the loss makes of `x0`."""
    draws = torch.stack([torch.randn(x0[0].numel() + 1, generator=g) for g in generators])
    sigma = (mean + std * draws[:, 0]).exp()
    return sigma, x0 + sigma[:, None, None, None] * draws[:, 1:].view_as(x0)


def test_the_loss_is_the_weighted_error_of_the_denoiser():
    shape, s = (1, 8, 8), 0.7
    net = random_unet(shape=shape)
    d = denoiser(net, shape, s)
    x0, _, label = inputs(24, shape, seed=1)
    noise = [[stream("loss", i) for i in range(24)] for _ in range(3)]
    loss = denoising_loss(
        net, x0, label, sigma_data=s, noise=noise[0], mean=-0.5, std=0.8, withheld=0
    )
    sigma, x = drawn(noise[1], x0, -0.5, 0.8)
    weight = (sigma**2 + s**2) / (sigma * s) ** 2
    expected = weight * (d(x, sigma, label) - x0).square().flatten(1).mean(1)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    # An image's loss does not depend on the images beside it.
    rows = slice(3, 24, 2)
    part = denoising_loss(
        net,
        x0[rows],
        label[rows],
        sigma_data=s,
        noise=noise[2][rows],
        mean=-0.5,
        std=0.8,
        withheld=0,
    )
    torch.testing.assert_close(part, loss[rows], rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_silent_network_is_one_at_every_noise_level():
    x0 = 0.7 * torch.randn(2000, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(2000, dtype=torch.int64)
    for mean in (-6.0, -1.0, 4.0):
        noise = [stream(mean, i) for i in range(2000)]
        loss = denoising_loss(
            lambda x, c, y: torch.zeros_like(x), x0, label, sigma_data=0.7, noise=noise, mean=mean
        )
        assert loss.mean().item() == pytest.approx(1, abs=4 * math.sqrt(2 / 64 / 2000))


def test_labels_are_withheld_at_the_given_rate():
    seen = []

    def net(x, noise, label):
        seen.append(label)
        return x

    label = torch.arange(4000) % 10
    noise = [stream("withheld", i) for i in range(4000)]
    denoising_loss(
        net, torch.zeros(4000, 1, 1, 1), label, sigma_data=0.7, noise=noise, withheld=0.15
    )
    without = seen[0] == -1
    assert without.double().mean().item() == pytest.approx(
        0.15, abs=4 * math.sqrt(0.15 * 0.85 / 4000)
    )
    assert torch.equal(seen[0][~without], label[~without])


def test_what_is_saved_is_what_is_loaded(tmp_path):
    shape = (3, 12, 12)
    d = denoiser(
        random_unet(shape=shape, patch=2, attention=(3,), dropout=0.1),
        shape,
        unconditional=False,
        name="saved",
        facts={"data": "toy", "loss": 0.1},
    )
    save_denoiser(d, tmp_path / "saved")
    again = eq.load_denoiser(f"local:{tmp_path / 'saved'}")
    assert (again.shape, again.classes, again.scale) == (d.shape, d.classes, d.scale)
    assert (again.name, again.facts, again.unconditional) == (d.name, d.facts, False)
    assert again.fingerprint() == d.fingerprint()
    x, sigma, label = inputs(5, shape)
    assert torch.equal(again(x, sigma, label.abs()), d(x, sigma, label.abs()))
    with pytest.raises(eq.EquipoiseError, match="never shown images without their label"):
        again(x, sigma)
    unmeasured = denoiser(UNet(shape=shape, classes=10), shape)
    unmeasured.scale = math.nan
    save_denoiser(unmeasured, tmp_path / "unmeasured")
    assert math.isnan(eq.load_denoiser(f"local:{tmp_path / 'unmeasured'}").scale)


def test_broken_folders_are_reported(tmp_path):
    shape = (1, 8, 8)
    folder = tmp_path / "broken"
    save_denoiser(denoiser(UNet(shape=shape, classes=10), shape), folder)
    sound = json.loads((folder / "denoiser.json").read_text())

    def fails(**changes):
        (folder / "denoiser.json").write_text(json.dumps({**sound, **changes}))
        with pytest.raises(eq.EquipoiseError) as caught:
            eq.load_denoiser(f"local:{folder}")
        return str(caught.value)

    assert "format is 2, this version of equipoise reads 1. Upgrade" in fails(format=2)
    assert "a 'transformer'" in fails(net={**sound["net"], "kind": "transformer"})
    assert "widht" in fails(net={**sound["net"], "widht": 3})
    assert "names 3 classes for a network with 10" in fails(classes=["a", "b", "c"])
    assert "it lacks 'kind'" in fails(net={})
    assert "do not fit the network" in fails(net={**sound["net"], "width": 8})
    assert "sigma_data=0" in fails(sigma_data=0)
    (folder / "denoiser.json").write_text(json.dumps(sound))
    (folder / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(eq.EquipoiseError, match="Is the file whole"):
        eq.load_denoiser(f"local:{folder}")
    with pytest.raises(eq.EquipoiseError, match="only a UNet can"):
        save_denoiser(denoiser(nn.Identity(), shape), folder)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("local:/no/where", "there is no folder /no/where"),
        ("local:/no?x=1", "unknown option 'x'"),
        ("locl:/no", "Did you mean 'local:'"),
        ("local:", "Unknown denoiser spec"),
        ("edm:/no/where.pkl", "/no/where.pkl"),
        ("edm:/no/where.pkl?null=3", "unknown option 'null'"),
        ("/", "Did you mean 'local:/'"),
    ],
)
def test_wrong_specs_are_reported(spec, words):
    with pytest.raises(eq.EquipoiseError, match=words.replace("?", r"\?")):
        eq.load_denoiser(spec)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"patch": 3}, "patch=3 for images of 8x8 pixels"),
        ({"attention": (5,)}, r"attends at \(5,\).*\(8, 4\)"),
        ({"multipliers": ()}, r"multipliers=\(\)"),
        ({"dropout": 1.0}, "dropout is a share below 1"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        UNet(shape=(1, 8, 8), classes=10, **settings)
