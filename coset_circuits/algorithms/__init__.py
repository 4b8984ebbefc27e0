"""What a network might be computing. Knows groups and networks."""

from coset_circuits.algorithms.algorithm import (
    Algorithm,
    Circuit,
    Classes,
    DescriptionLength,
    DoesNotApplyError,
    Roles,
)
from coset_circuits.algorithms.coset import CosetAlgorithm, concentration, coset_fvu
from coset_circuits.algorithms.irrep import IrrepAlgorithm, logit_similarity
from coset_circuits.algorithms.null import DullNull, RawWeights

ALGORITHMS: dict[str, type[CosetAlgorithm] | type[IrrepAlgorithm]] = {
    "coset": CosetAlgorithm,
    "irrep": IrrepAlgorithm,
}
"""The hypotheses that can be named on the command line. A new one is one more line here."""

__all__ = [
    "ALGORITHMS",
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
    "concentration",
    "coset_fvu",
    "logit_similarity",
]
