"""The robust ImageNet ResNets of Salman et al., from their checkpoints, which are read without running them.

Such a file is one of torch.save, with the weights under ``model`` or ``state_dict`` beside the state of the optimiser.
The names of the weights begin with ``module.model.`` for the network and ``module.normalizer.`` for the mean and
standard deviation of its input, which is an image in [0, 1]; ``module.attacker.`` has both once more, and is dropped.
The network is told by the shapes of its weights. What it was trained for stands in the name of the file alone, as
``resnet18_l2_eps0.5.ckpt`` or ``resnet50_linf_eps4.0.ckpt``: radii of L2 are in units of images in [0, 1], those of
Linf in 255ths of that, and 0 is standard training.

References:
    Do adversarially robust ImageNet models transfer better? (Salman et al., 2020), https://arxiv.org/abs/2007.08489
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equipoise.classifiers.classifier import Classifier, wrap
from equipoise.classifiers.folder import name_net, save_classifier
from equipoise.classifiers.resnet import BLOCKS, BOTTLENECK, ResNet
from equipoise.classifiers.torch_files import Stored, TorchFile
from equipoise.errors import EquipoiseError
from equipoise.files import checksum, read_json
from equipoise.pickles import Dictionary, Global, Inert, Meanings, is_name, shortly
from equipoise.progress import Progress

__all__ = ["convert_robust_imagenet", "load_robust_imagenet"]

SHAPE = (3, 224, 224)
"""Of the images that the networks were trained on."""

MOST_CHANNELS = 64
"""Of an image, for which there are a mean and a standard deviation each."""

SOURCE = "https://huggingface.co/madrylab/robust-imagenet-models"

_NAMED = re.compile(r"(?:wide_)?resnet\d+(?:_\d)?_(l2|linf)_eps(\d+(?:\.\d+)?)")
_UNCOUNTED = (
    "num_batches_tracked"  # of batch normalisation; training alone reads it, and old files lack it
)


def _inert(name: str) -> Callable[..., Inert]:
    return lambda *args: Inert(name, args)


def _dictionary() -> Dictionary:
    return Dictionary()


def _known(*parts: Any) -> Global:
    # Before they are put into a name: a tuple could be nested so that printing it never ends.
    if not all(map(is_name, parts)):
        raise EquipoiseError("it names a global by something that is no name")
    name = ".".join(parts)
    if name not in _MEANINGS:
        raise EquipoiseError(f"it names {shortly(name)}, which no network needs")
    return Global(name)


def _attribute(module: Inert, name: str) -> Global:
    return _known(*module.args[:1], name)


def _type(name: str) -> Global:
    return _known("builtins", name)


# What may stand beside the weights: NumPy's numbers, counters of schedules, settings. Which of these the published
# files have is not known for certain; none becomes more than a note. dill, with which they are saved, names some of
# them by their parts.
_MEANINGS: Meanings = {
    "collections.OrderedDict": _dictionary,
    "dill._dill._get_attr": _attribute,
    "dill._dill._import_module": _inert("module"),
    "dill._dill._load_type": _type,
    **{
        name: _inert(name)
        for name in (
            *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"),
            *("numpy.core._multiarray_umath.scalar", "numpy._core._multiarray_umath.scalar"),
            *("_codecs.encode", "__builtin__.set", "builtins.set", "collections.Counter"),
            *("torch.device", "torch.Size", "argparse.Namespace", "cox.utils.Parameters"),
        )
    },
}


def load_robust_imagenet(path: Path) -> Classifier:
    """The classifier of one checkpoint, on the CPU, named as the file is.

    The 1,000 logits are in the order of ImageNet's classes and have no names.

    Raises:
        EquipoiseError: for a file that is missing, incomplete, of another kind, or that names anything that such files
            do not need.
    """
    if not path.is_file():
        what = (
            "it is a folder; name one of its files" if path.is_dir() else "there is no such file"
        )
        raise EquipoiseError(f"Cannot read the checkpoint {path}: {what}.")
    try:
        file = TorchFile(path, _MEANINGS)
        stored = _weights(file.content)
        net = _network({key: value.size for key, value in stored["model"].items()})
        total = sum(_bytes(value) for part in stored.values() for value in part.values())
        if total > file.size:
            raise EquipoiseError("its weights are larger than the file")
        if any(value.count > MOST_CHANNELS for value in stored["normalizer"].values()):
            raise EquipoiseError("its mean or standard deviation is of too many channels")
        weights = {key: file.tensor(value) for key, value in stored["model"].items()}
        _fill(net, weights)
        mean, std = (file.tensor(stored["normalizer"][key]) for key in ("new_mean", "new_std"))
        return wrap(
            net,
            mean=mean.flatten().tolist(),
            std=std.flatten().tolist(),
            name=path.stem,
            facts={
                "source": SOURCE,
                "file": path.name,
                "sha256": checksum(path),
                "shape": list(SHAPE),
                "network": name_net(net),
                **_trained_for(path.stem),
            },
        )
    except EquipoiseError as error:
        reason = str(error).rstrip(".")
    except OSError as error:
        raise EquipoiseError(
            f"Cannot read the checkpoint {path}: {error.strerror or error}."
        ) from None
    except Exception as error:  # damaged bytes break any of the steps above, each in its own way
        reason = f"it is damaged, or no checkpoint ({type(error).__name__}: {str(error)[:100]})"
    raise EquipoiseError(
        f"Cannot read the checkpoint {path}: {reason}. None of it was run. Robust ImageNet ResNets are read, as "
        f"published at {SOURCE}: download the file again, or give another network as package.module:function."
    )


def convert_robust_imagenet(path: Path, out: Path, *, shown: bool = True) -> list[Path]:
    """Writes the checkpoint `path` into the folder `out` as `load_classifier("local:OUT")` reads it; of a folder
    of ``*.ckpt``, each into a folder of its own name below `out`. What was converted before is left as it is.

    Arguments:
        path: a checkpoint, or a folder of them.
        out: folder.
        shown: whether to show progress.

    Returns:
        the folders of the classifiers.

    Raises:
        EquipoiseError: for whatever `load_robust_imagenet` refuses, for a folder without checkpoints, and when a folder
            holds the classifier of another file.
    """
    several = path.is_dir()
    files = sorted(path.glob("*.ckpt")) if several else [path]
    if not files:
        raise EquipoiseError(
            f"Cannot convert {path}: the folder holds no *.ckpt. Download some from {SOURCE}."
        )
    folders = [out / file.stem if several else out for file in files]
    with Progress("Converting", len(files), shown=shown) as progress:
        for file, folder in zip(files, folders, strict=True):
            if not _converted(file, folder):
                save_classifier(load_robust_imagenet(file), folder)
            progress.advance(file.name)
    return folders


def _converted(file: Path, folder: Path) -> bool:
    """Whether `folder` holds the classifier of this very file."""
    description = folder / "classifier.json"
    if not description.exists() or not file.is_file():
        return False
    found = read_json(description)
    facts = found.get("facts") if isinstance(found, dict) else None
    if not isinstance(facts, dict) or facts.get("sha256") != checksum(file):
        raise EquipoiseError(
            f"Cannot convert {file} into {folder}: it holds another classifier. Choose another --out, or delete that "
            "folder."
        )
    return True


def _weights(content: Any) -> dict[str, dict[str, Stored]]:
    """The stored tensors under ``model`` and ``normalizer``, by what follows of their names."""
    known = content if isinstance(content, dict) else {}
    state = known.get("model", known.get("state_dict"))
    if not isinstance(state, dict):
        raise EquipoiseError("it has no weights under 'model' or 'state_dict'")
    parts: dict[str, dict[str, Stored]] = {"model": {}, "normalizer": {}}
    for key, value in state.items():
        module, kind, name = (*str(key).split(".", 2), "", "")[:3]
        if (module, kind) == ("module", "attacker"):
            continue
        if module != "module" or kind not in parts:
            raise EquipoiseError(
                f"it has the weights {shortly(key)}, whose name does not begin with 'module.model.' as those of "
                "robust ImageNet ResNets do"
            )
        if not isinstance(value, Stored):
            raise EquipoiseError(f"its {shortly(key)} is no tensor")
        parts[kind][name] = value
    if parts["normalizer"].keys() != {"new_mean", "new_std"}:
        raise EquipoiseError("it lacks 'module.normalizer.new_mean' and 'new_std'")
    return parts


def _network(shapes: Mapping[str, tuple[int, ...]]) -> ResNet:
    """The network whose weights have these shapes, without memory for them."""
    deep = "layer1.0.conv3.weight" in shapes
    blocks = tuple(
        sum(f"layer{stage}.{block}.conv1.weight" in shapes for block in range(64))
        for stage in range(1, 5)
    )
    depth = next((d for d, b in BLOCKS.items() if b == blocks and (d >= BOTTLENECK) == deep), None)
    if depth is None or not {"fc.weight", "conv1.weight"} <= shapes.keys():
        raise EquipoiseError(
            f"its network has {blocks} blocks in its stages, and is no ResNet-18, 34 or 50"
        )
    with torch.device("meta"):
        net = ResNet(
            shape=(shapes["conv1.weight"][1], *SHAPE[1:]),
            classes=shapes["fc.weight"][0],
            depth=depth,
            width=max(1, shapes["layer1.0.conv1.weight"][0] // 64) if deep else 1,
        )
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    wrong = sorted(
        key
        for key, shape in shapes.items() ^ expected.items()
        if key in shapes or not key.endswith(_UNCOUNTED)
    )
    if wrong:
        raise EquipoiseError(
            f"its weights are not those of a ResNet-{depth}: {wrong[0]!r} is missing, too many or of another shape, "
            f"one of {len(set(wrong))}"
        )
    return net


def _bytes(stored: Stored) -> int:
    return int(torch.Size(stored.size).numel()) * stored.dtype.itemsize


def _fill(net: ResNet, weights: Mapping[str, Tensor]) -> None:
    state = {
        key: weights.get(key, torch.tensor(0)).long()
        if key.endswith(_UNCOUNTED)
        else weights[key].float()
        for key in net.state_dict()
    }
    net.load_state_dict(state, assign=True)


def _trained_for(name: str) -> dict[str, Any]:
    """The facts that place a classifier on a ladder, by the name of its file; none where that says nothing."""
    found = _NAMED.fullmatch(name)
    if found is None:
        return {}
    norm, radius = found[1], float(found[2])
    return {
        "objective": {"name": "pgd" if radius else "standard"},
        "norm": norm if radius else None,
        "radius": radius / 255 if norm == "linf" else radius,
    }
