"""The embedded default: what `equipoise audit` does when it is told nothing.

A ladder of small networks is trained on the real handwritten digits that scikit-learn carries, once for each L2 radius;
every rung is audited on the held-out digits; a page shows what each step of robustness cost. It needs no network and no
files, and takes about a minute on two cores.
"""

from pathlib import Path

from equipoise.audit import Run, audit
from equipoise.images import load_images
from equipoise.norms import L2
from equipoise.report import report
from equipoise.training import Recipe, train_ladder

__all__ = ["embedded"]

RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
RECIPE = Recipe(net="mlp", epochs=100, rate=4e-3)
PROBES = ("standard", "adversarial:l2:1", "adversarial:linf:0.15")


def embedded(out: Path = Path("runs/digits")) -> tuple[Run, Path]:
    """Trains the ladder into ``out/ladder``, audits it into ``out/audit`` and writes ``out/report.html``.

    Returns:
        the run and the page.
    """
    threats = [L2(radius) for radius in RADII]
    rungs = train_ladder(
        load_images("digits", "train"), threats, RECIPE, out / "ladder", accelerator="cpu"
    )
    run = audit(rungs, "digits", PROBES, out / "audit", device="cpu")
    page = out / "report.html"
    report(run, page)
    return run, page
