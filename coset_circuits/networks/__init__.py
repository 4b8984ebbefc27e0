"""The network under study and where it comes from. Knows groups."""

from coset_circuits.networks.checkpoints import load, save, shipped
from coset_circuits.networks.hidden import HiddenMoments, hidden_moments
from coset_circuits.networks.losses import cross_entropy
from coset_circuits.networks.mlp import SITES, GroupMLP, GroupMLPConfig, SilentSiteError
from coset_circuits.networks.planted import planted_coset, planted_gcr
from coset_circuits.networks.training import (
    RECIPES,
    Outcome,
    Progress,
    Recipe,
    TrainingFailed,
    split,
    train,
    train_many,
    training_checkpoints,
)
from coset_circuits.networks.training_pairs import training_pairs

__all__ = [
    "RECIPES",
    "SITES",
    "GroupMLP",
    "GroupMLPConfig",
    "HiddenMoments",
    "Outcome",
    "Progress",
    "Recipe",
    "SilentSiteError",
    "TrainingFailed",
    "cross_entropy",
    "hidden_moments",
    "load",
    "planted_coset",
    "planted_gcr",
    "save",
    "shipped",
    "split",
    "train",
    "train_many",
    "training_checkpoints",
    "training_pairs",
]
