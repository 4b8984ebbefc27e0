"""A training run as data: its network, recipe, progress and measurements."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups.names import is_named
from coset_circuits.networks.element_orders import candidates
from coset_circuits.networks.model import GroupModel
from coset_circuits.training.architectures import ARCHITECTURES
from coset_circuits.training.recipes import RECIPES, Recipe, recipe_for


class TrainingFailed(CosetCircuitsError):
    """A run diverged: its loss is NaN, infinite, or far above chance."""


@dataclass(frozen=True)
class TrainingState:
    """A run's measurements at one step: losses in nats, accuracies as fractions."""

    step: int
    train_loss: float
    train_accuracy: float
    loss: float
    """The mean loss over all pairs."""
    test_accuracy: float
    seconds: float
    pairs: int
    """The number of pairs measured: all, or a sample if the group is large."""
    last_step: int
    """The step at which training ends: the latest possible one, until the network is good
    enough."""

    @property
    def state(self) -> str:
        """The phase of training in one word: starting, memorised, grokking or grokked."""
        if self.test_accuracy == 1.0 and self.train_accuracy == 1.0:
            return "grokked"
        if self.train_accuracy < 0.99:
            return "starting"
        return "grokking" if self.test_accuracy > 0.1 else "memorised"

    @property
    def rate(self) -> float:
        """Steps a second."""
        return self.step / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Estimated seconds to the last step, at the rate so far."""
        return (self.last_step - self.step) / max(self.rate, 1e-9)


@dataclass
class Run:
    """One network in training.

    Attributes:
        end: the step at which training ends; set once the network is good enough.
        good: the step at which the network became good enough; the clean-up begins there.
    """

    network: GroupModel
    recipe: Recipe
    seed: int
    step: int = 0
    good: int | None = None
    end: int | None = None
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, group: FiniteGroup, recipe: Recipe, seed: int, device: str = "cpu") -> Run:
        """Start a run with an untrained network, which the seed determines."""
        architecture = ARCHITECTURES[recipe.architecture]
        sizes = {name: getattr(recipe, name) for name in architecture.sizes}
        network = architecture.initialised(group, **sizes, act_fn=recipe.act_fn, seed=seed)
        network.label = run_name(group, recipe, seed)
        try:
            network.to(device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise CosetCircuitsError(
                f"The device {device!r} cannot be used ({reason.rstrip('.')}); give cpu, or cuda "
                "if torch finds a GPU."
            ) from error
        return cls(network, recipe, seed)

    @property
    def last_step(self) -> int:
        limit = self.recipe.max_steps
        return limit if self.end is None else min(self.end, limit)

    @property
    def finished(self) -> bool:
        return self.step >= self.last_step

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        first, final = self.recipe.learning_rate, self.recipe.final_learning_rate
        if final is None or self.good is None or self.end is None or self.end == self.good:
            return first
        return first * (final / first) ** ((self.step - self.good) / (self.end - self.good))

    def note(self, progress: TrainingState) -> TrainingState:
        """Once the network is good enough, set the step (a measured one) at which training ends."""
        if self.end is None and meets(progress, self.recipe):
            every = self.recipe.every
            clean_up = 0 if self.recipe.stop_when_memorised else self.recipe.clean_up
            self.good = self.step
            self.end = -(-round(self.step * (1 + clean_up)) // every) * every
        progress = replace(progress, last_step=self.last_step)
        self.curve.append(asdict(progress))
        return progress

    def card(self) -> dict[str, Any]:
        """The provenance of the network for its file."""
        group, recipe = self.network.group, self.recipe
        return {
            "source": f"trained by coset_circuits, recipe {recipe.name}, seed {self.seed}, "
            f"{self.step} steps",
            **_command(recipe, self.seed, group),
            "recipe": asdict(recipe),
            "seed": self.seed,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
            "curve": self.curve[:: max(1, len(self.curve) // 60)] + self.curve[-1:],
        }


def run_name(group: FiniteGroup, recipe: Recipe, seed: int) -> str:
    """The run's label and folder name, such as ``S5-seed7`` or ``S5-transformer-seed7``."""
    kind = "" if recipe.architecture == "mlp" else f"-{recipe.architecture}"
    return f"{group.name}{kind}-seed{seed}"


def split(
    group: FiniteGroup, fraction: float, seed: int
) -> tuple[Int[Tensor, "train 2"], Int[Tensor, "test 2"]]:
    """Training and test pairs, drawn from another random stream than the initialisation."""
    pairs = group.pairs()
    # torch keeps the low 32 bits of a seed, so the offset must be among them.
    generator = torch.Generator().manual_seed(2**31 + seed)
    order = torch.randperm(len(pairs), generator=generator)
    count = max(1, round(fraction * len(pairs)))
    return pairs[order[:count]], pairs[order[count:]]


def training_pairs(network: GroupModel) -> Int[Tensor, "train 2"] | None:
    """The pairs that a network was trained on; None if its provenance does not say.

    The library's networks record their recipe and seed. Chughtai et al.'s record seed and fraction
    in ``cfg.json``: the training pairs are the first ones after ``torch.randperm`` shuffles all
    pairs in their element order.
    """
    known = network.provenance
    # Their networks have a recipe too, but are split in another way.
    if "shuffle" in known:
        return _shuffled(network, **known["shuffle"])
    if "fraction" in known.get("recipe", {}) and network.seed is not None:
        return split(network.group, known["recipe"]["fraction"], network.seed)[0]
    return None


def _shuffled(
    network: GroupModel, order: str | list[int], fraction: float, seed: int
) -> Int[Tensor, "train 2"]:
    group = network.group
    if isinstance(order, str):
        elements = next(known.elements for known in candidates(group) if known.name == order)
    else:
        elements = np.array(order)
    theirs = group.pairs()
    # With seed 0 their code does not shuffle.
    if seed:
        theirs = theirs[torch.randperm(len(theirs), generator=torch.Generator().manual_seed(seed))]
    return torch.from_numpy(elements)[theirs[: int(fraction * len(theirs))]]


def meets(progress: TrainingState, recipe: Recipe) -> bool:
    """Whether a run meets its recipe's bound on loss and accuracy."""
    if recipe.stop_when_memorised:
        return progress.train_accuracy == 1 and progress.train_loss < recipe.loss_bound
    return progress.state == "grokked" and progress.loss < recipe.loss_bound


def _command(recipe: Recipe, seed: int, group: FiniteGroup) -> dict[str, str]:
    """The command that reproduces the network; empty if the group has no name to type."""
    if not is_named(group):
        return {}
    base = recipe.name if recipe.name in RECIPES else "fast"
    plain = asdict(recipe_for(group, base, {"architecture": recipe.architecture}))
    words = ["coset-circuits", "train", group.name, "--seeds", str(seed), "--recipe", base]
    if recipe.architecture != "mlp":
        words += ["--architecture", recipe.architecture]
    for name, value in asdict(recipe).items():
        if name not in ("name", "about") and value != plain[name]:
            text = value if isinstance(value, str) else json.dumps(value)
            words += ["--set", f"{name}={text}"]
    threads = torch.get_num_threads()
    return {"command": shlex.join([*words, *(["--threads", str(threads)] if threads > 1 else [])])}
