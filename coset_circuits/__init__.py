"""Which algorithm did this network learn? Test hypotheses as hookable circuits, side by side."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coset_circuits.presentation import draw_with

if TYPE_CHECKING:
    from coset_circuits.algorithms import (
        ALGORITHMS,
        Algorithm,
        Circuit,
        CosetAlgorithm,
        CosetIrrepAlgorithm,
        DoesNotApplyError,
        DullNull,
        IrrepAlgorithm,
        LowRank,
        MixedAlgorithm,
        RawWeights,
        RhoSetAlgorithm,
        certify,
    )
    from coset_circuits.comparison import (
        Comparison,
        Ensemble,
        compare,
        load_comparison,
    )
    from coset_circuits.errors import CosetCircuitsError
    from coset_circuits.experiments import (
        EXPERIMENTS,
        INTERVENTIONS,
        Intervention,
        ablation,
        activation_patching,
        attribution_patching,
        clock_pizza,
        gcr_evidence,
        interchange,
        measure,
        neuron_sets,
        path_patching,
        routing,
        scrub,
        substitution,
    )
    from coset_circuits.groups import (
        FiniteGroup,
        group,
    )
    from coset_circuits.networks import (
        GroupMLP,
        GroupTransformer,
        from_module,
        load,
        shipped,
    )
    from coset_circuits.networks.model import GroupModel
    from coset_circuits.reproduction import (
        Reproduction,
        reproduce,
    )
    from coset_circuits.thresholds import Thresholds
    from coset_circuits.training import (
        train,
        train_many,
        training_checkpoints,
    )

__version__ = "0.1.0"

_NAMES = {
    "algorithms": (
        "ALGORITHMS Algorithm Circuit CosetAlgorithm CosetIrrepAlgorithm DoesNotApplyError "
        "DullNull IrrepAlgorithm LowRank MixedAlgorithm RawWeights RhoSetAlgorithm "
        "certify"
    ),
    "comparison": "Comparison Ensemble compare load_comparison",
    "errors": "CosetCircuitsError",
    "experiments": (
        "EXPERIMENTS INTERVENTIONS Intervention ablation activation_patching attribution_patching "
        "clock_pizza gcr_evidence interchange measure neuron_sets path_patching routing scrub "
        "substitution"
    ),
    "groups": "FiniteGroup group",
    "networks": "GroupMLP GroupTransformer from_module load shipped",
    "reproduction": "Reproduction reproduce",
    "thresholds": "Thresholds",
    "training": "train train_many training_checkpoints",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}
"""The module of every public name, imported on first use: torch and TransformerLens take seconds,
the command's help must not."""

__all__ = [
    "ALGORITHMS",
    "EXPERIMENTS",
    "INTERVENTIONS",
    "Algorithm",
    "Circuit",
    "Comparison",
    "CosetAlgorithm",
    "CosetCircuitsError",
    "CosetIrrepAlgorithm",
    "DoesNotApplyError",
    "DullNull",
    "Ensemble",
    "FiniteGroup",
    "GroupMLP",
    "GroupTransformer",
    "Intervention",
    "IrrepAlgorithm",
    "LowRank",
    "MixedAlgorithm",
    "RawWeights",
    "Reproduction",
    "RhoSetAlgorithm",
    "Thresholds",
    "ablation",
    "activation_patching",
    "attribution_patching",
    "certify",
    "clock_pizza",
    "compare",
    "from_module",
    "gcr_evidence",
    "group",
    "interchange",
    "load",
    "load_comparison",
    "measure",
    "neuron_sets",
    "path_patching",
    "reproduce",
    "routing",
    "save",
    "scrub",
    "shipped",
    "substitution",
    "train",
    "train_many",
    "training_checkpoints",
]


draw_with("coset_circuits.report")


def save(network: GroupModel, path: str | os.PathLike[str]) -> Path:
    """Write a network; see :func:`coset_circuits.networks.save`."""
    # A function of this module, not a lazy name: nnsight gives every object, modules included, a
    # method ``save`` that Python finds before it asks ``__getattr__``.
    from coset_circuits.networks import save as write

    return write(network, path)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'coset_circuits' has no attribute {name!r}")
    value = getattr(import_module(f"coset_circuits.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
