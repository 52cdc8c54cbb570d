"""Training denoisers: what resumes equals what was never disturbed, and what is learnt approaches the closed form."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import equipoise as eq
from equipoise.cli import main
from equipoise.diffusion import MixtureDenoiser, UNet, from_network_units
from equipoise.images import Example, Images
from equipoise.progress import Progress
from equipoise.streams import digest
from equipoise.training import DenoiserRecipe, denoising, fit_denoiser, suited_recipe
from equipoise.training.denoising import averaging_exponent, averaging_share

TINY = DenoiserRecipe(
    width=4, multipliers=(1,), attention=(), steps=12, batch=20, limit=50, flip=True
)


@dataclass
class Held(Images):
    """Images in memory."""

    images: torch.Tensor
    labels: torch.Tensor
    spec = "held"
    split = "train"
    classes = ("dark", "bright")

    def __len__(self):
        return len(self.labels)

    def read(self, index):
        return Example(self.images[index], int(self.labels[index]), str(index))

    def fingerprint(self, indices):
        return digest(self.images[list(indices)].numpy().tobytes())


@pytest.fixture(scope="module")
def train_digits():
    return eq.load_images("digits", split="train")


@pytest.fixture(scope="module")
def toy():
    """Two Gaussian classes of 4x4 images: their denoiser is known."""
    pattern = torch.linspace(0.1, 0.5, 16).view(1, 1, 4, 4)
    return MixtureDenoiser(
        torch.cat([-pattern, pattern]), torch.tensor([0.2, 0.2]), torch.ones(2), torch.arange(2)
    )


def train_on(toy, folder, labels=None, **changes):
    truth = torch.arange(2000) % 2
    x = toy.sample(truth, torch.Generator().manual_seed(0)).float()
    images = Held(from_network_units(x), truth if labels is None else labels)
    recipe = DenoiserRecipe(
        **{
            "width": 8,
            "attention": (),
            "steps": 800,
            "batch": 64,
            "rate": 1e-2,
            "warm_up": 20,
            **changes,
        }
    )
    return fit_denoiser(images, recipe, folder, accelerator="cpu")


@pytest.fixture(scope="module")
def fitted(toy, tmp_path_factory):
    return train_on(toy, tmp_path_factory.mktemp("toy") / "denoiser")


def noisy(toy, count=400):
    """Images of the toy with noise of many levels; their labels, a third of them withheld."""
    g = torch.Generator().manual_seed(1)
    label = torch.arange(count) % 2
    sigma = torch.tensor([0.05, 0.2, 0.5, 1.0, 3.0])[torch.arange(count) % 5]
    clean = toy.sample(label, g).float()
    x = clean + sigma[:, None, None, None] * torch.randn(clean.shape, generator=g)
    return x, sigma, torch.where(torch.arange(count) % 3 == 0, -1, label)


def test_it_approaches_the_closed_form(toy, fitted):
    x, sigma, label = noisy(toy)
    exact = toy(x, sigma, label)
    for level in sigma.unique():
        rows = sigma == level
        error = (fitted(x[rows], sigma[rows], label[rows]) - exact[rows]).square().mean().sqrt()
        untrained = x[rows] * fitted.sigma_data**2 / (fitted.sigma_data**2 + level**2)
        without = (untrained - exact[rows]).square().mean().sqrt()
        assert error < min(0.07, 0.5 * without), f"sigma {level:g}: {error:g}, {without:g}"
    assert fitted.scale == pytest.approx(toy.scale, rel=0.03)
    assert fitted.unconditional


def obeys_its_label(denoiser, toy):
    """Whether at high noise, where the image says nothing, the label alone decides between the means of the toy."""
    x = 20 * torch.randn(64, *toy.shape, generator=torch.Generator().manual_seed(2))
    between = (denoiser(x, 20.0, 1) - denoiser(x, 20.0, 0)).mean(0)
    expected = (toy.means[1] - toy.means[0]).float()
    return bool((between - expected).norm() < 0.2 * expected.norm())


def test_the_label_decides_where_the_image_says_nothing(toy, fitted, tmp_path):
    assert obeys_its_label(toy, toy)
    assert obeys_its_label(fitted, toy)
    deaf = train_on(toy, tmp_path, labels=torch.zeros(2000, dtype=torch.int64), steps=40)
    assert not obeys_its_label(deaf, toy)


def weights(denoiser):
    return {k: v.clone() for k, v in denoiser.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def lines(folder, *, without="seconds"):
    text = (folder / "metrics.jsonl").read_text()
    return [
        {k: v for k, v in json.loads(line).items() if k != without} for line in text.splitlines()
    ]


@pytest.mark.parametrize(("stop_after", "dropout"), [(1, 0.0), (7, 0.1), (11, 0.0)])
def test_an_interrupted_training_ends_with_the_same_weights(
    train_digits, tmp_path, monkeypatch, stop_after, dropout
):
    recipe = replace(TINY, dropout=dropout)
    undisturbed = fit_denoiser(train_digits, recipe, tmp_path / "whole", accelerator="cpu")
    monkeypatch.setattr("equipoise.training.engine.SECONDS_BETWEEN_CHECKPOINTS", 0)
    advance = Progress.advance

    def interrupt(self, note=""):
        advance(self, note)
        if self.done == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit_denoiser(train_digits, recipe, tmp_path / "cut", accelerator="cpu")
    cut = tmp_path / "cut"
    assert (cut / "checkpoint.safetensors").exists()
    torch.rand(3)  # whatever the global generator does in between
    resumed = fit_denoiser(train_digits, recipe, cut, accelerator="cpu")
    assert same(weights(resumed), weights(undisturbed))
    assert not (cut / "checkpoint.safetensors").exists()
    assert lines(cut) == lines(tmp_path / "whole")
    assert [line["step"] for line in lines(cut)] == list(range(1, 13))


def test_a_finished_training_is_loaded_and_another_is_refused(train_digits, tmp_path, monkeypatch):
    first = fit_denoiser(train_digits, TINY, tmp_path, accelerator="cpu")
    monkeypatch.setattr(denoising._Fit, "train", None)
    again = fit_denoiser(train_digits, TINY, tmp_path, accelerator="cpu")
    assert first.fingerprint() == again.fingerprint()
    assert again.facts["recipe"]["batch"] == 20
    for images, recipe in (
        (train_digits, replace(TINY, seed=1)),
        (eq.load_images("digits", "test"), TINY),
    ):
        with pytest.raises(eq.EquipoiseError, match="holds a denoiser trained on other images or"):
            fit_denoiser(images, recipe, tmp_path, accelerator="cpu")
    samples = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert samples == [f"step-{step:06d}.png" for step in (2, 3, 6, 12)]
    with Image.open(tmp_path / "samples" / samples[-1]) as grid:
        assert grid.size == (8 * 68, 10 * 68)


def test_a_begun_training_with_other_settings_is_refused(train_digits, tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.training.engine.SECONDS_BETWEEN_CHECKPOINTS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(denoising._Fit, "_log_line", lambda self, seconds: 1 / (self.step < 4))
        with pytest.raises(ZeroDivisionError):
            fit_denoiser(train_digits, TINY, tmp_path, accelerator="cpu")
    with pytest.raises(eq.EquipoiseError, match="begun with other images or settings"):
        fit_denoiser(train_digits, replace(TINY, rate=1e-4), tmp_path, accelerator="cpu")
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(eq.EquipoiseError, match="Delete it to train from the beginning"):
        fit_denoiser(train_digits, TINY, tmp_path, accelerator="cpu")


@pytest.mark.parametrize("width", [0.02, 0.1, 0.25])
def test_the_average_is_a_power_of_time_of_the_asked_width(width):
    gamma, last = averaging_exponent(width), 20_000
    steps = np.arange(1, last + 1)
    shares = np.array([averaging_share(step, gamma) for step in steps])
    kept = np.append(np.cumprod((1 - shares)[:0:-1])[::-1], 1.0)
    profile = shares * kept
    exponent = gamma + 1
    np.testing.assert_allclose(
        profile, (steps / last) ** exponent - ((steps - 1) / last) ** exponent, atol=1e-12
    )
    time = steps / last
    mean = (profile * time).sum()
    assert np.sqrt((profile * (time - mean) ** 2).sum()) == pytest.approx(width, rel=1e-3)


def test_training_returns_that_average(train_digits, tmp_path, monkeypatch):
    seen, one_step = [], denoising._Fit._one_step

    def record(self):
        loss = one_step(self)
        seen.append({k: v.double().clone() for k, v in self.net.state_dict().items()})
        return loss

    monkeypatch.setattr(denoising._Fit, "_one_step", record)
    result = fit_denoiser(train_digits, TINY, tmp_path, accelerator="cpu")
    exponent = averaging_exponent(TINY.average) + 1
    times = [t / TINY.steps for t in range(TINY.steps + 1)]
    for key, value in result.net.state_dict().items():
        expected = sum(
            (times[t + 1] ** exponent - times[t] ** exponent) * seen[t][key]
            for t in range(TINY.steps)
        )
        torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)


def test_the_learning_rate_rises_and_falls():
    recipe = DenoiserRecipe(steps=100, rate=2.0, warm_up=10, decay=0.5)
    rates = [recipe.learning_rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:51] == [2.0] * 42
    assert rates[75] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(0.04)


@pytest.mark.parametrize(
    "shape",
    [(1, 8, 8), (1, 12, 10), (1, 28, 28), (3, 28, 28), (1, 27, 27), (3, 32, 32), (3, 64, 64)],
)
def test_suited_recipes_fit_the_images(shape):
    recipe = suited_recipe(shape)
    net = UNet(
        shape=shape,
        classes=3,
        width=8,
        **{
            name: getattr(recipe, name) for name in ("multipliers", "blocks", "attention", "patch")
        },
    )
    x = torch.zeros(1, *shape)
    assert net(x, torch.zeros(1), torch.zeros(1, dtype=torch.int64)).shape == x.shape


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"rate": 0}, {"withheld": 1.0}, {"average": 0.3}, {"decay": 0}],
    ids=str,
)
def test_wrong_recipes_are_refused(wrong):
    with pytest.raises(eq.EquipoiseError, match=f"{next(iter(wrong))}=.* out of range"):
        DenoiserRecipe(**wrong)


def test_a_loss_that_explodes_is_reported(train_digits, tmp_path):
    with pytest.raises(eq.EquipoiseError, match=r"the loss is (nan|inf).*Lower --rate"):
        fit_denoiser(
            train_digits, replace(TINY, rate=1e30, warm_up=1), tmp_path, accelerator="cpu"
        )


def test_the_verb(tmp_path, capsys):
    out = tmp_path / "denoiser"
    config = tmp_path / "denoise.yaml"
    config.write_text("denoise:\n  width: 4\n  multipliers: [1]\n  attention: [8]\n  steps: 3\n")
    arguments = ["denoise", "--config", str(config), "--out", str(out), "--device", "cpu"]
    main([*arguments, "--batch", "16", "--flip", "--withheld", "0"])
    printed = capsys.readouterr().out
    assert f"Denoiser: local:{out}, loss " in printed
    assert str(out / "samples" / "step-000003.png") in printed
    loaded = eq.load_denoiser(f"local:{out}")
    assert not loaded.unconditional
    recipe = suited_recipe((1, 8, 8))
    assert loaded.facts["recipe"] == json.loads(
        json.dumps(
            vars(
                replace(
                    recipe,
                    width=4,
                    multipliers=(1,),
                    attention=(8,),
                    steps=3,
                    batch=16,
                    flip=True,
                    withheld=0.0,
                )
            )
        )
    )
    with pytest.raises(SystemExit):
        main([*arguments, "--patch", "3"])
    assert "holds a denoiser trained on other images" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["denoise", "--patch", "3", "--out", str(tmp_path / "other"), "--device", "cpu"])
    assert "patch=3 for images of 8x8 pixels: it must divide both" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


KILLED = """
import equipoise as eq
from pathlib import Path
from equipoise.training import DenoiserRecipe, engine, fit_denoiser
engine.SECONDS_BETWEEN_CHECKPOINTS = 0
recipe = DenoiserRecipe(width=4, multipliers=(1,), attention=(), steps=400, batch=20)
fit_denoiser(eq.load_images("digits", split="train"), recipe, Path({out!r}), accelerator="cpu")
"""


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(train_digits, tmp_path):
    """SIGKILL at a random moment after it went on from the last checkpoint, three times, then once to the end."""
    recipe = replace(TINY, steps=400, limit=0, flip=False)
    undisturbed = fit_denoiser(train_digits, recipe, tmp_path / "whole", accelerator="cpu")
    cut = tmp_path / "cut"
    rng = np.random.default_rng(0)
    for _ in range(3):
        before = stamp(cut / "checkpoint.safetensors")
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED.replace("{out!r}", repr(str(cut)))],
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and stamp(cut / "checkpoint.safetensors") == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    resumed = fit_denoiser(train_digits, recipe, cut, accelerator="cpu")
    assert same(weights(resumed), weights(undisturbed))
    assert lines(cut) == lines(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path):
    settings = [
        "denoise",
        "--width",
        "8",
        "--steps",
        "30",
        "--batch",
        "25",
        "--flip",
        "--device",
        "cpu",
        "--out",
    ]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    for name, launcher in (("one", ["-m"]), ("two", torchrun)):
        command = [sys.executable, *launcher, "equipoise", *settings, str(tmp_path / name)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, capture_output=True, env=environment)
    one, two = (eq.load_denoiser(f"local:{tmp_path / name}") for name in ("one", "two"))
    first, second = weights(one), weights(two)
    assert max((first[k] - second[k]).abs().max().item() for k in first) < 1e-4
    for a, b in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
