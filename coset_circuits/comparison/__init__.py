"""Which algorithm explains a network, or many."""

from coset_circuits.comparison.compare import Comparison, compare
from coset_circuits.comparison.many import Ensemble
from coset_circuits.comparison.verdict import PredictionError, Verdict

__all__ = ["Comparison", "Ensemble", "PredictionError", "Verdict", "compare"]
