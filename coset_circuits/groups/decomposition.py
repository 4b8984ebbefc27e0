"""Irreps of any group from its Cayley table alone, by numerical decomposition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import FieldType, Irrep, letters

# About 50·n³ operations and 48·n² bytes: minutes and 1.2 GB at S7's order.
LARGEST_ORDER = 5040

# A draw is accepted if its eigenvalues are at least this far apart, relative to their range.
SMALLEST_GAP = 1e-9
DRAWS = 20

# A commuting map whose gap is this large is not redrawn: its eigenvectors are exact to 1e-13.
GOOD_GAP = 1e-3


def numerical_irreps(group: FiniteGroup) -> tuple[Irrep, ...]:
    """The complex irreps, the trivial one first, named by degree and letter.

    The second irrep of a complex-conjugate pair is marked with a star. Matrices are computed on
    first use.

    Raises:
        CosetCircuitsError: the group is too large, or no random draw separated the irreps.
    """
    if group.order > LARGEST_ORDER:
        raise CosetCircuitsError(
            f"Decomposing {group.name} from its table would take some {50 * group.order**3:.0e} "
            f"operations and {48 * group.order**2 / 1e9:.0f} GB (order {group.order}; at most "
            f"{LARGEST_ORDER} is tried). Build it from a family or as a direct product, whose "
            "irreps are known in closed form."
        )
    characters = _class_characters(group)
    names, conjugates, order = _names(group, characters)
    return tuple(
        numerical_irrep(group, names[i], characters[i][group.class_labels], conjugates[i])
        for i in order
    )


def numerical_irrep(
    group: FiniteGroup, name: str, character: np.ndarray, conjugate: str | None = None
) -> Irrep:
    """The irrep with a given irreducible character; its matrices are computed on first use."""
    return Irrep(
        group,
        name,
        round(character[group.identity].real),
        field_type(group, character),
        lambda: _matrices(group, character),
        character,
        conjugate,
    )


def field_type(group: FiniteGroup, character: np.ndarray) -> FieldType:
    """Real, complex or quaternionic, by the Frobenius–Schur indicator (the mean of χ(g²))."""
    indicator = character[group.array.diagonal()].mean().real
    types: dict[int, FieldType] = {1: "real", 0: "complex", -1: "quaternionic"}
    return types[round(indicator)]


# --- characters -----------------------------------------------------------------------------


def _class_characters(group: FiniteGroup) -> np.ndarray:
    """All irreducible characters, irreps × classes, as common eigenvectors of the class sums.

    Convolution with a random class function f, f(x⁻¹) = conj f(x), is a Hermitian map of class
    functions whose eigenvectors are the characters once its eigenvalues differ.
    """
    rng = np.random.default_rng(group.order)
    sizes = np.bincount(group.class_labels)
    for _ in range(DRAWS):
        values, vectors = np.linalg.eigh(_random_class_map(group, sizes, rng))
        if _smallest_gap(values) < SMALLEST_GAP:
            continue
        ratios = (vectors / np.sqrt(sizes)[:, None]).T
        ratios /= ratios[:, group.class_labels[group.identity], None]
        degrees = np.sqrt(group.order / (np.abs(ratios) ** 2 @ sizes))
        if np.abs(degrees - np.round(degrees)).max() < 1e-6:
            return np.round(degrees)[:, None] * ratios
    raise CosetCircuitsError(
        f"The characters of {group.name} did not converge: {DRAWS} random sums of its "
        f"{len(sizes)} classes left some irreps together. Build the group from a family or as a "
        "direct product, whose irreps are known in closed form."
    )


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


def _names(group: FiniteGroup, characters: np.ndarray) -> tuple[list[str], list[str], list[int]]:
    """Each character's name and its conjugate's, and the order to list them in."""
    sizes = np.bincount(group.class_labels)
    partner = np.argmax(np.abs(characters @ (sizes * characters).T), axis=1)
    keys = [_sorting_key(chi) for chi in characters]
    names = [""] * len(characters)
    used: Counter[int] = Counter()
    order = []
    for i in sorted(range(len(characters)), key=keys.__getitem__):
        if names[i]:
            continue
        degree = round(np.abs(characters[i]).max())
        used[degree] += 1
        names[i] = f"{degree}{letters(used[degree])}"
        order.append(i)
        if partner[i] != i:
            names[partner[i]] = names[i] + "*"
            order.append(int(partner[i]))
    return names, [names[i] for i in partner], order


def _sorting_key(character: np.ndarray) -> tuple:
    # Larger real parts first, so that the trivial one leads.
    values = np.round(character, 6)
    return (
        round(np.abs(character).max()),
        (-np.real(values)).tolist(),
        (-np.imag(values)).tolist(),
    )


# --- matrices -------------------------------------------------------------------------------


def _matrices(group: FiniteGroup, character: np.ndarray) -> np.ndarray:
    """Matrices with a given irreducible character; real matrices if the type is real.

    A random self-adjoint map that commutes with left translations splits the character's part
    of the regular representation into eigenspaces, each one copy of the irrep.
    """
    rng = np.random.default_rng(group.order)
    is_real = field_type(group, character) == "real"
    chi = np.real(character) if is_real else character
    dimension = round(character[group.identity].real)
    isotypic = _isotypic_basis(group, chi, dimension, rng)
    subspace = _copy(group, isotypic, dimension, rng)
    adjoint, inverse = subspace.conj().T, group.inverse_array
    found = {g: adjoint @ subspace[group.array[inverse[g]]] for g in group.generators}
    return spread(group, found, dimension)


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
) -> np.ndarray:
    """One copy of the irrep: the best-separated eigenspace of a random commuting map.

    If the eigenspaces are close together, another map is drawn; the best of all draws is used.
    """
    best_gap, best = -1.0, isotypic
    for _ in range(DRAWS):
        function = rng.normal(size=group.order)
        if np.iscomplexobj(isotypic):
            function = function + 1j * rng.normal(size=group.order)
        function = function + function[group.inverse_array].conj()
        commuting = function[group.array[group.inverse_array]]
        values, vectors = np.linalg.eigh(isotypic.conj().T @ (commuting @ isotypic))
        means = values.reshape(dimension, dimension).mean(axis=1)
        padded = np.concatenate([[-np.inf], means, [np.inf]])
        gaps = np.minimum(np.diff(padded)[:-1], np.diff(padded)[1:])
        place = int(np.argmax(gaps))
        gap = gaps[place] / max(np.ptp(means), 1e-300)
        if gap > best_gap:
            chosen = vectors[:, place * dimension : (place + 1) * dimension]
            best_gap, best = gap, isotypic @ chosen
        if gap > GOOD_GAP or dimension == 1:
            break
    return best


def spread(group: FiniteGroup, generators: Mapping[int, np.ndarray], dimension: int) -> np.ndarray:
    """The matrices of all elements, multiplied out from the generators' along shortest words."""
    dtype = np.result_type(np.float64, *generators.values())
    matrices = np.empty((group.order, dimension, dimension), dtype)
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
