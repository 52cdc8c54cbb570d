"""The verbs of counterfactuals as people meet them: denoise, counterfactuals, audit with a set, study."""

import os
import signal
import subprocess
import sys
import time

import pytest
from test_cli import fails

import equipoise as eq
from equipoise.classifiers import save_classifier
from equipoise.cli import main
from equipoise.counterfactuals import CounterfactualSet
from equipoise.training import DenoiserRecipe, fit_denoiser


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("denoiser") / "digits"
    recipe = DenoiserRecipe(width=8, steps=30, batch=32, warm_up=5)
    fit_denoiser(eq.load_images("digits", "train"), recipe, folder, accelerator="cpu")
    return folder


def test_from_a_denoiser_to_an_audit(denoiser, trained, tmp_path, capsys):
    save_classifier(trained, tmp_path / "rung")
    rung, out = f"local:{tmp_path / 'rung'}", tmp_path / "ces"
    command = [
        "counterfactuals", "digits", "--denoiser", f"local:{denoiser}", "--out", str(out), "--limit", "4",
        "--per-class", "1", "--steps", "4", "--oracle", rung, "--features", rung, "--neighbourhood", "laplace:20%",
    ]  # fmt: skip
    main(command)
    shown = capsys.readouterr().out
    assert "36 counterfactuals of 4 images" in shown
    assert "Frechet" in shown
    made = CounterfactualSet(out)
    assert made.record["settings"]["method"] == "particles"
    scale = eq.load_denoiser(f"local:{denoiser}").scale
    width = float(made.record["settings"]["neighbourhood"].partition(":")[2])
    assert width == pytest.approx(0.2 * scale, rel=1e-4)
    main([
        "audit", rung, "--data", "digits", "--limit", "8", "--probe", "standard",
        "--probe", f"counterfactual:{out}", "--out", str(tmp_path / "run"),
    ])  # fmt: skip
    run = eq.Run(tmp_path / "run")
    found = {s.name: s for s in run.summary()}["accuracy on counterfactuals"]
    assert found.n == 4  # a larger random sample contains the smaller one
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Laplace" in page
    capsys.readouterr()
    again = fails(capsys, *command, "--guidance", "3")
    assert "guidance is 2.0 there and 3.0 now" in again


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--denoiser", "local:nowhere"], "nowhere"),
        (
            ["--denoiser", "{denoiser}", "--neighbourhood", "gausian:0.2"],
            "Did you mean 'gaussian'?",
        ),
        (["--denoiser", "{denoiser}", "--neighbourhood", "gaussian"], "needs a width"),
        (["--denoiser", "{denoiser}", "--neighbourhood", "gaussian:-1"], "positive width"),
        (["--denoiser", "{denoiser}", "--method", "tilted"], "cannot sample the neighbourhood"),
        (["--denoiser", "{denoiser}", "--method", "exakt"], "Did you mean 'exact'?"),
        (["--denoiser", "{denoiser}", "--guidance", "-1"], "guidance of 0 or more"),
        (["--denoiser", "{denoiser}", "--churn", "5"], "cannot use churn=5"),
        (["--denoiser", "{denoiser}", "--steps", "1"], "at least 2 steps"),
        (["--denoiser", "{denoiser}", "--per-class", "0"], "per_class=0"),
        (["--denoiser", "{denoiser}", "--oracle", "local:nobody"], "nobody"),
    ],
    ids=lambda v: " ".join(v[2:]) if isinstance(v, list) else "",
)
def test_mistakes_are_one_line_and_leave_nothing(denoiser, tmp_path, capsys, arguments, words):
    given = [a.replace("{denoiser}", f"local:{denoiser}") for a in arguments]
    out = tmp_path / "out"
    error = fails(capsys, "counterfactuals", "digits", "--limit", "2", "--out", str(out), *given)
    assert words in error
    assert not out.exists()


def test_unknown_studies_are_refused(capsys):
    assert "counterfactual" in fails(capsys, "study", "counterfactuals")


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_made(denoiser, tmp_path):
    out = tmp_path / "ces"
    command = [
        sys.executable, "-m", "equipoise", "counterfactuals", "digits", "--denoiser", f"local:{denoiser}",
        "--out", str(out), "--steps", "60",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 120
    while not (out / "set.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("equipoise: interrupted. What was finished is kept")
    made = CounterfactualSet(out)
    assert made.record["status"] == "running"
    assert made.verify() == {}


def test_the_public_names_load_by_themselves():
    """In a fresh interpreter, where nothing else has imported the rooms."""
    script = (
        "import equipoise as eq\n"
        "for name in eq.__all__: getattr(eq, name)\n"
        "eq.counterfactuals.Laplace(0.2), eq.diffusion.MixtureDenoiser, eq.load_denoiser"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
