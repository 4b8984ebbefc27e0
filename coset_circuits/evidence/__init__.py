"""How we find out. Knows circuits only through the contract."""

from coset_circuits.evidence.ablation import (
    Ablation,
    ablation,
    ablation_by_threshold,
    completeness,
    minimality,
)
from coset_circuits.evidence.candidates import Candidate, Row
from coset_circuits.evidence.compare import Comparison, compare
from coset_circuits.evidence.controls import commuting_fraction, relabelled_group
from coset_circuits.evidence.ensemble import Ensemble
from coset_circuits.evidence.gcr import gcr_evidence
from coset_circuits.evidence.gcr_result import GCREvidence
from coset_circuits.evidence.interchange import Interchange, interchange
from coset_circuits.evidence.interventions import (
    INTERVENTIONS,
    Intervention,
    intervention,
    standard_normal,
)
from coset_circuits.evidence.measure import Outcome, measure
from coset_circuits.evidence.neurons import NeuronGroups, neuron_groups
from coset_circuits.evidence.partitions import cells
from coset_circuits.evidence.patching import (
    Patching,
    activation_patching,
    attribution_patching,
    path_patching,
)
from coset_circuits.evidence.product_variance import product_variance, variance_by_product
from coset_circuits.evidence.resampling import donors, mean_over, only, replace, resample, shuffle
from coset_circuits.evidence.scrub_result import ScrubResult
from coset_circuits.evidence.scrubbing import scrub
from coset_circuits.evidence.substitution import Substitution, substitution
from coset_circuits.evidence.verdict import PredictionError, Verdict

__all__ = [
    "INTERVENTIONS",
    "Ablation",
    "Candidate",
    "Comparison",
    "Ensemble",
    "GCREvidence",
    "Interchange",
    "Intervention",
    "NeuronGroups",
    "Outcome",
    "Patching",
    "PredictionError",
    "Row",
    "ScrubResult",
    "Substitution",
    "Verdict",
    "ablation",
    "ablation_by_threshold",
    "activation_patching",
    "attribution_patching",
    "cells",
    "commuting_fraction",
    "compare",
    "completeness",
    "donors",
    "gcr_evidence",
    "interchange",
    "intervention",
    "mean_over",
    "measure",
    "minimality",
    "neuron_groups",
    "only",
    "path_patching",
    "product_variance",
    "relabelled_group",
    "replace",
    "resample",
    "scrub",
    "shuffle",
    "standard_normal",
    "substitution",
    "variance_by_product",
]
