"""Closed-form irreps of each family of groups; each function takes a group of its family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import product
from math import prod

import numpy as np

from coset_circuits.groups.decomposition import numerical_irrep, spread
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import FieldType, Irrep
from coset_circuits.groups.permutations import parity

Shape = tuple[int, ...]

# --- symmetric groups -----------------------------------------------------------------------


def symmetric_irreps(group: FiniteGroup) -> tuple[Irrep, ...]:
    """Young's orthogonal form: one irrep for each partition of the degree."""
    shapes = sorted(_partitions(_degree(group)), key=lambda s: (len(_tableaux(s)), _descending(s)))
    return tuple(
        Irrep(
            group,
            _partition_name(shape),
            len(_tableaux(shape)),
            "real",
            lambda shape=shape: _symmetric_matrices(group, shape),
        )
        for shape in shapes
    )


def _symmetric_matrices(group: FiniteGroup, shape: Shape) -> np.ndarray:
    swaps = _young_transpositions(shape)
    generators = {_index(group, _swap(group, k)): matrix for k, matrix in enumerate(swaps)}
    return spread(group, generators, len(_tableaux(shape)))


def _young_transpositions(shape: Shape) -> list[np.ndarray]:
    """Young's orthogonal form of (1 2), (2 3), …: 1/r on the diagonal, r the axial distance."""
    tableaux = _tableaux(shape)
    place = {tableau: i for i, tableau in enumerate(tableaux)}
    matrices = []
    for k in range(sum(shape) - 1):
        matrix = np.zeros((len(tableaux), len(tableaux)))
        for i, tableau in enumerate(tableaux):
            columns = _columns(tableau)
            content = [columns[p] - tableau[p] for p in (k, k + 1)]
            distance = content[1] - content[0]
            matrix[i, i] = 1 / distance
            swapped = (*tableau[:k], tableau[k + 1], tableau[k], *tableau[k + 2 :])
            if swapped in place and swapped != tableau:
                matrix[place[swapped], i] = np.sqrt(1 - 1 / distance**2)
        matrices.append(matrix)
    return matrices


def _partitions(total: int, largest: int | None = None) -> Iterator[Shape]:
    if total == 0:
        yield ()
    for first in range(min(total, largest or total), 0, -1):
        for rest in _partitions(total - first, first):
            yield (first, *rest)


def _partition_name(shape: Shape) -> str:
    return "(" + ",".join(map(str, shape)) + ")"


def _descending(shape: Shape) -> list[int]:
    return [-n for n in shape]


def _transposed(shape: Shape) -> Shape:
    return tuple(sum(row > column for row in shape) for column in range(shape[0]))


def _tableaux(shape: Shape) -> list[Shape]:
    """Standard tableaux, each as the row in which 1, 2, …, n stand."""
    if not shape:
        return [()]
    found = []
    for row, length in enumerate(shape):
        below = shape[row + 1] if row + 1 < len(shape) else 0
        if length > below:
            smaller = (*shape[:row], length - 1, *shape[row + 1 :])
            trimmed = tuple(n for n in smaller if n)
            found += [(*tableau, row) for tableau in _tableaux(trimmed)]
    return sorted(found)


def _columns(tableau: Shape) -> Shape:
    """The column in which 1, 2, …, n stand: the rows of the transposed tableau."""
    return tuple(tableau[:p].count(row) for p, row in enumerate(tableau))


def _degree(group: FiniteGroup) -> int:
    assert group.permutations is not None
    return group.permutations.shape[1]


def _swap(group: FiniteGroup, k: int) -> np.ndarray:
    """The one-line notation of the transposition of the neighbours k and k + 1."""
    image = np.arange(_degree(group))
    image[[k, k + 1]] = image[[k + 1, k]]
    return image


def _index(group: FiniteGroup, image: np.ndarray) -> int:
    assert group.permutations is not None
    return int(np.flatnonzero((group.permutations == image).all(axis=1))[0])


# --- alternating groups ---------------------------------------------------------------------


def alternating_irreps(group: FiniteGroup) -> tuple[Irrep, ...]:
    """Restrictions of S_n's irreps. A partition and its transpose restrict to the same irrep,
    which is named after the larger of the two.

    If a partition is its own transpose, the restriction splits into two halves, ``+`` and ``-``.
    """
    degree = _degree(group)
    shapes = [s for s in _partitions(degree) if s >= _transposed(s)]
    found = []
    for shape in shapes:
        name, dimension = _partition_name(shape), len(_tableaux(shape))
        if shape != _transposed(shape) or degree == 1:
            build = lambda shape=shape: _restricted(group, shape, np.eye(len(_tableaux(shape))))  # noqa: E731
            found.append((dimension, shape, Irrep(group, name, dimension, "real", build)))
            continue
        type: FieldType = "complex" if np.iscomplexobj(_half(shape, 1)) else "real"
        for sign, text, other in ((1, "+", "-"), (-1, "-", "+")):
            build = lambda shape=shape, sign=sign: _restricted(group, shape, _half(shape, sign))  # noqa: E731
            conjugate = name + (other if type == "complex" else text)
            half = Irrep(group, name + text, dimension // 2, type, build, conjugate=conjugate)
            found.append((dimension // 2, shape, half))
    found.sort(key=lambda entry: (entry[0], _descending(entry[1])))
    return tuple(rho for _, _, rho in found)


def _restricted(group: FiniteGroup, shape: Shape, subspace: np.ndarray) -> np.ndarray:
    """The matrices of the even permutations on an invariant subspace of Young's form."""
    swaps = _young_transpositions(shape)
    generators = {}
    for k in range(1, _degree(group) - 1):
        image = _swap(group, 0)[_swap(group, k)]
        generators[_index(group, image)] = subspace.conj().T @ swaps[0] @ swaps[k] @ subspace
    return spread(group, generators, subspace.shape[1])


def _half(shape: Shape, sign: int) -> np.ndarray:
    """An eigenspace of the map T that takes a tableau to ± its transpose, T ρ(s) = −ρ(s) T.

    The sign is that of the tableau's reading word, which every swap of neighbours turns. T² is 1
    or −1 by the shape; even permutations commute with T, so its two eigenspaces are invariant.
    """
    tableaux = _tableaux(shape)
    place = {tableau: i for i, tableau in enumerate(tableaux)}
    columns = []
    for i, tableau in enumerate(tableaux):
        other = place[_columns(tableau)]
        if i < other:
            column = np.zeros(len(tableaux), dtype=complex)
            column[i] = 1
            square = _reading_sign(tableau) * _reading_sign(tableaux[other])
            column[other] = sign * _reading_sign(tableau) * (1 if square == 1 else -1j)
            columns.append(column / np.sqrt(2))
    half = np.stack(columns, axis=1)
    return half if np.imag(half).any() else np.real(half)


def _reading_sign(tableau: Shape) -> int:
    return 1 - 2 * parity(sorted(range(len(tableau)), key=lambda p: (tableau[p], p)))


# --- cyclic, dihedral and dicyclic groups ---------------------------------------------------


def cyclic_irreps(group: FiniteGroup) -> tuple[Irrep, ...]:
    """``freq_k`` sends j to exp(2πi·kj/n)."""
    return _frequencies(group, np.arange(group.order), group.order)


def _frequencies(group: FiniteGroup, exponents: np.ndarray, order: int) -> tuple[Irrep, ...]:
    """The irreps of a cyclic quotient of a given order; each element maps to its exponent."""
    return tuple(
        Irrep(
            group,
            f"freq_{k}",
            1,
            "real" if 2 * k % order == 0 else "complex",
            lambda k=k: _frequency(order, k, exponents)[:, None, None],
            conjugate=f"freq_{-k % order}",
        )
        for k in range(order)
    )


def _frequency(order: int, k: int, exponents: np.ndarray) -> np.ndarray:
    # Reducing the exponent first keeps the phase exact for large k.
    values = np.exp(2j * np.pi * (k * exponents % order) / order)
    return np.round(np.real(values)) if 2 * k % order == 0 else values


def dihedral_irreps(group: FiniteGroup) -> tuple[Irrep, ...]:
    """``sign`` sends (r, s) to (1, −1), ``sign_r`` to (−1, 1), ``sign_rs`` to (−1, −1)."""
    sides = group.order // 2
    rotation, flip = np.tile(np.arange(sides), 2), np.repeat([0, 1], sides)
    exponents = {"trivial": 0 * flip, "sign": flip}
    if sides % 2 == 0:
        exponents |= {"sign_r": rotation, "sign_rs": rotation + flip}
    return (*_signs(group, exponents), *_planar(group, sides, range(1, (sides + 1) // 2)))


def _signs(group: FiniteGroup, exponents: Mapping[str, np.ndarray]) -> list[Irrep]:
    return [
        Irrep(group, name, 1, "real", lambda e=e: (1.0 - 2.0 * (e % 2))[:, None, None])
        for name, e in exponents.items()
    ]


def _planar(group: FiniteGroup, turns: int, frequencies: range) -> list[Irrep]:
    """Rotations by k/turns of a full turn, then the same with a reflection after each."""
    return [
        Irrep(group, f"freq_{k}", 2, "real", lambda k=k: _reflected_turns(turns, k))
        for k in frequencies
    ]


def _reflected_turns(turns: int, k: int) -> np.ndarray:
    phase = _frequency(turns, k, np.arange(turns))
    x, y = np.real(phase), np.imag(phase)
    turn = np.stack([x, -y, y, x], axis=1).reshape(-1, 2, 2)
    return np.concatenate([turn, turn * [1, -1]])


def dicyclic_irreps(group: FiniteGroup) -> tuple[Irrep, ...]:
    """``sign`` sends (a, x) to (1, −1) and ``sign_a`` a to −1; odd frequencies are quaternionic."""
    n = group.order // 4
    exponent, flip = np.tile(np.arange(2 * n), 2), np.repeat([0, 1], 2 * n)
    linear = _signs(group, {"trivial": 0 * flip, "sign": flip})
    if n % 2 == 0:
        linear += _signs(group, {"sign_a": exponent, "sign_ax": exponent + flip})
    else:  # x² = aⁿ goes to −1, so x to i or −i
        for root, name, other in ((1, "sign_a+", "sign_a-"), (3, "sign_a-", "sign_a+")):
            phases = 2 * exponent + root * flip
            build = lambda phases=phases: _frequency(4, 1, phases)[:, None, None]  # noqa: E731
            linear.append(Irrep(group, name, 1, "complex", build, conjugate=other))
    planar = [_planar(group, 2 * n, range(k, k + 1))[0] for k in range(2, n, 2)]
    planar += [
        Irrep(group, f"freq_{k}", 2, "quaternionic", lambda k=k: _quaternions(2 * n, k))
        for k in range(1, n, 2)
    ]
    return (*linear, *sorted(planar, key=lambda rho: int(rho.name.removeprefix("freq_"))))


def _quaternions(turns: int, k: int) -> np.ndarray:
    phase = _frequency(turns, k, np.arange(turns))
    zero = np.zeros(turns)
    powers = np.stack([phase, zero, zero, phase.conj()], axis=1).reshape(-1, 2, 2)
    return np.concatenate([powers, powers @ np.array([[0, -1], [1, 0]])])


# --- affine groups --------------------------------------------------------------------------


def affine_irreps(group: FiniteGroup, prime: int, multiplier: int) -> tuple[Irrep, ...]:
    """Irreps of the group of maps x ↦ mʲx + b modulo p; m is the multiplier, j·p + b the element.

    ``freq_k`` comes from the quotient of the powers of m; ``ind_t`` is induced from the character
    t of the translations, one for each orbit of the multiplications.
    """
    degree = group.order // prime
    powers = [pow(multiplier, j, prime) for j in range(degree)]
    linear = _frequencies(group, np.repeat(np.arange(degree), prime), degree)
    least = {t * m % prime: t for t in range(prime - 1, 0, -1) for m in powers}
    induced = [
        Irrep(
            group,
            f"ind_{t}",
            degree,
            "real" if least[prime - t] == t else "complex",
            lambda t=t: _induced(prime, powers, t),
            conjugate=f"ind_{least[prime - t]}",
        )
        for t in sorted(set(least.values()))
    ]
    return (*linear, *induced)


def _induced(prime: int, powers: list[int], t: int) -> np.ndarray:
    degree = len(powers)
    phases = np.stack([_frequency(prime, t * m, np.arange(prime)) for m in powers], axis=1)
    translations = phases[:, :, None] * np.eye(degree)
    matrices = np.concatenate(
        [translations @ np.roll(np.eye(degree), -j, axis=0) for j in range(degree)]
    )
    if degree % 2:
        return matrices
    # −1 is a power of m: characters t and −t come in pairs, whose sum and difference are real.
    one, flip = np.eye(degree // 2), 1j * np.eye(degree // 2)
    real = np.block([[one, flip], [one, -flip]]) / np.sqrt(2)
    return np.ascontiguousarray((real.conj().T @ matrices @ real).real)


# --- direct products ------------------------------------------------------------------------


def product_irreps(group: FiniteGroup, factors: Sequence[FiniteGroup]) -> tuple[Irrep, ...]:
    """Kronecker products of the factors' irreps, the last factor's changing fastest."""
    return tuple(_kronecker(group, rhos) for rhos in product(*(f.irreps for f in factors)))


def _kronecker(group: FiniteGroup, factors: Sequence[Irrep]) -> Irrep:
    name = "⊗".join(rho.name for rho in factors)
    conjugate = "⊗".join(rho.conjugate for rho in factors)
    quaternionic = sum(rho.type == "quaternionic" for rho in factors)
    type: FieldType = "quaternionic" if quaternionic % 2 else "real"
    if any(rho.type == "complex" for rho in factors):
        type = "complex"
    if type == "real" and quaternionic:  # the product's matrices are complex, the irrep is not
        characters = [rho.character.numpy() for rho in factors]
        return numerical_irrep(group, name, reduce(np.multiply.outer, characters).reshape(-1))
    return Irrep(
        group,
        name,
        prod(rho.dimension for rho in factors),
        type,
        lambda: reduce(_outer, [rho.matrices.numpy() for rho in factors]),
        conjugate=conjugate,
    )


def _outer(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """All Kronecker products of a matrix of the left with one of the right."""
    order, dimension = len(left) * len(right), left.shape[1] * right.shape[1]
    blocks = np.einsum("aij,bkl->abikjl", left, right)
    return np.ascontiguousarray(blocks).reshape(order, dimension, dimension)
