"""How many denoiser evaluations a counterfactual takes, and what a sampler costs over the bare network passes.

Accuracy: pi(x) ~ p(x | c) N(x0; x, w^2 I) on five problems whose pi is known.

    G    normal, 3,072 pixels with an image-like spectrum of variances i^-1.6 of mean .25, w = .2
    M    three components in the plane, w = .5
    K6   kernel density (bandwidth .15) of scikit-learn's 8s in [-1, 1], x0 a 3, w = .6: many modes overlap
    K3   the same with w = .3: one mode and a small one far away
    B    two modes 8 w apart, w = .2

The error of G is the relative Wasserstein-2 distance, without sampling noise, since every method maps the noise to an
image by an affine map there. Elsewhere it is the largest of: total variation of the mode weights, length of the mean's
miss over sqrt(tr C), and the miss of the standard deviation, of the worst pixel in the plane and of the root of the
trace beyond; "exact draws" shows how far independent draws come.

Speed: a counterfactual of each of 64 images, over evaluations x the bare passes of the network on the same images,
measured in random order in every round. With guidance both halves of an evaluation can go through the network together
or one after the other: the ratio of the two decides `equipoise.diffusion.guidance.JOINED_PIXELS`.
"""

import argparse
import random
import statistics
import time

import torch
from sklearn.datasets import load_digits

from equipoise.counterfactuals import Added, Exact, Gaussian, Reverse, Sampler, merge, posterior
from equipoise.diffusion import MixtureDenoiser, Preconditioned, UNet, guidance
from equipoise.diffusion.solvers import heun, levels, multistep

BUDGETS = (8, 10, 12, 14, 16, 19, 25, 35, 50, 75, 99)


def from_80(rule):
    def draw(width, noise, denoise, x0, steps):
        x = torch.add(x0, noise(1)[0], alpha=80)
        return rule(merge(denoise, x0, width), x, levels(80.0, 0.002, steps))

    return draw


def from_20_widths(width, noise, denoise, x0, steps):
    x = torch.add(denoise(x0, width), noise(1)[0], alpha=20 * width)
    return multistep(merge(denoise, x0, width), x, levels(20 * width, width / 100, steps))


def packaged(kind, **settings):
    """A method of the package: (draw, steps of a budget of evaluations)."""

    def draw(width, noise, denoise, x0, steps):
        return kind(steps, **settings).draw(denoise, Gaussian(width), x0, noise)

    # Evaluations are linear in the steps.
    fixed = kind(0).evaluations()
    return draw, lambda budget: (budget - fixed) // (kind(1).evaluations() - fixed)


METHODS = {
    "added scores, churn 0, Heun from 80": packaged(Added),
    "added scores, churn 40, Heun from 80": packaged(Added, churn=40.0),
    "D_eff, Heun from 80": (from_80(heun), lambda budget: (budget + 1) // 2),
    "D_eff, multistep from 80": (from_80(multistep), int),
    "D_eff, multistep from 20 w, centred": (from_20_widths, lambda budget: budget - 1),
    "reverse SDE from x0": packaged(Reverse),
    "D_eff, corrected: the default": packaged(Exact),
}


class Normal:
    """G. Row 0 gets no noise and row i only draw i, all ones: together they are the affine map."""

    def __init__(self):
        variance = torch.arange(1, 3073, dtype=torch.float64) ** -1.6
        self.variance = (variance / variance.mean() / 4).view(1, 1, -1)
        normal = torch.randn(3072, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        self.x0, self.width = self.variance.sqrt() * normal.view(1, 1, -1), 0.2
        self.law = 1 / (1 / self.variance + 1 / self.width**2)

    def error(self, draw, steps):
        # Churn takes a draw a step and one more at the start.
        rows, taken = steps + 2, 0

        def noise(count):
            nonlocal taken
            found = torch.zeros(count, rows, 1, 1, 3072, dtype=torch.float64)
            for i in range(count):
                taken += 1
                found[i, taken] = 1
            return found

        def denoise(x, sigma):
            return x * (self.variance / (self.variance + sigma**2))

        x = draw(self.width, noise, denoise, self.x0.expand(rows, 1, 1, 3072), steps)
        std = (x[1:] - x[0]).norm(dim=0)
        mean = self.law * self.x0 / self.width**2
        miss = ((x[0] - mean) ** 2 + (std - self.law.sqrt()) ** 2).sum()
        return (miss / self.law.sum()).sqrt().item()


class Mixture:
    """M, K6, K3 and B."""

    def __init__(self, means, stds, weights, x0, width, *, quick):
        self.denoiser = MixtureDenoiser(means, stds, weights, torch.zeros(len(means)).long())
        self.x0, self.width = x0.double(), width
        self.law = posterior(self.denoiser, Gaussian(width), x0, 0)
        # Kernels are many and their pixels are too.
        self.draws = (2**13 if len(means) > 3 else 2**15) // (8 if quick else 1)

    def error(self, draw, steps):
        generator = torch.Generator().manual_seed(steps)
        label = torch.zeros(self.draws, dtype=torch.int64)
        x0 = self.x0.expand(self.draws, *self.x0.shape)
        # The first draw is spread evenly. Flows have no other, which leaves them little sampling noise.
        engine = torch.quasirandom.SobolEngine(self.x0.numel(), scramble=True, seed=0)
        even = engine.draw(self.draws, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
        first = [torch.special.ndtri(even).view(x0.shape)]

        def noise(count):
            found = torch.randn(count, *x0.shape, dtype=torch.float64, generator=generator)
            if first:
                found[0] = first.pop()
            return found

        return self.miss(draw(self.width, noise, guidance.guide(self.denoiser, label), x0, steps))

    def floor(self):
        return self.miss(self.law.sample(self.draws, torch.Generator().manual_seed(0)))

    def miss(self, x):
        variance = self.law.covariance.diag()
        weights = self.law.responsibilities(x).mean(0)
        shift = (x.mean(0) - self.law.mean).norm() / variance.sum().sqrt()
        found = x.flatten(1).var(0)
        spread = found / variance if len(found) == 2 else found.sum() / variance.sum()
        modes = (weights - self.law.weights).abs().sum() / 2
        return max(modes.item(), shift.item(), (spread.sqrt() - 1).abs().max().item())


def problems(quick):
    pixels, target = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    images = pixels.view(-1, 1, 8, 8) / 8 - 1
    eights, x0 = images[target == 8], images[target == 3][5]
    kernels = (eights, torch.full((len(eights),), 0.15), torch.ones(len(eights)), x0)
    means = torch.tensor([[1, 0.5], [-0.5, 1], [0.5, -1]]).view(3, 1, 1, 2)
    stds = torch.tensor([[0.3, 0.1], [0.2, 0.2], [0.1, 0.4]]).view(3, 1, 1, 2)
    three = (means, stds, torch.tensor([0.5, 0.3, 0.2]), torch.tensor([[[0.2, 0.1]]]))
    means = torch.tensor([[-0.8, 0], [0.8, 0]]).view(2, 1, 1, 2)
    two = (means, torch.full((2,), 0.1), torch.ones(2), torch.tensor([[[0.0075, 0.05]]]))
    return {
        "G": Normal(),
        "M": Mixture(*three, 0.5, quick=quick),
        "K6": Mixture(*kernels, 0.6, quick=quick),
        "K3": Mixture(*kernels, 0.3, quick=quick),
        "B": Mixture(*two, 0.2, quick=quick),
    }


def needed(problem, draw, steps_of):
    """The error at 19 evaluations, and at how many it falls to 5 % and to 2 %, as text."""
    at_19, reached, error = "", {}, 0.0
    for budget in BUDGETS:
        error = problem.error(draw, steps_of(budget))
        at_19 = f"{error:.3f}" if budget == 19 else at_19
        for tolerance in (0.05, 0.02):
            if error <= tolerance:
                reached.setdefault(tolerance, str(budget))
        if budget >= 19 and len(reached) == 2:
            break
    return at_19, " / ".join(reached.get(t, f"- ({error:.2f})") for t in (0.05, 0.02))


def accuracy(quick):
    found = problems(quick)
    table = {
        name: [needed(problem, *method) for problem in found.values()]
        for name, method in METHODS.items()
    }
    floors = ["0"] + [f"{p.floor():.3f}" for p in found.values() if isinstance(p, Mixture)]
    heading = f"| {' | '.join(found)} |\n|---|{'---|' * len(found)}"
    print(f"\nError at 19 evaluations:\n\n| method {heading}")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(error for error, _ in cells)} |")
    print(f"| exact draws | {' | '.join(floors)} |")
    print("\nEvaluations to an error of 5 % / 2 %; - (error at 99) if never:\n")
    print(f"| method {heading}")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(counts for _, counts in cells)} |")


def speed(size, channels, patch, rounds):
    shape = (channels, size, size)
    net = UNet(shape=shape, classes=10, width=32, patch=patch)
    denoiser = Preconditioned(net, sigma_data=0.5, shape=shape, classes="0123456789", scale=1.0)
    x0, label = torch.randn(64, *shape) / 2, torch.arange(64) % 10
    plain = Sampler(denoiser, Gaussian(0.3))
    guided = Sampler(denoiser, Gaussian(0.3), guidance=2.0)
    ids, passes = [str(i) for i in range(64)], plain.evaluations

    def draw(sampler, joined_pixels):
        guidance.JOINED_PIXELS = joined_pixels
        sampler.draw(x0, label, ids=ids)

    def bare():
        with torch.no_grad():
            for _ in range(passes):
                net(x0, x0.new_zeros(64), label)

    runs = {"bare": bare, "plain": lambda: draw(plain, 0)}
    runs |= {"separate": lambda: draw(guided, 0), "joined": lambda: draw(guided, 10**9)}
    ratios = {name: [] for name in runs}
    for _ in range(rounds + 1):
        times = {}
        for name in random.sample(list(runs), len(runs)):
            started = time.process_time()
            runs[name]()
            times[name] = time.process_time() - started
        for name, took in times.items():
            halves = 2 if name in ("separate", "joined") else 1
            ratios[name].append(took / times["bare"] / halves)
    # The first round warms up.
    cells = [f"{statistics.median(found[1:]):.3f}" for found in list(ratios.values())[1:]]
    images = f"{channels}x{size}x{size}, patch {patch}"
    print(f"| {images} | {64 * size * size} | {' | '.join(cells)} |")


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--only", choices=["accuracy", "speed"])
    parser.add_argument("--quick", action="store_true", help="fewer draws and rounds")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if settings.only != "speed":
        accuracy(settings.quick)
    if settings.only != "accuracy":
        print("\nCPU time over evaluations x bare passes, batch 64, a compact U-Net:\n")
        print("| images | pixels | plain | guided, separate halves | guided, joined halves |")
        print("|---|---|---|---|---|")
        for size, channels, patch in ((8, 1, 1), (16, 1, 1), (28, 1, 2), (32, 3, 2)):
            speed(size, channels, patch, 2 if settings.quick else 5)


if __name__ == "__main__":
    main()
