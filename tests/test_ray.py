"""On Ray: the same table and the same sets whatever the number of workers, and whoever dies on the way."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import Linear
from test_audit import photos, rows, two_class_net
from test_counterfactual_sets import brightness_oracle, grey_set, sampler

import equipoise as eq
from equipoise.audit import preparing
from equipoise.audit.plan import make_plan
from equipoise.cluster import find_cluster
from equipoise.cluster.team import DEATHS, Team
from equipoise.counterfactuals import make_set
from equipoise.errors import EquipoiseError

PROBES = ["standard", "adversarial:l2:0.75?steps=5"]
WAIT = 120.0


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two CPUs, which the tests of this file share."""
    ray = pytest.importorskip("ray")
    found = find_cluster("ray")
    assert found is not None
    with found.connected(num_cpus=2, object_store_memory=80 * 2**20):
        yield ray


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(preparing, "make_plan", partial(make_plan, size=20))


def pair():
    return [eq.wrap(Linear(torch.eye(10, 64) * k, torch.zeros(10)), name=f"x{k}") for k in (1, 30)]


def audit(out, classifiers=None, **settings):
    asked = {"limit": 50, "pictures": 4, "shown": False} | settings
    return eq.audit(classifiers or pair(), "digits", PROBES, out, **asked)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "make_plan", partial(make_plan, size=20))
        return audit(tmp_path_factory.mktemp("local") / "run")


def same_table(run, local):
    pictures = [r.pictures(PROBES[1]).fetchall() for r in (run, local)]
    return (
        rows(run) == rows(local)
        and pictures[0] == pictures[1]
        and run.images().fetchall() == local.images().fetchall()
    )


class Work:
    """Whatever a test of the cluster itself has done."""

    def __init__(self, folder):
        self.folder, self.calls = Path(folder), 0

    def __call__(self, item):
        self.calls += 1
        kind, number = item
        if kind == "die" or (kind == "die once" and not (self.folder / str(number)).exists()):
            (self.folder / str(number)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "refuse":
            raise EquipoiseError(f"Cannot do {number}.")
        if kind == "break":
            raise ZeroDivisionError("a mistake of ours")
        return os.getpid(), self.calls, torch.get_num_threads(), torch.cuda.is_available()


def spread(folder, items, **settings):
    proof = folder / "proof"
    proof.touch()
    found = find_cluster("ray", **settings)
    assert found is not None
    return dict(found.spread(Work(folder), items, near=lambda item: item[0], shared=proof))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"on": "dask"}, "Cannot work on 'dask'"),
        ({"on": "rey"}, "Did you mean 'ray'"),
        ({"on": "local", "workers": 2}, "workers to work on 'local'"),
        ({"on": "ray", "workers": 0}, "workers=0"),
        ({"on": "ray", "cpus_per_worker": 0}, "0 cpus"),
        ({"on": "ray", "cpus_per_worker": 1.5}, "1.5 cpus"),
        ({"on": "ray", "cpus_per_worker": float("nan")}, "nan cpus"),
        ({"on": "ray", "gpus_per_worker": -1}, "-1 gpus"),
        ({"on": "ray", "gpus_per_worker": 0.5, "device": "cpu"}, "0.5 GPUs"),
        ({"on": "ray", "gpus_per_worker": 0, "device": "cuda"}, "0 GPUs"),
        ({"on": "ray", "device": "cuda:1"}, "Ray says which GPU"),
        ({"on": "ray://127.0.0.1:9"}, "Cannot reach Ray at 'ray://127.0.0.1:9'"),
        ({"on": "ray://nowhere"}, "ray://HOST:PORT"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, settings, words):
    pytest.importorskip("ray")
    with pytest.raises(EquipoiseError, match=words.replace("(", r"\(")):
        audit(tmp_path / "run", **settings)
    with pytest.raises(EquipoiseError, match=words.replace("(", r"\(")):
        make_set(grey_set(), sampler(), tmp_path / "set", **settings)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "set").exists()


def test_an_address_in_the_environment_has_to_answer(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(EquipoiseError, match=r"'127.0.0.1:9' \(RAY_ADDRESS\)"):
        find_cluster("ray")


def test_without_ray_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EquipoiseError, match=r"pip install 'equipoise\[ray\]'"):
        find_cluster("ray")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_table_is_that_of_one_process(cluster, local, tmp_path, workers):
    run = audit(tmp_path / "run", on="ray", workers=workers, cpus_per_worker=0.5)
    assert same_table(run, local)
    machine = run.record["machine"]
    assert (machine["on"], machine["workers"], machine["device"]) == ("ray", workers, "cpu")
    assert run.record["status"] == "complete"
    more = audit(tmp_path / "run", on="ray", limit=50, classifiers=[*pair(), reversed_pair()])
    assert len(rows(more)) == 3 * 2 * 50


def reversed_pair():
    return eq.wrap(Linear(-torch.eye(10, 64), torch.zeros(10)), name="other")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_set_is_that_of_one_process(cluster, tmp_path, monkeypatch, workers):
    monkeypatch.setattr("equipoise.counterfactuals.making.ROWS", 12)
    made = [
        make_set(
            grey_set(9), sampler(), tmp_path / name, oracles=[brightness_oracle()], **settings
        )
        for name, settings in (("local", {}), ("ray", {"on": "ray", "workers": workers}))
    ]
    records = [json.loads((one.folder / "set.json").read_text()) for one in made]
    files = [
        [
            shard[split]
            for shard in record["shards"].values()
            for split in ("test", "same", "noise")
        ]
        for record in records
    ]
    assert len(files[0]) == 3 * 5
    assert files[0] == files[1]  # names, checksums and rows
    for file in files[1]:
        assert (made[1].folder / file["file"]).is_file()


@pytest.mark.slow
def test_workers_have_their_threads_and_keep_their_work(cluster, tmp_path):
    items = [(kind, number) for number in range(6) for kind in "ab"]
    found = spread(tmp_path, items, workers=2)
    assert set(found) == set(items)
    assert {threads for _, _, threads, _ in found.values()} == {1}
    assert not any(gpu for *_, gpu in found.values())
    # Calls are counted in the work itself: each worker counts its own from 1.
    counted = [(pid, calls) for pid, calls, *_ in found.values()]
    assert len({pid for pid, _ in counted}) <= 2
    for pid in {pid for pid, _ in counted}:
        mine = sorted(calls for who, calls in counted if who == pid)
        assert mine == list(range(1, len(mine) + 1))


class Hand:
    def __init__(self, ray, name):
        self.call = SimpleNamespace(remote=partial(ray.give, name))


class Pretence:
    """What a `Team` needs of Ray: workers finish their items in the order in which they were given them."""

    class exceptions:
        RayError = RayActorError = RuntimeError
        RayTaskError = KeyError

    def __init__(self, dies=()):
        self.log, self.dies, self.hired, self.given = [], list(dies), 0, 0

    def hire(self):
        self.hired += 1
        name = f"w{self.hired}"
        return Hand(self, name), (name, None, 0)

    def give(self, name, item):
        self.given += 1
        self.log.append((name, item))
        return name, item, self.given

    def wait(self, references, **_):
        return [min(references, key=lambda reference: reference[2])], None

    def get(self, reference):
        if reference[1] in self.dies:
            self.dies.remove(reference[1])
            raise RuntimeError("it died")
        return reference[0]

    def kill(self, worker):
        self.log.append("killed")


class Cramped(Pretence):
    """One whose workers die for want of memory."""

    class exceptions(Pretence.exceptions):
        RayActorError = ZeroDivisionError

        class OutOfMemoryError(RuntimeError): ...

    def get(self, reference):
        if reference[1] in self.dies:
            self.dies.remove(reference[1])
            raise self.exceptions.OutOfMemoryError("no memory")
        return reference[0]


def do(ray, items, size):
    with Team(ray, ray.hire, size=size, near=lambda item: item[0], pulse=()) as team:
        return list(team.do(items))


def test_a_worker_stays_with_its_images_and_then_takes_what_is_nobodys():
    ray = Pretence()
    items = [f"{kind}{number}" for kind in "abc" for number in range(3)]
    done = do(ray, items, size=2)
    assert sorted(item for item, _ in done) == items
    homes = {kind: [name for item, name in done if item[0] == kind] for kind in "abc"}
    assert len(set(homes["a"])) == len(set(homes["b"])) == 1
    assert homes["a"] != homes["b"]
    assert ray.log.count("killed") == 2


def test_the_work_of_the_dead_is_begun_again_but_not_for_ever():
    ray = Pretence(dies=["a1", "a1", "b0"])
    done = do(ray, ["a0", "a1", "b0"], size=2)
    assert sorted(item for item, _ in done) == ["a0", "a1", "b0"]
    assert ray.hired == 2 + 3
    ray = Pretence(dies=["a1"] * DEATHS)
    with pytest.raises(
        EquipoiseError, match=f"{DEATHS} workers died of one piece of work, a1; .*it died"
    ):
        do(ray, ["a0", "a1", "b0"], size=2)
    ray = Pretence(dies=[None] * DEATHS)
    with pytest.raises(EquipoiseError, match="before they had begun"):
        do(ray, ["a0"], size=1)
    cramped = Cramped(dies=["a1"])
    assert len(do(cramped, ["a0", "a1", "b0"], size=2)) == 3 and cramped.hired == 3


@pytest.mark.slow
def test_what_a_worker_raises_arrives(cluster, tmp_path):
    with pytest.raises(EquipoiseError, match=r"^Cannot do 3\.$"):
        spread(tmp_path, [("refuse", 3)], workers=1)
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        spread(tmp_path, [("break", 1)], workers=1)
    spec = photos(tmp_path / "photos")
    (tmp_path / "photos/test/a/4.png").write_bytes(b"no picture")
    ask = partial(eq.audit, two_class_net(), spec, ["standard"], pictures=0, shown=False)
    with pytest.raises(EquipoiseError, match=r"Cannot read the image 'test/a/4\.png'"):
        ask(tmp_path / "run", on="ray", workers=1)
    run = ask(tmp_path / "run", on="ray", workers=1, skip_broken=True)
    assert len(rows(run)) == 11


@pytest.mark.slow
def test_a_killed_worker_is_replaced_but_not_for_ever(cluster, tmp_path):
    items = [("die once", 1), ("work", 2), ("work", 3)]
    assert set(spread(tmp_path, items, workers=2)) == set(items)
    with pytest.raises(EquipoiseError, match=rf"{DEATHS} workers died of .*\('die', 7\)"):
        spread(tmp_path, [("die", 7)], workers=1)


@pytest.mark.slow
def test_too_much_is_refused_at_once(cluster, tmp_path):
    with pytest.raises(EquipoiseError, match=r"Cannot place 3 workers .*2 CPUs, 0 GPUs"):
        spread(tmp_path, [("work", 1)], workers=3)
    with pytest.raises(EquipoiseError, match=r"Cannot place 1 workers of 1 CPUs and 0\.25 G"):
        spread(tmp_path, [("work", 1)], gpus=0.25)


class Mortal(Linear):
    """Kills the process that asks it about the image of one pixel, once, unless that is the one that made it."""

    def __init__(self, marker):
        super().__init__(torch.eye(10, 64), torch.zeros(10))
        # In lists, which no fingerprint looks into.
        self.marker, self.born = [marker], [os.getpid()]

    def forward(self, images):
        if os.getpid() != self.born[0] and not self.marker[0].exists() and len(images) > 1:
            self.marker[0].touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)


@pytest.mark.slow
def test_an_audit_outlives_its_workers(cluster, tmp_path):
    net = partial(eq.wrap, name="mortal")
    marker = tmp_path / "killed"
    run = audit(tmp_path / "run", [net(Mortal(marker))], on="ray", workers=2)
    assert marker.exists()
    undisturbed = audit(tmp_path / "local", [net(Mortal(marker))])
    assert same_table(run, undisturbed)


def _who(unit):
    return unit.classifier or ""


class Copies:
    """Workers in this process, each with a copy of the work as Ray gives it one."""

    def __init__(self, size):
        self.size = size

    def record(self):
        return {"on": "ray"}

    def spread(self, work, items, **_):
        workers = [pickle.loads(pickle.dumps(work)) for _ in range(self.size)]
        for worker, item in zip(cycle(workers), sorted(items, key=_who), strict=False):
            yield item, worker(item)


class Narrow(Linear):
    """Has memory for sixteen images at a time, the least that a padded call has."""

    def __init__(self):
        super().__init__(torch.eye(10, 64), torch.zeros(10))

    def forward(self, images):
        if len(images) > 16:
            raise MemoryError
        return super().forward(images)


def test_memory_that_runs_out_in_workers_is_told_as_in_one_process(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("equipoise.audit.checking.PREFLIGHT_IMAGES", 16)
    ask = partial(audit, classifiers=[eq.wrap(Narrow(), name="narrow")], limit=50, batch=20)
    here = ask(tmp_path / "here")
    heard = capfd.readouterr().err
    assert heard.startswith("Out of memory with 20 images in a network call: 10 from there on. No")
    assert heard.count("\n") == 1
    monkeypatch.setattr(preparing, "find_cluster", lambda *_, **__: Copies(2))
    there = ask(tmp_path / "there", on="ray")
    # Each of two workers has found it for itself, and the user hears it once.
    assert capfd.readouterr().err == heard
    noted = [[n for facts in run.facts() for n in facts["notes"]] for run in (here, there)]
    assert len(noted[0]) == 1 and noted[1] == noted[0] * 2
    assert same_table(there, here)


@pytest.mark.slow
def test_memory_that_runs_out_in_a_worker_reaches_the_user(cluster, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("equipoise.audit.checking.PREFLIGHT_IMAGES", 16)
    settings = {"limit": 50, "batch": 20, "on": "ray", "workers": 1}
    run = audit(tmp_path / "run", [eq.wrap(Narrow(), name="narrow")], **settings)
    said = capfd.readouterr().err
    assert said.count("ut of memory with 20 images in a network call: 10 from there on") == 1
    assert sum("memory" in note for facts in run.facts() for note in facts["notes"]) == 1


SCRIPT = """
from functools import partial
from equipoise.audit import preparing
preparing.make_plan = partial(preparing.make_plan, size=20)
import sys, torch
sys.path.insert(0, {tests!r})
from test_ray import audit
from equipoise.errors import EquipoiseError
torch.set_num_threads(1)
try:
    audit({out!r}, on="ray", workers=1, limit={limit})
except EquipoiseError as error:
    sys.exit(f"equipoise: {{error}}")
except KeyboardInterrupt:
    sys.exit(130)
"""


def begin(out, limit):
    """An audit on a Ray of its own, once its first shards are written."""
    script = SCRIPT.format(tests=str(Path(__file__).parent), out=str(out), limit=limit)
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )
    deadline = time.monotonic() + WAIT
    while process.poll() is None and not list(out.rglob("*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def family(pid):
    """The processes below one, and how each was started."""
    found = {}
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listed.read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0].decode()
            found |= {child: Path(command).name} | family(child)
    return found


def gone(pids):
    deadline = time.monotonic() + WAIT
    while alive := [pid for pid in pids if _runs(pid)]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.1)
    return []


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("fault", ["driver", "head", "interrupt"])
def test_a_command_that_is_cut_off_goes_on_where_it_stopped(tmp_path, fault):
    pytest.importorskip("ray")
    out = tmp_path / "run"
    process = begin(out, limit=400)
    below = family(process.pid)
    assert {"raylet", "gcs_server"} <= set(below.values())
    if fault == "driver":
        process.kill()
    elif fault == "interrupt":
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(next(p for p, name in below.items() if name == "gcs_server"), signal.SIGKILL)
    said, _ = process.communicate(timeout=WAIT)
    if fault == "head":
        assert process.returncode == 1
        assert said.startswith("equipoise: Ray was lost")
        assert said.count("\n") == 1
    else:
        assert process.returncode == (130 if fault == "interrupt" else -signal.SIGKILL)
        assert said == ""
    # Ray's agents take a minute to see that they are alone.
    agents = {pid for pid, name in below.items() if name.endswith("Agent")}
    assert gone(below.keys() - agents) == []
    for pid in filter(_runs, agents):
        os.kill(pid, signal.SIGKILL)
    assert json.loads((out / "run.json").read_text())["status"] == "running"
    assert same_table(audit(out, limit=400), audit(tmp_path / "whole", limit=400))
