"""What neurons share: directions, irreps that all use, and errors of these irreps' functions.

Each is paid for once, whatever the number of neurons.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.algorithms.counting import Counting, Written
from coset_circuits.algorithms.spectrum import Coefficients, PerNeuron, Spectrum
from coset_circuits.thresholds import DEFAULT

STRAIGHT = 1 - 1 / DEFAULT.as_short
"""An error that all neurons share may hold at most this share of a table's variance. A renamed
group's irreps hold a share p/n with p of the n functions. To hold the rest they would need so many
functions that nothing which counts is saved."""


@dataclass(frozen=True)
class Table:
    """A table, scaled so that every column's deviation from its mean has length 1.

    Attributes:
        spectrum: the blocks in which it is described.
        shared: the energies of the errors that all neurons share, which ``unit`` does not contain.
        choices: the bits that say for which irreps.
    """

    spectrum: Spectrum
    unit: Float[np.ndarray, "order neurons"]
    scale: PerNeuron
    shared: Float[np.ndarray, "functions"] = field(default_factory=lambda: np.zeros(0))
    choices: float = 0.0

    @classmethod
    def of(
        cls,
        spectrum: Spectrum,
        table: Float[Tensor, "order d_mlp"],
        kept: Bool[np.ndarray, "d_mlp"],
    ) -> Table:
        values = table.numpy()[:, kept]
        length = np.linalg.norm(values - values.mean(0), axis=0)
        # For a constant column only the mean needs a description.
        scale = np.where(length > 0, length, np.maximum(np.abs(values).max(0, initial=0), 1e-300))
        return cls(spectrum, values / scale, scale)

    @cached_property
    def coefficients(self) -> Coefficients:
        return self.spectrum.coefficients(self.unit)

    @property
    def energy(self) -> PerNeuron:
        return np.square(self.unit).sum(0)


@dataclass(frozen=True)
class Directions:
    """The spaces of the directions a, which all neurons share.

    Attributes:
        dimensions: of each block's space, over its division algebra.
        numbers: the free numbers that give the spaces.
        choices: the bits that give their dimensions.
    """

    dimensions: Int[np.ndarray, "blocks"]
    numbers: float
    choices: float


def straightened(counting: Counting, table: Table) -> Table:
    """The table without what all neurons' functions have outside a few irreps.

    This part must be a linear function of the part in the irreps. So a neuron needs no numbers
    for it; each function of the irreps has an error, coded once for all neurons like a
    residual. The irreps hold at most half of the group's functions but nearly all the variance
    (:data:`STRAIGHT`): others, and renamed ones, cannot be bent into the network's functions.
    """
    unit, count = table.unit, table.unit.shape[1]
    variance = np.square(unit - unit.mean(0)).sum()
    order = counting.by_energy(table.coefficients)
    best, shortest = table, np.inf
    for size in range(1, len(order)):
        basis = np.concatenate([counting.blocks[b].basis.numpy() for b in order[:size]], 1)
        functions = basis.shape[1]
        if functions > counting.group.order / 2:
            break
        inside = basis.T @ unit
        outside = unit - basis @ inside
        found = [table]
        if np.square(outside).sum() <= STRAIGHT * variance:
            # Each coefficient is only known to δ/√n.
            known = count * counting.relative_error**2 / counting.group.order * np.eye(functions)
            error = np.linalg.solve(inside @ inside.T + known, inside @ outside.T).T
            shared = np.square(error).sum(0)
            found.append(
                replace(table, unit=unit - error @ inside, shared=shared, choices=len(order))
            )
        for one in found:
            rest = np.square(one.unit - basis @ inside).sum(0)
            bits = counting.level * functions * count + one.choices
            bits += counting.residual_bits(rest).sum() + counting.residual_bits(one.shared).sum()
            if bits < shortest:
                best, shortest = one, bits
    return best


def alike(
    counting: Counting, table: Coefficients, total: PerNeuron, *, narrow: bool = False
) -> Written:
    """A table as any function in a set of irreps that is the same for all neurons.

    They hold at most half of the group's functions; with all of them nothing would be said.
    If ``narrow``, all neurons' functions are in a space of v of the p dimensions that these
    irreps have. The space is given once, by v(p − v) numbers.
    """
    order, count = counting.by_energy(table), len(total)
    # One bit for each irrep tells all neurons which these are.
    best, shortest = None, np.inf
    for size in range(len(order) + 1):
        chosen = sorted(order[:size])
        functions = sum(counting.blocks[b].parameters for b in chosen)
        if functions > counting.group.order / 2:
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
        bits = counting.level * numbers * count + choices
        bits += counting.residual_bits(total[:, None] - held).sum(0)
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


def directions(
    counting: Counting, left: Coefficients, right: Coefficients
) -> tuple[Coefficients, Coefficients, Directions]:
    """Project both tables on the spaces of the directions a that all neurons share.

    The dimensions are those with the fewest bits if every neuron has rank one.
    """
    lefts, rights, dimensions = [], [], []
    numbers = 0.0
    for one, other, end in zip(left, right, counting.ends, strict=True):
        degree = one.shape[1] // end
        along = np.concatenate([one, rearrange(other, "m i j -> m j i")])
        _, vectors = np.linalg.eigh(einsum(along, along, "m k i, m k j -> i j"))
        vectors = vectors[:, ::-1]
        energy = np.square(along @ vectors).sum(1)
        held = rearrange(energy, "m (w end) -> m w end", end=end).sum(2).cumsum(1)
        nothing = np.zeros((len(held), 1))
        left_over = held[:, -1:] - np.concatenate([nothing, held], 1)
        users = (held[:, -1] > counting.relative_error**2).sum()
        size = np.arange(degree + 1)
        paid = end * (size * users / 2 + size * (degree - size))
        width = int((counting.level * paid + counting.residual_bits(left_over).sum(0)).argmin())
        space = vectors[:, : end * width]
        projection = space @ space.T
        lefts.append(one @ projection)
        rights.append(projection @ other)
        dimensions.append(width)
        numbers += end * width * (degree - width)
    choices = float(np.log2(counting.degrees + 1).sum())
    return lefts, rights, Directions(np.array(dimensions), numbers, choices)
