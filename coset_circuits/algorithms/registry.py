"""The hypotheses and nulls that the library knows. A new one is one more entry here."""

from __future__ import annotations

from coset_circuits.algorithms.algorithm import Algorithm
from coset_circuits.algorithms.coset import CosetAlgorithm
from coset_circuits.algorithms.irrep import IrrepAlgorithm
from coset_circuits.algorithms.null import DullNull, RawWeights
from coset_circuits.thresholds import Thresholds

ALGORITHMS: dict[str, tuple[Algorithm, ...]] = {
    "coset": (
        CosetAlgorithm(),
        CosetAlgorithm(even=True),
        CosetAlgorithm(even=True, joint=True),
    ),
    "irrep": (
        IrrepAlgorithm(),
        IrrepAlgorithm(even=True),
        IrrepAlgorithm(even=True, joint=True),
    ),
    "bilinear": (IrrepAlgorithm("bilinear"),),
}
"""Every hypothesis by its key: the forms that a comparison chooses from, the plain one first.

Defaults, the choices of the command and the answers of the benchmark are derived from this."""


def default_algorithms() -> list[Algorithm]:
    """Every form of every hypothesis."""
    return [algorithm for forms in ALGORITHMS.values() for algorithm in forms]


def nulls(thresholds: Thresholds) -> list[Algorithm]:
    """The explanations without group theory; the verdict's rule reads the first."""
    return [DullNull(thresholds=thresholds), RawWeights(thresholds=thresholds)]
