"""Logging: every step is told once, whatever happens; a logger that fails costs nothing; nobody is asked for a key."""

import json
import math
import sys
from types import ModuleType, SimpleNamespace

import pytest

import equipoise as eq
from equipoise.audit import log_run
from equipoise.cli import main
from equipoise.errors import EquipoiseError, import_extra
from equipoise.tracking import (
    MLflow,
    TensorBoard,
    TrackingWarning,
    Trail,
    WeightsAndBiases,
    load_logger,
)
from equipoise.tracking.logger import flat
from equipoise.tracking.mlflow import _plain
from equipoise.training import (
    DenoiserRecipe,
    Recipe,
    Standard,
    engine,
    fit,
    fit_denoiser,
    fitting,
    train_ladder,
)

RECIPE = Recipe(net="mlp", widths=(16,), epochs=4, limit=200, rate=1e-2)


class Fake:
    """Keeps what it was told; fails at the steps it is given."""

    def __init__(self, name="fake", fails=()):
        self.name, self.fails, self.calls = name, set(fails), []

    def __repr__(self):
        return f"Fake({self.name!r})"

    def start(self, name, settings, key):
        if "start" in self.fails:
            raise ConnectionError("no server")
        self.calls.append(("start", name, settings, key))

    def log(self, step, values):
        if step in self.fails:
            raise OSError("gone")
        self.calls.append(("log", step, values))

    def finish(self, status):
        if "finish" in self.fails:
            raise OSError("gone")
        self.calls.append(("finish", status))

    @property
    def steps(self):
        return [call[1] for call in self.calls if call[0] == "log"]


@pytest.fixture(scope="module")
def digits_train():
    return eq.load_images("digits", split="train")


def lines(folder):
    return [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]


def record(folder, name="Fake('fake')"):
    (known,) = json.loads((folder / "tracking.json").read_text())[name].values()
    return known


# Trainings


def test_a_training_tells_what_its_metrics_say(digits_train, tmp_path):
    fake = Fake()
    (rung,) = train_ladder(
        digits_train, [eq.L2(0)], RECIPE, tmp_path, accelerator="cpu", loggers=[fake]
    )
    start, *logged, end = fake.calls
    assert start[:2] == ("start", "l2-0") and end == ("finish", "finished")
    assert start[2]["data"] == "digits" and start[2]["recipe"]["epochs"] == 4
    written = lines(tmp_path / "l2-0")
    assert [(c[1], c[2]) for c in logged] == [
        (line["epoch"], {k: v for k, v in line.items() if k != "epoch"}) for line in written
    ]
    assert fake.steps == [1, 2, 3, 4] and rung.facts["selected"] in written


def test_a_denoiser_tells_what_its_metrics_say(digits_train, tmp_path):
    fake = Fake()
    recipe = DenoiserRecipe(width=4, steps=4, batch=8, limit=16, attention=())
    fit_denoiser(digits_train, recipe, tmp_path / "d", accelerator="cpu", loggers=[fake])
    assert fake.steps == [line["step"] for line in lines(tmp_path / "d")] == [1, 2, 3, 4]
    assert all({"loss", "rate"} <= call[2].keys() for call in fake.calls if call[0] == "log")


def test_a_finished_training_tells_a_logger_that_comes_later_everything(digits_train, tmp_path):
    fit(digits_train, Standard(), RECIPE, tmp_path / "f", accelerator="cpu")
    assert not (tmp_path / "f" / "tracking.json").exists()
    late, again = Fake(), Fake()
    fit(digits_train, Standard(), RECIPE, tmp_path / "f", loggers=[late])
    fit(digits_train, Standard(), RECIPE, tmp_path / "f", loggers=[again])
    assert late.steps == [1, 2, 3, 4] and late.calls[-1] == ("finish", "finished")
    assert again.calls == []


@pytest.mark.parametrize("saved", [True, False])
def test_an_interrupted_training_goes_on_without_telling_a_step_twice(
    digits_train, tmp_path, monkeypatch, saved
):
    if saved:
        monkeypatch.setattr(engine, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    first, second = Fake(), Fake()
    one = fitting._Fit._one_epoch

    def stopped(self):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return one(self)

    monkeypatch.setattr(fitting._Fit, "_one_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(digits_train, Standard(), RECIPE, tmp_path / "f", accelerator="cpu", loggers=[first])
    assert first.steps == [1, 2] and first.calls[-1] == ("finish", "interrupted")
    monkeypatch.setattr(fitting._Fit, "_one_epoch", one)
    fit(digits_train, Standard(), RECIPE, tmp_path / "f", accelerator="cpu", loggers=[second])
    assert second.steps == [3, 4] and second.calls[-1] == ("finish", "finished")
    assert first.calls[0][3] == second.calls[0][3], "the key names one training"
    assert len(lines(tmp_path / "f")) == 4


def test_a_logger_that_fails_costs_nothing_and_hears_the_rest_later(digits_train, tmp_path):
    bad, good = Fake("bad", fails=[2]), Fake("good")
    with pytest.warns(TrackingWarning, match=r"Fake\('bad'\) failed.*OSError: gone") as warned:
        fit(
            digits_train,
            Standard(),
            RECIPE,
            tmp_path / "f",
            accelerator="cpu",
            loggers=[bad, good],
        )
    assert len(warned) == 1
    assert bad.steps == [1] and good.steps == [1, 2, 3, 4]
    told = record(tmp_path / "f", "Fake('bad')")
    assert told["failure"] == "OSError: gone" and told["step"] == 1 and "status" not in told
    healed = Fake("bad")
    fit(digits_train, Standard(), RECIPE, tmp_path / "f", loggers=[healed])
    assert healed.steps == [2, 3, 4]
    assert record(tmp_path / "f", "Fake('bad')")["failure"] is None


def test_logging_changes_no_weights(digits_train, tmp_path):
    plain = fit(digits_train, Standard(), RECIPE, tmp_path / "a", accelerator="cpu")
    told = fit(
        digits_train, Standard(), RECIPE, tmp_path / "b", accelerator="cpu", loggers=[Fake()]
    )
    assert plain.fingerprint() == told.fingerprint()


# Trails


@pytest.mark.parametrize("moment", ["start", "finish"])
def test_failures_at_the_ends_are_survived_too(tmp_path, moment):
    bad = Fake(fails=[moment])
    with pytest.warns(TrackingWarning), Trail(tmp_path, "n", "i", {}, [bad]) as trail:
        trail.log(1, {"a": 1})
    assert record(tmp_path)["step"] == (1 if moment == "finish" else -1)
    well = Fake()
    with Trail(tmp_path, "n", "i", {}, [well]) as trail:
        trail.log(1, {"a": 1})
    assert well.steps == ([] if moment == "finish" else [1])
    assert record(tmp_path)["status"] == "finished"


def test_an_error_of_the_work_passes_through(tmp_path):
    fake = Fake()
    with pytest.raises(ZeroDivisionError), Trail(tmp_path, "n", "i", {}, [fake]):
        _ = 1 / 0
    assert fake.calls[-1] == ("finish", "failed")


def test_only_finite_numbers_are_told(tmp_path):
    fake = Fake()
    with Trail(tmp_path, "n", "i", {}, [fake]) as trail:
        trail.log(0, {"a": math.inf, "b": math.nan, "c": "text", "d": 2, "e": True, "f": None})
    assert fake.calls[1] == ("log", 0, {"d": 2.0, "e": 1.0})


def test_other_work_in_the_same_folder_begins_afresh(tmp_path):
    fakes = [Fake(), Fake()]
    for identity, fake in zip("ab", fakes, strict=True):
        with Trail(tmp_path, "n", identity, {}, [fake]) as trail:
            trail.log(1, {"a": 1})
    assert [fake.steps for fake in fakes] == [[1], [1]]
    assert fakes[0].calls[0][3] != fakes[1].calls[0][3]


def test_loggers_without_a_name_of_their_own_are_known_by_their_class(tmp_path):
    class Plain:
        def start(self, name, settings, key): ...
        def log(self, step, values): ...
        def finish(self, status): ...

    with Trail(tmp_path, "n", "i", {}, [Plain()]) as trail:
        trail.log(1, {})
    (called,) = json.loads((tmp_path / "tracking.json").read_text())
    assert called.endswith("Plain") and "0x" not in called


def test_no_logger_leaves_no_trace(tmp_path):
    with Trail(tmp_path, "n", "i", {}, []) as trail:
        trail.log(1, {"a": 1})
    assert not list(tmp_path.iterdir())


def test_settings_become_flat():
    assert flat({"a": {"b": {"c": (1, 2)}}, "d": None}) == {"a.b.c": "(1, 2)", "d": "None"}


# Audits


def test_an_audit_tells_its_summary_once(trained, tmp_path):
    run = eq.audit(trained, "digits", ["standard"], tmp_path / "r", limit=20)
    fake, again, more = Fake(), Fake(), Fake()
    log_run(run, [fake])
    log_run(run, [again])
    (_, name, settings, _), (_, step, values), end = fake.calls
    (accuracy,) = [s for s in run.summary() if s.name == "standard accuracy"]
    assert name == trained.name and step == 0 and end == ("finish", "finished")
    assert values["standard/standard accuracy"] == accuracy.value
    assert values["standard/standard accuracy/low"] == accuracy.low and values["warnings"] == 0
    assert settings["images"] == 20 and settings["probes"] == ["standard"]
    assert again.calls == []
    log_run(eq.audit(trained, "digits", ["standard", "gradients"], run.folder, limit=20), [more])
    assert any(name.startswith("gradients/") for name in more.calls[1][2])


# The loggers


@pytest.mark.parametrize(
    "text, logger",
    [
        ("tensorboard", TensorBoard()),
        ("tensorboard:a/b:c", TensorBoard("a/b:c")),
        ("wandb:team", WeightsAndBiases("team")),
        ("mlflow:http://localhost:5000", MLflow("http://localhost:5000")),
    ],
)
def test_specs_name_loggers(monkeypatch, text, logger):
    for name in ("torch.utils.tensorboard", "wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert load_logger(text) == logger


def test_mistakes_say_what_to_do(monkeypatch, capsys, tmp_path):
    with pytest.raises(EquipoiseError, match="Did you mean 'tensorboard'"):
        load_logger("tensorbord")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(EquipoiseError, match=r"pip install 'equipoise\[wandb\]'"):
        load_logger("wandb")
    monkeypatch.chdir(tmp_path)
    for verb in ("train", "denoise", "audit"):
        with pytest.raises(SystemExit) as left:
            main([verb, "--log", "wandb"])
        assert left.value.code == 2 and "equipoise[wandb]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_import_that_breaks_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "brokenpackage.py").write_text("raise RuntimeError('bad build')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EquipoiseError, match=r"bad build.*equipoise\[mlflow\]"):
        import_extra("brokenpackage", extra="mlflow", feature="Logging")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_back_what_was_logged(digits_train, tmp_path):
    pytest.importorskip("tensorboard")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    for _ in range(2):  # the second time there is nothing left to tell
        fit(
            digits_train,
            Standard(),
            RECIPE,
            tmp_path / "rung",
            accelerator="cpu",
            loggers=[TensorBoard(str(tmp_path / "logs"))],
        )
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name.startswith("rung-")
    events = reader.EventAccumulator(str(folder)).Reload()
    written = lines(tmp_path / "rung")
    for name in ("loss", "held_out_accuracy", "score"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(line["epoch"], pytest.approx(line[name])) for line in written]
    assert "settings/text_summary" in events.Tags()["tensors"]


def wandb_stub(monkeypatch, calls):
    """What is used of wandb 0.31, with its own signatures."""
    module = ModuleType("wandb")

    class Run:
        def log(self, data, step=None, commit=None):
            calls.append(("log", data, step))

        def finish(self, exit_code=None):
            calls.append(("finish", exit_code))

    def init(
        entity=None,
        project=None,
        dir=None,
        id=None,
        name=None,
        config=None,
        mode=None,
        reinit=None,
        resume=None,
    ):
        calls.append(("init", project, id, name, config, mode, resume, reinit, dir))
        return Run()

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)


@pytest.fixture
def keyless(monkeypatch, tmp_path):
    """No account anywhere."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "key, netrc, mode, given",
    [
        (None, None, None, "offline"),
        ("k" * 40, None, None, None),
        (None, "api.wandb.ai", None, None),
        (None, "example.org", None, "offline"),
        (None, None, "disabled", None),
        (None, None, "offline", None),
        ("k" * 40, None, "online", None),
    ],
)
def test_wandb_stays_offline_without_a_key_and_leaves_the_mode_to_the_user(
    keyless, monkeypatch, tmp_path, capsys, key, netrc, mode, given
):
    calls = []
    wandb_stub(monkeypatch, calls)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    if netrc:
        (tmp_path / "netrc").write_text(f"machine {netrc} login user password {'k' * 40}\n")
    with Trail(tmp_path / "w", "rung", "i", {"a": 1}, [WeightsAndBiases("p")]) as trail:
        trail.log(3, {"loss": 0.5})
    (_, project, run_id, name, config, passed, resume, reinit, where), logged, end = calls
    assert (project, name, config, passed) == ("p", "rung", {"a": 1}, given)
    assert resume == "allow" and reinit == "create_new" and where == "runs" and len(run_id) == 8
    assert logged == ("log", {"loss": 0.5}, 3) and end == ("finish", 0)
    assert ("no key found" in capsys.readouterr().err) == (given == "offline")


def test_wandb_never_asks_for_a_key(keyless, monkeypatch, tmp_path):
    calls = []
    wandb_stub(monkeypatch, calls)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(EquipoiseError, match="WANDB_MODE=online: there is no key"):
        Trail(tmp_path / "w", "rung", "i", {}, [WeightsAndBiases()]).__enter__()
    assert calls == []


def mlflow_stub(monkeypatch, runs):
    """What is used of mlflow 3.17, with its own signatures, on a list of runs."""

    class Client:
        def __init__(self, tracking_uri=None, registry_uri=None):
            self.uri = tracking_uri

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name, artifact_location=None, tags=None):
            return f"experiment {name}"

        def search_runs(self, experiment_ids, filter_string="", run_view_type=1, max_results=1000):
            return [run for run in runs if f"'{run.tags['equipoise.key']}'" in filter_string]

        def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
            info = SimpleNamespace(run_id=f"run{len(runs)}", run_name=run_name)
            runs.append(
                SimpleNamespace(info=info, tags=tags, metrics=[], params=[], status="RUNNING")
            )
            return runs[-1]

        def _of(self, run_id):
            return next(run for run in runs if run.info.run_id == run_id)

        def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
            self._of(run_id).metrics += metrics
            self._of(run_id).params += params

        def update_run(self, run_id, status=None, name=None):
            self._of(run_id).status = status

        def set_terminated(self, run_id, status=None, end_time=None):
            self._of(run_id).status = status

    module = ModuleType("mlflow")
    module.MlflowClient = Client
    module.entities = SimpleNamespace(
        Metric=lambda key, value, timestamp, step: (key, value, step),
        Param=lambda key, value: (key, value),
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)


def test_mlflow_goes_on_with_its_run(monkeypatch, tmp_path):
    runs = []
    mlflow_stub(monkeypatch, runs)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    settings = {"recipe": {"epochs": 4}, "long": "x" * 900}
    with pytest.raises(KeyboardInterrupt), Trail(tmp_path, "n", "i", settings, [MLflow()]) as t:
        t.log(1, {"adversarial:l2:8/255/robust accuracy at l2:8/255": 0.25})
        raise KeyboardInterrupt
    assert runs[0].status == "KILLED"
    with Trail(tmp_path, "n", "i", settings, [MLflow()]) as trail:
        trail.log(1, {"loss": 9})
        trail.log(2, {"loss": 0.5})
    (run,) = runs
    assert run.status == "FINISHED" and run.info.run_name == "n"
    assert run.metrics == [
        ("adversarial_l2_8/255/robust accuracy at l2_8/255", 0.25, 1),
        ("loss", 0.5, 2),
    ]
    assert run.params == [("recipe.epochs", "4"), ("long", "x" * 500)]


@pytest.mark.parametrize(
    "name, plain",
    [("a:b?c=1", "a_b_c_1"), ("/a//../b", "_/a/_/_../b"), ("\u05e9 <x>", "_ _x_"), ("", "_")],
)
def test_mlflow_takes_every_name(name, plain):
    assert _plain(name) == plain


@pytest.mark.filterwarnings("ignore")
def test_mlflow_itself_holds_what_was_logged(monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    for last in (1, 2):
        with Trail(tmp_path, "n", "i", {"a": {"b": 1}}, [MLflow(uri)]) as trail:
            for step in range(last + 1):
                trail.log(step, {"adversarial:l2:8/255/x y": step / 2})
            trail._record["MLflow(uri=" + repr(uri) + ")"]["n"].pop("status", None)
            if last == 1:
                trail._active.clear()
    client = mlflow.MlflowClient(tracking_uri=uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "equipoise"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params == {"a.b": "1"}
    history = client.get_metric_history(run.info.run_id, "adversarial_l2_8/255/x y")
    assert [(m.step, m.value) for m in history] == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_wandb_itself_keeps_runs_offline(keyless, monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with Trail(tmp_path, "rung", "i", {"a": 1}, [WeightsAndBiases("p")]) as trail:
        trail.log(1, {"loss": 0.5})
    (folder,) = (tmp_path / "runs" / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb"))


# The command line


def test_the_command_logs_and_a_lost_logger_is_one_line(monkeypatch, tmp_path, capsys):
    calls = []
    wandb_stub(monkeypatch, calls)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.chdir(tmp_path)
    command = ["train", "--net", "mlp", "--epochs", "2", "--limit", "60", "--radii", "0"]
    main([*command, "--log", "wandb:p", "--device", "cpu"])
    assert [call[2] for call in calls if call[0] == "log"] == [1, 2]
    monkeypatch.setattr(sys.modules["wandb"], "init", lambda **_: 1 / 0)
    capsys.readouterr()
    main([*command, "--out", "other", "--log", "wandb:p", "--device", "cpu"])
    error = capsys.readouterr().err
    assert "equipoise: Logging l2-0 to WeightsAndBiases(project='p') failed" in error
    assert "ZeroDivisionError" in error and "Traceback" not in error and ".py" not in error
