"""How we find out. Knows circuits only through the contract."""

from coset_circuits.evidence.candidates import Candidate, Row
from coset_circuits.evidence.compare import Comparison, compare
from coset_circuits.evidence.controls import commuting_fraction, relabelled_group
from coset_circuits.evidence.interventions import (
    INTERVENTIONS,
    Intervention,
    intervention,
    standard_normal,
)
from coset_circuits.evidence.measure import Outcome, measure
from coset_circuits.evidence.verdict import PredictionError, Verdict

__all__ = [
    "INTERVENTIONS",
    "Candidate",
    "Comparison",
    "Intervention",
    "Outcome",
    "PredictionError",
    "Row",
    "Verdict",
    "commuting_fraction",
    "compare",
    "intervention",
    "measure",
    "relabelled_group",
    "standard_normal",
]
