"""What the product explains of the logits that some neurons write: exact, over all pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.evidence.partitions import Partition, canonical
from coset_circuits.networks import GroupMLP


def variance_by_product(
    network: GroupMLP,
    neurons: Sequence[int],
    labels: Int[Tensor, "order"] | None = None,
    *,
    chunk: int = 20_000,
) -> float:
    """Share of the variance of some neurons' logits that a label of the product explains.

    Logits are centred over the outputs. By default the label is the product itself, the most that
    any label can explain. NaN where the neurons write nothing that varies.

    Raises:
        CosetCircuitsError: a neuron that the network does not have, or not one label an element.
    """
    order = network.group.order
    if labels is not None and (labels.shape != (order,) or labels.is_floating_point()):
        raise CosetCircuitsError(
            f"The labels are {labels.dtype} of shape {tuple(labels.shape)}; give one integer for "
            f"each of the {order} elements."
        )
    moments = _Moments.of(network, neurons, chunk)
    return moments.explained(torch.arange(order) if labels is None else labels)


def product_variance(circuit: Circuit, *, seed: int = 0, chunk: int = 20_000) -> pd.DataFrame:
    """For every group of neurons whose cells are on the product: what the cell explains.

    One row a group: its role, its ``neurons``, the largest ``fvu`` of their two tables, how many
    ``cells`` the product has, and the shares of the variance of their logits explained by the
    ``cell``, by the ``product`` itself, and by ``random`` cells of the same sizes (NaN where no
    cell could be another). A cell that explains what the product does holds all that the neurons
    say about it.

    Raises:
        CosetCircuitsError: the circuit names no product classes at ``hook_post``.
    """
    named = [c for c in circuit.classes("hook_post") if c.product is not None]
    if not named:
        raise CosetCircuitsError(
            f"{circuit.name} does not say that hook_post depends on the product, so there are no "
            "groups to look at."
        )
    partition = Partition.of(circuit, "hook_post", named[0], shared=False, keep=False)
    wrong = partition.random(seed)
    cells = partition.labels["product"]
    random = cells if wrong is None else wrong.labels["product"]
    moved = (canonical(cells) != canonical(random)).any(0)
    worst = torch.maximum(circuit.roles.fvu_left, circuit.roles.fvu_right)
    rows = []
    for number in (partition.weight > 0).nonzero()[:, 0].tolist():
        neurons = (partition.column == number).nonzero()[:, 0].tolist()
        moments = _Moments.of(circuit.network, neurons, chunk)
        by_chance = moments.explained(random[:, number]) if moved[number] else math.nan
        rows.append(
            {
                "role": circuit.roles.names[neurons[0]],
                "neurons": neurons,
                "fvu": float(worst[neurons].max()),
                "cells": len(cells[:, number].unique()),
                "cell": moments.explained(cells[:, number]),
                "product": moments.explained(torch.arange(len(cells))),
                "random": by_chance,
            }
        )
    columns = ["role", "neurons", "fvu", "cells", "cell", "product", "random"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class _Moments:
    """Means by product of some neurons' activations, and the metric of the logits they write."""

    means: Float[Tensor, "order members"]
    total: float
    metric: Float[Tensor, "members members"]

    @classmethod
    def of(cls, network: GroupMLP, neurons: Sequence[int], chunk: int) -> _Moments:
        group, members = network.group, list(neurons)
        if not members or not all(0 <= j < network.cfg.d_mlp for j in members):
            raise CosetCircuitsError(
                f"The neurons are {members}; give some of 0 to {network.cfg.d_mlp - 1}."
            )
        left, right, write = (
            table.detach().double().cpu()[:, members]
            for table in (network.left_table, network.right_table, network.W_U.T)
        )
        write = write - write.mean(0)
        metric = write.T @ write
        sums = torch.zeros(group.order, len(members), dtype=torch.float64)
        energy = 0.0
        for pairs in group.pairs().split(chunk):
            post = network.activation.function(left[pairs[:, 0]] + right[pairs[:, 1]])
            sums.index_add_(0, group.products(pairs), post)
            energy += float(((post @ metric) * post).sum())
        means = sums / group.order
        centre, mean_energy = means.mean(0), energy / group.order**2
        total = mean_energy - float(centre @ metric @ centre)
        # A difference: what rounding leaves of activations that do not vary is no variance.
        return cls(means, total if total > 1e-12 * mean_energy else 0.0, metric)

    def explained(self, labels: Int[Tensor, "order"]) -> float:
        """The share of the variance that lies between the cells."""
        cells = torch.unique(labels, return_inverse=True)[1]
        count = int(cells.max()) + 1
        sizes = torch.bincount(cells, minlength=count).double()
        width = self.means.shape[1]
        by_cell = torch.zeros(count, width, dtype=torch.float64).index_add_(0, cells, self.means)
        by_cell = by_cell / sizes[:, None] - self.means.mean(0)
        between = float((((by_cell @ self.metric) * by_cell).sum(1) * sizes).sum() / len(labels))
        return between / self.total if self.total > 0 else math.nan
