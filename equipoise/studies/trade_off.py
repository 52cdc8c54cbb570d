"""The whole trade-off of one ladder on test images that it has not met: what the study of accuracy against robustness
asks of its ladder (`odds`), and whether the blindness that the study of counterfactuals finds on training images is
there, too.
"""

from collections.abc import Sequence
from pathlib import Path

from equipoise.audit import audit
from equipoise.classifiers import Classifier, load_classifier, save_classifier
from equipoise.images import Images
from equipoise.norms import Threat
from equipoise.probes import Counterfactual, FeatureUse, Gradients, LargeEps
from equipoise.studies.counterfactual_evidence import Ladder
from equipoise.studies.counterfactual_sets import Making
from equipoise.studies.ladder_claims import Measured

__all__ = ["measure_trade_off"]


def measure_trade_off(
    rungs: Sequence[Classifier],
    threats: Sequence[Threat],
    test: Images,
    making: Making,
    out: Path,
) -> Measured:
    """Audits a sample of the test images into ``out/trade-off``, and all of them, as they are, into ``out/test``.

    Arguments:
        rungs: the ladder, the standard one first.
        threats: that they were trained for.
        test: all test images.
        making: of the counterfactuals of some of the sample; its first oracle judges far adversarial examples.
        out: folder of the study.
    """
    asked = making.asked
    few = test.subset(asked.attacked, asked.seed)
    attacks = asked.attacks()
    far = LargeEps(asked.beyond(test.shape), judge=f"local:{_judge(making.oracles[0], out)}")
    probes, folder = {}, ""
    if asked.test_originals:
        some = few.subset(asked.test_originals, asked.seed)
        made = making.arm("test", some, f"gaussian:{asked.width}")
        folder = str(made.folder)
        probes["exact"] = str(Counterfactual(folder))
    gradients, use = Gradients(folder), FeatureUse(asked.data)
    run = audit(
        rungs,
        few,
        ["standard", *attacks, gradients, far, use, *probes.values()],
        out / "trade-off",
        seed=asked.seed,
        device=asked.device,
    )
    every = audit(
        rungs,
        test,
        ["standard"],
        out / "test",
        seed=asked.seed,
        pictures=0,
        device=asked.device,
    )
    return Measured(
        ladder=Ladder(run, [rung.name for rung in rungs], threats, probes),
        all=every,
        attacks=attacks,
        gradients=str(gradients),
        far=far,
        use=str(use),
    )


def _judge(oracle: Classifier, out: Path) -> Path:
    """A folder of that name with the oracle: pages call judges by it."""
    folder = out / "judge" / oracle.name
    there = (folder / "classifier.json").is_file()
    if not there or load_classifier(f"local:{folder}").fingerprint() != oracle.fingerprint():
        save_classifier(oracle, folder)
    return folder
