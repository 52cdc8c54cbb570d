"""The protocol of a measurement: what determines a classifier's answers, beside the classifier.

It consists of settings by name: the probe and what it was asked with, the classes, the version of the schema and, for
every probe whose answers depend on random draws or on a search, the seed and the version of equipoise that searched,
and the engines of its searches where these are not float32.
Where and how the work was done (device, batch, order, folders) is no part of it, since it changes no answer. Two
measurements are of one protocol when all settings agree and they are of the same images: name, label and pixels of
each, and its group where the probe asks for groups. The digest of both is short enough to be read beside a number.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from equipoise.audit.run import Run
from equipoise.norms import Threat
from equipoise.probes import (
    Backgrounds,
    Counterfactual,
    FeatureUse,
    Gradients,
    Groups,
    Probe,
    Saliency,
    Shift,
    Standard,
    load_probe,
)
from equipoise.streams import digest

__all__ = ["Protocol", "grouped", "read_protocol"]

EXACT = (Standard, Groups, Shift, Saliency, Gradients, FeatureUse, Counterfactual)
"""Probes whose answers follow from classifier and images alone, whatever the seed."""

GROUPED = (Groups, Backgrounds, Shift)
"""Probes whose metrics depend on the images' groups."""


@dataclass(frozen=True)
class Protocol:
    """How a probe was asked in a run.

    Attributes:
        probe: its spec.
        settings: everything that determines the answers, by name.
    """

    probe: str
    settings: Mapping[str, Any]

    def differing(self, other: "Protocol") -> list[str]:
        """Names of the settings that are not the same in both."""
        names = dict.fromkeys([*self.settings, *other.settings])
        return [n for n in names if self.settings.get(n) != other.settings.get(n)]

    def digest(self, images: str) -> str:
        """Eight hexadecimal characters of the settings and of the `images`, themselves given by a digest."""
        return digest(sorted(self.settings.items()), images, size=4)


def read_protocol(run: Run, spec: str) -> Protocol:
    """The protocol of one of the run's probes."""
    probe, record = load_probe(spec), run.record
    settings: dict[str, Any] = {"probe": probe.name} | _asked(probe, str(record["probes"][spec]))
    if probe.compares:
        known = sorted(str(about["fingerprint"]) for about in record["classifiers"].values())
        settings["set of classifiers"] = digest(known, size=4)
    if not _exact(probe):
        settings["seed"] = record["seed"]
        versions = {str(facts["equipoise"]) for facts in run.facts(spec)}
        settings["equipoise"] = ", ".join(sorted(versions)) or record["versions"]["equipoise"]
    if engines := {str(facts["engine"]) for facts in run.facts(spec) if "engine" in facts}:
        settings["engine"] = "; ".join(sorted(engines))
    return Protocol(spec, settings | {"schema": record["schema"], "classes": _classes(record)})


def grouped(spec: str) -> bool:
    """Whether metrics of that probe depend on the images' groups."""
    return isinstance(load_probe(spec), GROUPED)


def _exact(probe: Probe) -> bool:
    plain = isinstance(probe, Backgrounds) and not probe.backgrounds
    return plain or isinstance(probe, EXACT)


def _classes(record: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in record["data"]["classes"])


def _asked(probe: Probe, nature: str) -> dict[str, Any]:
    """The settings in what a run wrote down of a probe, which reads as a call: ``Adversarial(threat=..., steps=50)``.

    Read, never run; what does not read as a call is one setting.
    """
    try:
        call = ast.parse(nature, mode="eval").body
        named = call.keywords if isinstance(call, ast.Call) and not call.args else ()
        found = {str(part.arg): _value(part.value) for part in named}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {"made of": nature}
    for name in found:
        threat = getattr(probe, name, None)
        if isinstance(threat, Threat):
            found[name] = str(threat)
    return found or {"made of": nature}


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
