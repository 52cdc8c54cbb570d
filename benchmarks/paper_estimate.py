"""GPU hours of large audits and of large counterfactual sets, worked out from passes that were counted.

    python benchmarks/paper_estimate.py
    python benchmarks/paper_estimate.py --forward 9000 --both 3000      images a second of your own GPU

Counted here: passes of each probe for images that were wrong anyway, that fell and that withstood, in an audit of two
small networks on digits; evaluations of each counterfactual sampler. How many passes an image costs depends on which of
the three it is and, for nine classes or more, on little else: attacks aim at nine classes at most.

Taken from elsewhere: images a second of ResNet-50 at 224x224. `forward` is inference, `both` a step of training, which
also has the weights' gradients and is therefore an upper bound of going back to the image:

    seconds = (forwards - backwards) / forward + backwards / both

Assumed: which share of the images is wrong, falls and withstands.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

import equipoise as eq
from equipoise.training import Recipe, train_ladder

SOURCE = "NVIDIA, DeepLearningExamples, PyTorch/Classification/ConvNets/resnet50v1.5, README (21.03), one GPU"
GPUS = {
    # The forward pass is a third of a step of training; that of the A100 is not in the table.
    "A100 80GB, mixed precision": (3 * 2470.0, 2470.0),
    "A100 80GB, TF32": (3 * 938.0, 938.0),
    "V100 16GB, mixed precision": (3382.0, 1200.0),
    "V100 16GB, float32": (1261.0, 367.0),
}
SHARES = {"standard": (0.24, 0.76, 0.0), "robust": (0.36, 0.28, 0.36)}
"""Of images: wrong anyway, fallen, withstood; of a standard ResNet-50 and of an adversarially trained one."""

OUTCOMES = ("wrong anyway", "fell", "withstood")
PROBES = ("standard", "gradients", "adversarial:linf:4/255", "adversarial:l2:0.5")
SETS = {"50,000 images x 20 classifiers": 50_000 * 20, "1,000,000 images x 20": 1_000_000 * 20}
MADE = 200_000
SAMPLERS = {
    "gaussian": ("exact", "reverse", "sum"),
    "laplace": ("tilted", "particles", "metropolis", "sum"),
}


def count(folder):
    """Forwards and backwards by probe and outcome, on average."""
    recipe = Recipe(net="residual", widths=(16, 32), epochs=8)
    rungs = train_ladder(
        eq.load_images("digits", "train"),
        [eq.L2(0), eq.L2(1)],
        recipe,
        folder / "ladder",
        steps=5,
        accelerator="cpu",
    )
    run = eq.audit(rungs, "digits", PROBES, folder / "run", pictures=0, examined=0, shown=False)
    found = {}
    for probe in PROBES:
        told = {outcome: [] for outcome in OUTCOMES}
        for name in run.classifiers:
            columns = run.columns(probe, name)
            right = run.columns("standard", name)["correct"].astype(bool)
            fell = columns.get("success", np.zeros(len(right))).astype(bool)
            ones = np.ones(len(right))
            passes = np.stack(
                [columns.get("forwards", ones), columns.get("backwards", 0 * ones)], axis=1
            )
            for outcome, rows in zip(OUTCOMES, (~right, right & fell, right & ~fell), strict=True):
                told[outcome].append(passes[rows])
        found[probe] = {key: np.concatenate(parts) for key, parts in told.items()}
    return found


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--forward", type=float, help="images a second, forward")
    parser.add_argument(
        "--both", type=float, help="images a second, forward and back to the image"
    )
    asked = parser.parse_args()
    gpus = dict(GPUS)
    if asked.forward and asked.both:
        gpus = {"yours": (asked.forward, asked.both)}
    with tempfile.TemporaryDirectory() as folder:
        counted = count(Path(folder))

    print("Counted: forwards and backwards of an image (images)\n")
    print("| probe | " + " | ".join(OUTCOMES) + " |\n|---|---|---|---|")
    for probe, told in counted.items():
        cells = [
            f"{p[:, 0].mean():.0f} and {p[:, 1].mean():.0f} ({len(p)})" if len(p) else "none"
            for p in told.values()
        ]
        print(f"| `{probe}` | {' | '.join(cells)} |")

    print(f"\nImages a second of ResNet-50: {SOURCE}\n")
    print("| GPU | forward | forward and back |\n|---|---|---|")
    for name, (forward, both) in gpus.items():
        print(f"| {name} | {forward:,.0f} | {both:,.0f} |")

    attack = PROBES[2]
    print(f"\nGPU hours of `standard`, `gradients` and `{attack}`\n")
    print(
        "| classifiers | passes of an image | GPU | "
        + " | ".join(SETS)
        + " |\n|---|---|---|---|---|"
    )
    for kind, shares in SHARES.items():
        means = np.zeros(2)
        for probe in PROBES[:3]:
            parts = counted[probe].values()
            # Probes that do the same for every image have no outcomes to tell apart.
            every = np.concatenate(list(parts)).mean(0)
            means += sum(
                share * (p.mean(0) if len(p) else every)
                for share, p in zip(shares, counted[probe].values(), strict=True)
            )
        for name, (forward, both) in gpus.items():
            seconds = (means[0] - means[1]) / forward + means[1] / both
            hours = [f"{seconds * total / 3600:,.0f}" for total in SETS.values()]
            told = f"{means[0]:.0f} and {means[1]:.0f}"
            print(f"| {kind} | {told} | {name} | {' | '.join(hours)} |")

    # How often a sampler asks does not depend on the denoiser.
    means, rest = torch.tensor([[[[0.0]]], [[[0.5]]]]), torch.tensor([0.5, 0.5])
    den = eq.diffusion.MixtureDenoiser(means, rest / 5, rest, torch.tensor([0, 1]))
    print(f"\nEvaluations of the denoiser, at 18 steps, and for {MADE:,} counterfactuals\n")
    print(
        "| neighbourhood | method | each | network passes, guided | GPU hours at r passes a second |"
    )
    print("|---|---|---|---|---|")
    for name, methods in SAMPLERS.items():
        kind = {"gaussian": eq.counterfactuals.Gaussian, "laplace": eq.counterfactuals.Laplace}[
            name
        ]
        for method in methods:
            sampler = eq.counterfactuals.Sampler(
                den, kind(0.2), guidance=2.0, steps=18, method=method
            )
            each = sampler.evaluations
            # Guidance asks the network twice, at most: with the class and without.
            whole = 2 * each * MADE
            print(
                f"| {name} | {method} | {each} | {whole / 1e6:,.1f} million | {whole / 3600:,.0f} / r |"
            )


if __name__ == "__main__":
    main()
