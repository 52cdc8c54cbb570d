"""Runs behind an address: the same as in a folder, whatever dies on the way, and nothing written outside the mirror."""

import contextlib
import os
import pickle
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import linear
from fsspec.implementations.memory import MemoryFileSystem
from starlette.testclient import TestClient
from torch import nn

import equipoise as eq
from equipoise.audit import preparing, verify
from equipoise.audit.local import measure_range
from equipoise.audit.plan import make_plan
from equipoise.classifiers import save_classifier
from equipoise.cli import main
from equipoise.cluster import find_cluster
from equipoise.errors import EquipoiseError
from equipoise.locks import exclusive
from equipoise.probes import load_probe
from equipoise.remote import Here, Mirror, place
from equipoise.remote import mirror as copying
from equipoise.view import application
from equipoise.view.fetching import SECONDS, Fetching
from equipoise.view.server import ASK

PROBES = ["standard", "adversarial:l2:0.5?steps=2"]
SETTINGS = {"limit": 12, "pictures": 3, "shown": False}


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Another machine: nothing was fetched there, and it can be left for yet another one."""

    def move(name):
        monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / name))
        return tmp_path / name

    move("cache")
    return move


@pytest.fixture(scope="module")
def judged():
    return [eq.wrap(linear(10, (1, 8, 8), seed=k).net, name=f"c{k}") for k in range(2)]


@pytest.fixture(scope="module")
def local(judged, tmp_path_factory):
    return eq.audit(judged, "digits", PROBES, tmp_path_factory.mktemp("run") / "run", **SETTINGS)


@pytest.fixture
def address(tmp_path):
    yield f"memory://{tmp_path.name}/run"
    MemoryFileSystem.store.clear()


@pytest.fixture
def held(local, address):
    """The run, copied to the address with other tools."""
    system, root = MemoryFileSystem(), address.removeprefix("memory:/")
    for path in sorted(local.folder.rglob("*")):
        if path.is_file():
            system.pipe_file(f"{root}/{path.relative_to(local.folder)}", path.read_bytes())
    return address


def rows(run):
    return [run.table(probe).fetchall() for probe in run.probes]


def drop(address, *names):
    for name in names:
        MemoryFileSystem().rm_file(f"{address.removeprefix('memory:/')}/{name}")


def shards(address):
    return sorted(name for name in Mirror(address).names() if name.endswith(".parquet"))


@contextlib.contextmanager
def counted(monkeypatch, total=None):
    """The shards that are measured meanwhile; after `total` of them the process is killed."""
    found = []

    def write(path, *rest):
        if len(found) == total:
            raise KeyboardInterrupt
        found.append(path)
        usual(path, *rest)

    from equipoise.audit import local as measuring

    usual = measuring.write_shard
    monkeypatch.setattr(measuring, "write_shard", write)
    yield found
    monkeypatch.setattr(measuring, "write_shard", usual)


# Audits


def test_an_audit_to_an_address_is_the_audit_to_a_folder(local, judged, address):
    run = eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    assert rows(run) == rows(local)
    assert sorted(Mirror(address).names()) == sorted(
        path.relative_to(local.folder).as_posix()
        for path in local.folder.rglob("*")
        if path.is_file()
    )
    assert run.record["status"] == "complete"
    assert run.summary() == local.summary()
    assert not [path for path in Mirror(address).drafts.rglob("*") if path.is_file()]


def test_a_killed_audit_goes_on_from_another_machine(local, judged, address, machine, monkeypatch):
    with counted(monkeypatch, 3) as found, pytest.raises(KeyboardInterrupt):
        eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    assert len(found) == len(shards(address)) == 3
    machine("another")
    assert eq.Run(address).record["status"] == "running"
    with counted(monkeypatch) as found:
        run = eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    assert len(found) == 2 and rows(run) == rows(local)
    machine("a third")
    with counted(monkeypatch) as found:
        assert rows(eq.audit(judged, "digits", PROBES, address, **SETTINGS)) == rows(local)
    assert not found


def test_shards_that_the_address_lost_are_measured_again(local, judged, address, monkeypatch):
    eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    lost = shards(address)[::2]
    drop(address, *lost)
    assert len(eq.Run(address).finished) == 5 - len(lost)
    with counted(monkeypatch) as found:
        run = eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    assert sorted(path.name for path in found) == sorted(Path(name).name for name in lost)
    assert rows(run) == rows(local)


def test_a_shard_that_is_damaged_there_is_replaced(local, judged, held, monkeypatch, machine):
    system, path = MemoryFileSystem(), f"{held}/{shards(held)[0]}"
    system.pipe_file(path, bytes(system.size(path)))
    assert len(eq.Run(held).finished) == 4
    with counted(monkeypatch) as found:
        run = eq.audit(judged, "digits", PROBES, held, **SETTINGS)
    assert len(found) == 1 and rows(run) == rows(local)
    machine("another")
    assert rows(eq.Run(held)) == rows(local)


def test_a_shard_that_is_damaged_here_is_fetched_again(local, judged, held, monkeypatch):
    shard = place(held).pull() / shards(held)[0]
    shard.write_bytes(bytes(shard.stat().st_size))
    with counted(monkeypatch) as found:
        run = eq.audit(judged, "digits", PROBES, held, **SETTINGS)
    assert not found and rows(run) == rows(local) and run.record["repaired"] == []


def test_what_could_not_be_sent_is_sent_by_the_repeated_call(local, judged, address, monkeypatch):
    usual, waits = MemoryFileSystem.put_file, []

    def put_file(self, source, target, *rest, **more):
        if "adversarial" in target:
            raise ConnectionError("no route to host")
        usual(self, source, target, *rest, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    monkeypatch.setattr(copying.time, "sleep", waits.append)
    with pytest.raises(EquipoiseError, match=r"Cannot send memory://.*no route to host\. See"):
        eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    assert tuple(waits) == copying.WAITS
    sent = shards(address)
    monkeypatch.setattr(MemoryFileSystem, "put_file", usual)
    with counted(monkeypatch) as found:
        run = eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    assert len(sent) + 1 + len(found) == 5 and rows(run) == rows(local)


def test_a_short_outage_is_waited_for_and_a_refusal_is_not(address, monkeypatch):
    mirror, waits, errors = Mirror(address), [], [TimeoutError("late"), ConnectionError("away")]
    usual = MemoryFileSystem.put_file

    def put_file(self, *rest, **more):
        if errors:
            raise errors.pop(0)
        usual(self, *rest, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    monkeypatch.setattr(copying.time, "sleep", waits.append)
    (mirror.drafts / "run.json").write_text("{}")
    assert mirror.push("run.json") == f"{address}/run.json"
    assert waits == [1, 2] and mirror.names() == {"run.json": 2}
    errors.append(PermissionError("Access Denied"))
    (mirror.drafts / "run.json").write_text("{}")
    with pytest.raises(EquipoiseError, match=r"Access Denied\. See to the rights"):
        mirror.push("run.json")
    assert waits == [1, 2] and (mirror.drafts / "run.json").exists()


def test_a_worker_elsewhere_needs_the_plan_and_the_place(local, judged, address, machine):
    """What an executor of another machine does: all of it fits into a pickle, and the driver sees what was sent."""
    plan = make_plan(
        eq.load_images("digits").subset(12, 0),
        {c.name: c for c in judged},
        [load_probe(probe) for probe in PROBES],
        seed=0,
        pictures=3,
    )
    machine("worker")
    home = pickle.loads(pickle.dumps(place(address)))
    assert home == place(address)
    measure_range(
        plan,
        home.drafts,
        plan.shards,
        lambda shard: home.push(shard.file),
        device=torch.device("cpu"),
        batch=128,
        skip_broken=False,
    )
    machine("driver")
    run = eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    assert rows(run) == rows(local)


def test_another_run_at_the_address_is_refused(judged, address):
    eq.audit(judged, "digits", ["standard"], address, **SETTINGS)
    with pytest.raises(EquipoiseError, match=f"Cannot audit into {address}: it holds another"):
        eq.audit(judged, "digits", ["standard"], address, seed=1, **SETTINGS)
    # Once it is gone there, the copy that is here does not count.
    MemoryFileSystem().rm(address, recursive=True)
    eq.audit(judged, "digits", ["standard"], address, seed=1, **SETTINGS)


# Damage there


def spoil(address, name):
    path = f"{address}/{name}"
    data = bytearray(MemoryFileSystem().cat_file(path))
    data[len(data) // 3] ^= 1
    MemoryFileSystem().pipe_file(path, bytes(data))


def test_verify_reads_what_lies_at_the_address(
    local, judged, held, machine, monkeypatch, capsys, tmp_path
):
    """A flipped bit there under a sound copy here: found, and mended from the copy by the repeated audit."""
    run = eq.audit(judged, "digits", PROBES, held, **SETTINGS)
    main(["verify", held])
    assert f".: run, {len(shards(held))} files, as" in capsys.readouterr().out
    name, lost = shards(held)[1], shards(held)[3]
    spoil(held, name)
    drop(held, lost)
    assert run.verify() == {name: "its content has changed", lost: "it is gone"}
    # It has left nothing but the drafts: no file of the cache is newer than the run.
    assert not list(tmp_path.rglob("lent-*"))
    with pytest.raises(SystemExit) as stopped:
        main(["verify", held])
    assert stopped.value.code == 1
    assert name[:30] in capsys.readouterr().out
    with counted(monkeypatch) as found:
        again = eq.audit(judged, "digits", PROBES, held, **SETTINGS)
    assert not found and again.verify() == {} and rows(again) == rows(local)
    machine("another")
    assert eq.Run(held).verify() == {} and rows(eq.Run(held)) == rows(local)


def test_verify_from_a_machine_without_a_copy(local, judged, held, monkeypatch):
    name = shards(held)[1]
    spoil(held, name)
    assert eq.Run(held).verify() == {name: "its content has changed"}
    with counted(monkeypatch) as found:
        again = eq.audit(judged, "digits", PROBES, held, **SETTINGS)
    assert len(found) == 1 and again.verify() == {} and rows(again) == rows(local)
    assert [item["file"] for item in again.record["repaired"]] == [name]


def test_an_unfinished_run_lacks_shards_without_damage(held):
    system, path = MemoryFileSystem(), f"{held}/run.json"
    system.pipe_file(path, system.cat_file(path).replace(b'"complete"', b'"running"'))
    drop(held, shards(held)[0])
    assert eq.Run(held).verify() == {}


def test_a_study_at_an_address_is_verified_whole(held, address, capsys):
    study = address.replace("/run", "/study")
    for folder in ("audit", "pairs/0.8"):
        MemoryFileSystem().copy(held, f"{study}/{folder}", recursive=True)
    name = shards(held)[2]
    spoil(f"{study}/pairs/0.8", name)
    assert eq.Run(study).verify() == {}
    found = {one.folder: dict(one.damaged) for one in verify(study)}
    assert found == {"audit": {}, "pairs/0.8": {name: "its content has changed"}}
    MemoryFileSystem().pipe_file(f"{study}/audit/run.json", b"{")
    with pytest.raises(SystemExit) as stopped:
        main(["verify", study])
    said = capsys.readouterr().err
    assert (
        stopped.value.code == 2 and f"Cannot read {study}/audit/run.json: it is not JSON" in said
    )


# The mirror


def test_only_what_is_new_is_fetched(held, local, monkeypatch):
    mirror, fetched = Mirror(held), []
    usual = MemoryFileSystem.get_file

    def get_file(self, source, *rest, **more):
        fetched.append(Path(source).name)
        usual(self, source, *rest, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
    mirror.pull()
    assert len(fetched) == 6 and rows(eq.Run(mirror.local)) == rows(local)
    mirror.pull()
    assert len(fetched) == 6
    # Of the same size: what tells it from the one before is when it was written.
    text = (local.folder / "run.json").read_text().replace('"complete"', '"finished"')
    MemoryFileSystem().pipe_file(f"{held}/run.json", text.encode())
    MemoryFileSystem().pipe_file(f"{held}/shards/images/more.parquet", b"PAR1")
    mirror.pull()
    assert sorted(fetched[6:]) == ["more.parquet", "run.json"]
    assert (mirror.local / "run.json").read_text() == text
    drop(held, "shards/images/more.parquet")
    mirror.pull()
    assert not (mirror.local / "shards/images/more.parquet").exists()


def test_weights_and_pages_stay_where_they_are(held):
    for name in ("report.html", "ladder/l2-1/weights.safetensors", "audit/shards/x.parquet/y"):
        MemoryFileSystem().pipe_file(f"{held}/{name}", b"x")
    assert not {n for n in Mirror(held).names() if not n.startswith(("run.json", "shards/"))}


def test_a_study_keeps_its_run_below_it(held, address, local):
    study = address.replace("/run", "/study")
    MemoryFileSystem().copy(held, f"{study}/audit", recursive=True)
    assert rows(eq.Run(study)) == rows(local)


def test_a_shard_that_comes_in_half_is_no_shard(held, monkeypatch):
    def get_file(self, source, target, **more):
        Path(target).write_bytes(b"PAR1")

    monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
    with pytest.raises(EquipoiseError, match=r"Cannot fetch memory.*: .*4 of \d+ bytes came"):
        Mirror(held).pull()
    assert not list(Mirror(held).local.rglob("*.parquet"))


def test_a_run_too_large_for_the_disk_is_refused_before_it_is_fetched(held, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(copying.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EquipoiseError, match="EQUIPOISE_CACHE"):
        eq.Run(held)


@pytest.mark.parametrize(
    "name", ["../x.json", "shards/../../x.parquet", "/etc/x.json", "..\\x.json", "a\0.json"]
)
def test_names_that_would_leave_the_mirror_are_refused(held, name, monkeypatch, tmp_path):
    root = held.removeprefix("memory:/")
    monkeypatch.setattr(
        MemoryFileSystem, "find", lambda *_, **__: {f"{root}/{name}": {"size": 1, "type": "file"}}
    )
    before = set(tmp_path.rglob("*"))
    for call in (Mirror(held).pull, lambda: eq.Run(held)):
        with pytest.raises(EquipoiseError, match="outside the folder"):
            call()
    assert set(tmp_path.rglob("*")) == before


def test_a_cache_that_cannot_be_made_is_named(held, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        EquipoiseError, match=r"Cannot make .*Name another folder by EQUIPOISE_CACHE"
    ):
        eq.Run(held)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_nobody_else_reads_what_was_fetched(held, machine):
    Mirror(held).pull()
    assert [path.stat().st_mode & 0o777 for path in machine("cache").glob("remote/*")] == [0o700]


def test_addresses_share_no_folder(machine, monkeypatch):
    names = [
        "memory://a/run",
        "memory://a/run2",
        "memory://b/run",
        "memory://../run",
        "memory://a",
    ]
    mirrors = [Mirror(name) for name in names]
    folders = {mirror.local for mirror in mirrors} | {mirror.drafts for mirror in mirrors}
    assert len(folders) == 10
    for folder in folders:
        assert folder.resolve().is_relative_to(machine("cache").resolve())
    assert Mirror("memory://a/run/") == mirrors[0] and mirrors[0].local.name == "run"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere")
    assert Mirror("memory://a/run").local not in folders
    monkeypatch.delenv("EQUIPOISE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert Mirror("memory://a/run").local.is_relative_to("/xdg/equipoise/remote")


def test_a_folder_is_its_own_mirror(tmp_path):
    home = place(tmp_path)
    assert home == Here(tmp_path) and home.local == home.drafts == home.pull() == tmp_path
    assert home.push("run.json") == str(tmp_path / "run.json")


# Mistakes


@pytest.mark.parametrize(
    "address, said",
    [
        ("s4://bucket/run", r"begins with 's4'\. Known: .*s3"),
        ("memory://nothing/here", r"there is no run\.json in it"),
        ("memory://user:secret@host/run", r"//\.\.\.@host/run'.*password"),
        (Path("s3://bucket/run"), "was the address s3://bucket/run.*as text"),
    ],
)
def test_addresses_that_cannot_be_opened_say_why(address, said):
    with pytest.raises(EquipoiseError, match=said) as raised:
        eq.Run(address)
    assert "secret" not in str(raised.value)


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(EquipoiseError, match=r"gs://bucket/run.*pip install 'equipoise\[gs\]'"):
        place("gs://bucket/run")


@pytest.mark.parametrize(
    "command",
    [
        "train --data digits --out s3://b/x",
        "denoise --data digits --out s3://b/x",
        "counterfactuals digits --denoiser local:x --out s3://b/x",
        "study odds --out s3://b/x",
        "study spurious --out s3://b/x",
        "study counterfactual --out s3://b/x",
        "theory dichotomy --out s3://b/x.html",
        "theory regression --out s3://b/x.html",
        "convert robust-imagenet:x.ckpt --out s3://b/x",
        "report run --out s3://b/x.html",
        "report run --bundle s3://b/x",
        "compare run --out s3://b/x.html",
        "compare run --markdown s3://b/x.md",
        "export run --all s3://b/x",
        "export run --table a --out s3://b/x.csv",
        "audit --out s3://b/x",
    ],
)
def test_verbs_that_need_a_folder_refuse_an_address(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.count("\n") == 1 and "s3://b/x" in said
    assert not list(tmp_path.iterdir())


def footless(shard):
    """With nonsense where it says which columns it has."""
    data = bytearray(shard)
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[start : start + 8] = b"\xff" * 8
    return bytes(data)


SPOILT = {
    "run.json is cut short": ("run.json", lambda data: data[:50]),
    "run.json lacks something": ("run.json", lambda data: b'{"schema": 3}'),
    "claims": ("claims.json", lambda data: b'{"run": 3}'),
    "a shard": ("shards/standard", footless),
    "a shard that is none": (
        "shards/images",
        lambda data: b"PAR1" + bytes(len(data) - 8) + b"PAR1",
    ),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_messages_name_the_address_and_not_the_copy(
    fault, held, judged, machine, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    start, change = SPOILT[fault]
    system, root = MemoryFileSystem(), held.removeprefix("memory:/")
    system.pipe_file(f"{root}/claims.json", b"{}")
    for path in system.find(root):
        if path.removeprefix(f"{root}/").startswith(start):
            system.pipe_file(path, change(system.cat_file(path)))
    said = []
    for verb in ("report", "verify", "compare", "export --table summary --out x.csv"):
        words = verb.split()
        with contextlib.suppress(SystemExit):
            main([words[0], held, *words[1:]])
        said.append(capsys.readouterr().err)
    for ask in (
        lambda: eq.Run(held).table("none"),
        lambda: eq.Run(held).claims(),
        lambda: eq.Run(held).facts("images"),
        lambda: eq.audit(judged, "digits", PROBES, held, seed=1, **SETTINGS),
        lambda: eq.audit(judged, "digits", PROBES, held, **SETTINGS),
    ):
        try:
            ask()
        except EquipoiseError as error:
            said.append(str(error))
    said.append(capsys.readouterr().err)
    assert sum(held in text for text in said) >= 2, said
    assert not [text for text in said if str(machine("cache")) in text]


def test_the_live_page_names_the_address(held, machine):
    home = place(held)
    served = TestClient(application(home.pull(), home), base_url="http://127.0.0.1:8321")
    (home.local / "run.json").write_text("{")
    said = served.get("/").text + served.get("/progress").text
    assert f"Cannot read {held}/run.json" in said and str(machine("cache")) not in said


def test_who_works_at_an_address_is_said_of_the_address(judged, address):
    with (
        exclusive(place(address).pull(), "audit into"),
        pytest.raises(EquipoiseError, match=f"Cannot audit into {address}: process"),
    ):
        eq.audit(judged, "digits", PROBES, address, **SETTINGS)


# The verbs


def test_verbs_read_and_write_an_address(trained, address, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_classifier(trained, tmp_path / "rung")
    command = f"audit local:rung --data digits --limit 12 --probe standard --out {address}"
    main(command.split())
    assert f"Page: {address}/report.html" in capsys.readouterr().out
    page = MemoryFileSystem().cat_file(f"{address}/report.html")
    here = eq.report(address, tmp_path / "here.html")
    assert here.read_bytes() == page
    drop(address, "report.html")
    main(["report", address])
    assert f"Page: {address}/report.html" in capsys.readouterr().out
    assert MemoryFileSystem().cat_file(f"{address}/report.html") == page
    copied = tmp_path / "copied"
    shutil.copytree(eq.Run(address).folder, copied)
    main(["compare", address, str(copied)])
    assert "on the same 12 images" in capsys.readouterr().out
    assert eq.compare(address, copied).runs == ("run", "copied")
    main(["export", address, "--table", "summary", "--out", str(tmp_path / "summary.csv")])
    assert "standard accuracy" in (tmp_path / "summary.csv").read_text()


# The live page


def test_fetching_waits_its_time_and_says_what_is_wrong(held, monkeypatch):
    now, home = [0.0], Mirror(held)
    fetching, lists = Fetching(home, clock=lambda: now[0]), []
    usual = MemoryFileSystem.find

    def find(self, *rest, **more):
        lists.append(now[0])
        now[0] += 2.0
        if len(lists) == 2:
            raise ConnectionError("no route to host")
        return usual(self, *rest, **more)

    monkeypatch.setattr(MemoryFileSystem, "find", find)
    said = {}
    while now[0] < 40:
        began = now[0]
        said[began] = fetching.fetch()
        now[0] += 0.5
    assert lists[0] == SECONDS and len(lists) == 3
    # It took 2 s, so the next comes 10 s after its end.
    assert lists[1:] == [17.0, 29.0]
    assert "no route to host" in said[17.0] and said[16.5] is None and said[29.0] is None


def test_the_live_page_shows_what_comes_to_the_address(local, held, monkeypatch):
    monkeypatch.setattr("equipoise.view.fetching.SECONDS", 0.0)
    monkeypatch.setattr("equipoise.view.fetching.APART", 0)
    last = local.record["shards"][-1]["file"]
    drop(held, last)
    home = place(held)
    served = TestClient(application(home.pull(), home), base_url="http://127.0.0.1:8321")
    assert served.get("/progress").json()["done"] == 4
    MemoryFileSystem().pipe_file(f"{held}/{last}", (local.folder / last).read_bytes())
    assert served.get("/progress").json()["done"] == 5
    page = served.get("/").text
    assert "<h1" in page and ASK not in page
    for path in ("/people/", "/people/at/x/turn"):
        answer = served.get(path)
        assert answer.status_code == 404 and "Copy the run into a folder" in answer.text
    MemoryFileSystem().rm(held, recursive=True)
    assert served.get("/progress").json()["state"] == "waiting"


# A real store


@pytest.fixture
def store(monkeypatch):
    """A local server that speaks S3, with a bucket."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "hidden-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    # One is kept for every address, whatever the environment says since.
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    client.close()
    server.stop()


@pytest.mark.slow
def test_an_s3_store_holds_a_run(store, local, judged, machine, tmp_path, monkeypatch, capsys):
    address = "s3://bucket/some/run"
    with counted(monkeypatch, 3), pytest.raises(KeyboardInterrupt):
        eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    store.delete_object(Bucket="bucket", Key=f"some/run/{shards(address)[0]}")
    machine("another")
    with counted(monkeypatch) as found:
        run = eq.audit(judged, "digits", PROBES, address, **SETTINGS)
    assert len(found) == 3 and rows(run) == rows(local)
    machine("a third")
    main(["report", address])
    main(["compare", address, str(local.folder)])
    assert "on the same 12 images" in capsys.readouterr().out
    page = store.get_object(Bucket="bucket", Key="some/run/report.html")["Body"].read()
    assert page.startswith(b"<!doctype html>")
    for folder in ("cache", "another", "a third"):
        for path in (tmp_path / folder).rglob("*"):
            assert not (path.is_file() and b"hidden-secret" in path.read_bytes())
    store.put_object(Bucket="bucket", Key="some/run/../../x.json", Body=b"{}")
    with pytest.raises(EquipoiseError, match="outside the folder"):
        eq.Run(address)


class Mortal(nn.Module):
    """Kills the process that asks it about several images, once, unless that is the one that made it."""

    def __init__(self, net, marker):
        super().__init__()
        # In lists, which no fingerprint looks into.
        self.net, self.marker, self.born = net, [marker], [os.getpid()]

    def forward(self, images):
        ours = os.getpid() == self.born[0]
        if not ours and len(images) > 1 and not self.marker[0].exists():
            self.marker[0].touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.net(images)


@pytest.mark.slow
def test_workers_of_ray_send_to_an_s3_store(store, judged, machine, tmp_path, monkeypatch):
    """Workers have folders of their own, as on other machines: all that the driver gets of them comes by the store."""
    pytest.importorskip("ray")
    monkeypatch.setattr(preparing, "make_plan", partial(make_plan, size=4))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    marker, address = tmp_path / "killed", "s3://bucket/by/ray"
    nets = [Mortal(judged[0].net, marker), judged[1].net]
    asked = [eq.wrap(net, name=f"c{k}") for k, net in enumerate(nets)]
    alone = eq.audit(asked, "digits", PROBES, tmp_path / "alone", **SETTINGS)
    machine("worker")
    cluster = find_cluster("ray")
    assert cluster is not None
    with cluster.connected(num_cpus=2, object_store_memory=80 * 2**20):
        machine("driver")
        run = eq.audit(
            asked, "digits", PROBES, address, on="ray", workers=2, cpus_per_worker=1, **SETTINGS
        )
    assert marker.exists() and run.record["status"] == "complete"
    # Bit for bit: no two floating-point numbers share a text.
    assert repr(rows(run)) == repr(rows(alone))
    assert run.images().fetchall() == alone.images().fetchall()
    assert run.pictures(PROBES[1]).fetchall() == alone.pictures(PROBES[1]).fetchall()
    assert shards(address) == sorted(shard["file"] for shard in alone.record["shards"])
    sent = [path for path in (tmp_path / "worker").rglob("*.parquet") if "mirror" in path.parts]
    assert len(sent) == len(shards(address)) == 3 * 5
    machine("a third")
    with counted(monkeypatch) as found:
        again = eq.audit(asked, "digits", PROBES, address, **SETTINGS)
    assert not found and repr(rows(again)) == repr(rows(alone)) and again.verify() == {}


@pytest.mark.slow
def test_an_s3_store_says_what_is_wrong(store, judged, monkeypatch):
    with pytest.raises(EquipoiseError, match="Cannot list s3://nobody/run: there is no such"):
        eq.audit(judged, "digits", ["standard"], "s3://nobody/run", **SETTINGS)
    with pytest.raises(EquipoiseError, match=r"s3://bucket/run.*no run\.json"):
        eq.Run("s3://bucket/run")
