"""Train networks: recipes, the training step, resumable runs, and many seeds at once."""

from coset_circuits.training.many import TrainedSeed, train_many
from coset_circuits.training.recipes import RECIPES, Recipe, recipe_for
from coset_circuits.training.run_folder import training_checkpoints
from coset_circuits.training.state import TrainingFailed, TrainingState, split, training_pairs
from coset_circuits.training.train import train

__all__ = [
    "RECIPES",
    "Recipe",
    "TrainedSeed",
    "TrainingFailed",
    "TrainingState",
    "recipe_for",
    "split",
    "train",
    "train_many",
    "training_checkpoints",
    "training_pairs",
]
