"""Fourier analysis on a group, in the basis of its real blocks.

Let B be the orthogonal matrix of all blocks' bases. The Fourier coefficients of a function f are
Bᵀf, and ‖Bᵀf‖ = ‖f‖. Functions are real (float32 or float64), on any device, with one row for each
element. Transform the real and the imaginary part of a complex function separately.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import RealBlock

# The largest basis, in bytes, that a group caches for each precision and device. A larger basis is
# built in pieces of this size each time it is needed.
LARGEST_KEPT = 2**28


def fourier_basis(
    group: FiniteGroup, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "order order"]:
    """The orthogonal matrix of all real blocks' bases, side by side in the blocks' order.

    The group caches it (up to ``LARGEST_KEPT`` bytes), so do not change it in place.
    """
    device = torch.empty(0, device=device).device  # "cuda" and "cuda:0" are one device
    kept = vars(group).setdefault("_fourier_bases", {})
    if (dtype, device) in kept:
        return kept[dtype, device]
    basis = _side_by_side(group.real_blocks, group.order, dtype, device)
    if basis.nbytes <= LARGEST_KEPT:
        kept[dtype, device] = basis
    return basis


def transform(
    group: FiniteGroup, functions: Float[Tensor, "order ..."]
) -> Float[Tensor, "order ..."]:
    """The Fourier coefficients of functions on the group, one row for each basis function.

    Raises:
        CosetCircuitsError: the functions do not have one row for each element, or are neither
            float32 nor float64.
    """
    _check(functions, group.order, group.name)
    return torch.cat(
        [torch.tensordot(basis.T, functions, dims=1) for _, basis in _pieces(group, functions)]
    )


def inverse(
    group: FiniteGroup, coefficients: Float[Tensor, "order ..."]
) -> Float[Tensor, "order ..."]:
    """The functions with given Fourier coefficients; the inverse of :func:`transform`.

    Raises:
        CosetCircuitsError: the coefficients do not have one row for each element, or are neither
            float32 nor float64.
    """
    _check(coefficients, group.order, group.name)
    functions, start = torch.zeros_like(coefficients), 0
    for _, basis in _pieces(group, coefficients):
        part = coefficients[start : start + basis.shape[1]]
        functions = functions + torch.tensordot(basis, part, dims=1)
        start += basis.shape[1]
    return functions


def power(group: FiniteGroup, functions: Float[Tensor, "order ..."]) -> Float[Tensor, "blocks ..."]:
    """Each function's energy in each real block; the energies add up to ‖function‖².

    Raises:
        CosetCircuitsError: the functions do not have one row for each element, or are neither
            float32 nor float64.
    """
    energies = transform(group, functions).square()
    return torch.stack([part.sum(dim=0) for part in energies.split(_sizes(group.real_blocks))])


def project(
    block: RealBlock | Iterable[RealBlock], functions: Float[Tensor, "order ..."]
) -> Float[Tensor, "order ..."]:
    """Project functions on the group onto one real block, or onto the sum of several.

    Raises:
        CosetCircuitsError: a block is not a real block, or belongs to a group of another order;
            or the functions are neither float32 nor float64.
    """
    blocks = dict.fromkeys(block) if isinstance(block, Iterable) else [block]
    projected = torch.zeros_like(functions)
    for one in blocks:
        if not isinstance(one, RealBlock):
            raise CosetCircuitsError(f"{one!r} is not a real block; give one of group.real_blocks.")
        _check(functions, len(one.basis), f"block {one.name}'s group")
        basis = _block_basis(one, functions)
        coefficients = torch.tensordot(basis.T, functions, dims=1)
        projected = projected + torch.tensordot(basis, coefficients, dims=1)
    return projected


def decompose(
    group: FiniteGroup, functions: Float[Tensor, "order ..."]
) -> Float[Tensor, "blocks order ..."]:
    """Project functions onto each real block; the projections add up to the functions.

    The result takes as much memory as one copy of the functions for each block.

    Raises:
        CosetCircuitsError: the functions do not have one row for each element, or are neither
            float32 nor float64.
    """
    _check(functions, group.order, group.name)
    parts = []
    for blocks, basis in _pieces(group, functions):
        sizes = _sizes(blocks)
        coefficients = torch.tensordot(basis.T, functions, dims=1)
        pairs = zip(basis.split(sizes, dim=1), coefficients.split(sizes), strict=True)
        parts += [torch.tensordot(columns, part, dims=1) for columns, part in pairs]
    return torch.stack(parts)


def _pieces(
    group: FiniteGroup, like: Tensor
) -> Iterator[tuple[Sequence[RealBlock], Float[Tensor, "order columns"]]]:
    """The whole basis if it is cached, otherwise a few consecutive blocks at a time."""
    widest = LARGEST_KEPT // (group.order * like.itemsize)
    if group.order <= widest:
        yield group.real_blocks, fourier_basis(group, like.dtype, like.device)
        return
    run: list[RealBlock] = []
    for block in group.real_blocks:
        if run and sum(_sizes(run)) + block.parameters > widest:
            yield run, _side_by_side(run, group.order, like.dtype, like.device)
            run = []
        run.append(block)
    yield run, _side_by_side(run, group.order, like.dtype, like.device)


def _sizes(blocks: Sequence[RealBlock]) -> list[int]:
    return [block.parameters for block in blocks]


def _side_by_side(
    blocks: Sequence[RealBlock], order: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "order columns"]:
    # A tensor made in inference mode could not be used in a backward pass later.
    with torch.inference_mode(False):
        basis = torch.empty(order, sum(_sizes(blocks)), dtype=dtype, device=device)
        for block, columns in zip(blocks, basis.split(_sizes(blocks), dim=1), strict=True):
            columns.copy_(block.basis)
        return basis


def _block_basis(block: RealBlock, like: Tensor) -> Float[Tensor, "order parameters"]:
    kept = vars(block).setdefault("_bases", {})
    key = like.dtype, like.device
    if key not in kept:
        with torch.inference_mode(False):
            basis = block.basis.to(dtype=like.dtype, device=like.device)
            kept[key] = basis.clone() if basis.is_inference() else basis
    return kept[key]


def check_rows(functions: Tensor, order: int, name: str) -> None:
    """Raise an error unless functions have one row for each element."""
    if functions.ndim == 0 or len(functions) != order:
        rows = len(functions) if functions.ndim else "no"
        raise CosetCircuitsError(
            f"The functions have {rows} rows but {name} has {order} elements; "
            "give one row for each element."
        )


def _check(functions: Tensor, order: int, name: str) -> None:
    check_rows(functions, order, name)
    if functions.is_complex():
        raise CosetCircuitsError(
            f"The functions hold {functions.dtype}, but real blocks take real functions; "
            "give functions.real and functions.imag one after the other."
        )
    if functions.dtype not in (torch.float32, torch.float64):
        raise CosetCircuitsError(
            f"The functions hold {functions.dtype}; give float32 or float64, such as "
            "functions.double()."
        )
