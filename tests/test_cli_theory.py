"""`equipoise theory dichotomy` as people meet it, and the chart behind it."""

import json
import math
import re
import struct
import subprocess
import sys
import warnings
from html import unescape

import altair
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import fails

import equipoise as eq
from equipoise.cli import main
from equipoise.report.dichotomy import frontier_figure
from equipoise.report.drawing import draw
from equipoise.report.frontier import beyond, is_exact
from equipoise.theory import (
    CollapseWarning,
    Dichotomy,
    LinearRule,
    Rule,
    fit_linear,
    fitted_rules,
    known_rules,
    machines,
)

SMALL = ["--samples", "20", "--eps-train", "0.4"]


def run(capsys, *arguments):
    """Runs the command; returns the table's rows as name and numbers, and all that was printed."""
    main(["theory", "dichotomy", *map(str, arguments)])
    printed = capsys.readouterr()
    assert printed.err == ""
    rows = {}
    for line in printed.out.splitlines():
        found = re.fullmatch(r"(\S.*?)((?:\s{2,}\d\.\d{4})+)\s*", line)
        if found:
            rows[found[1]] = [float(number) for number in found[2].split()]
    return rows, printed.out


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("theory") / "page.html"
    main(["theory", "dichotomy", "--out", str(out)])
    return out.read_text(encoding="utf-8")


# The command


def test_the_table_has_the_closed_forms(tmp_path, capsys):
    rows, printed = run(capsys, "--out", tmp_path / "page.html")
    model = Dichotomy(0.95, 0.2, 100)
    weights = {
        "uniform": model.uniform(),
        "Bayes": model.bayes(),
        "robust feature": model.robust_feature(),
        "best linear at 0.4": model.best_linear(0.4),
        "SVM": model.svm(),
        "SVM at 0.05": model.svm(eps_train=0.05),
        "SVM at 0.4": model.svm(eps_train=0.4),
    }
    for name, w in weights.items():
        standard = model.accuracy(w)
        expected = [standard, model.accuracy(w, 0.4), model.bound(1 - standard)]
        assert rows[name] == pytest.approx(expected, abs=5.1e-5)
    assert rows["Bayes"] == [0.9919, 0.0567, 0.1541]
    for n, eps in ((50, 0.0), (500, 0.4)):
        fitted = fit_linear(*model.sample(n, 0), eps)
        expected = [model.accuracy(fitted.weights, radius, fitted.bias) for radius in (0, 0.4)]
        name = f"{n} samples" + (" at 0.4" if eps else "")
        assert rows[name][:2] == pytest.approx(expected, abs=5.1e-5)
    assert "no rule of any kind is right on more than 0.9500 at 0.4" in printed
    assert f"Page: {tmp_path / 'page.html'}" in printed.replace("\n", "")


def test_no_bound_is_claimed_below_its_radius(tmp_path, capsys):
    rows, printed = run(capsys, "--eps", 0.1, *SMALL, "--out", tmp_path / "page.html")
    assert len(rows["Bayes"]) == 2
    assert "at most" not in printed
    assert "more than 0.9595 at 0.1" in printed
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Bound of Theorem 2.1" not in page
    assert "from ε = 2η = 0.4 on" in page


def test_a_collapse_is_one_line_and_no_dot(tmp_path, capsys):
    out = tmp_path / "page.html"
    command = ["--eps-train", "0.1", "0.95", "--samples", "20", "--out", str(out)]
    rows, printed = run(capsys, *command)
    lines = [line for line in printed.splitlines() if line.startswith("Warning: ")]
    assert len(lines) == 1 and "has the minimiser 0" in lines[0] and "2 p - 1 = 0.9" in lines[0]
    assert "CollapseWarning" not in printed
    assert "SVM at 0.95" not in rows and re.search(r"SVM at 0\.95\s+answers nothing", printed)
    page = out.read_text(encoding="utf-8")
    assert page.count("has the minimiser 0") == 1 and "answers nothing" in page
    assert {row["rule"] for row in charted(page)["rules"]} == set(rows)


def test_samples_and_seed_change_the_fitted_rules_only(tmp_path, capsys):
    out = tmp_path / "page.html"
    first, _ = run(capsys, *SMALL, "--out", out)
    again, _ = run(capsys, *SMALL, "--out", out)
    other, _ = run(capsys, *SMALL, "--seed", 1, "--out", out)
    assert first == again
    assert {name for name in first if first[name] != other[name]} == {
        "20 samples",
        "20 samples at 0.4",
    }


def test_radii_may_be_fractions(tmp_path, capsys):
    given = ["--eps", "2/5", "--eps-train", "1/10", "--samples", 20]
    rows, _ = run(capsys, *given, "--out", tmp_path / "page.html")
    assert rows["Bayes"] == [0.9919, 0.0567, 0.1541]
    assert "SVM at 0.1" in rows


def test_options_can_stand_in_a_file(tmp_path, capsys):
    config = tmp_path / "theory.yaml"
    config.write_text("theory:\n  dichotomy:\n    eta: 0.1\n    d: 400\n    samples: [20]\n")
    rows, _ = run(capsys, "--config", config, "--out", tmp_path / "page.html")
    assert rows["Bayes"][1] == 0.0752
    assert "50 samples" not in rows


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--p", "1.2"], "below 1"),
        (["--eta", "0"], "eta above 0"),
        (["--eps=-0.1"], "at least 0"),
        (["--eps", "nan"], "Cannot read the radius --eps 'nan'"),
        (["--eps", "8/0"], "a fraction such as 8/255"),
        (["--eps-train", "0.1", "inf"], "Cannot read the radius --eps-train 'inf'"),
        (["--decay", "0"], "positive weight decay"),
        (["--samples", "1"], "at least 2 samples"),
        (["--samples", "many"], "--samples"),
        (["--samples", "50", "99010"], "at most 99,009 samples of 101 features, not 99,010"),
        (["--seed=-1"], "a seed of at least 0"),
        (["--out", "chart.gif"], ".html, .svg, .png, .pdf"),
        (["--out", "chart"], ".html, .svg, .png, .pdf"),
        (["--dd", "3"], "--dd"),
    ],
    ids=" ".join,
)
def test_mistakes_get_one_line_and_no_file(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert words in fails(capsys, "theory", "dichotomy", *arguments)
    assert not list(tmp_path.iterdir())
    assert 'Did you mean "dichotomy"' in fails(capsys, "theory", "dichotmy")


def test_help_needs_nothing_heavy():
    script = (
        "import sys\nfrom equipoise.cli import app\n"
        "app(['theory', 'dichotomy', '--help'], result_action='return_value')\n"
        "heavy = {'torch', 'numpy', 'scipy', 'altair'} & set(sys.modules)\nassert not heavy, heavy"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "--eps-train" in shown


# The page


def charted(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])["charts"]["sheet-0"]["datasets"]


def test_the_page_asks_no_host_for_anything(page):
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href|action|data|poster)\s*=\s*["']?\s*(https?:)?//""", page)
    assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", page)


def test_the_page_says_what_the_model_says(page):
    words = unescape(
        re.sub(r"\s+", " ", re.sub(r"<script.*?</script>|<[^>]*>", " ", page, flags=re.S))
    )
    model = Dichotomy(0.95, 0.2, 100)
    _, most = model.frontier(model.log_odds)
    assert "right on 99.19% of inputs as they are, and on 5.67% when" in words
    assert (
        f"at most 15.41% of inputs so moved, and by the exact frontier on at most {most:.2%}."
        in words
    )
    assert "eprint = {1805.12152}" in words
    assert "equipoise theory dichotomy --p 0.95 --eta 0.2 --d 100 --eps 0.4" in words
    rules = known_rules(model, 0.4)
    for rule in rules:
        row = re.search(rf"{rule.name} ([\d.]+)% ([\d.]+)% ([\d.]+)%", words)
        assert row
        expected = (rule.standard, rule.robust, model.bound(1 - rule.standard))
        assert [float(cell) / 100 for cell in row.groups()] == pytest.approx(expected, abs=5.1e-5)
    dots = {row["rule"]: (row["standard"], row["robust"]) for row in charted(page)["rules"]}
    for rule in rules:
        assert dots[rule.name] == pytest.approx((rule.standard, rule.robust), abs=1e-6)


def test_the_same_command_writes_the_same_page(page, tmp_path):
    main(["theory", "dichotomy", "--out", str(tmp_path / "again.html")])
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("ending", "magic"), [(".svg", b"<svg"), (".png", b"\x89PNG"), (".PDF", b"%PDF")]
)
def test_pictures_by_ending(ending, magic, tmp_path, capsys):
    out = tmp_path / "pictures" / f"chart{ending}"
    _, printed = run(capsys, *SMALL, "--out", out)
    content = out.read_bytes()
    assert content.startswith(magic) and f"Picture: {out}" in printed.replace("\n", "")
    if ending == ".svg":
        text = content.decode()
        assert "var(" not in text and "#e66d1a" in text
        for words in ("exact frontier", "bound of Theorem 2.1", "no rule gets here", "Bayes"):
            assert words in text
        assert not re.search(r"""(href|src)\s*=\s*["']https?:""", text)
    if ending == ".png":
        width, height = struct.unpack(">II", content[16:24])
        assert width > 1500 and 900 < height < 1500


# The chart


def figure(model, eps):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        rules = known_rules(model, eps) + machines(model, eps, [0, model.eta], 0.1)
        rules += fitted_rules(model, eps, [30], [0, eps])
    return frontier_figure(model, rules, eps), rules


@pytest.mark.parametrize(
    ("model", "eps"),
    [
        (Dichotomy(), 0.4),
        *(
            pytest.param(model, eps, marks=pytest.mark.slow)
            for model, eps in (
                (Dichotomy(), 0.1),
                (Dichotomy(), 0.0),
                (Dichotomy(), 1.0),
                (Dichotomy(p=0.5), 0.4),
                (Dichotomy(eta=0.7), 1.4),
            )
        ),
    ],
)
def test_the_chart_is_valid_vega_lite(model, eps):
    drawn, _ = figure(model, eps)
    # Data has no schema, and takes long to be found to have none.
    spec = drawn.spec | {"datasets": {}}
    altair.LayerChart.from_dict(spec).to_dict(validate=True)


def test_lines_and_dots_are_the_theory():
    model = Dichotomy(0.95, 0.2, 100)
    drawn, rules = figure(model, 0.4)
    data = drawn.spec["datasets"]
    path = [(row["standard"], row["robust"]) for row in data["frontier"]]
    assert path[0] == pytest.approx(model.frontier(model.log_odds), abs=1e-6)
    assert path[-1] == pytest.approx((0.95, 0.95))
    assert all(robust <= model.bound(1 - standard) + 1e-4 for standard, robust in path)
    for row in data["bound"]:
        assert 19 * (1 - row["standard"]) == pytest.approx(row["robust"], abs=1e-4)
    assert len(data["rules"]) == len(rules)
    assert [name for _, _, name in drawn.key][-2:] == ["exact frontier", "bound of Theorem 2.1"]
    assert all(rule.name in drawn.alt for rule in rules)


@settings(max_examples=30, deadline=None)
@given(
    p=st.floats(0.5, 0.995),
    eta=st.floats(1e-3, 1.5),
    d=st.integers(1, 60),
    times=st.one_of(st.just(2.0), st.floats(0, 5)),
)
def test_no_rule_stands_on_grey(p, eta, d, times):
    """Whatever the settings."""
    model, eps = Dichotomy(p, eta, d), times * eta
    drawn, rules = figure(model, eps)
    edge = beyond(model, eps, 0.0)[:-2]
    farthest = model.best_robust_accuracy(eps)
    for rule in rules:
        assert rule.robust <= farthest + 1e-9
        highest = np.interp(rule.robust, *np.array([(r["robust"], r["standard"]) for r in edge]).T)
        # The frontier is drawn through points that are joined by straight lines.
        assert rule.standard <= highest + (1e-3 if is_exact(model, eps) else 2e-6)
    json.dumps(drawn.spec, allow_nan=False)


def test_rules_that_coincide_share_a_label():
    model = Dichotomy(0.95, 0.2, 100)
    rules = [
        Rule("one", 0.95, 0.95, "known"),
        Rule("two", 0.95, 0.9499, "machine"),
        Rule("three", 0.98, 0.2, "fitted"),
        Rule("none", 0.0, 0.0, "machine"),
    ]
    drawn = frontier_figure(model, rules)
    assert [row["label"] for row in drawn.spec["datasets"]["labels"]] == [
        "one and 1 more",
        "three",
    ]
    assert len(drawn.spec["datasets"]["rules"]) == 3
    assert draw(frontier_figure(model, []), ".svg").startswith(b"<svg")


# Rules


def test_a_fitted_rule_is_judged_as_an_endless_test_would():
    model = Dichotomy(0.9, 0.2, 30)
    (rule,) = fitted_rules(model, 0.3, [200], [0.3], seed=3)
    fitted: LinearRule = fit_linear(*model.sample(200, 3), 0.3)
    x, y = model.sample(200_000, seed=9)
    for eps, exact in ((0.0, rule.standard), (0.3, rule.robust)):
        error = math.sqrt(exact * (1 - exact) / len(y))
        assert abs(fitted.accuracy(x, y, eps) - exact) < 4.5 * error


def test_machines_without_a_decay_of_unit_norm_have_one_all_the_same():
    """Weak features that decide everything leave nothing for larger weights to gain."""
    model = Dichotomy(0.95, 1.0, 100)
    with pytest.raises(eq.EquipoiseError, match="unit norm"):
        model.svm()
    (rule,) = machines(model, 2.0, [0.0])
    assert rule.standard == pytest.approx(model.accuracy(model.svm(0.1)))
    (given,) = machines(Dichotomy(), 0.4, [0.0], decay=2.0)
    assert given.standard == Dichotomy().accuracy(Dichotomy().svm(2.0))
