"""Probes: one question a file, each with its metrics."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from equipoise.attacks.worst_case import Budget
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.norms import Threat, parse_threat
from equipoise.probes.adversarial import Adversarial
from equipoise.probes.backgrounds import Backgrounds
from equipoise.probes.counterfactual import Counterfactual
from equipoise.probes.feature_use import FeatureUse
from equipoise.probes.gradients import Gradients
from equipoise.probes.groups import Groups
from equipoise.probes.large_eps import LargeEps
from equipoise.probes.metric import (
    Contrast,
    Metric,
    Quoted,
    Sensitivity,
    WorstGroup,
    relative_sensitivity,
)
from equipoise.probes.probe import Answers, Probe, Request
from equipoise.probes.regions import Noise, Regions
from equipoise.probes.saliency import Saliency
from equipoise.probes.shift import Shift
from equipoise.probes.standard import Standard
from equipoise.probes.transfer import Transfer
from equipoise.specs import Spec, parse_number, parse_spec, parse_whole_number

__all__ = [
    "Standard",
    "Adversarial",
    "Transfer",
    "Counterfactual",
    "Gradients",
    "LargeEps",
    "FeatureUse",
    "Regions",
    "Backgrounds",
    "Groups",
    "Saliency",
    "Shift",
    "load_probe",
    "Probe",
    "Request",
    "Answers",
    "Metric",
    "Contrast",
    "WorstGroup",
    "Sensitivity",
    "Quoted",
    "relative_sensitivity",
]


def load_probe(spec: str) -> Probe:
    """The probe that `spec` names: ``standard``, ``adversarial:l2:0.5``, ``adversarial:linf:8/255?steps=100``,
    ``adversarial:linf:8/255?budget=standard``, ``transfer:l2:0.5``, ``counterfactual:DIR``, ``gradients``,
    ``gradients:DIR``, ``large_eps:l2:4?steps=100&judge=local:DIR``, ``feature_use:digits``, ``regions:gaussian``,
    ``regions:l2?levels=25,50&trials=5``, ``backgrounds``, ``backgrounds?onto=imagenet9:PATH&limit=500``, ``groups``,
    ``groups:waterbirds:PATH``, ``shift``, ``saliency``.

    A spec as an option has its &, %, + or ? written as %26, %25, %2B or %3F. What follows ``feature_use:`` or
    ``groups:`` is a spec of images, with its own options.

    Raises:
        EquipoiseError: for an unknown probe, threat or option.
    """
    parsed = parse_spec(spec)
    reader = _READERS.get(parsed.kind)
    if reader is None:
        raise EquipoiseError(
            f"Unknown probe {parsed.kind!r} in {spec!r}. {did_you_mean(parsed.kind, _READERS)}"
        )
    return reader(parsed)


def _standard(spec: Spec) -> Standard:
    _no_target(spec)
    spec.only()
    return Standard()


def _adversarial(spec: Spec) -> Adversarial:
    options = spec.only("steps", "budget")
    probe = Adversarial(_threat(spec))
    if "budget" in options:
        budgets = {budget: budget for budget in get_args(Budget)}
        if options["budget"] not in budgets:
            raise EquipoiseError(
                f"The option budget of {spec.text!r} is none. {did_you_mean(options['budget'], budgets)}"
            )
        probe = replace(probe, budget=budgets[options["budget"]])
    return replace(probe, steps=_steps(spec, probe.steps))


def _transfer(spec: Spec) -> Transfer:
    spec.only()
    return Transfer(_threat(spec))


def _counterfactual(spec: Spec) -> Counterfactual:
    spec.only()
    if not spec.target:
        raise EquipoiseError(
            f"The probe {spec.text!r} needs a set: write counterfactual:DIR with the folder that equipoise "
            "counterfactuals wrote."
        )
    return Counterfactual(spec.target)


def _gradients(spec: Spec) -> Gradients:
    spec.only()
    return Gradients(spec.target)


def _large_eps(spec: Spec) -> LargeEps:
    options = spec.only("steps", "judge")
    probe = LargeEps(_threat(spec), judge=options.get("judge", ""))
    return replace(probe, steps=_steps(spec, probe.steps))


def _feature_use(spec: Spec) -> FeatureUse:
    if not spec.target:
        raise EquipoiseError(
            f"The probe {spec.text!r} needs images to learn from what goes with the label: write feature_use:digits or "
            "feature_use:folder:PATH."
        )
    return FeatureUse(spec.text.removeprefix(f"{spec.kind}:"))


def _regions(spec: Spec) -> Regions:
    options = spec.only("levels", "trials")
    kinds = {kind: kind for kind in get_args(Noise)}
    if spec.target not in kinds:
        raise EquipoiseError(
            f"The probe {spec.text!r} needs a kind of noise: write regions:gaussian or regions:l2."
        )
    probe = Regions(kinds[spec.target])
    if "levels" in options:
        what = f"the option levels of {spec.text!r}"
        levels = tuple(parse_number(level, what) for level in options["levels"].split(","))
        if min(levels) <= 0:
            raise EquipoiseError(f"Cannot use {what}: noise of level {min(levels):g} is none.")
        probe = replace(probe, levels=levels)
    if "trials" in options:
        what = f"the option trials of {spec.text!r}"
        probe = replace(probe, trials=parse_whole_number(options["trials"], what))
    return probe


def _backgrounds(spec: Spec) -> Backgrounds:
    _no_target(spec)
    options = spec.only("onto", "limit")
    probe = Backgrounds(options.get("onto", ""))
    if "limit" in options and not probe.backgrounds:
        raise EquipoiseError(
            f"The option limit of {spec.text!r} says how many backgrounds to try, and there are none: add &onto=SPEC."
        )
    if "limit" in options:
        what = f"the option limit of {spec.text!r}"
        probe = replace(probe, limit=parse_whole_number(options["limit"], what))
    return probe


def _groups(spec: Spec) -> Groups:
    return Groups(spec.text.removeprefix(f"{spec.kind}").removeprefix(":"))


def _saliency(spec: Spec) -> Saliency:
    _no_target(spec)
    spec.only()
    return Saliency()


def _shift(spec: Spec) -> Shift:
    _no_target(spec)
    spec.only()
    return Shift()


def _no_target(spec: Spec) -> None:
    if spec.target:
        raise EquipoiseError(
            f"The probe {spec.kind!r} takes no target, but {spec.text!r} gives it {spec.target!r}."
        )


def _steps(spec: Spec, default: int) -> int:
    """The option steps of a probe."""
    if "steps" not in spec.options:
        return default
    return parse_whole_number(spec.options["steps"], f"the option steps of {spec.text!r}")


def _threat(spec: Spec) -> Threat:
    """The threat that the spec of a probe ends with."""
    if not spec.target:
        raise EquipoiseError(
            f"The probe {spec.text!r} needs a threat: write {spec.kind}:linf:8/255 or {spec.kind}:l2:0.5."
        )
    return parse_threat(spec.target)


_READERS: dict[str, Callable[[Spec], Probe]] = {
    Standard.name: _standard,
    Adversarial.name: _adversarial,
    Transfer.name: _transfer,
    Counterfactual.name: _counterfactual,
    Gradients.name: _gradients,
    LargeEps.name: _large_eps,
    FeatureUse.name: _feature_use,
    Regions.name: _regions,
    Backgrounds.name: _backgrounds,
    Groups.name: _groups,
    Saliency.name: _saliency,
    Shift.name: _shift,
}
