"""The command line: verbs only. Each parses its arguments and calls one function; nothing heavy is imported before."""

from equipoise.cli import (
    audit,
    check,
    classifiers,
    compare,
    counterfactuals,
    export,
    packing,
    study,
    theory,
    training,
    verify,
    view,
)
from equipoise.cli.app import app
from equipoise.cli.entry import main

__all__ = [
    "app",
    "main",
    "audit",
    "check",
    "classifiers",
    "compare",
    "counterfactuals",
    "export",
    "packing",
    "study",
    "theory",
    "training",
    "verify",
    "view",
]
