"""Experiments on networks and circuits."""

from coset_circuits.experiments.ablation import (
    Ablation,
    ablation,
    ablation_by_threshold,
    completeness,
    minimality,
)
from coset_circuits.experiments.bench import Bench, measured
from coset_circuits.experiments.candidates import NETWORK, Candidate
from coset_circuits.experiments.clock_pizza import ClockPizza, clock_pizza
from coset_circuits.experiments.controls import commuting_fraction, relabelled_group
from coset_circuits.experiments.experiment import Experiment, OfEachHypothesis
from coset_circuits.experiments.gcr import GCREvidence, gcr_evidence
from coset_circuits.experiments.interchange import Interchange, interchange
from coset_circuits.experiments.interventions import (
    INTERVENTIONS,
    Intervention,
    intervention,
    standard_normal,
)
from coset_circuits.experiments.measure import Outcome, measure
from coset_circuits.experiments.neuron_sets import NeuronSets, neuron_sets
from coset_circuits.experiments.partitions import cells
from coset_circuits.experiments.patching import activation_patching, attribution_patching
from coset_circuits.experiments.patching_result import Patching
from coset_circuits.experiments.path_patching import path_patching
from coset_circuits.experiments.predictions import Interventions, Predictions
from coset_circuits.experiments.product_variance import product_variance, variance_by_product
from coset_circuits.experiments.registry import EXPERIMENTS
from coset_circuits.experiments.resampling import (
    donors,
    mean_over,
    only,
    replace,
    resample,
    shuffle,
)
from coset_circuits.experiments.routing import Routing, routing
from coset_circuits.experiments.rows import PredictionError, Row
from coset_circuits.experiments.scrub_result import ScrubResult
from coset_circuits.experiments.scrubbing import scrub
from coset_circuits.experiments.substitution import Substitution, substitution

__all__ = [
    "EXPERIMENTS",
    "INTERVENTIONS",
    "NETWORK",
    "Ablation",
    "Bench",
    "Candidate",
    "ClockPizza",
    "Experiment",
    "GCREvidence",
    "Interchange",
    "Intervention",
    "Interventions",
    "NeuronSets",
    "OfEachHypothesis",
    "Outcome",
    "Patching",
    "PredictionError",
    "Predictions",
    "Routing",
    "Row",
    "ScrubResult",
    "Substitution",
    "ablation",
    "ablation_by_threshold",
    "activation_patching",
    "attribution_patching",
    "cells",
    "clock_pizza",
    "commuting_fraction",
    "completeness",
    "donors",
    "gcr_evidence",
    "interchange",
    "intervention",
    "mean_over",
    "measure",
    "measured",
    "minimality",
    "neuron_sets",
    "only",
    "path_patching",
    "product_variance",
    "relabelled_group",
    "replace",
    "resample",
    "routing",
    "scrub",
    "shuffle",
    "standard_normal",
    "substitution",
    "variance_by_product",
]
