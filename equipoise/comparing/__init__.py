"""Comparing runs: what differs on the same images under the same protocol, and whether it holds what was asked."""

from equipoise.comparing.comparison import Comparison, compare
from equipoise.comparing.thresholds import Threshold, Verdict

__all__ = ["compare", "Comparison", "Threshold", "Verdict"]
