"""Count the bits of a table that a family of functions describes to a relative error.

Bits are counted as in :class:`~coset_circuits.algorithms.DescriptionLength`: the choices, log2(1/δ)
for each free number, and the rest of each table, coded to the relative error δ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Int

from coset_circuits.algorithms.spectrum import Coefficients, PerNeuron, Spectrum, svd
from coset_circuits.groups import FiniteGroup

IMPOSSIBLE = 1e6
"""A count of free numbers so large that it excludes what the family does not allow."""


@dataclass(frozen=True)
class Family:
    """The forms that a hypothesis allows for a neuron's tables.

    Attributes:
        cosets: a neuron may have a proper non-trivial subgroup H.
        without: a neuron may have no such subgroup.
        low_rank: the rank of each coefficient matrix is free; otherwise it is full.
        one_direction: one irrep of rank one, mirrored, with an unembedding made of b and b′.
    """

    cosets: bool
    without: bool
    low_rank: bool
    one_direction: bool = False


COSETS = Family(cosets=True, without=False, low_rank=False)
IRREPS = Family(cosets=False, without=True, low_rank=True)
BETWEEN = Family(cosets=True, without=True, low_rank=True)
RHO_SETS = Family(cosets=True, without=False, low_rank=True, one_direction=True)

Written = tuple[Coefficients, PerNeuron, PerNeuron]
"""A description of a table: the fit, its free numbers, and the bits of its choices."""


class Counting(Spectrum):
    """Counts bits in the real blocks of a group, at one relative error.

    Args:
        group: the group whose irreps and cosets to use.
        relative_error: δ, in standard deviations of each table.
    """

    def __init__(self, group: FiniteGroup, relative_error: float) -> None:
        super().__init__(group)
        self.relative_error = relative_error
        self.level = float(np.log2(1 / relative_error))

    def residual_bits(self, left_over: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """The bits that code the residual of a table to the relative error."""
        share = np.maximum(left_over, 0) / self.relative_error**2
        return self.group.order / 2 * np.log2(1 + share)

    def chosen(
        self,
        energy: Float[np.ndarray, "neurons parts"],
        cost: Float[np.ndarray, "neurons parts"],
        total: PerNeuron,
        tables: int = 1,
    ) -> Bool[np.ndarray, "neurons parts"]:
        """The parts worth their free numbers: the best prefix, by falling energy per number.

        Args:
            tables: the number of tables with this energy at this cost.
        """
        order, bits = self.prefixes(energy, cost, total, tables)
        places = np.argsort(order, axis=1, kind="stable")
        return places < bits.argmin(1)[:, None]

    def prefixes(
        self,
        energy: Float[np.ndarray, "neurons parts"],
        cost: Float[np.ndarray, "neurons parts"],
        total: PerNeuron,
        tables: int = 1,
    ) -> tuple[Int[np.ndarray, "neurons parts"], Float[np.ndarray, "neurons _"]]:
        """The parts by falling energy per number, and the bits with none, one, two, … of them."""
        order = np.argsort(-energy / np.maximum(cost, 1e-9), axis=1, kind="stable")
        nothing = np.zeros((len(energy), 1))
        held, paid = (
            np.concatenate([nothing, np.take_along_axis(part, order, 1).cumsum(1)], 1)
            for part in (energy, cost)
        )
        return order, self.level * paid + tables * self.residual_bits(total[:, None] - held)

    def code(
        self,
        coefficients: Coefficients,
        rows: Int[np.ndarray, "neurons blocks"],
        columns: Int[np.ndarray, "neurons blocks"],
        total: PerNeuron,
        family: Family,
        tables: int = 1,
    ) -> tuple[Coefficients, PerNeuron, PerNeuron]:
        """One table of each neuron: the fit, its free numbers, and the bits of its choices.

        Args:
            rows, columns: the number of rows and columns of each block that the coefficients span,
                over its division algebra.
            total: the table's energy, including its mean.
        """
        available = (rows > 0) & (columns > 0)
        name_bits = np.log2(np.maximum(available.sum(1), 1))[:, None]
        split, energies, numbers, names = [], [], [], []
        for b, (matrix, end) in enumerate(zip(coefficients, self.ends, strict=True)):
            high, wide = rows[:, b, None], columns[:, b, None]
            if family.low_rank:
                left, values, right = svd(matrix, available[:, b])
                split.append((left * values[:, None], right))
                energy = rearrange(values**2, "m (r end) -> m r end", end=end).sum(2)
                rank = np.arange(1, energy.shape[1] + 1)
                least = np.minimum(high, wide)
                number = end * np.where(rank <= least, high + wide - 2 * rank + 1, 0)
                name = np.where(rank == 1, np.log2(np.maximum(least, 1)), 0.0)
                # A later direction may cost less than an earlier one, but requires it.
                worth = np.minimum.accumulate(energy / np.maximum(number, 1), 1)
                energy = np.where(number > 0, worth * number, 0)
            else:
                # All directions are one part.
                split.append((matrix, np.eye(matrix.shape[2])))
                energy, number = np.square(matrix).sum((1, 2))[:, None], end * high * wide
                name = np.zeros(energy.shape)
            energies.append(energy)
            numbers.append(np.where(number > 0, number, IMPOSSIBLE))
            names.append(np.broadcast_to(name, energy.shape))
        sizes = [energy.shape[1] for energy in energies]
        energy, number, name = (np.concatenate(x, 1) for x in (energies, numbers, names))
        if family.one_direction:
            number = _one_part(energy, number, sizes)
        starts = np.cumsum([0, *sizes[:-1]])
        named = name.copy()
        named[:, starts] += name_bits
        mask = self.chosen(energy, number + named / self.level, total, tables)
        fit = []
        for (left, right), part in zip(split, _split(mask, sizes), strict=True):
            kept = np.repeat(part, left.shape[2] // part.shape[1], 1)
            fit.append((left * kept[:, None]) @ right)
        structure = (mask * name).sum(1) + choice_bits(mask[:, starts], available)
        return fit, (mask * number).sum(1), structure


def _one_part(
    energy: Float[np.ndarray, "neurons parts"],
    number: Float[np.ndarray, "neurons parts"],
    sizes: Sequence[int],
) -> Float[np.ndarray, "neurons parts"]:
    """Free numbers with all but the mean and the strongest direction made impossible."""
    first = np.cumsum([0, *sizes[:-1]])
    candidates = np.where(number[:, first[1:]] < IMPOSSIBLE, energy[:, first[1:]], -1)
    strongest = first[1:][candidates.argmax(1)]
    only = np.full_like(number, IMPOSSIBLE)
    only[:, 0] = number[:, 0]
    every = np.arange(len(number))
    only[every, strongest] = number[every, strongest]
    return only


def choice_bits(
    chosen: Bool[np.ndarray, "neurons blocks"], available: Bool[np.ndarray, "neurons blocks"]
) -> PerNeuron:
    """The bits that name some of the allowed blocks: how many, then which."""
    many, some = available.sum(1), chosen.sum(1)
    every = range(available.shape[1] + 1)
    ways = np.array([[math.comb(a, b) for b in every] for a in every], dtype=float)
    return np.log2(many + 1) + np.log2(ways[many, some])


def _split(mask: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    return np.split(mask, np.cumsum(sizes)[:-1], axis=1)
