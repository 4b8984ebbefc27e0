"""The hypotheses and nulls that the library knows. A new one is one more entry here."""

from __future__ import annotations

from collections.abc import Callable

from coset_circuits.algorithms.algorithm import Algorithm
from coset_circuits.algorithms.coset import CosetAlgorithm
from coset_circuits.algorithms.families import (
    CosetIrrepAlgorithm,
    MixedAlgorithm,
    RhoSetAlgorithm,
)
from coset_circuits.algorithms.irrep import IrrepAlgorithm
from coset_circuits.algorithms.null import DullNull, LowRank, RawWeights
from coset_circuits.thresholds import Thresholds


def _forms(kind: Callable[..., Algorithm]) -> tuple[Algorithm, ...]:
    """Every hypothesis about tables is offered the same claims."""
    return kind(), kind(even=True), kind(even=True, joint=True)


ALGORITHMS: dict[str, tuple[Algorithm, ...]] = {
    "coset": _forms(CosetAlgorithm),
    "irrep": _forms(IrrepAlgorithm),
    "rho-set": _forms(RhoSetAlgorithm),
    "coset-irrep": _forms(CosetIrrepAlgorithm),
    "mixed": _forms(MixedAlgorithm),
    "bilinear": (IrrepAlgorithm("bilinear"),),
}
"""Every hypothesis by its key: the forms that a comparison chooses from, the plain one first.

Defaults, the choices of the command and the answers of the benchmark are derived from this."""


def nulls(thresholds: Thresholds) -> list[Algorithm]:
    """The explanations without group theory; the verdict's rule reads the first."""
    return [
        DullNull(thresholds=thresholds),
        LowRank(thresholds=thresholds),
        RawWeights(thresholds=thresholds),
    ]
