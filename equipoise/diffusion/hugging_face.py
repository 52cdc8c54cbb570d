"""Denoisers from folders of the diffusers library: a UNet2DModel and the noise schedule it was trained with.

These networks see z = a x with a^2 = 1 / (1 + sigma^2), at the time t at which the schedule has that share of signal,

    abar_t = (1 - beta_0) ... (1 - beta_t) = a^2,

interpolated linearly in ln(sigma) between the whole times and held at the ends. From what a network F(z, t) predicts,

    epsilon         D = x - sigma F                the noise,
    v_prediction    D = a^2 x - sigma a F          a noise - sigma a x0,
    sample          D = F                          the image.

Checked by hand against diffusers 0.42.1, with random weights: D agreed to 2e-5 with the ``pred_original_sample`` of its
DDPMScheduler at whole times, for each prediction and schedule. The tests use a stand-in of the same signature. No
published network was tried.

References:
    Denoising diffusion probabilistic models (Ho, Jain and Abbeel, 2020), arXiv 2006.11239
    Progressive distillation for fast sampling of diffusion models (Salimans and Ho, 2022), arXiv 2202.00512
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.diffusion.denoiser import Denoiser
from equipoise.errors import EquipoiseError, import_extra
from equipoise.files import read_json
from equipoise.padding import call_padded

__all__ = ["DiffusersDenoiser", "load_diffusers"]

PREDICTIONS = ("epsilon", "v_prediction", "sample")


class DiffusersDenoiser(Denoiser):
    """D of the formulas above; `unet` is put into eval mode and frozen, in place.

    Arguments:
        unet: called as ``unet(z, t)`` or ``unet(z, t, class_labels=rows)``, answers with an object whose ``sample``
            is the prediction.
        betas: of the schedule, each in (0, 1), with shape (T,).
        predicts: one of `PREDICTIONS`.
        rows: the row of the network's label embedding for each class, and last the one for -1 if it has one; None
            for a network without labels.
        shape, classes, scale, unconditional, name, facts: as every denoiser has them.
    """

    log_sigmas: Tensor
    rows: Tensor | None

    def __init__(
        self,
        unet: nn.Module,
        *,
        betas: Tensor,
        predicts: str,
        rows: Tensor | None,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.unet, self.predicts = unet.eval().requires_grad_(False), predicts
        abar = torch.cumprod(1 - betas.double(), 0)
        self.register_buffer("log_sigmas", ((1 - abar) / abar).log().float() / 2)
        self.register_buffer("rows", rows)

    def denoise(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        s = sigma[:, None, None, None]
        a = (1 + s**2).rsqrt()
        predicted = call_padded(self._predict, a * x, self.time(sigma), label)
        if self.predicts == "epsilon":
            return x - s * predicted
        if self.predicts == "v_prediction":
            return a**2 * x - s * a * predicted
        return predicted

    def time(self, sigma: Tensor) -> Tensor:
        """t for noise levels in network units, both with shape (B,)."""
        wanted, known = sigma.log().to(self.log_sigmas), self.log_sigmas
        above = torch.searchsorted(known, wanted).clamp(1, len(known) - 1)
        low, high = known[above - 1], known[above]
        return above - 1 + ((wanted - low) / (high - low)).clamp(0, 1)

    def _predict(self, z: Tensor, t: Tensor, label: Tensor) -> Tensor:
        if self.rows is None:
            return self.unet(z, t).sample
        return self.unet(z, t, class_labels=self.rows[label]).sample


MOST_LABELS = MOST_STEPS = 100_000


def load_diffusers(folder: Path, null: int | None = None) -> Denoiser:
    """The denoiser of a folder that diffusers saved, on the CPU.

    Arguments:
        folder: with ``unet/config.json`` and ``scheduler/scheduler_config.json``, or with ``config.json`` and
            ``scheduler_config.json``; the weights as safetensors.
        null: the row of the label embedding that was trained on images without a label. The configuration does not
            say, so without it a network with labels refuses images without one.

    Raises:
        EquipoiseError: without diffusers, and for a folder, network or schedule of another kind.
    """
    diffusers = import_extra(
        "diffusers", extra="diffusers", feature=f"The denoiser 'diffusers:{folder}'"
    )
    apart = (folder / "unet" / "config.json").is_file()
    home = folder / "unet" if apart else folder
    config = read_json(home / "config.json")
    schedule = read_json((folder / "scheduler" if apart else folder) / "scheduler_config.json")
    if not (home / "diffusion_pytorch_model.safetensors").is_file():
        raise EquipoiseError(
            f"Cannot load {home}: it has no diffusion_pytorch_model.safetensors, and other weights could run code. "
            "Save the network again with safe_serialization=True."
        )
    try:
        shape, labels = _checked(config)
        betas, predicts = _schedule(schedule)
    except EquipoiseError as error:
        raise EquipoiseError(f"Cannot load the denoiser 'diffusers:{folder}': {error}") from None
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise EquipoiseError(
            f"Cannot load the denoiser 'diffusers:{folder}': its configuration lacks or misstates "
            f"{error}."
        ) from None
    if null is not None and not 0 <= null < labels:
        raise EquipoiseError(
            f"The denoiser 'diffusers:{folder}' has {labels} rows of labels, so null={null} is none of them."
        )
    try:
        unet = diffusers.UNet2DModel.from_pretrained(
            str(home), use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except Exception as error:
        raise EquipoiseError(
            f"diffusers cannot load {home}: {type(error).__name__}: {error}."
        ) from error
    named = [row for row in range(labels) if row != null]
    rows = named if null is None else [*named, null]  # -1 is the last
    return DiffusersDenoiser(
        unet,
        betas=betas,
        predicts=predicts,
        rows=torch.tensor(rows) if labels else None,
        shape=shape,
        classes=[str(row) for row in named],
        scale=math.nan,
        unconditional=not labels or null is not None,
        name=folder.resolve().name,
        facts={"source": "diffusers", "predicts": predicts, "null": null},
    )


def _checked(config: Mapping[str, Any]) -> tuple[tuple[int, int, int], int]:
    """The shape of the images and the number of labels."""
    kind = config["_class_name"]
    if kind != "UNet2DModel":
        raise EquipoiseError(f"its network is a {kind}, and only UNet2DModel is supported.")
    size, channels = config["sample_size"], config["in_channels"]
    height, width = size if isinstance(size, list) else (size, size)
    if config["out_channels"] != channels:
        raise EquipoiseError(
            f"its network gives {config['out_channels']} channels for {channels}: a learned variance is not supported."
        )
    embedding = config.get("time_embedding_type", "positional")
    if embedding != "positional" or config.get("class_embed_type") is not None:
        raise EquipoiseError(
            f"its time embedding is {embedding!r} and its label embedding {config.get('class_embed_type')!r}; only "
            "positional times and learned labels are supported."
        )
    labels = int(config.get("num_class_embeds") or 0)
    if not 0 <= labels <= MOST_LABELS:
        raise EquipoiseError(f"its network has {labels} labels, more than {MOST_LABELS}.")
    return (int(channels), int(height), int(width)), labels


def _schedule(config: Mapping[str, Any]) -> tuple[Tensor, str]:
    """beta_0 .. beta_{T-1} in double precision, and what the network predicts."""
    predicts = config.get(
        "prediction_type", "epsilon"
    )  # what diffusers assumed before it wrote it
    if predicts not in PREDICTIONS:
        raise EquipoiseError(
            f"its network predicts {predicts!r}; supported are {', '.join(PREDICTIONS)}."
        )
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    else:
        kind, steps = config["beta_schedule"], config["num_train_timesteps"]
        if not 2 <= steps <= MOST_STEPS:
            raise EquipoiseError(f"its schedule has {steps} times, not 2 to {MOST_STEPS}.")
        low, high = config["beta_start"], config["beta_end"]
        if kind == "linear":
            betas = torch.linspace(low, high, steps, dtype=torch.float64)
        elif kind == "scaled_linear":
            roots = torch.linspace(math.sqrt(low), math.sqrt(high), steps, dtype=torch.float64)
            betas = roots**2
        elif kind == "squaredcos_cap_v2":
            u = torch.arange(steps + 1, dtype=torch.float64) / steps
            left = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
            betas = (1 - left[1:] / left[:-1]).clamp(max=0.999)
        else:
            raise EquipoiseError(
                f"its schedule is {kind!r}; supported are linear, scaled_linear and squaredcos_cap_v2."
            )
    if config.get("rescale_betas_zero_snr") or betas.ndim != 1 or len(betas) < 2:
        raise EquipoiseError("its schedule ends without any signal, or has fewer than two times.")
    if not bool(((betas > 0) & (betas < 1)).all()):
        raise EquipoiseError("its schedule has a beta outside (0, 1).")
    return betas, predicts
