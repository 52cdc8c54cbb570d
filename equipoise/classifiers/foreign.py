"""Classifiers from elsewhere: a function of the user's, the Hugging Face hub, timm, torchvision.

None of these packages is required: each is imported when its spec is used.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

from torch import nn

from equipoise.classifiers.classifier import Classifier, wrap
from equipoise.classifiers.folder import load_folder
from equipoise.errors import EquipoiseError, did_you_mean, import_extra

__all__ = ["importable", "from_function", "from_hub", "from_timm", "from_torchvision"]


def importable(module: str) -> bool:
    """Whether a top-level module of that name can be found, in the current folder too."""
    # The command line runs from anywhere; people expect their own folder to be importable, as with `python -m`.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module without a spec, such as __main__
        return False


def from_function(module: str, function: str, name: str) -> Classifier:
    """Calls `module`.`function`() and wraps the `nn.Module` it returns; a `Classifier` is taken as it is.

    Raises:
        EquipoiseError: when the module or function is missing or returns something else.
    """
    try:
        if not importable(module.partition(".")[0]):
            raise ModuleNotFoundError(name=module.partition(".")[0])
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise EquipoiseError(
            f"Cannot load the classifier {name!r}: no module named {error.name!r}. Run from the folder that holds it, "
            "or install it."
        ) from error
    except Exception as error:
        raise EquipoiseError(
            f"Cannot load the classifier {name!r}: importing {module} raised {type(error).__name__}: {error}."
        ) from error
    build = getattr(loaded, function, None)
    if not callable(build):
        callables = [key for key, value in vars(loaded).items() if callable(value)]
        raise EquipoiseError(
            f"Cannot load the classifier {name!r}: {module} has no function {function!r}. "
            f"{did_you_mean(function, callables)}"
        )
    try:
        net = build()
    except EquipoiseError:
        raise
    except Exception as error:
        raise EquipoiseError(
            f"Cannot load the classifier {name!r}: {function}() raised {type(error).__name__}: {error}."
        ) from error
    if isinstance(net, Classifier):
        return net
    if not isinstance(net, nn.Module):
        raise EquipoiseError(
            f"Cannot load the classifier {name!r}: {function}() returned {type(net).__name__}, not a torch.nn.Module."
        )
    return wrap(net, name=name)


def from_hub(repository: str, name: str) -> Classifier:
    """Downloads ``classifier.json`` and ``weights.safetensors`` from a Hugging Face repository and loads them.

    Raises:
        EquipoiseError: without huggingface-hub, or when the repository or one of the two files cannot be had.
    """
    hub = import_extra("huggingface_hub", extra="hub", feature=f"The classifier {name!r}")
    try:
        for file in ("weights.safetensors", "classifier.json"):
            path = Path(hub.hf_hub_download(repo_id=repository, filename=file))
    except Exception as error:
        raise EquipoiseError(
            f"Cannot download {name!r} from the Hugging Face hub: {error}. A repository needs classifier.json and "
            "weights.safetensors; for a timm model write timm:hf-hub:OWNER/NAME."
        ) from error
    return load_folder(path.parent, name)


def from_timm(model: str, name: str) -> Classifier:
    """`timm.create_model` with its pretrained weights and its own normalisation.

    Raises:
        EquipoiseError: without a working timm, for an unknown model, or when the weights cannot be had.
    """
    timm = import_extra("timm", extra="timm", feature=f"The classifier {name!r}")
    try:
        net = timm.create_model(model, pretrained=True)
    except Exception as error:
        raise EquipoiseError(f"timm cannot make {model!r}: {error}.") from error
    config = net.pretrained_cfg
    shape = list(config["input_size"])
    return wrap(net, mean=config["mean"], std=config["std"], name=name, facts={"shape": shape})


def from_torchvision(model: str, name: str) -> Classifier:
    """A torchvision model with its default weights, their normalisation and their class names.

    Raises:
        EquipoiseError: without a working torchvision, for an unknown model, or when the weights cannot be had.
    """
    models = import_extra(
        "torchvision.models", extra="torchvision", feature=f"The classifier {name!r}"
    )
    try:
        weights = models.get_model_weights(model).DEFAULT
        net = models.get_model(model, weights=weights)
    except Exception as error:
        raise EquipoiseError(f"torchvision cannot make {model!r}: {error}.") from error
    transform = weights.transforms()
    return wrap(
        net,
        mean=transform.mean,
        std=transform.std,
        classes=weights.meta.get("categories"),
        name=name,
    )
