"""What an adversarial audit costs beside its network passes.

    python benchmarks/audit_overhead.py --out overhead
    python benchmarks/audit_overhead.py --out overhead --data parquet:PATH --classifier local:DIR

An audit of one classifier under one threat is run from nothing, and every call of its network is written down: how many
images, with or without a graph, how many backward passes. The floor is the same calls, bare, with nothing in between:
on the same sizes, in the same order, in the same minute. Audit and floor take turns; each pair gives a ratio of CPU
seconds, and the median counts, so that other work on the machine weighs on both alike. The first audit is not counted.
"""

import argparse
import os
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from equipoise.audit import audit
from equipoise.classifiers import Classifier, load_classifier
from equipoise.images import load_images
from equipoise.norms import parse_threat
from equipoise.training import Recipe, train_ladder

TARGET = 1.05


@dataclass
class Call:
    """One call of the network: so many images, and so many backward passes after it."""

    images: int
    graph: bool
    backwards: int = 0


class Watched(nn.Module):
    """A network that writes down its calls while `calls` is a list."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.calls: list[Call] | None = None

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        if self.calls is not None:
            call = Call(len(x), logits.requires_grad)
            self.calls.append(call)
            if call.graph:
                logits.register_hook(lambda _: note(call))
        return logits


def note(call: Call) -> None:
    call.backwards += 1


def floor(net: nn.Module, calls: list[Call], like: Tensor) -> float:
    """CPU seconds of the same calls."""
    images = like.repeat(-(-max(call.images for call in calls) // len(like)), 1, 1, 1)
    started = time.process_time()
    for call in calls:
        if not call.graph:
            with torch.no_grad():
                net(images[: call.images])
            continue
        x = images[: call.images].requires_grad_(True)
        value = net(x).sum()
        for left in range(call.backwards, 0, -1):
            torch.autograd.grad(value, x, retain_graph=left > 1)
    return time.process_time() - started


def classifier_of(settings: argparse.Namespace) -> Classifier:
    if settings.classifier:
        return load_classifier(settings.classifier)
    recipe = Recipe(
        net="residual", widths=tuple(settings.widths), epochs=settings.epochs, limit=4000
    )
    data = load_images(settings.data, "train")
    trained = parse_threat("linf:4/255")
    return train_ladder(
        data, [trained], recipe, settings.out / "ladder", steps=3, accelerator="cpu"
    )[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to keep things in")
    parser.add_argument("--data", default="digits-on-photos", help="images of 32x32 pixels")
    parser.add_argument("--classifier", default="", help="its spec; trained here without one")
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[16, 32, 64], help="of its stages"
    )
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--probe", default="adversarial:linf:8/255")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    known = classifier_of(settings)
    watched = Watched(known.net)
    classifier = Classifier(
        watched,
        mean=known.mean,
        std=known.std,
        classes=known.classes,
        name=known.name,
        facts=known.facts,
    )
    data = load_images(settings.data, "test")
    some = data.subset(64)
    like = some.batch(range(len(some))).images
    ratios: list[float] = []
    calls: list[Call] = []
    columns = {}
    for round in range(settings.rounds + 1):
        shutil.rmtree(settings.out / "run", ignore_errors=True)
        watched.calls = calls = []
        started = time.process_time()
        run = audit(
            classifier,
            data,
            [settings.probe],
            settings.out / "run",
            limit=settings.images,
            batch=settings.batch,
            shown=False,
        )
        whole = time.process_time() - started
        watched.calls = None
        bare = floor(known.net, calls, like)
        if round:
            ratios.append(whole / bare)
        columns = run.columns(run.probes[0], run.classifiers[0])
        print(
            f"{'warm-up' if not round else f'round {round}'}: audit {whole:.2f} s, its {len(calls)} network calls bare "
            f"{bare:.2f} s, ratio {whole / bare:.3f}"
        )
    shape = "x".join(map(str, data.shape))
    passes = int(columns["forwards"].sum() + columns["backwards"].sum())
    padded = sum(call.images * (1 + call.backwards) for call in calls)
    print(
        f"\n{settings.images} images of {shape}, {settings.probe}, {settings.threads} thread(s), load "
        f"{os.getloadavg()[0]:.1f}: robust accuracy {1 - columns['success'].mean():.3f}, "
        f"{passes / settings.images:.0f} passes an image, {padded / passes:.2f} times as many with those that fill "
        f"calls up to sixteen"
    )
    ratio = statistics.median(ratios)
    print(f"audit over bare network passes: {ratio:.3f} (target {TARGET})")


if __name__ == "__main__":
    main()
