"""Explanations without any group theory, to read the others against."""

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
    negligible,
    residuals,
)
from coset_circuits.algorithms.table_circuit import TableCircuit
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import DEFAULT, Thresholds


@dataclass(frozen=True)
class DullNull:
    """Every neuron's tables and unembedding rounded to a few k-means levels each.

    It knows no group, predicts nearly everything, and is long: which element has which level must
    be said one by one. A relabelled group changes nothing for it.
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
class RawWeights:
    """The network itself, every table entry a free level: no error, no explanation."""

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
    levels: int,
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
    """Each column rounded to its own levels: Lloyd's algorithm from equally spaced quantiles."""
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
    """Each column's values numbered by size: the cells of its levels."""
    return torch.stack([torch.unique(c, return_inverse=True)[1] for c in rounded.T], 1)


def _nearest(table: Tensor, centres: Tensor) -> Tensor:
    return (table[None] - centres[:, None]).abs().argmin(0)
