"""Hypotheses about what a network computes. Builds on ``groups`` and ``networks``."""

from coset_circuits.algorithms.algorithm import (
    NEGLIGIBLE,
    SEEN_LOGITS,
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
from coset_circuits.algorithms.bilinear import logit_similarity
from coset_circuits.algorithms.certificate import Certificate, certify
from coset_circuits.algorithms.claims import CLAIM_NOTES
from coset_circuits.algorithms.coset import CosetAlgorithm, concentration, coset_fvu
from coset_circuits.algorithms.families import (
    CosetIrrepAlgorithm,
    MixedAlgorithm,
    RhoSetAlgorithm,
)
from coset_circuits.algorithms.irrep import IrrepAlgorithm
from coset_circuits.algorithms.null import DullNull, LowRank, RawWeights
from coset_circuits.algorithms.registry import ALGORITHMS, nulls
from coset_circuits.algorithms.table_circuit import (
    CLAIMS,
    TABLE_CLAIMS,
    TableCircuit,
    check_additive,
)

__all__ = [
    "ALGORITHMS",
    "CLAIMS",
    "CLAIM_NOTES",
    "NEGLIGIBLE",
    "SEEN_LOGITS",
    "TABLE_CLAIMS",
    "UNEXPLAINED",
    "Algorithm",
    "Certificate",
    "Circuit",
    "Classes",
    "CosetAlgorithm",
    "CosetIrrepAlgorithm",
    "DescriptionLength",
    "DoesNotApplyError",
    "DullNull",
    "IrrepAlgorithm",
    "LowRank",
    "MixedAlgorithm",
    "RawWeights",
    "RhoSetAlgorithm",
    "Roles",
    "TableCircuit",
    "Tables",
    "certify",
    "check_additive",
    "concentration",
    "coset_fvu",
    "fitted_frame",
    "logit_similarity",
    "negligible",
    "nulls",
    "residuals",
]
