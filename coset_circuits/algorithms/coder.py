"""Find the shortest description of each neuron's three tables that a hypothesis allows.

Every hypothesis about tables is a choice from one family. Coset hypotheses allow any subgroup H,
with full ranks. Irrep hypotheses allow any rank, without H. The family in between allows both. A
ρ-set (Wu et al., arXiv 2410.07476) is one irrep of rank one with a subgroup.

A neuron's tables are related: the right table may be the mirrored left table, R(b) = −L(x b⁻¹), or
share its directions a. The unembedding may be made of the vectors b and b′ that the left and right
tables read. Neurons are related too: in each irrep all directions a may be in a space of fewer
dimensions, often a line, which is paid for once. Every hypothesis may use all of these savings.
Where a neuron need not be on cosets, the unembedding may also be any function in irreps that are
named once for all neurons, and so may all three tables of all neurons. A table's functions may
differ from those of its irreps by an error that is the same for all neurons: a residual that is
coded once for each function instead of once for each neuron.

Each neuron gets the structure with the fewest bits in total.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int

from coset_circuits.algorithms.algorithm import Tables
from coset_circuits.algorithms.alike import Table, alike, directions, straightened
from coset_circuits.algorithms.counting import (
    IMPOSSIBLE,
    IRREPS,
    Counting,
    Family,
    Written,
    choice_bits,
)
from coset_circuits.algorithms.spectrum import (
    ZERO,
    Coefficients,
    PerNeuron,
    energy_of,
    left_over_of,
    ranks_of,
    space_of,
    spread,
)
from coset_circuits.thresholds import DEFAULT

TRIED = 6
"""The number of subgroups that are tried in full for each neuron: those with the best bound on its
left table."""

TRIED_OF_UNEMBEDDING = 3
"""The same for each side of the unembedding, if it has other cosets than the tables."""

_AT_ONCE = 32
"""The number of subgroups whose bounds are computed together, so that arrays stay in the cache."""


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


@dataclass(frozen=True)
class ScaledTables:
    """The described neurons' tables: as they are, and without errors that all neurons share."""

    tables: Tables
    kept: Bool[np.ndarray, "neurons"]
    plain: Sequence[Table]
    straight: Sequence[Table]


class Coder(Counting):
    """Codes the tables of a network's neurons in one or more families."""

    def fit(self, tables: Tables, family: Family, kept: Bool[np.ndarray, "neurons"]) -> Coded:
        """The shortest description of every neuron in ``kept``; the others get their means."""
        return self.described(self.scaled(tables, kept), family)

    def scaled(self, tables: Tables, kept: Bool[np.ndarray, "neurons"]) -> ScaledTables:
        """What is described of the tables, whatever the family."""
        if not kept.any():
            # No neuron matters: then all are described, but none is counted.
            kept = np.ones_like(kept)
        plain = [Table.of(self, table, kept) for table in tables]
        return ScaledTables(tables, kept, plain, [straightened(self, table) for table in plain])

    def described(self, scaled: ScaledTables, family: Family) -> Coded:
        """The shortest description that a family allows."""
        code = self._described(scaled, scaled.plain, family)
        if not any(len(table.shared) for table in scaled.straight):
            return code
        # The fitted tables lack the shared errors, so they must save something that counts.
        other = self._described(scaled, scaled.straight, family)
        return other if code.bits.sum() > DEFAULT.as_short * other.bits.sum() else code

    def _described(self, scaled: ScaledTables, measured: Sequence[Table], family: Family) -> Coded:
        """The shortest description of the measured tables: neurons one by one, or all alike."""
        totals = [table.energy for table in measured]
        every = [table.coefficients for table in measured]
        best, dimensions = self._each(every, totals, family)
        if family.without:
            common = self._all_alike(every, totals)
            if common["bits"].sum() < best["bits"].sum():
                best, dimensions = common, None
        count = scaled.kept.sum()
        for table in measured:
            best["structure"] = best["structure"] + table.choices / count
            once = self.residual_bits(table.shared).sum() + table.choices
            best["bits"] = best["bits"] + once / count
        code = self._coded(best, scaled.tables, measured, scaled.kept)
        return code if dimensions is None else self._named(code, dimensions)

    def _each(
        self, every: Sequence[Coefficients], totals: Sequence[PerNeuron], family: Family
    ) -> tuple[dict[str, np.ndarray], Int[np.ndarray, "blocks"]]:
        """Every neuron in its own structure, and the dimensions of the common directions."""
        left, right, spaces = directions(self, every[0], every[1])
        unembed, count = every[2], len(totals[0])
        tried = self._to_try(left, totals[0], family, spaces.dimensions)
        elsewhere = []
        if family.cosets and not family.one_direction:
            elsewhere.append(self._written_elsewhere(unembed, totals[2], family))
        if family.without:
            elsewhere.append(alike(self, unembed, totals[2]))
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
            fit, numbers, choices = alike(self, table, total, narrow=True)
            left_over = left_over_of(table, fit, total)
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
            ranks = np.stack([ranks_of(c) // e for c, e in zip(read, self.ends, strict=True)], 1)
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
            cost = np.where(number > 0, number + 1 / self.level, IMPOSSIBLE)
            cost = rearrange(cost, "h m b -> (h m) b")
            _, bits = self.prefixes(energy, cost, np.tile(total, len(some)))
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
                numbers = np.where(neither, IMPOSSIBLE, numbers)
            choices = choices + 2 * np.log2(len(self.proper) + 1)
            left_over = self.residual_bits(left_over_of(unembed, fit, total))
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
        total = energy_of(both) + (sum(totals[:2]) / 2 - (energy_of(allowed) + energy_of(back)) / 2)
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
                left_over_of(measured, fit, total)
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
            left_over = left_over_of(unembed, fit, total)
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
            of_left, rank_left = space_of(read[f"left_{b}"])
            of_right, rank_right = space_of(rearrange(read[f"right_{b}"], "m i j -> m j i"))
            parts.append(of_left @ matrix @ of_right)
            numbers.append(rank_left * rank_right / end)
        energy = np.stack([np.square(part).sum((1, 2)) for part in parts], 1)
        number = np.stack(numbers, 1)
        # The mean is a free number, whether or not the left and right tables have one.
        number[:, 0], parts[0] = 1, unembed[0]
        energy[:, 0] = np.square(unembed[0]).sum((1, 2))
        number = np.where(number > 0, number, IMPOSSIBLE)
        mask = self.chosen(energy, number + 1 / self.level, total)
        fit = [part * mask[:, b, None, None] for b, part in enumerate(parts)]
        return fit, (mask * number).sum(1), choice_bits(mask, number < IMPOSSIBLE)

    def _coded(
        self,
        best: Mapping[str, np.ndarray],
        tables: Tables,
        measured: Sequence[Table],
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
            blocks[j] = tuple(b for b in np.argsort(-row).tolist() if row[b] > ZERO)
        unembeds = [best[f"unembed_{b}"] for b in count]
        turned = [rearrange(matrix, "m i j -> m j i") for matrix in unembeds]
        return Coded(
            bits=spread(best["bits"], kept),
            structure=spread(best["structure"], kept),
            levels=spread(best["levels"], kept),
            residual=spread(left_over, kept),
            fitted=fitted,
            subgroup=spread(best["subgroup"], kept),
            x=spread(best["x"], kept),
            blocks=blocks,
            reads=[spread(space_of(matrix)[0], kept) for matrix in unembeds],
            writes=[spread(space_of(matrix)[0], kept) for matrix in turned],
            shared=np.concatenate([table.shared for table in measured]),
        )


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
