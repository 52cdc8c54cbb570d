"""What `equipoise audit --dry-run` says beside what the audit then takes: time, memory and disk.

    python benchmarks/cost.py                          all cases
    python benchmarks/cost.py ladder --calibrate 30

The estimate and the audit run one after the other in processes of their own, and each is told in seconds of the
processor (`time.process_time`, which leaves out what other programs take) and of the clock on the wall. Memory is the
peak resident set of the audit's process; disk is the bytes of its shards. The ratio is estimate over audit; "within"
says whether the audit came to lie between the ends that were estimated.

Cases: a ladder of small networks on digits under L2 and Linf with gradients; the same with probes that keep many
pictures; a residual network on 32x32 images, few of which fit ten seconds; a cheap audit of many images.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

import equipoise as eq
from equipoise.classifiers import save_classifier
from equipoise.cost import estimate_cost
from equipoise.images import Arrays
from equipoise.training import Recipe, train_ladder

RECIPES = {
    "ladder": Recipe(net="mlp", epochs=20),
    "pictures": Recipe(net="residual", widths=(8, 16), epochs=4),
    "residual": Recipe(net="residual", widths=(16, 32, 64), epochs=2, limit=1000),
    "many": Recipe(net="mlp", epochs=5, limit=1000),
}

CASES = {
    "ladder": {
        "probes": ["standard", "adversarial:l2:0.5", "adversarial:linf:0.1", "gradients"],
    },
    "pictures": {
        "probes": ["standard", "adversarial:l2:0.5?steps=10", "saliency", "large_eps:l2:4"],
        "pictures": 200,
        "limit": 300,
    },
    "residual": {"probes": ["standard", "adversarial:l2:0.5"], "limit": 100, "batch": 32},
    "many": {"probes": ["standard", "gradients"], "pictures": 12},
}

RADII = {"ladder": (0.0, 0.5, 1.0), "pictures": (0.0,), "residual": (0.5,), "many": (0.0, 0.5)}


def photographs(count, split):
    """Noise with a class in its mean: three channels of 32x32."""
    generator = torch.Generator().manual_seed(count)
    labels = torch.randint(4, (count,), generator=generator)
    grid = torch.stack(torch.meshgrid(*2 * [torch.linspace(0, 3, 32)], indexing="ij")).sum(0)
    pattern = torch.stack([torch.sin(grid * (k + 1)) for k in range(4)])[labels][:, None]
    pixels = 0.5 + 0.08 * pattern + 0.12 * torch.randn(count, 3, 32, 32, generator=generator)
    return Arrays(pixels.clamp(0, 1), labels.tolist(), tuple("abcd"), split=split)


def images(case, split):
    if case == "residual":
        return photographs(2000 if split == "train" else 400, split)
    if case == "many":
        return photographs(2000 if split == "train" else 20_000, split)
    return eq.load_images("digits", split)


def judged(case, out):
    folder = out / case
    if not folder.exists():
        rungs = train_ladder(
            images(case, "train"),
            [eq.L2(radius) for radius in RADII[case]],
            RECIPES[case],
            folder / "training",
            steps=3,
            accelerator="cpu",
        )
        for rung in rungs:
            save_classifier(rung, folder / rung.name)
    return [
        f"local:{folder / eq.L2(radius).__str__().replace(':', '-')}" for radius in RADII[case]
    ]


def work(part, case, out, calibrate):
    """One of the two processes: the last line it prints is what it found."""
    settings = dict(CASES[case])
    probes = settings.pop("probes")
    classifiers, data = judged(case, out), images(case, "test")
    clocks = {"cpu": time.process_time, "wall": time.perf_counter}
    if part == "estimate":
        found = {}
        for name, clock in clocks.items():
            with tempfile.TemporaryDirectory() as folder:
                cost = estimate_cost(
                    classifiers,
                    data,
                    probes,
                    Path(folder) / "run",
                    calibrate=calibrate,
                    clock=clock,
                    **settings,
                )
            found[name] = {key: value for key, value in asdict(cost).items() if key != "rows"}
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        began = {name: clock() for name, clock in clocks.items()}
        run = eq.audit(classifiers, data, probes, Path(folder) / "run", shown=False, **settings)
        taken = {name: clock() - began[name] for name, clock in clocks.items()}
        disk = sum(path.stat().st_size for path in (run.folder / "shards").rglob("*.parquet"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(taken | {"memory": peak, "disk": disk}))


def told(part, case, out, calibrate):
    command = [sys.executable, __file__, case, "--part", part, "--out", str(out)]
    shown = subprocess.run(
        [*command, "--calibrate", str(calibrate)], capture_output=True, text=True, check=False
    )
    if shown.returncode:
        raise SystemExit(shown.stderr)
    return json.loads(shown.stdout.splitlines()[-1])


def compare(case, out, calibrate):
    judged(case, out)
    guess = told("estimate", case, out, calibrate)
    load = os.getloadavg()[0]
    real = told("audit", case, out, calibrate)
    print(f"{case}  (load {load:.1f} before, {os.getloadavg()[0]:.1f} after)")
    for name in ("cpu", "wall"):
        low, mean, high = (guess[name][key] for key in ("low", "seconds", "high"))
        inside = "within" if low <= real[name] <= high else "outside"
        print(
            f"  {name:8}{mean:8.1f} s ({low:.1f} to {high:.1f}){real[name]:10.1f} s{mean / real[name]:8.2f}  {inside}"
        )
    for name in ("memory", "disk"):
        mean = guess["cpu"][name]
        print(f"  {name:8}{mean / 1e6:8.1f} MB{real[name] / 1e6:12.1f} MB{mean / real[name]:8.2f}")


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--calibrate", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("runs/cost"))
    parser.add_argument("--part", choices=["estimate", "audit"])
    asked = parser.parse_args()
    if asked.part:
        work(asked.part, asked.cases[0], asked.out, asked.calibrate)
        return
    print(f"{'':10}{'estimate':>10}{'audit':>28}{'ratio':>10}")
    for case in asked.cases:
        compare(case, asked.out.absolute(), asked.calibrate)


if __name__ == "__main__":
    main()
