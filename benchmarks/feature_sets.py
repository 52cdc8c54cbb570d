"""What classifiers learn from the feature sets of the embedded digits, judged on real test digits.

A standard and an adversarially trained classifier (l2:1) are the sources. On each set three standard classifiers are
trained that differ in their seed. Columns: how far, on average, the set's images are in L2 from those they stand for,
the share of them that the source reads as their label, and that the robust classifier reads as the digit they stand
for; then, on the 600 test digits, the share answered rightly, answered with the next class, and
answered rightly whatever happens within l2:0.25 and l2:0.5 (`WorstCase`). Means over the three, and their range.

    python benchmarks/feature_sets.py --out runs/feature-sets

keeps sets and classifiers in the folder, so that repeating the line only judges again.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

import equipoise as eq
from equipoise.attacks import WorstCase
from equipoise.store import arrays, connect, read_shards
from equipoise.training import Recipe, match_features, relabel, train_ladder

RECIPE = Recipe(net="mlp", epochs=60, rate=4e-3)
SEEDS = (1, 2, 3)
"""Not that of the sources: no pupil begins with their weights."""

RADII = (0.0, 0.5, 0.75, 1.0)
CPU = "cpu"


def train(images, seed, out, radius=0.0):
    recipe = replace(RECIPE, seed=seed)
    return train_ladder(images, [eq.L2(radius)], recipe, out, accelerator=CPU)[0]


def spread(values):
    values = [100 * value for value in values]
    return f"{sum(values) / len(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def judge(pupils, test):
    """The last four columns."""
    answers = [pupil(test.images).argmax(1) for pupil in pupils]
    cells = [
        spread(
            [(answer == (test.labels + ahead) % 10).float().mean().item() for answer in answers]
        )
        for ahead in (0, 1)
    ]
    for radius in (0.25, 0.5):
        found = [
            WorstCase()(pupil, test.images, test.labels, eq.L2(radius), ids=test.ids)
            for pupil in pupils
        ]
        cells.append(spread([(~result.success).float().mean().item() for result in found]))
    return cells


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/feature-sets"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", nargs="*", help='such as D_R "D_rand 0.5"; all when not given')
    options = parser.parse_args()
    torch.set_num_threads(1)
    digits = eq.load_images("digits", "train")
    held = eq.load_images("digits", "test")
    test = held.batch(range(len(held)))
    own = digits.batch(range(len(digits)))
    standard = train(digits, 0, options.out / "sources")
    robust = train(digits, 0, options.out / "sources", 1.0)

    def matched(source):
        return lambda out: match_features(digits, source, out, steps=options.steps, device=CPU)

    def relabelled(radius, targets):
        return lambda out: relabel(
            digits,
            standard,
            out,
            threat=eq.L2(radius),
            targets=targets,
            steps=options.steps,
            device=CPU,
        )

    makers = {"D_R": matched(robust), "D_NR": matched(standard)}
    for targets, name in (("random", "D_rand"), ("next", "D_det")):
        makers |= {f"{name} {radius:g}": relabelled(radius, targets) for radius in RADII}
    chosen = [name for name in makers if name in (options.only or makers)]
    print("| set | from x | source | robust | right | next | l2:0.25 | l2:0.5 | seconds |")
    pupils = [train(digits, seed, options.out / f"digits-{seed}") for seed in SEEDS]
    print("| digits | | | |", " | ".join(judge(pupils, test)), "| |", flush=True)
    for name in chosen:
        started, folder = time.monotonic(), options.out / name.replace(" ", "-")
        made = makers[name](folder)
        seconds = time.monotonic() - started
        rows = arrays(read_shards(connect(), sorted((folder / "data").glob("*.parquet"))))
        agreed = 100 * (rows["prediction"] == rows["label"]).mean()
        batch = made.batch(range(len(made)))
        distance = (batch.images - own.images).flatten(1).norm(dim=1).mean().item()
        kept = 100 * (robust(batch.images).argmax(1) == own.labels).float().mean().item()
        pupils = [train(made, seed, options.out / f"{folder.name}-{seed}") for seed in SEEDS]
        cells = [f"{distance:.2f}", f"{agreed:.1f}", f"{kept:.1f}", *judge(pupils, test)]
        print(f"| {name} |", " | ".join(cells), f"| {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
