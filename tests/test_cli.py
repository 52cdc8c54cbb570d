"""The command line as people meet it: fast help, one-line errors, exit codes, Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import equipoise as eq
from equipoise.audit import Soundness
from equipoise.classifiers import save_classifier
from equipoise.cli import main
from equipoise.cli.audit import print_summary


@pytest.fixture
def rung(trained, tmp_path):
    save_classifier(trained, tmp_path / "rung")
    return f"local:{tmp_path / 'rung'}"


def fails(capsys, *arguments, code=2):
    """Runs a command that must fail with one line on standard error; returns the line."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("equipoise: ")
    assert "Traceback" not in error
    return error


def test_help_and_import_need_no_torch():
    script = (
        "import sys, equipoise\nfrom equipoise.cli import app\napp(['--help'], result_action='return_value')\n"
        "app(['audit', '--help'], result_action='return_value')\n"
        "heavy = {'torch', 'numpy', 'duckdb', 'sklearn', 'lightning_fabric', 'altair', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    for verb in ("audit", "train", "check", "report"):
        assert verb in shown


def test_audit_check_and_report(rung, tmp_path, capsys):
    out = tmp_path / "run"
    main(
        [
            "audit",
            rung,
            "--data",
            "digits",
            "--limit",
            "24",
            "--out",
            str(out),
            "--probe",
            "standard",
        ]
    )
    assert "standard accuracy" in capsys.readouterr().out
    assert (out / "report.html").exists()
    assert len(eq.Run(out).table()) == 24
    main(["report", str(out), "--out", str(tmp_path / "page.html")])
    assert (tmp_path / "page.html").read_text() == (out / "report.html").read_text()
    main(["check", rung, "--data", "digits"])
    assert "pass" in capsys.readouterr().out


def test_check_exits_with_1_on_a_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("softmaxed.py").write_text(
        "import torch\n\ndef build():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10),"
        " torch.nn.Softmax(1))\n"
    )
    with pytest.raises(SystemExit) as stop:
        main(["check", "softmaxed:build", "--data", "digits"])
    assert stop.value.code == 1
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "probabilities" in shown


def test_train_writes_a_ladder_and_reads_a_configuration(tmp_path, capsys):
    config = tmp_path / "ladder.yaml"
    config.write_text(
        "train:\n  net: mlp\n  widths: [8]\n  epochs: 1\n  radii: [0, 8/255]\n  norm: linf\n"
    )
    main(
        [
            "train",
            "--config",
            str(config),
            "--out",
            str(tmp_path / "ladder"),
            "--steps",
            "1",
            "--device",
            "cpu",
        ]
    )
    assert sorted(p.name for p in (tmp_path / "ladder").iterdir()) == ["linf-0", "linf-8_255"]
    ladder = [
        "train",
        "--config",
        str(config),
        "--out",
        str(tmp_path / "ladder"),
        "--device",
        "cpu",
    ]
    main([*ladder, "--objective", "trades", "--steps", "1"])
    rung = eq.load_classifier(f"local:{tmp_path / 'ladder' / 'trades-linf-8_255'}")
    assert rung.facts["objective"]["name"] == "trades"
    assert (
        eq.load_classifier(f"local:{tmp_path / 'ladder' / 'linf-8_255'}").facts["radius"]
        == 8 / 255
    )
    config.write_text("train:\n  epocs: 1\n")
    error = fails(capsys, "train", "--config", str(config), "--out", str(tmp_path / "other"))
    assert "epocs" in error
    assert "Did you mean --epochs?" in error
    assert "no such file" in fails(capsys, "train", "--config", str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["audti"], 'Did you mean "audit"'),
        (["audit", "--dta", "digits"], "Did you mean --data"),
        (["audit", "local:x"], "needs --data"),
        (["audit", "--data", "digits"], "needs a classifier"),
        (["audit", "--probe", "standard"], "the embedded default has its own settings"),
        (["audit", "local:/no/where", "--data", "digits"], "there is no folder /no/where"),
        (["audit", "{rung}", "--data", "digist"], "Did you mean 'digits'"),
        (["audit", "{rung}", "--data", "digits", "--split", "tset"], "test"),
        (["audit", "{rung}", "--data", "digits", "--probe", "adversarial:l2"], "write a number"),
        (["audit", "{rung}", "--data", "digits", "--limit", "many"], "--limit"),
        (["audit", "{rung}", "--data", "digits", "--device", "tpu9"], "Try --device cpu"),
        (["train", "--radii", "half", "--out", "nowhere"], "write a number"),
        (["train", "--data", "folder:/no/photos", "--out", "nowhere"], "/no/photos"),
        (["train", "--objective", "pdg", "--out", "nowhere"], 'Did you mean "pgd"'),
        (["train", "--objective", "standard", "--out", "nowhere"], "--radii 0"),
        (["report", "/no/run"], "no run.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_get_one_line(arguments, words, rung, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert words in fails(capsys, *[argument.format(rung=rung) for argument in arguments])
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_ctrl_c_is_130_and_loses_nothing(rung, tmp_path):
    """SIGINT in the middle of an audit; then the same command again."""
    command = [
        sys.executable, "-m", "equipoise", "audit", rung, "--data", "digits", "--out", str(tmp_path / "run"),
        "--probe", "standard", "--probe", "adversarial:l2:0.5?steps=3000", "--limit", "300",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 60
    # The images and the standard probe are done: the rest is the long attack.
    while len(list((tmp_path / "run" / "shards").rglob("*.parquet"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("equipoise: interrupted. What was finished is kept")
    assert "Traceback" not in error
    run = eq.Run(tmp_path / "run")
    assert run.record["status"] == "running"
    assert len(run.images()) > 0


def test_ctrl_c_while_a_file_is_written_comes_right_after(tmp_path):
    from equipoise.files import write_atomically

    def write(path):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        path.write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", write)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "whole"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_middle_of_a_query(monkeypatch, capsys):
    """DuckDB answers a SIGINT with an exception of its own."""

    def query(tokens):
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr("equipoise.cli.entry._with_config", query)
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_audit_ends_with_its_warnings(capsys):
    def check(name, warns):
        return Soundness(
            "[net]", "adversarial:l2:1", name, 9, 10, 0.5, 1.0, warns, "so it is", "Do."
        )

    checks = (check("gradients", True), check("queries", False))
    run = SimpleNamespace(summary=tuple, classifiers=(), soundness=lambda: checks)
    print_summary(run)
    printed = capsys.readouterr().out
    assert printed.count("Warning:") == 1
    assert "Warning: [net], adversarial:l2:1: so it is. Do." in printed


@pytest.mark.slow
def test_the_embedded_default(tmp_path):
    """The README's first command and its example: from nothing to a page whose numbers show the trade-off."""
    command = [sys.executable, "-m", "equipoise", "audit"]
    started = time.monotonic()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    first = time.monotonic() - started
    started = time.monotonic()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    again = time.monotonic() - started
    print(f"\nembedded default: {first:.0f} s, repeated in {again:.1f} s")
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    example = readme.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "first.html").exists()
    run = eq.Run(tmp_path / "runs/digits/audit")
    assert (tmp_path / "runs/digits/report.html").stat().st_size < 10e6
    summary = {(s.classifier, s.name): s for s in run.summary()}
    rungs = run.classifiers
    assert len(rungs) >= 5
    robust = [s for s in run.summary() if s.name.startswith("robust accuracy at l2")]
    first_rung, last_rung = (
        next(s for s in robust if s.classifier == name) for name in (rungs[0], rungs[-1])
    )
    assert last_rung.low > first_rung.high
    assert all(summary[name, "accuracy on counterfactuals"].n == 150 for name in rungs)
    assert summary[rungs[0], "accuracy on accepted counterfactuals"].low > 0.8
    assert not any(s.warns for s in run.soundness())
    # One run of MinimumNorm has the whole curve; at the radius of training it nearly has WorstCase's verdict.
    columns = run.columns("adversarial:l2:1", "l2-1")
    alone = np.isin(columns["broken_by"].astype(str), ["clean", "MinimumNorm"]).mean()
    assert 0 <= columns["success"].mean() - alone <= 0.005
    lost = summary[rungs[-1], "standard accuracy"].high
    assert lost < summary[rungs[0], "standard accuracy"].low
