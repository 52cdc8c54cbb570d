"""What is judged: classifiers, the small networks, and the preflight that looks them over."""

from equipoise.assets import find_asset
from equipoise.bounds import parse_path
from equipoise.classifiers import foreign
from equipoise.classifiers.classifier import Classifier, check_range, precision, wrap
from equipoise.classifiers.engine import Engine, Quick
from equipoise.classifiers.folder import (
    NETS,
    Net,
    build_net,
    load_folder,
    name_net,
    save_classifier,
)
from equipoise.classifiers.mapped import IMAGENET, Mapped, Rule, is_right, read_as, unread
from equipoise.classifiers.mlp import MLP
from equipoise.classifiers.nearest import NearestImages
from equipoise.classifiers.penultimate import Penultimate
from equipoise.classifiers.preflight import Check, preflight
from equipoise.classifiers.residual import ResidualNet
from equipoise.classifiers.resnet import ResNet
from equipoise.classifiers.robust_imagenet import convert_robust_imagenet, load_robust_imagenet
from equipoise.classifiers.trial import Trial, try_engines
from equipoise.errors import EquipoiseError, did_you_mean

__all__ = [
    "Classifier",
    "wrap",
    "check_range",
    "precision",
    "load_classifier",
    "save_classifier",
    "convert_robust_imagenet",
    "build_net",
    "name_net",
    "NETS",
    "Net",
    "MLP",
    "NearestImages",
    "ResidualNet",
    "ResNet",
    "Penultimate",
    "read_as",
    "unread",
    "is_right",
    "Rule",
    "Mapped",
    "IMAGENET",
    "Check",
    "preflight",
    "Engine",
    "Quick",
    "Trial",
    "try_engines",
]


def load_classifier(spec: str) -> Classifier:
    """Loads the classifier that `spec` names, on the CPU.

    ==========================  =====================================================================
    ``local:DIR``               a folder with classifier.json and weights.safetensors, as training writes
    ``asset:NAME``              the same files, checked, from the folder of assets (`equipoise.assets`)
    ``package.module:function`` calls a function of yours that returns a `torch.nn.Module`
    ``hf-hub:OWNER/NAME``       the same two files from the Hugging Face hub (extra ``hub``)
    ``timm:NAME``               a pretrained timm model (extra ``timm``)
    ``torchvision:NAME``        a pretrained torchvision model (extra ``torchvision``)
    ``robust-imagenet:FILE``    a checkpoint of the robust ImageNet ResNets, read without running it
    ==========================  =====================================================================

    Raises:
        EquipoiseError: for a spec of no known kind, and for whatever keeps the classifier from loading.
    """
    kind, colon, target = spec.partition(":")
    if colon and target:
        if kind in ("local", "asset"):
            local = kind == "local"
            folder = parse_path(target, spec) if local else find_asset(target, "classifier")
            return load_folder(folder, folder.resolve().name)
        if kind == "hf-hub":
            return foreign.from_hub(target, spec)
        if kind == "timm":
            return foreign.from_timm(target, spec)
        if kind == "torchvision":
            return foreign.from_torchvision(target, spec)
        if kind == "robust-imagenet":
            return load_robust_imagenet(parse_path(target, spec))
        named = all(part.isidentifier() for part in [*kind.split("."), target])
        if named and ("." in kind or foreign.importable(kind)):
            return foreign.from_function(kind, target, spec)
    kinds = [
        "local:DIR",
        "asset:NAME",
        "package.module:function",
        "hf-hub:OWNER/NAME",
        "timm:NAME",
        "torchvision:NAME",
        "robust-imagenet:FILE.ckpt",
    ]
    if parse_path(spec, spec).is_dir():
        raise EquipoiseError(f"Unknown classifier spec {spec!r}. Did you mean 'local:{spec}'?")
    near = did_you_mean(f"{kind}:", [known.partition(":")[0] + ":" for known in kinds])
    hint = near if near.startswith("Did") else f"Write one of {', '.join(kinds)}."
    raise EquipoiseError(f"Unknown classifier spec {spec!r}. {hint}")
