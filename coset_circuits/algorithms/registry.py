"""The library's hypotheses and null models. To add one, add an entry here."""

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
    """The forms of a hypothesis about tables: each one with the same optional claims."""
    return kind(), kind(even=True), kind(even=True, joint=True)


ALGORITHMS: dict[str, tuple[Algorithm, ...]] = {
    "coset": _forms(CosetAlgorithm),
    "irrep": _forms(IrrepAlgorithm),
    "rho-set": _forms(RhoSetAlgorithm),
    "coset-irrep": _forms(CosetIrrepAlgorithm),
    "mixed": _forms(MixedAlgorithm),
    "bilinear": (IrrepAlgorithm("bilinear"),),
}
"""The forms of every hypothesis, by its key; a comparison chooses among them, the plain one first.

Defaults, the command line's choices and the benchmark's answers are derived from this."""


def nulls(thresholds: Thresholds) -> list[Algorithm]:
    """The null models; the verdict uses the first."""
    return [
        DullNull(thresholds=thresholds),
        LowRank(thresholds=thresholds),
        RawWeights(thresholds=thresholds),
    ]
