"""Any crash: after every fault the repeated call ends with the table of an undisturbed run, bit for bit, and says what
it had to repair. docs/reliability.md names these tests beside its promises."""

import datetime
import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from test_counterfactual_sets import brightness_oracle, grey_set, same_content, sampler

import equipoise as eq
from equipoise import locks
from equipoise.audit import auditing, preparing, verify
from equipoise.classifiers import save_classifier
from equipoise.cli import main
from equipoise.counterfactuals import CounterfactualSet, make_set, making
from equipoise.files import remove_leftovers
from equipoise.progress import Progress
from equipoise.seals import BLANK, damage
from equipoise.store import connect, find_damage, is_whole, write_shard

PROBES = ["standard", "adversarial:l2:0.75?steps=2"]
IMAGES, SIZE = 24, 6
DAY = 86_400


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(preparing, "make_plan", partial(preparing.make_plan, size=SIZE))


@pytest.fixture(scope="module")
def rung(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rung") / "rung"
    save_classifier(trained, folder)
    return folder


def ask(rung, out, **settings):
    asked = {"limit": IMAGES, "batch": 7, "examined": 4, "device": "cpu"} | settings
    return eq.audit(f"local:{rung}", "digits", PROBES, out, **asked)


def content(run):
    """Every answer as text: no two floating-point numbers share one, and NaN is itself."""
    return [repr(run.table(probe).fetchall()) for probe in PROBES] + [
        repr(run.images().fetchall())
    ]


@pytest.fixture(scope="module")
def whole(rung, tmp_path_factory):
    """An undisturbed run, and what it says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "make_plan", partial(preparing.make_plan, size=SIZE))
        run = ask(rung, tmp_path_factory.mktemp("whole") / "run")
    assert len(run.shards()) == 2 * IMAGES / SIZE
    assert run.record["repaired"] == []
    return run.folder, content(run)


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of it to spoil."""
    return Path(shutil.copytree(whole[0], tmp_path / "run"))


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def tiny_shard(path, values=("a", "b")):
    column = np.array(values, dtype=object)
    write_shard(path, {"id": "VARCHAR"}, {"id": column}, {"seconds": 1.0})
    return path


# Checksums


def test_a_checksum_is_the_digest_of_the_file_with_zeros_in_its_place(tmp_path):
    path = tiny_shard(tmp_path / "a-0123456789abcdef.parquet")
    listed = "SELECT decode(key), decode(value) FROM parquet_kv_metadata(?)"
    kept = dict(connect().execute(listed, [str(path)]).fetchall())
    assert kept["shard"] == path.name
    data = path.read_bytes()
    assert data.count(kept["checksum"].encode()) == 1
    blank = data.replace(kept["checksum"].encode(), BLANK.encode())
    assert hashlib.sha256(blank).hexdigest() == kept["checksum"]
    assert damage(path) is None and is_whole(path)


def test_any_changed_byte_and_any_cut_is_found(tmp_path):
    path = tiny_shard(tmp_path / "shard.parquet")
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        assert damage(path), place
        path.write_bytes(data[:place])
        assert damage(path) == "it is cut short or no Parquet file"
        assert not is_whole(path)
    path.write_bytes(data + b"\0")
    assert damage(path)
    path.write_bytes(data)
    assert damage(path) is None


def test_foreign_and_renamed_files_are_found_by_readers_too(tmp_path):
    foreign, renamed = tmp_path / "foreign.parquet", tmp_path / "renamed.parquet"
    connect().execute(f"COPY (SELECT 1 AS id) TO '{foreign}' (FORMAT parquet)")
    tiny_shard(tmp_path / "original.parquet").rename(renamed)
    assert find_damage([foreign, renamed, tmp_path / "none.parquet"]) == {
        foreign: "it is no shard",
        renamed: "it is another shard, 'original.parquet'",
        tmp_path / "none.parquet": "it is gone",
    }
    assert not is_whole(foreign) and not is_whole(renamed)


# Damaged, truncated, foreign shards, and run.json


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


def swap(path):
    other = next(p for p in path.parent.iterdir() if p != path and not damage(p))
    path.write_bytes(other.read_bytes())


SPOILT = {
    "its content has changed": flip,
    "it is cut short or no Parquet file": lambda path: os.truncate(path, 100),
    "it is no shard": lambda path: connect().execute(
        f"COPY (SELECT 1) TO '{path}' (FORMAT parquet)"
    ),
    "it is another shard": swap,
    "it is gone": Path.unlink,
}


def test_damaged_shards_are_measured_again_and_reported(copy, whole, rung, capfd):
    shards = [s["file"] for s in eq.Run(copy).record["shards"]]
    chosen = dict(zip(shards[2::2], SPOILT.items(), strict=False))
    assert len(chosen) == len(SPOILT)
    for file, (_, spoil) in chosen.items():
        spoil(copy / file)
    before = {file: (copy / file).stat().st_mtime_ns for file in shards if file not in chosen}
    found = eq.Run(copy).verify()
    assert list(found) == list(chosen)
    assert all(found[file].startswith(reason) for file, (reason, _) in chosen.items())
    again = ask(rung, copy)
    said = capfd.readouterr().err
    assert f"{len(chosen)} files are not as written, and to be made again" in said
    assert next(iter(chosen)) in said and f"and {len(chosen) - 3} more" in said
    assert said.count("\n") == 1
    repaired = again.record["repaired"]
    assert [(item["file"], item["reason"]) for item in repaired] == list(found.items())
    assert again.verify() == {}
    assert content(again) == whole[1]
    assert {file: (copy / file).stat().st_mtime_ns for file in before} == before
    assert ask(rung, copy).record["repaired"] == repaired
    assert capfd.readouterr().err == ""


def test_readers_of_a_damaged_run_say_what_to_do(copy):
    """Where they notice: `Run.verify` reads every byte, charts do not."""
    path = copy / eq.Run(copy).record["shards"][1]["file"]
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    path.write_bytes(data[:start] + b"\xff" * 8 + data[start + 8 :])
    with pytest.raises(eq.EquipoiseError, match=r"Cannot read the shards.*equipoise verify"):
        eq.Run(copy).summary()


def test_repairs_that_were_interrupted_are_reported_still(copy, whole, rung, monkeypatch):
    file = eq.Run(copy).record["shards"][5]["file"]
    flip(copy / file)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(auditing, "run_local", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        ask(rung, copy)
    again = ask(rung, copy)
    assert [item["file"] for item in again.record["repaired"]] == [file]
    assert content(again) == whole[1]


@pytest.mark.parametrize("text", ["", "{", '{"schema": 3, "sta', "\0" * 400])
def test_a_broken_run_json_is_written_again(copy, whole, rung, text, capfd):
    (copy / "run.json").write_text(text)
    with pytest.raises(eq.EquipoiseError, match=r"run\.json: it is not JSON.*Repeat the audit"):
        eq.Run(copy)
    kept = {path: path.stat().st_mtime_ns for path in copy.rglob("*.parquet")}
    again = ask(rung, copy)
    assert content(again) == whole[1]
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.parquet")} == kept
    assert [item["file"] for item in again.record["repaired"]] == ["run.json"]
    assert "run.json (it is not JSON)" in capfd.readouterr().err


def test_old_temporary_files_are_removed_and_others_kept(copy, rung):
    shards = copy / "shards"
    old, new = shards / ".a.parquet.0123abcd.tmp", shards / ".b.parquet.0123abcd.tmp"
    mine, strange = shards / ".mine.tmp", shards / "c.parquet.0123abcd.tmp"
    for path in (old, new, mine, strange):
        path.write_text("half")
    for path in (old, mine, strange):
        os.utime(path, (time.time() - 4000,) * 2)
    ask(rung, copy)
    assert not old.exists()
    assert all(path.exists() for path in (new, mine, strange))
    remove_leftovers(copy / "none")


def test_the_command_line_lists_damaged_files(copy, tmp_path, capsys):
    main(["verify", str(copy)])
    assert "Every file" in capsys.readouterr().out
    file = eq.Run(copy).record["shards"][2]["file"]
    flip(copy / file)
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(copy)])
    assert stopped.value.code == 1
    assert "content has changed" in capsys.readouterr().out.replace("\n", " ")
    made = make_set(grey_set(), sampler(), tmp_path / "set")
    main(["verify", str(made.folder)])
    os.truncate(made.files("same")[0], 50)
    with pytest.raises(SystemExit):
        main(["verify", str(made.folder)])
    assert "same-00000" in capsys.readouterr().out


def test_verify_lists_every_run_and_set_of_a_study(copy, tmp_path, capsys):
    study = tmp_path / "study"
    for place in ("audit", "pairs/0.8", "pairs/0.95"):
        shutil.copytree(copy, study / place)
    made = make_set(grey_set(), sampler(), study / "counterfactuals")
    main(["verify", str(study)])
    said = capsys.readouterr().out.splitlines()
    shards, pieces = len(eq.Run(copy).record["shards"]), len(made.record["shards"]) * 3
    assert said[:-1] == [
        f"audit: run, {shards} files, as they were written",
        f"counterfactuals: counterfactuals, {pieces} files, as they were written",
        f"pairs/0.8: run, {shards} files, as they were written",
        f"pairs/0.95: run, {shards} files, as they were written",
    ]
    assert said[-1].startswith("Every file")
    file = eq.Run(copy).record["shards"][3]["file"]
    flip(study / "pairs/0.95" / file)
    os.truncate(made.files("noise")[0], 50)
    found = {one.folder: one for one in verify(study)}
    assert list(found) == ["audit", "counterfactuals", "pairs/0.8", "pairs/0.95"]
    assert found["pairs/0.95"].damaged == {file: "its content has changed"}
    assert list(found["counterfactuals"].damaged) == [f"data/{made.files('noise')[0].name}"]
    assert not found["audit"].damaged and not found["pairs/0.8"].damaged
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(study)])
    assert stopped.value.code == 1
    assert "pairs/0.95/shards/" in capsys.readouterr().out
    # The others are looked at though one cannot be read.
    (study / "audit/run.json").write_text("{")
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(study)])
    said = capsys.readouterr()
    assert stopped.value.code == 2 and said.err.count("\n") == 1
    assert "Cannot verify 1 of 4 runs and sets" in said.err and "audit/run.json" in said.err
    assert "pairs/0.95/shards/" in said.out


def test_verify_of_nothing_says_what_to_give(tmp_path):
    with pytest.raises(eq.EquipoiseError, match=r"Cannot verify .*none: there is no run\.json"):
        list(verify(tmp_path / "none"))


@pytest.mark.parametrize(
    "record",
    [
        [],
        {"shards": []},
        {"shards": {"0": {"file": "/etc/passwd"}}},
        {"shards": {"0": {"file": "../x"}}},
    ],
)
def test_records_of_something_else_are_not_verified(tmp_path, record, capsys):
    (tmp_path / "set.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(tmp_path)])
    assert stopped.value.code == 2
    assert "Cannot verify" in capsys.readouterr().err


def test_links_and_pipes_in_place_of_shards_are_damage(copy, tmp_path):
    first, second, *_ = (copy / shard["file"] for shard in eq.Run(copy).record["shards"])
    (tmp_path / "outside").write_bytes(first.read_bytes())
    for shard in (first, second):
        shard.unlink()
    first.symlink_to(tmp_path / "outside")
    os.mkfifo(second)
    found = eq.Run(copy).verify()
    assert sorted(found.values()) == ["it is no regular file", "it lies outside the folder"]
    with pytest.raises(eq.EquipoiseError, match="link out of the folder"):
        eq.Run(copy).summary()


# Two at once

HOLDER = """
import sys, time
from pathlib import Path
from equipoise.locks import exclusive
with exclusive(Path(sys.argv[1]), "audit into"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_goes_when_it_is_killed(tmp_path):
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            words = rf"process {holder.pid} on .+, since 20\d\d-.+ is at work there"
            with pytest.raises(eq.EquipoiseError, match=words), locks.exclusive(folder, "use"):
                pass
        finally:
            holder.kill()
    with locks.exclusive(folder, "audit into"):
        assert json.loads((folder / locks.NAME).read_text())["pid"] == os.getpid()
    assert list(folder.iterdir()) == []


def test_a_second_audit_set_and_training_are_refused(copy, rung, tmp_path):
    from equipoise.training import Recipe, fit_denoiser, suited_recipe, train_ladder

    train = eq.load_images("digits", split="train")
    before = files(copy)
    (tmp_path / "set").mkdir()
    for folder, work in (
        (copy, lambda: ask(rung, copy)),
        (tmp_path / "set", lambda: make_set(grey_set(), sampler(), tmp_path / "set")),
        (tmp_path / "l2-0", lambda: train_ladder(train, [eq.L2(0)], Recipe(), tmp_path)),
        (
            tmp_path / "denoiser",
            lambda: fit_denoiser(train, suited_recipe(train.shape), tmp_path / "denoiser"),
        ),
    ):
        words = rf"process {os.getpid()} on .*choose another"
        with locks.exclusive(folder, "use"), pytest.raises(eq.EquipoiseError, match=words):
            work()
    assert files(copy) == before


def test_a_second_audit_is_refused_before_it_loads_anything(copy, rung, tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "load_classifier", lambda spec: pytest.fail(f"loaded {spec}"))
    monkeypatch.setattr(preparing, "load_images", lambda spec: pytest.fail(f"loaded {spec}"))
    with (
        locks.exclusive(copy, "audit into"),
        pytest.raises(eq.EquipoiseError, match="is at work there"),
    ):
        ask(rung, copy)
    monkeypatch.undo()
    # What was made for the lock goes with it where nothing can be loaded.
    with pytest.raises(eq.EquipoiseError, match=r"there is no folder"):
        ask("none", tmp_path / "new/and/run")
    assert not (tmp_path / "new").exists()


def test_of_many_at_once_one_works(tmp_path):
    """Sixteen threads take the lock a hundred times in all, and two never hold it together."""
    inside, most, took = [], [], []

    def work():
        deadline = time.monotonic() + 60
        while len(took) < 100 and time.monotonic() < deadline:
            try:
                with locks.exclusive(tmp_path / "run", "audit into"):
                    inside.append(1)
                    most.append(len(inside))
                    took.append(1)
                    inside.pop()
            except eq.EquipoiseError:
                time.sleep(0.0005)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) >= 100
    assert max(most) == 1


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_and_used(copy, whole, rung, monkeypatch, capfd, code):
    def no_locks(descriptor, what):
        raise OSError(code, os.strerror(code))

    os.truncate(copy / eq.Run(copy).record["shards"][1]["file"], 7)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert content(ask(rung, copy)) == whole[1]
    assert f"cannot be locked ({os.strerror(code)})" in capfd.readouterr().err
    assert not (copy / locks.NAME).exists()


# Disks and folders


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(copy, rung, monkeypatch):
    # Not even root makes a folder there.
    with pytest.raises(eq.EquipoiseError, match=r"/proc/run: the folder cannot be written"):
        ask(rung, "/proc/run")

    def read_only(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    before = files(copy)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", read_only)
        with pytest.raises(eq.EquipoiseError, match=r"\(Read-only file system\).*another one"):
            ask(rung, copy)
    assert files(copy) == before


def test_a_disk_that_is_full_half_way_through_a_file(whole, rung, tmp_path, monkeypatch):
    """The system refuses to let any file grow beyond a limit, as a quota does: writers get as far as that."""
    limit = min(path.stat().st_size for path in whole[0].rglob("*.parquet")) // 2
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with (
            monkeypatch.context() as patch,
            pytest.raises(eq.EquipoiseError, match=r"Cannot write .*parquet.*repeat the command"),
        ):
            at(2, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard)), patch)
            ask(rung, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = files(tmp_path / "run")
    assert not [name for name in left if name.endswith((".tmp", ".lock"))]
    assert len(left) == 3
    assert eq.Run(tmp_path / "run").verify() == {}
    again = ask(rung, tmp_path / "run")
    assert content(again) == whole[1] and again.record["repaired"] == []


def test_a_disk_that_is_full_at_any_write(whole, rung, tmp_path, monkeypatch):
    """The k-th sync finds no space, for every k in turn, until one call gets through."""
    real, calls, failures = os.fsync, [], 0

    def full(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            calls.append(descriptor)
        if len(calls) == failures + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    for _ in range(100):
        calls.clear()
        try:
            again = ask(rung, tmp_path / "run")
            break
        except eq.EquipoiseError as error:
            assert "No space left on device" in str(error)
            failures += 1
    else:
        pytest.fail("no call got through")
    assert failures > 3
    assert content(again) == whole[1]
    assert not [name for name in files(tmp_path / "run") if name.endswith(".tmp")]


def at(step, what, monkeypatch):
    """Calls `what` after so many shards."""
    real = Progress.advance

    def advance(self, note=""):
        real(self, note)
        if self.done == step:
            what()

    monkeypatch.setattr(Progress, "advance", advance)


def test_a_folder_that_is_deleted_meanwhile(whole, rung, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with (
        monkeypatch.context() as patch,
        pytest.raises(eq.EquipoiseError, match=r"run\.json vanish"),
    ):
        at(5, lambda: shutil.rmtree(folder), patch)
        ask(rung, folder)
    assert len(list(folder.rglob("*.parquet"))) == 1
    assert content(ask(rung, folder)) == whole[1]


def test_shards_that_are_deleted_meanwhile(whole, rung, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    lost = eq.Run(whole[0]).record["shards"][1]["file"]
    with monkeypatch.context() as patch, pytest.raises(eq.EquipoiseError, match="1 of its shards"):
        at(5, (folder / lost).unlink, patch)
        ask(rung, folder)
    assert eq.Run(folder).record["status"] == "running"
    assert content(ask(rung, folder)) == whole[1]


# Clocks


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_clock_that_jumps_changes_nothing(whole, rung, tmp_path, monkeypatch, jump, capfd):
    folder, real, began = tmp_path / "run", time.time, time.monotonic()
    zone = datetime.datetime

    class Jumping(zone):
        @classmethod
        def now(cls, tz=None):
            return zone.fromtimestamp(time.time(), tz)

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + jump * int(100 * (time.monotonic() - began)))
        patch.setattr(datetime, "datetime", Jumping)
        run = ask(rung, folder)
    assert run.record["created"] != run.record["finished"]
    assert content(run) == whole[1]
    for k, path in enumerate(folder.rglob("*")):
        os.utime(path, (real() + (-1) ** k * DAY,) * 2)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    again = ask(rung, folder)
    assert content(again) == whole[1] and again.record["repaired"] == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == before
    assert capfd.readouterr().err == ""


# Signals

NURSERY = """
import json, os, random, shutil, signal, sys, time, warnings
from functools import partial
from pathlib import Path
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
import equipoise as eq
import equipoise.cli, equipoise.report.page
from equipoise import files, locks, seals, store
from equipoise.audit import auditing, local, preparing
preparing.make_plan = partial(preparing.make_plan, size={size})
auditing.audit.__kwdefaults__["examined"] = 4
folder, rung, probes = Path({folder!r}), {rung!r}, {probes!r}
rng = random.Random(7)

TOTAL = 3 * {images} // {size}

def ask(out=folder):
    eq.audit("local:" + rung, "digits", probes, out, limit={images}, batch=7, device="cpu", shown=False)

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def half(path, *_):
    os.truncate(path, path.stat().st_size // 2)
    die()

def nth(room, name, n, act):
    real, calls = getattr(room, name), []
    def count(*given, **named):
        calls.append(1)
        return act(*given) if len(calls) == n else real(*given, **named)
    setattr(room, name, count)

STAGES = {{
    "in a shard, before its seal": lambda: nth(store, "seal", 3, half),
    "before a shard's sync": lambda: nth(os, "fsync", 6, die),
    "before a shard's rename": lambda: nth(files.Path, "replace", 4, die),
    "after a shard's rename": lambda: nth(files, "_sync_folder", 5, die),
    "before run.json": lambda: nth(auditing, "write_json", 1, die),
    "before the last run.json": lambda: nth(auditing, "write_json", 2, die),
    "when the lock is taken": lambda: nth(locks, "_me", 1, die),
    "when shards are looked at": lambda: nth(preparing, "survey", 1, die),
}}

def shards():
    return len(list(folder.rglob("[!.]*.parquet")))

def ended(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)

def attempt(before, number=None):
    # A child of a process that has audited before: a fresh one would take seconds.
    if shards() == TOTAL:
        shutil.rmtree(folder)
    child = os.fork()
    if not child:
        try:
            before()
            {work}
            os._exit(0)
        except SystemExit as error:
            os._exit(error.code or 0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(99)
    if number is not None:
        count = shards()
        # Right after a shard, anywhere in the next, or anywhere at all.
        waits = rng.random() < 0.7
        while waits and shards() == count and not ended(child):
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, number)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)

ask(Path({warm!r}))
{drill}
"""

KILLS = """
ends = {}
for stage, before in STAGES.items():
    ends[stage] = attempt(before)
for k in range(12):
    ends[f"random {k}"] = attempt(lambda: None, signal.SIGKILL)
print(json.dumps(ends))
"""

STOPS = """
ends = []
for k in range(10):
    ends.append(attempt(lambda: None, [signal.SIGINT, signal.SIGTERM][k % 2]))
    left = [p.name for p in folder.rglob(".*") if p.name.endswith((".tmp", ".lock"))]
    ends.append(left)
print(json.dumps(ends))
"""

COMMAND = """
            eq.cli.main(["audit", "local:" + rung, "--data", "digits", "--probe", probes[0], "--probe", probes[1],
                         "--out", str(folder), "--limit", "{images}", "--batch", "7", "--device", "cpu"])
"""


def drilled(rung, folder, drill, work="ask()"):
    values = {"size": SIZE, "images": IMAGES, "folder": str(folder), "rung": str(rung)}
    values["warm"] = str(folder.with_name("warm"))
    work = work.strip().replace("{images}", str(IMAGES))
    script = NURSERY.format(**values, probes=PROBES, work=work, drill=drill)
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1]), found.stderr


@pytest.mark.slow
def test_sigkill_at_any_moment(whole, rung, tmp_path):
    ends, said = drilled(rung, tmp_path / "run", KILLS)
    assert len(ends) == 20
    staged = {stage: code for stage, code in ends.items() if not stage.startswith("random")}
    assert set(staged.values()) == {-signal.SIGKILL}
    assert set(ends.values()) <= {-signal.SIGKILL, 0}
    assert "made again" not in said
    again = ask(rung, tmp_path / "run")
    assert again.record["repaired"] == [] and again.verify() == {}
    assert content(again) == whole[1]


@pytest.mark.slow
def test_ctrl_c_and_sigterm_at_any_moment(whole, rung, tmp_path):
    ends, said = drilled(rung, tmp_path / "run", STOPS, COMMAND)
    assert set(ends[::4]) <= {130, 0} and set(ends[2::4]) <= {143, 0}
    assert {130, 143} <= {code for code in ends if isinstance(code, int)}
    assert all(left == [] for left in ends[1::2])
    assert "Traceback" not in said
    assert "terminated. What was finished is kept" in said
    again = ask(rung, tmp_path / "run")
    assert again.record["repaired"] == [] and content(again) == whole[1]


SPREADING = """
import os, sys, time
from pathlib import Path
from equipoise import processes

def work(item):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    processes.cores = lambda: 2
    list(processes.spread(work, [1, 2]))
"""


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path):
    script, marks = tmp_path / "spreading.py", tmp_path / "marks"
    script.write_text(SPREADING)
    marks.mkdir()
    # The package that is tested, wherever it is.
    env = os.environ | {"PYTHONPATH": str(Path(eq.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, str(script), str(marks)], env=env)
    deadline = time.monotonic() + 60
    try:
        while len(list(marks.iterdir())) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    workers = [int(path.name) for path in marks.iterdir()]

    def alive(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive the process that started them"
        time.sleep(0.05)


# Sets


@pytest.fixture
def small_set(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "ROWS", 12)  # two originals a shard
    make = partial(make_set, grey_set(), sampler(), oracles=[brightness_oracle()])
    return (
        make(tmp_path / "whole"),
        make,
        Path(shutil.copytree(tmp_path / "whole", tmp_path / "set")),
    )


def test_sets_are_repaired_and_say_so(small_set, capfd):
    first, make, folder = small_set
    named = sorted(path.name for path in (folder / "data").iterdir())
    spoilt = dict(zip(named[::3], SPOILT.items(), strict=False))
    for name, (_, spoil) in spoilt.items():
        spoil(folder / "data" / name)
    found = CounterfactualSet(folder).verify()
    assert {name.removeprefix("data/") for name in found} == set(spoilt)
    again = make(folder)
    assert same_content(first, again) and again.verify() == {}
    assert {item["file"]: item["reason"] for item in again.record["repaired"]} == found
    assert "made again" in capfd.readouterr().err


def test_the_record_of_a_set_is_written_again_from_its_files(small_set, capfd, monkeypatch):
    first, make, folder = small_set
    os.truncate(folder / "set.json", 500)
    with pytest.raises(
        eq.EquipoiseError, match="Repeat the command that made the counterfactuals"
    ):
        CounterfactualSet(folder)
    monkeypatch.setattr("equipoise.images.writing.write_shard", None)  # nothing is made
    again = make(folder)
    assert again.record["shards"] == first.record["shards"]
    assert [item["file"] for item in again.record["repaired"]] == ["set.json"]
    (folder / "set.json").write_text("")
    with pytest.raises(eq.EquipoiseError, match=r"holds another set \(data/test-00000"):
        make_set(grey_set(), sampler(), folder, oracles=[brightness_oracle()], seed=1)


def test_a_file_of_another_set_is_made_again(small_set, tmp_path):
    first, make, folder = small_set
    other = make_set(grey_set(), sampler(), tmp_path / "o", oracles=[brightness_oracle()], seed=1)
    file = "data/noise-00001-of-00004.parquet"
    shutil.copy(other.folder / file, folder / file)
    again = make(folder)
    assert same_content(first, again)
    assert again.record["repaired"][0]["reason"] == "it belongs to another set"
