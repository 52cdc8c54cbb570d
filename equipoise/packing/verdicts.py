"""Does a classifier with rounded weights say the same? Predicted classes, and verdicts of attacks.

Both classifiers are asked about the same images; attacks are repeated on both with the same seeds, on a sample. A run
that was made of the first one is held against the second as well, which also shows what another machine changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from equipoise.audit import Run
from equipoise.classifiers import Classifier
from equipoise.errors import EquipoiseError
from equipoise.images import Batch, Images, Subset
from equipoise.probes import Adversarial, Request, Standard, load_probe
from equipoise.streams import digest

__all__ = ["Rechecked", "Verdicts", "compare_verdicts", "name_in"]

BATCH = 256


@dataclass(frozen=True)
class Rechecked:
    """Verdicts of one probe on `n` images: how many differ between the two classifiers and, of `known` images that the
    run has as well, how many of the second one's differ from the run."""

    probe: str
    n: int
    changed: int
    known: int = 0
    against_run: int = 0


@dataclass(frozen=True)
class Verdicts:
    """What was compared.

    Attributes:
        predictions: of the classes; the clean images are all of those given.
        logit: the largest difference of two logits.
        attacks: of each attack.
    """

    predictions: Rechecked
    logit: float
    attacks: tuple[Rechecked, ...]

    @property
    def same(self) -> bool:
        """Whether no verdict differs between the two."""
        return not any(found.changed for found in (self.predictions, *self.attacks))


def compare_verdicts(
    first: Classifier,
    second: Classifier,
    images: Images,
    attacks: Sequence[str],
    *,
    count: int = 64,
    seed: int = 0,
    run: Run | None = None,
    device: torch.device | str = "cpu",
) -> Verdicts:
    """Asks both.

    Arguments:
        first: as it was trained.
        second: with rounded weights.
        images: of the size and classes of both.
        attacks: specs of the probe `adversarial`.
        count: images that are attacked, a random sample, of those in the run where it has any.
        seed: of the sample, and of the attacks where there is no run.
        run: in which `first` was judged.
        device: where both are.

    Raises:
        EquipoiseError: for a probe that is no attack, or a run without `first`.
    """
    name = None if run is None else name_in(run, first)
    where = torch.device(device)
    labels: list[Tensor] = []
    ids: list[str] = []
    places: list[int] = []
    largest = 0.0
    for rows in torch.arange(len(images)).split(BATCH):
        batch = images.batch(rows.tolist(), skip_broken=True)
        with torch.no_grad():
            one, other = (c(batch.images.to(where)).double().cpu() for c in (first, second))
        largest = max([largest, *(one - other).abs().amax(1).tolist()])
        labels.append(torch.stack([one.argmax(1), other.argmax(1)]))
        ids += batch.ids
        places += batch.indices
    pair = torch.cat(labels, 1).numpy()
    spec = str(Standard())
    known = _kept(run, spec, name, "prediction")
    plain = _held(spec, ids, pair, known)
    # Images that the run has as well say more.
    shared = [place for place, id in zip(places, ids, strict=True) if id in known]
    sample = (Subset(images, shared) if shared else images).subset(count, seed)
    shown = _on(sample.batch(range(len(sample)), skip_broken=True), where)
    attacked = []
    for text in attacks:
        probe = load_probe(text)
        if not isinstance(probe, Adversarial):
            raise EquipoiseError(
                f"Cannot compare verdicts of {text!r}: it is no attack. Give adversarial:NORM:RADIUS."
            )
        none = [False] * len(shown.ids)
        request = Request(seed if run is None else run.record["seed"], none, none, {})
        pair = np.stack(
            [probe.measure(c, shown, request).columns["success"] for c in (first, second)]
        )
        known = _kept(run, str(probe), name, "success")
        attacked.append(_held(str(probe), shown.ids, pair, known))
    return Verdicts(plain, largest, tuple(attacked))


def name_in(run: Run, classifier: Classifier) -> str:
    """What the run calls the classifier: the one of the same training or, where nothing is known of it, of the same
    weights and behaviour.

    Raises:
        EquipoiseError: when it has none.
    """
    training = classifier.facts.get("identity")
    mark = digest(classifier.fingerprint(), classifier.behaviour(run.record["data"]["shape"]))
    for name, about in run.record["classifiers"].items():
        facts = about.get("facts", {})
        if about.get("fingerprint") == mark or (training and facts.get("identity") == training):
            return name
    raise EquipoiseError(
        f"The run {run.folder} did not judge the classifier {classifier.name!r}: none of its classifiers comes from "
        "the same training. Give the run that did."
    )


def _kept(run: Run | None, probe: str, name: str | None, column: str) -> Mapping[str, int]:
    """A column of the run by image; nothing where the run did not ask that."""
    if run is None or name is None or probe not in run.probes or not run.shards(probe, name):
        return {}
    columns = run.columns(probe, name)
    return dict(zip(columns["id"].tolist(), columns[column].astype(int).tolist(), strict=True))


def _held(probe: str, ids: Sequence[str], pair: np.ndarray, known: Mapping[str, int]) -> Rechecked:
    one, other = pair.astype(int)
    both = [(int(value), known[id]) for id, value in zip(ids, other, strict=True) if id in known]
    return Rechecked(
        probe, len(ids), int((one != other).sum()), len(both), sum(a != b for a, b in both)
    )


def _on(batch: Batch, device: torch.device) -> Batch:
    return replace(batch, images=batch.images.to(device), labels=batch.labels.to(device))
