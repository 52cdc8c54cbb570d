"""Fitting one classifier: the loop that every objective shares.

Notation. Step t of T uses the learning rate a(t); w are the weights, v their average,
v <- m v + (1 - m) w with m = min(average, (1 + t) / (10 + t)). After every ceil(epochs / judgements)-th epoch, and
after the last, v is judged on the held-out images by its accuracy under projected gradient descent at the objective's
threat (clean accuracy without one), in float32; the best v is what training returns, the later of two equal ones. Where
no images are held out it is the last v.

Each global batch is dealt out to the processes of the engine, and every image brings its own random stream, so that the
result does not depend on their number beyond rounding.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from equipoise.attacks import PGD
from equipoise.classifiers import Classifier, build_net, load_classifier, save_classifier, wrap
from equipoise.devices import enough_threads
from equipoise.errors import EquipoiseError
from equipoise.images import Images
from equipoise.norms import L2, Threat
from equipoise.progress import Progress
from equipoise.streams import digest, stream
from equipoise.tracking import Logger, Trail
from equipoise.training import engine
from equipoise.training.checkpoint import save_checkpoint
from equipoise.training.memory import augment, hold
from equipoise.training.objective import Objective
from equipoise.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["fit"]


def fit(
    images: Images,
    objective: Objective,
    recipe: Recipe,
    folder: Path,
    *,
    accelerator: str = "auto",
    shown: bool = True,
    loggers: Sequence[Logger] = (),
) -> Classifier:
    """Trains a classifier into `folder`, or finishes a training that was interrupted, or loads a finished one.

    `folder` gets ``classifier.json``, ``weights.safetensors``, ``metrics.jsonl`` (a line per epoch) and, while training
    goes on, ``checkpoint.safetensors``. Progress is `shown`, unless the caller shows its own. `loggers` are told what
    ``metrics.jsonl`` says.

    Raises:
        EquipoiseError: for images that are for tests alone, when `folder` holds a classifier trained otherwise or
            another process trains into it, or the loss stops being finite.
    """
    images.refuse_fitting("train a classifier on")
    run = _Fit(images, objective, recipe, folder)
    if run.finished():
        engine.replay(folder, "epoch", run.trail(loggers))
    else:
        run.precision = engine.precision_here(recipe.precision, accelerator)
        with engine.alone(folder):
            fabric = engine.launch(accelerator, run.precision)
            run.train(fabric, shown=shown, loggers=loggers if fabric.is_global_zero else ())
            fabric.barrier()
    return load_classifier(f"local:{folder}")


class _Fit:
    """One training: what is read, the state that a checkpoint holds, and the steps."""

    fabric: "Fabric"
    precision: engine.Precision = "float32"

    def __init__(self, images: Images, objective: Objective, recipe: Recipe, folder: Path) -> None:
        self.images, self.objective, self.recipe, self.folder = images, objective, recipe, folder
        self.checkpoint = folder / "checkpoint.safetensors"
        self.threat: Threat | None = getattr(objective, "threat", None)
        order = engine.shuffled_rows(images, recipe.limit, recipe.seed)
        cut = math.ceil(recipe.held_out * len(order))
        self.held_rows, self.train_rows = sorted(order[:cut]), sorted(order[cut:])
        if not self.train_rows:
            raise EquipoiseError(
                f"Cannot train on {len(order)} images of {images.spec!r}: too few to hold some out."
            )
        self.identity = digest(
            images.fingerprint(sorted(order)), objective.settings(), sorted(asdict(recipe).items())
        )

    def finished(self) -> bool:
        """Whether the folder holds this very training's result."""
        return engine.is_finished(self.folder / "classifier.json", self.identity, "classifier")

    def trail(self, loggers: Sequence[Logger]) -> Trail:
        """What `loggers` are told of this training, and which training that is."""
        settings = {
            "folder": str(self.folder),
            "data": self.images.spec,
            "split": self.images.split,
            "images": len(self.train_rows),
            "objective": self.objective.settings(),
            "recipe": asdict(self.recipe),
        }
        return Trail(self.folder, self.folder.name, self.identity, settings, loggers)

    def train(
        self, fabric: "Fabric", *, shown: bool = True, loggers: Sequence[Logger] = ()
    ) -> None:
        """Trains from the checkpoint, or from scratch, to the end, and writes the classifier."""
        self._begin(fabric)
        rows = torch.arange(min(self.recipe.batch, len(self.train_rows)))
        # The average, so that looking at it leaves the network that is trained as it is.
        with enough_threads(self.average, self.train_images.images(rows, fabric.device)):
            self._run_epochs(fabric, self.trail(loggers), shown=shown)
        if fabric.is_global_zero:
            engine.write_log(self.folder, self.log)
            self._save_classifier()
            self.checkpoint.unlink(missing_ok=True)

    def _run_epochs(self, fabric: "Fabric", trail: Trail, *, shown: bool) -> None:
        """All epochs that are left; loggers hear of those before too, where they have not."""
        recipe, saved_at, note = self.recipe, time.monotonic(), ""
        every = math.ceil(recipe.epochs / recipe.judgements)
        shown = shown and fabric.is_global_zero
        bar = Progress(
            f"Training {self.folder.name}", total=recipe.epochs, done=self.epoch, shown=shown
        )
        with trail, bar as progress:
            for line in self.log:
                engine.tell(trail, "epoch", line)
            while self.epoch < recipe.epochs:
                started = time.monotonic()
                line: dict[str, Any] = {"epoch": self.epoch + 1, "loss": self._one_epoch()}
                self.epoch += 1
                last = self.epoch == recipe.epochs
                kept = last and not self.held_rows
                if self.held_rows and (last or self.epoch % every == 0):
                    line |= self._judge()
                    note = f"held-out accuracy {line['held_out_accuracy']:.1%}, under attack {line['score']:.1%}"
                    kept = line["score"] >= self.selected.get("score", 0.0)
                line["seconds"] = round(time.monotonic() - started, 3)
                self.log.append(line)
                engine.tell(trail, "epoch", line)
                if kept:
                    self.selected = line
                    self.best = {k: v.clone() for k, v in self.average.state_dict().items()}
                if time.monotonic() - saved_at > engine.SECONDS_BETWEEN_CHECKPOINTS:
                    self._save_checkpoint()
                    saved_at = time.monotonic()
                progress.advance(note)

    def _begin(self, fabric: "Fabric") -> None:
        """Builds the state of a training: as its checkpoint has it, if there is one."""
        self.fabric = fabric
        self.train_images = hold(self.images, self.train_rows)
        if self.held_rows:
            self.held_images = hold(self.images, self.held_rows)
        self.net, self.average = self._fresh_net(), self._fresh_net()
        optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=self.recipe.rate, weight_decay=self.recipe.decay
        )
        self.epoch, self.log = 0, []
        self.selected: dict[str, Any] = {}
        self.best: dict[str, Tensor] = {}
        self._check_shape()
        self.average.to(fabric.device).requires_grad_(False)
        # Losses are formed in float32, whatever layers compute in.
        self.net.register_forward_hook(lambda _net, _images, logits: logits.float())
        # Before the checkpoint is read, so that the optimiser's state lands on the device the weights are on.
        self.model, self.optimizer = fabric.setup(self.net, optimizer)
        state = engine.resume(self.checkpoint, optimizer, self.identity)
        if state is not None:
            groups, facts = state
            self.epoch, self.log, self.selected = facts["epoch"], facts["log"], facts["selected"]
            # There is none before the first judgement.
            self.best = groups.get("best", {})
            self.net.load_state_dict(groups["net"])
            self.average.load_state_dict(groups["average"])

    def _check_shape(self) -> None:
        try:
            with torch.no_grad():
                self.net(torch.zeros(1, *self.images.shape))
        except RuntimeError as error:
            raise EquipoiseError(
                f"Cannot train a {self.recipe.net} network on images of shape {self.images.shape}: "
                f"{str(error).splitlines()[0]}. Resize the images (?size=32) or choose --net mlp."
            ) from error

    def _save_checkpoint(self) -> None:
        if not self.fabric.is_global_zero:
            return
        groups = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
        }
        facts = {
            "identity": self.identity,
            "epoch": self.epoch,
            "log": self.log,
            "selected": self.selected,
        }
        save_checkpoint(self.checkpoint, groups, self.optimizer, facts)
        engine.write_log(self.folder, self.log)

    def _fresh_net(self) -> nn.Module:
        settings: dict[str, Any] = {
            "shape": self.images.shape,
            "classes": len(self.images.classes),
        }
        if self.recipe.widths:
            settings["widths"] = self.recipe.widths
        if self.recipe.net == "residual":
            settings["blocks"] = self.recipe.blocks
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            return build_net(self.recipe.net, settings)

    def _one_epoch(self) -> float:
        """One pass over the training images; returns the mean loss.

        Raises:
            EquipoiseError: when it is not finite.
        """
        count = len(self.train_images.labels)
        order = torch.randperm(count, generator=stream(self.recipe.seed, "order", self.epoch))
        batches = order.split(self.recipe.batch)
        first = self.epoch * len(batches)
        total = self.recipe.epochs * len(batches)
        losses = [self._step(rows, first + k, total) for k, rows in enumerate(batches)]
        # Every process must see the same number, or one would stop and the others wait for it.
        mean = self.fabric.all_reduce(torch.stack(losses).mean(), reduce_op="mean")
        loss = torch.as_tensor(mean).item()
        if not math.isfinite(loss):
            raise EquipoiseError(
                f"Training {self.folder} failed: the loss is {loss} in epoch {self.epoch + 1}. Lower --rate "
                f"(now {self.recipe.rate:g})."
            )
        return loss

    def _step(self, rows: Tensor, step: int, total: int) -> Tensor:
        """One step of the optimiser on one global batch; returns the mean loss of this process's share."""
        fabric, recipe = self.fabric, self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate * _schedule(step, total)
        mine = rows[fabric.global_rank :: fabric.world_size]
        noise = [stream(recipe.seed, step, row) for row in mine.tolist()]
        images = augment(
            self.train_images.images(mine, fabric.device),
            shift=recipe.shift,
            flip=recipe.flip,
            noise=noise,
        )
        labels = self.train_images.labels[mine].to(fabric.device)
        # The search for bad images calls the bare network, which knows nothing of the engine's precision.
        with fabric.autocast():
            values = self.objective.loss(
                self.model, images, labels, bare=self.net, progress=step / total, noise=noise
            )
        # Processes average their gradients, so each counts its images against the global batch.
        loss = values.sum() * (fabric.world_size / len(rows))
        self.optimizer.zero_grad()
        fabric.backward(loss)
        self.optimizer.step()
        momentum = min(recipe.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, now in zip(self.average.parameters(), self.net.parameters(), strict=True):
                kept.lerp_(now, 1 - momentum)
            for kept, now in zip(self.average.buffers(), self.net.buffers(), strict=True):
                kept.copy_(now)
        return loss.detach()

    def _judge(self) -> dict[str, float]:
        """Accuracy on the held-out images, clean and under attack; `score` is what selects the checkpoint."""
        threat = self.threat or L2(0.0)
        attack = PGD(steps=10)
        held, clean, robust = self.held_images, 0, 0
        for rows in torch.arange(len(held.labels)).split(256):
            images, labels = (
                held.images(rows, self.fabric.device),
                held.labels[rows].to(self.fabric.device),
            )
            ids = [str(self.held_rows[row]) for row in rows.tolist()]
            result = attack(self.average, images, labels, threat, seed=self.recipe.seed, ids=ids)
            wrong_already = result.success & (result.distance == 0)
            clean += int((~wrong_already).sum())
            robust += int((~result.success).sum())
        count = len(held.labels)
        return {"held_out_accuracy": clean / count, "score": robust / count}

    def _save_classifier(self) -> None:
        net = self._fresh_net()
        net.load_state_dict(self.best)
        save_classifier(
            wrap(
                net,
                classes=self.images.classes,
                name=self.folder.name,
                facts={
                    "identity": self.identity,
                    "data": self.images.spec,
                    "split": self.images.split,
                    "images": len(self.train_rows),
                    "objective": self.objective.settings(),
                    "norm": None if self.threat is None else str(self.threat.norm),
                    "radius": 0.0 if self.threat is None else self.threat.radius,
                    "recipe": asdict(self.recipe),
                    "precision": self.precision,
                    "selected": self.selected,
                },
            ),
            self.folder,
        )


def _schedule(step: int, total: int) -> float:
    """The share of the peak learning rate at `step`: a warm-up over 5 % of the steps, then half a cosine."""
    warm = max(1, round(0.05 * total))
    fall = (1 + math.cos(math.pi * max(0, step - warm) / max(1, total - warm))) / 2
    return min(1, (step + 1) / warm) * fall
