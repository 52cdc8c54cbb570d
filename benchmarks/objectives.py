"""What each training objective buys and what it costs: accuracies over several seeds, passes and time.

    python benchmarks/objectives.py --out objectives

Every objective trains the same network by the same recipe for the same seeds, and `WorstCase` attacks each network on
the test images, at the radius it was trained for; the one of standard training at every radius. Networks and verdicts
are kept in the folder `--out`, so that repeating the line continues.

Seeds and images are both samples: each cell is the mean of 0 and 1 over both with the 95 % interval of
`equipoise.audit.statistics.across_trainings`, or without one for a single seed. Differences between two objectives are
taken pair by pair first.

Time is CPU seconds of one thread: of `--timed` epochs, the fixed cost of a training taken off, in rounds in which every
objective has its turn; the median of the rounds counts, each set against standard training in its own round. A pass is
one image going through the network once, forward or backward.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from equipoise.attacks import WorstCase
from equipoise.audit.statistics import across_trainings
from equipoise.classifiers import build_net
from equipoise.files import write_atomically
from equipoise.images import load_images
from equipoise.norms import parse_threat
from equipoise.streams import digest, stream
from equipoise.training import (
    PGD,
    TRADES,
    HalfAndHalf,
    RandomNoise,
    Recipe,
    Standard,
    fit,
    train_ladder,
)

OBJECTIVES = ("standard", "pgd", "trades", "half-and-half", "random-noise")
ROUNDS = 3


def train(data, threats, recipe, out, steps):
    """(objective, threat) -> classifier, for one seed; standard training's stands under every threat."""
    common = {"steps": steps, "accelerator": "cpu"}
    (standard,) = train_ladder(
        data, [replace(threats[0], radius=0.0)], recipe, out, objective="standard", **common
    )
    found = {("standard", threat): standard for threat in threats}
    for name in OBJECTIVES[1:]:
        rungs = train_ladder(data, threats, recipe, out, objective=name, **common)
        found |= {(name, threat): rung for threat, rung in zip(threats, rungs, strict=True)}
    return found


def judge(classifier, images, threat, out):
    """Two rows of n numbers: 1 where the classifier is right, and where no attack changed that."""
    rows = list(range(len(images)))
    key = digest(classifier.fingerprint(), images.fingerprint(rows), str(threat))
    path = out / "verdicts" / f"{key}.json"
    if not path.exists():
        batch = images.batch(rows)
        result = WorstCase()(classifier, batch.images, batch.labels, threat, seed=0, ids=batch.ids)
        with torch.no_grad():
            right = classifier(batch.images).argmax(1) == batch.labels
        found = [right.int().tolist(), (~result.success).int().tolist()]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: temporary.write_text(json.dumps(found)))
    return np.array(json.loads(path.read_text()), dtype=float)


def passes(objective, data, recipe):
    """Forward and backward passes per training image in a step."""
    net = build_net(recipe.net, {"shape": data.shape, "classes": len(data.classes)})
    counts = [0, 0]

    def forward(module, given, output):
        counts[0] += len(output)
        if output.requires_grad:
            output.register_hook(backward)

    def backward(gradient):
        counts[1] += len(gradient)

    net.register_forward_hook(forward)
    rows = list(range(min(1024, len(data))))
    batch = data.batch(rows)
    noise = [stream("passes", row) for row in rows]
    objective.loss(
        net, batch.images, batch.labels, bare=net, progress=1.0, noise=noise
    ).sum().backward()
    return [count / len(rows) for count in counts]


def timed(objective, data, recipe, epochs):
    """CPU seconds of a step: of a training with so many epochs more than another, per step of those."""
    spent = []
    for count in (1, 1 + epochs):
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            short = replace(recipe, epochs=count, judgements=1)
            fit(data, objective, short, Path(folder), accelerator="cpu")
            spent.append(time.process_time() - started)
    images = min(len(data), recipe.limit or len(data))
    trained = images - int(np.ceil(recipe.held_out * images))
    return (spent[1] - spent[0]) / epochs / np.ceil(trained / recipe.batch)


def costs(data, recipe, threat, steps, epochs):
    """name -> forward passes, backward passes, seconds of a step, and their ratio to standard training's."""
    objectives = {
        "standard": Standard(),
        "pgd": PGD(threat=threat, steps=steps),
        "trades": TRADES(threat=threat, steps=steps),
        "half-and-half": HalfAndHalf(threat=threat, steps=steps),
        "random-noise": RandomNoise(threat=threat),
    }
    rounds = [
        {name: timed(objective, data, recipe, epochs) for name, objective in objectives.items()}
        for _ in range(ROUNDS)
    ]
    return {
        name: (
            *passes(objective, data, recipe),
            statistics.median(times[name] for times in rounds),
            statistics.median(times[name] / times["standard"] for times in rounds),
        )
        for name, objective in objectives.items()
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="a spec with the splits train and test")
    parser.add_argument("--norm", default="l2")
    parser.add_argument("--radii", nargs="+", default=["0.5", "1"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--net", default="mlp")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--steps", type=int, default=7, help="of the search in each step")
    parser.add_argument("--limit", type=int, default=0, help="train on so many images at most")
    parser.add_argument("--images", type=int, default=0, help="attack so many at most; 0 for all")
    parser.add_argument("--timed", type=int, default=20, help="epochs of a timing")
    parser.add_argument("--out", type=Path, default=Path("objectives"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data, images = (load_images(asked.data, split) for split in ("train", "test"))
    if asked.images:
        images = images.subset(asked.images)
    threats = [parse_threat(f"{asked.norm}:{radius}") for radius in asked.radii]
    recipe = Recipe(net=asked.net, epochs=asked.epochs, limit=asked.limit, judgements=10)
    right = {}
    for seed in range(asked.seeds):
        folder = asked.out / f"seed-{seed}"
        found = train(data, threats, replace(recipe, seed=seed), folder, asked.steps)
        for (name, threat), classifier in found.items():
            verdict = judge(classifier, images, threat, asked.out)
            right.setdefault((name, threat), []).append(verdict)
    right = {key: np.stack(found, 1) for key, found in right.items()}

    def shown(values):
        found = across_trainings(values)
        if not values.any():
            return "–"
        half = "" if found.method == "none" else f" ± {100 * (found.high - found.value):.1f}"
        return f"{100 * found.value:.1f}{half}"

    print(
        f"\n{asked.data}, {len(images)} test images, {asked.net}, {asked.seeds} seeds, per cent\n"
    )
    heads = ("standard", "minus standard's", "minus PGD's", "robust", "minus PGD's")
    print(f"| radius | objective | {' | '.join(heads)} |\n{'|---' * (2 + len(heads))}|")
    for threat in threats:
        for name in OBJECTIVES:
            standard, robust = right[name, threat]
            usual, worst = right["pgd", threat]
            parts = (standard, standard - right["standard", threat][0], standard - usual)
            cells = [shown(values) for values in (*parts, robust, robust - worst)]
            print(f"| {threat} | {name} | {' | '.join(cells)} |")
    print(
        "\n| objective | forward passes | backward passes | ms a step | of standard training's |"
    )
    print("|---|---|---|---|---|")
    for name, cost in costs(data, recipe, threats[-1], asked.steps, asked.timed).items():
        forwards, backwards, seconds, ratio = cost
        print(f"| {name} | {forwards:.1f} | {backwards:.1f} | {1e3 * seconds:.2f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
