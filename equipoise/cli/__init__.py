"""The command line: verbs only. Each parses its arguments and calls one function; nothing heavy is imported before."""

from equipoise.cli import audit, classifiers, compare, counterfactuals, study, theory, training
from equipoise.cli.app import app
from equipoise.cli.entry import main

__all__ = [
    "app",
    "main",
    "audit",
    "training",
    "classifiers",
    "compare",
    "counterfactuals",
    "study",
    "theory",
]
