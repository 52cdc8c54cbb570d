"""Probes: one question of one classifier about each image, answered with a few columns per image.

A probe also knows its metrics: which per-image values, averaged over images, people quote.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from equipoise.classifiers import Classifier
from equipoise.images import Batch
from equipoise.probes.metric import Quoted

__all__ = ["Answers", "Columns", "Probe", "Request"]

Columns = Mapping[str, NDArray]


@dataclass(frozen=True)
class Request:
    """What an audit asks beside classifier and images.

    Attributes:
        seed: of the random streams.
        pictured: for which images to keep pictures, one flag each.
        examined: which images belong to the random sample that gets a second, dearer look, one flag each.
        others: the audit's other classifiers by name, for probes that compare.
    """

    seed: int
    pictured: Sequence[bool]
    examined: Sequence[bool]
    others: Mapping[str, Classifier]


@dataclass(frozen=True)
class Answers:
    """What a probe found on one batch.

    Attributes:
        columns: one array with an entry per image for each of the probe's columns.
        notes: what was done other than the settings say, in sentences.
    """

    columns: dict[str, NDArray]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probe(ABC):
    """Settings of a probe. A new one names its columns and overrides `measure` and `metrics`.

    `str(probe)` is its spec, which identifies it in tables; settings that change an answer must show in it.
    """

    name: ClassVar[str]
    types: ClassVar[Mapping[str, str]]
    """The SQL type of each column."""
    compares: ClassVar[bool] = False
    """Whether answers depend on the audit's other classifiers too."""
    searches: ClassVar[bool] = False
    """Whether most passes guide a search, which may have an engine of its own (`equipoise.classifiers.Quick`)."""

    @abstractmethod
    def measure(self, classifier: Classifier, batch: Batch, request: Request) -> Answers:
        """Asks the question about every image of `batch`.

        Arguments:
            classifier: on the device of `batch`.
            batch: images with labels and ids.
            request: everything else.
        """

    def nature(self) -> str:
        """Everything that determines the answers, beyond the classifier and the images."""
        return repr(self)

    def facts(self) -> dict[str, Any]:
        """What run.json should keep about the probe beyond its settings, as JSON."""
        return {}

    def recalled(self, facts: Mapping[str, Any]) -> "Probe":
        """The probe with the `facts` that a run kept of it, so that its metrics need nothing but the run."""
        return self

    @abstractmethod
    def metrics(self, columns: Columns) -> Sequence[Quoted]:
        """The probe's metrics, from its columns over all images.

        Which images a metric is of may depend on their groups, and on which columns have no value for them; classifiers
        are compared on images with the same of either.
        """
