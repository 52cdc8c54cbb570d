"""What the page needs of a run, read once: who was judged, under which threats, and the statistics by name.

Classifiers that carry the facts `norm` and `radius` of their training form a ladder for each norm, and for each
objective other than PGD training a ladder of its own; standard training, of radius 0, is the lowest rung of every one.
Where their fact `network` tells several networks apart, such as ResNets of 18 and of 50 layers, each has ladders of its
own. When all classifiers stand on one ladder they are ordered along it.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.audit import Run, Soundness, Statistic
from equipoise.audit.exhibits import Row
from equipoise.audit.plan import IMAGES
from equipoise.norms import Threat, format_radius
from equipoise.probes import Adversarial, Counterfactual, Probe, Standard, load_probe
from equipoise.report.by_image import ByImage, paired
from equipoise.store import fetch_rows

__all__ = ["Drawn", "Judged", "Reading", "Under"]

METHODS = {"reverse": "reverse diffusion", "sum": "sum of scores"}
"""Methods of drawing counterfactuals that the page calls by other words than their names."""

UNNAMED = (None, "standard", "pgd", "adversarial")
"""Objectives that the names of ladders leave out; "adversarial" is what PGD training was called at first."""


@dataclass(frozen=True)
class Judged:
    """A classifier, with the norm, the radius and the objective it was trained for where it says so.

    Attributes:
        network: what it is, in a run of several networks; None where all are one.
    """

    name: str
    norm: str | None
    radius: float | None
    objective: str | None
    network: str | None = None

    @property
    def ladder(self) -> str | None:
        """The name of the ladder it stands on: ``l2``, ``l2, trades`` or ``l2, resnet50``; none at radius 0, which is
        on all of its network's."""
        if not (self.radius and self.norm):
            return None
        objective = None if self.objective in UNNAMED else self.objective
        return ", ".join(filter(None, (self.norm, objective, self.network)))

    @property
    def trained(self) -> str:
        """The radius as people write it, or nothing."""
        return "" if self.radius is None else format_radius(self.radius)


@dataclass(frozen=True)
class Under:
    """An adversarial probe of the run and its threat."""

    spec: str
    threat: Threat
    title: str


@dataclass(frozen=True)
class Drawn:
    """A counterfactual probe of the run, and what run.json keeps of its set.

    Attributes:
        title: kind and width of the neighbourhood, with whatever else tells it from the run's other sets.
    """

    spec: str
    title: str
    facts: dict[str, Any]

    @property
    def method(self) -> str:
        """How the set was drawn, in a word or two."""
        return _method(self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """What the set was made with."""
        return self.facts["settings"]

    def quality(self, name: str, split: str = "test") -> dict[str, Any] | None:
        """What was found of the set's quality under that name; None where it was not measured."""
        for found in self.facts["quality"] or ():
            known = found["value"] is not None and math.isfinite(found["value"])
            if known and (found["name"], found["split"]) == (name, split):
                return found
        return None


class Reading:
    """A run as the page sees it.

    Arguments:
        run: finished or not.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.record = run.record
        self.classes: list[str] = [str(name) for name in run.record["data"]["classes"]]

    @cached_property
    def classifiers(self) -> tuple[Judged, ...]:
        """Those judged, along their ladder when there is exactly one, otherwise in the order they were given."""
        judged = [_judged(name, about) for name, about in self.record["classifiers"].items()]
        if len({j.network for j in judged}) == 1:
            judged = [replace(j, network=None) for j in judged]
        stated = len(judged) > 1 and all(j.radius is not None for j in judged)
        if stated and len({j.ladder for j in judged if j.radius}) == 1:
            judged.sort(key=lambda j: j.radius or 0.0)
        return tuple(judged)

    @cached_property
    def ordered(self) -> bool:
        """Whether all classifiers stand on one ladder."""
        ladders = self.ladders
        return len(ladders) == 1 and len(next(iter(ladders.values()))) == len(self.classifiers)

    @cached_property
    def ladders(self) -> dict[str, tuple[Judged, ...]]:
        """Rungs by the name of the ladder, lowest first, of every ladder with at least two radii."""
        rungs = [j for j in self.classifiers if j.radius is not None]
        names = {j.ladder: j.network for j in rungs if j.ladder}
        found = {
            name: tuple(
                sorted(
                    (j for j in rungs if (j.ladder or name) == name and j.network == network),
                    key=lambda j: j.radius or 0.0,
                )
            )
            for name, network in names.items()
        }
        return {name: rungs for name, rungs in found.items() if len({j.radius for j in rungs}) > 1}

    @cached_property
    def exhibits(self) -> dict[str, list[Row]]:
        """What a study measured beside the run's images."""
        return self.run.exhibits()

    def specs(self, kind: type[Probe]) -> list[str]:
        """Specs of the run's probes of one kind, in the order they were given."""
        return [spec for spec in self.run.probes if isinstance(load_probe(spec), kind)]

    def class_name(self, label: int, classifier: str | None = None) -> str:
        """The name of a class; a classifier may know more of them than the images have."""
        names = [*self.classes, *(self.beyond(classifier) if classifier else ())]
        return names[label] if label < len(names) else f"class {label}"

    def beyond(self, classifier: str) -> list[str]:
        """Names of a classifier's classes that the images do not have."""
        return [str(name) for name in self.record["classifiers"][classifier].get("beyond", ())]

    @cached_property
    def standard(self) -> str | None:
        """Spec of the standard probe."""
        return next(iter(self.specs(Standard)), None)

    @cached_property
    def threats(self) -> tuple[Under, ...]:
        """The adversarial probes, those in the norm of a ladder first."""
        probes = [(spec, load_probe(spec)) for spec in self.run.probes]
        found = [(spec, p.threat) for spec, p in probes if isinstance(p, Adversarial)]
        names = [str(threat) for _, threat in found]
        under = [
            Under(spec, threat, str(threat) if names.count(str(threat)) == 1 else spec)
            for spec, threat in found
        ]
        norms = {rungs[-1].norm for rungs in self.ladders.values()}
        return tuple(sorted(under, key=lambda u: u.threat.norm not in norms))

    @cached_property
    def counterfactuals(self) -> tuple[Drawn, ...]:
        """The counterfactual probes, in the order they were given."""
        specs = self.specs(Counterfactual)
        facts = [self.record["probe_facts"][spec] for spec in specs]
        titles = [_drawn_title(f["settings"]) for f in facts]
        return tuple(
            Drawn(spec, title if titles.count(title) == 1 else f"{title} ({_folder(spec)})", f)
            for spec, title, f in zip(specs, titles, facts, strict=True)
        )

    @cached_property
    def _statistics(self) -> dict[tuple[str, str, str], Statistic]:
        return {(s.classifier, s.probe, s.name): s for s in self.run.summary()}

    def standard_accuracy(self, classifier: str) -> Statistic | None:
        """With its interval; None where nothing was measured yet."""
        return self._statistics.get((classifier, self.standard or "", "standard accuracy"))

    def robust_accuracy(self, classifier: str, under: Under) -> Statistic | None:
        """With its interval; None where nothing was measured yet."""
        return self._statistics.get((classifier, under.spec, f"robust accuracy at {under.threat}"))

    def warnings(self, classifier: str, probe: str) -> tuple[Soundness, ...]:
        """Checks that speak against what an adversarial probe found of a classifier, so that it cannot be trusted."""
        return self._warnings.get((classifier, probe), ())

    @cached_property
    def _warnings(self) -> dict[tuple[str, str], tuple[Soundness, ...]]:
        found: dict[tuple[str, str], tuple[Soundness, ...]] = {}
        for check in self.run.soundness():
            if check.warns:
                key = (check.classifier, check.probe)
                found[key] = (*found.get(key, ()), check)
        return found

    def statistic(self, classifier: str, probe: str, name: str) -> Statistic | None:
        """A row of the summary; None where nothing was measured."""
        found = self._statistics.get((classifier, probe, name))
        return found if found and found.n else None

    def columns(self, probe: str, classifier: str) -> dict[str, NDArray]:
        """Like `Run.columns`."""
        return self.run.columns(probe, classifier)

    def answers(self, drawn: Drawn, classifier: str, column: str) -> ByImage:
        """A column of a counterfactual probe, images without a value left out."""
        columns = self.columns(drawn.spec, classifier)
        return ByImage(columns["id"], columns[column]) if columns else ByImage()

    @cached_property
    def originals(self) -> dict[str, bytes]:
        """PNGs of the pictured images by id."""
        if not self.run.shards(IMAGES):
            return {}
        return dict(fetch_rows(self.run.pictures(IMAGES).select("id", "picture")))

    @cached_property
    def facts(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """What the finished shards of each classifier and probe took."""
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        shards = [
            (s["classifier"], s["probe"])
            for s in self.record["shards"]
            if s["classifier"] is not None and s["file"] in self.run.finished
        ]
        for key, facts in zip(shards, self.run.facts(), strict=True):
            found.setdefault(key, []).append(facts)
        return found

    def right(self, classifier: str, under: Under | None = None) -> ByImage:
        """Is an image classified correctly as it is, or does it withstand the threat `under`?"""
        spec = under.spec if under else self.standard
        columns = self.columns(spec, classifier) if spec else {}
        if not columns:
            return ByImage()
        right = ~columns["success"].astype(bool) if under else columns["correct"].astype(bool)
        return ByImage(columns["id"], right)

    def pair(
        self, before: str, after: str, under: Under | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """`right` of two classifiers on the images that both have answers for, in one order."""
        return paired(self.right(before, under), self.right(after, under))


def _drawn_title(settings: dict[str, Any]) -> str:
    kind, _, width = settings["neighbourhood"].partition(":")
    parts = [f"{kind.capitalize()} σ {float(width):.3g}", _method(settings)]
    if settings["guidance"] != 1:
        parts.append(f"guidance {settings['guidance']:g}")
    return ", ".join(parts)


def _method(settings: dict[str, Any]) -> str:
    method: str = settings["method"]
    return METHODS.get(method, method)


def _folder(spec: str) -> str:
    return spec.rstrip("/").rpartition("/")[2]


def _judged(name: str, about: dict[str, Any]) -> Judged:
    facts = about.get("facts") or {}
    radius, norm, settings = facts.get("radius"), facts.get("norm"), facts.get("objective")
    known = settings.get("name") if isinstance(settings, dict) else None
    objective = None if known is None else str(known)
    network = str(facts["network"]) if facts.get("network") else None
    if isinstance(radius, bool) or not isinstance(radius, int | float):
        return Judged(name, None, None, objective, network)
    if not math.isfinite(radius) or radius < 0 or (radius > 0 and not norm):
        return Judged(name, None, None, objective, network)
    return Judged(name, str(norm) if norm else None, float(radius), objective, network)
