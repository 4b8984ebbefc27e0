"""Training networks: recipes, the step, runs that can be broken off, and many seeds at once."""

from coset_circuits.networks.training.many import Outcome, train_many
from coset_circuits.networks.training.recipes import RECIPES, Recipe, recipe_for
from coset_circuits.networks.training.run import Progress, TrainingFailed, split
from coset_circuits.networks.training.run_folder import training_checkpoints
from coset_circuits.networks.training.train import train

__all__ = [
    "RECIPES",
    "Outcome",
    "Progress",
    "Recipe",
    "TrainingFailed",
    "recipe_for",
    "split",
    "train",
    "train_many",
    "training_checkpoints",
]
