"""Groups of neurons by what a hypothesis says they do, and random ones of equal size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks import SITES
from coset_circuits.networks.model import GroupModel

ALL = "all"
"""The name of the group of all neurons, a row of every table."""


DULL = {UNEXPLAINED: 1, NEGLIGIBLE: 2}
"""The roles of neurons that a hypothesis does not claim, and their order at the end of a table."""


@dataclass(frozen=True)
class NeuronSets:
    """Named sets of neurons.

    Attributes:
        by: what they were grouped by, for tables.
        members: the neurons of each group.
        negligible: which neurons hardly touch the logits. A random group of equal size has as many
            of them, or it would do more (or less) for no better reason than that.
    """

    by: str
    members: Mapping[str, Int[Tensor, "_"]]
    negligible: Bool[Tensor, "d_mlp"]

    @property
    def width(self) -> int:
        return len(self.negligible)

    def everything(self) -> Int[Tensor, "d_mlp"]:
        return torch.arange(self.width)

    def signature(self, neurons: Int[Tensor, "k"]) -> tuple[int, int]:
        """How many of some neurons matter and how many are negligible."""
        dull = int(self.negligible[neurons].sum())
        return len(neurons) - dull, dull

    def random(self, neurons: Int[Tensor, "k"], seed: int, draw: int) -> Int[Tensor, "k"]:
        """As many neurons that matter and as many negligible ones, drawn from all of each kind.

        The same for every group of those numbers, so that a sweep needs few of them.
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
"""What a sweep takes: groups, a circuit (its roles), names with neurons, or None (each neuron)."""


def neuron_sets(circuit: Circuit, by: str | Sequence[str] = "role") -> NeuronSets:
    """A circuit's neurons by what it says of them.

    Args:
        circuit: any fitted hypothesis.
        by: one or more columns of ``circuit.roles.to_dataframe()``: ``"role"`` is the subgroup
            class, the irrep, or whatever the hypothesis finds; ``"neuron"`` each by itself. Or a
            site such as ``"hook_post"``: neurons that share a donor there share a group, which in
            a coset circuit are those of one subgroup and one shared coset.

    Neurons without a role stay in the two dull groups ``unexplained`` and ``negligible``, whatever
    a column notes about them (except when each is by itself).

    Raises:
        CosetCircuitsError: no such column, or one of measurements, whose values label nothing, or
            a site at which no neurons share a donor.
    """
    columns = [by] if isinstance(by, str) else list(by)
    labels = _shared_labels(circuit, by) if by in SITES else _column_labels(circuit, columns)
    names = circuit.roles.names
    found: dict[str, list[int]] = {}
    for j, (role, label) in enumerate(zip(names, labels, strict=True)):
        found.setdefault(role if role in DULL and columns != ["neuron"] else label, []).append(j)
    if columns != ["neuron"]:
        found = dict(
            sorted(found.items(), key=lambda item: (DULL.get(item[0], 0), -len(item[1]), item[0]))
        )
    return NeuronSets(
        " · ".join(columns),
        {name: torch.tensor(members) for name, members in found.items()},
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


def _shared_labels(circuit: Circuit, site: str | Sequence[str]) -> list[str]:
    """Neurons that share a donor at a site, numbered within their role, the largest set first."""
    names = circuit.roles.names
    sets = [group for classes in circuit.classes(str(site)) for group in classes.groups or ()]
    if not sets:
        raise CosetCircuitsError(
            f"{circuit.name} has no neurons that share a donor at {site}; group them by a column "
            "of circuit.roles.to_dataframe() instead."
        )
    labels = list(names)
    numbers: dict[str, int] = {}
    for group in sorted(sets, key=lambda group: (-len(group), group)):
        role = names[group[0]]
        numbers[role] = numbers.get(role, 0) + 1
        for j in group:
            labels[j] = f"{role} #{numbers[role]}"
    return labels


def as_neuron_sets(model: GroupModel, groups: Neurons) -> NeuronSets:
    """What a sweep was given, as groups of this model's neurons.

    Raises:
        CosetCircuitsError: neurons that the model does not have, none, or one twice.
    """
    width = model.left_table.shape[1]
    if isinstance(groups, Circuit):
        groups = neuron_sets(groups)
    if not isinstance(groups, NeuronSets):
        groups = _named(groups, width)
    if groups.width != width:
        raise CosetCircuitsError(
            f"The groups are of {groups.width} neurons, {model.label} has {width}; take them from "
            "a circuit fitted to this network."
        )
    return groups


def _named(groups: Mapping[str, Sequence[int]] | None, width: int) -> NeuronSets:
    nothing = torch.zeros(width, dtype=torch.bool)
    if groups is None:
        return NeuronSets("neuron", {str(j): torch.tensor([j]) for j in range(width)}, nothing)
    if not isinstance(groups, Mapping):
        raise CosetCircuitsError(
            f"The groups are {type(groups).__name__}; give a circuit, neuron_sets(circuit, …), "
            "a dictionary of names with lists of neurons, or None for each neuron by itself."
        )
    if ALL in groups:
        raise CosetCircuitsError(
            f"A group is called {ALL!r}, which every table has for all neurons; call it otherwise."
        )
    members = {str(name): _checked(str(name), chosen, width) for name, chosen in groups.items()}
    return NeuronSets("group", members, nothing)


def _checked(name: str, chosen: Sequence[int], width: int) -> Int[Tensor, "_"]:
    neurons = torch.as_tensor(chosen)
    if neurons.numel() == 0:
        raise CosetCircuitsError(f"The group {name!r} holds no neurons; leave it out.")
    if neurons.ndim != 1 or neurons.is_floating_point() or neurons.dtype == torch.bool:
        raise CosetCircuitsError(
            f"The group {name!r} is no list of neurons; give integers from 0 to {width - 1}."
        )
    if int(neurons.min()) < 0 or int(neurons.max()) >= width:
        raise CosetCircuitsError(
            f"The group {name!r} holds neurons from {int(neurons.min())} to {int(neurons.max())}; "
            f"give neurons from 0 to {width - 1}."
        )
    if len(neurons.unique()) < len(neurons):
        raise CosetCircuitsError(f"The group {name!r} names a neuron twice; give each once.")
    return neurons.long().sort().values
