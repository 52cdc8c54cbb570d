"""Networks of the diffusers library, against a stand-in with its signature: the library is not needed to test these."""

import json
import math
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise.diffusion.hugging_face import load_diffusers

SIZE = (2, 4, 4)
STEPS = 100
VARIANCE = 0.3


class UNet2DModel(nn.Module):
    """What a perfect network says of images x0 ~ N(mean of the label, VARIANCE), whatever it is to predict."""

    def __init__(self, config, abar):
        super().__init__()
        self.config, self.abar = config, abar
        rows = config.get("num_class_embeds") or 0
        self.means = torch.linspace(-1, 1, rows) if rows else torch.zeros(1)

    @classmethod
    def from_pretrained(cls, folder, *, use_safetensors, local_files_only, low_cpu_mem_usage):
        assert use_safetensors
        assert local_files_only
        config = json.loads((Path(folder) / "config.json").read_text())
        return cls(config, cls.abar_of_test)

    def forward(self, sample, timestep, class_labels=None):
        assert (class_labels is None) == (self.config.get("num_class_embeds") is None)
        assert timestep.shape == sample.shape[:1]
        # ln(sigma) is what is interpolated between whole times.
        logs = ((1 - self.abar) / self.abar).log() / 2
        below = timestep.floor().long().clamp(0, len(logs) - 2)
        log = torch.lerp(logs[below], logs[below + 1], (timestep - below).to(logs))
        abar = (1 / (1 + (2 * log).exp())).float()[:, None, None, None]
        mean = self.means[0 if class_labels is None else class_labels].reshape(-1, 1, 1, 1)
        noise = 1 - abar
        x0 = mean + abar.sqrt() * VARIANCE / (abar * VARIANCE + noise) * (
            sample - abar.sqrt() * mean
        )
        eps = (sample - abar.sqrt() * x0) / noise.sqrt()
        kind = self.config["predicts"]
        result = {
            "epsilon": eps,
            "sample": x0,
            "v_prediction": abar.sqrt() * eps - noise.sqrt() * x0,
        }[kind]
        return types.SimpleNamespace(sample=result)


def betas(kind, low=1e-3, high=0.2):
    if kind == "linear":
        return [low + (high - low) * i / (STEPS - 1) for i in range(STEPS)]
    if kind == "scaled_linear":
        low, high = math.sqrt(low), math.sqrt(high)
        return [(low + (high - low) * i / (STEPS - 1)) ** 2 for i in range(STEPS)]
    left = [math.cos((i / STEPS + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(STEPS + 1)]
    return [min(0.999, 1 - left[i + 1] / left[i]) for i in range(STEPS)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Writes what diffusers would, and puts the stand-in in its place."""
    library = types.ModuleType("diffusers")
    library.UNet2DModel = UNet2DModel
    monkeypatch.setitem(sys.modules, "diffusers", library)

    def write(*, flat=False, rows=None, schedule="linear", network=None, **scheduler):
        config = {"_class_name": "UNet2DModel", "sample_size": 4, "in_channels": 2}
        config |= {"out_channels": 2, "num_class_embeds": rows}
        config |= {"predicts": scheduler.get("prediction_type", "epsilon")} | (network or {})
        times = {"_class_name": "DDPMScheduler", "num_train_timesteps": STEPS}
        times |= {"beta_start": 1e-3, "beta_end": 0.2, "beta_schedule": schedule} | scheduler
        kept = 1 - torch.tensor(betas(schedule), dtype=torch.float64)
        monkeypatch.setattr(UNet2DModel, "abar_of_test", kept.cumprod(0), raising=False)
        home, other = (tmp_path, tmp_path) if flat else (tmp_path / "unet", tmp_path / "scheduler")
        for place, name, value in (
            (home, "config.json", config),
            (other, "scheduler_config.json", times),
        ):
            place.mkdir(exist_ok=True)
            (place / name).write_text(json.dumps(value))
        (home / "diffusion_pytorch_model.safetensors").write_bytes(b"")
        return tmp_path

    return write


def exact(x, sigma, mean):
    """E[x0 | x] for x0 ~ N(mean, VARIANCE)."""
    s = torch.as_tensor(sigma).reshape(-1, 1, 1, 1)
    return mean + VARIANCE / (VARIANCE + s**2) * (x - mean)


def images(rows=6, seed=0):
    return torch.randn(rows, *SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_a_perfect_network_is_a_perfect_denoiser(kind, schedule, folder):
    denoiser = load_diffusers(folder(prediction_type=kind, schedule=schedule))
    assert denoiser.shape == SIZE
    assert denoiser.classes == ()
    assert denoiser.unconditional
    assert math.isnan(denoiser.scale)
    sigma = torch.tensor([0.06, 0.1, 0.5, 1.0, 5.0, 20.0])
    x = images() * (1 + sigma.reshape(-1, 1, 1, 1))
    torch.testing.assert_close(denoiser(x, sigma), exact(x, sigma, 0.0), rtol=1e-3, atol=1e-3)


def test_whole_times_have_the_noise_of_the_schedule(folder):
    denoiser = load_diffusers(folder(flat=True))
    kept = (1 - torch.tensor(betas("linear"), dtype=torch.float64)).cumprod(0)
    sigmas = ((1 - kept) / kept).sqrt().float()
    times = torch.arange(float(STEPS))
    torch.testing.assert_close(denoiser.time(sigmas), times, rtol=0, atol=2e-3)
    between = denoiser.time((sigmas[:-1] * sigmas[1:]).sqrt())
    torch.testing.assert_close(between, times[:-1] + 0.5, rtol=0, atol=2e-3)
    outside = denoiser.time(torch.tensor([1e-6, 1e6]))
    assert outside.tolist() == [0, STEPS - 1]


def test_trained_betas_are_taken_as_they_are(folder):
    given = betas("squaredcos_cap_v2")
    one = load_diffusers(folder(schedule="squaredcos_cap_v2", trained_betas=given))
    other = load_diffusers(folder(schedule="squaredcos_cap_v2"))
    torch.testing.assert_close(one.log_sigmas, other.log_sigmas)


def test_a_null_label_is_said_and_never_guessed(folder):
    path = folder(rows=5)
    plain, told = load_diffusers(path), load_diffusers(path, null=2)
    assert (plain.classes, plain.unconditional) == (("0", "1", "2", "3", "4"), False)
    assert (told.classes, told.unconditional) == (("0", "1", "3", "4"), True)
    x = images(5)
    means = torch.linspace(-1, 1, 5).reshape(-1, 1, 1, 1)
    label = torch.tensor([0, 1, 2, 3, -1])
    rows = means[[0, 1, 3, 4, 2]]
    torch.testing.assert_close(told(x, 0.5, label), exact(x, 0.5, rows), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(plain(x, 0.5, 3), exact(x, 0.5, means[3]), rtol=1e-3, atol=1e-3)
    with pytest.raises(eq.EquipoiseError, match="never shown images without their label"):
        plain(x, 0.5)
    with pytest.raises(eq.EquipoiseError, match="5 rows of labels, so null=5"):
        load_diffusers(path, null=5)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prediction_type": "noise"}, "predicts 'noise'; supported are epsilon, v_prediction"),
        ({"beta_schedule": "sigmoid"}, "schedule is 'sigmoid'"),
        ({"beta_start": "small"}, "misstates"),
        ({"beta_end": 2.0}, r"outside \(0, 1\)"),
        ({"rescale_betas_zero_snr": True}, "without any signal"),
        ({"trained_betas": [0.1]}, "fewer than two times"),
        ({"network": {"_class_name": "UNet2DConditionModel"}}, "only UNet2DModel"),
        ({"network": {"out_channels": 4}}, "learned variance"),
        ({"network": {"time_embedding_type": "fourier"}}, "only positional times"),
        ({"network": {"class_embed_type": "timestep"}}, "learned labels"),
        ({"network": {"sample_size": None}}, "misstates"),
    ],
)
def test_other_networks_are_refused(wrong, words, folder):
    with pytest.raises(eq.EquipoiseError, match=f"Cannot load the denoiser 'diffusers:.*{words}"):
        load_diffusers(folder(**wrong))


def test_folders_that_lack_something_are_refused(folder, monkeypatch):
    path = folder()
    weights = path / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    with pytest.raises(eq.EquipoiseError, match="safe_serialization"):
        load_diffusers(path)
    (path / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(eq.EquipoiseError, match="no such file"):
        load_diffusers(path)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(eq.EquipoiseError, match=r"pip install 'equipoise\[diffusers\]'"):
        load_diffusers(path)
