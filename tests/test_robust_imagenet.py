"""The robust ImageNet ResNets: the network itself, and checkpoints that are read without running them."""

import importlib
import io
import json
import os
import pickle
import random
import sys
import types
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import equipoise as eq
from equipoise.classifiers import (
    ResNet,
    convert_robust_imagenet,
    name_net,
    robust_imagenet,
    torch_files,
)
from equipoise.cli import main
from equipoise.report.reading import _judged

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def filled(net):
    """The network in eval mode with running statistics that are not those of a fresh one."""
    generator = torch.Generator().manual_seed(1)
    for key, value in net.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.1, generator=generator)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 2, generator=generator)
        elif key.endswith("num_batches_tracked"):
            value.fill_(7)
    return net.eval()


def resnet(depth=18, width=1, classes=5):
    torch.manual_seed(0)
    return filled(ResNet(shape=(3, 224, 224), classes=classes, depth=depth, width=width))


def by_hand(weights, x, blocks):
    """The function of the paper, from the weights alone."""

    def norm(name, h):
        shape = (1, -1, 1, 1)
        mean, var, gain, bias = (
            weights[f"{name}.{part}"].view(shape)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (h - mean) / (var + 1e-5).sqrt() * gain + bias

    def conv(name, h, stride=1):
        w = weights[f"{name}.weight"]
        return F.conv2d(h, w, stride=stride, padding=w.shape[2] // 2)

    x = norm("bn1", conv("conv1", x, 2)).relu()
    x = F.pad(x, [1] * 4, value=-torch.inf).unfold(2, 3, 2).unfold(3, 3, 2).amax((4, 5))
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            last = 3 if f"{name}.conv3.weight" in weights else 2
            h = x
            for k in range(1, last + 1):
                moves = stride if k == last - 1 else 1
                h = norm(f"{name}.bn{k}", conv(f"{name}.conv{k}", h, moves))
                h = h.relu() if k < last else h
            if f"{name}.downsample.0.weight" in weights:
                x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
            x = (x + h).relu()
    return x.flatten(2).mean(2) @ weights["fc.weight"].T + weights["fc.bias"]


def key_list(blocks, convs):
    """Names of all weights, by the rule that torchvision's networks follow."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = ["conv1.weight", *(f"bn1.{part}" for part in norm), "fc.weight", "fc.bias"]
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            for k in range(1, convs + 1):
                keys += [f"{name}.conv{k}.weight", *(f"{name}.bn{k}.{part}" for part in norm)]
            if block == 0 and (stage > 1 or convs == 3):
                keys += [f"{name}.downsample.0.weight"]
                keys += [f"{name}.downsample.1.{part}" for part in norm]
    return keys


KINDS = [
    (18, 1, (2, 2, 2, 2), 2, 11_689_512),
    (34, 1, (3, 4, 6, 3), 2, 21_797_672),
    (50, 1, (3, 4, 6, 3), 3, 25_557_032),
    (50, 2, (3, 4, 6, 3), 3, 68_883_240),
]


@pytest.mark.parametrize(("depth", "width", "blocks", "convs", "count"), KINDS)
def test_the_weights_have_published_names_and_number(depth, width, blocks, convs, count):
    with torch.device("meta"):
        net = ResNet(shape=(3, 224, 224), classes=1000, depth=depth, width=width)
    assert sum(p.numel() for p in net.parameters()) == count
    assert sorted(net.state_dict()) == sorted(key_list(blocks, convs))


@pytest.mark.parametrize(("depth", "width", "blocks", "convs", "count"), KINDS[:1] + KINDS[2:])
def test_the_network_is_that_of_the_paper(depth, width, blocks, convs, count):
    net = resnet(depth, width)
    with torch.no_grad():
        # The forward pass here works in double precision, so that only the network's own rounding is seen.
        weights = {key: value.double() for key, value in net.state_dict().items()}
        expected = by_hand(weights, IMAGES.double(), blocks)
        torch.testing.assert_close(net.double()(IMAGES.double()), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("depth", "width", "name"), [(18, 1, "resnet18"), (50, 1, "resnet50")])
def test_torchvision_takes_the_weights(depth, width, name):
    try:
        models = importlib.import_module("torchvision.models")
    except Exception:  # a build beside another build of torch dies in its own ways
        pytest.skip("torchvision cannot be imported here")
    net = resnet(depth, width)
    theirs = models.get_model(name, weights=None, num_classes=5).eval()
    theirs.load_state_dict(net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(net(IMAGES), theirs(IMAGES))


@pytest.mark.parametrize(("depth", "width"), [(19, 1), (18, 2), (50, 0)])
def test_other_depths_are_refused(depth, width):
    with pytest.raises(eq.EquipoiseError, match="the depth is 18, 34 or 50"):
        ResNet(shape=(3, 224, 224), classes=10, depth=depth, width=width)


class Parameters:
    """Stands for the class of settings that a training library pickles with its checkpoints."""


class Part:
    """Pickles as dill 0.3.1 pickles an attribute of a module; may be called, as functions there are."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self, *args):
        raise AssertionError

    def __reduce__(self):
        dill = sys.modules["dill._dill"]
        return dill._get_attr, (Imported(self.module), self.name)


class Imported:
    def __init__(self, module):
        self.module = module

    def __reduce__(self):
        return sys.modules["dill._dill"]._import_module, (self.module,)


class Dilled:
    """A number of NumPy as dill 0.3.1 pickles it; or a call of any other function."""

    def __init__(
        self, module="numpy.core._multiarray_umath", name="scalar", args=(3, b"12345678")
    ):
        self.function, self.args = Part(module, name), args

    def __reduce__(self):
        return self.function, self.args


def content(net, where="model", **more):
    """What a training with momentum saves: weights twice, normaliser, optimiser, schedule, settings."""
    state = OrderedDict()
    state._metadata = OrderedDict([("", {"version": 1}), ("module.model.bn1", {"version": 2})])
    shape = (3, 1, 1)
    for key, value in net.state_dict().items():
        state[f"module.model.{key}"] = state[f"module.attacker.model.{key}"] = value
    state["module.normalizer.new_mean"] = state["module.attacker.normalize.new_mean"] = MEAN.view(
        shape
    )
    state["module.normalizer.new_std"] = state["module.attacker.normalize.new_std"] = STD.view(
        shape
    )
    momentum = {k: {"momentum_buffer": torch.ones(3)} for k in range(4)}
    settings = Parameters()
    settings.arch, settings.eps = "resnet18", np.float64(0.5)
    return {
        where: state,
        "optimizer": {
            "state": momentum,
            "param_groups": [{"lr": np.float64(0.1), "params": [0, 1]}],
        },
        "schedule": {"milestones": Counter([30, 60]), "last_epoch": 89, "lr_lambdas": [None]},
        "epoch": 90,
        "amp": "N/A",
        "args": settings,
        "betas": {3},
        "rate": Dilled(),
        **more,
    }


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Saves an object in a form of torch.save; pickling needs the class of its settings to exist, reading must not."""
    package, module = types.ModuleType("cox"), types.ModuleType("cox.utils")
    package.utils, module.Parameters = module, Parameters
    dill, inner = types.ModuleType("dill"), types.ModuleType("dill._dill")
    dill._dill = inner

    def _get_attr(module, name):
        raise AssertionError("the reader ran what the file names")

    def _import_module(name):
        raise AssertionError("the reader ran what the file names")

    for function in (_get_attr, _import_module):
        function.__module__, function.__qualname__ = "dill._dill", function.__name__
        setattr(inner, function.__name__, function)

    def save(value, name="resnet18_l2_eps0.5.ckpt", legacy=True):
        path = tmp_path / name
        with monkeypatch.context() as names:
            names.setitem(sys.modules, "cox", package)
            names.setitem(sys.modules, "cox.utils", module)
            names.setattr(Parameters, "__module__", "cox.utils")
            names.setitem(sys.modules, "dill", dill)
            names.setitem(sys.modules, "dill._dill", inner)
            if isinstance(value, bytes):
                path.write_bytes(value)
            else:
                torch.save(value, path, _use_new_zipfile_serialization=not legacy)
        return path

    return save


@pytest.fixture(scope="module")
def small():
    """A ResNet-18 of five classes; all tests read it."""
    return resnet()


def load(path):
    return eq.load_classifier(f"robust-imagenet:{path}")


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
@pytest.mark.parametrize("where", ["model", "state_dict"])
def test_a_checkpoint_becomes_the_classifier_that_was_saved(legacy, where, small, save):
    classifier = load(save(content(small, where), legacy=legacy))
    with torch.no_grad():
        expected = small((IMAGES - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1))
        torch.testing.assert_close(classifier(IMAGES), expected)
    found = classifier.net.state_dict()
    assert all(torch.equal(found[key], value) for key, value in small.state_dict().items())
    assert classifier.classes is None
    assert classifier.name == "resnet18_l2_eps0.5"
    assert classifier.facts["network"] == "resnet18"
    assert not any(p.requires_grad or p.is_meta for p in classifier.parameters())
    assert "cox" not in sys.modules


def test_the_network_is_told_by_its_weights_not_by_the_name(save):
    net = resnet(50, classes=3)
    classifier = load(save(content(net), "resnet18_l2_eps1.ckpt", legacy=False))
    assert classifier.net.settings == net.settings
    with torch.no_grad():
        expected = net((IMAGES - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1))
        torch.testing.assert_close(classifier(IMAGES), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("depth", "width", "blocks", "convs", "count"), KINDS)
def test_shapes_tell_all_networks_apart(depth, width, blocks, convs, count):
    with torch.device("meta"):
        net = ResNet(shape=(3, 224, 224), classes=7, depth=depth, width=width)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert robust_imagenet._network(shapes).settings == net.settings
    assert name_net(net) == f"{'wide_' * (width > 1)}resnet{depth}{'_2' * (width > 1)}"


@pytest.mark.parametrize(
    ("name", "norm", "radius", "ladder"),
    [
        ("resnet18_l2_eps0.5", "l2", 0.5, "l2"),
        ("resnet50_l2_eps1", "l2", 1.0, "l2"),
        ("resnet50_linf_eps4.0", "linf", 4 / 255, "linf"),
        ("wide_resnet50_2_linf_eps0.5", "linf", 0.5 / 255, "linf"),
        ("resnet18_l2_eps0", None, 0.0, None),
    ],
)
def test_the_name_of_the_file_places_it_on_a_ladder(name, norm, radius, ladder):
    facts = robust_imagenet._trained_for(name)
    assert (facts["norm"], facts["radius"]) == (norm, radius)
    judged = _judged(name, {"facts": facts})
    assert (judged.ladder, judged.radius) == (ladder, radius)


@pytest.mark.parametrize(
    "name", ["mine", "resnet18_l2", "resnet18_l1_eps1", "resnet18_l2_eps1_v2"]
)
def test_other_names_say_nothing(name):
    assert robust_imagenet._trained_for(name) == {}


def test_old_files_lack_counts_of_batches(small, save):
    saved = content(small)
    for key in [key for key in saved["model"] if key.endswith("num_batches_tracked")]:
        del saved["model"][key]
    assert load(save(saved)).net.bn1.num_batches_tracked == 0


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_a_converted_checkpoint_answers_alike(legacy, small, save, tmp_path, capsys):
    path, out = save(content(small), legacy=legacy), tmp_path / "out"
    before = load(path)
    main(["convert", f"robust-imagenet:{path}", "--out", str(out)])
    assert f"local:{out}" in capsys.readouterr().out
    after = eq.load_classifier(f"local:{out}")
    assert torch.equal(before(IMAGES), after(IMAGES))
    assert before.fingerprint() == after.fingerprint()
    assert before.facts == after.facts
    assert sorted(p.name for p in out.iterdir()) == ["classifier.json", "weights.safetensors"]


def test_a_folder_is_converted_once(small, save, tmp_path, monkeypatch):
    out = tmp_path / "out"
    save(content(small), "resnet18_l2_eps0.ckpt")
    save(content(small), "resnet18_linf_eps1.0.ckpt", legacy=False)
    folders = convert_robust_imagenet(tmp_path, out, shown=False)
    assert [f.name for f in folders] == ["resnet18_l2_eps0", "resnet18_linf_eps1.0"]
    assert eq.load_classifier(f"local:{folders[1]}").facts["radius"] == 1 / 255
    # What was cut short has no description yet, and is made again.
    (folders[0] / "classifier.json").unlink()
    read = []
    original = robust_imagenet.load_robust_imagenet
    monkeypatch.setattr(
        robust_imagenet,
        "load_robust_imagenet",
        lambda path: read.append(path.name) or original(path),
    )
    assert convert_robust_imagenet(tmp_path, out, shown=False) == folders
    assert read == ["resnet18_l2_eps0.ckpt"]
    save(content(small, epoch=1), "resnet18_l2_eps0.ckpt")
    with pytest.raises(eq.EquipoiseError, match=r"holds another classifier.*delete that folder"):
        convert_robust_imagenet(tmp_path, out, shown=False)


def test_what_cannot_be_converted(tmp_path, capsys):
    with pytest.raises(eq.EquipoiseError, match=r"holds no \*.ckpt. Download"):
        convert_robust_imagenet(tmp_path, tmp_path / "out")
    with pytest.raises(SystemExit):
        main(["convert", "local:x", "--out", str(tmp_path / "out")])
    assert "robust-imagenet:FOLDER" in capsys.readouterr().err


def refused(path, words):
    with pytest.raises(eq.EquipoiseError, match=words) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "None of it was run" in str(caught.value)


class Runs:
    """Pickles as a call of os.system."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def legacy_file(content, keys=(), numbers=b""):
    """A file in the older form of torch.save, written without torch."""
    parts = (*torch_files.LEGACY, {"little_endian": True}, content, list(keys))
    data = b"".join(
        part if isinstance(part, bytes) else pickle.dumps(part, protocol=2) for part in parts
    )
    return data + numbers


def zip_file(pickled, compression=zipfile.ZIP_STORED, **entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in entries.items():
            archive.writestr(f"archive/{name}", data)
    return buffer.getvalue()


SYSTEM = f"names '{os.system.__module__}.system'"


@pytest.mark.parametrize(
    "make",
    [
        lambda: pickle.dumps(Runs(), protocol=2),
        lambda: legacy_file(Runs()),
        lambda: legacy_file({"model": {"module.model.conv1.weight": Runs()}}),
        lambda: legacy_file({"epoch": 1, "optimizer": [Runs()]}),
        lambda: zip_file(pickle.dumps({"optimizer": Runs()}, protocol=2)),
    ],
)
def test_nothing_in_a_file_is_run(make, save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(make())
    refused(path, SYSTEM)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_functions_named_by_their_parts_are_refused_too(save):
    refused(save({"rate": Dilled("os", "system", ("touch executed",))}), "names 'os.system'")
    refused(save({"rate": Dilled("numpy", "load", ("x",))}), "names 'numpy.load'")


def test_these_files_would_have_run_elsewhere(save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception):  # noqa: B017  what it returned is no checkpoint
        torch.load(save(legacy_file({"model": Runs()})), weights_only=False)["model"].keys()
    assert (tmp_path / "executed").is_file()


def test_classes_of_elsewhere_are_refused_by_name(save, monkeypatch):
    module = types.ModuleType("robustness")
    module.AttackerModel = type("AttackerModel", (), {"__module__": "robustness"})
    with monkeypatch.context() as names:
        names.setitem(sys.modules, "robustness", module)
        data = legacy_file({"model": module.AttackerModel()})
    refused(save(data), "names 'robustness.AttackerModel'")


def change(net, **changes):
    saved = content(net)
    for key, value in changes.items():
        saved["model"][key.replace("__", ".")] = value
    return saved


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda net: {"epoch": 1}, "no weights under 'model' or 'state_dict'"),
        (lambda net: [1], "no weights under"),
        (lambda net: {"model": net.state_dict()}, "'conv1.weight', whose name does not begin"),
        (
            lambda net: change(net, module__model__fc__weight=3),
            "'module.model.fc.weight' is no tensor",
        ),
        (lambda net: change(net, module__head=torch.ones(2)), "'module.head', whose name"),
        (lambda net: change(net, module__model__odd=torch.ones(2)), "'odd' is missing, too many"),
        (
            lambda net: change(net, module__model__bn1__weight=torch.ones(63)),
            "'bn1.weight' is missing, too many or of another shape",
        ),
        (
            lambda net: change(
                net, module__model__layer1__2__conv1__weight=torch.ones(64, 64, 3, 3)
            ),
            r"\(3, 2, 2, 2\) blocks",
        ),
        (
            lambda net: change(net, module__normalizer__other=torch.ones(2)),
            "lacks 'module.normalizer.new_mean'",
        ),
        (
            lambda net: change(net, module__normalizer__new_std=torch.zeros(3)),
            "positive standard dev",
        ),
        (
            lambda net: change(net, module__model__fc__bias=torch.ones(5).bool()),
            "torch.BoolStorage",
        ),
        (
            lambda net: change(net, module__model__fc__weight=torch.ones(1).expand(5, 512)),
            "more than the 1 numbers",
        ),
    ],
)
@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_other_files_are_refused(make, words, legacy, small, save):
    refused(save(make(small), legacy=legacy), words)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged|no file of torch.save"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "no file of torch.save"),
        (b"<!DOCTYPE html><html></html>", "no file of torch.save"),
        (pickle.dumps({"model": 1}), "no file of torch.save"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (zip_file(b"N.", zipfile.ZIP_DEFLATED), "its pickle is compressed"),
        (zip_file(b"N.", byteorder=b"big"), "little-endian"),
        (legacy_file({}).replace(b"\x88", b"\x89", 1), "little-endian"),
        (b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.", "no file of torch.save"),
        (b"\x80\x02" + b"N" * 2**21 + b".", "more than 1048576 instructions"),
        (legacy_file({"model": {}}, ["0"], bytes(8)), "the numbers '0' of no tensor"),
    ],
)
def test_foreign_files_give_one_kind_of_error(data, words, save):
    refused(save(data), words)


def test_missing_files_are_named(tmp_path):
    for path, words in (
        (tmp_path / "none.ckpt", "no such file"),
        (tmp_path, "name one of its files"),
    ):
        with pytest.raises(eq.EquipoiseError, match=words):
            load(path)


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_truncated_files_are_refused(legacy, small, save):
    whole = save(content(small), legacy=legacy).read_bytes()
    for share in (0.0005, 0.01, 0.5, 0.999):
        refused(save(whole[: int(share * len(whole))]), "download the file again")
    if legacy:
        refused(save(whole[:-1]), "ends 1 bytes too early: the download is incomplete")


def test_damaged_pickles_give_one_kind_of_error(small, save):
    whole = bytearray(save(content(small)).read_bytes())
    chance = random.Random(0)
    for _ in range(20):
        data = bytearray(whole)
        for place in (chance.randrange(40_000) for _ in range(3)):
            data[place] ^= 1 << chance.randrange(8)
        try:
            classifier = load(save(bytes(data)))
        except eq.EquipoiseError:
            continue
        assert classifier(IMAGES).shape[0] == 2


def stored(count, size, stride=None, key="0", name="torch.FloatStorage"):
    """The pickle of a tensor as torch writes one, by hand."""
    module, _, kind = name.rpartition(".")
    storage = b"(" + pickle.dumps("storage", 2)[2:-1] + f"c{module}\n{kind}\n".encode()
    storage += b"".join(pickle.dumps(v, 2)[2:-1] for v in (key, "cpu", count)) + b"tQ"
    rest = b"".join(pickle.dumps(v, 2)[2:-1] for v in (0, size, stride or (1,) * len(size), False))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"}tR"


def test_a_small_file_cannot_ask_for_much_memory(save):
    # Every weight is the same few numbers, seen again and again.
    with torch.device("meta"):
        net = ResNet(shape=(3, 224, 224), classes=3)
    count = max(value.numel() for value in net.state_dict().values())
    state = b"}("
    for key, value in net.state_dict().items():
        stride = value.stride() or ()
        state += pickle.dumps(f"module.model.{key}", 2)[2:-1] + stored(
            count, tuple(value.shape), stride
        )
    for key in ("new_mean", "new_std"):
        state += pickle.dumps(f"module.normalizer.{key}", 2)[2:-1] + stored(count, (3,))
    whole = b"\x80\x02}(" + pickle.dumps("model", 2)[2:-1] + state + b"uu."
    numbers = count.to_bytes(8, "little") + np.ones(count, "<f4").tobytes()
    refused(save(legacy_file(whole, ["0"], numbers)), "larger than the file")


@pytest.mark.parametrize(
    "tensor",
    [
        stored(4, (2**40,), (0,)),
        stored(4, (5,)),
        stored(4, (2,), (-1,)),
        stored(4, (((),),), (1,)),
        stored(-4, (2,)),
        stored(4, (2,), name="torch.BFloat16Storage"),
    ],
)
def test_tensors_stay_within_what_is_stored(tensor, save):
    keys = ("conv1.weight", "fc.weight", "layer1.0.conv1.weight")
    state = b"".join(pickle.dumps(f"module.model.{key}", 2)[2:-1] + tensor for key in keys)
    whole = b"\x80\x02}" + pickle.dumps("model", 2)[2:-1] + b"}(" + state + b"us."
    refused(save(legacy_file(whole, ["0"], (4).to_bytes(8, "little") + bytes(16))), "Cannot read")


def test_only_the_wanted_numbers_are_read(small, save, monkeypatch):
    """Numbers of the optimiser, which may be the larger part of a file, are never looked at."""
    path = save(content(small, big=torch.ones(3_000_000)), legacy=False)
    read = []
    original = torch_files.TorchFile.tensor
    monkeypatch.setattr(
        torch_files.TorchFile, "tensor", lambda self, s: read.append(s.size) or original(self, s)
    )
    load(path)
    assert (3_000_000,) not in read
    assert len(read) == len(small.state_dict()) + 2


def test_the_folder_is_described(small, save, tmp_path):
    (folder,) = convert_robust_imagenet(save(content(small)), tmp_path / "out", shown=False)
    described = json.loads((folder / "classifier.json").read_text())
    assert described["net"] == {
        "kind": "resnet", "shape": [3, 224, 224], "classes": 5, "depth": 18, "width": 1,
    }  # fmt: skip
    assert described["facts"]["norm"] == "l2"
    assert described["facts"]["objective"] == {"name": "pgd"}
    assert described["mean"] == pytest.approx(MEAN.tolist())


@pytest.mark.parametrize("name", [b"_load_type\n)%b\x85", b"_import_module\n)%b\x85"])
def test_a_name_that_would_print_without_end_is_refused(save, name):
    """A pair of a pair of a pair..., sixty deep and shared: five bytes each, 2^60 characters when printed."""
    nested = b"q\x00h\x00\x86" * 60
    called = b"cdill._dill\n" + name % nested + b"R"
    if b"module" in name:
        called = b"cdill._dill\n_get_attr\n" + called + b"X\x01\x00\x00\x00a\x86R"
    path = save(zip_file(b"\x80\x02" + called + b"."))
    refused(path, "names a global by something that is no name")
