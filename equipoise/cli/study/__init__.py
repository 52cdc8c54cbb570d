"""Verbs that reproduce a paper, a file each."""

from equipoise.cli.study import counterfactual, odds, spurious

__all__ = ["counterfactual", "odds", "spurious"]
