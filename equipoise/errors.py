"""The one exception that equipoise raises for a mistake a person can mend.

Its message says the operation, the offending value and the remedy, in that order. The command line prints it as one
line without a traceback; from Python it is a `ValueError`.
"""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

__all__ = ["EquipoiseError", "did_you_mean", "import_extra"]


class EquipoiseError(ValueError):
    """A mistake the caller can mend: the message names operation, offending value and remedy."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ends an error message with the nearest known word, or with all of them when none is near."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(known))}."


def import_extra(module: str, *, extra: str, feature: str) -> ModuleType:
    """Imports an optional dependency, or says which feature wants it and how to install it.

    Raises:
        EquipoiseError: when the import fails for any reason. torchvision, for one, dies with a RuntimeError when its
            build does not match torch's.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise EquipoiseError(
            f"{feature} needs the package {error.name!r}: pip install 'equipoise[{extra}]'"
        ) from error
    except Exception as error:
        remedy = (
            "A CUDA build of torchvision beside a CPU build of torch (or the reverse) does this: install builds that "
            "match, or give your model as package.module:function."
            if extra in ("timm", "torchvision", "diffusers")
            else f"Install it afresh: pip install --force-reinstall 'equipoise[{extra}]'"
        )
        raise EquipoiseError(
            f"{feature} needs the package {module!r}, whose import fails here: {error}. {remedy}"
        ) from error
