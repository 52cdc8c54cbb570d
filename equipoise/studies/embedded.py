"""The embedded default: what `equipoise audit` does when it is told nothing.

A ladder of small networks is trained on the real handwritten digits that scikit-learn carries, once for each L2 radius,
and a denoiser beside it, which draws counterfactuals of some of the held-out digits. Every rung is audited on all of
them, and a page shows what each step of robustness cost. It needs no network and no files, and takes a few minutes on
two cores.
"""

from dataclasses import replace
from pathlib import Path

from equipoise.audit import Run, audit
from equipoise.counterfactuals import (
    DiffusionClassifier,
    Sampler,
    make_set,
    measure_quality,
    parse_neighbourhood,
)
from equipoise.images import load_images
from equipoise.norms import L2
from equipoise.probes import Counterfactual, FeatureUse, Gradients, LargeEps
from equipoise.report import report
from equipoise.studies.counterfactual_sets import train_oracles
from equipoise.studies.counterfactual_settings import Settings
from equipoise.training import Recipe, fit_denoiser, remember, suited_recipe, train_ladder

__all__ = ["embedded"]

RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
RECIPE = Recipe(net="mlp", epochs=100, rate=4e-3)
ORACLE = replace(RECIPE, epochs=30)
PROBES = (
    "standard",
    "adversarial:l2:1",
    "adversarial:linf:0.15",
    "transfer:l2:1",
    "transfer:linf:0.15",
)
FAR = L2(2.0)
"""Of adversarial examples beyond every radius of training."""

ORIGINALS = 150
"""Test digits that get counterfactuals, a random sample."""


def embedded(out: Path = Path("runs/digits")) -> tuple[Run, Path]:
    """Trains the ladder into ``out/ladder`` and the denoiser into ``out/denoiser``, makes counterfactuals in
    ``out/counterfactuals``, audits into ``out/audit`` and writes ``out/report.html``.

    Returns:
        the run and the page.
    """
    train, test = load_images("digits", "train"), load_images("digits", "test")
    threats = [L2(radius) for radius in RADII]
    rungs = train_ladder(train, threats, RECIPE, out / "ladder", accelerator="cpu")
    denoiser = fit_denoiser(train, suited_recipe(train.shape), out / "denoiser", accelerator="cpu")
    settings = Settings()
    neighbourhood = parse_neighbourhood(f"gaussian:{settings.width}", denoiser.scale)
    originals = test.subset(ORIGINALS)
    made = make_set(
        originals,
        Sampler(denoiser, neighbourhood, guidance=settings.guidance),
        out / "counterfactuals",
        oracles=train_oracles(train, ORACLE, out / "oracles", "cpu"),
        device="cpu",
    )
    measure_quality(made, originals, train, classify=DiffusionClassifier(denoiser))
    judge = out / "nearest-image"
    remember(train, judge)
    probes = (
        *PROBES,
        Gradients(str(made.folder)),
        LargeEps(FAR, judge=f"local:{judge}"),
        FeatureUse("digits"),
        Counterfactual(str(made.folder)),
    )
    run = audit(rungs, test, probes, out / "audit", device="cpu")
    page = out / "report.html"
    report(run, page)
    return run, page
