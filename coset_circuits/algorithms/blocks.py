"""Kernels of irreps and variance shares on irreps, for the hypotheses about irreps."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms.algorithm import Tables
from coset_circuits.groups import RealBlock


def kernel_cosets(blocks: list[RealBlock]) -> Int[Tensor, "order"]:
    """Each element's coset of the common kernel of these irreps, on which all are constant."""
    at_identity = [block.character - block.dimension > -1e-8 for block in blocks]
    kernel = torch.stack(at_identity).all(0).nonzero()[:, 0]
    return torch.unique(blocks[0].group.table[:, kernel].min(1).values, return_inverse=True)[1]


def block_shares(tables: Tables, blocks: list[RealBlock]) -> Float[Tensor, "3 blocks d_mlp"]:
    """The share of each neuron's variance in each table that is on each non-trivial irrep."""
    shares = []
    for table in tables:
        total = (table - table.mean(0)).square().sum(0).clamp_min(1e-300)
        shares.append(torch.stack([(b.basis.T @ table).square().sum(0) / total for b in blocks]))
    return torch.stack(shares)
