"""Find the shortest description of each neuron's three tables that a hypothesis allows.

Every hypothesis about tables is a choice from one family. A function f on the group has a
coefficient matrix F = Σ_g f(g)ρ(g) for each irrep ρ. Then

- f is constant on the right cosets of H if the columns of F are in V^H, the space that H fixes,
  and constant on the left cosets of K if its rows are in V^K;
- f is a function aᵀρ(g)b if F has rank one.

Coset hypotheses allow any subgroup H, with full ranks. Irrep hypotheses allow any rank, without H.
The family in between allows both. A ρ-set (Wu et al., arXiv 2410.07476) is one irrep of rank one
with a subgroup. A neuron's tables are related: the right table may be the mirrored left table,
R(b) = −L(x b⁻¹), or share its directions a. The unembedding may be made of the vectors b and b′
that the left and right tables read. Neurons are related too: in each irrep all directions a may be
in a space of fewer dimensions, often a line, which is paid for once. Every hypothesis may use all
of these savings. Where a neuron need not be on cosets, the unembedding may also be any function in
irreps that are named once for all neurons, and so may all three tables of all neurons. A table's
functions may differ from those of its irreps by an error that is the same for all neurons: a
residual that is coded once for each function instead of once for each neuron.

Bits are counted as in :class:`~coset_circuits.algorithms.DescriptionLength`: the choices, log2(1/δ)
for each free number, and the rest of each table, coded to the relative error δ. Each neuron gets
the structure with the fewest bits in total.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.algorithms.algorithm import Tables
from coset_circuits.groups import FiniteGroup, RealBlock, Subgroup
from coset_circuits.thresholds import DEFAULT

Coefficients = list[Float[np.ndarray, "neurons _ _"]]
"""For each real block, one matrix per neuron."""
PerNeuron = Float[np.ndarray, "neurons"]

TRIED = 6
"""The number of subgroups that are tried in full for each neuron: those with the best bound on its
left table."""

TRIED_OF_UNEMBEDDING = 3
"""The same for each side of the unembedding, if it has other cosets than the tables."""

STRAIGHT = 1 - 1 / DEFAULT.as_short
"""An error that all neurons share may hold at most this share of a table's variance. A renamed
group's irreps hold a share p/n with p of the n functions. To hold the rest they would need so many
functions that nothing which counts is saved."""

_AT_ONCE = 32
"""The number of subgroups whose bounds are computed together, so that arrays stay in the cache."""

_IMPOSSIBLE = 1e6
"""A count of free numbers so large that it excludes what the family does not allow."""
_ZERO = 1e-9
"""Singular values below this, for tables of length 1, are rounding errors."""


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


@dataclass(frozen=True)
class Coded:
    """The shortest description of every neuron.

    Attributes:
        bits: the total bits of each neuron.
        structure: the bits of its choices.
        levels: the number of its free numbers.
        residual: fraction of variance of left table, right table and unembedding that is not
            explained.
        fitted: the tables as described, without the residual.
        subgroup: the position of H in ``group.subgroups``.
        x: the element that conjugates H into K = x⁻¹Hx.
        blocks: which real blocks the left and right tables read, the strongest first.
        reads, writes: for each block the projections on the spaces of b and b′ that the
            unembedding is made of.
        directions: for each irrep of more than one dimension that is read, the dimension of the
            space of all neurons' directions a, and the irrep's own.
        shared: the energy of each error that all neurons share, for functions of length 1. It is
            neither in ``fitted`` nor in ``residual``.
    """

    bits: PerNeuron
    structure: PerNeuron
    levels: PerNeuron
    residual: Float[np.ndarray, "neurons 3"]
    fitted: Tables
    subgroup: Int[np.ndarray, "neurons"]
    x: Int[np.ndarray, "neurons"]
    blocks: list[tuple[int, ...]]
    reads: Coefficients
    writes: Coefficients
    directions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    shared: Float[np.ndarray, "functions"] = field(default_factory=lambda: np.zeros(0))


Written = tuple[Coefficients, PerNeuron, PerNeuron]
"""A description of the unembedding: the fit, its free numbers, and the bits of its choices."""


class Coder:
    """Codes tables in the real blocks of a group, to one relative error.

    Args:
        group: the group whose irreps and cosets to use.
        relative_error: δ, in standard deviations of each table.
    """

    def __init__(self, group: FiniteGroup, relative_error: float) -> None:
        self.group, self.relative_error = group, relative_error
        self.level = float(np.log2(1 / relative_error))
        self.blocks: Sequence[RealBlock] = group.real_blocks
        self.ends = [block.dim_end for block in self.blocks]
        # Degrees over each block's division algebra, whose elements are what is counted.
        self.degrees = np.array([block.dimension // block.dim_end for block in self.blocks])
        self.matrices = [block.matrices.numpy() for block in self.blocks]
        self.scales = [
            (block.dimension / (block.dim_end * group.order)) ** 0.5 for block in self.blocks
        ]

    # --- functions and coefficients --------------------------------------------------------------

    def coefficients(self, table: Float[np.ndarray, "order neurons"]) -> Coefficients:
        """The coefficient matrices of each column; their squares add up to the column's."""
        return [
            (scale * table.T @ rearrange(rho, "g i j -> g (i j)")).reshape(-1, *rho.shape[1:])
            for scale, rho in zip(self.scales, self.matrices, strict=True)
        ]

    def functions(self, coefficients: Coefficients) -> Float[np.ndarray, "order neurons"]:
        """The functions with these coefficients."""
        scaled = [c * matrix for c, matrix in zip(self.scales, coefficients, strict=True)]
        return self._along_elements(scaled)

    def _along_elements(self, matrices: Coefficients) -> Float[np.ndarray, "order neurons"]:
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
        return self._along_elements(products).argmin(0)

    # --- subgroups -------------------------------------------------------------------------------

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

    # --- counting --------------------------------------------------------------------------------

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
        order, bits = self._prefixes(energy, cost, total, tables)
        places = np.argsort(order, axis=1, kind="stable")
        return places < bits.argmin(1)[:, None]

    def _prefixes(
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
                left, values, right = _svd(matrix, available[:, b])
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
            numbers.append(np.where(number > 0, number, _IMPOSSIBLE))
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
        structure = (mask * name).sum(1) + _choice_bits(mask[:, starts], available)
        return fit, (mask * number).sum(1), structure

    # --- neurons ---------------------------------------------------------------------------------

    def fit(self, tables: Tables, family: Family, kept: Bool[np.ndarray, "neurons"]) -> Coded:
        """The shortest description of every neuron in ``kept``; the others get their means."""
        return self.described(self.scaled(tables, kept), family)

    def scaled(self, tables: Tables, kept: Bool[np.ndarray, "neurons"]) -> ScaledTables:
        """What is described of the tables, whatever the family."""
        if not kept.any():
            # No neuron matters: then all are described, but none is counted.
            kept = np.ones_like(kept)
        plain = [_Table.of(table, kept) for table in tables]
        return ScaledTables(tables, kept, plain, [self._straightened(table) for table in plain])

    def described(self, scaled: ScaledTables, family: Family) -> Coded:
        """The shortest description that a family allows."""
        code = self._described(scaled, scaled.plain, family)
        if not any(len(table.shared) for table in scaled.straight):
            return code
        # The fitted tables lack the shared errors, so they must save something that counts.
        other = self._described(scaled, scaled.straight, family)
        return other if code.bits.sum() > DEFAULT.as_short * other.bits.sum() else code

    def _described(self, scaled: ScaledTables, measured: Sequence[_Table], family: Family) -> Coded:
        """The shortest description of the measured tables: neurons one by one, or all alike."""
        totals = [table.energy for table in measured]
        every = [self.coefficients(table.unit) for table in measured]
        best, dimensions = self._each(every, totals, family)
        if family.without:
            alike = self._all_alike(every, totals)
            if alike["bits"].sum() < best["bits"].sum():
                best, dimensions = alike, None
        count = scaled.kept.sum()
        for table in measured:
            best["structure"] = best["structure"] + table.choices / count
            once = self.residual_bits(table.shared).sum() + table.choices
            best["bits"] = best["bits"] + once / count
        code = self._coded(best, scaled.tables, measured, scaled.kept)
        return code if dimensions is None else self._named(code, dimensions)

    def _straightened(self, table: _Table) -> _Table:
        """The table without what all neurons' functions have outside a few irreps.

        This part must be a linear function of the part in the irreps. So a neuron needs no numbers
        for it; each function of the irreps has an error, coded once for all neurons like a
        residual. The irreps hold at most half of the group's functions but nearly all the variance
        (:data:`STRAIGHT`): others, and renamed ones, cannot be bent into the network's functions.
        """
        unit, count = table.unit, table.unit.shape[1]
        variance = np.square(unit - unit.mean(0)).sum()
        order = self._by_energy(self.coefficients(unit))
        best, shortest = table, np.inf
        for size in range(1, len(order)):
            basis = np.concatenate([self.blocks[b].basis.numpy() for b in order[:size]], 1)
            functions = basis.shape[1]
            if functions > self.group.order / 2:
                break
            inside = basis.T @ unit
            outside = unit - basis @ inside
            found = [table]
            if np.square(outside).sum() <= STRAIGHT * variance:
                # Each coefficient is only known to δ/√n.
                known = count * self.relative_error**2 / self.group.order * np.eye(functions)
                error = np.linalg.solve(inside @ inside.T + known, inside @ outside.T).T
                shared = np.square(error).sum(0)
                found.append(
                    replace(table, unit=unit - error @ inside, shared=shared, choices=len(order))
                )
            for one in found:
                rest = np.square(one.unit - basis @ inside).sum(0)
                bits = self.level * functions * count + one.choices
                bits += self.residual_bits(rest).sum() + self.residual_bits(one.shared).sum()
                if bits < shortest:
                    best, shortest = one, bits
        return best

    def _by_energy(self, coefficients: Coefficients) -> Int[np.ndarray, "blocks"]:
        """The blocks by their energy for each function, the strongest first."""
        energy = np.array([np.square(matrix).sum() for matrix in coefficients])
        return np.argsort(-energy / [block.parameters for block in self.blocks], kind="stable")

    def _each(
        self, every: Sequence[Coefficients], totals: Sequence[PerNeuron], family: Family
    ) -> tuple[dict[str, np.ndarray], Int[np.ndarray, "blocks"]]:
        """Every neuron in its own structure, and the dimensions of the common directions."""
        left, right, spaces = self._directions(every[0], every[1])
        unembed, count = every[2], len(totals[0])
        tried = self._to_try(left, totals[0], family, spaces.dimensions)
        elsewhere = []
        if family.cosets and not family.one_direction:
            elsewhere.append(self._written_elsewhere(unembed, totals[2], family))
        if family.without:
            elsewhere.append(self._alike(unembed, totals[2]))
        best: dict[str, np.ndarray] = {}
        for subgroup in tried.T:
            place = subgroup, spaces.dimensions
            read = self._with_subgroup(left, right, totals, place, family)
            options = self._unembeddings(read, unembed, totals[2], family)
            written = self._written([*options, *elsewhere], unembed, totals[2])
            sums = {n: read[n] + written[n] for n in ("bits", "structure", "levels")}
            best = _shorter(best, {**read, **written, **sums})
        # Each neuron pays its share of the common directions.
        best["levels"] = best["levels"] + spaces.numbers / count
        best["structure"] = best["structure"] + spaces.choices / count
        both = self.level * spaces.numbers + spaces.choices
        best["bits"] = best["bits"] + both / count
        return best, spaces.dimensions

    def _all_alike(
        self, every: Sequence[Coefficients], totals: Sequence[PerNeuron]
    ) -> dict[str, np.ndarray]:
        """All tables as any functions in spaces that are the same for all neurons."""
        count = len(totals[0])
        none = np.full(count, self.trivial)
        zeros = np.zeros(count)
        found = {"subgroup": none, "other": none, "x": np.zeros(count, dtype=int)}
        found |= {"bits": zeros, "levels": zeros, "structure": zeros}
        sides = ("left", "right", "unembed")
        for i, (side, table, total) in enumerate(zip(sides, every, totals, strict=True)):
            fit, numbers, choices = self._alike(table, total, narrow=True)
            left_over = _left_over(table, fit, total)
            bits = choices + self.level * numbers + self.residual_bits(left_over)
            found |= _named(side, fit) | {f"left_over_{i}": left_over}
            more = {"bits": bits, "levels": numbers, "structure": choices}
            found |= {name: found[name] + part for name, part in more.items()}
        return found

    def _named(self, code: Coded, dimensions: Int[np.ndarray, "blocks"]) -> Coded:
        """Name the directions of the irreps of more than one dimension that are read."""
        read = sorted({b for blocks in code.blocks for b in blocks if self.degrees[b] > 1})
        sizes = {self.blocks[b].name: (int(dimensions[b]), int(self.degrees[b])) for b in read}
        return replace(code, directions=sizes)

    def _directions(
        self, left: Coefficients, right: Coefficients
    ) -> tuple[Coefficients, Coefficients, _Directions]:
        """Project both tables on the spaces of the directions a that all neurons share.

        The dimensions are those with the fewest bits if every neuron has rank one.
        """
        lefts, rights, dimensions = [], [], []
        numbers = 0.0
        for one, other, end in zip(left, right, self.ends, strict=True):
            degree = one.shape[1] // end
            along = np.concatenate([one, rearrange(other, "m i j -> m j i")])
            _, vectors = np.linalg.eigh(einsum(along, along, "m k i, m k j -> i j"))
            vectors = vectors[:, ::-1]
            energy = np.square(along @ vectors).sum(1)
            held = rearrange(energy, "m (w end) -> m w end", end=end).sum(2).cumsum(1)
            nothing = np.zeros((len(held), 1))
            left_over = held[:, -1:] - np.concatenate([nothing, held], 1)
            users = (held[:, -1] > self.relative_error**2).sum()
            size = np.arange(degree + 1)
            paid = end * (size * users / 2 + size * (degree - size))
            width = int((self.level * paid + self.residual_bits(left_over).sum(0)).argmin())
            space = vectors[:, : end * width]
            projection = space @ space.T
            lefts.append(one @ projection)
            rights.append(projection @ other)
            dimensions.append(width)
            numbers += end * width * (degree - width)
        choices = float(np.log2(self.degrees + 1).sum())
        return lefts, rights, _Directions(np.array(dimensions), numbers, choices)

    def _to_try(
        self,
        left: Coefficients,
        total: PerNeuron,
        family: Family,
        free: Int[np.ndarray, "blocks"],
        most: int = TRIED,
    ) -> Int[np.ndarray, "neurons tried"]:
        """The best subgroups for each neuron's left table, and no subgroup if that is allowed."""
        neurons = len(total)
        none = np.full((neurons, 1), self.trivial)
        if not family.cosets:
            return none
        whole, wide = (np.broadcast_to(n, (neurons, len(n))) for n in (self.degrees, free))
        ranks, read = wide, left
        if family.low_rank:
            read, _, _ = self.code(left, whole, wide, total, IRREPS)
            ranks = np.stack([_rank(c) // e for c, e in zip(read, self.ends, strict=True)], 1)
        squares = [rearrange(c @ rearrange(c, "m i j -> m j i"), "m i j -> (i j) m") for c in read]
        bounds = []
        # The largest first, whose cosets need the fewest bits where the bounds are equal.
        candidates = self.proper[::-1]
        for some in np.array_split(candidates, math.ceil(len(candidates) / _AT_ONCE)):
            held = [
                rearrange(p[some], "h i j -> h (i j)") @ square
                for p, square in zip(self.fixed, squares, strict=True)
            ]
            energy = rearrange(held, "b h m -> (h m) b")
            degrees = self.fixed_degrees[some, None]
            rank = np.minimum(ranks, degrees)
            number = np.array(self.ends) * rank * (degrees + free - rank)
            cost = np.where(number > 0, number + 1 / self.level, _IMPOSSIBLE)
            cost = rearrange(cost, "h m b -> (h m) b")
            _, bits = self._prefixes(energy, cost, np.tile(total, len(some)))
            bounds.append(rearrange(bits.min(1), "(h m) -> m h", m=neurons))
        # Rounded, so that rounding errors do not decide between equal bounds.
        ranked = np.argsort(np.concatenate(bounds, 1).round(6), axis=1, kind="stable")
        first = candidates[ranked[:, :most]]
        return np.concatenate([first, none], 1) if family.without else first

    def _written_elsewhere(
        self, unembed: Coefficients, total: PerNeuron, family: Family
    ) -> Written:
        """The unembedding on separate cosets: right cosets of one subgroup, left of another."""
        either = replace(family, without=True)
        turned = [rearrange(matrix, "m i j -> m j i") for matrix in unembed]
        rows = self._to_try(unembed, total, either, self.degrees, TRIED_OF_UNEMBEDDING)
        columns = self._to_try(turned, total, either, self.degrees, TRIED_OF_UNEMBEDDING)
        best: dict[str, np.ndarray] = {}
        for high, wide in product(rows.T, columns.T):
            on_both = self.on_left_cosets(self.on_right_cosets(unembed, high), wide)
            degrees = self.fixed_degrees[high], self.fixed_degrees[wide]
            fit, numbers, choices = self.code(on_both, *degrees, total, family)
            if not family.without:
                # Without any cosets it is not a function that this hypothesis allows.
                neither = (high == self.trivial) & (wide == self.trivial)
                numbers = np.where(neither, _IMPOSSIBLE, numbers)
            choices = choices + 2 * np.log2(len(self.proper) + 1)
            left_over = self.residual_bits(_left_over(unembed, fit, total))
            found = {"bits": choices + self.level * numbers + left_over}
            found |= {"numbers": numbers, "choices": choices}
            best = _shorter(best, found | _named("fit", fit))
        fit = [best[f"fit_{b}"] for b in range(len(self.blocks))]
        return fit, best["numbers"], best["choices"]

    def _with_subgroup(
        self,
        left: Coefficients,
        right: Coefficients,
        totals: Sequence[PerNeuron],
        place: tuple[np.ndarray, np.ndarray],
        family: Family,
    ) -> dict[str, np.ndarray]:
        """The description of the tables that neurons read, with this subgroup: named arrays."""
        subgroup, free = place
        degrees = self.fixed_degrees[subgroup]
        wide = np.broadcast_to(free, degrees.shape)
        allowed = self.on_right_cosets(left, subgroup)
        alone, numbers, choices = self.code(allowed, degrees, wide, totals[0], family)
        x = self.best_mirror(alone, right)
        other = self.conjugates(subgroup, x)
        index = np.array([h.index for h in self.subgroups])[subgroup]
        options = [self._mirrored(allowed, right, totals, (subgroup, x, wide), family)]
        if not family.one_direction:
            on_other = self.on_left_cosets(right, other)
            own, more, names = self.code(on_other, wide, degrees, totals[1], family)
            options.append((alone, own, numbers + more, choices + names + np.log2(index)))
            if family.low_rank:
                options.append(self._shared(allowed, on_other, totals, (degrees, wide), family))
        best = self._read(options, left, right, totals)
        named = np.log2(len(self.proper)) if family.cosets else 0.0
        named = named + (family.cosets and family.without)
        named = np.where(subgroup == self.trivial, family.without, named)
        sums = {name: best[name] + named for name in ("bits", "structure")}
        return {**best, **sums, "subgroup": subgroup, "x": x, "other": other}

    def _unembeddings(
        self,
        read: Mapping[str, np.ndarray],
        unembed: Coefficients,
        total: PerNeuron,
        family: Family,
    ) -> list[Written]:
        """The unembedding made of what a neuron reads, or on its cosets."""
        options = [self._tied(read, unembed, total)]
        if not family.one_direction:
            subgroup, other = read["subgroup"], read["other"]
            on_both = self.on_left_cosets(self.on_right_cosets(unembed, subgroup), other)
            degrees = self.fixed_degrees[subgroup], self.fixed_degrees[other]
            options.append(self.code(on_both, *degrees, total, family))
        return options

    def _alike(self, table: Coefficients, total: PerNeuron, *, narrow: bool = False) -> Written:
        """A table as any function in a set of irreps that is the same for all neurons.

        They hold at most half of the group's functions; with all of them nothing would be said.
        If ``narrow``, all neurons' functions are in a space of v of the p dimensions that these
        irreps have. The space is given once, by v(p − v) numbers.
        """
        order, count = self._by_energy(table), len(total)
        # One bit for each irrep tells all neurons which these are.
        best, shortest = None, np.inf
        for size in range(len(order) + 1):
            chosen = sorted(order[:size])
            functions = sum(self.blocks[b].parameters for b in chosen)
            if functions > self.group.order / 2:
                break
            flat = np.concatenate(
                [np.zeros((count, 0)), *(table[b].reshape(count, -1) for b in chosen)], 1
            )
            vectors = np.linalg.eigh(flat.T @ flat)[1][:, ::-1][:, :functions]
            held = np.square(flat @ vectors).cumsum(1)
            held = np.concatenate([np.zeros((count, 1)), held], 1)
            width = np.arange(functions + 1)
            numbers = width + width * (functions - width) / count
            choices = len(order) + narrow * np.log2(functions + 1)
            bits = self.level * numbers * count + choices
            bits += self.residual_bits(total[:, None] - held).sum(0)
            least = int(bits.argmin()) if narrow else functions
            if bits[least] < shortest:
                kept = flat @ vectors[:, :least] @ vectors[:, :least].T
                best, shortest = (chosen, kept, numbers[least], choices), bits[least]
        assert best is not None
        chosen, kept, paid, choices = best
        fit = [np.zeros_like(matrix) for matrix in table]
        ends = np.cumsum([table[b][0].size for b in chosen])
        for b, part in zip(chosen, np.split(kept, ends[:-1], axis=1), strict=False):
            fit[b] = part.reshape(table[b].shape)
        return fit, np.full(count, float(paid)), np.full(count, choices / count)

    def _mirrored(
        self,
        allowed: Coefficients,
        right: Coefficients,
        totals: Sequence[PerNeuron],
        place: tuple[np.ndarray, np.ndarray, np.ndarray],
        family: Family,
    ) -> tuple[Coefficients, Coefficients, PerNeuron, PerNeuron]:
        """The pair with R(b) = −L(x b⁻¹), L fitted to both tables; only the coset of x is named."""
        subgroup, x, wide = place
        back = self.on_right_cosets(self.unmirrored(right, x), subgroup)
        both = [(one + other) / 2 for one, other in zip(allowed, back, strict=True)]
        degrees = self.fixed_degrees[subgroup]
        # The deviation of each table from the mean of both remains, whatever is chosen.
        total = _energy(both) + (sum(totals[:2]) / 2 - (_energy(allowed) + _energy(back)) / 2)
        fit, numbers, choices = self.code(both, degrees, wide, total, family, tables=2)
        index = np.array([h.index for h in self.subgroups])[subgroup]
        return fit, self.mirrored(fit, x), numbers, choices + np.log2(index)

    def _shared(
        self,
        allowed: Coefficients,
        on_other: Coefficients,
        totals: Sequence[PerNeuron],
        sizes: tuple[Int[np.ndarray, "neurons blocks"], Int[np.ndarray, "neurons blocks"]],
        family: Family,
    ) -> tuple[Coefficients, Coefficients, PerNeuron, PerNeuron]:
        """Both tables share the directions a but have separate vectors b."""
        half = 2**-0.5
        stacked = [
            np.concatenate([half * rearrange(one, "m i j -> m j i"), -half * other], 2)
            for one, other in zip(allowed, on_other, strict=True)
        ]
        degrees, wide = sizes
        total = (totals[0] + totals[1]) / 2
        fit, numbers, choices = self.code(stacked, wide, 2 * degrees, total, family, tables=2)
        halves = [np.split(matrix / half, 2, axis=2) for matrix in fit]
        left = [rearrange(one, "m j i -> m i j") for one, _ in halves]
        return left, [-other for _, other in halves], numbers, choices

    def _read(
        self,
        options: Sequence[tuple[Coefficients, Coefficients, PerNeuron, PerNeuron]],
        left: Coefficients,
        right: Coefficients,
        totals: Sequence[PerNeuron],
    ) -> dict[str, np.ndarray]:
        """The shortest description of the left and the right table."""
        best: dict[str, np.ndarray] = {}
        for fit_left, fit_right, numbers, choices in options:
            structure = choices + np.log2(len(options))
            left_over = [
                _left_over(measured, fit, total)
                for measured, fit, total in zip(
                    (left, right), (fit_left, fit_right), totals, strict=False
                )
            ]
            bits = structure + self.level * numbers + sum(map(self.residual_bits, left_over))
            found = {"bits": bits, "structure": structure, "levels": numbers}
            found |= {"left_over_0": left_over[0], "left_over_1": left_over[1]}
            found |= _named("left", fit_left) | _named("right", fit_right)
            best = _shorter(best, found)
        return best

    def _written(
        self,
        options: Sequence[Written],
        unembed: Coefficients,
        total: PerNeuron,
    ) -> dict[str, np.ndarray]:
        """The shortest description of the unembedding."""
        best: dict[str, np.ndarray] = {}
        for fit, numbers, choices in options:
            structure = choices + np.log2(len(options))
            left_over = _left_over(unembed, fit, total)
            bits = structure + self.level * numbers + self.residual_bits(left_over)
            found = {"bits": bits, "structure": structure, "levels": numbers}
            found["left_over_2"] = left_over
            best = _shorter(best, found | _named("unembed", fit))
        return best

    def _tied(
        self, read: Mapping[str, np.ndarray], unembed: Coefficients, total: PerNeuron
    ) -> Written:
        """The unembedding, made of the left and right tables' spaces of b and b′ in each block."""
        parts, numbers = [], []
        for b, (matrix, end) in enumerate(zip(unembed, self.ends, strict=True)):
            of_left, rank_left = _space(read[f"left_{b}"])
            of_right, rank_right = _space(rearrange(read[f"right_{b}"], "m i j -> m j i"))
            parts.append(of_left @ matrix @ of_right)
            numbers.append(rank_left * rank_right / end)
        energy = np.stack([np.square(part).sum((1, 2)) for part in parts], 1)
        number = np.stack(numbers, 1)
        # The mean is a free number, whether or not the left and right tables have one.
        number[:, 0], parts[0] = 1, unembed[0]
        energy[:, 0] = np.square(unembed[0]).sum((1, 2))
        number = np.where(number > 0, number, _IMPOSSIBLE)
        mask = self.chosen(energy, number + 1 / self.level, total)
        fit = [part * mask[:, b, None, None] for b, part in enumerate(parts)]
        return fit, (mask * number).sum(1), _choice_bits(mask, number < _IMPOSSIBLE)

    def _coded(
        self,
        best: Mapping[str, np.ndarray],
        tables: Tables,
        measured: Sequence[_Table],
        kept: Bool[np.ndarray, "neurons"],
    ) -> Coded:
        """Convert the result to the tables' units and add the neurons that were left out."""
        sides = ("left", "right", "unembed")
        count = range(len(self.blocks))
        fitted = tables.means()
        for side, table, place in zip(sides, measured, fitted, strict=True):
            functions = self.functions([best[f"{side}_{b}"] for b in count])
            place[:, torch.from_numpy(kept)] = torch.from_numpy(functions * table.scale)
        left_over = np.stack([best[f"left_over_{i}"] for i in range(3)], 1)
        strength = np.stack(
            [
                np.square(best[f"left_{b}"]).sum((1, 2)) + np.square(best[f"right_{b}"]).sum((1, 2))
                for b in count
            ],
            1,
        )
        strength[:, 0] = 0
        blocks: list[tuple[int, ...]] = [()] * len(kept)
        for j, row in zip(np.flatnonzero(kept), strength, strict=True):
            blocks[j] = tuple(b for b in np.argsort(-row).tolist() if row[b] > _ZERO)
        unembeds = [best[f"unembed_{b}"] for b in count]
        turned = [rearrange(matrix, "m i j -> m j i") for matrix in unembeds]
        return Coded(
            bits=_spread(best["bits"], kept),
            structure=_spread(best["structure"], kept),
            levels=_spread(best["levels"], kept),
            residual=_spread(left_over, kept),
            fitted=fitted,
            subgroup=_spread(best["subgroup"], kept),
            x=_spread(best["x"], kept),
            blocks=blocks,
            reads=[_spread(_space(matrix)[0], kept) for matrix in unembeds],
            writes=[_spread(_space(matrix)[0], kept) for matrix in turned],
            shared=np.concatenate([table.shared for table in measured]),
        )


@dataclass(frozen=True)
class _Directions:
    """The spaces of the directions a, which all neurons share.

    Attributes:
        dimensions: of each block's space, over its division algebra.
        numbers: the free numbers that give the spaces.
        choices: the bits that give their dimensions.
    """

    dimensions: Int[np.ndarray, "blocks"]
    numbers: float
    choices: float


@dataclass(frozen=True)
class _Table:
    """A table, scaled so that every column's deviation from its mean has length 1.

    Attributes:
        shared: the energies of the errors that all neurons share, which ``unit`` does not contain.
        choices: the bits that say for which irreps.
    """

    unit: Float[np.ndarray, "order neurons"]
    scale: PerNeuron
    shared: Float[np.ndarray, "functions"] = field(default_factory=lambda: np.zeros(0))
    choices: float = 0.0

    @classmethod
    def of(cls, table: Float[Tensor, "order d_mlp"], kept: Bool[np.ndarray, "d_mlp"]) -> _Table:
        values = table.numpy()[:, kept]
        length = np.linalg.norm(values - values.mean(0), axis=0)
        # For a constant column only the mean needs a description.
        scale = np.where(length > 0, length, np.maximum(np.abs(values).max(0, initial=0), 1e-300))
        return cls(values / scale, scale)

    @property
    def energy(self) -> PerNeuron:
        return np.square(self.unit).sum(0)


@dataclass(frozen=True)
class ScaledTables:
    """The described neurons' tables: as they are, and without errors that all neurons share."""

    tables: Tables
    kept: Bool[np.ndarray, "neurons"]
    plain: Sequence[_Table]
    straight: Sequence[_Table]


def _energy(coefficients: Coefficients) -> PerNeuron:
    return np.sum([np.square(matrix).sum((1, 2)) for matrix in coefficients], axis=0)


def _left_over(measured: Coefficients, fit: Coefficients, total: PerNeuron) -> PerNeuron:
    """The energy that a fit leaves; energy outside all blocks is a rounding error."""
    differences = [one - other for one, other in zip(measured, fit, strict=True)]
    return np.maximum(_energy(differences) + (total - _energy(measured)), 0)


def _svd(
    matrix: Float[np.ndarray, "neurons d e"], used: Bool[np.ndarray, "neurons"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The singular value decompositions of the used matrices, and zeros for the others."""
    left, values, right = np.linalg.svd(matrix[used], full_matrices=False)
    return _spread(left, used), _spread(values, used), _spread(right, used)


def _is_used(matrix: Float[np.ndarray, "neurons d e"]) -> Bool[np.ndarray, "neurons"]:
    return np.any(matrix != 0, axis=(1, 2))


def _rank(matrix: Float[np.ndarray, "neurons d e"]) -> Int[np.ndarray, "neurons"]:
    used = _is_used(matrix)
    values = np.linalg.svd(matrix[used], compute_uv=False)
    return _spread((values > _ZERO).sum(1), used)


def _space(
    matrix: Float[np.ndarray, "neurons d e"],
) -> tuple[Float[np.ndarray, "neurons d d"], PerNeuron]:
    """The projection on the column space of a matrix, and its rank."""
    left, values, _ = _svd(matrix, _is_used(matrix))
    used = values > _ZERO
    return einsum(left, used.astype(float), left, "m i k, m k, m j k -> m i j"), used.sum(1).astype(
        float
    )


def _one_part(
    energy: Float[np.ndarray, "neurons parts"],
    number: Float[np.ndarray, "neurons parts"],
    sizes: Sequence[int],
) -> Float[np.ndarray, "neurons parts"]:
    """Free numbers with all but the mean and the strongest direction made impossible."""
    first = np.cumsum([0, *sizes[:-1]])
    candidates = np.where(number[:, first[1:]] < _IMPOSSIBLE, energy[:, first[1:]], -1)
    strongest = first[1:][candidates.argmax(1)]
    only = np.full_like(number, _IMPOSSIBLE)
    only[:, 0] = number[:, 0]
    every = np.arange(len(number))
    only[every, strongest] = number[every, strongest]
    return only


def _choice_bits(
    chosen: Bool[np.ndarray, "neurons blocks"], available: Bool[np.ndarray, "neurons blocks"]
) -> PerNeuron:
    """The bits that name some of the allowed blocks: how many, then which."""
    many, some = available.sum(1), chosen.sum(1)
    every = range(available.shape[1] + 1)
    ways = np.array([[math.comb(a, b) for b in every] for a in every], dtype=float)
    return np.log2(many + 1) + np.log2(ways[many, some])


def _split(mask: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    return np.split(mask, np.cumsum(sizes)[:-1], axis=1)


def _where(better: Bool[np.ndarray, "neurons"], one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where(better.reshape(-1, *[1] * (one.ndim - 1)), one, other)


def _named(name: str, coefficients: Coefficients) -> dict[str, np.ndarray]:
    return {f"{name}_{b}": matrix for b, matrix in enumerate(coefficients)}


def _shorter(best: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """For each neuron, the description with fewer bits."""
    if not best:
        return found
    better = found["bits"] < best["bits"]
    return {name: _where(better, found[name], best[name]) for name in best}


def _spread(values: np.ndarray, kept: Bool[np.ndarray, "neurons"]) -> np.ndarray:
    """Values of the kept neurons, and zeros for the others."""
    spread = np.zeros((len(kept), *values.shape[1:]), dtype=values.dtype)
    spread[kept] = values
    return spread
