"""Decide which algorithm explains a network, or each of many networks."""

from coset_circuits.comparison.compare import Comparison, compare
from coset_circuits.comparison.many import Ensemble
from coset_circuits.comparison.saved import load_comparison
from coset_circuits.comparison.summary import CircuitSummary, Summary
from coset_circuits.comparison.verdict import Verdict

__all__ = [
    "CircuitSummary",
    "Comparison",
    "Ensemble",
    "Summary",
    "Verdict",
    "compare",
    "load_comparison",
]
