"""The study of arXiv 2404.10588: do counterfactual examples complicate adversarial training?

One ladder of classifiers is trained adversarially with growing radii, a denoiser and three oracles beside it, all on
the same training images. Counterfactuals of a random sample of those images are made in three arms,

    exact       Gaussian neighbourhood, the merged observation
    laplace     Laplace neighbourhood of the same width, by the quick method, which knows the modes but not their
                weights: the default takes twenty times as long
    published   Gaussian neighbourhood, sum of scores, Heun with 50 steps and no churn, as in the first author's code

each with same-class counterfactuals and noise as controls; and, in a fourth, of images that the most robust classifier
made itself. Every rung is asked about them, and the claims are tested (`counterfactual_claims`). Where other widths
and guidances are asked for, some of the exact ones are drawn again with each (`other_settings`); where test images are
to be attacked, the whole trade-off is measured on them (`trade_off`).

The paper's images, networks and numbers are not what is used here: this is a conceptual replication, and the widths and
guidance for each data set are our choice.
"""

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from equipoise.audit import Claim, Run, audit, write_claims, write_exhibits
from equipoise.counterfactuals import CounterfactualSet, draw_grid
from equipoise.diffusion import load_denoiser
from equipoise.files import write_atomically
from equipoise.images import Images, load_images
from equipoise.report import report
from equipoise.studies.counterfactual_claims import weigh
from equipoise.studies.counterfactual_evidence import Evidence, confounders
from equipoise.studies.counterfactual_sets import (
    Making,
    denoiser_recipe,
    fitted,
    train_oracles,
)
from equipoise.studies.counterfactual_settings import Settings
from equipoise.studies.denoiser_quality import denoiser_exhibits
from equipoise.studies.ladder_claims import about_training, weigh_ladder
from equipoise.studies.other_settings import measure_others, setting_rows
from equipoise.studies.own_images import own_images
from equipoise.studies.setting_claims import weigh_settings
from equipoise.studies.trade_off import measure_trade_off
from equipoise.training import fit_denoiser, train_ladder

__all__ = ["Settings", "counterfactual"]

PUBLISHED_STEPS = 50
OWN_RADIUS = 1.25
"""How far the most robust classifier may change an image into one that it takes for another class: a share of the L2
distance at which real images of other classes begin, on average."""

FEWEST_OWN = 20
"""Fewer images of its own than these say nothing."""

GRID = 10
"""Originals in the picture that shows them as every class."""


def counterfactual(
    out: Path = Path("runs/counterfactual"), settings: Settings | None = None
) -> tuple[Run, Path]:
    """Runs the study into `out`, or what of it is missing.

    Returns:
        the run on training images with its claims, and the page ``out/report.html``; where test images are attacked,
        the run on these with the claims of both, and the page ``out/trade-off.html``. ``out/grid.png`` shows ten
        originals as every class.
    """
    asked = settings or Settings()
    train = load_images(asked.data, "train")
    accelerator = "cpu" if asked.device == "cpu" else asked.device.partition(":")[0]
    given = load_denoiser(asked.denoiser) if asked.denoiser else None
    test = asked.check(train, given)
    threats = asked.ladder()
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
    alone = denoiser_exhibits(
        denoiser,
        oracles[0],
        train,
        out / "denoiser",
        count=asked.samples,
        seed=asked.seed,
        device=asked.device,
    )
    images = fitted(train, asked.recipe).subset(asked.originals, asked.seed)
    making = Making(asked, denoiser, oracles, train, out / "counterfactuals")
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
    attack = f"adversarial:{threats[len(asked.radii) // 2]}"
    run = audit(
        rungs, images, ["standard", attack, *probes.values()], out / "audit", **settings_of_audit
    )
    known = confounders(train, images)
    most_robust = rungs[len(asked.radii) - 1]
    own = own_images(
        most_robust,
        images,
        OWN_RADIUS * float(known.typical.mean()),
        most=asked.published_originals,
        seed=asked.seed,
        device=asked.device,
    )
    own_audit = None
    if len(own) >= FEWEST_OWN:
        made = making.arm("own", own, f"gaussian:{asked.width}")
        probe = f"counterfactual:{made.folder}"
        asked_of = [rungs[0], most_robust]
        own_run = audit(asked_of, own, ["standard", probe], out / "own-audit", **settings_of_audit)
        own_audit = (own_run, probe)
    names = [rung.name for rung in rungs]
    evidence = Evidence(run, names, threats, probes, known, own_audit)
    others = measure_others(making, rungs, images, evidence, out / "other-settings")
    claims = [*weigh(evidence), *weigh_settings(others)]
    exhibits = alone | {
        "settings": setting_rows(others),
        "grid": _grid(sets["exact"], images.subset(GRID, asked.seed), asked, out / "grid.png"),
    }
    page = _publish(run, "counterfactual", claims, exhibits, out / "report.html")
    if test is None:
        return run, page
    measured = measure_trade_off(rungs, threats, test, making, out)
    claims = [*weigh_ladder(measured), *map(about_training, claims)]
    run = measured.ladder.run
    return run, _publish(run, "trade-off", claims, exhibits, out / "trade-off.html")


def _publish(
    run: Run,
    study: str,
    claims: list[Claim],
    exhibits: dict[str, list[dict[str, Any]]],
    page: Path,
) -> Path:
    write_claims(run.folder, study, claims)
    write_exhibits(run.folder, study, exhibits)
    return report(run, page)


def _grid(
    made: CounterfactualSet, originals: Images, asked: Settings, file: Path
) -> list[dict[str, Any]]:
    """Writes the picture of some originals as every class, and gives it as an exhibit."""
    note = f"The originals are the first {len(originals)} of the random sample with seed {asked.seed}, none picked."
    picture = draw_grid(made, originals, note)
    write_atomically(file, lambda temporary: picture.save(temporary, "PNG"))
    return [{"webp": b64encode(_webp(picture)).decode(), "note": note}]


def _webp(picture: Image.Image) -> bytes:
    found = BytesIO()
    picture.save(found, "WEBP", quality=85)
    return found.getvalue()
