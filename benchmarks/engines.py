"""What engines of searches gain, and whether they change a verdict.

    python benchmarks/engines.py --out engines
    python benchmarks/engines.py --out engines --classifier local:DIR --data parquet:PATH --threat linf:2/255

For each engine: its rate in a trial (`equipoise.classifiers.try_engines`), and the probe `adversarial` on the same
images, whose CPU seconds, robust accuracy and mean radius are set beside float32's. "lost" counts images that float32
breaks and the engine does not, "gained" the opposite. Rounds take turns, and the fastest of each counts.
"""

import argparse
import os
import time
from pathlib import Path

import torch

from equipoise.classifiers import Engine, Quick, load_classifier, try_engines
from equipoise.images import load_images
from equipoise.norms import parse_threat
from equipoise.probes import Adversarial, Request
from equipoise.training import Recipe, train_ladder

ENGINES = (Engine(), Engine(channels_last=True), Engine(bfloat16=True), Engine(True, True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to keep things in")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--classifier", default="", help="its spec; trained here without one")
    parser.add_argument("--threat", default="linf:0.1")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    threat = parse_threat(settings.threat)
    if settings.classifier:
        classifier = load_classifier(settings.classifier)
    else:
        recipe = Recipe(net="residual", widths=(16, 32), epochs=15)
        train = load_images(settings.data, "train")
        classifier = train_ladder(
            train, [threat], recipe, settings.out / "ladder", accelerator="cpu"
        )[0]
    data = load_images(settings.data, "test").subset(settings.images)
    batch = data.batch(range(len(data)))
    none = [False] * len(data)
    request = Request(seed=0, pictured=none, examined=none, others={})
    trial = try_engines(classifier, batch.images[:32], batch.labels[:32])
    seconds = dict.fromkeys(ENGINES, float("inf"))
    found = {}
    for _ in range(settings.rounds):
        for engine in ENGINES:
            asked = classifier if engine == Engine() else Quick(classifier, engine)
            started = time.process_time()
            found[engine] = Adversarial(threat).measure(asked, batch, request).columns
            seconds[engine] = min(seconds[engine], time.process_time() - started)
    print(
        f"{len(data)} images of {'x'.join(map(str, data.shape))}, {threat}, {settings.threads} thread(s), load "
        f"{os.getloadavg()[0]:.1f}; chosen: {trial.chosen} ({trial.why})"
    )
    print(
        f"{'engine':26}{'images/s':>10}{'seconds':>9}{'gain':>7}{'robust':>9}{'lost':>6}{'gained':>8}{'radius':>9}"
    )
    plain = found[Engine()]
    for engine, columns in found.items():
        lost = (plain["success"] & ~columns["success"]).sum()
        gained = (columns["success"] & ~plain["success"]).sum()
        print(
            f"{engine!s:26}{trial.rates.get(str(engine), float('nan')):>10.0f}{seconds[engine]:>9.2f}"
            f"{seconds[Engine()] / seconds[engine]:>7.2f}{1 - columns['success'].mean():>9.3f}{lost:>6}{gained:>8}"
            f"{columns['radius'].mean():>9.5f}"
        )
        for name, reason in trial.refused.items():
            if name == str(engine):
                print(f"  refused: {reason}")


if __name__ == "__main__":
    main()
