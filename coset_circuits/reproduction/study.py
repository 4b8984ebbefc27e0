"""One network while it is studied: what several artifacts need is computed once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Circuit, CosetAlgorithm
from coset_circuits.experiments import INTERVENTIONS, Outcome, measure, measured, relabelled_group
from coset_circuits.experiments.measure import sampled
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks import GroupModel, load
from coset_circuits.networks.checkpoints import weights_sha256
from coset_circuits.training.run_folder import checkpoints_in


class Study:
    """A network under study, in float64.

    Attributes:
        network: a copy without the caller's hooks.
        folder: where the network was read from.
        training: the paths of its checkpoints over training, by step; empty if there are none.
        seed: random seed for noise, relabelling and sampling.
    """

    def __init__(self, network: GroupModel, seed: int = 0, *, folder: Path | None = None) -> None:
        self.network = measured(network)
        self.folder = folder
        self.training = {} if folder is None else checkpoints_in(folder)
        self.seed = seed

    @cached_property
    def circuit(self) -> Circuit:
        """The fitted coset circuit.

        Raises:
            DoesNotApplyError: the group has no proper non-trivial subgroup.
        """
        return CosetAlgorithm().fit(self.network)

    @cached_property
    def relabelled_group(self) -> FiniteGroup | None:
        """The group with its elements renamed at random; None if every renaming is harmless."""
        return relabelled_group(self.network.group, self.seed)

    @cached_property
    def relabelled(self) -> Circuit | None:
        """The control: a coset circuit fitted under the relabelled group."""
        if self.relabelled_group is None:
            return None
        return CosetAlgorithm().fit(self.network, self.relabelled_group)

    @cached_property
    def pairs(self) -> Int[Tensor, "pairs 2"]:
        """All pairs, or a sample if the group has more than 60,000."""
        return sampled(self.network.group.pairs(), None, self.seed)

    @cached_property
    def base(self) -> Outcome:
        """What the network answers on the pairs."""
        return answers(self.network, self.pairs)

    @property
    def steps(self) -> int | None:
        """How many steps it was trained for; None if its card does not say."""
        return self.network.provenance.get("steps")

    def over_training(self) -> Iterator[tuple[int, GroupModel]]:
        """The checkpoints over training, then the network itself, each with its step.

        The network's own step is −1 if it is not recorded.
        """
        last = self.steps
        for step, path in self.training.items():
            if last is None or step < last:
                yield step, measured(load(path))
        yield -1 if last is None else last, self.network

    def about(self) -> dict[str, Any]:
        """What the page says about the network; kept like a finding."""
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


def answers(network: GroupModel, pairs: Int[Tensor, "pairs 2"]) -> Outcome:
    """What a network answers on pairs, without an intervention."""
    outcome = measure(INTERVENTIONS["base"], {"network": network}, pairs)["network"]
    assert outcome is not None
    return outcome
