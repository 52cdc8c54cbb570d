"""The measuring loop: reading and writing beside the work, in bounded memory, and what happens when any of it fails."""

import gc
import threading
import time
import weakref

import pytest
import torch
from conftest import Linear
from torch import Tensor, nn

import equipoise as eq
from equipoise.audit.local import measure_range
from equipoise.audit.memory import out_of_memory
from equipoise.audit.overlap import Reader, Writer
from equipoise.audit.plan import make_plan
from equipoise.images import BrokenImageError, Images
from equipoise.probes import load_probe
from equipoise.store import is_whole

PROBES = ["standard", "adversarial:l2:1.5?steps=3"]


class Greedy(nn.Module):
    """A network that has memory for so many images, the sixteen of a padded call at least."""

    def __init__(self, net: nn.Module, images: int, error: Exception) -> None:
        super().__init__()
        self.net, self.images, self.error = net, [images], error

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.images[0]:
            raise self.error
        return self.net(x)


REFUSALS = [
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 3 bytes."),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
]


def table(run) -> list[str]:
    """All rows and pictures, in an order that does not depend on shards."""
    shown = run.pictures(PROBES[1]).fetchall()
    return sorted(map(str, [*run.table().fetchall(), *shown]))


@pytest.fixture(scope="module")
def small_batches(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("small") / "run"
    return eq.audit(trained, "digits", PROBES, out, limit=48, batch=16, shown=False)


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_out_of_memory_halves_the_batch_and_changes_no_bit(
    error, trained, small_batches, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("equipoise.audit.plan.shard_size", lambda _: 24)
    greedy = eq.wrap(Greedy(trained.net, 16, error), name=trained.name, classes=trained.classes)
    monkeypatch.setattr("equipoise.audit.checking.PREFLIGHT_IMAGES", 16)
    run = eq.audit(greedy, "digits", PROBES, tmp_path / "run", limit=48, batch=60, shown=False)
    assert table(run) == table(small_batches)
    said = capsys.readouterr().err
    assert said.count("ut of memory") == 1
    assert "with 24 images in a network call: 12 from there on" in said
    notes = [note for facts in run.facts() for note in facts["notes"] if "memory" in note]
    assert [note.split("call: ")[1] for note in notes] == ["12 from there on"]


def test_too_little_memory_for_one_image_is_said(trained, tmp_path, capsys):
    clf = eq.wrap(Greedy(trained.net, 0, MemoryError()), name="greedy")
    data, probes = eq.load_images("digits").subset(5), [load_probe("standard")]
    plan = make_plan(data, {"greedy": clf}, probes, seed=0, pictures=0)
    cpu = torch.device("cpu")
    with pytest.raises(
        eq.EquipoiseError, match=r"a single image at a time.*MemoryError.*--device"
    ):
        measure_range(plan, tmp_path, plan.shards, print, device=cpu, batch=9, skip_broken=False)
    said = capsys.readouterr().err
    assert said.splitlines() == [
        f"Out of memory with {tried} images in a network call: {tried // 2} from there on. No result depends on it."
        for tried in (5, 2)
    ]


def test_other_errors_are_not_taken_for_it():
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))


class Counted(Images):
    """Digits that say when they are read, and may not be readable."""

    def __init__(self, images: Images, broken: int | None = None) -> None:
        self.images, self.broken = images, broken
        self.spec, self.split, self.classes = images.spec, images.split, images.classes
        self.read_in: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int):
        self.read_in.append((index, threading.current_thread().name))
        example = self.images[index]
        if index == self.broken:
            raise BrokenImageError(example.id, "it is torn")
        return example

    def fingerprint(self, indices) -> str:
        return self.images.fingerprint(indices)


@pytest.fixture
def in_tens(monkeypatch):
    monkeypatch.setattr("equipoise.audit.plan.shard_size", lambda _: 10)


def linear():
    return eq.wrap(Linear(torch.eye(10, 64), torch.zeros(10)), name="linear")


def test_images_are_read_ahead_and_once(in_tens, tmp_path):
    data = Counted(eq.load_images("digits").subset(40))
    eq.audit(linear(), data, ["standard"], tmp_path / "run", shown=False)
    ahead = [index for index, thread in data.read_in if thread.startswith("reading")]
    assert ahead == list(range(40))


def test_a_broken_image_stops_and_keeps_what_was_before(in_tens, tmp_path):
    data = Counted(eq.load_images("digits").subset(40), broken=25)
    with pytest.raises(eq.EquipoiseError, match="it is torn"):
        eq.audit(linear(), data, ["standard"], tmp_path / "run", shown=False)
    kept = sorted(path.name[:7] for path in (tmp_path / "run/shards/standard").rglob("*.parquet"))
    # The range before it may have been in hand.
    assert kept in (["0000000"], ["0000000", "0000010"])
    run = eq.audit(linear(), data, ["standard"], tmp_path / "run", skip_broken=True, shown=False)
    assert len(run.table()) == 39


def test_a_full_disk_stops_at_once(in_tens, tmp_path, monkeypatch):
    written = []

    def write(path, *rest):
        written.append(path)
        if len(written) == 3:
            raise eq.EquipoiseError(f"Cannot write {path}: no space left on device.")

    monkeypatch.setattr("equipoise.audit.local.write_shard", write)
    with pytest.raises(eq.EquipoiseError, match="no space left"):
        eq.audit(linear(), "digits", ["standard"], tmp_path / "run", limit=60, shown=False)
    assert len(written) == 3


def test_done_comes_after_the_disk_and_in_the_callers_thread(in_tens, tmp_path, monkeypatch):
    told = []

    def advance(self, note):
        files = list((tmp_path / "run").rglob("*.parquet"))
        told.append((len(files), all(map(is_whole, files)), threading.current_thread()))

    monkeypatch.setattr("equipoise.progress.Progress.advance", advance)
    eq.audit(linear(), "digits", ["standard"], tmp_path / "run", limit=40, shown=False)
    assert len(told) == 8
    for k, (files, whole, thread) in enumerate(told):
        assert files > k
        assert whole
        assert thread is threading.main_thread()


class Interrupted(Linear):
    """Ctrl-C in the network call with that number."""

    def forward(self, images: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return super().forward(images)


def test_ctrl_c_loses_only_the_shard_in_hand(in_tens, tmp_path):
    net = Interrupted(torch.eye(10, 64), torch.zeros(10))
    net.at = -1
    clf = eq.wrap(net, name="linear")
    whole = eq.audit(clf, "digits", ["standard"], tmp_path / "whole", limit=60, shown=False)
    net.at = net.calls  # the last call of an audit like that one: the last of six shards
    net.calls = 0
    with pytest.raises(KeyboardInterrupt):
        eq.audit(clf, "digits", ["standard"], tmp_path / "run", limit=60, shown=False)
    assert len(list((tmp_path / "run/shards/standard").rglob("*.parquet"))) == 5
    assert not list((tmp_path / "run").rglob("*.tmp"))
    net.at = -1
    run = eq.audit(clf, "digits", ["standard"], tmp_path / "run", limit=60, shown=False)
    assert run.table().fetchall() == whole.table().fetchall()


class Part:
    pass


def test_no_more_than_the_range_in_hand_and_the_next_are_in_memory():
    alive: list[weakref.ref] = []

    def read(item):
        part = Part()
        alive.append(weakref.ref(part))
        yield part

    most = 0
    with Reader(read, range(8)) as reader:
        for _, parts in reader:
            deadline = time.monotonic() + 5
            while len(alive) < 8 and reader._next is not None and not reader._next.done():
                assert time.monotonic() < deadline
            gc.collect()
            most = max(most, sum(ref() is not None for ref in alive))
            assert len(parts) == 1
            del parts
    assert most == 2


def test_reading_stops_when_the_work_does():
    read, begun = [], threading.Event()

    def slowly(item):
        for part in range(1000):
            read.append((item, part))
            if item:
                begun.set()
                time.sleep(0.002)
            yield part

    with pytest.raises(ZeroDivisionError), Reader(slowly, range(2)) as reader:
        for _ in reader:
            assert begun.wait(5)
            raise ZeroDivisionError
    assert sum(item for item, _ in read) < 999


def test_a_writer_writes_one_thing_at_a_time_and_raises_what_went_wrong():
    done, log = [], []

    def work(item):
        log.append(f"begins {item}")
        time.sleep(0.01)
        log.append(f"ends {item}")

    with Writer(done.append) as writer:
        for item in range(4):
            writer.write(item, lambda item=item: work(item))
            assert done == list(range(item))
    assert done == [0, 1, 2, 3]
    assert log == [f"{what} {item}" for item in range(4) for what in ("begins", "ends")]
    with pytest.raises(ZeroDivisionError), Writer(done.append) as writer:
        writer.write(4, lambda: 1 // 0)
        writer.write(5, lambda: work(5))
    assert done == [0, 1, 2, 3]
    assert "begins 5" not in log
