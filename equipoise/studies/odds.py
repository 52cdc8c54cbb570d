"""The study of arXiv 1805.12152: is robustness at odds with accuracy?

    theory          the paper's model in closed form, and rules fitted to samples of it (`model`)
    sizes           standard accuracy against the number of training images, for radii of L2 and Linf training, also
                    where each image is natural half of the time (`sample_sizes`)
    two classes     a linear rule of two classes, attacked exactly (`two_classes`)
    ladder          the classifiers of the largest size: trade-off, input gradients, adversarial examples far beyond any
                    change of training read by independent judges, and the inputs they use; pictures of the first
                    seed, statistics over all seeds
    feature sets    training sets made of what a standard or a robust classifier sees (`learnt_features`)

Every claim of the paper is tested on what was measured (`training_claims`, `feature_claims`). The paper's images,
networks and numbers are not what is used here: this is a conceptual replication, and radii, sizes and recipes are our
choice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from equipoise.audit import Run, audit, write_claims, write_exhibits
from equipoise.classifiers import Classifier
from equipoise.counterfactuals import Sampler, make_set, parse_neighbourhood
from equipoise.devices import choose_device
from equipoise.diffusion import Denoiser, load_denoiser
from equipoise.errors import EquipoiseError
from equipoise.images import Images, load_images
from equipoise.norms import Linf, Threat, parse_threat
from equipoise.probes import Adversarial, FeatureUse, Gradients, LargeEps
from equipoise.report import report
from equipoise.studies.feature_claims import Evidence, weigh_features, weigh_learnt
from equipoise.studies.learnt_features import learn_from_features
from equipoise.studies.model import fit_rules
from equipoise.studies.sample_sizes import STANDARD, Arm, SampleSizes, fixed, train_sizes
from equipoise.studies.training_claims import weigh_training
from equipoise.studies.two_classes import attack_two_classes
from equipoise.training import (
    PGD,
    Objective,
    Recipe,
    Standard,
    fit,
    fit_denoiser,
    remember,
    suited_recipe,
)

__all__ = ["OddsSettings", "odds"]

DIGITS = Recipe(net="mlp", rate=1e-2)
"""The recipe of the embedded digits' classifiers."""

JUDGE_SEED, LEARNER_SEED = 101, 201
"""Of the judges, and of those who learn from feature sets; from the same images as the classifiers."""

WIDTH, GUIDANCE = "gaussian:18%", 2.0
"""Of the counterfactuals, as in their own study."""

FEWEST = 10
"""Test images of the linear experiment's classes."""


@dataclass(frozen=True, kw_only=True)
class OddsSettings:
    """What the study is made with; the defaults are for the embedded digits on two CPU cores.

    Arguments:
        data: spec of the images; the split "train" is used for training, "test" for everything else.
        radii: of L2 training, rising, in units of images in [0, 1].
        linf_radii: of Linf training.
        half_radii: of L2 training where each image is natural half of the time.
        sizes: numbers of training images, rising; 0 stands for all, and may only be the last.
        seeds: how many trainings of each kind.
        recipe: of every classifier; its epochs, limit, seed and held-out share are the study's.
        steps: of the optimiser in every training.
        attack_steps: of projected gradient ascent in each of them.
        far: L2 radius of the adversarial examples, beyond any change of training.
        test: at most so many test images, a random sample; all when 0.
        attacked: at most so many of these for all but standard accuracy, since attacks take long; all when 0.
        originals: how many test images get counterfactuals, which gradients are compared with; none when 0.
        denoiser: spec of a denoiser to draw them with; one is trained when empty.
        pair: names of the two classes of the linear experiment; 5 and 7, or the first two, when empty.
        linear_radii: Linf radii it is trained for, rising from 0.
        linear_radius: Linf radius it is attacked with, one of them.
        feature_images: how many training images the feature sets are made of, a random sample; all when 0.
        feature_changes: L2 radius within which images are changed into other classes for the feature sets.
        feature_radius: L2 radius of the attack on what was learnt from these sets.
        seed: of everything random; trainings have this one and the next ones.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """

    data: str = "digits"
    radii: tuple[str, ...] = ("0.5", "1", "1.5")
    linf_radii: tuple[str, ...] = ("0.1", "0.2", "0.3")
    half_radii: tuple[str, ...] = ("1", "1.5")
    sizes: tuple[int, ...] = (50, 150, 400, 0)
    seeds: int = 3
    recipe: Recipe = DIGITS
    steps: int = 600
    attack_steps: int = 7
    far: str = "3"
    test: int = 0
    attacked: int = 300
    originals: int = 100
    denoiser: str = ""
    pair: tuple[str, ...] = ()
    linear_radii: tuple[str, ...] = ("0", "0.1", "0.2", "0.3")
    linear_radius: str = "0.2"
    feature_images: int = 0
    feature_changes: str = "0.75"
    feature_radius: str = "0.25"
    seed: int = 0
    device: str = "auto"

    def arms(self) -> list[Arm]:
        """All ways of training but the standard one.

        Raises:
            EquipoiseError: for radii that do not rise from above 0.
        """
        found = []
        for name, objective, norm, radii in (
            ("radii", "pgd", "l2", self.radii),
            ("linf_radii", "pgd", "linf", self.linf_radii),
            ("half_radii", "half-and-half", "l2", self.half_radii),
        ):
            threats = [parse_threat(f"{norm}:{radius}") for radius in radii]
            sizes = [0.0, *(threat.radius for threat in threats)]
            if not all(a < b for a, b in pairwise(sizes)) or (name == "radii" and not radii):
                raise EquipoiseError(
                    f"The study needs {name} that rise from above 0, not {' '.join(radii) or 'none'}."
                )
            found += [Arm(objective, threat) for threat in threats]
        return found

    def linear(self) -> list[float]:
        """Radii of the linear experiment's training.

        Raises:
            EquipoiseError: for radii that do not rise from 0, or an attack at none of them.
        """
        radii = [parse_threat(f"linf:{radius}").radius for radius in self.linear_radii]
        if len(radii) < 2 or radii[0] != 0 or not all(a < b for a, b in pairwise(radii)):
            raise EquipoiseError(
                f"The study needs linear_radii that rise from 0, not {' '.join(self.linear_radii) or 'none'}."
            )
        if parse_threat(f"linf:{self.linear_radius}").radius not in radii[1:]:
            raise EquipoiseError(
                f"The study needs a linear_radius that is one of the linear_radii above 0, not {self.linear_radius}."
            )
        return radii

    def two(self, classes: Sequence[str]) -> tuple[str, str]:
        """The classes of the linear experiment.

        Raises:
            EquipoiseError: for classes that there are not, or not two of them.
        """
        usual = ("5", "7") if {"5", "7"} <= set(classes) else classes[:2]
        names = self.pair or tuple(usual)
        if len(set(names)) != 2 or len(names) != 2 or not set(names) <= set(classes):
            raise EquipoiseError(
                f"The study needs two different classes for its linear experiment, not {' and '.join(names)}: the "
                f"images have {', '.join(classes[:20])}."
            )
        return names[0], names[1]

    def check(self, train: Images, test: Images) -> tuple[tuple[int, ...], Denoiser | None]:
        """Refuses what would fail only after hours of training.

        Returns:
            the sizes in images, and the denoiser that was asked for.

        Raises:
            EquipoiseError: for any setting that the study cannot use.
        """
        choose_device(self.device)
        arms, pair = self.arms(), self.two(train.classes)
        self.linear()
        pixels = math.prod(train.shape)
        reach = max(
            arm.threat.radius * (pixels**0.5 if isinstance(arm.threat, Linf) else 1)
            for arm in arms
        )
        far = parse_threat(f"l2:{self.far}").radius
        if far <= reach:
            raise EquipoiseError(
                f"The study needs far examples beyond every change of training, which reaches {reach:.3g} in L2: give "
                f"more than far={self.far}."
            )
        for radius in (self.feature_changes, self.feature_radius):
            parse_threat(f"l2:{radius}")
        sizes = tuple(size or len(train) for size in self.sizes)
        rising = all(a < b for a, b in pairwise(sizes))
        if len(sizes) < 2 or not rising or not 10 <= sizes[0] <= sizes[-1] <= len(train):
            raise EquipoiseError(
                f"The study needs at least two sizes that rise, from 10 to the {len(train)} training images of "
                f"{train.spec!r} (or 0 for all), not {' '.join(map(str, self.sizes))}."
            )
        for name, least in (
            ("seeds", 2),
            ("steps", 1),
            ("attack_steps", 1),
            ("originals", 0),
            ("attacked", 0),
        ):
            if getattr(self, name) < least:
                raise EquipoiseError(
                    f"The study needs {name} of at least {least}, not {getattr(self, name)}."
                )
        wanted = {train.classes.index(name) for name in pair}
        labels = [example.label for example in test]
        if min(labels.count(label) for label in wanted) < FEWEST:
            raise EquipoiseError(
                f"The study needs {FEWEST} test images of each class of its linear experiment ({' and '.join(pair)}): "
                f"take more test images than {len(test)}, or another pair."
            )
        return sizes, load_denoiser(self.denoiser) if self.denoiser else None


def odds(out: Path = Path("runs/odds"), settings: OddsSettings | None = None) -> tuple[Run, Path]:
    """Runs the study into `out`, or what of it is missing.

    Returns:
        the run with its claims and exhibits, and the page ``out/report.html``.
    """
    asked = settings or OddsSettings()
    train = load_images(asked.data, "train")
    test = load_images(asked.data, "test").subset(asked.test or None, asked.seed)
    sizes, denoiser = asked.check(train, test)
    arms = asked.arms()
    pure = [arm for arm in arms if arm.objective == "pgd"]
    strongest = [arm for arm in pure if not isinstance(arm.threat, Linf)][-1]
    linear = attack_two_classes(
        train,
        test,
        asked.two(train.classes),
        asked.linear(),
        parse_threat(f"linf:{asked.linear_radius}").radius,
        seed=asked.seed,
    )
    model = fit_rules(asked.seed)
    trained = train_sizes(
        asked.data,
        test,
        out / "sizes",
        arms=arms,
        sizes=sizes,
        seeds=tuple(range(asked.seed, asked.seed + asked.seeds)),
        recipe=asked.recipe,
        steps=asked.steps,
        attack_steps=asked.attack_steps,
        device=asked.device,
    )
    judges = _judges(train, pure[0].threat, asked, sizes[-1], out / "judges")
    fewer = test.subset(asked.attacked or None, asked.seed)
    folder = _counterfactuals(train, fewer, asked, denoiser, out) if asked.originals else ""
    far = parse_threat(f"l2:{asked.far}")
    gradients, use = Gradients(folder), FeatureUse(asked.data)
    examples = [LargeEps(far, judge=f"local:{judge}") for judge in judges]
    attacks = [Adversarial(threat) for threat in _mildest(pure)]
    run = audit(
        [trained.largest(arm, asked.seed) for arm in (STANDARD, *arms)],
        fewer,
        ["standard", *attacks, gradients, *examples, use],
        out / "audit",
        seed=asked.seed,
        device=asked.device,
    )
    over_seeds = audit(
        _renamed(trained, (STANDARD, *pure)),
        fewer,
        [gradients, examples[0], use],
        out / "seeds",
        seed=asked.seed,
        pictures=0,
        device=asked.device,
    )
    some = train.subset(asked.feature_images or None, asked.seed)
    features = learn_from_features(
        some,
        fewer,
        standard=trained.largest(STANDARD, asked.seed),
        robust=trained.largest(strongest, asked.seed),
        judge=f"local:{judges[-1]}",
        changes=parse_threat(f"l2:{asked.feature_changes}"),
        threat=parse_threat(f"l2:{asked.feature_radius}"),
        recipe=replace(
            fixed(asked.recipe, len(some), asked.steps, LEARNER_SEED + asked.seed), limit=0
        ),
        out=out / "features",
        seed=asked.seed,
        device=asked.device,
    )
    evidence = Evidence(
        run=over_seeds,
        arms=pure,
        seeds=trained.seeds,
        gradients=str(gradients),
        far=str(examples[0]),
        use=str(use),
        judge="whose nearest training image is of that class",
    )
    exhibits = (linear.exhibits(), features.exhibits(), model.exhibits())
    write_exhibits(
        run.folder,
        "odds",
        {"sizes": trained.rows()} | {k: v for e in exhibits for k, v in e.items()},
    )
    labels = [example.label for example in fewer]
    claims = [
        *weigh_training(model, trained, linear),
        *weigh_features(evidence),
        *weigh_learnt(features, labels),
    ]
    write_claims(run.folder, "odds", claims)
    page = out / "report.html"
    report(run, page)
    return run, page


def _mildest(arms: Sequence[Arm]) -> list[Threat]:
    """The smallest radius of each norm."""
    found: dict[str, Threat] = {}
    for arm in arms:
        found.setdefault(str(arm.threat.norm), arm.threat)
    return list(found.values())


def _renamed(trained: SampleSizes, arms: Sequence[Arm]) -> list[Classifier]:
    """The classifiers of the largest size with every seed."""
    found = []
    for arm in arms:
        for seed in trained.seeds:
            classifier = trained.largest(arm, seed)
            classifier.name = f"{arm.name}, seed {seed}"
            found.append(classifier)
    return found


def _judges(
    train: Images, threat: Threat, asked: OddsSettings, size: int, out: Path
) -> list[Path]:
    """Folders of classifiers that judge and do nothing else: one that is no network, and a standard and a robust
    network from another seed."""
    folders = [out / "nearest-image", out / "standard-judge", out / "robust-judge"]
    remember(train, folders[0], seed=asked.seed)
    objectives: list[Objective] = [Standard(), PGD(threat=threat, steps=asked.attack_steps)]
    recipe = fixed(asked.recipe, size, asked.steps, JUDGE_SEED + asked.seed)
    for objective, folder in zip(objectives, folders[1:], strict=True):
        fit(train, objective, recipe, folder, accelerator=choose_device(asked.device).type)
    return folders


def _counterfactuals(
    train: Images, test: Images, asked: OddsSettings, given: Denoiser | None, out: Path
) -> str:
    """The folder of counterfactuals of some test images, one for each other class."""
    accelerator = choose_device(asked.device).type
    denoiser = given or fit_denoiser(
        train, suited_recipe(train.shape), out / "denoiser", accelerator=accelerator
    )
    made = make_set(
        test.subset(asked.originals, asked.seed),
        Sampler(denoiser, parse_neighbourhood(WIDTH, denoiser.scale), guidance=GUIDANCE),
        out / "counterfactuals",
        per_class=1,
        seed=asked.seed,
        device=asked.device,
    )
    return str(made.folder)
