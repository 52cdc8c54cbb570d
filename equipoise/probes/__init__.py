"""Probes: one question a file, each with its metrics."""

from dataclasses import replace
from typing import get_args

from equipoise.attacks.worst_case import Budget
from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.norms import Threat, parse_threat
from equipoise.probes.adversarial import Adversarial
from equipoise.probes.counterfactual import Counterfactual
from equipoise.probes.probe import Answers, Metric, Probe, Request
from equipoise.probes.standard import Standard
from equipoise.probes.transfer import Transfer
from equipoise.specs import Spec, parse_spec, parse_whole_number

__all__ = [
    "Standard",
    "Adversarial",
    "Transfer",
    "Counterfactual",
    "load_probe",
    "Probe",
    "Request",
    "Answers",
    "Metric",
]


def load_probe(spec: str) -> Probe:
    """The probe that `spec` names: ``standard``, ``adversarial:l2:0.5``, ``adversarial:linf:8/255?steps=100``,
    ``adversarial:linf:8/255?budget=standard``, ``transfer:l2:0.5``, ``counterfactual:DIR``.

    Raises:
        EquipoiseError: for an unknown probe, threat or option.
    """
    parsed = parse_spec(spec)
    if parsed.kind == Standard.name:
        if parsed.target:
            raise EquipoiseError(
                f"The probe 'standard' takes no target, but {spec!r} gives it {parsed.target!r}."
            )
        parsed.only()
        return Standard()
    if parsed.kind == Adversarial.name:
        options = parsed.only("steps", "budget")
        threat = _threat(spec, parsed)
        probe = Adversarial(threat)
        if "steps" in options:
            steps = parse_whole_number(options["steps"], f"the option steps of {spec!r}")
            probe = replace(probe, steps=steps)
        if "budget" in options:
            budgets = {budget: budget for budget in get_args(Budget)}
            if options["budget"] not in budgets:
                raise EquipoiseError(
                    f"The option budget of {spec!r} is none. {did_you_mean(options['budget'], budgets)}"
                )
            probe = replace(probe, budget=budgets[options["budget"]])
        return probe
    if parsed.kind == Transfer.name:
        parsed.only()
        return Transfer(_threat(spec, parsed))
    if parsed.kind == Counterfactual.name:
        parsed.only()
        if not parsed.target:
            raise EquipoiseError(
                f"The probe {spec!r} needs a set: write counterfactual:DIR with the folder that equipoise "
                "counterfactuals wrote."
            )
        return Counterfactual(parsed.target)
    raise EquipoiseError(
        f"Unknown probe {parsed.kind!r} in {spec!r}. "
        + did_you_mean(
            parsed.kind, [p.name for p in (Standard, Adversarial, Transfer, Counterfactual)]
        )
    )


def _threat(spec: str, parsed: Spec) -> Threat:
    """The threat that the spec of a probe ends with."""
    if not parsed.target:
        raise EquipoiseError(
            f"The probe {spec!r} needs a threat: write {parsed.kind}:linf:8/255 or {parsed.kind}:l2:0.5."
        )
    return parse_threat(parsed.target)
