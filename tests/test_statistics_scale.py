"""Means and medians of many images without resampling, and pages of large runs."""

import json
import math
import re

import numpy as np
import pytest
from conftest import linear
from scipy import stats
from synthetic import PROBES, make_run

import equipoise as eq
from equipoise.audit import bootstrap
from equipoise.audit.bootstrap import mean_ends, median_ends
from equipoise.audit.groups import estimate_sensitivity
from equipoise.audit.inversion import sum_of_means
from equipoise.audit.resampling import resample
from equipoise.audit.statistics import estimate
from equipoise.probes import Metric, Sensitivity
from equipoise.report.by_image import ByImage, both, paired
from equipoise.store import connect, lists, read_columns, read_facts, write_shard

TAILS = (0.025, 0.975)
RNG = np.random.default_rng(0)
SAMPLES = {
    "normal": RNG.standard_normal(2000),
    "skewed": RNG.gamma(9.0, 1.0, 4000),
    "thirds": RNG.integers(0, 4, 3000) / 3,
    "two humps": np.concatenate([RNG.normal(-5, 0.1, 1500), RNG.normal(5, 0.1, 500)]),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_ends_of_a_mean_are_those_of_resampling(name):
    """Within what 4,000 resamples leave open: at either tail a standard error of 0.07 standard deviations or less."""
    values = SAMPLES[name]
    plain = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", batch=500, rng=1
    )
    found = np.array(mean_ends(values, TAILS))
    spread = values.std() / math.sqrt(len(values))
    assert found == pytest.approx(plain.confidence_interval, abs=0.2 * spread)
    # The seed of resamples does nothing where there are none.
    assert mean_ends(values, TAILS, seed=5) == tuple(found)


def test_the_distribution_of_a_mean_is_exact_but_for_the_step_between_its_values():
    """Of zeros, ones and twos a resample's sum is a sum of draws whose distribution convolution gives."""
    counts = np.array([700, 400, 100])
    values = np.repeat([0.0, 1.0, 2.0], counts)
    n = len(values)
    draw = np.zeros(2 * n + 1)
    draw[:3] = counts / n
    exact = np.cumsum(np.fft.irfft(np.fft.rfft(draw) ** n, 2 * n + 1))
    found = sum_of_means(values, [n], np.ones(1), np.array([n]))
    assert found is not None
    for k in range(450, 751, 20):
        # Half a step up: the series smooths the jump at k.
        assert found.below((k + 0.5) / n) == pytest.approx(exact[k], abs=2e-4)
    low, high = found.quantiles(TAILS)
    assert [low * n, high * n] == pytest.approx(np.searchsorted(exact, TAILS), abs=1)


def test_a_sum_over_strata_has_the_moments_and_the_quantiles_of_its_draws():
    values = RNG.random(3000) ** 2
    sizes, weights = np.array([1000, 1500, 500]), np.array([0.5, -0.3, 0.8])
    found = sum_of_means(values, sizes, weights, sizes - 1)
    assert found is not None
    parts = np.split(values, np.cumsum(sizes)[:-1])
    assert found.mean == pytest.approx(
        sum(w * p.mean() for w, p in zip(weights, parts, strict=True))
    )
    assert found.spread**2 == pytest.approx(
        sum(w**2 * p.var() / (len(p) - 1) for w, p in zip(weights, parts, strict=True))
    )
    drawn = sum(
        w * RNG.choice(p, (4000, len(p) - 1)).mean(1) for w, p in zip(weights, parts, strict=True)
    )
    assert found.quantiles([0.025, 0.5, 0.975]) == pytest.approx(
        np.quantile(drawn, [0.025, 0.5, 0.975]), abs=0.2 * found.spread
    )
    assert found.below(found.quantiles([0.3])[0]) == pytest.approx(0.3, abs=1e-9)


def test_one_image_that_outweighs_the_others_is_resampled():
    values = np.concatenate([RNG.random(1999), [1e6]])
    assert sum_of_means(values, [2000], np.ones(1), np.array([2000])) is None
    low, high = mean_ends(values, TAILS)
    # It is drawn 0 to 3 times in nearly all resamples, about once on average.
    assert low == pytest.approx(values[:-1].mean(), abs=0.05)
    assert high == pytest.approx(3 * 1e6 / 2000, rel=0.01)


def test_rare_ones_are_drawn_as_often_as_the_binomial_says():
    values = np.zeros(20_000)
    values[:8] = 0.5
    low, high = mean_ends(values, TAILS)
    wanted = 0.5 * stats.binom.ppf(TAILS, 20_000, 8 / 20_000) / 20_000
    assert [low, high] == pytest.approx(wanted, abs=0.51 / 20_000)


def test_infinite_distances_make_infinite_ends_as_often_as_they_are_drawn():
    values = RNG.random(4000)
    for infinite, ends in ((1, (False, True)), (40, (True, True))):
        some = values.copy()
        some[:infinite] = np.inf
        found = mean_ends(some, TAILS)
        assert tuple(map(math.isinf, found)) == ends
        assert tuple(map(math.isinf, _plainly(some))) == ends
    some = values.copy()
    some[0] = np.inf
    without = (1 - 1 / 4000) ** 4000
    inside = mean_ends(values[1:], [0.025 / without])
    assert mean_ends(some, TAILS)[0] == pytest.approx(inside[0], abs=1e-5)


def _plainly(values):
    means = values[np.random.default_rng(2).integers(0, len(values), (1000, len(values)))].mean(1)
    return np.quantile(means, TAILS, method="nearest")


def test_numbers_that_are_all_alike_have_an_interval_of_one_point():
    assert mean_ends(np.full(5000, 0.3), TAILS) == (0.3, 0.3)


@pytest.mark.parametrize("n", [25, 1000, 3001])
def test_the_ends_of_a_median_are_those_of_resampling(n):
    values = np.sort(RNG.standard_normal(n))
    low, high = (np.searchsorted(values, end) for end in median_ends(values, TAILS))
    picked = np.sort(RNG.integers(0, n, (4000, n)), axis=1)
    lower, upper = picked[:, (n - 1) // 2], picked[:, n // 2]
    spread = lower.std()
    assert low == pytest.approx(np.quantile(lower, 0.025), abs=0.2 * spread + 1)
    assert high == pytest.approx(np.quantile(upper, 0.975), abs=0.2 * spread + 1)
    assert low < n // 2 < high


def test_a_median_of_one_number_and_of_infinite_ones():
    assert median_ends(np.array([2.0]), TAILS) == (2.0, 2.0)
    found = estimate(Metric("radius", np.array([1.0, 2.0, 3.0] + [np.inf] * 4), "median"))
    assert found.value == np.inf and found.low < 3 and found.high == np.inf


@pytest.mark.parametrize("first, second", [(0.3, 0.4), (0.7, 0.85), (0.05, 0.5), (0.9, 0.9)])
def test_the_ends_of_a_sensitivity_are_those_of_resampling(first, second):
    classes = np.repeat([0, 1, 2], [1500, 900, 600])
    metric = Sensitivity(
        "s",
        RNG.binomial(7, first, 3000) / 7,
        np.clip(RNG.binomial(7, second, 3000) / 7 + 0.1 * (classes == 1), 0, 1),
        classes,
    )
    found, drawn = estimate_sensitivity(metric), resample([metric])
    assert found.method == "bootstrap within classes"
    assert [found.low, found.high] == pytest.approx(
        np.quantile(drawn, TAILS), abs=0.2 * drawn.std()
    )
    assert (found.low, found.high) == (
        estimate_sensitivity(metric, seed=3).low,
        estimate_sensitivity(metric, seed=3).high,
    )


def test_a_sensitivity_whose_two_cases_both_happen_is_resampled():
    classes = np.repeat([0, 1], 1000)
    metric = Sensitivity("s", RNG.integers(0, 2, 2000), RNG.integers(0, 2, 2000), classes)
    ends = np.quantile(resample([metric]), TAILS)
    found = estimate_sensitivity(metric)
    assert [found.low, found.high] == pytest.approx(ends, abs=1e-12)


def test_resamples_within_classes_have_the_spread_of_their_means():
    """Of n - 1 draws among n, a class's mean varies as the unbiased variance says."""
    values = RNG.random((40, 2))
    metric = Metric("m", values[:, 0], "mean")
    drawn = resample([metric, Metric("m", values[:, 1], "mean")], seed=4)
    assert drawn.shape == (2000, 2)
    assert drawn.mean(0) == pytest.approx(values.mean(0), abs=0.01)
    assert drawn.std(0) == pytest.approx(values.std(0, ddof=1) / math.sqrt(40), rel=0.1)
    # The same images are drawn for both.
    together = np.corrcoef(drawn.T)[0, 1]
    assert together == pytest.approx(np.corrcoef(values.T)[0, 1], abs=0.1)


def test_few_images_are_resampled_as_ever(monkeypatch):
    monkeypatch.setattr(bootstrap, "sum_of_means", lambda *_: pytest.fail("inverted"))
    values = RNG.random(999)
    rng = np.random.default_rng(7)
    means = np.concatenate([values[rng.integers(0, 999, (1001, 999))].mean(1)])
    means = np.concatenate([means, values[rng.integers(0, 999, (999, 999))].mean(1)])
    assert mean_ends(values, TAILS, seed=7) == tuple(
        np.quantile(means, TAILS, method="nearest").tolist()
    )


# Answers by image


def test_answers_about_the_same_images_are_paired_in_their_order():
    ids = np.array(["a", "b", "c", "d"], dtype=object)
    one = ByImage(ids, np.array([1.0, np.nan, 0.0, 1.0]))
    other = ByImage(ids[::-1], np.array([0.5, 0.25, 0.75, np.nan]))
    same = ByImage(ids.copy(), np.array([np.nan, 2.0, 3.0, 4.0]))
    assert [part.tolist() for part in paired(one, same)] == [[0.0, 1.0], [3.0, 4.0]]
    assert [part.tolist() for part in paired(one, other)] == [[0.0, 1.0], [0.25, 0.5]]
    assert dict(one) == {"a": 1.0, "c": 0.0, "d": 1.0} and len(one) == 3
    assert [len(part) for part in paired(one, ByImage())] == [0, 0]
    assert dict(both(one, same)) == {"c": 0.0, "d": 1.0}
    assert dict(both(one, other)) == {"c": 0.0, "d": 1.0}
    assert not both(one, ByImage()) and not both(ByImage(), one)


# Synthetic runs


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "run"
    return make_run(folder, images=300, classifiers=2, pictures=3, side=32)


def test_a_synthetic_run_has_the_schema_of_an_audit(small, tmp_path):
    probes = [spec for spec in PROBES if not spec.startswith("counterfactual")]
    data = eq.load_images("digits-on-photos", split="test")
    real = eq.audit(
        linear(10, (3, 32, 32)), data, probes, tmp_path / "run", limit=4, pictures=2, shown=False
    )
    for probe in probes:
        mine, theirs = (next(iter(run.shards(probe, run.classifiers[0]))) for run in (small, real))
        tables = [connect().read_parquet(str(path)) for path in (mine, theirs)]
        assert tables[0].columns == tables[1].columns
        assert tables[0].types == tables[1].types
    assert [small.images().columns, small.images().types] == [
        real.images().columns,
        real.images().types,
    ]
    mine, theirs = small.record, real.record
    assert set(mine) == set(theirs)
    for key in ("data", "versions", "machine"):
        assert set(mine[key]) == set(theirs[key])
    assert set(mine["shards"][0]) == set(theirs["shards"][0])
    about = [next(iter(record["classifiers"].values())) for record in (mine, theirs)]
    assert set(about[0]) == set(about[1])
    assert set(small.facts()[0]) == set(real.facts()[0])


def test_a_run_is_read_once_and_what_its_probes_share_is_kept_once(small, monkeypatch):
    run = eq.Run(small.folder)
    one = run.columns("standard", run.classifiers[0])
    other = run.columns(PROBES[1], run.classifiers[1])
    assert one["id"] is other["id"] and one["group"] is other["group"]
    assert not {"picture", "change", "classifier", "probe"} & set(other)
    monkeypatch.setattr("equipoise.audit.run.read_columns", lambda *_: pytest.fail("read again"))
    assert run.columns("standard", run.classifiers[0])["margin"] is one["margin"]


def test_reading_at_once_gives_what_reading_one_by_one_gives(small):
    at_once, apart = eq.Run(small.folder), eq.Run(small.folder)
    at_once.read()
    for probe in PROBES:
        for name in small.classifiers:
            one, other = at_once.columns(probe, name), apart.columns(probe, name)
            assert list(one) == list(other)
            for column, values in one.items():
                np.testing.assert_array_equal(values, other[column])
            assert one["id"] is at_once.columns(PROBES[0], small.classifiers[0])["id"]


def test_facts_are_read_from_footers_whatever_else_stands_there(small, tmp_path):
    """As DuckDB reads them, in a shard whose texts look like their key."""
    path, texts = tmp_path / "shard.parquet", np.array(["equipoise", "equipoise"], dtype=object)
    kept = {"notes": ["it's \u2028 fine", "x" * 300], "seconds": 0.5}
    write_shard(path, {"id": "VARCHAR", "group": "VARCHAR"}, {"id": texts, "group": texts}, kept)
    assert read_facts([path]) == [kept]
    paths = small.shards()
    listed = ", ".join(f"'{path}'" for path in paths)
    rows = (
        connect()
        .execute(
            f"SELECT decode(value) FROM parquet_kv_metadata([{listed}]) WHERE key = 'equipoise'"
        )
        .fetchall()
    )
    assert read_facts(paths) == [json.loads(text) for (text,) in rows]
    (tmp_path / "broken.parquet").write_bytes(path.read_bytes()[:-20])
    with pytest.raises(eq.EquipoiseError, match=r"broken\.parquet is not one"):
        read_facts([tmp_path / "broken.parquet"])


def test_lists_of_one_length_are_rows_of_an_array(small):
    columns = small.columns("regions:gaussian", small.classifiers[0])
    assert columns["object"].shape == columns["background"].shape == (300, 7)
    stored = small.table("regions:gaussian").limit(1).fetchall()[0]
    assert columns["object"][0].tolist() in stored


def test_lists_that_are_missing_or_of_other_lengths_stay_lists(tmp_path):
    columns = {}
    for name, rows in {
        "same": [[1, 2], [3, 4]],
        "some": [[1.5], None],
        "long": [[1], [2, 3]],
    }.items():
        columns[name] = np.empty(2, dtype=object)
        columns[name][:] = rows
    path = tmp_path / "shard.parquet"
    write_shard(path, dict.fromkeys(columns, "FLOAT[]"), columns, {})
    found = read_columns(connect(), [path, path], lambda name: name != "long")
    assert set(found) == {"same", "some"}
    assert found["same"].tolist() == [[1, 2], [3, 4]] * 2
    assert found["some"][1] is None and found["some"][2].tolist() == [1.5]
    there, rows = lists(found["some"])
    assert there.tolist() == [True, False] * 2 and rows.tolist() == [[1.5], [1.5]]
    assert read_columns(connect(), [path], lambda name: True)["long"][1].tolist() == [2, 3]
    nothing = np.array([None, None], dtype=object)
    assert lists(nothing)[1].shape == (0, 1)


def test_pictures_are_found_where_the_plan_put_them(small):
    described = small.images().filter("picture IS NOT NULL").select("id").fetchall()
    ids = [key for (key,) in described]
    assert len(ids) == 3
    for probe in set(PROBES) - {"standard", "groups"}:
        for name in small.classifiers:
            mine = small.pictures(probe).filter(f"classifier = '{name}'").select("id").fetchall()
            assert [key for (key,) in mine] == ids


@pytest.mark.parametrize("classes", [10, 40])
def test_a_synthetic_run_has_a_page_with_every_section(small, tmp_path, classes):
    run = (
        small
        if classes == 10
        else make_run(
            tmp_path / "run", images=80, classifiers=3, classes=classes, pictures=3, side=32
        )
    )
    _check_page(eq.report(run, tmp_path / "page.html"))


@pytest.mark.slow
def test_a_large_run_has_a_page_below_ten_megabytes(tmp_path):
    run = make_run(tmp_path / "run", images=5000, classifiers=4)
    summary = run.summary()
    assert {s.n for s in summary if s.name == "standard accuracy"} == {5000}
    for s in summary:
        assert s.low <= s.value <= s.high
    _check_page(eq.report(run, tmp_path / "page.html"))


def _check_page(path):
    assert path.stat().st_size < 10_000_000
    page = path.read_text(encoding="utf-8")
    sections = {
        "summary",
        "trade-off",
        "gallery",
        "groups",
        "regions",
        "saliency",
        "counterfactuals",
    }
    assert sections <= set(re.findall(r'id="([\w-]+)"', page))
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert data and json.loads(data[1])["charts"]
