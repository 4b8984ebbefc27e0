"""Tables of low rank, by truncated singular value decomposition."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def residual_bits(left_over: Tensor, order: int, relative_error: float) -> Tensor:
    """The bits that code what is left of the columns of a table to the relative error."""
    return order / 2 * torch.log2(1 + left_over / relative_error**2).sum()


def truncated(
    table: Float[Tensor, "order columns"], relative_error: float
) -> tuple[Float[Tensor, "order columns"], Float[Tensor, "order rank"], float]:
    """The truncation with the shortest description, an orthonormal basis of its functions of mean
    zero, and its number of free numbers: r(order + columns − r) and the means."""
    mean = table.mean(0)
    deviation = table.std(0, correction=0).clamp_min(1e-300)
    left, values, right = torch.linalg.svd((table - mean) / deviation, full_matrices=False)
    order, columns = table.shape
    energies = (values[:, None] * right).square().cumsum(0) / order
    nothing = torch.zeros(1, columns, dtype=table.dtype)
    left_over = (1 - torch.cat([nothing, energies])).clamp_min(0)
    ranks = torch.arange(len(left_over), dtype=table.dtype)
    numbers = ranks * (order + columns - ranks) + columns
    bits = numbers * math.log2(1 / relative_error) + torch.stack(
        [residual_bits(row, order, relative_error) for row in left_over]
    )
    rank = int(bits.argmin())
    fit = (left[:, :rank] * values[:rank]) @ right[:rank]
    return fit * deviation + mean, left[:, :rank], float(numbers[rank])
