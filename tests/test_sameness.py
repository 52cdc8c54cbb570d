"""The same answer everywhere: no bit of a table depends on how the work was cut, ordered, threaded or handed out.

Floating-point sums depend on their order, which kernels choose by shape and by the number of threads. That an image's
answers do not is owed to batches padded to multiples of sixteen rows (`equipoise.padding`), to MKL's strict mode
(`equipoise/__init__.py`), and to each image's own random streams. It holds on one kind of CPU; devices agree up to the
tolerance below.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from regressions import Masked
from test_counterfactual_sets import brightness_oracle, grey_set, sampler
from torch import nn

import equipoise as eq
from equipoise.attacks import APGD, BPDA, FAB, PGD, MinimumNorm, Square, WorstCase
from equipoise.audit import Run
from equipoise.audit.local import measure_range
from equipoise.audit.plan import Plan, make_plan
from equipoise.classifiers import MLP, ResidualNet, save_classifier
from equipoise.counterfactuals import make_set
from equipoise.images import Subset
from equipoise.padding import call_padded
from equipoise.probes import load_probe
from equipoise.probes.shift import SOURCE, TARGET
from equipoise.processes import spread

IMAGES = 12
SEED = 3
PROBES = [
    "standard",
    "adversarial:l2:0.15?steps=3",
    "adversarial:linf:0.02?steps=3",
    "adversarial:l1:1.5?steps=3",
    "transfer:l2:0.5",
    "gradients",
    "large_eps:l2:2?steps=3",
    "feature_use:digits",
    "regions:gaussian?levels=60,120&trials=2",
    "regions:l2?levels=60&trials=2",
    "backgrounds",
    "groups",
    "saliency",
    "shift",
]
BETWEEN_DEVICES = 1e-3
"""By which logits on a GPU may differ from a CPU's, as a share of the largest."""


class Places(Masked):
    """Digits with masks, in the two groups that `Shift` compares."""

    def read(self, index):
        example = super().read(index)
        return replace(example, group=(SOURCE, TARGET)[index % 2])


def images() -> Places:
    return Places(eq.load_images("digits").subset(IMAGES))


def fitted(net: nn.Module, head: nn.Linear, name: str):
    """The network with a last layer fitted by least squares, so that attacks have something to break."""
    data = eq.load_images("digits", "train").subset(400)
    batch = data.batch(range(400))
    seen: list[torch.Tensor] = []
    handle = head.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    with torch.no_grad():
        net(batch.images)
        handle.remove()
        features = torch.cat([seen[0], torch.ones(400, 1)], 1).double()
        wanted = torch.eye(10, dtype=torch.double)[batch.labels]
        ridge = features.T @ features + 1e-3 * torch.eye(features.shape[1])
        weight = torch.linalg.solve(ridge, features.T @ wanted)
        head.weight.copy_(weight[:-1].T)
        head.bias.copy_(weight[-1])
    return eq.wrap(net, classes=tuple("0123456789"), name=name)


def networks() -> dict[str, eq.classifiers.Classifier]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        conv = ResidualNet(shape=(1, 8, 8), classes=10, widths=(8, 16))
        mlp = MLP(shape=(1, 8, 8), classes=10, widths=(32,))
    return {
        "conv": fitted(conv, conv.head, "conv"),
        "mlp": fitted(mlp, [m for m in mlp.modules() if isinstance(m, nn.Linear)][-1], "mlp"),
    }


@pytest.fixture(scope="module")
def classifiers():
    return networks()


@pytest.fixture(scope="module")
def run(classifiers, tmp_path_factory):
    """The run that others are compared with: one thread, one batch, one shard."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return audited(classifiers.values(), PROBES, folder)


def audited(classifiers, probes, folder, **settings) -> Run:
    settings = {"seed": SEED, "pictures": 5, "examined": 2, "shown": False} | settings
    return eq.audit(classifiers, images(), probes, folder, **settings)


def content(run: Run, probe: str, classifier: str) -> dict[str, str]:
    """Everything that was measured, as text in which other bits are other letters."""
    columns = run.columns(probe, classifier)
    kept = {name: repr(np.asarray(values).tolist()) for name, values in columns.items()}
    assert len(columns["id"]) == len(run.images())
    if "picture" in load_probe(probe).types:
        mine = run.pictures(probe).filter(f"classifier = '{classifier}'").order("id")
        kept["pictures"] = str(mine.fetchall())
    return kept


def assert_same(run: Run, other: Run) -> None:
    for probe in other.probes:
        for classifier in other.classifiers:
            expected = content(run, probe, classifier)
            found = content(other, probe, classifier)
            differing = [name for name in expected if expected[name] != found.get(name)]
            assert not differing, (probe, classifier)
            assert expected.keys() == found.keys()


def test_the_audit_compared_with_has_something_to_lose(run, classifiers):
    for name in classifiers:
        fooled = run.columns("adversarial:l2:0.15?steps=3", name)["success"].astype(bool)
        assert 0.1 < fooled.mean() < 0.9
        assert run.columns("standard", name)["correct"].astype(bool).mean() > 0.3


def test_batches_shards_and_orders_change_no_bit(run, classifiers, tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.audit.plan.shard_size", lambda _: 6)
    backwards = list(classifiers.values())[::-1]
    other = audited(backwards, PROBES[::-1], tmp_path / "run", batch=5)
    assert len(other.shards("standard", "conv")) == 2
    assert_same(run, other)


@pytest.mark.slow
def test_threads_change_no_bit(run, classifiers, tmp_path, monkeypatch):
    # Networks as small as these would get one thread of several.
    monkeypatch.setattr("equipoise.devices.SMALL", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert_same(run, audited(classifiers.values(), PROBES, tmp_path / "run"))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("probe", PROBES[1::6])
def test_the_probes_asked_together_change_no_bit(run, classifiers, tmp_path, probe):
    assert_same(run, audited(classifiers.values(), [probe], tmp_path / "run", batch=5))


@pytest.mark.slow
def test_processes_change_no_bit(run, classifiers, tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.audit.plan.shard_size", lambda _: 6)
    for name, classifier in classifiers.items():
        save_classifier(classifier, tmp_path / name)
    given = [f"local:{tmp_path / name}" for name in classifiers]
    other = audited(given, SEARCHED, tmp_path / "run")
    shards = sorted((tmp_path / "run" / "shards").rglob("*.parquet"))
    for shard in shards:
        shard.unlink()
    list(spread(partial(measure, tmp_path, given), planned(given).ranges()))
    assert sorted((tmp_path / "run" / "shards").rglob("*.parquet")) == shards
    assert_same(run, Run(other.folder))


SEARCHED = ["standard", "adversarial:linf:0.02?steps=3", "transfer:l2:0.5"]


def planned(specs: list[str]) -> Plan:
    loaded = [eq.load_classifier(spec) for spec in specs]
    return make_plan(
        images(),
        {classifier.name: classifier for classifier in loaded},
        [load_probe(probe) for probe in SEARCHED],
        seed=SEED,
        pictures=5,
        examined=2,
        size=6,
    )


def measure(folder: Path, specs: list[str], bounds: tuple[int, int]) -> None:
    """What a worker does: plans for itself, and measures one range."""
    plan = planned(specs)
    shards = [shard for shard in plan.shards if (shard.first, shard.last) == bounds]
    told: list[str] = []
    measure_range(
        plan,
        folder / "run",
        shards,
        lambda shard: told.append(shard.file),
        device=torch.device("cpu"),
        batch=4,
        skip_broken=False,
    )
    assert told == [shard.file for shard in shards]


def test_counterfactuals_change_no_bit(tmp_path):
    made = make_set(
        Subset(grey_set(12), range(9)), sampler(), tmp_path / "ces", oracles=[brightness_oracle()]
    )
    probes = [f"counterfactual:{made.folder}", f"gradients:{made.folder}"]
    runs = [
        eq.audit(
            brightness_oracle(), grey_set(12), probes, tmp_path / str(batch), batch=batch, seed=1
        )
        for batch in (128, 5)
    ]
    assert_same(*runs)


ATTACKS = [
    PGD(steps=6, restarts=2),
    APGD(steps=12),
    APGD(steps=6, loss="dlr", targeted=True, targets=3),
    MinimumNorm(steps=24),
    FAB(steps=4, restarts=2, targets=2),
    Square(queries=25),
    BPDA(steps=3, draws=2, targets=2),
    WorstCase(),
    WorstCase(budget="standard"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_attacks_change_no_bit_with_batch_or_threads(classifiers, attack, name, monkeypatch):
    long = isinstance(attack, WorstCase) and attack.budget == "standard"
    data = images().batch(range(5 if long else IMAGES))
    # Images that the short members leave unbroken, so that the standard budget is not spent on many.
    threat = eq.L2(1.0 if long else 0.2)

    def attacked(rows: torch.Tensor):
        ids = [data.ids[row] for row in rows.tolist()]
        return attack(classifiers[name], data.images[rows], data.labels[rows], threat, ids=ids)

    whole = attacked(torch.arange(len(data.ids)))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for rows in torch.randperm(
            len(data.ids), generator=torch.Generator().manual_seed(1)
        ).split(3):
            part = attacked(rows)
            for field in ("images", "success", "distance", "margin", "forwards", "backwards"):
                assert torch.equal(getattr(part, field), getattr(whole, field)[rows]), field
            torch.testing.assert_close(
                part.agreement, whole.agreement[rows], rtol=0, atol=0, equal_nan=True
            )
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("fan_in", [784, 1024, 3072])
@pytest.mark.parametrize("outputs", [10, 100])
def test_products_of_matrices_have_one_answer(fan_in, outputs):
    # Without MKL's strict mode their sums are cut for threads by the number of rows.
    torch.manual_seed(0)
    layer = nn.Linear(fan_in, outputs).requires_grad_(False)
    x = torch.rand(130, fan_in)
    answers = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            for rows in (3, 16, 17, 64, 130):
                pixels = x[:rows].clone().requires_grad_(True)
                logits = call_padded(layer, pixels)
                (slope,) = torch.autograd.grad(logits.square().sum(), pixels)
                answers.append((logits[:3].detach(), slope[:3]))
    finally:
        torch.set_num_threads(before)
    for logits, slope in answers:
        assert torch.equal(logits, answers[0][0])
        assert torch.equal(slope, answers[0][1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA: devices are not compared here")
@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_devices_agree_to_a_thousandth(classifiers, run, tmp_path, name):
    other = audited(networks().values(), PROBES, tmp_path / "run", device="cuda")
    batch = images().batch(range(IMAGES))
    on_cpu = classifiers[name](batch.images)
    on_gpu = networks()[name].to("cuda")(batch.images.to("cuda")).cpu()
    assert (on_cpu - on_gpu).abs().max() <= BETWEEN_DEVICES * on_cpu.abs().max()
    # Images on which a last bit decides an attack are few.
    for probe in [probe for probe in PROBES if probe.startswith("adversarial")]:
        first, second = (r.columns(probe, name)["success"].astype(bool) for r in (run, other))
        assert (first != second).mean() <= 0.06
