"""Classifiers on disk: ``classifier.json`` says what the network is, ``weights.safetensors`` holds its weights.

Neither file can run code. The JSON holds the format's version, the kind and settings of the network, the normalisation,
the class names and facts for the page.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equipoise.classifiers.classifier import Classifier, wrap
from equipoise.classifiers.mlp import MLP
from equipoise.classifiers.nearest import NearestImages
from equipoise.classifiers.residual import ResidualNet
from equipoise.classifiers.resnet import ResNet
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.files import write_json
from equipoise.weights import check_weights, load_weights, read_description, save_weights

__all__ = ["NETS", "Net", "build_net", "load_folder", "name_net", "save_classifier"]

FORMAT = 1
WEIGHTS = "weights.safetensors"
Net = MLP | ResidualNet | ResNet | NearestImages
NETS: dict[str, type[MLP] | type[ResidualNet] | type[ResNet] | type[NearestImages]] = {
    "mlp": MLP,
    "residual": ResidualNet,
    "resnet": ResNet,
    "nearest": NearestImages,
}


def build_net(kind: str, settings: Mapping[str, Any]) -> Net:
    """The network called `kind`, freshly initialised from torch's global generator.

    Raises:
        EquipoiseError: for an unknown kind or settings it does not take.
    """
    if kind not in NETS:
        raise EquipoiseError(f"Unknown network {kind!r}. {did_you_mean(kind, NETS)}")
    try:
        return NETS[kind](**settings)
    except TypeError as error:
        raise EquipoiseError(
            f"Cannot build the network {kind!r} from {dict(settings)}: {error}."
        ) from None


def name_net(net: Net) -> str:
    """A short name of a network of `NETS`, the same for images of any size and any number of classes: ``resnet18``,
    ``wide_resnet50_2``, ``mlp(widths=[256, 256])``."""
    settings = {k: v for k, v in net.settings.items() if k not in ("shape", "classes")}
    if isinstance(net, ResNet):
        name, width = f"resnet{settings['depth']}", settings["width"]
        return name if width == 1 else f"wide_{name}_{width}"
    kind = next(k for k, made in NETS.items() if type(net) is made)
    return f"{kind}({', '.join(f'{k}={v}' for k, v in settings.items())})"


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Writes `classifier`, whose network must be one of `NETS`, as a folder that `load_folder` reads.

    Raises:
        EquipoiseError: for any other network, or when the folder cannot be written.
    """
    net = classifier.net
    kind = next((k for k, made in NETS.items() if type(net) is made), None)
    if kind is None or not isinstance(net, Net):
        raise EquipoiseError(
            f"Cannot save the classifier {classifier.name!r}: its network is a {type(net).__name__}, and "
            f"only {', '.join(sorted(NETS))} can be rebuilt from a file."
        )
    save_weights(net, folder / WEIGHTS)
    description = {
        "format": FORMAT,
        "net": {"kind": kind, **net.settings},
        "mean": classifier.mean.flatten().tolist(),
        "std": classifier.std.flatten().tolist(),
        "classes": None if classifier.classes is None else list(classifier.classes),
        "facts": classifier.facts,
    }
    # Written last: a folder with this file is complete.
    write_json(folder / "classifier.json", description)


def load_folder(folder: Path, name: str) -> Classifier:
    """Reads what `save_classifier` wrote.

    Raises:
        EquipoiseError: for a missing or unreadable file, a newer format, or weights that do not fit the network.
    """
    description = read_description(folder, "classifier", name, FORMAT)
    try:
        settings = dict(description["net"])
        kind = str(settings.pop("kind"))
        check_weights(lambda: build_net(kind, settings), settings, folder / WEIGHTS)
        net = build_net(kind, settings)
        classifier = wrap(
            net,
            mean=description["mean"],
            std=description["std"],
            classes=description["classes"],
            name=name,
            facts=description["facts"],
        )
    except EquipoiseError:
        raise
    except KeyError as error:
        raise EquipoiseError(
            f"Cannot load {folder / 'classifier.json'}: it lacks {error}."
        ) from None
    except (ArithmeticError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise EquipoiseError(f"Cannot load {folder / 'classifier.json'}: {error}.") from error
    load_weights(net, folder / WEIGHTS)
    return classifier
