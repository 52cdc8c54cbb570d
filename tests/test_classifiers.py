"""Classifiers: normalisation inside, files that round-trip, and a preflight that finds what is wrong."""

import json
import sys

import pytest
import torch
from conftest import Linear, linear
from torch import nn

import equipoise as eq
from equipoise.classifiers import MLP, NETS, ResidualNet, build_net, preflight, save_classifier


def test_wrap_normalises_inside_and_freezes():
    net = Linear(torch.eye(3, 12), torch.zeros(3))
    net.train()
    classifier = eq.wrap(net, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2), classes=("a", "b", "c"))
    images = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 0.2])
    expected = ((images - mean[:, None, None]) / std[:, None, None]).flatten(1)[:, :3]
    assert torch.allclose(classifier(images), expected)
    assert not any(m.training for m in classifier.modules())
    assert not any(p.requires_grad for p in classifier.parameters())
    assert classifier.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: eq.wrap(Linear(torch.eye(3), torch.zeros(3)), std=0),
            "positive standard deviations",
        ),
        (
            lambda: eq.wrap(Linear(torch.eye(3), torch.zeros(3)), mean=(0, 0), std=(1, 1, 1)),
            "2 means and 3",
        ),
        (lambda: eq.wrap("resnet"), "needs a torch.nn.Module, not str"),
        (lambda: eq.wrap(linear(2, (1, 2, 2))), "wrapped already"),
    ],
)
def test_wrap_refuses(make, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        make()


def test_out_of_range_images_are_refused_with_their_range():
    with pytest.raises(eq.EquipoiseError, match=r"span \[-2, 2.5\].*mean= and std="):
        linear(2, (1, 1, 2))(torch.tensor([-2.0, 2.5]).reshape(1, 1, 1, 2))


def test_the_fingerprint_is_that_of_the_function():
    a, b = linear(3, (1, 2, 2)), linear(3, (1, 2, 2))
    assert a.fingerprint() == b.fingerprint()
    b.net.weight.data[0, 0] += 1e-6
    assert a.fingerprint() != b.fingerprint()
    net = Linear(torch.eye(4), torch.zeros(4))
    assert eq.wrap(net).fingerprint() != eq.wrap(net, std=0.5).fingerprint()

    class Negated(Linear):
        def forward(self, images):
            return -super().forward(images)

    Negated.__qualname__ = Linear.__qualname__
    same = Negated(torch.eye(4), torch.zeros(4))
    assert eq.wrap(net).fingerprint() != eq.wrap(same).fingerprint()
    levels = [
        Changed(torch.nn.Identity(), change)
        for change in (lambda n, x: n(x) * 2, lambda n, x: n(x) * 3)
    ]
    assert eq.wrap(levels[0]).fingerprint() != eq.wrap(levels[1]).fingerprint()


@pytest.mark.parametrize("kind", sorted(NETS))
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 64, 64)], ids=str)
def test_small_nets_save_and_load(kind, shape, tmp_path):
    torch.manual_seed(1)
    net = build_net(kind, {"shape": shape, "classes": 7})
    classifier = eq.wrap(
        net, mean=0.5, std=0.25, classes=[f"c{k}" for k in range(7)], facts={"radius": 0.5}
    )
    images = torch.rand(3, *shape)
    save_classifier(classifier, tmp_path / "rung")
    loaded = eq.load_classifier(f"local:{tmp_path / 'rung'}")
    assert torch.equal(loaded(images), classifier(images))
    assert loaded.fingerprint() == classifier.fingerprint()
    assert (loaded.name, loaded.classes, loaded.facts) == (
        "rung",
        classifier.classes,
        {"radius": 0.5},
    )


@pytest.mark.parametrize("kind", sorted(NETS.keys() - {"nearest"}))
def test_gradients_reach_every_parameter(kind):
    torch.manual_seed(0)
    net = build_net(kind, {"shape": (3, 16, 16), "classes": 5})
    net(torch.rand(4, 3, 16, 16)).logsumexp(1).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_residual_filters_are_standardised():
    net = ResidualNet(shape=(3, 16, 16), classes=5)
    conv = net.stages[0].first
    flat = conv.standardised().flatten(1)
    assert torch.allclose(flat.mean(1), torch.zeros(len(flat)), atol=1e-6)
    assert torch.allclose(
        flat.var(1, correction=0) * flat.shape[1], torch.full((len(flat),), conv.input_gain**2)
    )


def test_only_known_networks_are_saved(tmp_path):
    with pytest.raises(
        eq.EquipoiseError, match="only mlp, nearest, residual, resnet can be rebuilt"
    ):
        save_classifier(linear(2, (1, 2, 2)), tmp_path)


def break_file(folder, how):
    description = json.loads((folder / "classifier.json").read_text())
    if how == "no weights":
        (folder / "weights.safetensors").unlink()
    elif how == "truncated":
        data = (folder / "weights.safetensors").read_bytes()
        (folder / "weights.safetensors").write_bytes(data[: len(data) // 2])
    elif how == "not json":
        (folder / "classifier.json").write_text("{")
    elif how == "other net":
        description["net"]["widths"] = [3]
    elif how == "unknown net":
        description["net"]["kind"] = "residul"
    elif how == "newer":
        description["format"] = 99
    elif how == "lacking":
        del description["mean"]
    elif how == "odd settings":
        description["net"]["depth"] = 3
    if how not in ("not json",):
        (folder / "classifier.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no weights", "weights.safetensors: there is no such file"),
        ("truncated", "Is the file whole"),
        ("not json", "it is not JSON"),
        ("other net", "do not fit the network"),
        ("unknown net", "Did you mean 'residual'"),
        ("newer", "Upgrade equipoise"),
        ("lacking", "it lacks 'mean'"),
        ("odd settings", "depth"),
    ],
)
def test_broken_folders_are_named(how, words, tmp_path):
    save_classifier(eq.wrap(MLP(shape=(1, 4, 4), classes=3, widths=(5,))), tmp_path)
    break_file(tmp_path, how)
    with pytest.raises(eq.EquipoiseError, match=words):
        eq.load_classifier(f"local:{tmp_path}")


def test_function_specs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_models.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Flatten()\ndef number():\n    return 3\n"
    )
    classifier = eq.load_classifier("my_models:build")
    assert classifier.name == "my_models:build"
    with pytest.raises(eq.EquipoiseError, match="Did you mean 'build'"):
        eq.load_classifier("my_models:biuld")
    with pytest.raises(eq.EquipoiseError, match=r"returned int, not a torch.nn.Module"):
        eq.load_classifier("my_models:number")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("loacl:runs/x", "Did you mean 'local:'"),
        ("local:/no/such/folder", "there is no folder"),
        ("resnet50", "Write one of local:DIR"),
        ("no_such.module:build", "no module named 'no_such'"),
    ],
)
def test_unknown_specs(spec, words):
    with pytest.raises(eq.EquipoiseError, match=words):
        eq.load_classifier(spec)


def test_a_bare_folder_gets_a_hint(tmp_path):
    with pytest.raises(eq.EquipoiseError, match="Did you mean 'local:"):
        eq.load_classifier(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "extra"), [("timm:resnet18", "timm"), ("torchvision:resnet18", "torchvision")]
)
def test_missing_extras_say_how_to_install_them(spec, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(eq.EquipoiseError, match=rf"pip install 'equipoise\[{extra}\]'"):
        eq.load_classifier(spec)


def test_an_extra_whose_import_dies_is_explained(tmp_path, monkeypatch):
    """torchvision's CUDA wheel beside CPU torch raises a RuntimeError, which `except ImportError` would let through."""
    (tmp_path / "timm.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(eq.EquipoiseError, match=r"nms does not exist.*CUDA build"):
        eq.load_classifier("timm:resnet18")


def test_hub_classifiers_load_from_what_was_downloaded(tmp_path, monkeypatch):
    save_classifier(eq.wrap(MLP(shape=(1, 4, 4), classes=3, widths=(5,))), tmp_path)

    class Hub:
        @staticmethod
        def hf_hub_download(repo_id, filename):
            assert repo_id == "someone/something"
            if not (tmp_path / filename).exists():
                raise OSError(f"no {filename}")
            return str(tmp_path / filename)

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    assert eq.load_classifier("hf-hub:someone/something")(torch.rand(1, 1, 4, 4)).shape == (1, 3)
    (tmp_path / "classifier.json").unlink()
    with pytest.raises(eq.EquipoiseError, match=r"Cannot download.*no classifier.json"):
        eq.load_classifier("hf-hub:someone/something")


class Changed(nn.Module):
    """A trained network with something wrong about it."""

    def __init__(self, net, change):
        super().__init__()
        self.inner, self.change = net, change

    def forward(self, images):
        return self.change(self.inner, images)


def detached(net, x):
    return net(x.detach())


FAULTS = {
    "probabilities": (
        lambda net, x: net(x).softmax(1),
        "outputs",
        "fail",
        "Remove the final softmax",
    ),
    "not a number": (
        lambda net, x: net(x) * torch.nan,
        "outputs",
        "fail",
        "checkpoint may be broken",
    ),
    "one logit": (lambda net, x: net(x)[:, :1], "outputs", "fail", "stack"),
    "sigmoid": (lambda net, x: net(x).sigmoid(), "outputs", "warn", "sigmoid"),
    "wrong shape": (lambda net, x: net(x)[:, :, None], "outputs", "fail", r"shape \(B, K\)"),
    "too few classes": (
        lambda net, x: net(x)[:, :5],
        "classes",
        "fail",
        "classes it was trained for",
    ),
    "raises": (lambda net, x: net(x[:, :, :4]), "forward", "fail", "size and channels"),
    "random": (lambda net, x: net(x) + torch.rand(1), "determinism", "warn", "lucky answer"),
    "batch": (lambda net, x: net(x) - net(x).mean(0), "batching", "fail", "running statistics"),
    "flat": (lambda net, x: net((x * 3).round() / 3), "gradients", "warn", "BPDA and queries"),
    "no gradient": (detached, "gradients", "warn", "no_grad, detach"),
    "normalised": (lambda net, x: net.net(x / 255), "normalisation", "warn", "mean and std"),
    "shuffled": (
        lambda net, x: net(x).roll(1, 1),
        "normalisation",
        "warn",
        "order of the classes",
    ),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_preflight_finds(fault, trained, digits):
    change, name, status, remedy = FAULTS[fault]
    images, labels, _ = (part[:64] for part in digits)
    checks = preflight(
        eq.wrap(Changed(trained, change)), images, labels, tuple(str(k) for k in range(10))
    )
    found = {check.name: check for check in checks}[name]
    assert found.status == status, checks
    assert remedy.replace("\\", "") in found.remedy
    assert found.finding


def test_preflight_passes_an_honest_classifier(trained, digits):
    images, labels, _ = (part[:64] for part in digits)
    checks = preflight(trained, images, labels, trained.classes)
    assert {check.status for check in checks} == {"pass"}
    assert [check.name for check in checks] == [
        "range", "mode", "outputs", "classes", "determinism", "batching", "gradients", "normalisation",
    ]  # fmt: skip
    logs = preflight(
        eq.wrap(Changed(trained, lambda net, x: net(x).log_softmax(1))),
        images,
        labels,
        trained.classes,
    )
    assert {check.status for check in logs} == {"pass"}


def test_preflight_finds_training_mode_and_class_order(trained, digits):
    images, labels, _ = (part[:64] for part in digits)
    classifier = eq.wrap(Changed(trained, lambda net, x: net(x)), classes=trained.classes)
    classifier.inner_dropout = nn.Dropout(0.5)
    classifier.inner_dropout.train()
    checks = {c.name: c for c in preflight(classifier, images, labels, trained.classes)}
    assert checks["mode"].status == "fail"
    assert checks["classes"].status == "pass"
    checks = {c.name: c for c in preflight(trained, images, labels, trained.classes[::-1])}
    assert checks["classes"].status == "fail"
    assert checks["classes"].finding == "Class 0 is '0' to the classifier and '9' in the data"
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    named = eq.wrap(Changed(trained, lambda net, x: net(x)), classes=words)
    for classes, status in (
        (words, "pass"),
        (words[:3] + words[4:], "fail"),
        (trained.classes, "pass"),
    ):
        found = {c.name: c for c in preflight(named, images, labels.clamp(max=8), classes)}
        assert found["classes"].status == status, classes
    assert found["determinism"].status == "pass"


def test_preflight_finds_dark_images(trained, digits):
    images, labels, _ = (part[:64] for part in digits)
    checks = {c.name: c for c in preflight(trained, images / 255, labels, trained.classes)}
    assert checks["range"].status == "warn"
