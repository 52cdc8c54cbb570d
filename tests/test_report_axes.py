"""The trade-off on any two axes: which there are, which way is better, who is on the front, and how sure that is."""

import json
import math
from itertools import combinations, permutations
from types import SimpleNamespace

import altair
import pytest
from conftest import linear
from hypothesis import given
from hypothesis import strategies as st
from test_region_probes import Shown, left, photos
from test_report import embedded
from test_report_regions import VARIANTS, pictures, rung, training

import equipoise as eq
from equipoise.audit import Statistic
from equipoise.report.axes import Axis, axes_of, first_pair
from equipoise.report.charts import curves, trade_off, trade_offs
from equipoise.report.numbers import cross
from equipoise.report.page import render
from equipoise.report.pairs import lay_pairs, pair_up
from equipoise.report.pareto import dominates, front, stairs
from equipoise.report.reading import Reading
from equipoise.report.words import apart, percent

NAMES = ["</script><b>lower", "\u202e\u05e9\u05dc\u05d5\u05dd", "__proto__"]
NOISY = "regions:gaussian?levels=0.2&trials=1"
PROBES = ["standard", "adversarial:l2:0.3?steps=3", "groups", NOISY, "backgrounds"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rungs = [rung(name, radius, 3) for name, radius in zip(NAMES, (0.0, 0.5, 2.0), strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equipoise.probes.groups.load_images", lambda spec, split: training())
        return eq.audit(rungs, pictures(), PROBES, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def reading(run):
    return Reading(run)


@pytest.fixture(scope="module")
def page(reading):
    return render(reading)


# The front


def test_the_front_of_five_points_by_hand():
    # c is beaten by b on both; d equals a and stands with it; e ties b across and is lower.
    points = [(1.0, 5.0), (3.0, 3.0), (2.0, 2.0), (1.0, 5.0), (3.0, 1.0)]
    assert front(points, ("high", "high")) == [0, 1, 3]
    assert front(points, ("low", "high")) == [0, 3]
    assert front(points, ("high", "low")) == [4]
    assert front(points, ("low", "low")) == [0, 2, 3, 4]
    assert front([], ("high", "high")) == []


def test_to_be_equal_is_not_to_dominate():
    assert not dominates((1, 2), (1, 2), ("high", "high"))
    assert dominates((1, 3), (1, 2), ("high", "high"))
    assert not dominates((1, 3), (1, 2), ("high", "low"))
    assert not dominates((2, 1), (1, 2), ("high", "high"))


@given(
    st.lists(st.tuples(*[st.integers(-3, 3)] * 3), max_size=8),
    st.tuples(*[st.sampled_from(["high", "low"])] * 3),
)
def test_nothing_on_the_front_is_dominated_and_all_else_is_by_something_on_it(points, better):
    on = front(points, better)
    for k, point in enumerate(points):
        beaten = any(dominates(points[f], point, better) for f in on)
        assert beaten == (k not in on)


def test_the_line_goes_down_in_steps_from_the_worst_edge():
    steps = stairs([(3.0, 1.0), (1.0, 5.0), (1.0, 5.0)], (0.0, 0.0))
    assert steps == [(0.0, 5.0), (1.0, 5.0), (1.0, 1.0), (3.0, 1.0), (3.0, 0.0)]
    # Where less is better across, it starts at the right end, which is drawn on the left.
    assert stairs([(0.1, 0.9)], (1.0, 0.0)) == [(1.0, 0.9), (0.1, 0.9), (0.1, 0.0)]
    assert stairs([], (0.0, 0.0)) == []


# Axes


def test_every_axis_that_was_measured_is_found_with_its_direction(run, reading):
    axes = {axis.title: axis for axis in axes_of(reading)}
    known = {
        "Standard accuracy": ("standard accuracy", "high"),
        "Robust accuracy at l2:0.3": ("robust accuracy at l2:0.3", "high"),
        "Worst-group accuracy": ("worst-group accuracy", "high"),
        "Background gap": ("background gap", "low"),
        "Sensitivity to the object, Gaussian noise": (
            "relative sensitivity to the object, Gaussian noise",
            "high",
        ),
    }
    assert list(axes) == list(known)
    summary = {(s.classifier, s.name): s for s in run.summary()}
    for title, (name, better) in known.items():
        assert axes[title].better == better
        for who in NAMES:
            assert axes[title].found[who] == summary[who, name]
    ordered = axes_of(reading)
    across, up = first_pair(reading, ordered)
    assert (ordered[across].title, ordered[up].title) == tuple(known)[1::-1]


def statistic(name, value, low, high):
    return Statistic(name, "p", "what", value, low, high, 10, "bootstrap", "share", "high")


def axis(title, values, better="high", unit="share", wide=0.01):
    found = {n: statistic(n, v, v - wide, v + wide) for n, v in values.items()}
    return Axis(title, title, found, better, unit)


def test_an_axis_runs_towards_what_is_better_and_holds_every_interval():
    up = axis("a", {"x": 0.2, "y": 0.71})
    assert up.ends == [0.15, 0.8] and up.encoding["scale"]["domain"] == [0.15, 0.8]
    down = axis("b", {"x": -0.2, "y": 0.3}, "low", "points")
    assert down.ends == pytest.approx([0.35, -0.25])
    assert down.encoding["title"] == "b (points, less is better)"
    assert axis("c", {"x": 0.0, "y": 1.0}, wide=0.0).ends == [0.0, 1.0]
    assert axis("d", {"x": -0.99}, unit="number").ends == [-1.0, -0.85]


def test_a_value_is_written_in_its_unit():
    value = {"x": -0.123}
    assert (
        axis("a", value, unit="points").text("x") == "\u221212.3 points (\u221213.3 to \u221211.3)"
    )
    assert axis("a", value, unit="number").text("x") == "\u22120.12 (\u22120.13 to \u22120.11)"
    assert axis("a", {"x": 0.5}).text("x") == "50.0% (49.0 to 51.0%)"


# Pairs


class Judges:
    """A reading of classifiers that stand on no ladder; checks speak against the `warned` under the probe "robust"."""

    ordered = False

    def __init__(self, names, warned=()):
        self.warned = warned
        self.classifiers = [SimpleNamespace(name=n, trained="", radius=None) for n in names]

    def warnings(self, name, probe):
        return (1,) if name in self.warned and probe == "robust" else ()


POINTS = {
    # The best of standard accuracy, one surely behind the second, the second, and one behind by a hair.
    "a": (0.10, 0.90),
    "sure": (0.20, 0.30),
    "b": (0.60, 0.60),
    "hair": (0.595, 0.595),
}


def laid(points, warned=(), better=("high", "high"), wide=0.01):
    x, y = (
        axis(title, {n: p[k] for n, p in points.items()}, better[k], wide=wide)
        for k, title in enumerate(("robust", "standard"))
    )
    return pair_up(Judges(points, warned), x, y)


def test_the_sentences_name_the_front_and_say_how_sure_it_is():
    first, second, third = laid(POINTS).sentences
    assert first.startswith(f"By point estimates {apart('a')} and {apart('b')} stand on the")
    assert second.startswith(f"{apart('sure')} lies clearly behind it")
    assert third.startswith(f"{apart('hair')} lies behind it by point estimates alone")
    # With wide intervals nothing is sure.
    assert len(laid(POINTS, wide=0.3).sentences) == 2
    (only,) = laid({"a": (0.1, 0.9), "b": (0.9, 0.1)}).sentences
    assert only.startswith("By point estimates all 2 classifiers stand on the Pareto front")
    assert laid({"a": (0.1, 0.9)}).sentences == [] and laid({"a": (0.1, 0.9)}).stairs == []


def test_where_less_is_better_the_front_turns_round():
    first, *_ = laid(POINTS, better=("low", "high")).sentences
    assert first.startswith(f"By point estimates {apart('a')} stands on the Pareto front")
    sure = laid({"a": (0.1, 0.9), "c": (0.5, 0.5)}, better=("low", "high")).sentences[1]
    assert sure.startswith(f"{apart('c')} lies clearly behind")


def test_whoever_checks_speak_against_is_not_on_the_front_and_said_to_be_left_out():
    pair = laid(POINTS, warned=("b",))
    first, *_, last = pair.sentences
    assert apart("b") not in first and apart("hair") in first
    assert last.startswith(f"{apart('b')} is left out") and len(pair.rows) == 4
    assert all((step["x"], step["y"]) != POINTS["b"] for step in pair.stairs)
    assert pair.words.count("though 1 check speaks against it") == 1
    # On two other axes nothing speaks against it.
    x, y = (axis(t, {n: p[0] for n, p in POINTS.items()}) for t in ("groups", "standard"))
    assert not any(row["against"] for row in pair_up(Judges(POINTS, ("b",)), x, y).rows)


def test_a_label_without_a_free_place_waits_for_its_point():
    heap = {f"classifier {k}": (0.5 + k / 1e4, 0.5 + k / 1e4) for k in range(12)}
    rows = laid(heap).rows
    assert any(row["crowded"] for row in rows) and not all(row["crowded"] for row in rows)
    assert not any(row["crowded"] for row in laid(POINTS).rows[:3])


def test_classifiers_without_a_value_on_one_axis_are_not_drawn():
    x, y = axis("x", {"a": 0.5}), axis("y", {"a": 0.4, "b": 0.9})
    pair = pair_up(Judges("ab"), x, y)
    assert [row["classifier"] for row in pair.rows] == ["a"] and pair.sentences == []
    none = pair_up(Judges("ab"), axis("x", {"a": 0.5}), axis("y", {"b": 0.9}))
    assert none.rows == [] and none.words.endswith("Nothing has been measured on both yet.")


# The page


def test_the_page_holds_every_pair_and_names_are_text(reading, page):
    data = embedded(page)["trade_off"]
    axes = axes_of(reading)
    assert set(data["pairs"]) == {f"{i}-{k}" for i, k in permutations(range(len(axes)), 2)}
    assert [who["classifier"] for who in data["classifiers"]] == NAMES
    for key, pair in data["pairs"].items():
        i, k = map(int, key.split("-"))
        again = pair_up(reading, axes[i], axes[k])
        assert pair["sentences"] == again.sentences and pair["words"] == again.words
        assert [NAMES[who] for who, *_ in pair["rows"]] == [r["classifier"] for r in again.rows]
    for k, axis in enumerate(axes):
        for name, found in zip(NAMES, data["axes"][k]["found"], strict=True):
            assert found[""] == pytest.approx(axis.found[name].value, abs=1e-5)
            assert found["_low"] <= found[""] <= found["_high"]
    body = page[page.index("<body>") : page.index('id="data"')]
    assert "<b>lower" not in body and "&lt;b&gt;lower" in body


def test_without_scripts_the_first_pair_is_there_as_text_and_every_axis_as_a_table(reading, page):
    body = page[page.index('id="trade-off"') : page.index('id="curves"')]
    laid = lay_pairs(reading)
    assert laid
    for sentence in laid.sentences:
        assert sentence.replace(NAMES[0], "&lt;/script&gt;&lt;b&gt;lower") in body
    for axis in axes_of(reading):
        assert f'<th scope="col">{axis.title}</th>' in body
        assert f">{axis.title}</option>" in body
    gap = laid.axes[3].found[NAMES[0]].value
    assert f"{100 * gap:+.1f} points".replace("-", "\u2212") in body


def test_another_pair_put_into_the_chart_is_valid_vega_lite(reading):
    """What the page's script does: other titles, scales and rows in the same layers."""
    (figure,) = trade_off(reading)
    axes = axes_of(reading)
    pair = pair_up(reading, axes[3], axes[4])
    spec = json.loads(json.dumps(figure.spec))
    changed = 0
    for layer in spec["layer"]:
        for way, axis in (("x", pair.x), ("y", pair.y)):
            if "scale" in layer["encoding"].get(way, {}):
                layer["encoding"][way] |= axis.encoding
                changed += 1
    assert changed > 4
    spec["datasets"] |= {"rows": pair.rows, "front": pair.stairs}
    altair.LayerChart.from_dict(spec).to_dict(validate=True)
    for name, rows in spec["datasets"].items():
        assert all(math.isfinite(row["x"]) and math.isfinite(row["y"]) for row in rows), name


def test_a_charts_numbers_are_a_small_table():
    rows = [
        {"at": str(k), "classifier": who, "kind": "solid", "text": f"{who}{k}"}
        for who in "ab"
        for k in range(101)
        if (who, k) != ("b", 100)
    ]
    table = cross(rows, ["classifier", "kind"], first="Radius")
    assert table.first == "Radius" and table.heads == ["a, solid", "b, solid"]
    assert [place for place, _ in table.rows] == [str(10 * k) for k in range(11)]
    assert table.rows[3] == ("30", ["a30", "b30"]) and table.rows[-1] == ("100", ["a100", ""])


def test_the_curves_have_their_numbers_on_the_page(reading, page):
    (figure,) = curves(reading)
    assert figure.numbers and figure.numbers.heads == NAMES
    rows = figure.spec["datasets"]["rows"]
    assert figure.numbers.rows[0][1][0].startswith(percent(rows[0]["share"]))
    assert figure.numbers.rows[-1][1][2].startswith(percent(rows[-1]["share"]))
    assert page.count('<details class="data">') >= 1 and "<bdi>__proto__</bdi>" in page
    # Points with the shape of each classifier stand at different radii, and on a ladder there are none.
    assert not any("marked" in row for row in rows)
    reading.ordered, ordered = False, reading.ordered
    marked = [row for row in curves(reading)[0].spec["datasets"]["rows"] if row.get("marked")]
    reading.ordered = ordered
    places = [{r["radius"] for r in marked if r["classifier"] == name} for name in NAMES]
    assert all(places) and not set.intersection(*places)


def test_every_pair_of_axes_can_be_drawn(reading):
    axes, figures = axes_of(reading), trade_offs(reading)
    assert figures[0].spec == trade_off(reading)[0].spec
    titles = {frozenset(figure.title.lower().split(" against ")) for figure in figures}
    assert len(figures) == len(titles) == len(axes) * (len(axes) - 1) // 2
    assert titles == {
        frozenset((x.title.lower(), y.title.lower())) for x, y in combinations(axes, 2)
    }


def test_a_run_of_one_axis_has_no_trade_off(tmp_path):
    run = eq.audit([linear(10, (1, 8, 8))], "digits", ["standard"], tmp_path / "run", limit=12)
    reading = Reading(run)
    assert lay_pairs(reading) is None and trade_off(reading) == trade_offs(reading) == []
    assert 'id="trade-off"' not in render(reading)


def test_two_probes_of_one_kind_are_told_apart(tmp_path):
    images = Shown(photos(16), [left(0.5)] * 16, [VARIANTS[k % 4] for k in range(16)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equipoise.probes.groups.load_images", lambda spec, split: training())
        probes = ["groups", "groups:digits-on-photos"]
        run = eq.audit([rung("one", 0.0, 1)], images, probes, tmp_path / "run")
    titles = [axis.title for axis in axes_of(Reading(run))]
    assert titles == [f"Worst-group accuracy ({spec})" for spec in probes]
