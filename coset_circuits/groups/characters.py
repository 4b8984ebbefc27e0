"""The character table, restriction to subgroups, fixed spaces and the spectra of cosets."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import Irrep, RealBlock
from coset_circuits.groups.subgroups import Subgroup

if TYPE_CHECKING:
    import pandas as pd

ClassFunction = Float[Tensor, " order"] | Complex[Tensor, " order"]


@dataclass(frozen=True, eq=False)
class CharacterTable:
    """The complex irreducible characters of a group; rows are irreps, columns classes.

    Attributes:
        group: the group.
        irreps: the rows' names, in the order of ``group.irreps``.
        classes: one element of each conjugacy class, by its label.
        sizes: the number of elements of each class.
        values: the characters; a real array if all of them are real.
    """

    group: FiniteGroup
    irreps: tuple[str, ...]
    classes: tuple[str, ...]
    sizes: Int[Tensor, " classes"]
    values: Float[Tensor, "irreps classes"] | Complex[Tensor, "irreps classes"]

    def to_dataframe(self) -> pd.DataFrame:
        """The table with irreps as rows; columns show each class's label and size."""
        import pandas as pd

        columns = pd.MultiIndex.from_arrays(
            [self.classes, self.sizes.tolist()], names=["class", "size"]
        )
        return pd.DataFrame(self.values.numpy(), pd.Index(self.irreps, name="irrep"), columns)


def character_table(group: FiniteGroup) -> CharacterTable:
    """The table of the characters of ``group.irreps`` on its conjugacy classes."""
    first = torch.tensor([int(members[0]) for members in group.conjugacy_classes])
    rows = [rho.character[first] for rho in group.irreps]
    if any(row.is_complex() for row in rows):
        rows = [row.to(torch.complex128) for row in rows]
    return CharacterTable(
        group,
        tuple(rho.name for rho in group.irreps),
        tuple(group.labels[g] for g in first.tolist()),
        torch.tensor([len(members) for members in group.conjugacy_classes]),
        torch.stack(rows),
    )


def multiplicity(rho: Irrep, character: ClassFunction) -> int:
    """How often an irrep occurs in a representation with a given character, ⟨χ, χ_ρ⟩.

    Raises:
        CosetCircuitsError: it does not occur a whole number of times, so the function is
            not a character of the irrep's group.
    """
    if len(character) != rho.group.order:
        raise CosetCircuitsError(
            f"The character has {len(character)} values but {rho.group.name} has "
            f"{rho.group.order} elements; give one value for each element."
        )
    own = rho.character.to(torch.complex128).conj()
    product = complex((character.to(torch.complex128) * own).mean())
    if abs(product - round(product.real)) > 1e-6 or round(product.real) < 0:
        raise CosetCircuitsError(
            f"{rho.name} would occur {product:.4g} times, which is not a whole number; give the "
            f"character of a representation of {rho.group.name}."
        )
    return round(product.real)


def restriction(rho: Irrep, subgroup: Subgroup) -> dict[str, int]:
    """How often each irrep of a subgroup occurs in the restriction of an irrep of the group.

    By Frobenius reciprocity this is also how often ρ occurs in the representation that each of
    them induces. The names are the names in ``subgroup.as_group().irreps``.
    """
    _check_same(rho, subgroup)
    small = rho.character[torch.from_numpy(subgroup.array)]
    return {sigma.name: multiplicity(sigma, small) for sigma in subgroup.as_group().irreps}


def fixed_dimension(rho: Irrep | RealBlock, subgroup: Subgroup) -> int:
    """dim V_ρᴴ = (1/|H|) Σ_{h∈H} χ_ρ(h), the dimension of the space of vectors fixed by H.

    For a complex irrep this is also its multiplicity in the functions on the cosets of H.
    """
    _check_same(rho, subgroup)
    mean = complex(rho.character[torch.from_numpy(subgroup.array)].mean())
    if abs(mean - round(mean.real)) > 1e-6:
        raise CosetCircuitsError(
            f"The fixed space of {subgroup.name} in {rho.name} came out {mean:.4g}-dimensional; "
            f"the characters of {rho.group.name} are wrong."
        )
    return round(mean.real)


def spectrum(subgroup: Subgroup, *, real: bool = False) -> dict[str, Fraction]:
    """The exact energy of H's centred coset indicator on each non-trivial irrep.

    For a complex irrep it is d_ρ · dim V_ρᴴ / ([G:H] − 1). With ``real`` the real blocks are
    listed instead, and the energy is also divided by dim End. Both add up to 1 (Stander et al.
    2024, Table 5).

    Raises:
        CosetCircuitsError: H is the whole group, whose centred indicator is zero.
    """
    group = subgroup.group
    if subgroup.is_whole:
        raise CosetCircuitsError(
            f"{group.name} has one coset in itself, so its centred indicator is zero; give a "
            "proper subgroup."
        )
    weights = (
        [(b.name, b.dimension * fixed_dimension(b, subgroup), b.dim_end) for b in group.real_blocks]
        if real
        else [(r.name, r.dimension * fixed_dimension(r, subgroup), 1) for r in group.irreps]
    )
    return {name: Fraction(top, end * (subgroup.index - 1)) for name, top, end in weights[1:]}


def _check_same(rho: Irrep | RealBlock, subgroup: Subgroup) -> None:
    if rho.group is not subgroup.group and rho.group != subgroup.group:
        raise CosetCircuitsError(
            f"{rho.name} is an irrep of {rho.group.name} but {subgroup.name} is a subgroup of "
            f"{subgroup.group.name}; give a subgroup of the irrep's group."
        )
