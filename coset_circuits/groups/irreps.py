"""Irreducible representations: Young's orthogonal form, rotations, and numerics for the rest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.families import group as named_group
from coset_circuits.groups.group import FiniteGroup

FieldType = Literal["real", "complex", "quaternionic"]

# Worst entry of ρ(a)ρ(b) − ρ(ab) that a numerically found representation may show.
HOMOMORPHISM_TOLERANCE = 1e-10


class Irrep:
    """An irreducible representation over the complex numbers, ρ(a)ρ(b) = ρ(ab).

    Attributes:
        name: a partition for S_n and A_n, ``"freq_3"`` for rotations, degree and letter otherwise.
        dimension: its degree.
        type: from the Frobenius–Schur indicator 1, 0 or −1.
    """

    def __init__(
        self,
        name: str,
        dimension: int,
        type: FieldType,
        build: Callable[[], np.ndarray],
        character: np.ndarray | None = None,
    ) -> None:
        self.name = name
        self.dimension = dimension
        self.type: FieldType = type
        self._build = build
        self._character = character

    @cached_property
    def matrices(
        self,
    ) -> Float[Tensor, "order dimension dimension"] | Complex[Tensor, "order dimension dimension"]:
        """One matrix an element: real orthogonal for the real type, complex unitary otherwise."""
        return torch.from_numpy(self._build())

    @cached_property
    def character(self) -> Float[Tensor, " order"] | Complex[Tensor, " order"]:
        """The trace of each element's matrix; real unless the type is complex."""
        if self._character is None:
            values = np.einsum("gii->g", self.matrices.numpy())
        else:
            values = self._character
        return torch.from_numpy(values if self.type == "complex" else np.real(values).copy())

    def __repr__(self) -> str:
        return f"Irrep({self.name}: dimension {self.dimension}, {self.type})"


class RealBlock:
    """An irreducible real representation and the functions on the group that it spans.

    A complex irrep and its conjugate make one block, as does a quaternionic irrep.

    Attributes:
        name: the irrep's name; of a complex pair, the first one's.
        irrep: the complex irrep that it is made from.
        type: the irrep's type.
        dim_end: the real dimension of its commutant: 1, 2 or 4.
        dimension: its own degree over the reals.
        parameters: the dimension of its function space, dimension² / dim_end.
    """

    def __init__(self, name: str, irrep: Irrep) -> None:
        self.name = name
        self.irrep = irrep
        self.type = irrep.type
        self.dim_end = {"real": 1, "complex": 2, "quaternionic": 4}[irrep.type]
        self.dimension = irrep.dimension * (1 if irrep.type == "real" else 2)
        self.parameters = self.dimension**2 // self.dim_end

    @cached_property
    def matrices(self) -> Float[Tensor, "order dimension dimension"]:
        """One real orthogonal matrix an element."""
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


def irreps(group: FiniteGroup) -> tuple[Irrep, ...]:
    """The complex irreps, the trivial one first (cached as ``group.irreps``).

    Raises:
        RuntimeError: the numerical decomposition failed to give a representation.
    """
    family, number = _family(group)
    if family == "S":
        return _symmetric_irreps(number)
    if family == "C":
        return _cyclic_irreps(number)
    if family == "D":
        return _dihedral_irreps(number)
    if family == "A":
        return _alternating_irreps(number)
    return _numerical_irreps(group)


def real_blocks(group: FiniteGroup) -> tuple[RealBlock, ...]:
    """The real irreps, the trivial one first (cached as ``group.real_blocks``)."""
    if _family(group)[0] == "C":
        return tuple(RealBlock(rho.name, rho) for rho in group.irreps[: group.order // 2 + 1])
    blocks = []
    complex_seen = 0
    for rho in group.irreps:
        complex_seen += rho.type == "complex"
        # Everywhere but in the cyclic family conjugate partners are neighbours.
        if rho.type != "complex":
            blocks.append(RealBlock(rho.name, rho))
        elif complex_seen % 2:
            blocks.append(RealBlock(rho.name.removesuffix("+"), rho))
    return tuple(blocks)


def _family(group: FiniteGroup) -> tuple[str, int]:
    """The family letter and number, or ("", 0) where the table is not the family's own."""
    match = re.fullmatch(r"([SACD])([0-9]+)", group.name)
    if not match:
        return "", 0
    try:
        same = group == named_group(group.name)
    except CosetCircuitsError:
        same = False
    return (match[1], int(match[2])) if same else ("", 0)


# --- symmetric groups -----------------------------------------------------------------------


def _symmetric_irreps(degree: int) -> tuple[Irrep, ...]:
    group = named_group(f"S{degree}")  # the same table, and its permutations are known
    shapes = sorted(_partitions(degree), key=lambda s: (len(_tableaux(s)), [-n for n in s]))
    return tuple(
        Irrep(
            _partition_name(shape),
            len(_tableaux(shape)),
            "real",
            lambda shape=shape: _young_matrices(group, shape),
        )
        for shape in shapes
    )


def _partitions(total: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    if total == 0:
        yield ()
    for first in range(min(total, largest or total), 0, -1):
        for rest in _partitions(total - first, first):
            yield (first, *rest)


def _partition_name(shape: tuple[int, ...]) -> str:
    return "(" + ",".join(map(str, shape)) + ")"


def _conjugate_partition(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sum(row > column for row in shape) for column in range(shape[0]))


def _tableaux(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
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


def _young_transpositions(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Young's orthogonal form of (1 2), (2 3), …: 1/r on the diagonal, r the axial distance."""
    tableaux = _tableaux(shape)
    place = {tableau: i for i, tableau in enumerate(tableaux)}
    matrices = []
    for k in range(sum(shape) - 1):
        matrix = np.zeros((len(tableaux), len(tableaux)))
        for i, tableau in enumerate(tableaux):
            content = [tableau[:p].count(tableau[p]) - tableau[p] for p in (k, k + 1)]
            distance = content[1] - content[0]
            matrix[i, i] = 1 / distance
            swapped = (*tableau[:k], tableau[k + 1], tableau[k], *tableau[k + 2 :])
            if swapped in place and swapped != tableau:
                matrix[place[swapped], i] = np.sqrt(1 - 1 / distance**2)
        matrices.append(matrix)
    return matrices


def _young_matrices(group: FiniteGroup, shape: tuple[int, ...]) -> np.ndarray:
    assert group.permutations is not None
    degree = sum(shape)
    swaps = [_transposition_index(group.permutations, k, degree) for k in range(degree - 1)]
    return _spread(group, dict(zip(swaps, _young_transpositions(shape), strict=True)), shape)


def _transposition_index(permutations: np.ndarray, k: int, degree: int) -> int:
    image = np.arange(degree)
    image[[k, k + 1]] = image[[k + 1, k]]
    return int(np.flatnonzero((permutations == image).all(axis=1))[0])


def _spread(
    group: FiniteGroup, generators: dict[int, np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
    """All matrices from the generators', along shortest words."""
    dimension = len(_tableaux(shape))
    matrices = np.empty((group.order, dimension, dimension))
    matrices[group.identity] = np.eye(dimension)
    reached = np.zeros(group.order, dtype=bool)
    reached[group.identity] = True
    frontier = np.array([group.identity])
    while len(frontier):
        grown = []
        for s, matrix in generators.items():
            products = group.array[s, frontier]
            new = ~reached[products]
            matrices[products[new]] = matrix @ matrices[frontier[new]]
            reached[products[new]] = True
            grown.append(products[new])
        frontier = np.concatenate(grown) if grown else frontier[:0]
    return matrices


# --- cyclic and dihedral groups -------------------------------------------------------------


def _cyclic_irreps(order: int) -> tuple[Irrep, ...]:
    return tuple(
        Irrep(
            f"freq_{k}",
            1,
            "real" if 2 * k % order == 0 else "complex",
            lambda k=k: _frequency(order, k)[:, None, None],
        )
        for k in range(order)
    )


def _frequency(order: int, k: int) -> np.ndarray:
    # Reducing the exponent first keeps the phase exact for large k.
    values = np.exp(2j * np.pi * (k * np.arange(order) % order) / order)
    return np.round(np.real(values)) if 2 * k % order == 0 else values


def _dihedral_irreps(sides: int) -> tuple[Irrep, ...]:
    """``sign`` sends (r, s) to (1, −1), ``sign_r`` to (−1, 1), ``sign_rs`` to (−1, −1)."""
    rotation, flip = np.tile(np.arange(sides), 2), np.repeat([0, 1], sides)
    exponents = {"trivial": 0 * flip, "sign": flip}
    if sides % 2 == 0:
        exponents |= {"sign_r": rotation, "sign_rs": rotation + flip}
    linear = [
        Irrep(name, 1, "real", lambda e=e: (1.0 - 2.0 * (e % 2))[:, None, None])
        for name, e in exponents.items()
    ]
    planar = [
        Irrep(f"freq_{k}", 2, "real", lambda k=k: _dihedral_rotations(sides, k))
        for k in range(1, (sides + 1) // 2)
    ]
    return (*linear, *planar)


def _dihedral_rotations(sides: int, k: int) -> np.ndarray:
    phase = _frequency(sides, k)
    x, y = np.real(phase), np.imag(phase)
    turn = np.stack([x, -y, y, x], axis=1).reshape(-1, 2, 2)
    return np.concatenate([turn, turn * [1, -1]])


# --- alternating groups ---------------------------------------------------------------------


def _alternating_irreps(degree: int) -> tuple[Irrep, ...]:
    """The numerical irreps, named by the larger partition of the pair that restricts to them."""
    group = named_group(f"A{degree}")
    found = _numerical_irreps(group)
    characters = np.stack([rho.character.numpy() for rho in found])
    shapes = [s for s in _partitions(degree) if s >= _conjugate_partition(s)]
    restricted = np.stack([_restricted_character(group, s) for s in shapes])
    owners = [shapes[i] for i in np.argmax(np.real(restricted @ characters.conj().T), axis=0)]
    order = sorted(
        range(len(found)),
        key=lambda i: (found[i].dimension, [-n for n in owners[i]], i),
    )
    split, seen = Counter(owners), Counter()
    named = []
    for i in order:
        seen[owners[i]] += 1
        sign = ["", "+", "-"][seen[owners[i]] if split[owners[i]] > 1 else 0]
        found[i].name = _partition_name(owners[i]) + sign
        named.append(found[i])
    return tuple(named)


def _restricted_character(group: FiniteGroup, shape: tuple[int, ...]) -> np.ndarray:
    assert group.permutations is not None
    swaps = _young_transpositions(shape)
    values = np.empty(group.order)
    for members in group.conjugacy_classes:
        matrix = np.eye(len(_tableaux(shape)))
        image = group.permutations[members[0]].tolist()
        # Sorting the one-line notation by neighbouring swaps spells the permutation's inverse,
        # which has the same trace in a real orthogonal representation.
        for _ in image:
            for k in range(len(image) - 1):
                if image[k] > image[k + 1]:
                    image[k], image[k + 1] = image[k + 1], image[k]
                    matrix = matrix @ swaps[k]
        values[members] = np.trace(matrix)
    return values


# --- any group ------------------------------------------------------------------------------


def _numerical_irreps(group: FiniteGroup) -> tuple[Irrep, ...]:
    characters = sorted(_class_characters(group), key=_character_key)
    names = _degree_names(group, characters)
    return tuple(
        Irrep(
            name,
            round(chi[group.identity].real),
            _field_type(group, chi),
            lambda chi=chi: _matrices_of(group, chi),
            chi,
        )
        for name, chi in zip(names, characters, strict=True)
    )


def _character_key(character: np.ndarray) -> tuple:
    # Larger real parts first: the trivial one leads, and conjugates, which differ only in the
    # imaginary part, become neighbours.
    values = np.round(character, 6)
    return round(np.real(character).max()), (-np.real(values)).tolist(), (-np.imag(values)).tolist()


def _degree_names(group: FiniteGroup, characters: list[np.ndarray]) -> list[str]:
    names: list[str] = []
    used = Counter()
    for i, chi in enumerate(characters):
        if i and _are_conjugate(chi, characters[i - 1]) and not names[-1].endswith("*"):
            names.append(names[-1] + "*")
            continue
        degree = round(chi[group.identity].real)
        used[degree] += 1
        names.append(f"{degree}{letters(used[degree])}")
    return names


def _are_conjugate(left: np.ndarray, right: np.ndarray) -> bool:
    return len(left) == len(right) and bool(np.abs(left - right.conj()).max() < 1e-6)


def letters(number: int) -> str:
    """a, b, …, z, aa, ab, … for 1, 2, …"""
    text = ""
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def _field_type(group: FiniteGroup, character: np.ndarray) -> FieldType:
    indicator = character[group.array.diagonal()].mean().real
    types: dict[int, FieldType] = {1: "real", 0: "complex", -1: "quaternionic"}
    return types[round(indicator)]


def _class_characters(group: FiniteGroup) -> list[np.ndarray]:
    """All irreducible characters, as the common eigenvectors of the class sums.

    Convolution with a random class function f, f(x⁻¹) = conj f(x), is a Hermitian map of class
    functions whose eigenvectors are the characters once its eigenvalues differ.
    """
    rng = np.random.default_rng(group.order)
    sizes = np.bincount(group.class_labels)
    draws = (np.linalg.eigh(_random_class_map(group, sizes, rng)) for _ in range(8))
    _, vectors = max(draws, key=lambda pair: _smallest_gap(pair[0]))
    ratios = (vectors / np.sqrt(sizes)[:, None]).T
    ratios /= ratios[:, group.class_labels[group.identity], None]
    degrees = np.sqrt(group.order / (np.abs(ratios) ** 2 @ sizes))
    if np.abs(degrees - np.round(degrees)).max() > 1e-6:
        raise RuntimeError(f"The class sums of {group.name} gave degrees {degrees.tolist()}")
    return list((np.round(degrees)[:, None] * ratios)[:, group.class_labels])


def _random_class_map(
    group: FiniteGroup, sizes: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The random convolution in the orthonormal basis of scaled class indicators."""
    weights = rng.normal(size=len(sizes)) + 1j * rng.normal(size=len(sizes))
    weights /= np.sqrt(sizes)
    function = weights[group.class_labels]
    function = function + function[group.inverse_array].conj()
    columns = [
        np.bincount(group.class_labels, part(function[group.array[z, group.inverse_array]]))
        for z in np.unique(group.class_labels, return_index=True)[1]
        for part in (np.real, np.imag)
    ]
    rows = np.array(columns[::2]) + 1j * np.array(columns[1::2])
    return rows * np.sqrt(sizes)[:, None] / np.sqrt(sizes)


def _smallest_gap(eigenvalues: np.ndarray) -> float:
    spread = np.ptp(eigenvalues)
    return float(np.diff(eigenvalues).min() / spread) if spread > 0 else 1.0


def _matrices_of(group: FiniteGroup, character: np.ndarray) -> np.ndarray:
    """Matrices with a given irreducible character, real where its type is.

    A random self-adjoint map that commutes with left translations splits the character's part
    of the regular representation into eigenspaces, each one copy of the irrep.
    """
    rng = np.random.default_rng(group.order)
    is_real = _field_type(group, character) == "real"
    chi = np.real(character) if is_real else character
    dimension = round(character[group.identity].real)
    isotypic = _isotypic_basis(group, chi, dimension, rng)
    copies = [_copy(group, isotypic, dimension, rng) for _ in range(min(dimension, 4))]
    _, subspace = max(copies, key=lambda pair: pair[0])
    adjoint = subspace.conj().T
    matrices = np.stack([adjoint @ subspace[group.array[g]] for g in group.inverse_array])
    _check_homomorphism(group, matrices)
    return matrices


def _isotypic_basis(
    group: FiniteGroup, character: np.ndarray, dimension: int, rng: np.random.Generator
) -> np.ndarray:
    quotients = group.array[:, group.inverse_array]
    projector = character[quotients].conj() * (dimension / group.order)
    basis = rng.normal(size=(group.order, dimension**2))
    for _ in range(2):  # the second pass removes what rounding brought in from other parts
        basis = projector @ basis
        for _ in range(2):  # Cholesky orthonormalises far faster than QR, at half the digits
            factor = np.linalg.cholesky(basis.conj().T @ basis)
            basis = np.linalg.solve(factor.conj(), basis.T).T
    return basis


def _copy(
    group: FiniteGroup, isotypic: np.ndarray, dimension: int, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """One eigenspace of a random commuting map and how far its eigenvalue is from the others."""
    function = rng.normal(size=group.order)
    if np.iscomplexobj(isotypic):
        function = function + 1j * rng.normal(size=group.order)
    function = function + function[group.inverse_array].conj()
    commuting = function[group.array[group.inverse_array]]
    values, vectors = np.linalg.eigh(isotypic.conj().T @ (commuting @ isotypic))
    means = values.reshape(dimension, dimension).mean(axis=1)
    padded = np.concatenate([[-np.inf], means, [np.inf]])
    gaps = np.minimum(np.diff(padded)[:-1], np.diff(padded)[1:])
    best = int(np.argmax(gaps))
    chosen = vectors[:, best * dimension : (best + 1) * dimension]
    return float(gaps[best]), isotypic @ chosen


def _check_homomorphism(group: FiniteGroup, matrices: np.ndarray) -> None:
    for s in group.generators:
        residual = np.abs(matrices[s] @ matrices - matrices[group.array[s]]).max()
        if not residual < HOMOMORPHISM_TOLERANCE:
            raise RuntimeError(
                f"ρ(a)ρ(b) differs from ρ(ab) by {residual:.1e} in a numerically found irrep "
                f"of {group.name}"
            )
