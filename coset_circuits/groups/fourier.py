"""Fourier analysis on a group in its real blocks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import RealBlock


def fourier_basis(group: FiniteGroup) -> Float[Tensor, "order order"]:
    """The orthogonal matrix of all real blocks' bases, side by side in the blocks' order."""
    return torch.cat([block.basis for block in group.real_blocks], dim=1)


def transform(
    group: FiniteGroup, functions: Float[Tensor, "order ..."]
) -> Float[Tensor, "order ..."]:
    """The coefficients of functions on the group, one row a column of the Fourier basis."""
    _check_rows(len(functions), group.order, group.name)
    return torch.tensordot(_like(fourier_basis(group), functions).T, functions, dims=1)


def inverse(
    group: FiniteGroup, coefficients: Float[Tensor, "order ..."]
) -> Float[Tensor, "order ..."]:
    """The functions that have these Fourier coefficients."""
    _check_rows(len(coefficients), group.order, group.name)
    return torch.tensordot(_like(fourier_basis(group), coefficients), coefficients, dims=1)


def power(group: FiniteGroup, functions: Float[Tensor, "order d"]) -> Float[Tensor, "blocks d"]:
    """Each column's energy in each real block; the energies add up to ‖column‖²."""
    energies = transform(group, functions).square()
    sizes = [block.parameters for block in group.real_blocks]
    return torch.stack([part.sum(dim=0) for part in energies.split(sizes)])


def project(block: RealBlock, functions: Float[Tensor, "order ..."]) -> Float[Tensor, "order ..."]:
    """The part of functions on the group that lies in one real block."""
    _check_rows(len(functions), len(block.basis), f"block {block.name}'s group")
    basis = _like(block.basis, functions)
    return torch.tensordot(basis, torch.tensordot(basis.T, functions, dims=1), dims=1)


def _like(basis: Tensor, functions: Tensor) -> Tensor:
    return basis.to(device=functions.device, dtype=functions.dtype)


def _check_rows(rows: int, order: int, name: str) -> None:
    if rows != order:
        raise CosetCircuitsError(
            f"The functions have {rows} rows but {name} has {order} elements; "
            "give one row an element."
        )
