"""A ladder: the same network trained on the same images for one radius after another, each rung a classifier."""

from collections.abc import Callable, Sequence
from pathlib import Path

from equipoise.classifiers import Classifier
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.images import Images
from equipoise.norms import Threat
from equipoise.tracking import Logger
from equipoise.training.fitting import fit
from equipoise.training.half_and_half import HalfAndHalf
from equipoise.training.objective import Objective
from equipoise.training.pgd import PGD
from equipoise.training.random_noise import RandomNoise
from equipoise.training.recipe import Recipe
from equipoise.training.standard import Standard
from equipoise.training.trades import TRADES

__all__ = ["rung_name", "train_ladder"]

_OBJECTIVES: dict[str, Callable[[Threat, int], Objective]] = {
    "standard": lambda threat, steps: Standard(),
    "pgd": lambda threat, steps: PGD(threat=threat, steps=steps),
    "trades": lambda threat, steps: TRADES(threat=threat, steps=steps),
    "half-and-half": lambda threat, steps: HalfAndHalf(threat=threat, steps=steps),
    "random-noise": lambda threat, steps: RandomNoise(threat=threat),
}


def rung_name(threat: Threat, objective: str = "pgd") -> str:
    """The name of a rung's folder: ``l2-0.5``, ``linf-8_255``, ``trades-l2-0.5``.

    Standard and PGD training go without the objective's name, and so does radius 0, which is standard training.
    """
    rung = str(threat).replace(":", "-").replace("/", "_")
    return (
        f"{objective}-{rung}" if threat.radius and objective not in ("standard", "pgd") else rung
    )


def train_ladder(
    images: Images,
    threats: Sequence[Threat],
    recipe: Recipe,
    out: str | Path,
    *,
    objective: str = "pgd",
    steps: int = 7,
    accelerator: str = "auto",
    shown: bool = True,
    loggers: Sequence[Logger] = (),
) -> list[Classifier]:
    """Trains one classifier per threat into ``out/NAME``, the name as `rung_name` has it; finished rungs are loaded, an
    interrupted one goes on.

    Radius 0 is standard training, whatever the objective, so that the ladders of several objectives can share `out`
    and its lowest rung.

    Arguments:
        images: to train on.
        threats: one per rung.
        recipe: shared by all rungs.
        out: folder of the ladder.
        objective: of the rungs above radius 0: "pgd", "trades", "half-and-half" or "random-noise"; "standard" allows
            radius 0 alone.
        steps: of projected gradient ascent in each step of adversarial training; "random-noise" takes none.
        accelerator: "auto", "cpu" or "cuda".
        shown: whether to show progress; who trains many ladders shows its own.
        loggers: told of every rung, epoch after epoch; see `equipoise.tracking`.

    Raises:
        EquipoiseError: for an unknown objective, for standard training within a radius above 0, or when a rung's folder
            holds a classifier trained otherwise.
    """
    if objective not in _OBJECTIVES:
        raise EquipoiseError(
            f"Cannot train with the objective {objective!r}: there is none of that name. "
            f"{did_you_mean(objective, _OBJECTIVES)}"
        )
    for threat in threats:
        if objective == "standard" and threat.radius:
            raise EquipoiseError(
                f"Cannot train with the objective 'standard' within {threat}: standard training knows no radius. "
                "Ask for radius 0 alone (--radii 0), or choose the objective 'pgd'."
            )
    folder, rungs = Path(out).expanduser(), []
    for threat in dict.fromkeys(threats):
        build = _OBJECTIVES[objective if threat.radius else "standard"]
        name = rung_name(threat, objective)
        rungs.append(
            fit(
                images,
                build(threat, steps),
                recipe,
                folder / name,
                accelerator=accelerator,
                shown=shown,
                loggers=loggers,
            )
        )
    return rungs
