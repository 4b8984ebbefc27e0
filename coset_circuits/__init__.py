"""What algorithm did this network learn? Hypotheses as hookable circuits, tested side by side."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coset_circuits.algorithms import (
        ALGORITHMS,
        Algorithm,
        Circuit,
        CosetAlgorithm,
        DoesNotApplyError,
        DullNull,
        IrrepAlgorithm,
        RawWeights,
    )
    from coset_circuits.errors import CosetCircuitsError
    from coset_circuits.evidence import (
        INTERVENTIONS,
        Comparison,
        Ensemble,
        Intervention,
        ablation,
        activation_patching,
        attribution_patching,
        compare,
        gcr_evidence,
        interchange,
        measure,
        neuron_groups,
        path_patching,
        scrub,
        substitution,
    )
    from coset_circuits.groups import FiniteGroup, group
    from coset_circuits.networks import (
        GroupMLP,
        load,
        shipped,
        train,
        train_many,
        training_checkpoints,
    )
    from coset_circuits.reproduction import Reproduction, reproduce
    from coset_circuits.thresholds import Thresholds

__version__ = "0.1.0"

__all__ = [
    "ALGORITHMS",
    "INTERVENTIONS",
    "Algorithm",
    "Circuit",
    "Comparison",
    "CosetAlgorithm",
    "CosetCircuitsError",
    "DoesNotApplyError",
    "DullNull",
    "Ensemble",
    "FiniteGroup",
    "GroupMLP",
    "Intervention",
    "IrrepAlgorithm",
    "RawWeights",
    "Reproduction",
    "Thresholds",
    "ablation",
    "activation_patching",
    "attribution_patching",
    "compare",
    "gcr_evidence",
    "group",
    "interchange",
    "load",
    "measure",
    "neuron_groups",
    "path_patching",
    "reproduce",
    "save",
    "scrub",
    "shipped",
    "substitution",
    "train",
    "train_many",
    "training_checkpoints",
]


def save(network: GroupMLP, path: str | os.PathLike[str]) -> Path:
    """Write a network; see :func:`coset_circuits.networks.save`."""
    # A function of this module, not a lazy name: nnsight gives every object, modules included, a
    # method ``save`` that Python finds before it asks ``__getattr__``.
    from coset_circuits.networks import save as write

    return write(network, path)


# Imported on first use: torch and TransformerLens take seconds, the command's help must not.
_HOMES = (
    "algorithms",
    "errors",
    "evidence",
    "groups",
    "networks",
    "thresholds",
    "reproduction",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"coset_circuits.{home}")
            if hasattr(module, name):
                value = getattr(module, name)
                globals()[name] = value
                return value
    raise AttributeError(f"module 'coset_circuits' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
