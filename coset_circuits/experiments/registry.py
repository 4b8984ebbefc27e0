"""The registry of experiments. A new one is one more line here."""

from __future__ import annotations

from coset_circuits.experiments.ablation import (
    AblationByThreshold,
    AblationExperiment,
    Completeness,
    Minimality,
)
from coset_circuits.experiments.certificate import CertificateExperiment
from coset_circuits.experiments.claims import Claims
from coset_circuits.experiments.clock_pizza import ClockPizzaExperiment
from coset_circuits.experiments.coset_irreps import CosetIrrepsExperiment
from coset_circuits.experiments.experiment import Experiment
from coset_circuits.experiments.formation import FormationExperiment
from coset_circuits.experiments.gcr import GCRExperiment
from coset_circuits.experiments.interchange import InterchangeExperiment
from coset_circuits.experiments.patching import ActivationPatching, AttributionPatching
from coset_circuits.experiments.path_patching import PathPatching
from coset_circuits.experiments.predictions import Interventions
from coset_circuits.experiments.product_variance import ProductVarianceExperiment
from coset_circuits.experiments.routing import RoutingExperiment
from coset_circuits.experiments.scrubbing import Scrubbing
from coset_circuits.experiments.substitution import SubstitutionExperiment
from coset_circuits.experiments.unexplained import UnexplainedExperiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.id: experiment
    for experiment in (
        Interventions(),
        Claims(),
        FormationExperiment(),
        SubstitutionExperiment(),
        CertificateExperiment(),
        Scrubbing(samples=5),
        ProductVarianceExperiment(),
        ActivationPatching(metrics=("logit_difference",), controls=3),
        AttributionPatching(controls=3),
        PathPatching(metrics=("logit_difference",), controls=3),
        InterchangeExperiment(),
        AblationExperiment(),
        AblationByThreshold(),
        Completeness(),
        Minimality(controls=3),
        GCRExperiment(),
        ClockPizzaExperiment(),
        RoutingExperiment(),
        UnexplainedExperiment(),
        CosetIrrepsExperiment(),
    )
}
"""Every experiment by its id. Those that are ``by_default`` run in every comparison."""
