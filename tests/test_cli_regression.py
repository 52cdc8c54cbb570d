"""`equipoise theory regression` as people meet it, the charts behind it, and what it says of the paper's claims."""

import json
import re
import struct
import warnings
from html import unescape

import altair
import numpy as np
import pytest
from test_cli import fails

import equipoise as eq
from equipoise.cli import main
from equipoise.report.drawing import draw
from equipoise.report.regression import statements, write_regression
from equipoise.report.reliance import against_radius, against_scale, against_shift
from equipoise.theory import NORMS, PairedDesign

CHARTS = (against_radius, against_scale, against_shift)
NAMES = {1: "l1", 2: "l2", NORMS[2]: "l∞"}


def run(capsys, *arguments):
    """Runs the command; returns the table's rows as name and numbers, and all that was printed."""
    main(["theory", "regression", *map(str, arguments)])
    printed = capsys.readouterr()
    assert printed.err == ""
    rows = {}
    for line in printed.out.splitlines():
        found = re.fullmatch(r"(\S+(?: \S+)*?)((?:\s{2,}(?:\d\.\d{4}|0|–))+)\s*", line)
        if found:
            rows[found[1]] = found[2].split()
    return rows, printed.out


def said(design):
    return statements(design, design.regressions())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("theory") / "page.html"
    main(["theory", "regression", "--out", str(out)])
    return out.read_text(encoding="utf-8")


# The command


def test_the_table_is_the_model(tmp_path, capsys):
    rows, printed = run(capsys, "--out", tmp_path / "page.html")
    assert rows["standard"] == ["0", "–", "0.2500", "0.2500", "0.2500"]
    assert rows["l1, scale 1"] == ["0.3695", "0.4610", "0.2897", "0.4308", "0.5719"]
    assert rows["l2, scale 2"][2:] == ["0.2833", "0.3967", "0.5100"]
    assert rows["l∞, scale 1"] == ["0.0000", "0.4933", "0.2638", "0.2638", "0.2638"]
    for scale in (1.0, 2.0):
        model = PairedDesign().model(scale)
        for p in NORMS:
            w = model.minimiser(p, 0.25)
            share, risk = model.reliance(w).share, model.risk(w, p, 0.25)
            found = [float(number) for number in rows[f"{NAMES[p]}, scale {scale:g}"][:2]]
            assert found == pytest.approx([share, risk], abs=5.1e-5)
    assert "1 / |ρ| = 1.25" in printed
    assert f"Page: {tmp_path / 'page.html'}" in printed.replace("\n", "")


def test_settings_reach_the_model(tmp_path, capsys):
    given = ["--rho=-0.5", "--scales", 3, "--noise", 0.1, "--eps", "8/255", "--pairs", 2]
    rows, printed = run(capsys, *given, "--out", tmp_path / "page.html")
    design = PairedDesign(rho=-0.5, scales=(3,), noise=0.1, eps=8 / 255, pairs=2)
    assert len(rows) == 4
    for one in design.regressions()[1:]:
        found = [float(number) for number in rows[f"{NAMES[one.p]}, scale 3"]]
        expected = [one.reliance.share, one.risk, *one.errors]
        assert found == pytest.approx(expected, abs=5.1e-5)
    assert "at -0.5" in printed and "1 / |ρ| = 2." in printed
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "--rho=-0.5 --scales 3 --noise 0.1 --eps 8/255 --pairs 2" in page


def test_options_can_stand_in_a_file(tmp_path, capsys):
    config = tmp_path / "theory.yaml"
    config.write_text("theory:\n  regression:\n    eps: 0.5\n    scales: [2]\n")
    rows, _ = run(capsys, "--config", config, "--out", tmp_path / "page.html")
    assert rows["l2, scale 2"][2:] == ["0.3693", "0.7296", "1.0899"]
    assert "l2, scale 1" not in rows


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rho", "1"], "above -1 and below 1"),
        (["--scales", "0"], "scale is finite and above 0"),
        (["--scales", "1", "1"], "all different"),
        (["--scales", "1", "2", "3", "4", "5"], "4 scales apart, not 5"),
        (["--noise=-1"], "noise of at least 0"),
        (["--eps=-0.1"], "A radius is finite and at least 0"),
        (["--eps", "nan"], "Cannot read the radius --eps 'nan'"),
        (["--eps", "1/0"], "a fraction such as 8/255"),
        (["--pairs", "0"], "a whole number of at least 1"),
        (["--pairs", "1000000000"], "up to 50 pairs"),
        (["--out", "chart.gif"], ".html, .svg, .png, .pdf"),
        (["--norm", "l2"], "--norm"),
    ],
    ids=" ".join,
)
def test_mistakes_get_one_line_and_no_file(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert words in fails(capsys, "theory", "regression", *arguments)
    assert not list(tmp_path.iterdir())


# The page


def charted(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])["charts"]


def test_the_page_has_three_charts_and_needs_no_network(page):
    assert list(charted(page)) == ["sheet-0", "sheet-1", "sheet-2"]
    assert re.findall(r'<\w+ [^>]*data-chart="([\w-]+)"', page) == [
        "sheet-0",
        "sheet-1",
        "sheet-2",
    ]
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href|action|data|poster)\s*=\s*["']?\s*(https?:)?//""", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_page_says_what_the_model_says(page):
    words = unescape(
        re.sub(r"\s+", " ", re.sub(r"<script.*?</script>|<[^>]*>", " ", page, flags=re.S))
    )
    for statement in said(PairedDesign()):
        assert statement in words
    assert "up to 36.9% of it" in words and "our choice, not the paper’s" in words
    assert "eprint = {2209.07592}" in words
    assert re.search(r"l∞, scale 2 0\.8038 0\.0490 6\.1% 0\.4887 0\.4933 0\.2673 0\.2981", words)
    command = "equipoise theory regression --rho=0.8 --scales 1 2 --noise 0.5 --eps 0.25 --pairs 1"
    assert command in words


def test_the_same_command_writes_the_same_page(page, tmp_path):
    main(["theory", "regression", "--out", str(tmp_path / "again.html")])
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("ending", [".svg", ".png", ".pdf"])
def test_pictures_hold_all_three_charts(ending, tmp_path):
    design = PairedDesign(scales=(2.0,))
    out = write_regression(design, design.regressions(), tmp_path / f"charts{ending}")
    content = out.read_bytes()
    if ending == ".svg":
        text = content.decode()
        assert "var(" not in text
        for words in ("Reliance against radius", "Onset against scale", "Error against shift"):
            assert words in text
        # Each chart keeps colours of its own: what is called standard is drawn in ink.
        assert re.search(r'fill="#1b1d22"[^>]*>standard<', text)
    elif ending == ".png":
        width, height = struct.unpack(">II", content[16:24])
        assert width > 1500 and 2000 < height < 3500
    else:
        assert content.startswith(b"%PDF")


# The charts


@pytest.mark.parametrize("make", CHARTS)
def test_the_charts_are_valid_vega_lite(make):
    spec = make(PairedDesign(scales=(1.0, 3.0))).spec | {"datasets": {}}
    altair.LayerChart.from_dict(spec).to_dict(validate=True)


def test_lines_are_the_theory():
    design = PairedDesign()
    rows = against_radius(design).spec["datasets"]["rows"]
    for row in rows[::37]:
        p = next(p for p, name in NAMES.items() if name == row["series"])
        model = design.model(float(row["kind"].removeprefix("scale ")))
        share = model.reliance(model.minimiser(p, row["x"])).share
        assert row["y"] == pytest.approx(share, abs=2e-5)
    rows = against_scale(design).spec["datasets"]["rows"]
    linf = {row["x"]: row["y"] for row in rows if row["series"] == "l∞"}
    assert linf[1.25] == 0
    assert all((share > 0) == (scale > 1.25) for scale, share in linf.items())
    rows = against_shift(design).spec["datasets"]["rows"]
    for name, errors in (("standard", (0.25, 0.25)), ("l1", (0.2897, 0.5719))):
        line = [row for row in rows if row["series"] == name and row["kind"] == "scale 1"]
        ends = [line[0], line[-1]]
        assert [row["x"] for row in ends] == [0.8, -0.8]
        assert [row["y"] for row in ends] == pytest.approx(errors, abs=5e-5)


def test_names_at_the_ends_of_lines_do_not_meet():
    for make in CHARTS:
        spec = make(PairedDesign(rho=0.5, scales=(0.5, 1.0, 2.0, 3.0))).spec
        names = spec["datasets"]["names"]
        encoding = next(each["encoding"] for each in spec["layer"] if "color" in each["encoding"])
        wide, high = (np.ptp(encoding[axis]["scale"]["domain"]) for axis in ("x", "y"))
        for k, one in enumerate(names):
            for other in names[:k]:
                apart = abs(one["label"] - other["label"]) * 300 / high
                assert apart > 14.9 or abs(one["x"] - other["x"]) > 0.049 * wide


@pytest.mark.parametrize(
    "design",
    [
        PairedDesign(rho=0.0),
        PairedDesign(eps=0.0),
        PairedDesign(eps=100.0),
        PairedDesign(noise=0.0),
        PairedDesign(noise=0.0, eps=0.6),
        PairedDesign(rho=-0.9, scales=(1e-3, 1e5)),
        PairedDesign(pairs=3, scales=(2.0,)),
    ],
    ids=repr,
)
def test_odd_settings_are_drawn_all_the_same(design):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = [make(design) for make in CHARTS]
    for figure in figures:
        json.dumps(figure.spec, allow_nan=False)
    assert draw(figures, ".svg").startswith(b"<svg")


# The claims


def test_what_is_said_of_the_claims():
    first, second, third = said(PairedDesign())
    assert "Here: it does, at every scale and every radius that leaves weights" in first
    assert (
        "l1: 36.9% at scale 1, 19.5% at scale 2; l2: 23.4% at scale 1, 16.5% at scale 2." in first
    )
    assert (
        "not enough: |ρ| times it must be larger" in second and "l∞: 0 at scale 1, 6.1%" in second
    )
    assert "standard training keeps its error of 0.2500" in third
    assert "at scale 1, l1 from 0.2897 to 0.5719, l2 from 0.2746 to 0.4215; at scale 2," in third
    assert "Where no spurious feature is relied on, it stays." in third


@pytest.mark.parametrize(
    ("design", "first", "second", "third"),
    [
        (PairedDesign(rho=0.0), "nothing to rely on", "never, without", "no other training"),
        (PairedDesign(eps=0.0), "training is standard", "0 at scale 1", "no other training"),
        (PairedDesign(noise=0.0), "Without noise small", "Without noise", "no other training"),
        (PairedDesign(eps=9.0), "not at this radius", "no weights left", "no other training"),
        (PairedDesign(eps=1.9), "not at every scale", "no weights left", "at scale 2, l1 from"),
        (PairedDesign(eps=1e-9), "l1: under 0.1% at scale 1", "under 0.1% at", "l1 from 0.2500"),
    ],
    ids=["no correlation", "no radius", "no noise", "far", "less far", "near"],
)
def test_no_claim_is_made_that_the_model_does_not_bear_out(design, first, second, third):
    found = said(design)
    for words, statement in zip((first, second, third), found, strict=True):
        assert words in statement
    assert ("it does" in found[0]) == all(
        one.relies for one in design.regressions() if one.p in (1, 2)
    )


def test_a_design_that_is_none_is_refused():
    for options, words in (
        ({"scales": ()}, "all different"),
        ({"eps": -1}, "A radius"),
        ({"pairs": 51}, "up to 50 pairs"),
        ({"rho": 2}, "above -1"),
    ):
        with pytest.raises(eq.EquipoiseError, match=words):
            PairedDesign(**options)
