"""Fitting a denoiser.

Notation. Step t = 1..T takes a batch of images, each with its own noise level and noise, and uses the learning rate
rate * min(1, t / warm_up) * min(1, (1 - (t - 1) / T) / decay). The optimiser is Adam, gradients longer than 1 are
shortened to 1, and what training returns is the average v of the weights w over a power of time,

    v_T = sum_t p_t w_t,    p_t ~ t^gamma:    v_t = b_t v_{t-1} + (1 - b_t) w_t,    b_t = (1 - 1 / t)^(gamma + 1),

whose relative width, the standard deviation of t / T under p, is (gamma + 1)^(1/2) (gamma + 2)^-1 (gamma + 3)^(-1/2).

References:
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022), arXiv 2206.00364
    Analyzing and improving the training dynamics of diffusion models (Karras et al., 2024), arXiv 2312.02696
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from equipoise.diffusion import guide, levels, load_denoiser, multistep
from equipoise.diffusion.denoiser import Denoiser, from_network_units, to_network_units
from equipoise.diffusion.folder import save_denoiser
from equipoise.diffusion.loss import denoising_loss
from equipoise.diffusion.preconditioned import Preconditioned
from equipoise.diffusion.unet import UNet
from equipoise.errors import EquipoiseError
from equipoise.files import write_atomically
from equipoise.images import Images, encode_png
from equipoise.progress import Progress
from equipoise.streams import digest, stream
from equipoise.tracking import Logger, Trail
from equipoise.training import engine
from equipoise.training.checkpoint import save_checkpoint
from equipoise.training.memory import Memory, augment, hold

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = [
    "DenoiserRecipe",
    "averaging_exponent",
    "averaging_share",
    "fit_denoiser",
    "suited_recipe",
]


@dataclass(frozen=True, kw_only=True)
class DenoiserRecipe:
    """Settings of a training: everything that must be equal for two to be equal. The defaults suit 8x8 digits.

    Arguments:
        width: of the `UNet`, as all that follow up to `patch`: channels at its first level.
        multipliers: of the width, one for each level.
        blocks: in each level, on the way down and again on the way up.
        attention: sizes of feature maps at which all blocks attend.
        dropout: share of activations dropped in training.
        patch: side of the squares of pixels that become channels.
        steps: T.
        batch: images in each step, over all processes together.
        rate: peak learning rate of Adam.
        warm_up: steps over which it rises.
        decay: share of the steps, the last ones, over which it falls to 0, linearly.
        mean: of ln sigma, sigma the noise level in network units.
        std: of ln sigma.
        withheld: share of the images that are shown without their label; without any there is no guidance.
        average: relative width of the average of the weights over time, in (0, 0.28).
        flip: whether images are mirrored at random.
        limit: train on at most so many images, a random sample; all when 0.
        seed: of everything random.
        precision: "bf16" for mixed precision, where the device has instructions for it; float32 elsewhere.

    Raises:
        EquipoiseError: for a setting out of range.
    """

    width: int = 16
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[int, ...] = (4,)
    dropout: float = 0.0
    patch: int = 1
    steps: int = 1000
    batch: int = 128
    rate: float = 5e-3
    warm_up: int = 100
    decay: float = 0.7
    mean: float = -0.8
    std: float = 1.2
    withheld: float = 0.15
    average: float = 0.1
    flip: bool = False
    limit: int = 0
    seed: int = 0
    precision: Literal["float32", "bf16"] = "float32"

    def __post_init__(self) -> None:
        checks = {
            "steps": self.steps >= 1,
            "batch": self.batch >= 1,
            "rate": self.rate > 0,
            "warm_up": self.warm_up >= 1,
            "decay": 0 < self.decay <= 1,
            "std": self.std > 0,
            "withheld": 0 <= self.withheld < 1,
            "average": 0 < self.average < 0.28,
            "limit": self.limit >= 0,
        }
        for name, fine in checks.items():
            if not fine:
                raise EquipoiseError(
                    f"Cannot train a denoiser with {name}={getattr(self, name)}: it is out of range."
                )

    def learning_rate(self, step: int) -> float:
        """The rate after `step` steps are done."""
        rising = (step + 1) / self.warm_up
        falling = (1 - step / self.steps) / self.decay
        return self.rate * min(1, rising) * min(1, falling)


def suited_recipe(shape: Sequence[int]) -> DenoiserRecipe:
    """Where to start with images of the shape (C, H, W).

    ============================  ==============================================================================
    up to 16x16 pixels            140,000 parameters, under a minute on two CPU cores
    one channel, or up to 28x28   the same network on squares of 2x2 pixels, some minutes on two CPU cores
    larger, in colour             5 million parameters and mirrored images, for a GPU; a smaller `width` for less
    ============================  ==============================================================================
    """
    channels, height, width = shape
    size = min(height, width)
    if max(height, width) <= 16:
        return DenoiserRecipe(attention=((size + 1) // 2,))
    even = height % 2 == 0 and width % 2 == 0
    if channels == 1 or size <= 28:
        patch = 2 if even else 1
        return DenoiserRecipe(
            patch=patch,
            attention=((size // patch + 1) // 2,),
            batch=64,
            steps=4000,
            rate=3e-3,
        )
    patch = 2 if even and size >= 64 else 1
    return DenoiserRecipe(
        width=64,
        multipliers=(1, 2, 2),
        blocks=2,
        attention=((size // patch + 1) // 2,),
        patch=patch,
        batch=512,
        steps=20_000,
        rate=1e-3,
        warm_up=500,
        mean=-1.2,
        flip=True,
        precision="bf16",
    )


def averaging_exponent(width: float) -> float:
    """gamma > 0 of the average whose relative width is `width`, below 0.28."""
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def averaging_share(step: int, gamma: float) -> float:
    """1 - b_t: the share of the newest weights in the average after `step` steps."""
    return 1 - (1 - 1 / step) ** (gamma + 1)


def fit_denoiser(
    images: Images,
    recipe: DenoiserRecipe,
    folder: Path,
    *,
    accelerator: str = "auto",
    loggers: Sequence[Logger] = (),
) -> Denoiser:
    """Trains a denoiser into `folder`, or finishes a training that was interrupted, or loads a finished one.

    `folder` gets ``denoiser.json``, ``weights.safetensors``, ``metrics.jsonl``, ``samples/step-N.png`` (a row of images
    for each of the first 16 classes, without guidance) and, while training goes on, ``checkpoint.safetensors``. The
    result does not depend on the number of processes beyond rounding, unless there is dropout.

    Arguments:
        images: to train on.
        recipe: everything else that matters.
        folder: to write.
        accelerator: "auto", "cpu" or "cuda".
        loggers: told what ``metrics.jsonl`` says, some fifty times; see `equipoise.tracking`.

    Raises:
        EquipoiseError: for images that are for tests alone, when `folder` holds a denoiser trained otherwise, the
            network does not fit the images, or the loss stops being finite.
    """
    images.refuse_fitting("train a denoiser on")
    run = _Fit(images, recipe, folder)
    if engine.is_finished(folder / "denoiser.json", run.identity, "denoiser"):
        engine.replay(folder, "step", run.trail(loggers))
    else:
        run.precision = engine.precision_here(recipe.precision, accelerator)
        with engine.alone(folder):
            fabric = engine.launch(accelerator, run.precision)
            run.train(fabric, loggers if fabric.is_global_zero else ())
            fabric.barrier()
    return load_denoiser(f"local:{folder}")


class _Fit:
    """One training: what is read, the state that a checkpoint holds, and the steps."""

    fabric: "Fabric"
    told: Trail
    precision: engine.Precision = "float32"

    def __init__(self, images: Images, recipe: DenoiserRecipe, folder: Path) -> None:
        self.images, self.recipe, self.folder = images, recipe, folder
        self.checkpoint = folder / "checkpoint.safetensors"
        self.rows = sorted(engine.shuffled_rows(images, recipe.limit, recipe.seed))
        self.identity = digest(
            "denoiser", images.fingerprint(self.rows), sorted(asdict(recipe).items())
        )
        self.gamma = averaging_exponent(recipe.average)

    def trail(self, loggers: Sequence[Logger]) -> Trail:
        """What `loggers` are told of this training, and which training that is."""
        settings = {
            "folder": str(self.folder),
            "data": self.images.spec,
            "split": self.images.split,
            "images": len(self.rows),
            "recipe": asdict(self.recipe),
        }
        return Trail(self.folder, self.folder.name, self.identity, settings, loggers)

    def train(self, fabric: "Fabric", loggers: Sequence[Logger] = ()) -> None:
        """Trains from the checkpoint, or from scratch, to the end, and writes the denoiser."""
        self._begin(fabric)
        steps, title = self.recipe.steps, f"Training {self.folder.name}"
        shown = fabric.is_global_zero
        every = max(1, steps // 50)
        pictured = {-(-steps // part) for part in (8, 4, 2, 1)}
        due = time.monotonic() + engine.SECONDS_BETWEEN_CHECKPOINTS
        spoken_at = time.monotonic()
        bar = Progress(title, total=steps, done=self.step, shown=shown)
        with self.trail(loggers) as self.told, bar as progress:
            for line in self.log:
                engine.tell(self.told, "step", line)
            while self.step < steps:
                self.total += self._one_step()
                self.step += 1
                if self.step % every == 0 or self.step == steps:
                    now = time.monotonic()
                    self._log_line(now - spoken_at)
                    spoken_at = now
                if shown and self.step in pictured:
                    self._picture()
                if shown and time.monotonic() >= due:
                    begun = time.monotonic()
                    self._save_checkpoint()
                    saved_at = time.monotonic()
                    # Those of a large network take long: no more than a twentieth of the time.
                    pause = max(1, 4 * (saved_at - begun)) * engine.SECONDS_BETWEEN_CHECKPOINTS
                    due = saved_at + pause
                progress.advance(f"loss {self.log[-1]['loss']:.3f}" if self.log else "")
        if shown:
            engine.write_log(self.folder, self.log)
            save_denoiser(self._denoiser(), self.folder)
            self.checkpoint.unlink(missing_ok=True)

    def _begin(self, fabric: "Fabric") -> None:
        """Builds the state of a training: as its checkpoint has it, if there is one."""
        if fabric.world_size > self.recipe.batch:
            raise EquipoiseError(
                f"Cannot deal out batches of {self.recipe.batch} images to {fabric.world_size} processes. "
                "Raise --batch."
            )
        self.fabric = fabric
        self.net, self.average = self._fresh_net(), self._fresh_net()
        self.average.to(fabric.device).eval().requires_grad_(False)
        self.memory = hold(self.images, self.rows)
        self.sigma_data, self.scale = _size(self.memory)
        self.orders: dict[int, Tensor] = {}
        optimizer = torch.optim.Adam(
            self.net.parameters(), lr=self.recipe.rate, betas=(0.9, 0.99), fused=True
        )
        # Before the checkpoint is read, so that the optimiser's state lands on the device the weights are on.
        self.model, self.optimizer = fabric.setup(self.net, optimizer)
        self.step, self.log = 0, []
        self.total = torch.zeros((), device=fabric.device)
        state = engine.resume(self.checkpoint, optimizer, self.identity)
        if state is not None:
            groups, facts = state
            self.step, self.log = facts["step"], facts["log"]
            self.total += facts["total"]
            self.net.load_state_dict(groups["net"])
            self.average.load_state_dict(groups["average"])

    def _fresh_net(self) -> UNet:
        recipe = self.recipe
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(recipe.seed)
            return UNet(
                shape=self.images.shape,
                classes=len(self.images.classes),
                width=recipe.width,
                multipliers=recipe.multipliers,
                blocks=recipe.blocks,
                attention=recipe.attention,
                dropout=recipe.dropout,
                patch=recipe.patch,
            )

    def _rows(self) -> Tensor:
        """Which images the next global batch holds: epochs follow one another without a gap."""
        count = len(self.rows)
        places = torch.arange(self.step * self.recipe.batch, (self.step + 1) * self.recipe.batch)
        parts = []
        for epoch in (places // count).unique().tolist():
            if epoch not in self.orders:
                generator = stream(self.recipe.seed, "order", epoch)
                kept = {e: order for e, order in self.orders.items() if e == epoch - 1}
                self.orders = kept | {epoch: torch.randperm(count, generator=generator)}
            parts.append(self.orders[epoch][places[places // count == epoch] % count])
        return torch.cat(parts)

    def _one_step(self) -> Tensor:
        """One step of the optimiser on one global batch; returns its mean loss."""
        fabric, recipe = self.fabric, self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate(self.step)
        mine = slice(fabric.global_rank, None, fabric.world_size)
        rows = self._rows()[mine]
        # One image can be in a batch twice, hence its place and not its number names the stream.
        noise = [stream(recipe.seed, self.step, i) for i in range(recipe.batch)[mine]]
        images = augment(
            self.memory.images(rows, fabric.device), shift=0, flip=recipe.flip, noise=noise
        )
        gpus = [fabric.device] if fabric.device.type == "cuda" else []
        with torch.random.fork_rng(gpus, enabled=recipe.dropout > 0):
            if recipe.dropout:
                name = (recipe.seed, "dropout", self.step, fabric.global_rank)
                torch.manual_seed(stream(*name).initial_seed())
            values = denoising_loss(
                self.model,
                to_network_units(images),
                self.memory.labels[rows].to(fabric.device),
                sigma_data=self.sigma_data,
                noise=noise,
                mean=recipe.mean,
                std=recipe.std,
                withheld=recipe.withheld,
            )
        # Processes average their gradients, so each counts its images against the global batch.
        loss = values.sum() * (fabric.world_size / recipe.batch)
        self.optimizer.zero_grad()
        fabric.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        share = averaging_share(self.step + 1, self.gamma)
        with torch.no_grad():
            for average, now in zip(self.average.parameters(), self.net.parameters(), strict=True):
                average.lerp_(now, share)
        return torch.as_tensor(fabric.all_reduce(loss.detach(), reduce_op="mean"))

    def _log_line(self, seconds: float) -> None:
        """Adds the mean loss of the steps since the last line, and tells the loggers.

        Raises:
            EquipoiseError: when it is not finite.
        """
        since = self.log[-1]["step"] if self.log else 0
        loss = self.total.item() / (self.step - since)
        if not math.isfinite(loss):
            raise EquipoiseError(
                f"Training {self.folder} failed: the loss is {loss} at step {self.step}. Lower --rate (now "
                f"{self.recipe.rate:g})."
            )
        self.total.zero_()
        rate = self.recipe.learning_rate(self.step - 1)
        self.log.append(
            {"step": self.step, "loss": loss, "rate": rate, "seconds": round(seconds, 3)}
        )
        engine.tell(self.told, "step", self.log[-1])

    def _save_checkpoint(self) -> None:
        groups = {"net": self.net.state_dict(), "average": self.average.state_dict()}
        facts = {
            "identity": self.identity,
            "step": self.step,
            "log": self.log,
            "total": self.total.item(),
        }
        save_checkpoint(self.checkpoint, groups, self.optimizer, facts)
        engine.write_log(self.folder, self.log)

    def _denoiser(self) -> Preconditioned:
        facts: dict[str, Any] = {
            "identity": self.identity,
            "data": self.images.spec,
            "split": self.images.split,
            "images": len(self.rows),
            "recipe": asdict(self.recipe),
            "precision": self.precision,
            "loss": self.log[-1]["loss"] if self.log else None,
        }
        return Preconditioned(
            self.average,
            sigma_data=self.sigma_data,
            shape=self.images.shape,
            classes=self.images.classes,
            scale=self.scale,
            unconditional=self.recipe.withheld > 0,
            name=self.folder.name,
            facts=facts,
        )

    def _picture(self) -> None:
        """Writes what the averaged network can do so far, from the same noise at every step."""
        denoiser, columns = self._denoiser(), 8
        labels = torch.arange(min(16, len(denoiser.classes))).repeat_interleave(columns)
        sigmas = levels(80.0, 0.002, 18)
        x = torch.stack(
            [
                torch.randn(*denoiser.shape, generator=stream(self.recipe.seed, "picture", i))
                for i in range(len(labels))
            ]
        )
        x = (sigmas[0] * x).to(self.fabric.device)
        with torch.no_grad():
            x = multistep(guide(denoiser, labels.to(x.device)), x, sigmas)
        grid = _grid(from_network_units(x), columns)
        path = self.folder / "samples" / f"step-{self.step:06d}.png"
        write_atomically(path, lambda temporary: temporary.write_bytes(encode_png(grid)))


def _size(memory: Memory) -> tuple[float, float]:
    """sqrt(E x^2) of a pixel and sqrt(E |x - E x|^2) of an image, in network units."""
    total, squares, count = torch.zeros((), dtype=torch.float64), 0.0, len(memory.labels)
    for rows in torch.arange(count).split(1024):
        x = to_network_units(memory.images(rows, torch.device("cpu")).double())
        total = total + x.sum(0)
        squares += x.square().sum().item()
    variance = squares / count - (total / count).square().sum().item()
    return math.sqrt(squares / count / total.numel()), math.sqrt(max(0.0, variance))


def _grid(images: Tensor, columns: int) -> Tensor:
    """Images in rows of `columns`, enlarged to some 64 pixels each, with shape (C, H, W)."""
    factor = max(1, 64 // max(images.shape[2:]))
    large = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    framed = torch.nn.functional.pad(large, [2] * 4, value=1.0)
    return torch.cat([torch.cat(list(row), 2) for row in framed.split(columns)], 1)
