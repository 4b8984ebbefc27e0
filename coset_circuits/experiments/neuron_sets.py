"""Sets of neurons with a common role under a hypothesis, and random sets of equal size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED, check_circuit
from coset_circuits.errors import CosetCircuitsError, checked
from coset_circuits.networks.model import GroupModel

ALL = "all"
"""The name of the set of all neurons, a row of every table."""

DULL = {UNEXPLAINED: 1, NEGLIGIBLE: 2}
"""The roles of neurons that a hypothesis does not claim, and their order at the end of a table."""


@dataclass(frozen=True)
class NeuronSets:
    """Named sets of neurons.

    Attributes:
        members: the neurons of each set.
        negligible: which neurons hardly affect the logits. Random sets of equal size have the same
            number of them, so that the comparison is fair.
    """

    members: Mapping[str, Int[Tensor, "_"]]
    negligible: Bool[Tensor, "d_mlp"]

    @property
    def width(self) -> int:
        return len(self.negligible)

    def everything(self) -> Int[Tensor, "d_mlp"]:
        return torch.arange(self.width)

    def signature(self, neurons: Int[Tensor, "k"]) -> tuple[int, int]:
        """How many of the given neurons matter and how many are negligible."""
        dull = int(self.negligible[neurons].sum())
        return len(neurons) - dull, dull

    def random(self, neurons: Int[Tensor, "k"], seed: int, draw: int) -> Int[Tensor, "k"]:
        """Random neurons: the given numbers of neurons that matter and of negligible ones.

        Sets with the same numbers share their draws, so that a sweep needs few of them.
        """
        counts = self.signature(neurons)
        # Any integer is a seed elsewhere; NumPy wants them non-negative.
        rng = np.random.default_rng([seed % 2**63, draw, *counts])
        kinds = (~self.negligible, self.negligible)
        drawn = [
            rng.permutation(kind.nonzero()[:, 0].numpy())[:count]
            for kind, count in zip(kinds, counts, strict=True)
        ]
        return torch.from_numpy(np.sort(np.concatenate(drawn)))

    def __iter__(self) -> Iterator[tuple[str, Int[Tensor, "_"]]]:
        return iter(self.members.items())

    def __len__(self) -> int:
        return len(self.members)


Neurons = NeuronSets | Circuit | Mapping[str, Sequence[int]] | None
"""Input of a sweep: sets, a circuit (its roles), names with neurons, or None (each neuron)."""


@checked
def neuron_sets(circuit: Circuit, by: str | Sequence[str] = "role") -> NeuronSets:
    """Group a circuit's neurons by role or another label.

    Args:
        circuit: any fitted hypothesis.
        by: one or more columns of ``circuit.roles.to_dataframe()``: ``"role"`` is the subgroup
            class, the irrep, or whatever the hypothesis finds; ``"neuron"`` keeps each separate. Or
            a site such as ``"hook_post"``: neurons that share a donor there form a set. In a coset
            circuit these have the same subgroup and shared coset.

    Neurons without a role stay in the sets ``unexplained`` and ``negligible``, whatever a column
    says about them (except when each neuron is separate).

    Raises:
        CosetCircuitsError: there is no such column, it holds measurements instead of labels, or no
            neurons share a donor at the site.
    """
    check_circuit(circuit)
    columns = [by] if isinstance(by, str) else list(by)
    names = circuit.roles.names
    if isinstance(by, str) and by in circuit.network.sites:
        labels = _shared_labels(circuit, by)
    else:
        labels = _column_labels(circuit, columns)
    members: dict[str, list[int]] = {}
    for j, (role, label) in enumerate(zip(names, labels, strict=True)):
        is_dull = role in DULL and columns != ["neuron"]
        members.setdefault(role if is_dull else label, []).append(j)
    if columns != ["neuron"]:
        order = sorted(members, key=lambda name: (DULL.get(name, 0), -len(members[name]), name))
        members = {name: members[name] for name in order}
    return NeuronSets(
        {name: torch.tensor(neurons) for name, neurons in members.items()},
        torch.tensor([role == NEGLIGIBLE for role in names]),
    )


def _column_labels(circuit: Circuit, columns: list[str]) -> list[str]:
    frame = circuit.roles.to_dataframe()
    usable = [str(c) for c in frame if not pd.api.types.is_float_dtype(frame[c])]
    for column in columns:
        if column not in frame:
            raise CosetCircuitsError(
                f"{circuit.name} has no column {column!r} in its roles; group neurons by one of "
                f"{', '.join(usable)}, or by a site."
            )
        if column not in usable:
            raise CosetCircuitsError(
                f"The column {column} of {circuit.name} holds measurements, not labels; group "
                f"neurons by one of {', '.join(usable)}, or cut it at thresholds with "
                "ablation_by_threshold."
            )
    return [" · ".join(map(str, row)) for row in frame[columns].itertuples(index=False)]


def _shared_labels(circuit: Circuit, site: str) -> list[str]:
    """Neurons that share a donor at a site, numbered within their role, the largest set first."""
    names = circuit.roles.names
    sets = [shared for classes in circuit.classes(site) for shared in classes.groups or ()]
    if not sets:
        raise CosetCircuitsError(
            f"{circuit.name} has no neurons that share a donor at {site}; group them by a column "
            "of circuit.roles.to_dataframe() instead."
        )
    labels, numbers = list(names), Counter[str]()
    for shared in sorted(sets, key=lambda shared: (-len(shared), shared)):
        role = names[shared[0]]
        numbers[role] += 1
        for j in shared:
            labels[j] = f"{role} #{numbers[role]}"
    return labels


def as_neuron_sets(model: GroupModel, neurons: Neurons) -> NeuronSets:
    """Convert the input of a sweep to sets of this model's neurons.

    Raises:
        CosetCircuitsError: a set is empty, names a neuron twice, or one that the model lacks.
    """
    width = model.d_mlp
    if isinstance(neurons, Circuit):
        neurons = neuron_sets(neurons)
    if isinstance(neurons, NeuronSets):
        if neurons.width != width:
            raise CosetCircuitsError(
                f"The sets are of {neurons.width} neurons, {model.label} has {width}; take them "
                "from a circuit fitted to this network."
            )
        return neurons
    no_negligible = torch.zeros(width, dtype=torch.bool)
    if neurons is None:
        return NeuronSets({str(j): torch.tensor([j]) for j in range(width)}, no_negligible)
    if not isinstance(neurons, Mapping):
        raise CosetCircuitsError(
            f"The neurons are a {type(neurons).__name__}; give a circuit, neuron_sets(circuit, …), "
            "a dictionary of names with lists of neurons, or None for each neuron by itself."
        )
    if ALL in neurons:
        raise CosetCircuitsError(
            f"A neuron set is called {ALL!r}, which every table has for all neurons; rename it."
        )
    members = {str(name): _checked(str(name), chosen, width) for name, chosen in neurons.items()}
    return NeuronSets(members, no_negligible)


def _checked(name: str, chosen: Sequence[int], width: int) -> Int[Tensor, "_"]:
    neurons = torch.as_tensor(chosen)
    wrong = None
    if neurons.numel() == 0:
        wrong = "holds no neurons; leave it out"
    elif neurons.ndim != 1 or neurons.is_floating_point() or neurons.dtype == torch.bool:
        wrong = f"is not a list of neurons; give integers from 0 to {width - 1}"
    elif int(neurons.min()) < 0 or int(neurons.max()) >= width:
        wrong = (
            f"holds neurons from {int(neurons.min())} to {int(neurons.max())}; "
            f"give neurons from 0 to {width - 1}"
        )
    elif len(neurons.unique()) < len(neurons):
        wrong = "names a neuron twice; give each once"
    if wrong:
        raise CosetCircuitsError(f"The neuron set {name!r} {wrong}.")
    return neurons.long().sort().values
