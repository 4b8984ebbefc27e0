"""How much of some neurons' logits the product explains: exact, over all pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.partitions import Partition, canonical
from coset_circuits.findings import Finding, Findings, from_table
from coset_circuits.networks.hidden import HiddenMoments, hidden_moments
from coset_circuits.networks.model import GroupModel


def variance_by_product(
    network: GroupModel,
    neurons: Sequence[int],
    labels: Int[Tensor, "order"] | None = None,
    *,
    chunk: int = 20_000,
) -> float:
    """Share of the variance of some neurons' logits that a label of the product explains.

    Logits are centred over the outputs. By default the label is the product itself, which explains
    the most that any label can. NaN if the neurons' logits do not vary.

    Raises:
        CosetCircuitsError: the network lacks a neuron, or there is not one label per element.
    """
    order = network.group.order
    if labels is not None and (labels.shape != (order,) or labels.is_floating_point()):
        raise CosetCircuitsError(
            f"The labels are {labels.dtype} of shape {tuple(labels.shape)}; give one integer for "
            f"each of the {order} elements."
        )
    write = _written(network, neurons)
    (moments,) = hidden_moments(network, [network.group], chunk=chunk)
    (share,) = _explained(moments, write, [torch.arange(order) if labels is None else labels])
    return share


@dataclass(frozen=True, repr=False)
class ProductVariance(Findings):
    """How much the cells of the product explain of the logits of each neuron set with a donor.

    Cells that explain as much as the product hold all that the neurons say about it.

    Attributes:
        rows: one row per neuron set: its role, its ``neurons``, the largest ``fvu`` of their two
            tables, the number of ``cells`` of the product, and the shares of the variance of their
            logits that the ``cell``, the ``product`` itself, and ``random`` cells of the same sizes
            explain (NaN if no cell would change).
    """

    circuit: str
    rows: pd.DataFrame

    @property
    def title(self) -> str:
        return f"how much the product explains of the neuron sets of {self.circuit}"

    def to_dataframe(self) -> pd.DataFrame:
        return self.rows

    def findings(self) -> Iterator[Finding]:
        yield from from_table(
            self.rows.assign(neuron_set=range(len(self.rows))),
            "product_variance",
            at=["role", "neuron_set"],
            units={"cell": "fraction", "product": "fraction"},
            control={"cell": "random"},
            source="exact, over all pairs; control: random cells of equal sizes",
        )


@dataclass(frozen=True)
class ProductVarianceExperiment(OfEachHypothesis):
    """How much the product explains of neuron sets' logits; see :class:`ProductVariance`.

    Attributes:
        chunk: about how many pairs are run at a time; it only changes memory use.
    """

    chunk: int = 20_000
    id = "product_variance"

    def of(self, circuit: Circuit, bench: Bench) -> ProductVariance:
        """Measure the neuron sets of one circuit.

        Raises:
            CosetCircuitsError: the circuit names no product classes at ``hook_post``.
        """
        bench.progress("moments", 0, 1)
        named = [c for c in circuit.classes("hook_post") if c.product is not None]
        if not named:
            raise CosetCircuitsError(
                f"{circuit.name} does not say that hook_post depends on the product, so there are "
                "no neuron sets to look at."
            )
        partition = Partition.of(circuit, "hook_post", named[0], shared=False, keep=False)
        wrong = partition.random(bench.seed) or partition
        cells, random = (one.labels["product"] for one in (partition, wrong))
        is_moved = (canonical(cells) != canonical(random)).any(0)
        worst = torch.maximum(circuit.roles.fvu_left, circuit.roles.fvu_right)
        network, rows = circuit.network, []
        (moments,) = hidden_moments(network, [network.group], chunk=self.chunk)
        for number in (partition.weight > 0).nonzero()[:, 0].tolist():
            neurons = (partition.column == number).nonzero()[:, 0].tolist()
            labels = [cells[:, number], torch.arange(len(cells)), random[:, number]]
            cell, product, chance = _explained(moments, _written(network, neurons), labels)
            role, fvu = circuit.roles.names[neurons[0]], float(worst[neurons].max())
            chance = chance if is_moved[number] else math.nan
            rows.append((role, neurons, fvu, len(labels[0].unique()), cell, product, chance))
        columns = ["role", "neurons", "fvu", "cells", "cell", "product", "random"]
        return ProductVariance(circuit.name, pd.DataFrame(rows, columns=columns))


def product_variance(circuit: Circuit, *, seed: int = 0, chunk: int = 20_000) -> pd.DataFrame:
    """The rows of :class:`ProductVariance`; ``seed`` is of the random cells.

    Raises:
        CosetCircuitsError: the circuit names no product classes at ``hook_post``.
    """
    return ProductVarianceExperiment(chunk).of(circuit, Bench.around(circuit, seed=seed)).rows


def _written(network: GroupModel, neurons: Sequence[int]) -> Float[Tensor, "d_mlp order"]:
    """The contribution of some neurons to the centred logits."""
    members = list(neurons)
    if not members or not all(0 <= j < network.d_mlp for j in members):
        raise CosetCircuitsError(
            f"The neurons are {members}; give some of 0 to {network.d_mlp - 1}."
        )
    weights = network.W_U.detach().double().cpu()
    write = torch.zeros_like(weights)
    write[members] = weights[members] - weights[members].mean(1, keepdim=True)
    return write


def _explained(
    moments: HiddenMoments,
    write: Float[Tensor, "d_mlp order"],
    several: Sequence[Int[Tensor, "order"]],
) -> list[float]:
    """The share of the written logits' variance between the cells of products, for each labels."""
    total = moments.variance(write)
    logits = (moments.by_product - moments.mean) @ write
    shares = []
    for labels in several:
        cells = torch.unique(labels, return_inverse=True)[1]
        sizes = torch.bincount(cells).double()
        sums = logits.new_zeros(len(sizes), logits.shape[1]).index_add_(0, cells, logits)
        between = float((sums.square().sum(1) / sizes).sum()) / len(labels)
        shares.append(between / total if total > 0 else math.nan)
    return shares
