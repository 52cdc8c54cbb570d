"""The study of arXiv 2404.10588: do counterfactual examples complicate adversarial training?

One ladder of classifiers is trained adversarially with growing radii, a denoiser and three oracles beside it, all on
the same training images. Counterfactuals of a random sample of those images are made in three arms,

    exact       Gaussian neighbourhood, the merged observation
    laplace     Laplace neighbourhood of the same width, by the quick method, which knows the modes but not their
                weights: the default takes twenty times as long
    published   Gaussian neighbourhood, sum of scores, Heun with 50 steps and no churn, as in the first author's code

each with same-class counterfactuals and noise as controls; and, in a fourth, of images that the most robust classifier
made itself. Every rung is asked about them, and the claims are tested (`counterfactual_claims`).

The paper's images, networks and numbers are not what is used here: this is a conceptual replication, and the widths and
guidance for each data set are our choice.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from equipoise.audit import Run, audit, write_claims, write_exhibits
from equipoise.classifiers import Classifier
from equipoise.counterfactuals import (
    CounterfactualSet,
    DiffusionClassifier,
    Sampler,
    check_fit,
    make_set,
    measure_quality,
    nearest_distances,
    parse_neighbourhood,
)
from equipoise.devices import choose_device
from equipoise.diffusion import Denoiser, load_denoiser
from equipoise.errors import EquipoiseError
from equipoise.images import Arrays, Images, Subset, eight_bit, load_images
from equipoise.norms import L2, parse_threat
from equipoise.report import report
from equipoise.streams import stream
from equipoise.studies.counterfactual_claims import Confounders, Evidence, weigh
from equipoise.studies.denoiser_quality import denoiser_exhibits
from equipoise.training import (
    DenoiserRecipe,
    Recipe,
    fit_denoiser,
    shuffled_rows,
    suited_recipe,
    train_ladder,
)

__all__ = ["Settings", "counterfactual"]

PUBLISHED_STEPS = 50
DIGITS = Recipe(net="mlp", epochs=100, rate=4e-3)
"""The recipe of the embedded digits' classifiers."""

ORACLE_SEEDS = (101, 102, 103)
OWN_RADIUS = 1.25
"""How far the most robust classifier may change an image into one that it takes for another class: a share of the L2
distance at which real images of other classes begin, on average."""

FEWEST_OWN = 20
"""Fewer images of its own than these say nothing."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the study is made with; the defaults are for the embedded digits on two CPU cores.

    Arguments:
        data: spec of the images; the split "train" is used.
        norm: of the adversary, "l2" or "linf".
        radii: of the ladder, in units of images in [0, 1], rising, the first one "0".
        recipe: of every classifier.
        attack_steps: of projected gradient descent in each training step.
        denoiser: spec of a denoiser to use; one is trained when empty.
        denoiser_steps: of that training; what suits the size of the images when None.
        width: of the neighbourhoods, such as "0.3", in network units, or "18%" of the data's L2 size.
        guidance: of the sampler.
        originals: how many images get counterfactuals, a random sample.
        published_originals: how many of them also in the published arm, which takes five times as many passes.
        per_class: counterfactuals of each image and class.
        seed: of everything random.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """

    data: str = "digits"
    norm: str = "l2"
    radii: tuple[str, ...] = ("0", "0.25", "0.5", "1", "1.5")
    recipe: Recipe = DIGITS
    attack_steps: int = 7
    denoiser: str = ""
    denoiser_steps: int | None = None
    width: str = "18%"
    guidance: float = 2.0
    originals: int = 300
    published_originals: int = 100
    per_class: int = 2
    seed: int = 0
    device: str = "auto"

    def check(self, train: Images, denoiser: Denoiser | None) -> None:
        """Refuses what would fail only after hours of training.

        Raises:
            EquipoiseError: for radii that do not rise from 0, a width that cannot be read, a denoiser for other images.
        """
        radii = [parse_threat(f"{self.norm}:{radius}").radius for radius in self.radii]
        rising = all(a < b for a, b in pairwise(radii))
        if len(radii) < 2 or radii[0] != 0 or not rising:
            raise EquipoiseError(
                f"The study needs at least two radii that rise from 0, not {' '.join(self.radii)}."
            )
        scale = 1.0 if denoiser is None else denoiser.scale
        neighbourhood = parse_neighbourhood(f"gaussian:{self.width}", scale)
        if denoiser is not None:
            check_fit(train, Sampler(denoiser, neighbourhood, guidance=self.guidance))


def counterfactual(
    out: Path = Path("runs/counterfactual"), settings: Settings | None = None
) -> tuple[Run, Path]:
    """Runs the study into `out`, or what of it is missing.

    Returns:
        the run with its claims, and the page ``out/report.html``.
    """
    asked = settings or Settings()
    train = load_images(asked.data, "train")
    accelerator = "cpu" if asked.device == "cpu" else asked.device.partition(":")[0]
    threats = [parse_threat(f"{asked.norm}:{radius}") for radius in asked.radii]
    given = load_denoiser(asked.denoiser) if asked.denoiser else None
    asked.check(train, given)
    rungs = train_ladder(
        train,
        threats,
        asked.recipe,
        out / "ladder",
        steps=asked.attack_steps,
        accelerator=accelerator,
    )
    oracles = train_oracles(train, asked.recipe, out / "oracles", accelerator)
    denoiser = given or fit_denoiser(
        train, denoiser_recipe(train, asked), out / "denoiser", accelerator=accelerator
    )
    exhibits = denoiser_exhibits(
        denoiser, oracles[0], train, out / "denoiser", seed=asked.seed, device=asked.device
    )
    images = fitted(train, asked.recipe).subset(asked.originals, asked.seed)
    making = _Making(asked, denoiser, oracles, train, out / "counterfactuals")
    sets = {
        "exact": making.arm("exact", images, f"gaussian:{asked.width}"),
        "laplace": making.arm("laplace", images, f"laplace:{asked.width}", method="tilted"),
        "published": making.arm(
            "published",
            images.subset(asked.published_originals, asked.seed),
            f"gaussian:{asked.width}",
            method="sum",
            steps=PUBLISHED_STEPS,
        ),
    }
    probes = {arm: f"counterfactual:{made.folder}" for arm, made in sets.items()}
    settings_of_audit = {"seed": asked.seed, "device": asked.device}
    attack = f"adversarial:{threats[len(threats) // 2]}"
    run = audit(
        rungs, images, ["standard", attack, *probes.values()], out / "audit", **settings_of_audit
    )
    known = confounders(train, images)
    own = own_images(rungs[-1], images, OWN_RADIUS * float(known.typical.mean()), asked)
    own_audit = None
    if len(own) >= FEWEST_OWN:
        made = making.arm("own", own, f"gaussian:{asked.width}")
        probe = f"counterfactual:{made.folder}"
        asked_of = [rungs[0], rungs[-1]]
        own_run = audit(asked_of, own, ["standard", probe], out / "own-audit", **settings_of_audit)
        own_audit = (own_run, probe)
    names = [rung.name for rung in rungs]
    evidence = Evidence(
        run,
        names,
        [threat.radius for threat in threats],
        probes,
        known,
        own_audit,
        asked.norm,
    )
    write_claims(run.folder, "counterfactual", weigh(evidence))
    write_exhibits(run.folder, "counterfactual", exhibits)
    page = out / "report.html"
    report(run, page)
    return run, page


def fitted(train: Images, recipe: Recipe) -> Images:
    """The images that classifiers of `recipe` are fitted on: without those held out for choosing a checkpoint."""
    rows = shuffled_rows(train, recipe.limit, recipe.seed)
    return Subset(train, sorted(rows[math.ceil(recipe.held_out * len(rows)) :]))


def denoiser_recipe(train: Images, asked: Settings) -> DenoiserRecipe:
    """What suits the size of the images, with the number of steps that was asked for."""
    recipe = replace(suited_recipe(train.shape), seed=asked.seed)
    return recipe if asked.denoiser_steps is None else replace(recipe, steps=asked.denoiser_steps)


def train_oracles(
    train: Images, recipe: Recipe, out: Path, accelerator: str, count: int = 3
) -> list[Classifier]:
    """An ensemble of standard classifiers from other seeds, which judge counterfactuals and nothing else."""
    oracles = []
    for seed in ORACLE_SEEDS[:count]:
        other = replace(recipe, seed=seed)
        (oracle,) = train_ladder(train, [L2(0)], other, out / str(seed), accelerator=accelerator)
        oracle.name = f"oracle-{seed}"
        oracles.append(oracle)
    return oracles


@dataclass(frozen=True)
class _Making:
    """What all arms share."""

    asked: Settings
    denoiser: Denoiser
    oracles: list[Classifier]
    train: Images
    out: Path

    def arm(
        self,
        name: str,
        images: Images,
        neighbourhood: str,
        *,
        method: str | None = None,
        steps: int = 18,
    ) -> CounterfactualSet:
        """One set with its quality measured."""
        asked = self.asked
        made = make_set(
            images,
            Sampler(
                self.denoiser,
                parse_neighbourhood(neighbourhood, self.denoiser.scale),
                guidance=asked.guidance,
                method=method,
                steps=steps,
            ),
            self.out / name,
            oracles=self.oracles,
            per_class=asked.per_class,
            seed=asked.seed,
            device=asked.device,
        )
        classify = DiffusionClassifier(self.denoiser)
        measure_quality(made, images, self.train, classify=classify)
        return made


def confounders(train: Images, images: Images) -> Confounders:
    """Of each image: its class, its contrast, and how near the nearest training images of other classes are."""
    mine = images.batch(range(len(images)))
    nearest = nearest_distances(mine.images, train)
    other = torch.arange(len(images.classes)) != mine.labels[:, None]
    return Confounders(
        mine.labels.numpy(),
        mine.images.flatten(1).std(dim=1).numpy(),
        nearest.masked_fill(~other, torch.inf).amin(1).numpy(),
        (nearest * other).sum(1).div(other.sum(1)).numpy(),
    )


def own_images(classifier: Classifier, images: Images, radius: float, asked: Settings) -> Images:
    """Images that a classifier made: originals changed within an L2 ball into what it takes for another class.

    Each is pushed for 60 steps towards a random other class; those that the classifier then reads so are kept, with
    that class as their label.
    """
    device = choose_device(asked.device)
    classifier.to(device)
    batch = images.batch(range(min(len(images), asked.published_originals)))
    start, count = batch.images.to(device), len(images.classes)
    shift = torch.tensor(
        [
            int(torch.randint(1, count, (), generator=stream(asked.seed, name, "own class")))
            for name in batch.ids
        ]
    )
    wanted = ((batch.labels + shift) % count).to(device)
    made = climb(classifier, start, wanted, L2(radius)).cpu()
    with torch.no_grad():
        reached = (classifier(made.to(device)).argmax(1) == wanted).cpu()
    return Arrays(
        made[reached],
        wanted.cpu()[reached].tolist(),
        images.classes,
        [name for name, kept in zip(batch.ids, reached.tolist(), strict=True) if kept],
        spec=f"{images.spec}, as {classifier.name} made them",
        split=images.split,
    )


def climb(
    classifier: Classifier, start: Tensor, wanted: Tensor, threat: L2, steps: int = 60
) -> Tensor:
    """Ascends the log-probability of the class `wanted` within `threat` of `start`, inside [0, 1]; 8-bit images."""
    x = start
    for _ in range(steps):
        x = x.detach().requires_grad_()
        chosen = classifier.logits(x).log_softmax(1).gather(1, wanted[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, x)
        ahead = threat.ascend(x.detach(), gradient, 2.5 * threat.radius / steps)
        x = (start + threat.project(ahead - start)).clamp(0, 1)
    return eight_bit(x)
