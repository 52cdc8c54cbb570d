"""Which engines an audit's searches take: float32 by the letter, or what is fastest here.

With precision "exact" every network call is the classifier's own, and the table is the same to the last bit wherever
it is made on a CPU. With "fast" each classifier's engine is chosen by trying (`equipoise.classifiers.try_engines`),
written into run.json, and taken from there when the command is repeated. What a search found is judged by the
classifier itself either way; only what was searched for in vain may differ, and robust accuracy is an upper bound.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from equipoise.audit.run import read_record
from equipoise.classifiers import Classifier, Engine, Quick, try_engines
from equipoise.devices import enough_threads
from equipoise.errors import EquipoiseError
from equipoise.images import Images

__all__ = ["Precision", "choose_engines"]

Precision = Literal["exact", "fast"]

ON_CPU = 32
"""Images of a trial on a CPU, where larger batches are no faster."""


def choose_engines(
    precision: Precision,
    classifiers: Mapping[str, Classifier],
    images: Images,
    *,
    device: torch.device,
    batch: int,
    seed: int,
    folder: Path,
) -> tuple[dict[str, Quick], dict[str, Any]]:
    """Classifiers with the engines of their searches, those without one left out, and what run.json says of it: for
    each classifier what was chosen and why, and the images per second of what was tried.

    Arguments:
        precision: "exact" or "fast".
        classifiers: those whose searches are to be fast, by name, on `device`.
        images: to try engines on.
        device: where.
        batch: images in a network call.
        seed: of the sample of images.
        folder: the run's; what an earlier call chose there is taken again.

    Raises:
        EquipoiseError: for another precision.
    """
    if precision not in get_args(Precision):
        raise EquipoiseError(
            f"Cannot audit with precision={precision!r}: give {' or '.join(get_args(Precision))}."
        )
    record: dict[str, Any] = {"precision": precision}
    if precision == "exact":
        return {}, record
    known, shown = _known(folder), None
    found: dict[str, dict[str, Any]] = {}
    quick: dict[str, Quick] = {}
    for name, classifier in classifiers.items():
        # Its preflight fails, and must not find it put into eval mode here.
        if any(module.training for module in classifier.modules()):
            continue
        found[name] = {"fingerprint": classifier.fingerprint()}
        earlier = known.get(name, {})
        if earlier.get("fingerprint") == found[name]["fingerprint"]:
            found[name] = earlier
        else:
            wanted = batch if device.type == "cuda" else min(batch, ON_CPU)
            shown = shown or _sample(images, wanted, seed)
            found[name] |= _try(classifier, shown[0].to(device), shown[1].to(device))
        engine = Engine.read(found[name]["chosen"])
        if engine != Engine():
            quick[name] = Quick(classifier, engine)
    return quick, record | {"classifiers": found}


def _known(folder: Path) -> dict[str, Any]:
    """What an earlier call chose; whatever is wrong with its record is said when the folder is looked at."""
    try:
        engine = read_record(folder).get("engine", {})
    except EquipoiseError:
        return {}
    found = engine.get("classifiers", {}) if isinstance(engine, dict) else {}
    known = found.items() if isinstance(found, dict) else ()
    return {name: one for name, one in known if isinstance(one, dict) and "chosen" in one}


def _sample(images: Images, wanted: int, seed: int) -> tuple[Tensor, Tensor]:
    """So many images with their labels; those of a smaller set several times, since calls to come are as large."""
    sample = images.subset(min(wanted, len(images)), seed)
    shown = sample.batch(range(len(sample)), skip_broken=True)
    rows = torch.arange(wanted if shown.ids else 0) % max(1, len(shown.ids))
    return shown.images[rows], shown.labels[rows]


def _try(classifier: Classifier, images: Tensor, labels: Tensor) -> dict[str, Any]:
    try:
        with enough_threads(classifier, images):
            trial = try_engines(classifier, images, labels)
    # Whatever it is, the preflight reports it.
    except Exception as error:
        why = f"it raises {type(error).__name__}"
        return {"chosen": str(Engine()), "tried": {}, "refused": {}, "why": why}
    return {
        "chosen": str(trial.chosen),
        "tried": trial.rates,
        "refused": trial.refused,
        "why": trial.why,
    }
