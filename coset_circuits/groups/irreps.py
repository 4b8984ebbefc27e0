"""Irreducible representations, over the complex and over the real numbers.

``group.irreps`` lists the irreps over the complex numbers; characters, spectra and restrictions use
them. ``group.real_blocks`` lists the irreps over the real numbers; functions on the group, and so
networks, are projected on them. The matrices are computed in ``closed_forms`` and
``decomposition``. This module checks that they are representations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import FiniteGroup

FieldType = Literal["real", "complex", "quaternionic"]

# The largest entry allowed in ρ(a)ρ(b) − ρ(ab), in ρρ* − 1 and in tr ρ − χ.
HOMOMORPHISM_TOLERANCE = 1e-10


class Irrep:
    """An irreducible representation over the complex numbers, ρ(a)ρ(b) = ρ(ab).

    Attributes:
        group: the group that it represents.
        name: a partition for S_n and A_n, ``"freq_3"`` for rotations, ``"(3)⊗(2,1)"`` for direct
            products, degree and letter otherwise.
        dimension: its degree.
        type: from the Frobenius–Schur indicator 1, 0 or −1.
        conjugate: the name of its complex conjugate, its own unless the type is complex.
    """

    def __init__(
        self,
        group: FiniteGroup,
        name: str,
        dimension: int,
        type: FieldType,
        build: Callable[[], np.ndarray],
        character: np.ndarray | None = None,
        conjugate: str | None = None,
    ) -> None:
        self.group = group
        self.name = name
        self.dimension = dimension
        self.type: FieldType = type
        self.conjugate = name if conjugate is None else conjugate
        self._build = build
        self._character = character

    @cached_property
    def matrices(
        self,
    ) -> Float[Tensor, "order dimension dimension"] | Complex[Tensor, "order dimension dimension"]:
        """One matrix per element: real orthogonal for the real type, complex unitary otherwise.

        Raises:
            CosetCircuitsError: the computed matrices are not a unitary representation with this
                character.
        """
        matrices = self._build()
        self._check(matrices)
        with torch.inference_mode(False):
            return torch.from_numpy(matrices)

    @cached_property
    def character(self) -> Float[Tensor, " order"] | Complex[Tensor, " order"]:
        """The trace of each element's matrix; real unless the type is complex."""
        if self._character is None:
            values = np.einsum("gii->g", self.matrices.numpy())
        else:
            values = self._character
        return torch.from_numpy(values if self.type == "complex" else np.real(values).copy())

    def carried(self, group: FiniteGroup, elements: np.ndarray) -> Irrep:
        """The same irrep of an isomorphic group, whose element i is ``elements[i]`` here."""
        return Irrep(
            group,
            self.name,
            self.dimension,
            self.type,
            lambda: self.matrices.numpy()[elements],
            None if self._character is None else self._character[elements],
            self.conjugate,
        )

    def __getstate__(self) -> dict[str, Any]:
        """The state that is pickled: the matrices, not the function that computes them."""
        return {**vars(self), "matrices": self.matrices, "_build": None}

    def _check(self, matrices: np.ndarray) -> None:
        table = self.group.array
        gaps = [matrices[s] @ matrices - matrices[table[s]] for s in self.group.generators]
        gaps.append(matrices @ matrices.conj().swapaxes(1, 2) - np.eye(self.dimension))
        if self._character is not None:
            gaps.append(np.einsum("gii->g", matrices) - self._character)
        residual = max(float(np.abs(gap).max()) for gap in gaps)
        if not residual < HOMOMORPHISM_TOLERANCE:
            raise CosetCircuitsError(
                f"The irrep {self.name} of {self.group.name} did not converge: ρ(a)ρ(b) = ρ(ab) "
                f"and ρρ* = 1 hold only to {residual:.0e}, not {HOMOMORPHISM_TOLERANCE:.0e}. Build "
                "the group from a family or as a direct product, whose irreps have closed forms."
            )

    def __repr__(self) -> str:
        return f"Irrep({self.name}: dimension {self.dimension}, {self.type})"


class RealBlock:
    """An irreducible real representation and the functions on the group that it spans.

    A complex irrep and its conjugate make one block, as does a quaternionic irrep.

    Attributes:
        group: the group that it represents.
        name: the irrep's name; of a complex pair, the first one's.
        irrep: the complex irrep that it is made from.
        type: the irrep's type.
        dim_end: the real dimension of its commutant: 1, 2 or 4.
        dimension: its degree over the reals.
        parameters: the dimension of its function space, dimension² / dim_end.
    """

    def __init__(self, name: str, irrep: Irrep) -> None:
        self.name = name
        self.irrep = irrep
        self.group = irrep.group
        self.type = irrep.type
        self.dim_end = {"real": 1, "complex": 2, "quaternionic": 4}[irrep.type]
        self.dimension = irrep.dimension * (1 if irrep.type == "real" else 2)
        self.parameters = self.dimension**2 // self.dim_end

    @cached_property
    def matrices(self) -> Float[Tensor, "order dimension dimension"]:
        """One real orthogonal matrix per element."""
        rho = self.irrep.matrices
        if self.type == "real":
            return rho
        top = torch.cat([rho.real, -rho.imag], dim=2)
        return torch.cat([top, torch.cat([rho.imag, rho.real], dim=2)], dim=1)

    @cached_property
    def character(self) -> Float[Tensor, " order"]:
        """The trace of each element's real matrix."""
        character = self.irrep.character
        if self.type == "real":
            return character
        return 2 * (character.real if character.is_complex() else character)

    @cached_property
    def basis(self) -> Float[Tensor, "order parameters"]:
        """Orthonormal functions, as columns, that span the matrix elements."""
        order = len(self.matrices)
        if self.type == "quaternionic":
            elements = self.matrices.reshape(order, -1)
            return torch.linalg.svd(elements, full_matrices=False)[0][:, : self.parameters]
        # By Schur's relations the elements are orthogonal already; the right half of a complex
        # pair's matrix repeats the left.
        elements = self.matrices[:, :, : self.irrep.dimension].reshape(order, -1)
        return elements * (self.dimension / order) ** 0.5

    def __repr__(self) -> str:
        return f"RealBlock({self.name}: dimension {self.dimension}, {self.type})"


def real_blocks(irreps: Sequence[Irrep]) -> tuple[RealBlock, ...]:
    """The real irreps made from the complex ones, the trivial one first."""
    position = {rho.name: i for i, rho in enumerate(irreps)}
    return tuple(
        RealBlock(rho.name if rho.type != "complex" else rho.name.removesuffix("+"), rho)
        for i, rho in enumerate(irreps)
        if i <= position[rho.conjugate]
    )


def letters(number: int) -> str:
    """a, b, …, z, aa, ab, … for 1, 2, …"""
    text = ""
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text
