"""All workloads by name, and what they have in common: contenders, effort, figures with their bounds.

A *race* (``races.py``) is a rate that rivals are measured for in turn. A *trial* (``trials.py``) is a
promise that one contender keeps or breaks.
"""

from benchmarks.figures import Effort, Figure, Outcome
from benchmarks.races import RACES
from benchmarks.trials import TRIALS

WORKLOADS = RACES | TRIALS
QUICK = ("stream", "fanout", "spawn", "eventlog", "history", "filters")
"""What is fast to measure, by ratios only."""

__all__ = ["QUICK", "WORKLOADS", "Effort", "Figure", "Outcome"]
