"""Each attack beside the same one of foolbox, torchattacks, adv-lib and pyautoattack, in one run and at equal passes.

The peers go into a venv of their own; adv-lib wants visdom and torchvision merely to be imported and gets stand-ins:

    python -m venv peers
    peers/bin/pip install -e . foolbox numba requests tqdm
    peers/bin/pip install --no-deps torchattacks adv-lib pyautoattack
    peers/bin/python benchmarks/members.py --out members

Trained classifiers and what peers found are kept in the folder `--out`, so that repeating the line continues. What
equipoise finds is computed every time.

Fairness. Everybody attacks the same images, all of them classified correctly, with the same steps or queries, step rule
and kind of start, and several seeds; for L1, APGD of pyautoattack and adv-lib begins in larger balls, as published.
One judge for all: an image found counts when it is misclassified, in [0, 1] and, for a fixed radius, in the ball up to
rounding. Passes, forward and backward, are counted around the classifier and divided by the number of images; within a
run of PGD or APGD only equipoise drops images that are fooled. A row says how many images, over all seeds, that attack
broke and equipoise's of the same name did not, and the other way round. Radii are near the median distance of the
classifier's boundary, where attacks differ most. Attacks run in random order, and milliseconds are of CPU, an image.

For minimum norm, where nothing is random, equipoise's `MinimumNorm` has as many steps as fit into 200 passes. FAB-T is
the nearest over its nine targets. Two peers' settings were chosen on two of these classifiers: BB starts at the nearest
image of another class and has 200 steps, since from noise, its default, it mostly found less, with 1000 steps too; and
ALMA's settings are the best of ten for L2 at 100 steps, and within 1 % of that for L1. An image without a find is
infinitely far, and where there is one the mean is too.
"""

import argparse
import importlib.util
import json
import random
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from unittest.mock import MagicMock

import torch
from torch import Tensor
from worst_case import AUTOATTACK_NORMS, Case, Counted, Problem

from equipoise.attacks import APGD, FAB, PGD, Attack, MinimumNorm, Square
from equipoise.attacks.losses import LossName
from equipoise.norms import Norm, Threat, parse_threat
from equipoise.streams import digest

CASES = {
    "mlp-standard": ("mlp", "l2:0", ("linf:0.08", "l2:0.45", "l1:1.2")),
    "mlp-l2": ("mlp", "l2:1", ("linf:0.15", "l2:0.8", "l1:2")),
    "conv-standard": ("conv", "l2:0", ("linf:0.075", "l2:0.4", "l1:1")),
    "conv-l2": ("conv", "l2:1", ("linf:0.15", "l2:0.8", "l1:2")),
    "conv-linf": ("conv", "linf:0.1", ("linf:0.15", "l2:0.65", "l1:1.4")),
}
"""Recipe and adversarial training of a classifier of digits, and what it is attacked with."""

PGD_STEPS, APGD_STEPS, QUERIES, TARGETS = 20, 100, 1000, 9
LIMIT = 200
"""Passes that MinimumNorm may spend on an image."""
WITHIN = 1.02
"""How many times the mean radius of the best peer MinimumNorm's may be."""
FURTHEST = {Norm.LINF: 1.0, Norm.L2: 100.0, Norm.L1: 10_000.0}
"""A radius that bounds no search for the smallest."""
LEADERS = ("FAB-T", "DDN", "ALMA", "BB")
"""Peers' attacks whose mean radius MinimumNorm is held against."""

Run = Callable[[Counted, Tensor, Tensor, int], Tensor]
"""run(classifier, images, labels, seed) -> the images found."""


@dataclass(frozen=True)
class Contender:
    """An attack under the name that all libraries' rows share; `settings` tell its runs apart."""

    attack: str
    library: str
    settings: str
    run: Run

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.library, self.attack, self.settings)))


@dataclass(frozen=True)
class Outcome:
    """What a contender reached on each image, inf for nothing, and what that cost for each."""

    distance: list[float]
    passes: float
    seconds: float


def import_adv_lib():
    for name in ("visdom", "torchvision"):
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = MagicMock()
    import adv_lib.attacks  # pyright: ignore[reportMissingImports]

    return adv_lib.attacks


def ours(attack: Attack, threat: Threat) -> Run:
    return lambda classifier, x, y, seed: attack(classifier, x, y, threat, seed=seed).images


def pgd(threat: Threat) -> list[Contender]:
    """PGD from a random start with steps of 2.5 / steps of the radius."""
    import foolbox  # pyright: ignore[reportMissingImports]
    import torchattacks  # pyright: ignore[reportMissingImports]

    radius, step = threat.radius, 2.5 / PGD_STEPS
    kinds = {
        Norm.LINF: foolbox.attacks.LinfPGD,
        Norm.L2: foolbox.attacks.L2PGD,
        Norm.L1: foolbox.attacks.L1PGD,
    }

    def by_foolbox(classifier, x, y, seed):
        model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
        attack = kinds[threat.norm](steps=PGD_STEPS, rel_stepsize=step)
        return attack(model, x, y, epsilons=radius)[1]

    def by_torchattacks(classifier, x, y, seed):
        kind = torchattacks.PGD if threat.norm is Norm.LINF else torchattacks.PGDL2
        return kind(classifier, eps=radius, alpha=step * radius, steps=PGD_STEPS)(x, y)

    def by_adv_lib(classifier, x, y, seed):
        return import_adv_lib().pgd_linf(
            classifier, x, y, radius, steps=PGD_STEPS, relative_step_size=step
        )

    runs = {"equipoise": ours(PGD(steps=PGD_STEPS), threat), "foolbox": by_foolbox}
    if threat.norm is not Norm.L1:
        runs["torchattacks"] = by_torchattacks
    if threat.norm is Norm.LINF:
        runs["adv-lib"] = by_adv_lib
    return [Contender("PGD", library, "", run) for library, run in runs.items()]


def apgd(threat: Threat, loss: LossName) -> list[Contender]:
    """Auto-PGD away from the label; for L1 peers begin in larger balls, as published."""
    import torchattacks  # pyright: ignore[reportMissingImports]
    from pyautoattack.autopgd_base import APGDAttack  # pyright: ignore[reportMissingImports]

    radius, sparse = threat.radius, threat.norm is Norm.L1
    norm = AUTOATTACK_NORMS[threat.norm]

    def by_pyautoattack(classifier, x, y, seed):
        settings = {"n_iter": APGD_STEPS, "loss": loss, "seed": seed, "use_largereps": sparse}
        return APGDAttack(classifier, norm=norm, eps=radius, **settings).perturb(x, y)

    def by_torchattacks(classifier, x, y, seed):
        settings = {"steps": APGD_STEPS, "loss": loss, "seed": seed}
        return torchattacks.APGD(classifier, norm=norm, eps=radius, **settings)(x, y)

    def by_adv_lib(classifier, x, y, seed):
        settings = {"n_iter": APGD_STEPS, "loss_function": loss, "use_large_reps": sparse}
        return import_adv_lib().apgd(classifier, x, y, radius, threat.norm.order, **settings)

    mine = APGD(loss=loss, steps=APGD_STEPS)
    runs = {"equipoise": ours(mine, threat), "pyautoattack": by_pyautoattack}
    if not sparse:
        runs["torchattacks"] = by_torchattacks
    runs["adv-lib"] = by_adv_lib
    return [Contender(f"APGD-{loss.upper()}", library, "", run) for library, run in runs.items()]


def targeted_apgd(threat: Threat) -> list[Contender]:
    """Auto-PGD towards nine classes."""
    import torchattacks  # pyright: ignore[reportMissingImports]
    from pyautoattack.autopgd_base import (  # pyright: ignore[reportMissingImports]
        APGDAttack_targeted,
    )

    radius, sparse = threat.radius, threat.norm is Norm.L1
    norm = AUTOATTACK_NORMS[threat.norm]

    def by_pyautoattack(classifier, x, y, seed):
        settings = {"n_iter": APGD_STEPS, "seed": seed, "use_largereps": sparse}
        return APGDAttack_targeted(classifier, norm=norm, eps=radius, **settings).perturb(x, y)

    def by_torchattacks(classifier, x, y, seed):
        settings = {"steps": APGD_STEPS, "seed": seed, "n_classes": TARGETS + 1}
        return torchattacks.APGDT(classifier, norm=norm, eps=radius, **settings)(x, y)

    def by_adv_lib(classifier, x, y, seed):
        settings = {"n_iter": APGD_STEPS, "num_targets": TARGETS, "use_large_reps": sparse}
        order = threat.norm.order
        return import_adv_lib().apgd_targeted(classifier, x, y, radius, order, **settings)

    mine = APGD(loss="dlr", targeted=True, steps=APGD_STEPS, targets=TARGETS)
    runs = {"equipoise": ours(mine, threat), "pyautoattack": by_pyautoattack}
    if not sparse:
        runs["torchattacks"] = by_torchattacks
    runs["adv-lib"] = by_adv_lib
    return [Contender("APGD-T", library, "", run) for library, run in runs.items()]


def square(threat: Threat) -> list[Contender]:
    """Square with windows that shrink to the end over the queries there are."""
    import torchattacks  # pyright: ignore[reportMissingImports]
    from pyautoattack.square import SquareAttack  # pyright: ignore[reportMissingImports]

    norm = AUTOATTACK_NORMS[threat.norm]
    shared = {"eps": threat.radius, "n_queries": QUERIES, "resc_schedule": True}

    def by_pyautoattack(classifier, x, y, seed):
        return SquareAttack(classifier, norm=norm, seed=seed, **shared).perturb(x, y)

    def by_torchattacks(classifier, x, y, seed):
        return torchattacks.Square(classifier, norm=norm, seed=seed, **shared)(x, y)

    runs = {"equipoise": ours(Square(queries=QUERIES), threat), "pyautoattack": by_pyautoattack}
    if threat.norm is not Norm.L1:
        runs["torchattacks"] = by_torchattacks
    return [Contender("Square", library, "", run) for library, run in runs.items()]


def at_radius(threat: Threat) -> list[Contender]:
    return [
        *pgd(threat),
        *apgd(threat, "ce"),
        *apgd(threat, "dlr"),
        *targeted_apgd(threat),
        *square(threat),
    ]


def nearest_fab(threat: Threat) -> Run:
    """FAB-T, which would stop at the first target that leads anywhere inside of its radius, on every target."""
    from pyautoattack.fab_pt import FABAttack_PT  # pyright: ignore[reportMissingImports]

    def run(classifier, x, y, seed):
        attack = FABAttack_PT(classifier, norm=AUTOATTACK_NORMS[threat.norm], n_iter=100)
        best, least = x.clone(), torch.full((len(x),), torch.inf)
        for attack.target_class in range(2, TARGETS + 2):
            found = attack.attack_single_run(x, y, is_targeted=True)
            distance = threat.distance(x, found)
            # What leads nowhere comes back unchanged.
            nearer = (distance > 0) & (distance < least)
            best[nearer], least[nearer] = found[nearer], distance[nearer]
        return best

    return run


def brendel_bethge(threat: Threat, steps: int) -> Run:
    import foolbox  # pyright: ignore[reportMissingImports]

    kinds = {
        Norm.LINF: foolbox.attacks.LinfinityBrendelBethgeAttack,
        Norm.L2: foolbox.attacks.L2BrendelBethgeAttack,
        Norm.L1: foolbox.attacks.L1BrendelBethgeAttack,
    }

    def run(classifier, x, y, seed):
        apart = torch.cdist(x.flatten(1), x.flatten(1), p=threat.norm.order)
        nearest = apart.masked_fill(y[:, None] == y, torch.inf).argmin(1)
        model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
        with warnings.catch_warnings():
            # It warns that it is about to be compiled.
            warnings.simplefilter("ignore")
            attack = kinds[threat.norm](steps=steps)
            return attack(model, x, y, epsilons=None, starting_points=x[nearest])[1]

    return run


def by_adv_lib(threat: Threat, steps: int) -> dict[str, Run]:
    """adv-lib's minimum-norm attacks in this norm."""

    def fmn(classifier, x, y, seed):
        return import_adv_lib().fmn(classifier, x, y, threat.norm.order, steps=steps)

    def ddn(classifier, x, y, seed):
        return import_adv_lib().ddn(classifier, x, y, steps=steps, levels=None)

    def alma(classifier, x, y, seed):
        settings = {"num_steps": steps, "α": 0.5, "init_lr_distance": 1.0}
        return import_adv_lib().alma(classifier, x, y, distance=str(threat.norm), **settings)

    return {
        Norm.LINF: {"FMN": fmn},
        Norm.L2: {"FMN": fmn, "ALMA": alma, "DDN": ddn},
        Norm.L1: {"FMN": fmn, "ALMA": alma},
    }[threat.norm]


def minimum_norm(threat: Threat) -> list[Contender]:
    """Minimum-norm attacks; `threat` is further than any of them looks."""
    # Besides steps: the clean image, the linearised boundaries, the bisection and its verdict.
    steps = (LIMIT - 1 - (1 + TARGETS) - (MinimumNorm.bisections + 1)) // 2
    fab = FAB(steps=100, targets=TARGETS)
    return [
        Contender("MinimumNorm", "equipoise", f"{steps}", ours(MinimumNorm(steps=steps), threat)),
        Contender("FAB-T", "equipoise", "9 x 100", ours(fab, threat)),
        Contender("FAB-T", "pyautoattack", "9 x 100", nearest_fab(threat)),
        *(
            Contender(attack, "adv-lib", f"{steps}", run)
            for steps in (100, 200)
            for attack, run in by_adv_lib(threat, steps).items()
        ),
        Contender("BB", "foolbox", "200", brendel_bethge(threat, 200)),
    ]


class Arena:
    """A classifier and the images that it classifies correctly, with everybody's outcomes.

    Arguments:
        count: how many images.
        out: folder for classifiers and for peers' outcomes.
    """

    def __init__(self, name: str, count: int, out: Path) -> None:
        recipe, trained, _ = CASES[name]
        # A few more, since some are misclassified.
        problem = Problem(Case("digits", recipe, trained, "l2:1"), out, "", 2 * count)
        right = problem.classifier(problem.images).argmax(1) == problem.labels
        self.classifier, self.out, self.problem = problem.classifier, out / "members", problem.name
        self.images, self.labels = problem.images[right][:count], problem.labels[right][:count]

    def outcome(self, contender: Contender, threat: Threat, seed: int) -> Outcome:
        """What a contender finds: computed now for equipoise, kept for peers."""
        if contender.library == "equipoise":
            return self._run(contender, threat, seed)
        key = digest(self.problem, len(self.images), contender.label, str(threat), seed)
        path = self.out / f"{key}.json"
        if path.exists():
            return Outcome(**json.loads(path.read_text()))
        outcome = self._run(contender, threat, seed)
        self.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(outcome)))
        return outcome

    def _run(self, contender: Contender, threat: Threat, seed: int) -> Outcome:
        torch.manual_seed(seed)
        counted, n = Counted(self.classifier), len(self.images)
        started = time.process_time()
        found = contender.run(counted, self.images.clone(), self.labels.clone(), seed).detach()
        seconds = time.process_time() - started
        passes = (counted.forwards + counted.backwards) / n
        return Outcome(self._judge(found, threat).tolist(), passes, seconds / n)

    def _judge(self, found: Tensor, threat: Threat) -> Tensor:
        """How far the images found are, inf where they are no answer."""
        distance = threat.distance(self.images, found)
        inside = ((found >= 0) & (found <= 1)).flatten(1).all(1)
        wrong = self.classifier(found.clamp(0, 1)).argmax(1) != self.labels
        within = distance <= threat.radius * (1 + 1e-5)
        return distance.where(inside & wrong & within, torch.inf)

    def play(self, contenders: list[Contender], threat: Threat, seeds: int) -> list[list[Outcome]]:
        """Everybody's outcomes with each seed, run in random order."""
        order = [(c, seed) for c in range(len(contenders)) for seed in range(seeds)]
        random.shuffle(order)
        found = {(c, seed): self.outcome(contenders[c], threat, seed) for c, seed in order}
        return [[found[c, seed] for seed in range(seeds)] for c in range(len(contenders))]


def stacked(outcomes: list[Outcome]) -> Tensor:
    """Distances with shape (seeds, images)."""
    return torch.tensor([outcome.distance for outcome in outcomes])


def compare_at_radius(name: str, arena: Arena, threat: Threat, seeds: int) -> list[str]:
    """Prints a table; returns a line for each peer that broke more than chance explains."""
    contenders = at_radius(threat)
    outcomes = arena.play(contenders, threat, seeds)
    print(f"\n{name}, {threat}: {len(arena.images)} images, {seeds} seeds")
    print(f"{'':26}{'robust':>8}{'passes':>9}{'ms':>8}{'it alone':>10}{'ours alone':>12}")
    lines, mine = [], torch.empty(0)
    for contender, runs in zip(contenders, outcomes, strict=True):
        broken = stacked(runs).isfinite()
        if contender.library == "equipoise":
            mine = broken
        alone, missed = int((broken & ~mine).sum()), int((mine & ~broken).sum())
        cost, seconds = fmean(run.passes for run in runs), fmean(run.seconds for run in runs)
        duel = "" if contender.library == "equipoise" else f"{alone:10}{missed:12}"
        print(
            f"{contender.attack:12}{contender.library:14}{1 - broken.double().mean():8.4f}{cost:9.1f}"
            f"{1000 * seconds:8.2f}{duel}"
        )
        # An image broken with one seed is often broken with all, so images count, not seeds.
        lead = (broken.double() - mine.double()).mean(0)
        if lead.sum() > 2 * lead.square().sum().sqrt():
            lines.append(f"{name}, {threat}: {contender.label}, {100 * lead.mean():.1f} points")
    return lines


def compare_minimum_norm(name: str, arena: Arena, norm: Norm) -> list[str]:
    """Prints a table; returns a line when MinimumNorm is not within 2 % of the best of `LEADERS`."""
    threat = parse_threat(f"{norm}:{FURTHEST[norm]}")
    contenders = minimum_norm(threat)
    outcomes = [runs[0] for runs in arena.play(contenders, threat, 1)]
    distances = [torch.tensor(outcome.distance) for outcome in outcomes]
    best = torch.stack(distances).amin(0)
    print(f"\n{name}, minimum {norm}: {len(best)} images")
    print(f"{'':30}{'mean':>8}{'median':>8}{'excess':>9}{'success':>9}{'passes':>9}{'ms':>8}")
    for contender, outcome, distance in zip(contenders, outcomes, distances, strict=True):
        excess = 100 * (distance / best - 1).mean()
        print(
            f"{contender.label:30}{distance.mean():8.4f}{distance.median():8.4f}{excess:8.2f}%"
            f"{distance.isfinite().double().mean():9.3f}{outcome.passes:9.1f}"
            f"{1000 * outcome.seconds:8.2f}"
        )
    mine, *others = [distance.mean().item() for distance in distances]
    least, leader = min(
        (theirs, contender.label)
        for theirs, contender in zip(others, contenders[1:], strict=True)
        if contender.attack in LEADERS and contender.library != "equipoise"
    )
    line = f"MinimumNorm's mean radius is {mine / least:.4f} times that of {leader}"
    print(f"  {line}")
    return [] if mine <= WITHIN * least else [f"{name}, minimum {norm}: {line}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to keep things in")
    parser.add_argument("--images", type=int, default=128, help="of each classifier")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", default=list(CASES))
    parser.add_argument("--part", choices=("radius", "minimum", "both"), default="both")
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    lines = []
    for name in settings.only:
        arena = Arena(name, settings.images, settings.out)
        threats = [parse_threat(text) for text in CASES[name][2]]
        if settings.part != "radius":
            for threat in threats:
                lines += compare_minimum_norm(name, arena, threat.norm)
        if settings.part != "minimum":
            for threat in threats:
                lines += compare_at_radius(name, arena, threat, settings.seeds)
    print(
        "\nWhere equipoise was behind by more than chance or 2 %:" + ("" if lines else " nowhere")
    )
    for line in lines:
        print(f"  {line}")


if __name__ == "__main__":
    main()
