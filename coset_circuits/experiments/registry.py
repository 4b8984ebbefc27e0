"""The experiments that the library knows. A new one is one more line here."""

from __future__ import annotations

from coset_circuits.experiments.claims import Claims
from coset_circuits.experiments.experiment import Experiment
from coset_circuits.experiments.formation import FormationExperiment
from coset_circuits.experiments.patching import (
    ActivationPatching,
    AttributionPatching,
    PathPatching,
)
from coset_circuits.experiments.predictions import Interventions

EXPERIMENTS: dict[str, Experiment] = {
    experiment.id: experiment
    for experiment in (
        Interventions(),
        Claims(),
        FormationExperiment(),
        ActivationPatching(metrics=("logit_difference",), controls=3),
        AttributionPatching(controls=3),
        PathPatching(metrics=("logit_difference",), controls=3),
    )
}
"""Every experiment by its id. Those that are ``by_default`` run in every comparison."""
