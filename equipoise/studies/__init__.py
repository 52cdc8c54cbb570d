"""Studies: whole questions, answered by a ladder, probes and a page. Each file reads beside what it reproduces."""

from equipoise.studies.benchmark_claims import without_standard
from equipoise.studies.benchmarks import HEADS, audit_benchmarks, spurious_models
from equipoise.studies.counterfactual import Settings, counterfactual
from equipoise.studies.embedded import embedded
from equipoise.studies.odds import OddsSettings, odds
from equipoise.studies.spurious import SpuriousSettings, spurious

__all__ = [
    "embedded",
    "counterfactual",
    "Settings",
    "odds",
    "OddsSettings",
    "spurious",
    "SpuriousSettings",
    "spurious_models",
    "audit_benchmarks",
    "HEADS",
    "without_standard",
]
