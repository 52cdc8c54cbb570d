"""Exports: what is read back is what the run holds, charts are those of the page, and a file is whole or not there."""

import csv
import json
import math
import re

import altair
import numpy as np
import pandas as pd
import pytest
from conftest import linear

import equipoise as eq
from equipoise.audit import Claim, write_claims, write_exhibits
from equipoise.cli import main
from equipoise.report.export import (
    charts,
    file_names,
    formulas,
    tables,
    write_all,
    write_chart,
    write_relation,
    write_table,
)
from equipoise.report.page import render
from equipoise.report.reading import Reading

HOSTILE = "=cmd|' /C calc'!A0"
NAMES = (HOSTILE, 'a,"b"\n\u05e9\U0001f98a', "</svg><script>alert(1)</script>")
PROBES = ("standard", "adversarial:l2:0.5?steps=5", "feature_use:digits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rungs = [
        eq.wrap(linear(10, (1, 8, 8), seed=k).net, name=name, facts={"norm": "l2", "radius": k})
        for k, name in enumerate(NAMES)
    ]
    made = eq.audit(rungs, "digits", PROBES, tmp_path_factory.mktemp("run") / "run", limit=24)
    claim = Claim("H1", "@SUM(1)", None, "mean", math.nan, math.nan, 1 / 3, 0.0, 24, "undecided")
    write_claims(made.folder, "mine", [claim])
    rows = [{"size": 10, "value": 0.1, "set": "a"}, {"size": 20, "value": 1, "set": None}]
    write_exhibits(made.folder, "mine", {"odd name/x": rows, "none": []})
    return eq.Run(made.folder)


def read(path):
    """Texts as they stand; pandas has read numbers in several ways over the years."""
    return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])


def same(read_back, frame):
    """Every value is the same, where an empty text counts as missing and lists are as DuckDB writes them."""
    assert list(read_back.columns) == list(frame.columns) and len(read_back) == len(frame)
    for name, kind in frame.dtypes.items():
        mine, whole = read_back[name], frame[name]
        if kind.kind in "fiu":
            numbers = np.array([float(text) for text in mine.fillna("nan")])
            numbers = numbers.astype(np.float32) if kind == np.float32 else numbers
            np.testing.assert_array_equal(numbers, whole.to_numpy(float, na_value=np.nan), name)
        elif not whole.map(lambda value: isinstance(value, np.ndarray)).any():
            texts = [None if pd.isna(v) or v == "" else str(v) for v in whole]
            lower = whole.map(lambda value: isinstance(value, bool)).any()
            texts = [t and t.lower() if lower else t for t in texts]
            assert [None if pd.isna(v) else v for v in mine] == texts, name


@pytest.mark.parametrize("name", ["measurements", *PROBES, "summary", "images"])
def test_csv_reads_back_as_the_table_to_the_last_digit(run, tmp_path, name):
    path = write_table(run, name, tmp_path / "t.csv", exact=True)
    frame = tables(run)[name].df()
    same(read(path), frame)
    assert len(frame) == {"summary": len(run.summary()), "images": 24}.get(name, len(frame)) > 0


@pytest.mark.parametrize("ending", [".parquet", ".json"])
def test_parquet_and_json_hold_the_table(run, tmp_path, ending):
    for name in ("measurements", "summary", "claims"):
        frame = tables(run)[name].df()
        path = write_table(run, name, tmp_path / f"{name}{ending}")
        if ending == ".parquet":
            found = run._connection.read_parquet(str(path)).df()
            pd.testing.assert_frame_equal(found, frame)
            continue
        rows = json.loads(path.read_text(), parse_constant=pytest.fail)
        assert [list(row) for row in rows] == [list(frame.columns)] * len(frame)
        for column in frame.select_dtypes("number"):
            values = [np.nan if row[column] is None else float(row[column]) for row in rows]
            np.testing.assert_array_equal(values, frame[column].astype(float))


def test_the_measurements_are_the_runs_table(run):
    found = tables(run)
    assert set(found) == {
        "measurements",
        *PROBES,
        "images",
        "summary",
        "soundness",
        "spending",
        "claims",
        "exhibits:odd name/x",
    }
    pd.testing.assert_frame_equal(found["measurements"].df(), run.table().df())
    assert [tuple(row) for row in found["summary"].fetchall()] == [
        (s.classifier, s.probe, s.name, s.value, s.low, s.high, s.n, s.method, s.unit, s.better)
        for s in run.summary()
        if math.isfinite(s.low)
    ]
    classes = found["images"].project('label, "class"').fetchall()
    assert all(int(name) == label for label, name in classes)
    assert found["exhibits:odd name/x"].fetchall() == [(10, 0.1, "a"), (20, 1.0, None)]
    spent = found["spending"].df().set_index(["classifier", "probe"])
    mine = run.table(PROBES[1]).df().groupby("classifier")["forwards"].sum()
    assert spent.loc[(HOSTILE, PROBES[1]), "forwards"] == mine[HOSTILE]


def test_columns_of_one_name_and_two_types_stand_apart(run):
    frame = run.table().df().set_index("probe")
    both = frame[["correct", "feature_use_correct"]].notna().groupby("probe").all()
    assert both.loc["standard"].tolist() == [True, False]
    assert both.loc["feature_use:digits"].tolist() == [False, True]


def test_infinity_and_nothing_survive(tmp_path, run):
    relation = run._connection.sql(
        "SELECT unnest([1e-300, 0.1::DOUBLE, 'inf'::DOUBLE, '-inf'::DOUBLE, NULL]) AS v, "
        "unnest([0.1::FLOAT, 'inf'::FLOAT, 'nan'::FLOAT, NULL, 16777217::FLOAT]) AS f, "
        "[1.5, 'inf'::DOUBLE, NULL, 'nan'::DOUBLE] AS l"
    )

    found = pd.read_csv(write_relation(relation, tmp_path / "n.csv", exact=False))
    assert found["v"].tolist()[:4] == [1e-300, 0.1, math.inf, -math.inf]
    assert math.isnan(found["v"][4]) and math.isnan(found["f"][3])
    rows = json.loads(
        write_relation(relation, tmp_path / "n.json", exact=False).read_text(),
        parse_constant=pytest.fail,
    )
    assert [row["v"] for row in rows] == [1e-300, 0.1, "inf", "-inf", None]
    assert rows[2]["f"] is None and rows[0]["l"] == [1.5, "inf", None, None]
    assert pd.read_json(tmp_path / "n.json")["v"].tolist()[2] == math.inf


# Spreadsheets


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "＝1"])
def test_a_text_that_a_spreadsheet_would_run_is_quoted_in_csv_alone(run, tmp_path, text):

    relation = run._connection.sql("SELECT ? AS name, -1.5 AS number", params=[text])
    assert formulas(relation) == 1
    with write_relation(relation, tmp_path / "g.csv", exact=False).open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "number"], [f"'{text}", "-1.5"]]
    with write_relation(relation, tmp_path / "g.csv", exact=True).open(newline="") as file:
        assert list(csv.reader(file))[1][0] == text
    assert json.loads(write_relation(relation, tmp_path / "g.json", exact=False).read_text())[
        0
    ] == {
        "name": text,
        "number": -1.5,
    }


def test_harmless_texts_stay(run, tmp_path):
    relation = run._connection.sql("SELECT unnest(['a=b', 'x-1', '''a', '', '3']) AS name")
    assert formulas(relation) == 0

    with write_relation(relation, tmp_path / "g.csv", exact=False).open(newline="") as file:
        assert [row[0] for row in list(csv.reader(file))[1:]] == ["a=b", "x-1", "'a", "", "3"]


def test_the_command_says_how_many_texts_it_changed(run, tmp_path, capsys):
    out = tmp_path / "s.csv"
    main(["export", str(run.folder), "--table", "summary", "--out", str(out)])
    mine = sum(s.classifier == HOSTILE for s in run.summary())
    assert f"{mine} texts that a spreadsheet would run" in capsys.readouterr().out
    assert set(read(out)["classifier"]) == {f"'{HOSTILE}", *NAMES[1:]}
    main(["export", str(run.folder), "--table", "summary", "--out", str(out), "--exact"])
    assert "spreadsheet" not in capsys.readouterr().out
    assert set(read(out)["classifier"]) == set(NAMES)


# Charts


def test_charts_are_those_of_the_page_and_stand_alone(run):
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', render(Reading(run)), re.S
    )
    assert found
    page = json.loads(found[1])["charts"]
    drawn = charts(run)
    assert len(page) >= 4 and page.keys() <= drawn.keys()
    assert {name: drawn[name].spec for name in page} == page
    # The page draws other pairs once a reader chooses them.
    assert all(name.startswith("trade_off-") for name in drawn.keys() - page.keys())
    assert (
        drawn["trade_off-0"].title
        == "The trade-off · Standard accuracy against robust accuracy at l2:0.5"
    )
    assert [name for _, _, name in drawn["curves-0"].key] == [
        j.name for j in Reading(run).classifiers
    ]


@pytest.mark.parametrize(
    "ending, magic", [(".svg", b"<svg"), (".png", b"\x89PNG\r\n\x1a\n"), (".pdf", b"%PDF-")]
)
def test_a_chart_becomes_a_picture(run, tmp_path, ending, magic):
    out = write_chart(run, "robustness curves · threat L2:0.5", tmp_path / f"c{ending.upper()}")
    content = out.read_bytes()
    assert content.startswith(magic) and len(content) > 5000
    if ending == ".svg":
        text = content.decode()
        assert "<script" not in text and "var(--" not in text and "&lt;script" in text
        assert "Robustness curves · Threat l2:0.5" in text


def test_every_chart_draws_and_everything_goes_into_a_folder(run, tmp_path):
    files = write_all(run, tmp_path / "all", table=".parquet")
    assert all(file.is_file() for file in files) and len(files) == len(set(files))
    drawn = [file for file in files if file.suffix == ".svg"]
    assert [file.stem for file in drawn] == list(charts(run))
    assert all(file.read_text(encoding="utf-8").startswith("<svg") for file in drawn)
    assert {file.stem for file in files if file.suffix == ".parquet"} >= {
        "measurements",
        "adversarial_l2_0.5_steps_5",
        "exhibits_odd_name_x",
    }
    assert all(file.is_relative_to(tmp_path / "all") for file in files)


def test_a_warned_chart_says_what_hollow_points_mean(run):
    from dataclasses import replace

    from equipoise.report.drawing import HOLLOW, draw

    figure = charts(run)["trade_off-0"]
    assert HOLLOW[:14] in draw(replace(figure, hollow=True), ".svg", classifiers=3).decode()
    altair.LayerChart.from_dict(figure.spec)


# Refusals


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--table", "sumary", "--out", "x.csv"], "Did you mean 'summary'?"),
        (["--table", "summary", "--out", "x.xls"], "Use one of .csv, .parquet, .json."),
        (["--chart", "curve-0", "--out", "x.svg"], "Did you mean 'curves-0'?"),
        (["--chart", "curves-0", "--out", "x.gif"], "Use one of .svg, .png, .pdf."),
        (["--chart", "zzz", "--out", "x.svg"], "Known: trade_off-0"),
        (["--table", "summary"], "--table needs a file"),
        (["--out", "x.csv"], "--out x.csv needs what to write"),
        (["--table", "summary", "--all", "d"], "--table and --all at once"),
        (["--license", "mit"], "--license mit goes with --model-card"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["export", str(run.folder), *arguments])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_alone_it_lists_what_there_is(run, capsys):
    main(["export", str(run.folder)])
    listed = capsys.readouterr().out
    assert "exhibits:odd name/x" in listed and "trade_off-0" in listed


def test_a_failed_export_leaves_the_old_file(run, tmp_path, monkeypatch):
    out = tmp_path / "t.csv"
    out.write_text("old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(eq.EquipoiseError, match="No space left"):
        write_table(run, "summary", out)
    assert out.read_text() == "old" and list(tmp_path.iterdir()) == [out]


def test_an_unfinished_run_exports_what_it_has(run, tmp_path):
    import shutil

    half = tmp_path / "half"
    shutil.copytree(run.folder, half)
    for shard in half.glob("shards/*/*/*.parquet"):
        shard.unlink()
    found = tables(eq.Run(half))
    assert "measurements" not in found and len(found["images"]) == 24
    assert charts(eq.Run(half)) == {}


# Pictures


def test_pictures_become_a_folder_that_opens_as_images(run, tmp_path):
    import io

    from PIL import Image

    from equipoise.report.picture_files import write_pictures

    folder = tmp_path / "pictures"
    main(["export", str(run.folder), "--pictures", str(folder)])
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list(folder.rglob("*.png"))) == 24 * (1 + len(NAMES))
    assert {row["shows"] for row in rows} == {"original", PROBES[1]}
    kept = dict(run.images().filter("picture IS NOT NULL").select("id", "picture").fetchall())
    for row in rows:
        if row["shows"] == "original":
            assert (folder / row["file_name"]).read_bytes() == kept[row["id"]]
            assert row["prediction"] == row["classifier"] == ""
    digits = eq.load_images("digits", split="test")
    labels = {
        example.id: digits.classes[example.label] for example in map(digits.read, range(600))
    }
    assert all(row["label"] == labels[row["id"]] for row in rows)
    opened = eq.load_images(f"folder:{folder}")
    assert len(opened) == len(rows)
    example = opened[0]
    (row,) = [row for row in rows if row["file_name"] == example.id]
    assert opened.classes[example.label] == row["label"]
    shown = Image.open(io.BytesIO((folder / example.id).read_bytes()))
    assert example.image.shape[-2:] == (shown.height, shown.width)
    with pytest.raises(eq.EquipoiseError, match="something is there"):
        write_pictures(run, folder)


def test_file_names_stay_inside_and_apart():
    names = ["..", ".hidden", "a/b", "a:b", "A", "a", "", "\u05e9", "x" * 300]
    found = list(file_names(dict.fromkeys(names)).values())
    assert len({name.lower() for name in found}) == len(names)
    assert all(name and name[0] != "." and "/" not in name and len(name) < 100 for name in found)
