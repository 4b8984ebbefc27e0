"""Null models: explanations without any group theory, to compare the others with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms.algorithm import (
    NEGLIGIBLE,
    Algorithm,
    Classes,
    Roles,
    Tables,
    fvu,
    negligible,
    residuals,
)
from coset_circuits.algorithms.low_rank import residual_bits, truncated
from coset_circuits.algorithms.table_circuit import TableCircuit
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import DEFAULT, Thresholds


@dataclass(frozen=True)
class DullNull:
    """A null model: every neuron's tables and unembedding, rounded to a few k-means levels each.

    It uses no group theory and predicts nearly everything. Its description is long, because it
    lists the level of every element. A relabelled group makes no difference to it.
    """

    levels: int = 6
    thresholds: Thresholds = DEFAULT
    name: str = "dull null"

    def fit(self, network: GroupModel, group: FiniteGroup | None = None) -> TableCircuit:
        tables = Tables.of(network)
        order = network.group.order
        count = min(self.levels, order)
        left, right, unembed = (k_means(table, count) for table in tables)
        fitted = Tables(left, right, unembed, tables.frame)
        width = tables.left.shape[1]
        choices = torch.full((width,), 3 * order * math.log2(count), dtype=torch.float64)
        skip = negligible(tables, self.thresholds)
        circuit = _null_circuit(self, network, (tables, fitted), skip, choices, 3 * count)
        lefts, rights = level_labels(left), level_labels(right)
        circuit.site_classes = {
            "hook_left_pre": (Classes("left levels", lefts, None, None),),
            "hook_right_pre": (Classes("right levels", None, rights, None),),
            "hook_pre": (Classes("both levels", lefts, rights, None),),
        }
        return circuit


@dataclass(frozen=True)
class LowRank:
    """A null model: tables of low rank, made of the same few functions for all neurons.

    It uses truncated singular value decomposition. Irreps have low rank, but so do many other
    structures. The three tables share their functions or have separate ones, whichever is shorter.
    The rank is the one with the shortest description at the relative error.
    """

    relative_error: float | None = None
    thresholds: Thresholds = DEFAULT
    name: str = "low rank"

    def fit(self, network: GroupModel, group: FiniteGroup | None = None) -> TableCircuit:
        tables = Tables.of(network)
        skip = negligible(tables, self.thresholds)
        kept = torch.from_numpy(~skip)
        delta = self.relative_error or self.thresholds.coding_error
        columns = [table[:, kept] for table in tables]
        together, _, numbers = truncated(torch.cat(columns, 1), delta)
        shared = _Ranked(list(together.split(int(kept.sum()), 1)), numbers)
        alone = [truncated(part, delta) for part in columns]
        apart = _Ranked([fit for fit, _, _ in alone], sum(number for _, _, number in alone))
        best = min(shared, apart, key=lambda one: one.bits(columns, delta))
        left, right, unembed = (table.clone() for table in tables)
        fitted = Tables(left, right, unembed, tables.frame)
        for table, fit in zip(fitted, best.fits, strict=True):
            table[:, kept] = fit
        width = max(1, int(kept.sum()))
        nothing = torch.zeros(len(skip), dtype=torch.float64)
        return _null_circuit(self, network, (tables, fitted), skip, nothing, best.numbers / width)


@dataclass(frozen=True)
class _Ranked:
    """Three tables of low rank, and the number of free numbers in each."""

    fits: list[Float[Tensor, "order neurons"]]
    numbers: float

    def bits(self, tables: list[Tensor], relative_error: float) -> float:
        left_over = [fvu(table, fit) for table, fit in zip(tables, self.fits, strict=True)]
        return self.numbers * math.log2(1 / relative_error) + sum(
            float(residual_bits(part, len(tables[0]), relative_error)) for part in left_over
        )


@dataclass(frozen=True)
class RawWeights:
    """A null model: the network itself, with every table entry as a free number."""

    thresholds: Thresholds = DEFAULT
    name: str = "raw weights"

    def fit(self, network: GroupModel, group: FiniteGroup | None = None) -> TableCircuit:
        tables = Tables.of(network)
        skip = negligible(tables, self.thresholds)
        nothing = torch.zeros(len(skip), dtype=torch.float64)
        levels = 3 * network.group.order
        return _null_circuit(self, network, (tables, tables), skip, nothing, levels)


def _null_circuit(
    algorithm: Algorithm,
    network: GroupModel,
    tables: tuple[Tables, Tables],
    skip: np.ndarray,
    structure: Float[Tensor, "d_mlp"],
    levels: float,
) -> TableCircuit:
    measured, fitted = tables
    residual = residuals(measured, fitted)
    return TableCircuit(
        name=algorithm.name,
        network=network,
        roles=Roles.of([NEGLIGIBLE if dull else "levels" for dull in skip], residual),
        fitted=fitted,
        residual=residual,
        structure=structure,
        levels=torch.full((len(skip),), float(levels), dtype=torch.float64),
        algorithm=algorithm,
    )


def k_means(
    table: Float[Tensor, "order d_mlp"], levels: int, rounds: int = 100
) -> Float[Tensor, "order d_mlp"]:
    """Round each column to k-means levels, by Lloyd's algorithm from equally spaced quantiles."""
    quantiles = (torch.arange(levels, dtype=table.dtype) + 0.5) / levels
    centres = torch.quantile(table, quantiles, dim=0)
    cells: Int[Tensor, "order d_mlp"] = _nearest(table, centres)
    for _ in range(rounds):
        sums = torch.zeros_like(centres).scatter_add_(0, cells, table)
        sizes = torch.zeros_like(centres).scatter_add_(0, cells, torch.ones_like(table))
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres)
        moved = _nearest(table, centres)
        if torch.equal(moved, cells):
            break
        cells = moved
    return centres.gather(0, cells)


def level_labels(rounded: Float[Tensor, "order d_mlp"]) -> Int[Tensor, "order d_mlp"]:
    """Number the levels of each column by size."""
    return torch.stack([torch.unique(c, return_inverse=True)[1] for c in rounded.T], 1)


def _nearest(table: Tensor, centres: Tensor) -> Tensor:
    return (table[None] - centres[:, None]).abs().argmin(0)
