"""A run: a folder of Parquet shards and one versioned run.json. Everything shown later is a pure function of it.

run.json says what was asked (data, classifiers, probes, seed), under which versions and with which preflight, and lists
every shard of the plan in order; the shards hold the answers. A run whose audit was interrupted is readable too: it has
the shards that were finished.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import cached_property, wraps
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from numpy.typing import NDArray

from equipoise.audit.answers import IMAGE_TYPES, astray, check_facts, check_images, types_of
from equipoise.audit.claims import Claim, read_claims, read_study
from equipoise.audit.exhibits import Row, read_exhibits
from equipoise.audit.human import human_claims
from equipoise.audit.people import Seen, read_people
from equipoise.audit.plan import IMAGES, pictured_rows
from equipoise.audit.record import read_record, stays
from equipoise.audit.soundness import Soundness, examine
from equipoise.audit.statistics import Statistic, estimate
from equipoise.audit.verifying import damaged_shards
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.probes import Adversarial, Probe, Standard, Transfer, load_probe
from equipoise.processes import cores
from equipoise.remote import place
from equipoise.store import (
    connect,
    is_whole,
    read_alike,
    read_columns,
    read_facts,
    read_shards,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

__all__ = ["Run", "find_run", "read_record"]

_PICTURES = ("picture", "change", "amplification")
_OF_IMAGES = ("id", "label", "group")
_NO_ANSWERS = (*_OF_IMAGES, *_PICTURES, "strip", "classifier", "probe")


def find_run(folder: Path) -> Path:
    """The folder of the run: `folder`, or ``audit`` in it where only that has a run, as in folders of studies."""
    inside = folder / "audit"
    studied = (inside / "run.json").is_file() and not (folder / "run.json").is_file()
    return inside if studied else folder


Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def _named(
    method: Callable[Concatenate["Run", Given], Answer],
) -> Callable[Concatenate["Run", Given], Answer]:
    """`method`, whose errors name the address of the run where it has one."""

    @wraps(method)
    def call(run: "Run", *args: Given.args, **settings: Given.kwargs) -> Answer:
        with run.named():
            return method(run, *args, **settings)

    return call


class Run:
    """A run on disk, or behind an address such as ``s3://bucket/run``, which is fetched first (`equipoise.remote`).

    Arguments:
        folder: with run.json in it, or that of a study, which keeps its run in ``audit``.

    Raises:
        EquipoiseError: when there is no run, or one of another schema; when an address cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self._home = place(folder)
        self.folder = find_run(self._home.read())
        with self._home.named():
            self.record = read_record(self.folder)
        self._connection = connect()
        self._columns: dict[tuple[str, str], dict[str, NDArray]] = {}
        self._shown: dict[tuple[str, ...], dict[str, NDArray]] = {}
        self._showing = Lock()
        self._facts: dict[Path, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return (
            f"Run({self.where!r}: {len(self.classifiers)} classifiers, {len(self.probes)} probes, "
            f"{self.record['data']['images']} images, {self.record['status']})"
        )

    @property
    def where(self) -> str:
        """Its folder, or its address, as messages name it."""
        return str(self.folder).replace(str(self._home.local), str(self._home), 1)

    def named(self) -> AbstractContextManager[None]:
        """Errors of the block name the address of the run, where it has one, not the copy of it on this machine."""
        return self._home.named()

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of the classifiers, in the order they were given."""
        return tuple(self.record["classifiers"])

    @property
    def probes(self) -> tuple[str, ...]:
        """Specs of the probes, in the order they were given."""
        return tuple(self.record["probes"])

    @cached_property
    def finished(self) -> frozenset[str]:
        """Names of the finished shards, looked for once: what an audit that still runs adds later belongs to the next
        `Run`, so that all numbers of one are of the same shards."""
        return frozenset(self._paths)

    @cached_property
    def _paths(self) -> dict[str, Path]:
        """The finished shards, in the order of the plan, by name."""
        paths = {shard["file"]: self.folder / shard["file"] for shard in self.record["shards"]}
        known: dict[Path, bool] = {}
        for path in paths.values():
            if not stays(path, self.folder, known):
                raise EquipoiseError(
                    f"Cannot read the run {self.where!r}: its shard {path} is a link out of the folder. Put the "
                    "file itself there."
                )
        return {name: path for name, path in paths.items() if is_whole(path)}

    @cached_property
    def _listed(self) -> dict[tuple[str | None, str | None], list[Path]]:
        """Files by probe and classifier, as `shards` has them."""
        found: dict[tuple[str | None, str | None], list[Path]] = {}
        for shard in self.record["shards"]:
            if shard["classifier"] is not None and (path := self._paths.get(shard["file"])):
                found.setdefault((shard["probe"], shard["classifier"]), []).append(path)
        return found

    def verify(self) -> dict[str, str]:
        """Files of the shards that are not as they were written, and what is wrong with each, such as "its content has
        changed"; none when all is well. Reads every byte, on all cores; of a run at an address every byte that lies
        there. What an unfinished run lacks is no damage.

        Repeating the audit measures them again.
        """
        inside = "" if self.folder == self._home.local else self.folder.name
        return damaged_shards(self._home.files(), inside, self.record)

    @_named
    def shards(self, probe: str | None = None, classifier: str | None = None) -> list[Path]:
        """Files of the finished shards, in the order of the plan; without a probe all but those of the images."""
        key = (probe, classifier)
        if key not in self._listed:
            self._listed[key] = [
                path
                for shard in self.record["shards"]
                if (shard["probe"] == probe if probe else shard["probe"] != IMAGES)
                and (classifier is None or shard["classifier"] == classifier)
                and (path := self._paths.get(shard["file"]))
            ]
        return list(self._listed[key])

    @_named
    def table(self, probe: str | None = None) -> "DuckDBPyRelation":
        """The measurements: one row for each classifier, probe and image.

        A DuckDB relation: ``.df()`` makes it a pandas frame, ``.pl()`` a polars one, ``.fetchnumpy()`` arrays, and SQL
        can query it. Columns that a probe does not have are NULL. Pictures are left out; `pictures` has them. Where two
        probes call columns of different types the same, as `standard` and `feature_use` do with `correct`, the later
        probe's is called after it here: `feature_use_correct`.

        Arguments:
            probe: a probe's spec, for its rows and columns only.

        Raises:
            EquipoiseError: for a probe that the run does not have, or a run without any finished shard.
        """
        if probe is not None and probe not in self.probes:
            raise EquipoiseError(
                f"The run {self.where} has no probe {probe!r}. {did_you_mean(probe, self.probes)}"
            )
        files = self.shards(probe)
        if not files:
            raise EquipoiseError(
                f"The run {self.where} has no measurements yet. Repeat its audit to finish it."
            )
        relation = (
            read_alike(self._connection, files, types_of(probe)) if probe else self._joined()
        )
        return relation.select(*[_quoted(c) for c in relation.columns if c not in _PICTURES])

    def _joined(self) -> "DuckDBPyRelation":
        """All shards of all probes: in the order of the plan, or probe after probe where columns have to be renamed."""
        kinds: dict[str, str] = {}
        renamed: dict[str, list[str]] = {}
        for spec in self.probes:
            for name, kind in load_probe(spec).types.items():
                if kinds.setdefault(name, kind) != kind:
                    renamed.setdefault(spec, []).append(name)
        answered = [spec for spec in self.probes if self.shards(spec)]
        if not renamed:
            types = {name: kind for spec in answered for name, kind in types_of(spec).items()}
            return read_shards(self._connection, self.shards(), types)
        parts = []
        for k, spec in enumerate(answered):
            part = read_alike(self._connection, self.shards(spec), types_of(spec))
            kind = spec.partition(":")[0]
            listed = [
                f"{_quoted(c)} AS {_quoted(f'{kind}_{c}')}"
                if c in renamed.get(spec, ())
                else _quoted(c)
                for c in part.columns
            ]
            part.project(", ".join(listed)).create_view(f"part_{k}", replace=True)
            parts.append(f"SELECT * FROM part_{k}")
        return self._connection.sql(" UNION ALL BY NAME ".join(parts))

    @_named
    def images(self) -> "DuckDBPyRelation":
        """The images that were audited: id, label, group, a digest of the pixels, and a PNG of those pictured."""
        return read_alike(self._connection, self.shards(IMAGES), IMAGE_TYPES)

    @_named
    def pictures(self, probe: str, classifiers: Sequence[str] | None = None) -> "DuckDBPyRelation":
        """Rows of `probe` that have a picture, with `picture`, `change` (PNG) and `amplification`; of all classifiers
        or of some."""
        if "picture" not in types_of(probe):
            raise EquipoiseError(
                f"Cannot show pictures of the probe {probe!r}: it makes none. Ask for those of another probe."
            )
        about = self.record["data"]
        rows = sorted(pictured_rows(about["images"], about["pictures"]))
        # The other shards have none: only these are opened.
        files = [
            path
            for shard in self.record["shards"]
            if shard["probe"] == probe
            and (classifiers is None or shard["classifier"] in classifiers)
            and bisect_left(rows, shard["first"]) < bisect_left(rows, shard["last"])
            and (path := self._paths.get(shard["file"]))
        ]
        relation = read_alike(self._connection, files or self.shards(probe)[:1], types_of(probe))
        return relation.filter("picture IS NOT NULL")

    @_named
    def columns(self, probe: str, classifier: str) -> dict[str, NDArray]:
        """The columns of one probe of one classifier as arrays, without its pictures and without what is the same in
        every row. They are read once: change none of them."""
        key = (probe, classifier)
        if key not in self._columns:
            files = self.shards(probe, classifier)
            self._columns[key] = self._read(files, types_of(probe)) if files else {}
        return dict(self._columns[key])

    def read(self) -> None:
        """Reads what `columns` gives of all probes and classifiers, on all cores: for those who need most of it."""
        asked = [(p, c) for p in self.probes for c in self.classifiers if self.shards(p, c)]
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(lambda key: self.columns(*key), asked))

    def _read(self, files: Sequence[Path], types: Mapping[str, str]) -> dict[str, NDArray]:
        """The columns of shards of one probe and classifier. What is known of the images is read once for all that are
        as far as each other, since shards of one range are of the same images."""
        # A cursor of its own, so that several threads can read at once.
        connection = self._connection.cursor()
        ranges = tuple(path.stem.rpartition("-")[0] for path in files)
        with self._showing:
            if ranges not in self._shown:
                shown = read_columns(connection, files, _OF_IMAGES.__contains__, types)
                check_images(shown, len(self.record["data"].get("classes", ())))
                self._shown[ranges] = shown
        answers = read_columns(connection, files, lambda name: name not in _NO_ANSWERS, types)
        return self._shown[ranges] | answers

    @cached_property
    def _summary(self) -> tuple[Statistic, ...]:
        self.read()
        rows = []
        for spec in self.probes:
            probe = load_probe(spec).recalled(self.record["probe_facts"].get(spec, {}))
            for classifier in self.classifiers:
                if columns := self.columns(spec, classifier):
                    with astray(f"the metrics of {spec!r} about {classifier!r}"):
                        rows += self._estimates(spec, probe, columns, classifier)
        return tuple(rows)

    def _estimates(
        self, spec: str, probe: Probe, columns: Mapping[str, NDArray], classifier: str
    ) -> list[Statistic]:
        """Every metric of one probe for one classifier."""
        found = [
            (metric, estimate(metric, seed=self.record["seed"]))
            for metric in probe.metrics(columns)
        ]
        return [
            Statistic(
                classifier,
                spec,
                metric.name,
                **asdict(value),
                unit=metric.unit,
                better=metric.better,
            )
            for metric, value in found
        ]

    def summary(self) -> tuple[Statistic, ...]:
        """Every metric of every probe for every classifier, with its 95 % interval.

        `pandas.DataFrame(run.summary())` makes a table of it.
        """
        return self._summary

    @cached_property
    def _soundness(self) -> tuple[Soundness, ...]:
        probes = {spec: load_probe(spec) for spec in self.probes}
        standard = next((s for s, p in probes.items() if isinstance(p, Standard)), None)
        transfers = {p.threat: s for s, p in probes.items() if isinstance(p, Transfer)}
        found: list[Soundness] = []
        threats = {s: p.threat for s, p in probes.items() if isinstance(p, Adversarial)}
        for spec, threat in threats.items():
            transfer = transfers.get(threat)
            for name in self.classifiers:
                if columns := self.columns(spec, name):
                    known = {
                        "standard": self.columns(standard, name) if standard else {},
                        "transfer": self.columns(transfer, name) if transfer else {},
                    }
                    with astray(f"how far {spec!r} about {name!r} can be trusted"):
                        found += examine(name, spec, columns, **known)
        return tuple(found)

    def soundness(self) -> tuple[Soundness, ...]:
        """How far each robust accuracy can be trusted: checks of every classifier under every threat, see
        `equipoise.audit.soundness`; those that warn have a remedy."""
        return self._soundness

    @_named
    def claims(self) -> tuple[Claim, ...]:
        """The claims that a study wrote into the run, with their verdicts; none for a plain audit. Where people were
        asked, those about counterfactuals end with what they saw."""
        seen = self.people() if self.study() in ("counterfactual", "trade-off") else None
        return read_claims(self.folder) + (human_claims(seen) if seen else ())

    @_named
    def study(self) -> str | None:
        """The study whose claims are in the run; None for a plain audit."""
        return read_study(self.folder)

    @_named
    def exhibits(self) -> dict[str, list[Row]]:
        """What a study measured beside the run's images, as rows by name; nothing for a plain audit."""
        return read_exhibits(self.folder)

    @_named
    def people(self) -> Seen | None:
        """What people said they saw in the run's pictures; None where nobody was asked."""
        return read_people(self.folder)

    @_named
    def facts(
        self, probe: str | None = None, classifier: str | None = None
    ) -> list[dict[str, Any]]:
        """What each finished shard took: seconds, device, notes; for the images, those left out as broken."""
        paths = self.shards(probe, classifier)
        # Read once: change none of them.
        unread = [path for path in paths if path not in self._facts]
        for path, facts in zip(unread, read_facts(unread), strict=True):
            self._facts[path] = dict(check_facts(facts, path))
        return [self._facts[path] for path in paths]

    def broken(self) -> list[Sequence[str]]:
        """Id and reason of every image that could not be read and was left out."""
        return [item for facts in self.facts(IMAGES) for item in facts.get("broken", ())]


def _quoted(name: str) -> str:
    """SQL of a column, whose name may hold anything."""
    return '"' + name.replace('"', '""') + '"'
