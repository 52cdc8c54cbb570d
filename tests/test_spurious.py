"""The study of spurious features: its statistics, its settings, its claims and its page."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

import equipoise as eq
from equipoise.audit.statistics import across_trainings
from equipoise.processes import spread
from equipoise.studies.reliance_claims import known, sensitivity, weigh_reliance
from equipoise.studies.spurious import SpuriousSettings, _share, spurious
from equipoise.theory import PairedDesign

TINY = SpuriousSettings(
    correlations=(0.5, 0.95),
    radii=("2",),
    linf_radii=("16/255",),
    seeds=2,
    steps=20,
    attacked=24,
)


def rfs(a, b):
    return (b - a) / (2 * min((a + b) / 2, 1 - (a + b) / 2))


# --- statistics


def test_sensitivity_averages_classes_and_then_trainings():
    labels = np.array([0, 0, 0, 1])
    backgrounds = (0.9, 0.9, 0.88)
    shares = np.array([[[0.5, b], [0.5, b], [0.5, b], [0.25, b / 2]] for b in backgrounds])
    found = sensitivity(shares[None], labels)
    each = [rfs((0.5 + 0.25) / 2, (b + b / 2) / 2) for b in backgrounds]
    assert found.value == pytest.approx(np.mean(each))
    # Digits of a class are alike: only trainings vary.
    half = t.ppf(0.975, 2) * np.std(each, ddof=1) / math.sqrt(3)
    assert (found.high - found.low) / 2 == pytest.approx(half)
    both = sensitivity(np.stack([shares, shares[::-1]]), labels)
    assert both.value == pytest.approx(0)
    assert math.isnan(sensitivity(np.stack([shares, shares]), labels).high)


def test_sensitivities_at_their_ends_are_no_certainty():
    """Where background noise never harms, the quotient is 1 whatever noise on the object does."""
    rng = np.random.default_rng(0)
    shares = np.stack([rng.uniform(size=(3, 40)), np.ones((3, 40))], -1)
    found = sensitivity(shares[None], np.arange(40) % 4)
    assert found.value == pytest.approx(1) and math.isnan(found.low)


def test_intervals_of_sensitivities_cover():
    """Trainings and digits that both vary, in two classes: the truth is in at least 95 of 100 intervals, about."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2

    def draw(digits, trainings):
        hard = rng.normal(size=digits)[None, :, None]
        luck = rng.normal(0, 0.2, size=(trainings, 1, 2))
        level = np.array([0.2, 0.8])
        return (hard + rng.normal(size=(trainings, digits, 2)) + luck < level).astype(float)

    large = draw(4000, 200)
    truth = np.mean([rfs(*one.mean(0)) for one in large])
    hits = 0
    for seed in range(60):
        found = sensitivity(draw(60, 3)[None], labels, seed)
        hits += found.low <= truth <= found.high
    assert hits >= 52  # 57 expected; three standard deviations are 5


def test_a_share_that_is_all_alike_is_bounded_by_its_digits():
    found = _share(np.zeros((3, 150)))
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 150))
    found = _share(np.ones((3, 40)))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 40))


def test_digits_without_a_gradient_are_left_out():
    values = np.ones((3, 10))
    holed = values.copy()
    holed[1, 4] = math.nan
    first, second = known(values, holed)
    assert first.shape == second.shape == (3, 9)


# --- settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correlations": (0.95,)}, "two or more correlations that rise from 0.5 to at most 1"),
        ({"correlations": (0.6, 0.9)}, "not 0.6 0.9"),
        ({"correlations": (0.5, 1.2)}, "not 0.5 1.2"),
        ({"radii": ()}, "radii that rise from above 0, not none"),
        ({"linf_radii": ("8/255", "4/255")}, "linf_radii that rise from above 0"),
        ({"radius": "0"}, "an l2 radius above 0 to attack with"),
        ({"seeds": 1}, "seeds of at least 2"),
        ({"attacked": 5}, "attacked of at least 20"),
        ({"attack_steps": 0}, "attack_steps of at least 1"),
        ({"design": PairedDesign(scales=(1, 1.2, 1.4, 1.6, 1.8))}, "at most 4 scales"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_trained(tmp_path, changes, message):
    with pytest.raises(eq.EquipoiseError, match=message):
        spurious(tmp_path / "out", replace(TINY, **changes))
    assert not (tmp_path / "out").exists()


# --- processes


def _note(item):
    folder, name = item
    if name == "bad":
        raise eq.EquipoiseError("This one is bad.")
    (folder / name).write_text("done")


@pytest.mark.slow
def test_work_is_spread_over_processes_and_errors_come_back(tmp_path):
    items = [(tmp_path, name) for name in "abcd"]
    assert sorted(spread(_note, items)) == items
    assert sorted(path.name for path in tmp_path.iterdir()) == list("abcd")
    with pytest.raises(eq.EquipoiseError, match="This one is bad"):
        list(spread(_note, [*items, (tmp_path, "bad")]))


# --- claims


class Made:
    """What trainings gave, made up: adversarial training leans on backgrounds by 0.2 more."""

    def __init__(self):
        self.rhos, self.seeds, self.steps = (0.5, 0.9), (0, 1, 2), 7
        self.standard, *self.arms = (
            type("Arm", (), {"name": name, "threat": threat})
            for name, threat in (
                ("l2-0", eq.L2(0)),
                ("l2-2", eq.L2(2)),
                ("linf-0.1", eq.Linf(0.1)),
            )
        )
        self.threats = {"l2": eq.L2(1.0), "linf": eq.Linf(0.1)}

    def share(self, *parts):
        """Of 1,000 digits, right in the first so many for each training; a few differ by training."""
        level = sum(parts)
        return np.stack([np.arange(1000) < 1000 * level + seed for seed in self.seeds]) * 1.0

    def right(self, rho, arm, part):
        leans = 0.2 if arm is not self.standard and rho > 0.5 else 0.05 if rho > 0.5 else 0.0
        return self.share(
            0.9, -leans * {"own": 0, "gone": 1, "reversed": 2, "mixed-same": 0}.get(part, 1)
        )

    def robust(self, rho, arm, part, norm):
        return self.share(0.5, 0.1 * (rho > 0.5) * (1 if part == "own" else -2))

    def noisy(self, rho, arm):
        calm = 0.6 if arm is self.standard else 0.7
        return np.stack([self.share(calm), self.share(0.8)], -1)

    def inside(self, rho, arm):
        return self.share(0.5) * (1.0 if arm is self.standard else 0.8)

    def labels(self, rho):
        return np.arange(1000) % 10

    def loss(self, rho, arm):
        return 0.25


def test_claims_follow_from_what_was_measured():
    claims = weigh_reliance(PairedDesign(), Made())
    by = {(claim.id, claim.classifier): claim for claim in claims}
    for name in ("l2-2", "linf-0.1"):
        assert by["B1", name].value == pytest.approx(0.15, abs=1e-9)
        assert by["D1", name].value == pytest.approx(0.15, abs=1e-9)
        assert by["D2", name].value == pytest.approx(0.3, abs=1e-9)
        assert by["B3", name].value == pytest.approx(0.1, abs=0.01)
        assert by["B2", name].value == pytest.approx(rfs(0.6, 0.8) - rfs(0.7, 0.8), abs=0.02)
        assert {by[k, name].verdict for k in ("B1", "B2", "B3", "D1", "D2")} == {"holds"}
    for name in ("l2-0 at l2:1", "l2-0 at linf:0.1", "l2-2 at l2:1", "linf-0.1 at linf:0.1"):
        assert by["V1", name].value == pytest.approx(0.1, abs=1e-9)
        assert by["V2", name].value == pytest.approx(0.2, abs=1e-9)
    # The model: vectors of correlation 0.8, noise 0.5 and radius 0.25, scales 1 and 2.
    assert by["C1", "l2"].value == pytest.approx(0.178369 / math.hypot(0.7426, 0.178369), abs=1e-5)
    assert by["C2", None].verdict == "holds"
    assert by["C3", "l2"].value == pytest.approx(0.5100 - 0.2833, abs=1e-4)
    assert by["C3", "l∞"].value == pytest.approx(0.3289 - 0.2673, abs=1e-4)
    assert all(claim.verdict == "holds" for claim in claims if claim.id.startswith("C"))


# --- the study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("spurious")
    return out, *spurious(out, TINY)


@pytest.mark.slow
def test_the_study_ends_with_claims_and_a_page_and_repeats_for_nothing(study):
    out, run, page = study
    claims = run.claims()
    found = {(claim.id, claim.classifier): claim for claim in claims}
    assert {name for name, _ in found} == {
        *("C1", "C2", "C3", "C4", "B1", "B2", "B3", "D1", "D2", "V1", "V2")
    }
    runs = {name: eq.Run(out / "correlations/0.95" / name) for name in ("standard", "l2")}

    def right(arm, part):
        rows = []
        for seed in (0, 1):
            columns = runs["standard"].columns("standard", f"{arm}, seed {seed}")
            rows.append(columns["correct"][columns["group"] == part].astype(float))
        return np.stack(rows)

    gaps = [right(a, "mixed-same") - right(a, "mixed-rand") for a in ("l2-2", "l2-0")]
    assert gaps[0].shape == (2, 600)
    again = across_trainings(gaps[0] - gaps[1])
    assert (found["B1", "l2-2"].value, found["B1", "l2-2"].low) == pytest.approx(
        (again.value, again.low)
    )
    drops = [right(a, "own") - right(a, "gone") for a in ("l2-2", "l2-0")]
    assert found["D1", "l2-2"].value == pytest.approx((drops[0] - drops[1]).mean())
    # The same digits in the same order in every part.
    columns = runs["standard"].columns("standard", "l2-0, seed 0")
    digits = [
        [name.split("/")[2] for name in columns["id"][columns["group"] == part]]
        for part in ("own", "gone", "reversed", "mixed-same", "mixed-rand")
    ]
    assert all(listed == digits[0] for listed in digits)
    robust = []
    for rho, seed in ((0.95, 0), (0.95, 1), (0.5, 0), (0.5, 1)):
        columns = eq.Run(out / f"correlations/{rho:g}/l2").columns(
            "adversarial:l2:2", f"l2-2, seed {seed}"
        )
        robust.append(1 - columns["success"][columns["group"] == "own"].mean())
    value = np.mean(robust[:2]) - np.mean(robust[2:])
    assert found["V1", "l2-2 at l2:2"].value == pytest.approx(value)
    body = page.read_text(encoding="utf-8")
    assert "<h1>What does adversarial training do to natural robustness?</h1>" in body
    for place in ("claims", "model", "backgrounds", "groups", "regions", "saliency"):
        assert f'<h2 id="{place}">' in body
    assert "2209.07592" in body
    kept = {
        path: path.stat().st_mtime_ns
        for kind in ("*.parquet", "*.safetensors")
        for path in out.rglob(kind)
    }
    repeated, _ = spurious(out, TINY)
    assert repeated.claims() == claims
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert page.read_text(encoding="utf-8") == body
