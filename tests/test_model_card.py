"""The model card: its numbers are the run's, the Hub's own reader takes it, and names stay names."""

import math
import re

import pytest
import yaml
from conftest import linear

import equipoise as eq
from equipoise.cli import main
from equipoise.report.model_card import _called, _fenced, _inert, model_card, write_model_card

HOSTILE = "---\nlicense: mit\n---\n<script>alert(1)</script> | [x](javascript:1) `` @me"
RIGHT = "\u05e9\u05dc\u05d5\u05dd\U0001f98a"
PLAIN = "l2-0.5"
PROBES = ["standard", "adversarial:l2:0.5?steps=5"]
COMMAND = "equipoise audit '```x' --data digits"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rungs = [
        eq.wrap(
            linear(10, (1, 8, 8), seed=k).net,
            name=name,
            facts={"norm": "l2", "radius": 0.5, "objective": {"name": "pgd"}},
        )
        for k, name in enumerate((HOSTILE, RIGHT, PLAIN))
    ]
    out = tmp_path_factory.mktemp("run") / "run"
    return eq.audit(rungs, "digits", PROBES, out, limit=24, pictures=0, command=COMMAND)


def parts(card):
    """Head and body, cut as the Hub cuts them."""
    found = re.match(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))", card)
    assert found
    return yaml.safe_load(found[2]), card[found.end() :]


@pytest.mark.parametrize("name", [HOSTILE, RIGHT, PLAIN])
def test_the_head_holds_every_number_of_the_summary(run, name):
    head, _ = parts(model_card(run, name))
    assert head["library_name"] == "equipoise" and "license" not in head
    (index,) = head["model-index"]
    assert index["name"] == " ".join(name.split())
    (result,) = index["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"type": "digits", "name": "digits", "split": "test"}
    warned = {c.probe for c in run.soundness() if c.classifier == name and c.warns}
    expected = {
        s.name.lower(): (s.value, s.low, s.high, s.n)
        for s in run.summary()
        if s.classifier == name
        and s.better != "neither"
        and math.isfinite(s.value)
        and s.probe not in warned
    }
    found = {
        m["name"].lower(): (m["value"], m["args"]["low"], m["args"]["high"], m["args"]["images"])
        for m in result["metrics"]
    }
    assert found == expected and "standard accuracy" in found
    assert not any("verif" in key for m in result["metrics"] for key in m)
    types = {m["name"]: m["type"] for m in result["metrics"]}
    assert types["Robust accuracy at l2:0.5"] == "accuracy"


def test_the_hub_reads_it(run, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    out = write_model_card(run, HOSTILE, tmp_path / "README.md", licence="apache-2.0")
    card = hub.ModelCard.load(out)
    assert card.data.license == "apache-2.0" and card.data.library_name == "equipoise"
    assert card.data.model_name == " ".join(HOSTILE.split())
    results = {r.metric_name: r for r in card.data.eval_results}
    (accuracy,) = [
        s for s in run.summary() if s.name == "standard accuracy" and s.classifier == HOSTILE
    ]
    standard = results["Standard accuracy"]
    assert standard.metric_value == accuracy.value and standard.metric_type == "accuracy"
    assert standard.dataset_type == "digits" and standard.dataset_split == "test"
    assert standard.verified is None
    again = hub.ModelCard(str(card))
    assert again.data.to_dict() == card.data.to_dict()


def test_the_body_says_how_it_was_measured(run):
    _, body = parts(model_card(run, PLAIN))
    (s,) = [s for s in run.summary() if s.name == "standard accuracy" and s.classifier == PLAIN]
    assert f"| Standard accuracy | {100 * s.value:.1f}% |" in body and body.startswith(
        "\n# l2-0.5"
    )
    for word in (
        "24 images",
        "upper bound",
        "- Trained within: l2 0.5",
        "- Objective: pgd",
        "- Seed: 0",
        "equipoise 0",
        "Only 24 were audited",
        "@inproceedings{croce2020,",
        "@article{clopper1934,",
        "@inproceedings{madry2018,",
    ):
        assert word in body, word
    assert f"````sh\n{COMMAND}\n````" in body
    assert "@inproceedings{zhang2019" not in body


@pytest.mark.parametrize("name", [HOSTILE, RIGHT])
def test_names_stay_names(run, name):
    _, body = parts(model_card(run, name))
    prose = re.sub(r"`{3,}.*?`{3,}", "", body, flags=re.S)
    assert "<script" not in prose and "](javascript" not in prose and "@me" not in prose
    assert prose.count("\n# ") == 1 and "license: mit" not in prose
    rows = [line for line in prose.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    if name == RIGHT:
        assert f"# &#8296;{RIGHT[:4]}&#{ord(RIGHT[4])};&#8297;" in prose


@pytest.mark.parametrize(
    "text, shown",
    [
        ("robust accuracy at linf:8/255", "robust accuracy at linf:8/255"),
        ("a|b\n*c*", "a&#124;b &#42;c&#42;"),
        ("1. x", "1&#46; x"),
        ("https://x.org", "https&#58;&#47;&#47;x&#46;org"),
        ("www.x.org", "www&#46;x&#46;org"),
        ("&amp;", "&#38;amp&#59;"),
    ],
)
def test_text_is_inert(text, shown):
    assert _inert(text) == shown


def test_a_fence_is_longer_than_any_inside():
    assert _fenced("a ```` b", "sh") == "`````sh\na ```` b\n`````"
    assert _fenced("a", "sh").startswith("```sh\n")


@pytest.mark.parametrize(
    "spec, kind, name",
    [
        ("digits", "digits", "digits"),
        ("folder:/home/somebody/secret/birds/?size=64", "folder", "folder birds (size=64)"),
        ("parquet:C:\\Users\\me\\set", "parquet", "parquet set"),
        ("hf:owner/name", "owner/name", "owner/name"),
    ],
)
def test_images_are_named_without_the_folders_above(spec, kind, name):
    assert _called(spec) == (kind, name)


def test_numbers_that_checks_speak_against_are_marked_and_not_in_the_head(run, monkeypatch):
    from dataclasses import replace

    from equipoise.audit import Run

    warned = [
        replace(c, warns=True, finding="it hides its gradients", remedy="Use BPDA.")
        if c.classifier == PLAIN and c.name == "gradients"
        else c
        for c in run.soundness()
    ]
    monkeypatch.setattr(Run, "soundness", lambda _: tuple(warned))
    head, body = parts(model_card(run, PLAIN))
    names = [m["name"] for m in head["model-index"][0]["results"][0]["metrics"]]
    assert "Standard accuracy" in names and not any(name.startswith("Robust") for name in names)
    assert "| Robust accuracy at l2:0.5 ⚠️ |" in body and "it hides its gradients" in body


def test_another_file_is_left_alone(run, tmp_path, capsys):
    out = tmp_path / "README.md"
    out.write_text("# Mine")
    command = ["export", str(run.folder), "--model-card", PLAIN, "--out", str(out)]
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2 and "not made by this command" in capsys.readouterr().err
    assert out.read_text() == "# Mine"
    out.unlink()
    main([*command, "--license", "mit"])
    main(command)
    assert "license" not in parts(out.read_text())[0]


def test_an_unknown_classifier_is_a_mistake(run):
    with pytest.raises(eq.EquipoiseError, match=r"Did you mean 'l2-0\.5'"):
        model_card(run, "l2-05")
