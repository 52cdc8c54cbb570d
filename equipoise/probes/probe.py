"""Probes: one question of one classifier about each image, answered with a few columns per image.

A probe also knows its metrics: which per-image values, averaged over images, people quote.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray

from equipoise.classifiers import Classifier
from equipoise.images import Batch

__all__ = ["Answers", "Metric", "Probe", "Request"]

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
class Metric:
    """A statistic people quote: the mean or the median of `values` over images.

    Attributes:
        name: in words, for tables and pages.
        values: with shape (N,).
        kind: "share" for the mean of zeros and ones, "mean" or "median" of numbers.
        unit: "share" for what is between 0 and 1 and read in per cent, "distance" for what is measured in pixel units,
            "number" for anything else, such as a correlation.
        better: whether people want it "high", or "neither" high nor low.
    """

    name: str
    values: NDArray
    kind: Literal["share", "mean", "median"]
    unit: Literal["share", "distance", "number"] = "share"
    better: Literal["high", "neither"] = "high"


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

    @abstractmethod
    def metrics(self, columns: Columns) -> list[Metric]:
        """The probe's metrics, from its columns over all images."""
