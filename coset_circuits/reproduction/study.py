"""One network while it is studied: what several artifacts need is computed once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Circuit, CosetAlgorithm
from coset_circuits.experiments import INTERVENTIONS, Bench, Outcome, measure, measured
from coset_circuits.networks import GroupModel, load
from coset_circuits.networks.checkpoints import weights_sha256
from coset_circuits.training.run_folder import checkpoints_in


class Study:
    """A network under study, in float64.

    Attributes:
        bench: what experiments work on.
        network: a copy without the caller's hooks.
        folder: where the network was read from.
        training: the paths of its checkpoints over training, by step; empty if there are none.
        seed: random seed for noise, relabelling and sampling.
    """

    def __init__(self, network: GroupModel, seed: int = 0, *, folder: Path | None = None) -> None:
        self.bench = Bench.around(network, seed=seed)
        self.network = self.bench.network
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
    def relabelled(self) -> Circuit | None:
        """The control: a coset circuit fitted under the relabelled group."""
        control = self.bench.relabelled(self.circuit)
        return None if isinstance(control, str) else control

    @cached_property
    def base(self) -> Outcome:
        """What the network answers on all pairs, or on a sample if there are over 60,000."""
        return answers(self.network, self.bench.sample)

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
            "pairs": len(self.bench.sample),
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
