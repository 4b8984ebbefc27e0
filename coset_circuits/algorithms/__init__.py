"""What a network might be computing. Knows groups and networks."""

from coset_circuits.algorithms.algorithm import (
    NEGLIGIBLE,
    UNEXPLAINED,
    Algorithm,
    Circuit,
    Classes,
    DescriptionLength,
    DoesNotApplyError,
    Roles,
    Tables,
    fitted_frame,
    negligible,
    residuals,
)
from coset_circuits.algorithms.coset import CosetAlgorithm, concentration, coset_fvu
from coset_circuits.algorithms.irrep import IrrepAlgorithm, logit_similarity
from coset_circuits.algorithms.null import DullNull, RawWeights
from coset_circuits.algorithms.table_circuit import CLAIMS, TABLE_CLAIMS, TableCircuit

ALGORITHMS: dict[str, type[CosetAlgorithm] | type[IrrepAlgorithm]] = {
    "coset": CosetAlgorithm,
    "irrep": IrrepAlgorithm,
}
"""The hypotheses that can be named on the command line. A new one is one more line here."""

__all__ = [
    "ALGORITHMS",
    "CLAIMS",
    "NEGLIGIBLE",
    "TABLE_CLAIMS",
    "UNEXPLAINED",
    "Algorithm",
    "Circuit",
    "Classes",
    "CosetAlgorithm",
    "DescriptionLength",
    "DoesNotApplyError",
    "DullNull",
    "IrrepAlgorithm",
    "RawWeights",
    "Roles",
    "TableCircuit",
    "Tables",
    "concentration",
    "coset_fvu",
    "fitted_frame",
    "logit_similarity",
    "negligible",
    "residuals",
]
