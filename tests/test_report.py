"""The page: its numbers are the run's, its differences are paired, its text is text, and it needs no host."""

import json
import math
import re
from html import unescape
from types import SimpleNamespace

import altair
import numpy as np
import pytest
import zoo
from conftest import linear
from scipy.stats import binom

import equipoise as eq
from equipoise.report import paired_difference
from equipoise.report.by_image import ByImage
from equipoise.report.charts import curves, trade_off
from equipoise.report.figure import PAPER, WARNED
from equipoise.report.findings import findings
from equipoise.report.ladder import along_ladder
from equipoise.report.offline import embed
from equipoise.report.page import render
from equipoise.report.reading import Reading
from equipoise.report.soundness import meanings, panels
from equipoise.report.story import tell
from equipoise.report.table import tabulate
from equipoise.report.waterfall import waterfalls
from equipoise.report.words import against, apart, day, duration, number, percent

THREAT = "adversarial:l2:0.5?steps=5"
PROBES = ["standard", THREAT]
HOSTILE = "</script><script>alert(1)</script>"
DOUBTED = "linf:0.1"
NAMES = [HOSTILE, "\"'&\u2028\U0001f98a", "\u202e\u05e9\u05dc\u05d5\u05dd"]


def rung(name, radius, seed):
    net = linear(10, (1, 8, 8), seed=seed).net
    return eq.wrap(net, name=name, facts={"norm": "l2" if radius else None, "radius": radius})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rungs = [
        rung(name, radius, k)
        for k, (name, radius) in enumerate(zip(NAMES, (1.0, 0.0, 8 / 255), strict=True))
    ]
    out = tmp_path_factory.mktemp("run") / "run"
    return eq.audit(
        rungs, "digits", PROBES, out, limit=24, pictures=5, command=f"equipoise {HOSTILE}"
    )


@pytest.fixture(scope="module")
def page(run):
    return render(Reading(run))


def data_text(page, name="data"):
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found
    return found[1]


def embedded(page, name="data"):
    return json.loads(data_text(page, name))


# Differences


def test_a_paired_difference_counts_only_the_images_that_changed():
    before = np.array([1] * 60 + [0] * 40, bool)
    after = np.array([1] * 40 + [0] * 20 + [1] * 30 + [0] * 10, bool)
    d = paired_difference(before, after)
    assert (d.before, d.after, d.value, d.n) == pytest.approx((0.6, 0.7, 0.1, 100))
    # gained 30, lost 20: the variance of the mean of {-1, 0, 1} values.
    spread = math.sqrt((0.5 - 0.1**2) / 100)
    assert d.low == pytest.approx(0.1 - 1.96 * spread, abs=0.011)
    assert d.high == pytest.approx(0.1 + 1.96 * spread, abs=0.011)
    assert not d.shown and d.method == "bootstrap"
    assert paired_difference(after, before).value == pytest.approx(-0.1)


def test_pairing_narrows_the_interval_of_classifiers_that_agree():
    rng = np.random.default_rng(0)
    before = rng.random(2000) < 0.7
    after = before.copy()
    after[np.flatnonzero(~before)[:40]] = True
    d = paired_difference(before, after)
    assert d.shown and d.value == pytest.approx(0.02)
    unpaired = 1.96 * math.sqrt(2 * 0.7 * 0.3 / 2000)
    assert d.high - d.low < unpaired


def test_no_disagreement_still_has_an_interval_and_shows_nothing():
    same = np.ones(50, bool)
    d = paired_difference(same, same)
    assert d.value == 0 and d.low == -d.high < -0.05 and not d.shown
    assert d.method == "Clopper-Pearson"


@pytest.mark.parametrize("gain, loss", [(0.004, 0.004), (0.1, 0.02), (0.3, 0.2)])
def test_the_interval_covers_the_true_difference(gain, loss):
    rng, n, hits = np.random.default_rng(1), 200, 0
    for trial in range(200):
        gained, lost, _ = rng.multinomial(n, [gain, loss, 1 - gain - loss])
        before = np.arange(n) < lost
        after = (np.arange(n) >= lost) & (np.arange(n) < lost + gained)
        d = paired_difference(before, after, seed=trial)
        hits += d.low <= gain - loss <= d.high
    assert hits >= binom.ppf(0.001, 200, 0.93)


def test_choosing_among_more_comparisons_widens_the_interval():
    rng = np.random.default_rng(2)
    before, after = rng.random(500) < 0.5, rng.random(500) < 0.6
    one, five = paired_difference(before, after), paired_difference(before, after, choices=5)
    assert five.low < one.low < one.value < one.high < five.high
    assert one.value == five.value


# The page


def test_the_page_is_written_whole_and_the_same_each_time(run, tmp_path, page):
    first = eq.report(run, tmp_path / "a" / "first.html")
    second = eq.report(run.folder, tmp_path / "second.html")
    assert first == tmp_path / "a" / "first.html"
    assert first.read_bytes() == second.read_bytes() == page.encode()
    assert len(page) < 10_000_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "second.html"]


def test_the_page_asks_no_host_for_anything(page):
    assert not re.search(r"""(src|href|action|data|poster)\s*=\s*["']?\s*(https?:)?//""", page)
    assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", page)
    assert "default-src 'none'" in page and "connect-src" not in page
    sources = [picture.split(",")[0] for picture in embedded(page, "gallery-data")["pictures"]]
    assert set(sources) == {"data:image/png;base64"}


def test_names_are_text_and_run_nothing(page):
    assert "alert(1)</script>" not in page and "<script>alert" not in page
    # Three scripts of ours and the data of two; none that a name opened or closed.
    assert page.count("<script") == page.count("</script>") == 5
    assert f"<bdi>{NAMES[2]}</bdi>" in page
    assert embedded(page, "gallery-data")["classifiers"] == [NAMES[1], NAMES[2], NAMES[0]]
    for name in ("data", "gallery-data"):
        assert not set(data_text(page, name)) & set("<>&\u2028")


def test_embedded_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        embed({"x": math.nan})
    assert json.loads(embed({"x": HOSTILE})) == {"x": HOSTILE}


def _start(s):
    return f"{s.low:.3f}" if "radius" in s.name else f"{100 * s.low:.1f}"


def test_the_numbers_are_those_of_the_summary(run, page):
    body = unescape(re.sub(r"<script.*?</script>", "", page, flags=re.S))
    table = tabulate(Reading(run))
    cells = {name: row for name, _, row in table.rows}
    for s in run.summary():
        shown = [c for c in cells[s.classifier] if c]
        values = [number(s.value, d) for d in (3, 4)] if "radius" in s.name else [percent(s.value)]
        (cell,) = [c for c in shown if c.value in values and c.interval.startswith(_start(s))]
        assert f'<span class="value">{cell.value}</span>' in body
    rows = embedded(page)["charts"]["trade_off-0"]["datasets"]["rows"]
    for row in rows:
        found = {s.name: s for s in run.summary() if s.classifier == row["classifier"]}
        for key, name in (
            ("y", "standard accuracy"),
            ("x", "robust accuracy at l2:0.5"),
        ):
            s = found[name]
            assert (row[key], row[f"{key}_low"], row[f"{key}_high"]) == pytest.approx(
                (s.value, s.low, s.high), abs=1e-5
            )


def test_charts_are_valid_vega_lite(run):
    reading = Reading(run)
    figures = [*trade_off(reading), *along_ladder(reading), *curves(reading)]
    assert len(figures) == 3
    for figure in figures:
        altair.LayerChart.from_dict(figure.spec).to_dict(validate=True)
        assert figure.alt


def test_without_counterfactuals_or_claims_the_page_has_neither(page):
    body = page[page.index("<body>") : page.index('id="data"')]
    assert 'id="claims"' not in body and "counterfactual" not in body.lower()


def test_curves_pass_through_the_verdict(run):
    reading = Reading(run)
    rows = curves(reading)[0].spec["datasets"]["rows"]
    for judged in reading.classifiers:
        radius = reading.columns(THREAT, judged.name)["radius"]
        mine = [row for row in rows if row["classifier"] == judged.name]
        assert len(mine) == 101
        for row in mine[::10]:
            assert row["share"] == pytest.approx(
                (radius > row["radius"]).mean(), abs=1 / 24 + 1e-4
            )
            assert row["low"] <= row["share"] <= row["high"]


def test_rungs_are_ordered_by_radius(run):
    reading = Reading(run)
    assert [j.trained for j in reading.classifiers] == ["0", "8/255", "1"]
    assert reading.ordered and list(reading.ladders) == ["l2"]


def test_an_unfinished_run_says_so(run, tmp_path):
    import shutil

    shutil.copytree(run.folder, tmp_path / "run")
    unfinished = eq.Run(tmp_path / "run")
    unfinished.shards(THREAT, NAMES[0])[0].unlink()
    page = render(Reading(eq.Run(unfinished.folder)))
    assert "Unfinished: 6 of 7 shards" in page and "not yet" in page
    for path in unfinished.folder.glob("shards/**/*.parquet"):
        path.unlink()
    assert "Unfinished: 0 of 7 shards" in render(Reading(eq.Run(unfinished.folder)))


# Objectives


OBJECTIVES = (
    (1.0, "trades"),
    (0.0, "standard"),
    (0.5, "pgd"),
    (0.5, "trades"),
    (1.0, "pgd"),
    (0.5, "random-noise"),
    (0.5, None),
)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Rungs of three objectives in L2, and a classifier that names none, under two threats."""
    rungs = [
        eq.wrap(
            linear(10, (1, 8, 8), seed=k).net,
            name=f"{objective}-{radius:g}",
            facts={"norm": "l2" if radius else None, "radius": radius}
            | ({"objective": {"name": objective}} if objective else {}),
        )
        for k, (radius, objective) in enumerate(OBJECTIVES)
    ]
    probes = ["standard", "adversarial:linf:0.1?steps=5", THREAT]
    return eq.audit(rungs, "digits", probes, tmp_path_factory.mktemp("several") / "run", limit=24)


def test_every_objective_has_a_ladder_of_its_own_from_the_standard_rung(several):
    reading = Reading(several)
    ladders = {name: [j.name for j in rungs] for name, rungs in reading.ladders.items()}
    assert ladders == {
        "l2, trades": ["standard-0", "trades-0.5", "trades-1"],
        "l2": ["standard-0", "pgd-0.5", "None-0.5", "pgd-1"],
        "l2, random-noise": ["standard-0", "random-noise-0.5"],
    }
    assert not reading.ordered
    assert [under.threat.norm for under in reading.threats] == ["l2", "linf"]


def test_no_line_of_a_chart_goes_from_one_objective_to_another(several):
    reading = Reading(several)
    for figure in trade_off(reading):
        altair.LayerChart.from_dict(figure.spec).to_dict(validate=True)
        data = figure.spec["datasets"]
        rows = {row["classifier"]: row for row in data["rows"]}
        for name, rungs in reading.ladders.items():
            points = [point for point in data["rungs"] if point["ladder"] == name]
            assert [point["radius"] for point in points] == [j.radius for j in rungs]
            mine = [rows[j.name] for j in rungs]
            for key in ("x", "y"):
                assert sorted(p[key] for p in points) == sorted(row[key] for row in mine)
    along = along_ladder(reading)
    assert [figure.title for figure in along] == [
        "Trained against l2, trades",
        "Trained against l2",
        "Trained against l2, random-noise",
    ]
    members = [{r["classifier"] for r in figure.spec["datasets"]["rows"]} for figure in along]
    assert members == [{j.name for j in rungs} for rungs in reading.ladders.values()]


def test_the_summary_names_the_objective_where_there_are_several(several, run):
    first = tell(Reading(several)).sentences[0]
    assert re.match(r"Going from radius 0 to (0\.5|1) in training with pgd ", first)
    assert "in training with" not in tell(Reading(run)).sentences[0]
    page = render(Reading(several))
    assert "madry2018" in page and "zhang2019" in page and "tsipras2019" not in page


def test_every_network_has_ladders_of_its_own(tmp_path):
    rungs = [
        eq.wrap(
            linear(10, (1, 8, 8), seed=k).net,
            name=f"{network}-{radius:g}",
            facts={"norm": "l2" if radius else None, "radius": radius, "network": network},
        )
        for k, (network, radius) in enumerate(
            [
                ("deep", 1.0),
                ("deep", 0.0),
                ("flat", 0.0),
                ("flat", 0.5),
                ("flat", 1.0),
                ("one", 0.0),
            ]
        )
    ]
    run = eq.audit(rungs, "digits", ["standard", THREAT], tmp_path / "run", limit=24)
    reading = Reading(run)
    ladders = {name: [j.name for j in rungs] for name, rungs in reading.ladders.items()}
    assert ladders == {
        "l2, deep": ["deep-0", "deep-1"],
        "l2, flat": ["flat-0", "flat-0.5", "flat-1"],
    }
    assert not reading.ordered
    assert [j.name for j in reading.classifiers] == [rung.name for rung in rungs]
    for name, figure in zip(ladders, along_ladder(reading), strict=True):
        assert figure.title == f"Trained against {name}"
        shown = {row["classifier"] for row in figure.spec["datasets"]["rows"]}
        assert shown == set(ladders[name])
    (figure,) = trade_off(reading)
    drawn = [point["ladder"] for point in figure.spec["datasets"]["rungs"]]
    assert [drawn.count(name) for name in ladders] == [2, 3]
    assert "in training of deep" in tell(reading).sentences[0]
    # One network needs no name.
    alone = Reading(eq.audit(rungs[2:5], "digits", ["standard"], tmp_path / "alone", limit=24))
    assert list(alone.ladders) == ["l2"] and alone.ordered


# Verdicts that checks speak against


@pytest.fixture(scope="module")
def doubted(trained, tmp_path_factory):
    """An honest classifier beside one that hides its gradients."""
    return eq.audit(
        [
            eq.wrap(trained.net, name="open"),
            eq.wrap(zoo.Quantised(trained.net), name="rounded"),
        ],
        "digits",
        ["standard", f"adversarial:{DOUBTED}", f"transfer:{DOUBTED}"],
        tmp_path_factory.mktemp("doubted") / "run",
        limit=20,
    )


@pytest.fixture(scope="module")
def doubted_page(doubted):
    return unescape(render(Reading(doubted)))


def test_a_hidden_gradient_is_shown_and_an_open_one_is_not(doubted, doubted_page):
    warned = {(s.classifier, s.name) for s in doubted.soundness() if s.warns}
    assert ("rounded", "gradients") in warned
    assert not any(classifier == "open" for classifier, _ in warned)
    reading = Reading(doubted)
    (panel,) = panels(reading)
    assert panel.warnings == len(warned)
    cells = {name: dict(zip(panel.heads, cells, strict=True)) for name, cells in panel.rows}
    assert len(panel.heads) == 7
    marked = {name for name, row in cells.items() if (cell := row[panel.heads[0]]) and cell.warns}
    assert marked == {"rounded"}
    # What a member broke is gone from the next column, and what stands is what robust accuracy counts.
    (fall,) = waterfalls(reading)
    for name, _, left, _, _ in fall.rows:
        counts = [int(number) for number in left]
        assert counts == sorted(counts, reverse=True)
        robust = reading.robust_accuracy(name, reading.threats[0])
        assert robust
        assert counts[-1] == round(20 * robust.value)
    assert f"What speaks against the verdicts at {DOUBTED}" in doubted_page
    assert "the gradient does not say what small changes do" in doubted_page


def test_the_reading_knows_what_speaks_against_a_verdict(doubted):
    reading = Reading(doubted)
    (under,) = reading.threats
    assert reading.warnings("open", under.spec) == ()
    assert reading.warnings("rounded", under.spec) == tuple(
        s for s in doubted.soundness() if s.warns
    )
    assert (
        against(reading.warnings("rounded", under.spec)[:1], "it") == "1 check speaks against it"
    )
    assert against((1, 2), "it") == "2 checks speak against it" and against((), "it") == ""


def test_the_summary_names_whom_no_check_speaks_against(doubted):
    (only,) = tell(Reading(doubted)).sentences
    assert only.startswith(f"{apart('open')} alone has a robust accuracy that no check speaks")
    assert "rounded" not in only


def test_what_speaks_against_a_verdict_is_the_first_warning(doubted, doubted_page):
    first, *others = findings(Reading(doubted))
    warned = [s for s in doubted.soundness() if s.warns]
    about = f"{apart('rounded')} at {DOUBTED}"
    assert first.about == about and all(finding.about != about for finding in others)
    assert first.text[1:-1] == warned[0].finding[1:] and first.remedy == warned[0].remedy
    further = len(warned) - 1
    assert first.more == (f"{further} more check{'s warn' if further > 1 else ' warns'}")
    fold = doubted_page[doubted_page.index('class="warnings"') :]
    assert fold.index(first.text) < fold.index("Only 20 were audited")
    assert f'{first.more}, as <a href="#verdicts">the panel</a> shows.' in fold


def test_a_warned_number_is_marked_and_never_the_best(doubted, doubted_page):
    table = tabulate(Reading(doubted))
    cells = {name: dict(zip(table.heads, row, strict=True)) for name, _, row in table.rows}
    assert table.warned
    for head in (f"Robust accuracy at {DOUBTED}", "Mean linf radius"):
        honest, hidden = cells["open"][head], cells["rounded"][head]
        assert honest and hidden
        assert honest.best and not honest.warned
        assert hidden.warned and not hidden.best
        marked = f'<span class="unseen">warning: </span>{hidden.value}</span>'
        assert (
            f'<td class="warned"><span class="value"><span aria-hidden="true">! </span>{marked}'
            in doubted_page
        )
    plain = [row["Standard accuracy"] for row in cells.values()]
    assert not any(cell.warned for cell in plain if cell)
    assert "The highest value of a column without a warning is underlined" in doubted_page


def test_points_that_checks_speak_against_are_hollow(doubted, doubted_page, page):
    reading = Reading(doubted)
    for figure in (*trade_off(reading), *curves(reading)):
        altair.LayerChart.from_dict(figure.spec).to_dict(validate=True)
        assert figure.hollow
    (figure,) = trade_off(reading)
    says = {row["classifier"]: row["against"] for row in figure.spec["datasets"]["rows"]}
    assert says["open"] == "" and re.fullmatch(r"\d checks? speaks? against it", says["rounded"])
    assert f", though {says['rounded']}" in figure.alt
    hollow = [s for s in figure.spec["layer"] if {"filter": WARNED} in s.get("transform", ())]
    assert [layer["mark"]["fill"] for layer in hollow] == [PAPER]
    assert hollow[0]["encoding"]["tooltip"][-1]["field"] == "against"
    for sign in ("Hollow:", "Dashed curves:"):
        assert sign in doubted_page and sign not in page


def test_a_rung_that_checks_speak_against_is_hollow(run):
    reading = Reading(run)
    name = reading.classifiers[1].name
    reading.warnings = lambda classifier, probe: (1, 2) if classifier == name else ()
    (figure,) = along_ladder(reading)
    altair.LayerChart.from_dict(figure.spec).to_dict(validate=True)
    says = {(r["series"], r["classifier"]): r["against"] for r in figure.spec["datasets"]["rows"]}
    assert figure.hollow and {key for key, text in says.items() if text} == {
        ("robust at l2:0.5", name)
    }


def test_the_panel_explains_each_of_its_heads(doubted, doubted_page):
    shown = panels(Reading(doubted))
    explained = dict(meanings(shown))
    assert list(explained) == shown[0].heads and meanings([]) == []
    for head, meaning in explained.items():
        assert f"<dt>{head}</dt><dd>{meaning}</dd>" in doubted_page


# Sentences


class Told:
    """A reading of some rungs, or classifiers without one, whose answers and numbers of warnings are given outright."""

    standard = "standard"
    counterfactuals = ()
    record: dict = {"seed": 0}  # noqa: RUF012

    def __init__(self, answers, warned=None, *, ladder=True):
        self.warned = warned or {}
        under = SimpleNamespace(spec="a", threat=eq.L2(0.5), title="l2:0.5")
        self.threats = (under,)
        self.answers = answers
        self.classifiers = tuple(
            SimpleNamespace(
                name=name,
                trained=name,
                radius=float(name) if ladder else None,
                objective=None,
                network=None,
            )
            for name in answers
        )
        self.ladders = {"l2": self.classifiers} if ladder else {}

    def specs(self, kind):
        return []

    def warnings(self, name, probe):
        assert probe == "a"
        return range(self.warned.get(name, 0))

    def right(self, name, under=None):
        right = np.asarray(self.answers[name][under is not None], dtype=bool)
        return ByImage(np.arange(len(right)).astype(str).astype(object), right)

    def pair(self, before, after, under=None):
        return tuple(self.right(name, under).column for name in (before, after))

    def standard_accuracy(self, name):
        return self.share(self.answers[name][0])

    def robust_accuracy(self, name, under):
        return self.share(self.answers[name][1])

    def share(self, right):
        return SimpleNamespace(value=np.mean(right), n=len(right), low=0.0, high=1.0)


def ones(k, n=1000):
    return np.arange(n) < k


def test_the_summary_says_what_a_step_costs_and_buys():
    first, second = tell(
        Told(
            {"0": (ones(970), ones(300)), "1": (ones(900), ones(600)), "2": (ones(800), ones(598))}
        )
    ).sentences
    assert first.startswith(
        "Going from radius 0 to 1 in training costs 7.0 points of standard accuracy (97.0% to 90.0%"
    )
    assert "buys 30.0 points of robust accuracy at l2:0.5 (30.0% to 60.0%" in first
    assert "to radius 2, costs 10.0 points" in second
    assert "shows no difference in robust accuracy (60.0% to 59.8%" in second


def test_what_is_not_shown_is_not_claimed():
    (only,) = tell(Told({"0": (ones(970), ones(300)), "1": (ones(969), ones(302))})).sentences
    assert "costs" not in only and "buys" not in only and only.count("no difference") == 2
    assert "standard accuracy" in only and "and no difference in robust accuracy" in only


RUNGS = {"0": (ones(970), ones(300)), "1": (ones(900), ones(600)), "2": (ones(800), ones(700))}


def test_a_rung_that_checks_speak_against_is_not_picked_and_said_to_be_so():
    first, second = tell(Told(RUNGS, {"2": 3})).sentences
    assert first.startswith("Going from radius 0 to 1 ") and "though" not in first
    assert second.startswith("Going further, to radius 2,")
    assert second.endswith(
        ", though 3 checks speak against robust accuracy after training at radius 2."
    )
    # One rung was left to pick, so nothing is widened.
    assert "widened" not in tell(Told(RUNGS, {"2": 3})).method
    first, second = tell(Told(RUNGS, {"1": 3})).sentences
    assert first.startswith("Going from radius 0 to 2 ") and "though" not in first
    assert second == "Radius 1 is left out: checks speak against its robust accuracy."


def test_where_every_rung_is_warned_of_the_sentence_says_so():
    (only,) = tell(Told(RUNGS, {"0": 1, "1": 2, "2": 3})).sentences
    assert only.startswith("Going from radius 0 to 2 ")
    assert only.endswith(
        ", though checks speak against robust accuracy at both ends (1 and 3 of them)."
    )


def test_a_choice_is_among_classifiers_that_no_check_speaks_against():
    told = {"a": RUNGS["0"], "b": RUNGS["1"], "c": RUNGS["2"], "d": RUNGS["2"]}
    first, second = tell(Told(told, {"c": 1, "d": 2}, ladder=False)).sentences
    assert first.startswith(f"Choosing {apart('b')} over {apart('a')} costs 7.0 points")
    assert second == (
        f"{apart('c')} and {apart('d')} are left out: checks speak against their robust accuracy."
    )
    (first, *_) = tell(Told(told, ladder=False)).sentences
    assert first.startswith(f"Choosing {apart('c')} over {apart('a')} ")


def test_without_a_classifier_to_choose_the_summary_says_so():
    told = {"a": RUNGS["0"], "b": RUNGS["1"]}
    first, *others = tell(Told(told, {"a": 1, "b": 4}, ladder=False)).sentences
    assert first == "Checks speak against the robust accuracy of every classifier at l2:0.5."
    assert len(others) == 2 and others[1].endswith(", though 4 checks speak against that number.")


def test_numbers_are_written_as_people_write_them():
    assert percent(0.97166) == "97.2%" and percent(math.nan) == "–"
    assert [number(v) for v in (0.4829, 0.03137, 0.00149, math.inf)] == [
        "0.483",
        "0.0314",
        "0.00149",
        "none found",
    ]
    assert [duration(s) for s in (0.42, 59.4, 200, 7500)] == [
        "0.4 s",
        "59 s",
        "3 min 20 s",
        "2 h 5 min",
    ]
    assert day("2026-11-20T14:55:18+00:00") == "20 November 2026, 14:55 UTC"
