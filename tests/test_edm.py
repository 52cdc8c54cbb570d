"""Networks saved by NVlabs/edm: read without running them, rebuilt exactly, and refused when they are anything else."""

import io
import json
import math
import pickle
import pickletools
import random
import sys
import types
from collections import OrderedDict
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import equipoise as eq
from equipoise.diffusion import edm, edm_pickles
from equipoise.diffusion.adm_unet import AdmUNet
from equipoise.diffusion.edm import load_edm
from equipoise.diffusion.edm_pickles import read_pickle
from equipoise.diffusion.song_unet import (
    Block,
    Conv,
    FourierAngles,
    PositionalAngles,
    SongUNet,
    grow,
    resample_filter,
    shrink,
)

LABELS = 3
COMMON = {"img_resolution": 8, "img_channels": 1, "use_fp16": False, "dropout": 0.13}
SMALL = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
VARIANTS = {
    "vp": SMALL
    | {"model_type": "SongUNet", "embedding_type": "positional", "encoder_type": "standard"}
    | {"decoder_type": "standard", "channel_mult_noise": 1, "resample_filter": [1, 1]},
    "ve": SMALL
    | {"model_type": "SongUNet", "embedding_type": "fourier", "encoder_type": "residual"}
    | {"decoder_type": "standard", "channel_mult_noise": 2, "resample_filter": [1, 3, 3, 1]},
    "adm": SMALL | {"model_type": "DhariwalUNet", "channel_mult": [1, 4], "model_channels": 16},
}


def filled(net):
    """The network with weights that are the same everywhere and leave none of its parts silent."""
    state = net.state_dict()
    for key, value in state.items():
        if key.endswith("resample_filter"):
            continue
        wave = torch.sin(0.7 * torch.arange(value.numel()) + len(key)).reshape(value.shape)
        fan = math.sqrt(value[0].numel()) if value.ndim > 1 else 4.0
        shift = 1.0 if "norm" in key and key.endswith("weight") else 0.0
        value.copy_(shift + wave / fan)
    return net.eval().requires_grad_(False)


def network(kind, labels):
    shape = {"size": 8, "channels": 1, "labels": labels}
    if kind == "adm":
        widths = {"width": 16, "widths": (1, 4), "blocks": 1, "attention": (4,)}
        return filled(AdmUNet(**shape, **widths))
    angles = PositionalAngles(8, last=3) if kind == "vp" else FourierAngles(16)
    return filled(
        SongUNet(
            **shape,
            angles=angles,
            width=8,
            widths=(1, 2),
            blocks=1,
            attention=(4,),
            taps=(1, 1) if kind == "vp" else (1, 3, 3, 1),
            image_beside=kind == "ve",
        )
    )


class Persistent:
    """Pickles as an object of EDM's persistence does."""

    def __init__(self, class_name, state, version=6):
        self.meta = {
            "type": "class",
            "version": version,
            "module_src": "import os; os.abort()  # what EDM's own reader would run",
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


def module_state(module, **more):
    below = OrderedDict((name, node(child)) for name, child in module._modules.items() if child)
    return {
        "training": False,
        "_parameters": module._parameters,
        "_buffers": module._buffers,
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(),
        "_modules": below,
        "_init_args": (),
        "_init_kwargs": {},
        **more,
    }


def node(module):
    if isinstance(module, nn.ModuleDict):
        copy = nn.ModuleDict()
        copy._modules = {name: node(child) for name, child in module.items()}
        return copy
    return Persistent(type(module).__name__, module_state(module, skip_scale=np.sqrt(0.5)))


def content(kind="vp", labels=LABELS, *, name="EDMPrecond", sigma_data=0.5, net=None, **settings):
    """What EDM saves, with a layer for augmentation labels as in its own networks."""
    net = net or network(kind, labels)
    net.map_augment = nn.Linear(9, net.map_layer0.in_features, bias=False)
    settings = COMMON | {"label_dim": labels, "augment_dim": 9} | VARIANTS[kind] | settings
    holder = nn.Module()
    holder.model = net
    state = module_state(
        holder,
        img_resolution=8,
        img_channels=1,
        label_dim=labels,
        sigma_min=0,
        sigma_max=math.inf,
        sigma_data=np.float64(sigma_data),
        _init_kwargs=settings,
    )
    return {
        "ema": Persistent(name, state),
        "loss_fn": Persistent("EDMLoss", {"P_mean": -1.2}),
        "augment_pipe": None,
        "dataset_kwargs": {"path": "datasets/mine.zip", "use_labels": True},
    }


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Pickles an object under the names that EDM's files use; pickling needs them to exist, reading must not."""
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the reader ran what the file names")

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    package.persistence = module

    def save(value, name="net.pkl"):
        path = tmp_path / name
        with monkeypatch.context() as names:
            names.setitem(sys.modules, "torch_utils", package)
            names.setitem(sys.modules, "torch_utils.persistence", module)
            path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value))
        return path

    return save


def inputs(rows=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rows, 1, 8, 8, generator=generator),
        torch.logspace(-2, 1.5, rows),
        torch.arange(rows) % LABELS,
    )


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_file_becomes_the_denoiser_that_was_saved(kind, save):
    net = network(kind, LABELS)
    expected = {key: value.clone() for key, value in net.state_dict().items()}
    denoiser = load_edm(save(content(kind, net=net, sigma_data=0.7)))
    assert denoiser.shape == (1, 8, 8)
    assert denoiser.classes == ("0", "1", "2")
    assert math.isnan(denoiser.scale)
    found = denoiser.net.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)
    assert not any(p.requires_grad or p.is_meta for p in denoiser.parameters())
    x, sigma, label = inputs(8)
    s = sigma[:, None, None, None]
    raw = network(kind, LABELS)(x / (s**2 + 0.49).sqrt(), sigma.log() / 4, label)
    by_hand = 0.49 / (s**2 + 0.49) * x + 0.7 * s / (s**2 + 0.49).sqrt() * raw
    torch.testing.assert_close(denoiser(x, sigma, label), by_hand, rtol=1e-5, atol=1e-5)


# Computed by the networks of NVlabs/edm with these weights: mean, standard deviation, and three pixels.
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("vp", [0.21374, 1.61843, 0.44885, 0.50769, 0.82807]),
        ("ve", [0.22677, 1.64526, 0.54357, 0.5002, 0.72897]),
        ("adm", [0.02885, 0.35934, 0.16364, -0.01321, -0.19435]),
    ],
)
def test_the_networks_are_those_of_edm(kind, expected):
    x, sigma, label = inputs()
    raw = network(kind, LABELS)(x, sigma.log() / 4, label)
    assert [raw.mean().item(), raw.std().item(), *raw[1, 0, 2, :3].tolist()] == pytest.approx(
        expected, abs=2e-5
    )


def test_resolutions_change_as_by_averaging_and_repeating():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    two = resample_filter((1, 1))
    torch.testing.assert_close(shrink(x, two, 0), F.avg_pool2d(x, 2))
    torch.testing.assert_close(grow(x, two, 0), F.interpolate(x, scale_factor=2, mode="nearest"))
    # Whatever the filter, a constant stays what it is away from the border.
    four, constant = resample_filter((1, 3, 3, 1)), torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(shrink(constant, four, 1)[..., 1:-1, 1:-1], torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(grow(constant, four, 1)[..., 2:-2, 2:-2], torch.ones(1, 3, 12, 12))


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_by_hand(heads):
    block = filled(Block(Conv(8, 8, 3), None, embedding=4, heads=heads))
    x = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    mixed = block.qkv(block.norm2(x)).flatten(2)
    result = torch.zeros(2, 8, 9)
    for h in range(heads):
        start, each = 3 * h * (8 // heads), 8 // heads
        q, k, v = (mixed[:, start + part : start + 3 * each : 3] for part in range(3))
        share = torch.softmax(q.mT @ k / math.sqrt(each), dim=-1)
        result[:, h * each : (h + 1) * each] = v @ share.mT
    by_hand = block.proj(result.reshape(2, 8, 3, 3))
    torch.testing.assert_close(block.attend(x), by_hand, rtol=1e-5, atol=1e-6)


def test_rows_without_a_label_go_to_the_unconditional_network(save, tmp_path):
    one, other = save(content("vp"), "cond.pkl"), save(content("ve", labels=0), "uncond.pkl")
    pair, conditional, without = load_edm(one, other), load_edm(one), load_edm(other)
    x, sigma, label = inputs(6)
    label[::2] = -1
    both = pair(x, sigma, label)
    torch.testing.assert_close(both[::2], without(x[::2], sigma[::2]))
    torch.testing.assert_close(both[1::2], conditional(x[1::2], sigma[1::2], label[1::2]))
    torch.testing.assert_close(pair(x, sigma), without(x, sigma))
    assert (pair.unconditional, without.unconditional, conditional.unconditional) == (1, 1, 0)
    assert pair.classes == conditional.classes == ("0", "1", "2")
    assert without.classes == ()
    with pytest.raises(eq.EquipoiseError, match="never shown images without their label"):
        conditional(x, sigma)
    with pytest.raises(eq.EquipoiseError, match="has the labels"):
        without(x, sigma, 0)
    with pytest.raises(eq.EquipoiseError, match=r"0 and 3 labels.*conditional network first"):
        load_edm(other, one)
    assert pair.fingerprint() != conditional.fingerprint()


def test_label_dropout_teaches_a_network_images_without_labels(save):
    denoiser = load_edm(save(content("vp", label_dropout=0.1)))
    x, sigma, _ = inputs()
    raw = network("vp", LABELS)
    s = sigma[:, None, None, None]
    y = raw(x / (s**2 + 0.25).sqrt(), sigma.log() / 4, torch.full((5,), -1))
    by_hand = 0.25 / (s**2 + 0.25) * x + 0.5 * s / (s**2 + 0.25).sqrt() * y
    torch.testing.assert_close(denoiser(x, sigma), by_hand, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", VARIANTS)
def test_an_image_is_denoised_alike_in_every_batch(kind, save):
    denoiser = load_edm(save(content(kind)))
    x, sigma, label = inputs(13)
    together = denoiser(x, sigma, label)
    assert torch.equal(together[:1], denoiser(x[:1], sigma[:1], label[:1]))
    assert torch.equal(together[4:9], denoiser(x[4:9], sigma[4:9], label[4:9]))


def test_the_pickle_is_looked_into_once(save, tmp_path, monkeypatch):
    path, cache = save(content()), tmp_path / "cache"
    first = load_edm(path, cache=cache)
    assert sorted(p.suffix for p in cache.iterdir()) == [".json", ".safetensors"]
    described = json.loads(next(cache.glob("*.json")).read_text())
    assert described["settings"]["model_channels"] == 8
    assert described["source"] == read_pickle(path).source
    with monkeypatch.context() as patched:
        patched.setattr(edm, "read_pickle", lambda path: pytest.fail("opened again"))
        assert load_edm(path, cache=cache).fingerprint() == first.fingerprint()
    # A conversion that was cut short, and a pickle that has changed, are both read anew.
    weights = next(cache.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    assert load_edm(path, cache=cache).fingerprint() == first.fingerprint()
    save(content(sigma_data=0.6))
    assert load_edm(path, cache=cache).fingerprint() != first.fingerprint()


def test_a_folder_that_cannot_be_written_costs_only_the_conversion(save, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert load_edm(save(content()), cache=blocked).shape == (1, 8, 8)


def test_the_licence_is_stated_once_and_recorded(save, capsys):
    denoiser = load_edm(save(content(), "a.pkl"), save(content(labels=0), "b.pkl"))
    assert denoiser.facts["licence"] == "CC BY-NC-SA 4.0"
    assert denoiser.facts["unconditional"]["file"] == "b.pkl"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "CC BY-NC-SA 4.0" in lines[0]


def test_cifar10_has_its_names(save):
    named = content(labels=10)
    named["dataset_kwargs"]["path"] = "datasets/cifar10-32x32.zip"
    assert load_edm(save(named)).classes[:3] == ("airplane", "automobile", "bird")
    assert load_edm(save(content(labels=10), "other.pkl")).classes[:3] == ("0", "1", "2")


def test_numpy_may_be_older(save):
    data = save(content()).read_bytes()
    new, old = b"\x16numpy._core.multiarray", b"\x15numpy.core.multiarray"
    assert new in data or old in data
    swapped = data.replace(new, old) if new in data else data.replace(old, new)
    assert load_edm(save(swapped, "other.pkl")).shape == (1, 8, 8)


class Call:
    """Pickles as a call of the global of that name, whether there is one or not."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class Writer(pickle._Pickler):
    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_call(self, value):
        module, _, name = value.name.rpartition(".")
        self.write(f"c{module}\n{name}\n".encode())
        self.save(value.args)
        self.write(b"R")
        # So that what occurs twice is written once and then recalled, as pickles have it.
        self.memoize(value)

    dispatch[Call] = save_call


def written(value, protocol=4):
    buffer = io.BytesIO()
    Writer(buffer, protocol).dump(value)
    return buffer.getvalue()


def numbers(count):
    """The bytes with which torch writes the numbers of a tensor into a pickle."""
    data = pickle.dumps(torch.ones(count))
    return next(x for _, x, _ in pickletools.genops(data) if isinstance(x, bytes))


def tensor(storage, offset=0, size=(2,), stride=(1,)):
    stored = Call("torch.storage._load_from_bytes", storage)
    return Call("torch._utils._rebuild_tensor_v2", stored, offset, size, stride, False, {})


def object_with(parameters, modules=None, version=6):
    state = {"_parameters": parameters, "_buffers": {}}
    state["_modules"] = {} if modules is None else modules
    state |= {"_init_args": (), "_init_kwargs": {}}
    meta = {"type": "class", "version": version, "class_name": "EDMPrecond"}
    meta |= {"module_src": "", "state": state}
    return Call("torch_utils.persistence._reconstruct_persistent_obj", meta)


def refused(path, words):
    with pytest.raises(eq.EquipoiseError, match=words) as caught:
        load_edm(path)
    assert str(path) in str(caught.value)


COMMAND = "touch executed"
SYSTEM = Call("posix.system", COMMAND)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (written(SYSTEM), "names 'posix.system'"),
        (written({"ema": SYSTEM}), "names 'posix.system'"),
        (written(object_with({"weight": SYSTEM})), "names 'posix.system'"),
        (written(tensor(written(SYSTEM, 2) + numbers(2))), "names 'posix.system'"),
        (written(tensor(pickle.dumps([1]) + written(SYSTEM, 2))), "names 'posix.system'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0etouch executed\x85R.", "names 'os.system'"),
        (b"(X\x0e\x00\x00\x00touch executedios\nsystem\n.", "INST 'os system'"),
        (b"(cos\nsystem\nX\x0e\x00\x00\x00touch executedo.", "names 'os.system'"),
        (b"\x80\x04\x8c\x04evilQ.", "persistent id 'evil'"),
        (b"Pevil\n.", "PERSID 'evil'"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (written(Call("builtins.eval", "1")), "names 'builtins.eval'"),
        (written(Call("builtins.getattr", "1")), "names 'builtins.getattr'"),
        (written(Call("torch.load", "1")), "names 'torch.load'"),
        (written(Call("functools.partial", "1")), "names 'functools.partial'"),
        (written(Call("collections.OrderedDict.update", 1)), "names 'collections.OrderedDict.upd"),
        (
            written(Call("numpy.core.multiarray._reconstruct", 1)),
            "names 'numpy.core.multiarray._r",
        ),
        (written(tensor(b"\x80\x02ctorch\nFloatStorage\n)R.")), "calls 'torch.FloatStorage'"),
        (b"\x80\x02}}b.", "sets the state"),
        (written(Call("torch._utils._rebuild_parameter", 1)), "no network under 'ema'"),
    ],
)
def test_nothing_in_a_file_is_run(data, words, save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(data)
    refused(path, f"{words}.*None of it was run")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_these_files_would_have_run_elsewhere(save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(written(SYSTEM))
    assert (tmp_path / "executed").is_file()


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (tensor(numbers(2), size=(3,)), "needs more than the 2 numbers"),
        (tensor(numbers(2), size=(2**40,), stride=(0,)), "needs more than the 2 numbers"),
        (tensor(numbers(2), size=(2, 2), stride=(0, 1)), "needs more than the 2 numbers"),
        (tensor(numbers(2), offset=1), "needs more than the 2 numbers"),
        (tensor(numbers(2), offset=-1, size=(1,)), "needs more than the 2 numbers"),
        (tensor(numbers(2), offset=1, stride=(-1,)), "needs more than the 2 numbers"),
        (tensor(numbers(2), size=(0, 2**62), stride=(1, 1)), "needs more than the 2 numbers"),
        (tensor(numbers(2)[:-4]), "do not have the length"),
        (tensor(numbers(2) + b"1234"), "do not have the length"),
        (tensor(b""), "damaged"),
        ("word", "'weight' is no tensor"),
        (Call("numpy.dtype", "O8", False, True), "'weight' is no tensor"),
    ],
)
def test_tensors_stay_within_what_is_stored(weight, words, save):
    refused(save(written({"ema": object_with({"weight": weight})})), words)


def test_a_small_file_cannot_hold_a_large_network(save):
    shared = numbers(1000)
    views = {f"weight{i}": tensor(shared, size=(1000,)) for i in range(20)}
    refused(save(written({"ema": object_with(views)})), "larger than the file")


def test_layers_stand_in_a_network_once(save):
    inner, modules, chain = object_with({}), {}, object_with({})
    modules["x"] = object_with({}, modules)
    for _ in range(30):
        chain = object_with({}, {"x": chain})
    for root in (object_with({}, {"a": inner, "b": inner}), object_with({}, modules), chain):
        refused(save(written({"ema": root})), "stands in it twice, or too deep")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        # Python's own reader would allocate a table for so many entries.
        (b"\x80\x02}r\xff\xff\xff\xff.", "no network"),
        (b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.", "damaged"),
        # Python would exhaust its stack on the hash of such a key.
        (b"\x80\x04}()" + b"\x85" * 100_000 + b"K\x01u.", "keys are no names"),
        (b"\x80\x04" + b")" * 2**20 + b".", "more than 524288 instructions"),
        (b"", "damaged"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
    ],
)
def test_what_would_exhaust_a_reader_is_refused(data, words, save):
    refused(save(data), words)


def test_large_files_are_refused_unread(save, monkeypatch):
    path = save(content())
    monkeypatch.setattr(edm_pickles, "LARGEST_FILE", 1000)
    refused(path, "more than the 1000 allowed")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda: content(name="VPPrecond"), "VPPrecond around SongUNet.*Supported is EDMPrecond"),
        (lambda: content(model_type="UNet"), "EDMPrecond around UNet"),
        (lambda: content(num_heads=2), r"unknown settings \['num_heads'\]"),
        (lambda: content(encoder_type="skip"), "encoder_type is 'skip'"),
        (lambda: content(decoder_type="skip"), "decoder_type is 'skip'"),
        (lambda: content(num_blocks=10**9), "weights for"),
        (lambda: content(num_blocks=2), "'dec.4x4_block1.*is missing"),
        (lambda: content(model_channels=16), "of another shape"),
        (lambda: content(model_channels=10**15), "settings"),
        (lambda: content(model_channels="8"), "settings"),
        (lambda: content(channel_mult=[1] * 7), "cannot be halved 6 times"),
        (lambda: content(channel_mult=[[1], [2]]), "'channel_mult' is no number"),
        (lambda: content(sigma_data=-1.0), "sigma_data=-1"),
        (lambda: {"G": 1}, "no network under 'ema'"),
        (lambda: [1], "no network under 'ema'"),
        (lambda: {"ema": Persistent("EDMPrecond", {}, version=5)}, "version 5, not 6"),
        (lambda: {"ema": Persistent("EDMPrecond", {})}, "damaged"),
    ],
)
def test_other_networks_are_refused(value, words, save):
    refused(save(value()), words)


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "none.pkl", "no such file")
    refused(tmp_path, "directory")


def test_damaged_files_give_one_kind_of_error(save, tmp_path):
    whole = save(content()).read_bytes()
    # Any bytes are good weights, so damage is done between them.
    places = [
        place
        for _, argument, place in pickletools.genops(whole)
        if place is not None and not (isinstance(argument, bytes) and len(argument) > 300)
    ]
    chance, blocked = random.Random(0), tmp_path / "file"
    blocked.write_text("no folder, so that nothing is converted")
    loaded = 0
    for trial in range(240):
        data = bytearray(whole)
        if trial % 4 == 0:
            del data[chance.choice(places) :]
        else:
            for place in chance.choices(places, k=trial % 4):
                data[place] ^= 1 << chance.randrange(8)
        path = save(bytes(data), "damaged.pkl")
        try:
            denoiser = load_edm(path, cache=blocked)
        except eq.EquipoiseError:
            continue
        loaded += 1
        assert denoiser(*inputs()).shape == (5, 1, 8, 8)
    assert loaded < 120
