"""One network while it is looked at: what several artifacts need of it is computed once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Circuit, CosetAlgorithm
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments import INTERVENTIONS, Outcome, measure, relabelled_group
from coset_circuits.experiments.measure import sampled
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks import GroupModel, load
from coset_circuits.networks.checkpoints import weights_sha256
from coset_circuits.training import training_checkpoints


class Study:
    """A network under study, in float64.

    Attributes:
        network: a copy without anybody's hooks.
        training: the checkpoints over training, by step; none where the run kept none.
        seed: of noise, relabelling, samples.
        folder: where the network was read from.
    """

    def __init__(self, network: GroupModel, seed: int = 0, *, folder: Path | None = None) -> None:
        self.network = _measured(network)
        self.training = {} if folder is None else checkpoints_in(folder)
        self.folder = folder
        self.seed = seed

    def beside(self, name: str) -> Path | None:
        """A file beside the network's own; None where there is none."""
        path = None if self.folder is None else self.folder / name
        return path if path is not None and path.is_file() else None

    @cached_property
    def circuit(self) -> Circuit:
        """The coset hypothesis, fitted.

        Raises:
            DoesNotApplyError: the group has no proper non-trivial subgroup.
        """
        return CosetAlgorithm().fit(self.network)

    @cached_property
    def other_group(self) -> FiniteGroup | None:
        """The group under random names; None where every renaming keeps its structure."""
        return relabelled_group(self.network.group, self.seed)

    @cached_property
    def relabelled(self) -> Circuit | None:
        """The control: the same fit after the elements were renamed at random."""
        if self.other_group is None:
            return None
        return CosetAlgorithm().fit(self.network, self.other_group)

    @cached_property
    def pairs(self) -> Int[Tensor, "pairs 2"]:
        """All pairs, or a sample where the group has more than 60,000."""
        return sampled(self.network.group.pairs(), None, self.seed)

    @cached_property
    def base(self) -> Outcome:
        """What the network answers."""
        outcome = measure(INTERVENTIONS["base"], {"network": self.network}, self.pairs)["network"]
        assert outcome is not None
        return outcome

    @property
    def steps(self) -> int | None:
        """How long it was trained, as far as its card says."""
        return self.network.provenance.get("steps")

    def over_training(self) -> Iterator[tuple[int, GroupModel]]:
        """The checkpoints over training, then the network itself, each with its step."""
        last = self.steps
        for step, path in self.training.items():
            if last is None or step < last:
                yield step, _measured(load(path))
        yield -1 if last is None else last, self.network

    def about(self) -> dict[str, Any]:
        """What the page says of the network; kept like a finding."""
        network, group = self.network, self.network.group
        return {
            "name": network.label,
            "group": group.name,
            "order": group.order,
            **network.facts(),
            "accuracy": self.base.accuracy,
            "loss": self.base.loss,
            "pairs": len(self.pairs),
            "sha256": weights_sha256(network),
            "source": network.provenance.get("source"),
            "recipe": network.provenance.get("recipe"),
            "steps": self.steps,
            "seed": network.seed,
        }


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """A run's checkpoints over training; none where it kept none."""
    try:
        return training_checkpoints(folder)
    except CosetCircuitsError:
        return {}


def _measured(network: GroupModel) -> GroupModel:
    return network.unhooked().requires_grad_(False).double()
