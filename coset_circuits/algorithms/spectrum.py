"""Functions on a group as coefficient matrices, one for each irrep.

A function f has a coefficient matrix F = Σ_g f(g)ρ(g) for each irrep ρ. It is constant on the right
cosets of H if the columns of F are in V^H, the space that H fixes, and on the left cosets of K if
its rows are in V^K. It is a function aᵀρ(g)b if F has rank one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int

from coset_circuits.groups import FiniteGroup, RealBlock, Subgroup

Coefficients = list[Float[np.ndarray, "neurons _ _"]]
"""For each real block, one matrix per neuron."""
PerNeuron = Float[np.ndarray, "neurons"]

ZERO = 1e-9
"""Singular values below this, for tables of length 1, are rounding errors."""


class Spectrum:
    """The real blocks of a group, and the spaces that its subgroups fix in them."""

    def __init__(self, group: FiniteGroup) -> None:
        self.group = group
        self.blocks: Sequence[RealBlock] = group.real_blocks
        self.ends = [block.dim_end for block in self.blocks]
        # Degrees over each block's division algebra, whose elements are what is counted.
        self.degrees = np.array([block.dimension // block.dim_end for block in self.blocks])
        self.matrices = [block.matrices.numpy() for block in self.blocks]
        self.scales = [
            (block.dimension / (block.dim_end * group.order)) ** 0.5 for block in self.blocks
        ]

    def coefficients(self, table: Float[np.ndarray, "order neurons"]) -> Coefficients:
        """The coefficient matrices of each column; their squares add up to the column's."""
        return [
            (scale * table.T @ rearrange(rho, "g i j -> g (i j)")).reshape(-1, *rho.shape[1:])
            for scale, rho in zip(self.scales, self.matrices, strict=True)
        ]

    def functions(self, coefficients: Coefficients) -> Float[np.ndarray, "order neurons"]:
        """The functions with these coefficients."""
        scaled = [c * matrix for c, matrix in zip(self.scales, coefficients, strict=True)]
        return self.along_elements(scaled)

    def along_elements(self, matrices: Coefficients) -> Float[np.ndarray, "order neurons"]:
        """Σ over blocks of the inner products with ρ(g), for each element g."""
        parts = (
            rearrange(rho, "g i j -> g (i j)") @ rearrange(matrix, "m i j -> (i j) m")
            for matrix, rho in zip(matrices, self.matrices, strict=True)
        )
        return sum(parts, start=np.zeros((self.group.order, 1)))

    def mirrored(self, left: Coefficients, x: Int[np.ndarray, "neurons"]) -> Coefficients:
        """The coefficients of −L(x b⁻¹) as a function of b."""
        return [
            -rearrange(matrix, "m i j -> m j i") @ rho[x]
            for matrix, rho in zip(left, self.matrices, strict=True)
        ]

    def unmirrored(self, right: Coefficients, x: Int[np.ndarray, "neurons"]) -> Coefficients:
        """The left table whose mirror image is the right one."""
        return [
            -rearrange(matrix @ rearrange(rho[x], "m i j -> m j i"), "m i j -> m j i")
            for matrix, rho in zip(right, self.matrices, strict=True)
        ]

    def best_mirror(self, left: Coefficients, right: Coefficients) -> Int[np.ndarray, "neurons"]:
        """The x for which −L(x b⁻¹) is nearest to R(b)."""
        products = [one @ other for one, other in zip(left, right, strict=True)]
        return self.along_elements(products).argmin(0)

    @cached_property
    def subgroups(self) -> list[Subgroup]:
        """All subgroups but the whole group, on whose coset only constants are constant."""
        return [h for h in self.group.subgroups if not h.is_whole]

    @cached_property
    def proper(self) -> Int[np.ndarray, "proper"]:
        """The positions of the non-trivial subgroups."""
        return np.flatnonzero([not h.is_trivial for h in self.subgroups])

    @cached_property
    def trivial(self) -> int:
        return next(i for i, h in enumerate(self.subgroups) if h.is_trivial)

    @cached_property
    def fixed(self) -> list[Float[np.ndarray, "subgroups _ _"]]:
        """For each block, the projections on the spaces that the subgroups fix."""
        members = np.zeros((len(self.subgroups), self.group.order))
        for i, h in enumerate(self.subgroups):
            members[i, h.array] = 1 / h.order
        return [np.tensordot(members, rho, 1) for rho in self.matrices]

    @cached_property
    def fixed_degrees(self) -> Int[np.ndarray, "subgroups blocks"]:
        """The dimensions of these spaces over each block's division algebra."""
        traces = [
            np.trace(projections, axis1=1, axis2=2) / end
            for projections, end in zip(self.fixed, self.ends, strict=True)
        ]
        return np.rint(np.stack(traces, 1)).astype(int)

    @cached_property
    def _place(self) -> dict[Subgroup, int]:
        return {h: i for i, h in enumerate(self.subgroups)}

    def conjugates(
        self, subgroup: Int[np.ndarray, "neurons"], x: Int[np.ndarray, "neurons"]
    ) -> Int[np.ndarray, "neurons"]:
        """The position of each x⁻¹Hx among the subgroups."""
        pairs, inverse = np.unique(np.stack([subgroup, x]), axis=1, return_inverse=True)
        places = [self._place[self.subgroups[h].conjugate(int(g))] for h, g in pairs.T]
        return np.array(places)[inverse.reshape(-1)]

    def on_right_cosets(
        self, coefficients: Coefficients, subgroup: Int[np.ndarray, "neurons"]
    ) -> Coefficients:
        return [p[subgroup] @ c for p, c in zip(self.fixed, coefficients, strict=True)]

    def on_left_cosets(
        self, coefficients: Coefficients, subgroup: Int[np.ndarray, "neurons"]
    ) -> Coefficients:
        return [c @ p[subgroup] for p, c in zip(self.fixed, coefficients, strict=True)]

    def by_energy(self, coefficients: Coefficients) -> Int[np.ndarray, "blocks"]:
        """The blocks by their energy for each function, the strongest first."""
        energy = np.array([np.square(matrix).sum() for matrix in coefficients])
        return np.argsort(-energy / [block.parameters for block in self.blocks], kind="stable")


def energy_of(coefficients: Coefficients) -> PerNeuron:
    return np.sum([np.square(matrix).sum((1, 2)) for matrix in coefficients], axis=0)


def left_over_of(measured: Coefficients, fit: Coefficients, total: PerNeuron) -> PerNeuron:
    """The energy that a fit leaves; energy outside all blocks is a rounding error."""
    differences = [one - other for one, other in zip(measured, fit, strict=True)]
    return np.maximum(energy_of(differences) + (total - energy_of(measured)), 0)


def svd(
    matrix: Float[np.ndarray, "neurons d e"], used: Bool[np.ndarray, "neurons"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The singular value decompositions of the used matrices, and zeros for the others."""
    left, values, right = np.linalg.svd(matrix[used], full_matrices=False)
    return spread(left, used), spread(values, used), spread(right, used)


def is_used(matrix: Float[np.ndarray, "neurons d e"]) -> Bool[np.ndarray, "neurons"]:
    return np.any(matrix != 0, axis=(1, 2))


def ranks_of(matrix: Float[np.ndarray, "neurons d e"]) -> Int[np.ndarray, "neurons"]:
    used = is_used(matrix)
    values = np.linalg.svd(matrix[used], compute_uv=False)
    return spread((values > ZERO).sum(1), used)


def space_of(
    matrix: Float[np.ndarray, "neurons d e"],
) -> tuple[Float[np.ndarray, "neurons d d"], PerNeuron]:
    """The projection on the column space of a matrix, and its rank."""
    left, values, _ = svd(matrix, is_used(matrix))
    used = values > ZERO
    projection = einsum(left, used.astype(float), left, "m i k, m k, m j k -> m i j")
    return projection, used.sum(1).astype(float)


def spread(values: np.ndarray, kept: Bool[np.ndarray, "neurons"]) -> np.ndarray:
    """Values of the kept neurons, and zeros for the others."""
    spread = np.zeros((len(kept), *values.shape[1:]), dtype=values.dtype)
    spread[kept] = values
    return spread
