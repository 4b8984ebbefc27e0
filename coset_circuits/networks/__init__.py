"""The networks under study: build, load, save and hook them. Builds on ``groups``."""

from coset_circuits.networks.adapter import from_module
from coset_circuits.networks.checkpoints import load, save, shipped
from coset_circuits.networks.hidden import HiddenMoments, hidden_moments
from coset_circuits.networks.losses import cross_entropy
from coset_circuits.networks.mlp import GroupMLP, GroupMLPConfig
from coset_circuits.networks.model import (
    NEURON_SITES,
    SITES,
    Activation,
    GroupModel,
    SilentSiteError,
    Site,
)
from coset_circuits.networks.planted import planted_coset, planted_gcr
from coset_circuits.networks.transformer import GroupTransformer, GroupTransformerConfig

__all__ = [
    "NEURON_SITES",
    "SITES",
    "Activation",
    "GroupMLP",
    "GroupMLPConfig",
    "GroupModel",
    "GroupTransformer",
    "GroupTransformerConfig",
    "HiddenMoments",
    "SilentSiteError",
    "Site",
    "cross_entropy",
    "from_module",
    "hidden_moments",
    "load",
    "planted_coset",
    "planted_gcr",
    "save",
    "shipped",
]
