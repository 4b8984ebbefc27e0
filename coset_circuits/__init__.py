"""What algorithm did this network learn? Hypotheses as hookable circuits, tested side by side."""

from coset_circuits.algorithms import (
    ALGORITHMS,
    Algorithm,
    Circuit,
    CosetAlgorithm,
    DoesNotApplyError,
    DullNull,
    IrrepAlgorithm,
    RawWeights,
)
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.evidence import INTERVENTIONS, Comparison, Intervention, compare, measure
from coset_circuits.groups import FiniteGroup, group
from coset_circuits.networks import GroupMLP, load, save, shipped, train
from coset_circuits.thresholds import Thresholds

__version__ = "0.1.0"

__all__ = [
    "ALGORITHMS",
    "INTERVENTIONS",
    "Algorithm",
    "Circuit",
    "Comparison",
    "CosetAlgorithm",
    "CosetCircuitsError",
    "DoesNotApplyError",
    "DullNull",
    "FiniteGroup",
    "GroupMLP",
    "Intervention",
    "IrrepAlgorithm",
    "RawWeights",
    "Thresholds",
    "compare",
    "group",
    "load",
    "measure",
    "save",
    "shipped",
    "train",
]
