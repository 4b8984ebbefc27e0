"""Training networks: recipes, the step, runs that can be broken off, and many seeds at once."""

from coset_circuits.training.many import Outcome, train_many
from coset_circuits.training.recipes import RECIPES, Recipe, recipe_for
from coset_circuits.training.run import Progress, TrainingFailed, split
from coset_circuits.training.run_folder import training_checkpoints
from coset_circuits.training.train import train
from coset_circuits.training.training_pairs import training_pairs

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
    "training_pairs",
]
