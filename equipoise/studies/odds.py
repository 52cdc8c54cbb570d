"""The study of arXiv 1805.12152: is robustness at odds with accuracy?

    theory          the paper's model in closed form, and rules fitted to samples of it
    sizes           standard accuracy against the number of training images, for radii of L2 and Linf training, also
                    where half of each batch is natural (`sample_sizes`)
    two classes     a linear classifier of two classes, attacked exactly (`two_classes`)
    ladder          the classifiers of the largest size: trade-off, input gradients, adversarial examples far beyond the
                    radius of training read by independent judges, and the inputs they use
    feature sets    training sets made of what a standard or a robust classifier sees, and what is learnt from them

Every claim of the paper is tested on what was measured (`odds_claims`). The paper's images, networks and numbers are
not what is used here: this is a conceptual replication, and radii, sizes and recipes are our choice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from equipoise.audit import Run, audit, write_claims, write_exhibits
from equipoise.counterfactuals import Sampler, make_set, parse_neighbourhood
from equipoise.diffusion import load_denoiser
from equipoise.errors import EquipoiseError
from equipoise.images import Images, load_images
from equipoise.norms import Threat, parse_threat
from equipoise.probes import Adversarial, FeatureUse, Gradients, LargeEps
from equipoise.report import report
from equipoise.studies.learnt_features import learn_from_features
from equipoise.studies.model import fit_rules
from equipoise.studies.odds_claims import Evidence, weigh
from equipoise.studies.sample_sizes import Arm, train_sizes
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

DIGITS = Recipe(net="mlp", rate=4e-3)
"""The recipe of the embedded digits' classifiers."""

JUDGE_SEED = 101
"""Of the judges, who learn from the same images as the classifiers they judge."""

WIDTH, GUIDANCE = "gaussian:18%", 2.0
"""Of the counterfactuals, as in their own study."""


@dataclass(frozen=True, kw_only=True)
class OddsSettings:
    """What the study is made with; the defaults are for the embedded digits on two CPU cores.

    Arguments:
        data: spec of the images; the split "train" is used for training, "test" for everything else.
        radii: of L2 training, rising, in units of images in [0, 1].
        linf_radii: of Linf training.
        half_radii: of L2 training where half of each batch is natural.
        sizes: numbers of training images, rising; 0 stands for all, and may only be the last.
        seeds: how many trainings of each kind.
        recipe: of every classifier; its epochs, limit, seed and judgements are the study's.
        steps: of the optimiser in every training.
        attack_steps: of projected gradient descent in each of them.
        far: L2 radius of the adversarial examples far beyond training.
        test: at most so many test images, a random sample; all when 0.
        originals: how many test images get counterfactuals, which gradients are compared with; none when 0.
        denoiser: spec of a denoiser to draw them with; one is trained when empty.
        pair: names of the two classes of the linear experiment; 5 and 7, or the first two, when empty.
        linear_radii: Linf radii it is trained for, the first one 0.
        linear_radius: Linf radius it is attacked with.
        feature_images: how many training images the feature sets are made of, a random sample; all when 0.
        feature_changes: L2 radius within which images are changed into other classes for the feature sets.
        feature_radius: L2 radius of the attack on what was learnt from these sets.
        seed: of everything random beside the trainings.
        device: "auto", "cpu", "cuda" or "cuda:1".
    """

    data: str = "digits"
    radii: tuple[str, ...] = ("0.5", "1", "1.5")
    linf_radii: tuple[str, ...] = ("0.1", "0.2", "0.3")
    half_radii: tuple[str, ...] = ("1", "1.5")
    sizes: tuple[int, ...] = (50, 100, 200, 500, 0)
    seeds: int = 5
    recipe: Recipe = DIGITS
    steps: int = 300
    attack_steps: int = 7
    far: str = "2"
    test: int = 0
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

    def check(self, train: Images) -> tuple[int, ...]:
        """Refuses what would fail only after hours of training; returns the sizes in images.

        Raises:
            EquipoiseError: for radii or sizes that do not rise, more images than there are, too few seeds, an unknown
                class.
        """
        for name, norm, radii in (
            ("radii", "l2", self.radii),
            ("linf_radii", "linf", self.linf_radii),
            ("half_radii", "l2", self.half_radii),
        ):
            found = [0.0, *(parse_threat(f"{norm}:{radius}").radius for radius in radii)]
            if not all(a < b for a, b in pairwise(found)) or (name == "radii" and not radii):
                raise EquipoiseError(
                    f"The study needs {name} that rise from above 0, not {' '.join(radii) or 'none'}."
                )
        sizes = tuple(size or len(train) for size in self.sizes)
        rising = all(a < b for a, b in pairwise(sizes))
        if len(sizes) < 2 or not rising or not 10 <= sizes[0] <= sizes[-1] <= len(train):
            raise EquipoiseError(
                f"The study needs at least two sizes that rise, from 10 to the {len(train)} training images of "
                f"{train.spec!r} (or 0 for all), not {' '.join(map(str, self.sizes))}."
            )
        if self.seeds < 2:
            raise EquipoiseError(
                f"The study needs at least 2 seeds for an interval, not {self.seeds}."
            )
        unknown = [name for name in self.pair if name not in train.classes]
        if unknown or len(set(self.pair)) not in (0, 2):
            raise EquipoiseError(
                f"The study needs two different classes for its linear experiment, not {' and '.join(self.pair)}: the "
                f"images have {', '.join(train.classes[:20])}."
            )
        return sizes

    def two(self, classes: Sequence[str]) -> tuple[str, str]:
        """The classes of the linear experiment."""
        usual = ("5", "7") if {"5", "7"} <= set(classes) else classes
        first, second = self.pair or usual[:2]
        return first, second


def odds(out: Path = Path("runs/odds"), settings: OddsSettings | None = None) -> tuple[Run, Path]:
    """Runs the study into `out`, or what of it is missing.

    Returns:
        the run with its claims and exhibits, and the page ``out/report.html``.
    """
    asked = settings or OddsSettings()
    train, test = load_images(asked.data, "train"), load_images(asked.data, "test")
    sizes = asked.check(train)
    if asked.test:
        test = test.subset(asked.test, asked.seed)
    seeds = tuple(range(asked.seed, asked.seed + asked.seeds))
    pgd = [Arm("pgd", parse_threat(f"l2:{radius}")) for radius in asked.radii]
    linf = [Arm("pgd", parse_threat(f"linf:{radius}")) for radius in asked.linf_radii]
    half = [Arm("half-and-half", parse_threat(f"l2:{radius}")) for radius in asked.half_radii]
    model = fit_rules(asked.seed)
    trained, largest = train_sizes(
        train,
        test,
        out / "sizes",
        arms=[*pgd, *linf, *half],
        sizes=sizes,
        seeds=seeds,
        recipe=asked.recipe,
        steps=asked.steps,
        attack_steps=asked.attack_steps,
        device=asked.device,
    )
    linear = attack_two_classes(
        train,
        test,
        asked.two(train.classes),
        [parse_threat(f"linf:{radius}").radius for radius in asked.linear_radii],
        parse_threat(f"linf:{asked.linear_radius}").radius,
        seed=asked.seed,
    )
    robust = [arm.name for arm in (*pgd, *linf)]
    nearest, far = pgd[0].threat, parse_threat(f"l2:{asked.far}")
    full = replace(asked.recipe, epochs=_epochs(asked, sizes[-1]), limit=sizes[-1], judgements=1)
    judges = _judges(train, nearest, asked, full, out / "judges")
    gradients = Gradients(_counterfactuals(train, test, asked, out) if asked.originals else "")
    examples = {name: LargeEps(far, judge=f"local:{folder}") for name, folder in judges.items()}
    use = FeatureUse(asked.data)
    run = audit(
        [largest[name] for name in ("l2-0", *robust)],
        test,
        ["standard", Adversarial(nearest), gradients, *examples.values(), use],
        out / "audit",
        seed=asked.seed,
        device=asked.device,
    )
    some = train.subset(asked.feature_images or None, asked.seed)
    features = learn_from_features(
        some,
        test,
        standard=largest["l2-0"],
        robust=largest[pgd[-1].name],
        changes=parse_threat(f"l2:{asked.feature_changes}"),
        threat=parse_threat(f"l2:{asked.feature_radius}"),
        recipe=replace(full, seed=asked.seed, limit=0, epochs=_epochs(asked, len(some))),
        out=out / "features",
        seed=asked.seed,
        device=asked.device,
    )
    evidence = Evidence(
        run=run,
        standard="l2-0",
        robust=robust,
        gradients=str(gradients),
        far={name: str(probe) for name, probe in examples.items()},
        use=str(use),
        sizes=trained,
        linear=linear,
        features=features,
        model=model,
    )
    exhibits = {
        "sizes": trained.rows(),
        **linear.exhibits(),
        **features.exhibits(),
        **model.exhibits(),
    }
    write_exhibits(run.folder, "odds", exhibits)
    write_claims(run.folder, "odds", weigh(evidence))
    page = out / "report.html"
    report(run, page)
    return run, page


def _epochs(asked: OddsSettings, images: int) -> int:
    """So many passes over the images that are fitted that the optimiser makes about the steps asked for."""
    fitted = images - math.ceil(asked.recipe.held_out * images)
    return math.ceil(asked.steps / math.ceil(fitted / asked.recipe.batch))


def _judges(
    train: Images, threat: Threat, asked: OddsSettings, recipe: Recipe, out: Path
) -> dict[str, Path]:
    """Folders of classifiers that judge and do nothing else: a standard and a robust one from another seed, and one
    that is no network."""
    objectives: dict[str, Objective] = {
        "standard": Standard(),
        "robust": PGD(threat=threat, steps=asked.attack_steps),
    }
    folders = {"nearest": out / "nearest-image"}
    remember(train, folders["nearest"], seed=asked.seed)
    for name, objective in objectives.items():
        folders[name] = out / f"{name}-judge"
        other = replace(recipe, seed=JUDGE_SEED + asked.seed)
        fit(train, objective, other, folders[name], accelerator=asked.device.partition(":")[0])
    return folders


def _counterfactuals(train: Images, test: Images, asked: OddsSettings, out: Path) -> str:
    """The folder of counterfactuals of some test images, one for each other class."""
    accelerator = asked.device.partition(":")[0]
    denoiser = (
        load_denoiser(asked.denoiser)
        if asked.denoiser
        else fit_denoiser(
            train, suited_recipe(train.shape), out / "denoiser", accelerator=accelerator
        )
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
