"""The network under study and where it comes from. Knows groups."""

from coset_circuits.networks.checkpoints import load, save, shipped
from coset_circuits.networks.hidden import HiddenMoments, hidden_moments
from coset_circuits.networks.losses import cross_entropy
from coset_circuits.networks.mlp import SITES, GroupMLP, GroupMLPConfig, SilentSiteError
from coset_circuits.networks.planted import planted_coset, planted_gcr

__all__ = [
    "SITES",
    "GroupMLP",
    "GroupMLPConfig",
    "HiddenMoments",
    "SilentSiteError",
    "cross_entropy",
    "hidden_moments",
    "load",
    "planted_coset",
    "planted_gcr",
    "save",
    "shipped",
]
