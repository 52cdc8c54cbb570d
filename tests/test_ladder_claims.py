"""Claims of a ladder with several norms, of other settings, and on test images, against made-up columns."""

from dataclasses import replace

import numpy as np
import pytest

from equipoise.audit import Estimate, judge
from equipoise.audit.association import spearman
from equipoise.norms import L2, Linf, Norm
from equipoise.probes import Adversarial, LargeEps
from equipoise.studies.blindness_claims import trend
from equipoise.studies.counterfactual_evidence import Ladder
from equipoise.studies.ladder_claims import Measured, about_training, weigh_ladder
from equipoise.studies.other_settings import Setting, setting_rows
from equipoise.studies.proximity_claims import predicts_errors
from equipoise.studies.setting_claims import weigh_settings

N = 60
RUNGS = ["l2-0", "l2-0.5", "l2-2", "linf-4_255", "linf-8_255"]
THREATS = [L2(0), L2(0.5), L2(2), Linf(4 / 255), Linf(8 / 255)]


@pytest.fixture(autouse=True, scope="module")
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equipoise.audit.association.RESAMPLES", 200)
        yield


class Table:
    """Columns by probe and classifier, which is all that claims ask of a run."""

    def __init__(self, found):
        self.found = found

    def columns(self, probe, classifier):
        return self.found[probe, classifier]


def ladder(of, right=None):
    """A ladder whose counterfactual probe answers `of(rung number)` and whose standard probe `right(rung number)`."""
    found = {("ces", rung): of(k) for k, rung in enumerate(RUNGS)}
    if right is not None:
        found |= {("standard", rung): {"correct": right(k)} for k, rung in enumerate(RUNGS)}
    return Ladder(Table(found), RUNGS, THREATS, {"exact": "ces"})


def test_trends_stay_within_a_norm_and_the_top_is_of_the_main_one():
    rng = np.random.default_rng(0)
    own = rng.uniform(0, 0.02, N)
    falls = {0: 0.0, 1: 0.1, 2: 0.4, 3: 0.12, 4: 0.24}
    made = ladder(lambda k: {"accuracy": 0.9 - falls[k] + own})
    assert made.top == "l2-2" and made.first == "l2-0"
    first, second = trend(made, Norm.L2), trend(made, Norm.LINF)
    assert first.value == pytest.approx(0.2)
    assert second.value == pytest.approx(0.03)
    assert "per unit of l2" in first.statistic and "per 1/255 of linf" in second.statistic
    assert {first.verdict, second.verdict} == {"holds"}


def test_errors_are_predicted_by_distances_in_the_norm_of_training():
    rng = np.random.default_rng(1)
    far, flat = rng.uniform(1, 3, N), rng.uniform(0.01, 0.05, N)
    wrong = flat <= 8 / 255
    columns = {"proximity_min": far, "proximity_min_linf": flat}
    made = ladder(lambda k: columns, lambda k: ~wrong)
    linf = predicts_errors(made, "linf-8_255", THREATS[4])
    assert (linf.value, linf.verdict) == (1.0, "holds")
    near = far <= 2
    l2 = predicts_errors(made, "l2-2", THREATS[2])
    assert l2.value == pytest.approx(wrong[near].mean() - wrong[~near].mean())


def setting(width, guidance, *, blind, along):
    """A standard rung that reads all, and one that reads `blind` fewer, whose confidence goes `along` with distance."""
    rng = np.random.default_rng(int(10 * guidance))
    d = rng.uniform(1, 2, N)
    common = {
        "proximity": d,
        "accepted": np.full(N, 8.0),
        "counterfactuals": np.full(N, 10.0),
        "same_accuracy": np.ones(N),
        "noise_accuracy": np.full(N, 0.75),
    }
    standard = common | {"accuracy": np.ones(N), "confidence": rng.uniform(0, 1, N)}
    robust = common | {
        "accuracy": 1 - blind + rng.uniform(-0.01, 0.01, N),
        "confidence": along * d,
    }
    return Setting(width, 0.5, guidance, {"l2-0": standard, "l2-1": robust})


def test_what_holds_at_every_setting_holds_where_it_is_least():
    settings = [
        setting("18%", 2.0, blind=0.3, along=1),
        setting("18%", 1.0, blind=0.1, along=1),
        setting("25%", 2.0, blind=0.2, along=1),
    ]
    reads, along = weigh_settings(settings)
    assert (reads.id, reads.classifier, reads.verdict) == ("S1", "l2-1", "holds")
    gaps = [one.gaps["l2-1"] for one in settings]
    assert reads.value == min(gap.value for gap in gaps) == pytest.approx(0.1, abs=0.01)
    assert (reads.low, reads.high) == (min(g.low for g in gaps), min(g.high for g in gaps))
    assert (along.id, along.value, along.verdict) == ("S2", pytest.approx(1), "holds")
    assert all(
        f"width {one.width}, guidance {one.guidance:g}" in along.control for one in settings
    )
    # One setting at which it is not so decides.
    against = setting("18%", 3.0, blind=-0.2, along=-1)
    assert {claim.verdict for claim in weigh_settings([*settings, against])} == {"fails"}
    # One at which nothing is known leaves the others' undecided.
    columns = against.answers["l2-1"] | {"confidence": np.ones(N)}
    unknown = replace(settings[0], answers={**settings[0].answers, "l2-1": columns})
    assert np.isnan(weigh_settings([*settings, unknown])[1].value)
    assert weigh_settings([]) == []


def test_rows_of_settings_are_their_answers():
    one = setting("18%", 2.0, blind=0.3, along=-1)
    first, second = setting_rows([one])
    assert (first["classifier"], first["gap"]) == ("l2-0", None)
    assert first["accepted"] == pytest.approx(0.8) and first["images"] == N
    assert second["accuracy"] == pytest.approx(one.answers["l2-1"]["accuracy"].mean())
    assert second["gap"] == pytest.approx(1 - second["accuracy"])
    assert second["noise"] == pytest.approx(0.75)
    d, p = (one.answers["l2-1"][name] for name in ("proximity", "confidence"))
    found = spearman(d, p)
    assert (second["correlation"], second["correlation_low"]) == (found.value, found.low)


@pytest.fixture(scope="module")
def measured():
    """The larger the number of a rung, the fewer images it gets right, and the more withstand."""
    rng = np.random.default_rng(2)
    order, d = rng.permutation(N), rng.uniform(1, 2, N)
    attack, far = Adversarial(L2(0.5)), LargeEps(L2(4), judge="local:judge")
    found = {}
    for k, rung in enumerate(RUNGS):
        found["standard", rung] = {"correct": order >= 4 * k}
        found[str(attack), rung] = {"success": order >= 8 * k}
        found["ces", rung] = {
            "proximity": d,
            "accepted_proximity": d,
            "same_distance": rng.uniform(1, 2, N),
            "confidence": d**2,
            "accuracy": np.full(N, 0.9 - 0.1 * k),
            **dict.fromkeys(
                ("accepted_accuracy", "noise_accuracy", "same_accuracy"), np.full(N, 0.9)
            ),
        }
        found["gradients:ces", rung] = {
            "alignment": 0.1 * k + rng.uniform(0, 0.01, N),
            "noise_alignment": np.zeros(N),
            "sparsity": np.full(N, 0.5 + 0.05 * k),
        }
        steps = np.r_[np.zeros(20 - 4 * k), np.linspace(1, 0, 4 * k + 1)[::-1]]
        found[str(far), rung] = {
            "moved": order < 50,
            "agrees": [bool(n % 5) if n < 50 else None for n in order],
            "noise_agrees": [not n % 5 if n < 50 else None for n in order],
            "confidence": np.ones(N),
            "own_path": [steps.tolist()] * N,
        }
        found["feature_use:x", rung] = {"rank_correlation": np.full(N, 0.1 * k)}
    found = {
        key: {name: np.array(values) for name, values in columns.items()}
        for key, columns in found.items()
    }
    return Measured(
        ladder=Ladder(Table(found), RUNGS, THREATS, {"exact": "ces"}),
        all=Table(found),
        attacks=[attack],
        gradients="gradients:ces",
        far=far,
        use="feature_use:x",
    )


def test_the_ladder_is_weighed_on_test_images(measured):
    by = {}
    for claim in weigh_ladder(measured):
        by.setdefault(claim.id, {})[claim.classifier] = claim
    assert list(by) == ["A1", "A2", "A3", "B1", "B2", "G1", "G2", "E1", "E2", "E3", "U1"]
    for found in by.values():
        assert list(found) == RUNGS[1:]
    assert [c.value for c in by["A1"].values()] == pytest.approx([4 * k / N for k in (1, 2, 3, 4)])
    assert [c.value for c in by["A2"].values()] == pytest.approx([8 * k / N for k in (1, 2, 3, 4)])
    # The first step of either norm is from standard training.
    assert [c.value for c in by["A3"].values()] == pytest.approx([4 * k / N for k in (1, 1, 3, 1)])
    assert [c.value for c in by["B1"].values()] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert by["B2"]["l2-2"].value == pytest.approx(1)
    assert by["B2"]["l2-2"].text.startswith("On test images, too: images that lie farther")
    alike = [measured.ladder.run.columns("gradients:ces", RUNGS[k])["alignment"] for k in (0, 3)]
    assert by["G1"]["linf-4_255"].value == pytest.approx((alike[1] - alike[0]).mean())
    assert by["G2"]["l2-0.5"].value == pytest.approx(0.05)
    assert by["E1"]["l2-2"].value == 0
    assert by["E3"]["l2-2"].value == pytest.approx(0.8 - 0.2)
    assert by["E3"]["l2-2"].n == 50
    assert by["U1"]["linf-8_255"].value == pytest.approx(0.4)
    # The standard one leaps at once; the last one takes sixteen steps.
    assert by["E2"]["linf-8_255"].value == pytest.approx(1 - 1 / 16, abs=1e-6)
    assert all("one training each" in by[name]["l2-2"].statistic for name in by if name[0] != "B")


def test_without_counterfactuals_of_test_images_nothing_is_said_of_them(measured):
    claims = weigh_ladder(replace(measured, ladder=replace(measured.ladder, probes={})))
    assert not {claim.id for claim in claims} & {"B1", "B2"}


def test_claims_about_training_images_say_so():
    found = Estimate(1.0, 0.5, 1.5, 20, "bootstrap")
    for text, said in (
        ("A robust one.", "On training images: a robust one."),
        ("H1 survives.", "On training images: H1 survives."),
        ("Training images lie.", "Training images lie."),
    ):
        assert about_training(judge("X", text, "a number", found)).text == said
